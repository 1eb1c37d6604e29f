//! Keys that are wrong, and tunnels that hang: each is told, and the camera beside it goes on recording.

use moorline_simcam::Key;
use moorline_testkit::eventually;
use serde_json::Value;

use crate::faults_device::small;
use crate::faults_rig::{SHORT, SOON, Server};

async fn pending(server: &Server) -> Vec<Value> {
    let list = server.cli(&["camera", "pending"]).await;
    list.as_array().unwrap().clone()
}

#[tokio::test]
async fn an_unknown_key_is_refused_listed_and_added_by_its_fingerprint() {
    let server = Server::start(SHORT).await;
    let _well = server.healthy("well", 1).await;
    let key = Key::generate().unwrap();
    let stranger = server.call("yard", &key, small(2), &[]);
    stranger.refused("does not accept this key").await;

    let listed = pending(&server).await;
    let [entry] = listed.as_slice() else {
        panic!("{listed:?}")
    };
    assert_eq!(entry["name"], "yard");
    assert_eq!(entry["reason"], "unknown_key");
    let fingerprint = entry["fingerprint"].as_str().unwrap();
    server
        .cli(&[
            "camera",
            "add",
            "yard",
            "--pending",
            fingerprint,
            "--path",
            "/main",
        ])
        .await;
    server.moves_on("yard").await;
    // A call that was refused while it was added may have come later.
    eventually("somebody still waits", SOON, || async {
        pending(&server).await.is_empty().then_some(())
    })
    .await;
    server.nothing_lost("yard", 2).await;
    server.nothing_lost("well", 1).await;
    server.stop().await;
}

/// S1.
#[tokio::test]
async fn a_key_does_not_open_another_cameras_name() {
    let server = Server::start(SHORT).await;
    let _well = server.healthy("well", 1).await;
    let key = server.add("yard", &[]).await;
    let liar = server.call("well", &key, small(2), &[]);
    liar.refused("does not accept this key").await;

    let listed = pending(&server).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["name"], "well");
    assert_eq!(listed[0]["reason"], "other_camera");
    let shown = server.camera("yard").await;
    assert_eq!(shown["status"]["link"]["state"], "absent");
    // Had it taken over, its pictures would lie among those of the other camera.
    server.nothing_lost("well", 1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_revoked_key_ends_its_session_and_keeps_its_recordings() {
    let server = Server::start("[archive]\nsegment = \"2s\"\n[tunnel]\ngrace = \"1s\"\n").await;
    let _well = server.healthy("well", 1).await;
    let yard = server.healthy("yard", 2).await;
    let shown = server.camera("yard").await;
    let fingerprint = shown["keys"][0]["fingerprint"].as_str().unwrap();
    server
        .cli(&["camera", "key", "revoke", "yard", fingerprint])
        .await;

    yard.refused("does not accept this key").await;
    server
        .until("yard", "still linked", |camera| {
            (camera["status"]["link"]["state"] == "absent").then_some(())
        })
        .await;
    let refused = server.command(&["camera", "show", "yard"]).await;
    let text = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(text.contains("the camera could not be reached"), "{text}");
    let frames: Vec<u64> = server
        .exported("yard")
        .await
        .iter()
        .map(|stamp| stamp.frame)
        .collect();
    assert!(frames.len() > 5, "{frames:?}");
    assert_eq!(crate::faults_device::missing(&frames), Vec::<u64>::new());
    server.nothing_lost("well", 1).await;
    server.stop().await;
}

/// P1.
#[tokio::test]
async fn a_second_tunnel_takes_over_while_the_first_hangs() {
    let server = Server::start(SHORT).await;
    let _well = server.healthy("well", 1).await;
    let key = server.add("yard", &[]).await;
    let first = server.call("yard", &key, small(2), &[]);
    server.moves_on("yard").await;
    let generation = |camera: &Value| camera["status"]["link"]["generation"].as_u64();
    let before = generation(&server.camera("yard").await).unwrap();

    first.tunnel.freeze().await;
    let second = server.call("yard", &key, small(3), &[]);
    second.up().await;
    server
        .until("yard", "the second tunnel does not serve", |camera| {
            (generation(camera)? > before).then_some(())
        })
        .await;
    let stamps = eventually("nothing of the second is recorded", SOON, || async {
        let stamps = server.exported("yard").await;
        let last = stamps.last()?;
        (last.camera == 3).then_some(stamps)
    })
    .await;
    let cameras: Vec<u32> = stamps.iter().map(|stamp| stamp.camera).collect();
    let turn = cameras.iter().position(|camera| *camera == 3).unwrap();
    assert!(
        cameras.iter().skip(turn).all(|camera| *camera == 3),
        "the old tunnel spoke again"
    );
    for gap in server.gaps("yard").await {
        assert_ne!(gap, "unexplained");
    }
    server.nothing_lost("well", 1).await;
    server.stop().await;
}
