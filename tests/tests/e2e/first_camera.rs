//! The first camera of a newcomer: added, tunnelled in by what `camera add` printed, watched, recorded, exported.

use moorline_testkit::{
    child::{Child, run},
    eventually, peer, temp_dir,
};
use tokio::process::Command;

use crate::support::{
    Dbclient, Moorline, SOON, assert_in_order, exported, ffmpeg, listening, numbers, quick,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_camera_add_prints_leads_to_live_pictures_and_a_recording() {
    let moorline = Moorline::with_short_segments().await;
    let added = moorline
        .cli(&["camera", "add", "yard", "--path", "/main"])
        .await;
    let (_source, address) = listening(quick(7));
    let _camera = Dbclient::start(&added, address);

    moorline.until_recording("yard").await;
    let listed = moorline.cli(&["camera", "list"]).await;
    assert_eq!(listed[0]["id"], "home/yard");
    assert_eq!(listed[0]["status"]["link"]["state"], "up");

    let player = ffmpeg(&["-rtsp_transport", "tcp"], &moorline.url("rtsp", "yard"));
    let watched = player.pictures(60).await;
    assert_in_order(&watched, 7);

    // Sealed and acknowledged, and what is written right now.
    let rows = eventually("a stored and an open segment", SOON, || async {
        let rows = moorline.segments("yard").await;
        let held = |place: &str| rows.iter().any(|row| row["held"] == place);
        (held("store") && held("open")).then_some(rows)
    })
    .await;
    let gaps: Vec<_> = rows
        .iter()
        .filter(|row| row["kind"] == "unexplained")
        .collect();
    assert!(gaps.is_empty(), "{gaps:?}");

    let file = moorline.place().join("yard.mp4");
    let told = moorline
        .cli(&[
            "segments",
            "export",
            "yard",
            "--from",
            "1h",
            "-f",
            file.to_str().unwrap(),
        ])
        .await;
    assert_eq!(told["bytes"], file.metadata().unwrap().len());
    let recorded = exported(&file).await;
    assert_in_order(&recorded, 7);
    // What was watched up to a stored segment is in the file.
    let first = watched[0].frame;
    assert!(
        numbers(&recorded).contains(&first),
        "{first} was watched; recorded: {:?}",
        numbers(&recorded)
    );
    assert!(recorded.len() >= 40, "{} pictures", recorded.len());
    assert_eq!(codec(&file).await, "h264,320,176");

    let key = rows.iter().find_map(|row| row["key"].as_str()).unwrap();
    let segment = moorline.place().join("one.mp4");
    moorline
        .cli(&["segments", "get", key, "-f", segment.to_str().unwrap()])
        .await;
    assert_in_order(&exported(&segment).await, 7);

    let verified = moorline.cli(&["segments", "verify", "--full"]).await;
    assert!(verified["read"].as_u64().unwrap() >= 1, "{verified}");
    assert_eq!(verified["findings"], serde_json::json!([]));
    moorline.stop().await;
}

/// Each line by a shell, in a home of its own. Only where the key lies, and where the camera's RTSP server listens, is another place here.
#[tokio::test(flavor = "multi_thread")]
async fn the_lines_that_camera_add_prints_for_a_person_are_typed_as_they_stand() {
    let moorline = Moorline::start().await;
    let mut add = Command::new(moorline_tests::moorline());
    add.current_dir(moorline.place())
        .arg("--data")
        .arg(moorline.data())
        .args(["camera", "add", "yard", "--path", "/main"]);
    let output = run("moorline camera add", add, SOON).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let (here, camera) = printed.split_once("\nOn the camera:\n").unwrap();
    assert!(
        here.contains("yard.key root@CAMERA:/etc/moorline/id"),
        "{printed}"
    );
    let lines: Vec<&str> = camera
        .lines()
        .filter_map(|line| line.strip_prefix("       "))
        .collect();
    let (tunnel, pins) = lines.split_last().unwrap();
    assert_eq!(
        pins.len(),
        3,
        "a folder and two kinds of host keys: {camera}"
    );
    let (_source, address) = listening(quick(7));
    let key = moorline.place().join("yard.key");
    let tunnel = tunnel
        .replace("/etc/moorline/id", key.to_str().unwrap())
        .replace("127.0.0.1:554", &address.to_string());
    let home = temp_dir().unwrap();
    let mut typed = Command::new("/bin/sh");
    typed.env("HOME", home.path()).arg("-ec");
    typed.arg(format!("{}\nexec {tunnel}", pins.join("\n")));
    let _camera = Child::spawn("dbclient", typed).unwrap();
    moorline.until_recording("yard").await;
}

/// For dropbear before 2020.79, which knows no ed25519.
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_with_an_old_dropbear_gets_a_key_of_ecdsa() {
    let moorline = Moorline::start().await;
    let add = ["camera", "add", "yard", "--path", "/main"];
    let added = moorline
        .cli(&[&add[..], &["--key-kind", "ecdsa"]].concat())
        .await;
    let (_source, address) = listening(quick(7));
    let _camera = Dbclient::start(&added, address);
    let view = moorline.until_recording("yard").await;
    let key = view["keys"][0]["key"].as_str().unwrap();
    assert!(key.starts_with("ecdsa-sha2-nistp256 "), "{key}");
}

async fn codec(file: &std::path::Path) -> String {
    let mut command = peer::FFPROBE.command().unwrap();
    command.args([
        "-v",
        "error",
        "-show_entries",
        "stream=codec_name,width,height",
    ]);
    command.args(["-of", "csv=p=0"]).arg(file);
    let output = run("ffprobe", command, SOON).await.unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_n_dbclient_is_told_the_monitors_lines() {
    let moorline = Moorline::start().await;
    let added = moorline
        .cli(&["camera", "add", "yard", "--path", "/main"])
        .await;
    let (_source, address) = listening(quick(7));
    let camera = Dbclient::with_monitor(&added, address);
    let hello = camera
        .child
        .wait_for_line("MOORLINE/1", SOON)
        .await
        .unwrap();
    assert!(hello.starts_with("MOORLINE/1 "), "{hello:?}");
    assert_eq!(camera.child.lines()[0], hello, "something came before it");
    moorline.until_recording("yard").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_is_said_to_a_camera_with_an_agent_and_refused_for_one_without() {
    let moorline = Moorline::start().await;
    let added = moorline
        .cli(&["camera", "add", "yard", "--path", "/main"])
        .await;
    let (_source, address) = listening(quick(7));
    let mut camera = Dbclient::with_monitor(&added, address);
    moorline.until_recording("yard").await;
    let reboot = ["camera", "reboot", "yard"];
    let refused = moorline.try_cli(&reboot).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");

    camera.child.write(b"STATUS agent=0.1.0\n").await.unwrap();
    moorline
        .until("yard", "its agent's words", |view| {
            view["status"]["said"].to_string().contains("\"agent\"")
        })
        .await;
    let told = moorline.cli(&reboot).await;
    assert_eq!(told["id"], "home/yard");
    assert_eq!(told["told"], "reboot");
    let line = camera.child.wait_for_line("REBOOT", SOON).await.unwrap();
    assert_eq!(line, "REBOOT");
}
