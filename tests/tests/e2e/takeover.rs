//! Flaps: a tunnel that hangs is taken over, one that died comes back; who watches goes on watching. And one that hung up is gone at once.

use std::time::{Duration, Instant};

use moorline_simcam::{HangUp, TunnelState};
use moorline_testkit::{child::Signal, eventually, patience};
use tokio::time::timeout;

use crate::support::{
    Dbclient, Moorline, Player, SOON, assert_in_order, ffmpeg, listening, quick, simulated,
};

/// Longer than what is only a hole in a recording (1 s).
const A_GAP: Duration = Duration::from_millis(2500);

/// Asserts that the same player gets pictures of the same camera again, none of them twice.
async fn goes_on(player: &Player, after: u64) {
    let seen = player
        .wait_for("pictures after the flap", |stamps| {
            stamps.iter().filter(|stamp| stamp.sent_us > after).count() >= 40
        })
        .await;
    for pair in seen.windows(2) {
        assert!(
            pair[1].frame > pair[0].frame,
            "{} after {}",
            pair[1].frame,
            pair[0].frame
        );
    }
}

fn now_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_micros()).unwrap()
}

/// P1: the newest wins, however alive the old one's connection looks. No keepalive has a say in it: `-K 15` takes a minute.
#[tokio::test(flavor = "multi_thread")]
async fn newest_dbclient_takes_over_from_a_stopped_one() {
    let moorline = Moorline::start().await;
    let added = moorline
        .cli(&["camera", "add", "yard", "--path", "/main"])
        .await;
    let (source, address) = listening(quick(1));
    let mut first = Dbclient::start(&added, address);
    let view = moorline.until_recording("yard").await;
    assert_eq!(view["status"]["link"]["generation"], 1);
    let player = ffmpeg(&["-rtsp_transport", "tcp"], &moorline.url("rtsp", "yard"));
    player.pictures(20).await;

    first.child.freeze();
    let _second = Dbclient::start(&added, address);
    moorline
        .until("yard", "the second tunnel", |view| {
            view["status"]["link"]["generation"] == 2
        })
        .await;
    goes_on(&player, now_us()).await;
    moorline.until_recording("yard").await;

    // The old one was ended, which it sees as soon as it looks.
    first.child.thaw();
    let status = first.child.wait(SOON).await.unwrap();
    assert!(
        !status.success(),
        "the old dbclient believes that all is well"
    );
    assert_eq!(source.counters().plays, 2, "one PLAY for each tunnel");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_dbclient_that_returns_within_grace_costs_one_gap_and_no_viewer() {
    let moorline = Moorline::with_short_segments().await;
    let added = moorline
        .cli(&["camera", "add", "yard", "--path", "/main"])
        .await;
    let (_source, address) = listening(quick(1));
    let mut first = Dbclient::start(&added, address);
    moorline.until_recording("yard").await;
    let player = ffmpeg(&["-rtsp_transport", "tcp"], &moorline.url("rtsp", "yard"));
    player.pictures(20).await;

    first.child.signal(Signal::KILL);
    first.child.wait(SOON).await.unwrap();
    moorline
        .until("yard", "grace", |view| {
            view["status"]["link"]["state"] == "grace"
        })
        .await;
    let lost = Instant::now();
    eventually("an absence of more than a second", SOON, || async {
        (lost.elapsed() >= A_GAP).then_some(())
    })
    .await;
    let returned = now_us();
    let _second = Dbclient::start(&added, address);
    goes_on(&player, returned).await;
    moorline.until_recording("yard").await;

    let rows = eventually("a stored segment after the gap", SOON, || async {
        let rows = moorline.segments("yard").await;
        let last = rows.iter().rposition(|row| row["kind"] == "gap")?;
        let stored = rows[last..].iter().any(|row| row["held"] == "store");
        (last > 0 && stored).then_some(rows)
    })
    .await;
    let recorded = rows
        .iter()
        .position(|row| row["kind"] == "recorded")
        .unwrap();
    let gaps: Vec<_> = rows[recorded..]
        .iter()
        .filter(|row| row["kind"] != "recorded")
        .map(|row| (row["kind"].as_str().unwrap(), row["cause"].as_str()))
        .collect();
    assert_eq!(gaps, [("gap", Some("tunnel_down"))], "{rows:#?}");
    moorline.stop().await;
}

/// A player that was started too early gets its picture as soon as there is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_who_came_before_the_camera_gets_its_pictures() {
    let moorline = Moorline::start().await;
    let added = moorline
        .cli(&["camera", "add", "yard", "--path", "/main"])
        .await;
    let player = ffmpeg(&["-rtsp_transport", "tcp"], &moorline.url("rtsp", "yard"));
    let (_source, address) = listening(quick(1));
    let _camera = Dbclient::start(&added, address);
    assert_in_order(&player.pictures(20).await, 1);
}

/// A hang-up on order of the operator ends the tunnel at once, without grace; the camera may come back.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_hangs_up_and_the_camera_returns() {
    let moorline = Moorline::with_short_segments().await;
    let added = moorline
        .cli(&["camera", "add", "yard", "--path", "/main"])
        .await;
    let (_source, address) = listening(quick(1));
    let mut first = Dbclient::start(&added, address);
    moorline.until_recording("yard").await;
    moorline.cli(&["camera", "hang-up", "yard"]).await;
    first.child.wait(SOON).await.unwrap();
    let view = moorline
        .until("yard", "absent", |view| {
            view["status"]["link"]["state"] == "absent"
        })
        .await;
    let gap = view["status"]["gaps"].as_array().unwrap().last().unwrap();
    assert_eq!(gap[0]["cause"], "operator", "{view:#}");
    let _second = Dbclient::start(&added, address);
    moorline.until_recording("yard").await;
}

/// The signal HUP and `BYE` end tunnel, relay and recorder at once, where a loss would wait for the camera.
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_hangs_up_is_drained_without_grace_and_may_come_back() {
    let moorline = Moorline::with_short_segments().await;
    let camera = simulated(&moorline, "yard", 1).await;
    let tunnel = camera.tunnel().unwrap();
    for how in [HangUp::Signal, HangUp::Bye] {
        moorline.until_recording("yard").await;
        tunnel.hang_up(how).await;
        let view = moorline
            .until("yard", "drained", |view| {
                let status = &view["status"];
                status["link"]["state"] == "absent" && status["relays"] == serde_json::json!([])
            })
            .await;
        let gap = view["status"]["gaps"].as_array().unwrap().last().unwrap();
        assert_eq!(gap[0]["cause"], "hung_up", "{how:?}: {view:#}");
        // It calls only once it knows itself that it is away.
        let mut state = tunnel.state();
        let away = state.wait_for(|state| *state == TunnelState::Away);
        let away = timeout(patience(SOON), away).await;
        drop(away.expect("it hears that its session has ended").unwrap());
        tunnel.call();
    }
    moorline.until_recording("yard").await;
}
