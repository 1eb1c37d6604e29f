//! Keys are replaced without a visit to the cameras (rule S25): the server's, planned and after they were lost, and a camera's own.

use moorline_testkit::eventually;
use serde_json::Value;

use crate::enrol::{Camera, power_off};
use crate::support::{Moorline, SOON, command, listening, quick};

/// A command on the files, whether a server runs or not.
async fn host_key(place: &std::path::Path, arguments: &[&str]) -> Value {
    let mut command = command(place);
    command.arg("host-key").args(arguments);
    let output = moorline_testkit::child::run("moorline host-key", command, SOON)
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn enrol(moorline: &Moorline, camera: &Camera) {
    let card = camera.path("card/enroll");
    let enroll = ["camera", "enroll", "roof", "--file", card.to_str().unwrap()];
    moorline.cli(&enroll).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_rotation_is_taken_by_a_camera_that_was_told_while_it_was_connected() {
    let moorline = Moorline::start().await;
    let (_source, streamer) = listening(quick(7));
    let camera = Camera::new(streamer);
    enrol(&moorline, &camera).await;
    let _agent = camera.power_on();
    moorline.until_recording("roof").await;
    let stick = moorline.place().join("stick");
    let made = host_key(
        moorline.place(),
        &["prepare", "--out", stick.to_str().unwrap()],
    )
    .await;
    let key = made["next"][0]["key"].as_str().unwrap().to_owned();
    let key = key.split(' ').nth(1).unwrap().to_owned();
    eventually("the agent keeps the next key", SOON, async || {
        let kept = std::fs::read_to_string(camera.path("etc/agent.conf")).ok()?;
        kept.lines()
            .any(|line| line.starts_with("CONFIG endpoint.15 ") && line.contains(&key))
            .then_some(())
    })
    .await;

    let rotate = ["rotate", "--from", stick.to_str().unwrap()];
    let running = moorline
        .try_cli(&[&["host-key"][..], &rotate].concat())
        .await;
    let told = String::from_utf8_lossy(&running.stderr);
    assert!(
        told.contains("hint: stop the server first") && told.matches("hint:").count() == 1,
        "{told}"
    );

    let ports = moorline.ready().clone();
    let place = moorline.stop().await;
    host_key(place.path(), &rotate).await;
    let again = Moorline::on(place, &ports).await;
    assert_ne!(again.ready()["known_hosts"], ports["known_hosts"]);
    again.until_recording("roof").await;
    // From now on it pins the new key alone.
    eventually("the old pin is gone", SOON, async || {
        let kept = std::fs::read_to_string(camera.path("etc/agent.conf")).ok()?;
        let line = kept
            .lines()
            .find(|line| line.starts_with("CONFIG endpoint.15 "))?;
        line.ends_with(&format!(" {key}")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_host_keys_were_lost_is_found_again_by_the_keys_that_were_kept_offline() {
    let moorline = Moorline::start().await;
    let stick = moorline.place().join("stick");
    let out = ["prepare", "--out", stick.to_str().unwrap()];
    host_key(moorline.place(), &out).await;
    let (_source, streamer) = listening(quick(7));
    let camera = Camera::new(streamer);
    enrol(&moorline, &camera).await;
    let card = std::fs::read_to_string(camera.path("card/enroll")).unwrap();
    let pins = card.lines().filter(|line| line.starts_with("key "));
    assert_eq!(pins.count(), 4, "{card}");
    let _agent = camera.power_on();
    moorline.until_recording("roof").await;
    let (ports, data) = (moorline.ready().clone(), moorline.data());
    let place = moorline.stop().await;
    for name in ["ssh_host_ed25519_key", "ssh_host_ecdsa_key"] {
        std::fs::remove_file(data.join(name)).unwrap();
    }
    host_key(place.path(), &["rotate", "--from", stick.to_str().unwrap()]).await;
    let again = Moorline::on(place, &ports).await;
    again.until_recording("roof").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_makes_itself_another_key_and_the_old_one_is_revoked() {
    let moorline = Moorline::start().await;
    let (_source, streamer) = listening(quick(7));
    let camera = Camera::new(streamer);
    enrol(&moorline, &camera).await;
    let agent = camera.power_on();
    let view = moorline.until_recording("roof").await;
    let old = view["keys"][0]["fingerprint"].as_str().unwrap().to_owned();
    let generation = view["status"]["link"]["generation"].as_u64().unwrap();
    moorline
        .until("roof", "its agent's words", |view| {
            view["status"]["said"].to_string().contains("\"agent\"")
        })
        .await;
    let view = moorline.cli(&["camera", "rekey", "roof"]).await;
    assert_eq!(view["keys"].as_array().unwrap().len(), 2, "{view}");
    moorline
        .until("roof", "its call with the new key", |view| {
            view["status"]["link"]["generation"].as_u64() > Some(generation)
        })
        .await;
    moorline
        .cli(&["camera", "key", "revoke", "roof", &old])
        .await;
    // What the old key proved would have been ended; the camera stays, and comes back after a power cut.
    let view = moorline.until_recording("roof").await;
    assert_eq!(view["keys"].as_array().unwrap().len(), 1, "{view}");
    power_off(agent).await;
    let _agent = camera.power_on();
    let generation = view["status"]["link"]["generation"].as_u64().unwrap();
    moorline
        .until("roof", "its call after the power cut", |view| {
            view["status"]["link"]["state"] == "up"
                && view["status"]["link"]["generation"].as_u64() > Some(generation)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_whose_last_word_was_lost_is_taken_into_use_when_it_is_asked_again() {
    let moorline = Moorline::start().await;
    let (_source, streamer) = listening(quick(7));
    let camera = Camera::new(streamer);
    enrol(&moorline, &camera).await;
    let _agent = camera.power_on();
    moorline.until_recording("roof").await;
    // As it is when the session ends behind NEWKEY: the camera has made it, the server has added it, and nobody has said that it is the camera's.
    let next = camera.path("etc/id.next");
    let next = next.to_str().unwrap();
    let mut dropbearkey = tokio::process::Command::new("dropbearkey");
    dropbearkey.args(["-t", "ed25519", "-f", next]);
    let output = moorline_testkit::child::run("dropbearkey", dropbearkey, SOON)
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let key = text
        .lines()
        .find(|line| line.starts_with("ssh-ed25519 "))
        .unwrap();
    let added = ["camera", "key", "add", "roof", key];
    let view = moorline.cli(&added).await;
    assert_eq!(view["keys"].as_array().unwrap().len(), 2, "{view}");
    let old = view["keys"][0]["fingerprint"].as_str().unwrap().to_owned();
    let view = moorline
        .until("roof", "its agent's words", |view| {
            view["status"]["said"].to_string().contains("\"agent\"")
        })
        .await;
    let generation = view["status"]["link"]["generation"].as_u64().unwrap();
    let view = moorline.cli(&["camera", "rekey", "roof"]).await;
    assert_eq!(view["keys"].as_array().unwrap().len(), 2, "{view}");
    moorline
        .until("roof", "its call with the new key", |view| {
            view["status"]["link"]["generation"].as_u64() > Some(generation)
        })
        .await;
    assert!(!camera.path("etc/id.next").exists());
    moorline
        .cli(&["camera", "key", "revoke", "roof", &old])
        .await;
    moorline.until_recording("roof").await;
}
