//! Cameras that hang, networks that die, servers that are gone: lost, and back; hung up only when it is said.

use moorline_testkit::child::Signal;
use moorline_testkit::emu::Camera;
use moorline_testkit::eventually;
use serde_json::Value;

use super::{LATER, causes, generation, recorded, server, until, until_recording, wall, wall_with};
use crate::support::{listening, quick};

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_whose_network_dies_is_lost_and_is_back_within_its_grace() {
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall(streamer) else { return };
    let server = server("[tunnel]\ngrace = \"2m\"\n").await;
    let camera = recorded(&server, &wall, "roof").await;
    let before = generation(&server.camera("roof").await);
    camera.machine().freeze();
    until(&server, &camera, "roof", "that it is lost", |view| {
        view["status"]["link"]["state"] == "grace"
    })
    .await;
    camera.machine().thaw();
    let view = until(&server, &camera, "roof", "that it is back", |view| {
        view["status"]["link"]["state"] == "up" && generation(view) > before
    })
    .await;
    until_recording(&server, &camera, "roof").await;
    // It was lost, and its workloads waited for it: it did not hang up.
    assert!(!causes(&view).contains(&"hung_up".to_owned()), "{view:#}");
    // What is missing between what was recorded before and after has its cause.
    let missing = eventually("recordings on both sides of a gap", LATER, async || {
        let rows = server.segments("roof").await;
        let is = |row: &Value, kind: &str| row["kind"] == kind;
        let first = rows.iter().position(|row| is(row, "recorded"))?;
        let last = rows.iter().rposition(|row| is(row, "recorded"))?;
        let gaps = rows[first..last].iter().filter(|row| is(row, "gap"));
        let causes: Vec<String> = gaps.map(|gap| gap["cause"].to_string()).collect();
        (!causes.is_empty()).then_some(causes)
    })
    .await;
    // Before it was known to be lost nothing came either.
    let lost = ["\"camera_silent\"", "\"tunnel_down\""];
    assert!(
        missing.iter().all(|cause| lost.contains(&cause.as_str())),
        "{missing:?}"
    );
}

/// What the kernel says of its watchdog: an `active` one reboots the camera when nobody feeds it.
const WATCHDOG: &str = "/sys/class/watchdog/watchdog0/state";

/// Waits until somebody has to feed the watchdog.
async fn until_armed(camera: &Camera) {
    let line = format!("until grep -qx active {WATCHDOG}; do sleep 1; done");
    camera.order(&line).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_agent_is_ended_by_the_watchdog_and_the_camera_comes_back() {
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall(streamer) else { return };
    let server = server("").await;
    let camera = recorded(&server, &wall, "roof").await;
    until(&server, &camera, "roof", "its agent's words", |view| {
        view["status"]["said"].to_string().contains("\"agent\"")
    })
    .await;
    server
        .cli(&["camera", "agent", "roof", "watchdog", "on"])
        .await;
    until_armed(&camera).await;
    let before = generation(&server.camera("roof").await);
    camera
        .order("kill -STOP $(pidof moorline-agent)")
        .await
        .unwrap();
    camera.until_booted().await.unwrap();
    until(&server, &camera, "roof", "that it is back", |view| {
        view["status"]["link"]["state"] == "up" && generation(view) > before
    })
    .await;
    // It is kept over the reboot.
    until_armed(&camera).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_init_script_hangs_up_when_it_stops_and_says_nothing_when_it_restarts() {
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall_with(streamer, &["moorline.init=script"]) else {
        return;
    };
    let server = server("").await;
    let camera = recorded(&server, &wall, "roof").await;
    let before = generation(&server.camera("roof").await);
    camera
        .order("/etc/init.d/S60moorline-agent restart")
        .await
        .unwrap();
    let view = until(
        &server,
        &camera,
        "roof",
        "the session after the restart",
        |view| view["status"]["link"]["state"] == "up" && generation(view) > before,
    )
    .await;
    assert!(!causes(&view).contains(&"hung_up".to_owned()), "{view:#}");
    until_recording(&server, &camera, "roof").await;

    server
        .cli(&["camera", "agent", "roof", "watchdog", "on"])
        .await;
    until_armed(&camera).await;
    camera
        .order("/etc/init.d/S60moorline-agent stop")
        .await
        .unwrap();
    let view = until(&server, &camera, "roof", "that it has hung up", |view| {
        view["status"]["link"]["state"] == "absent"
    })
    .await;
    assert_eq!(
        causes(&view).last().map(String::as_str),
        Some("hung_up"),
        "{view:#}"
    );
    camera
        .order("! pidof moorline-agent dbclient")
        .await
        .unwrap();
    // Nobody feeds it any more, and nobody has to: a camera that was switched off on purpose is not rebooted.
    let state = camera.order(&format!("cat {WATCHDOG}")).await.unwrap();
    assert_eq!(state, "inactive\n");

    camera
        .order("/etc/init.d/S60moorline-agent start")
        .await
        .unwrap();
    until_recording(&server, &camera, "roof").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_its_server_is_gone_a_camera_calls_the_other_one() {
    let (_source, streamer) = listening(quick(7));
    let Some(wall) = wall(streamer) else { return };
    let (home, mut main) = (server("").await, server("").await);
    let camera = recorded(&home, &wall, "roof").await;
    let view = until(&home, &camera, "roof", "its agent's words", |view| {
        view["status"]["said"].to_string().contains("\"agent\"")
    })
    .await;
    let key = view["keys"][0]["key"].as_str().unwrap().to_owned();
    crate::refer::knows(&main, &key).await;
    let (to, pin) = (main.seen_by_cameras(), crate::refer::pin(&main));
    home.cli(&["camera", "move", "roof", "--to", &to, "--key", &pin])
        .await;
    let kept = "until grep -q 'CONFIG endpoint.0 ' /etc/moorline/agent.conf; do sleep 1; done";
    camera.order(kept).await.unwrap();
    // A camera that is there stays: it goes when it has to call anyhow, here after a reboot.
    camera.order("reboot").await.unwrap();
    camera.until_booted().await.unwrap();
    until_recording(&main, &camera, "roof").await;
    // The main one is gone: two calls, and the camera is at its backup, the one that enrolled it.
    // Read before that: home may not have noticed yet that the session from before the reboot is dead.
    let before = generation(&home.camera("roof").await);
    main.child().signal(Signal::KILL);
    until(&home, &camera, "roof", "the call at the backup", |view| {
        view["status"]["link"]["state"] == "up" && generation(view) > before
    })
    .await;
    until_recording(&home, &camera, "roof").await;
}
