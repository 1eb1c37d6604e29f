//! A camera with the real agent that is sent from one real server to another, and back.

use std::net::SocketAddr;
use std::time::Duration;

use moorline_testkit::child::{Child, Signal};
use moorline_testkit::{Starved, eventually};
use serde_json::Value;

use crate::enrol::Camera;
use crate::support::{Moorline, SOON, listening, quick};

/// One server and its host key, as `camera refer --key` takes it.
pub(crate) fn pin(server: &Moorline) -> String {
    let line = server.ready()["known_hosts"][0]
        .as_str()
        .unwrap()
        .to_owned();
    line.split(' ').nth(2).unwrap().to_owned()
}

/// Enrols `roof` at a server, and waits until its agent speaks.
async fn enrolled(server: &Moorline, streamer: SocketAddr) -> (Camera, Child, String) {
    let camera = Camera::new(streamer);
    let card = camera.path("card/enroll");
    let enroll = ["camera", "enroll", "roof", "--file", card.to_str().unwrap()];
    server.cli(&enroll).await;
    let agent = camera.power_on();
    let view = server.until_recording("roof").await;
    let key = view["keys"][0]["key"].as_str().unwrap().to_owned();
    server
        .until("roof", "its agent's words", |view| {
            view["status"]["said"].to_string().contains("\"agent\"")
        })
        .await;
    (camera, agent, key)
}

/// Adds the camera at a second server.
pub(crate) async fn knows(server: &Moorline, key: &str) {
    let add = ["camera", "add", "roof", "--key", key, "--path", "/main"];
    server.cli(&add).await;
}

pub(crate) async fn refer(endpoint: &Moorline, to: &Moorline, ttl: &str) {
    let (address, pin) = (to.seen_by_cameras(), pin(to));
    let refer = [
        "camera", "refer", "roof", "--to", &address, "--key", &pin, "--ttl", ttl,
    ];
    endpoint.cli(&refer).await;
}

/// What the endpoint shows of the session elsewhere.
pub(crate) fn elsewhere(view: &Value) -> String {
    let said = view["status"]["said"].as_array().into_iter().flatten();
    said.filter(|pair| pair[0] == "elsewhere")
        .filter_map(|pair| pair[1].as_str())
        .collect()
}

async fn streams_to(endpoint: &Moorline, there: &Moorline) {
    let up = format!("up {}", there.seen_by_cameras().replace(':', " "));
    endpoint
        .until("roof", &up, |view| elsewhere(view) == up)
        .await;
    there.until_recording("roof").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referred_camera_is_recorded_there_reports_here_and_comes_back() {
    let (here, there) = (Moorline::start().await, Moorline::start().await);
    let (_source, streamer) = listening(quick(7));
    let (_camera, _agent, key) = enrolled(&here, streamer).await;
    knows(&there, &key).await;
    refer(&here, &there, "1h").await;
    streams_to(&here, &there).await;
    // The endpoint's session asks for the forward, is refused it, and supersedes nothing.
    let view = here.camera("roof").await;
    assert_eq!(view["status"]["link"]["state"], "absent", "{view:#}");
    assert!(view["notes"].to_string().contains("its stream goes to"));
    let generation = there.camera("roof").await["status"]["link"]["generation"].clone();
    let links = here.diagnose("roof").await;
    assert!(
        links.iter().any(|link| link["step"] == "hostkey"),
        "{links:?}"
    );
    let view = there.camera("roof").await;
    assert_eq!(view["status"]["link"]["generation"], generation);

    here.cli(&["camera", "refer", "roof", "--here"]).await;
    here.until_recording("roof").await;
    there
        .until("roof", "that it left", |view| {
            view["status"]["link"]["state"] != "up"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streampoint_that_hangs_is_left_for_another_at_the_endpoint_s_word() {
    let (here, mut hung, third) = (
        Moorline::start().await,
        Moorline::start().await,
        Moorline::start().await,
    );
    let (_source, streamer) = listening(quick(7));
    let (_camera, _agent, key) = enrolled(&here, streamer).await;
    knows(&hung, &key).await;
    knows(&third, &key).await;
    refer(&here, &hung, "1h").await;
    streams_to(&here, &hung).await;
    hung.child().freeze();
    refer(&here, &third, "1h").await;
    streams_to(&here, &third).await;
    hung.child().thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_endpoint_away_the_stream_goes_on_until_the_ttl() {
    let (mut here, there) = (Moorline::start().await, Moorline::start().await);
    let (_source, streamer) = listening(quick(7));
    let (_camera, agent, key) = enrolled(&here, streamer).await;
    knows(&there, &key).await;
    refer(&here, &there, "10s").await;
    streams_to(&here, &there).await;
    let before = there.camera("roof").await["status"]["archive"]["synced_until"].clone();
    here.child().signal(Signal::KILL);
    agent
        .wait_for_line("session with the endpoint ended", SOON)
        .await
        .unwrap();
    there
        .until("roof", "pictures without the endpoint", |view| {
            view["status"]["archive"]["synced_until"].is_string()
                && view["status"]["archive"]["synced_until"] != before
        })
        .await;
    agent
        .wait_for_line("the referral's time is over", SOON)
        .await
        .unwrap();
    there
        .until("roof", "that it left", |view| {
            view["status"]["link"]["state"] != "up"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_endpoint_has_the_camera_5_s_after_the_second_failed_call() {
    let (mut main, backup) = (Moorline::start().await, Moorline::start().await);
    let (_source, streamer) = listening(quick(7));
    let (camera, agent, key) = enrolled(&main, streamer).await;
    knows(&backup, &key).await;
    let (address, pin) = (backup.address("ssh").to_string(), pin(&backup));
    // The server that enrolled it stays last, so it is the backup that is set in the second place of two.
    let own = main.address("ssh").to_string();
    let own_pin = self::pin(&main);
    for (place, to, key) in [("0", &own, &own_pin), ("1", &address, &pin)] {
        let place = [
            "camera", "move", "roof", "--to", to, "--key", key, "--place", place,
        ];
        main.cli(&place).await;
    }
    eventually("the agent keeps it", SOON, async || {
        let kept = std::fs::read_to_string(camera.path("etc/agent.conf")).ok()?;
        kept.contains("CONFIG endpoint.1 ").then_some(())
    })
    .await;
    let mark = agent.mark();
    main.child().signal(Signal::KILL);
    // The loss itself, then a refused call; after two failures in a row the next place has its turn.
    let ended = "session with the endpoint ended";
    let mut left = 2;
    agent
        .wait_for_after(mark, ended, SOON, |line| {
            left -= i32::from(line.contains(ended));
            (left == 0).then_some(())
        })
        .await
        .unwrap();
    let starved = Starved::begin();
    let failed = std::time::Instant::now();
    backup
        .until("roof", "its tunnel", |view| {
            view["status"]["link"]["state"] == "up"
        })
        .await;
    let took = failed.elapsed();
    println!("from the second failed call to the backup's tunnel: {took:?}");
    let most = Duration::from_secs(5) + starved.so_far();
    assert!(took < most, "{took:?}");
    backup.until_recording("roof").await;
}
