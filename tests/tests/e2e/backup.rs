//! A server that burned down: its backup on another machine, and cameras that notice nothing.

use std::sync::Arc;

use moorline_testkit::{child::run, temp_dir};

use crate::support::{Dbclient, Moorline, SOON, command, listening, quick};

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_server_is_the_same_to_its_cameras_and_users() {
    let moorline = Moorline::start().await;
    let added = moorline
        .cli(&["camera", "add", "yard", "--path", "/main"])
        .await;
    let (_source, address) = listening(quick(1));
    let mut camera = Dbclient::start(&added, address);
    let before = moorline.until_recording("yard").await;
    let stream = moorline.url("rtsp", "yard");
    let outside = temp_dir().unwrap();
    let file = outside.path().join("moorline.age");
    let file = file.to_str().unwrap();
    let passphrase = outside.path().join("passphrase");
    std::fs::write(&passphrase, "correct horse battery staple\n").unwrap();
    let passphrase = passphrase.to_str().unwrap();

    let warned = |findings: serde_json::Value| {
        let findings = findings.as_array().unwrap().clone();
        findings
            .iter()
            .any(|finding| finding["check"] == "backup" && finding["level"] == "warning")
    };
    assert!(
        warned(moorline.get("/doctor").await),
        "no word about the missing backup"
    );
    moorline
        .cli(&["backup", "-f", file, "--passphrase-file", passphrase])
        .await;
    assert!(!warned(moorline.get("/doctor").await), "still no backup?");
    // P10: not even the names of the files in it can be read.
    let sealed = std::fs::read(file).unwrap();
    assert!(sealed.starts_with(b"age-encryption.org/v1\n"));
    for clear in ["registry.sqlite", "SQLite format 3", "PRIVATE KEY"] {
        let is_there = |part: &[u8]| part == clear.as_bytes();
        assert!(!sealed.windows(clear.len()).any(is_there), "{clear}");
    }

    let ready = moorline.ready().clone();
    // The camera has its key still; nothing else of the first place is used.
    let _burned = moorline.stop().await;
    camera.child.wait(SOON).await.unwrap();

    let place = temp_dir().unwrap();
    let restore = async |passphrase: &str| {
        let mut restore = command(place.path());
        restore.args(["restore", "-f", file, "--passphrase-file", passphrase]);
        run("moorline restore", restore, SOON).await.unwrap()
    };
    let wrong = outside.path().join("wrong");
    std::fs::write(&wrong, "incorrect horse battery staple\n").unwrap();
    let output = restore(wrong.to_str().unwrap()).await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("passphrase is wrong"), "{text}");
    let output = restore(passphrase).await;
    assert!(output.status.success(), "{output:?}");
    // Not over what is there.
    let output = restore(passphrase).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");

    let moorline = Moorline::on(Arc::new(place), &ready).await;
    assert_eq!(moorline.ready()["known_hosts"], ready["known_hosts"]);
    assert_eq!(
        moorline.ready()["certificate_sha256"],
        ready["certificate_sha256"]
    );
    // The same command on the same camera, with the host keys that it pinned at first.
    let _camera = Dbclient::start(&added, address);
    let after = moorline.until_recording("yard").await;
    let generation =
        |view: &serde_json::Value| view["status"]["link"]["generation"].as_u64().unwrap();
    assert!(
        generation(&after) > generation(&before) + 1,
        "the claims since the backup are not known: {} after {}",
        generation(&after),
        generation(&before)
    );
    let player = crate::support::ffmpeg(&["-rtsp_transport", "tcp"], &stream);
    player.pictures(10).await;
}
