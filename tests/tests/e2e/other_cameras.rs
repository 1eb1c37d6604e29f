//! Cameras that come another way: OpenSSH's client, a camera in the local network, a key that was made on the camera.

use moorline_testkit::{
    child::{Child, run},
    eventually, peer,
};
use tokio::process::Command;

use crate::support::{Dbclient, Moorline, SOON, assert_in_order, ffmpeg, listening, pin, quick};

async fn plays(moorline: &Moorline, camera: &str, number: u32) {
    moorline.until_recording(camera).await;
    let player = ffmpeg(&["-rtsp_transport", "tcp"], &moorline.url("rtsp", camera));
    assert_in_order(&player.pictures(20).await, number);
}

/// With `StrictHostKeyChecking` as it is by default for a script, and a key of `ssh-keygen`.
#[tokio::test(flavor = "multi_thread")]
async fn openssh_tunnels_in() {
    let moorline = Moorline::start().await;
    let key = moorline.place().join("id");
    let mut keygen = peer::SSH_KEYGEN.command().unwrap();
    keygen
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key);
    let made = run("ssh-keygen", keygen, SOON).await.unwrap();
    assert!(made.status.success(), "{made:?}");
    let public = moorline.place().join("id.pub");
    let added = moorline
        .cli(&[
            "camera",
            "add",
            "yard",
            "--path",
            "/main",
            "--key",
            public.to_str().unwrap(),
        ])
        .await;
    assert!(added.get("private_key").is_none(), "{added}");

    let (_source, address) = listening(quick(3));
    let home = moorline_testkit::temp_dir().unwrap();
    pin(home.path(), &added["known_hosts"]);
    let mut command = peer::SSH.command().unwrap();
    // Its home is the one of the user database, not `HOME`.
    command.arg("-o").arg(format!(
        "UserKnownHostsFile={}",
        home.path().join(".ssh/known_hosts").display()
    ));
    command.args([
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=yes",
    ]);
    command.args([
        "-o",
        "ExitOnForwardFailure=yes",
        "-o",
        "IdentitiesOnly=yes",
        "-N",
        "-T",
    ]);
    command.arg("-p").arg(added["ssh"]["port"].to_string());
    command
        .arg("-i")
        .arg(&key)
        .arg("-R")
        .arg(format!("0:{address}"));
    command.arg(format!("yard@{}", added["ssh"]["host"].as_str().unwrap()));
    let _ssh = Child::spawn("ssh", command).unwrap();
    plays(&moorline, "yard", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_of_the_local_network_needs_no_tunnel() {
    let moorline = Moorline::start().await;
    let (source, address) = listening(quick(4));
    let url = format!("rtsp://{address}/main");
    let added = moorline
        .cli(&["camera", "add", "hall", "--rtsp", &url])
        .await;
    assert!(added.get("command").is_none(), "{added}");
    plays(&moorline, "hall", 4).await;
    // One upstream, whatever the number of readers.
    assert_eq!(source.counters().plays, 1);
}

/// The key never leaves the camera: it knocks, is refused, and is added by its fingerprint, which the camera shows too.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_dropbearkey_is_added_from_those_who_knocked() {
    let moorline = Moorline::start().await;
    let key = moorline.place().join("id");
    let mut dropbearkey = peer::DROPBEARKEY.command().unwrap();
    dropbearkey.args(["-t", "ed25519", "-f"]).arg(&key);
    let made = run("dropbearkey", dropbearkey, SOON).await.unwrap();
    assert!(made.status.success(), "{made:?}");

    // What `camera add` would print for it is in the guide; the server's keys stand in its line.
    let server = serde_json::json!({ "known_hosts": moorline.ready()["known_hosts"] });
    let (_source, address) = listening(quick(5));
    let line = format!(
        "dbclient -N -T -K 15 -p {} -i {} -R 0:127.0.0.1:554 yard@127.0.0.1",
        moorline.address("ssh").port(),
        key.display()
    );
    let mut refused = Dbclient::run(&line, &server, address);
    let status = refused.child.wait(SOON).await.unwrap();
    assert!(!status.success(), "a stranger was let in");

    let pending = moorline.cli(&["camera", "pending"]).await;
    assert_eq!(pending[0]["name"], "yard", "{pending}");
    let fingerprint = pending[0]["fingerprint"].as_str().unwrap();
    assert_eq!(
        fingerprint,
        shown_on_the_camera(&made.stdout, moorline.place()).await
    );
    moorline
        .cli(&[
            "camera",
            "add",
            "yard",
            "--path",
            "/main",
            "--pending",
            fingerprint,
        ])
        .await;
    let _camera = Dbclient::run(&line, &server, address);
    plays(&moorline, "yard", 5).await;
    eventually("nobody waits any more", SOON, || async {
        let pending = moorline.cli(&["camera", "pending"]).await;
        pending.as_array().unwrap().is_empty().then_some(())
    })
    .await;
}

/// The fingerprint of the public key that `dropbearkey` printed, by `ssh-keygen`: older dropbears show another kind.
async fn shown_on_the_camera(printed: &[u8], place: &std::path::Path) -> String {
    let printed = String::from_utf8_lossy(printed);
    let line = printed
        .lines()
        .find(|line| line.starts_with("ssh-ed25519"))
        .unwrap();
    let file = place.join("printed.pub");
    std::fs::write(&file, line).unwrap();
    let mut command = Command::new(peer::SSH_KEYGEN.find().unwrap().path);
    command.arg("-lf").arg(&file);
    let output = run("ssh-keygen", command, SOON).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(' ').nth(1).unwrap().to_owned()
}
