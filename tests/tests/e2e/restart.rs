//! Stop, restart, reload, and what is refused at a start.

use std::os::unix::fs::PermissionsExt as _;
use std::{
    path::{Path, PathBuf},
    process::Output,
    time::{Duration, Instant},
};

use moorline_testkit::{
    child::{Signal, run},
    eventually, temp_dir,
};
use tokio::net::TcpListener;

use crate::support::{
    Moorline, SOON, Setup, assert_in_order, command, ffmpeg, simulated, unplayable,
};

/// All files below a directory with this extension.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_seals_and_stores_and_the_restart_is_a_gap_with_its_cause() {
    let moorline = Moorline::start().await;
    let _camera = simulated(&moorline, "yard", 1).await;
    moorline.until_recording("yard").await;
    let ready = moorline.ready().clone();
    let place = moorline.stop().await;
    let stopped = Instant::now();
    let data = place.path().join("data");
    assert_eq!(
        files(&data.join("spool"), "mp4"),
        Vec::<PathBuf>::new(),
        "left in the spool"
    );
    assert_ne!(
        files(&data.join("archive"), "mp4"),
        Vec::<PathBuf>::new(),
        "nothing was stored"
    );
    assert!(!data.join("moorline.sock").exists());

    eventually("more than a second without a server", SOON, || async {
        (stopped.elapsed() >= Duration::from_millis(1500)).then_some(())
    })
    .await;
    let moorline = Moorline::on(place, &ready).await;
    moorline.until_recording("yard").await;
    let rows = eventually("the gap", SOON, || async {
        let rows = moorline.segments("yard").await;
        let recorded = rows.iter().filter(|row| row["kind"] == "recorded").count();
        (recorded >= 2).then_some(rows)
    })
    .await;
    let recorded = rows
        .iter()
        .position(|row| row["kind"] == "recorded")
        .unwrap();
    let causes: Vec<_> = rows[recorded..]
        .iter()
        .filter(|row| row["kind"] != "recorded")
        .map(|row| row["cause"].as_str())
        .collect();
    assert!(causes.contains(&Some("restart")), "{rows:#?}");
    assert!(
        !causes.contains(&None),
        "a stretch without a cause: {rows:#?}"
    );
}

/// A store that takes connections and never answers; a stop waits for it as long as told.
fn deaf_store(deaf: &TcpListener, drain: &'static str) -> Setup {
    let endpoint = deaf.local_addr().unwrap();
    Setup {
        archive: "store = \"s3\"\n".to_owned(),
        sections: format!(
            "[s3]\nendpoint = \"http://{endpoint}\"\nbucket = \"cameras\"\naccess_key = \"key\"\nsecret_key = \"secret\"\n"
        ),
        drain,
        ..Setup::default()
    }
}

/// P8.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_aborts_the_drain() {
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut moorline = Moorline::with(deaf_store(&deaf, "10m")).await;
    let admin = moorline.address("admin");
    let _camera = simulated(&moorline, "yard", 1).await;
    moorline.until_recording("yard").await;
    let child = moorline.child();
    child.signal(Signal::TERM);
    child.wait_for_line("draining", SOON).await.unwrap();
    child.wait_for_line("close the doors", SOON).await.unwrap();
    let ready = crate::commands::asked(admin, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    let alive = crate::commands::asked(admin, "/healthz").await;
    assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
    let child = moorline.child();
    child.signal(Signal::TERM);
    let status = child.wait(SOON).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", child.tail());
    let text = child.tail();
    assert!(
        text.contains("not everything was drained in time"),
        "{text}"
    );
    // What was recorded waits in the spool for the next start.
    let spool = moorline.data().join("spool");
    let waiting = [files(&spool, "mp4"), files(&spool, "part")].concat();
    assert_ne!(waiting, Vec::<PathBuf>::new());
}

/// Recordings wait for a store that is away; cameras and people do not.
/// P8.
#[tokio::test(flavor = "multi_thread")]
async fn a_deaf_store_delays_neither_start_nor_stop() {
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let moorline = Moorline::with(deaf_store(&deaf, "1s")).await;
    let camera = simulated(&moorline, "yard", 1).await;
    moorline.until_recording("yard").await;
    let player = ffmpeg(&["-rtsp_transport", "tcp"], &moorline.url("rtsp", "yard"));
    assert_in_order(&player.pictures(20).await, 1);
    camera.stop().await;
    let log = moorline.stop_and_tell().await;
    assert!(!log.contains("store probe"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_and_serves_on() {
    let mut moorline = Moorline::start().await;
    let _camera = simulated(&moorline, "yard", 1).await;
    moorline.until_recording("yard").await;
    let player = ffmpeg(&["-rtsp_transport", "tcp"], &moorline.url("rtsp", "yard"));
    player.pictures(10).await;

    let config = moorline.place().join("moorline.toml");
    let before = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{before}\n[server]\nlog = \"debug\"\n")).unwrap();
    moorline.child().signal(Signal::HUP);
    moorline
        .child()
        .wait_for_line("reloaded: ", SOON)
        .await
        .unwrap();
    let address = moorline.address("rtsp");
    unplayable(&format!("rtsp://admin:wrong@{address}/yard")).await;
    moorline
        .child()
        .wait_for_line("\"level\":\"DEBUG\"", SOON)
        .await
        .unwrap();

    // What is wrong changes nothing.
    std::fs::write(&config, "[server]\nlogg = \"debug\"\n").unwrap();
    moorline.child().signal(Signal::HUP);
    let said = moorline
        .child()
        .wait_for_line("not reloaded", SOON)
        .await
        .unwrap();
    assert!(said.contains("logg"), "{said}");
    let seen = player.stamps().len();
    assert_in_order(&player.pictures(seen + 40).await, 1);
}

/// A server that must not start: what it says.
async fn refused(place: &Path, arguments: &[&str]) -> Output {
    let mut serve = command(place);
    serve.arg("serve");
    for door in ["ssh", "rtsp", "https", "admin"] {
        let flag = format!("--listen-{door}");
        if !arguments.contains(&flag.as_str()) {
            serve.args([&flag, "127.0.0.1:0"]);
        }
    }
    serve.args(arguments);
    let output = run("moorline serve", serve, SOON).await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_a_hint() {
    let moorline = Moorline::start().await;
    for door in ["ssh", "rtsp", "https", "admin"] {
        let place = temp_dir().unwrap();
        let taken = moorline.address(door).to_string();
        let output = refused(place.path(), &[&format!("--listen-{door}"), &taken]).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(&taken) && text.contains("hint: "), "{text}");
    }
    moorline.cli(&["camera", "list"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_data_directory_is_refused() {
    let moorline = Moorline::start().await;
    let output = refused(moorline.place(), &[]).await;
    let text = String::from_utf8_lossy(&output.stderr);
    let data = moorline.data().display().to_string();
    assert!(text.contains(&data) && text.contains("hint: "), "{text}");
    // The first one is not disturbed.
    moorline.cli(&["camera", "list"]).await;
    moorline.stop().await;
}

/// Without a server a command takes the directory itself, and gives it back; only a directory that was never served is none.
#[tokio::test(flavor = "multi_thread")]
async fn commands_work_without_a_server() {
    let nowhere = temp_dir().unwrap();
    let mut list = command(nowhere.path());
    list.args(["camera", "list"]);
    let output = run("moorline", list, SOON).await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text.contains("hint: start the server first"), "{text}");

    // A slip in its name: what lies there stays as it was, and readable by others.
    let others = nowhere.path().join("data");
    std::fs::create_dir(&others).unwrap();
    std::fs::write(others.join("somebody's"), "x").unwrap();
    std::fs::set_permissions(&others, std::fs::Permissions::from_mode(0o755)).unwrap();
    for words in [&["camera", "list"][..], &["doctor"]] {
        let mut command = command(nowhere.path());
        command.args(words);
        let output = run("moorline", command, SOON).await.unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text.contains("no server ever ran on"), "{text}");
    }
    let mode = std::fs::metadata(&others).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(std::fs::read_dir(&others).unwrap().count(), 1);

    let moorline = Moorline::start().await;
    let ready = moorline.ready().clone();
    let place = moorline.stop().await;
    for name in ["yard", "hall"] {
        let mut add = command(place.path());
        add.args(["camera", "add", name]);
        let output = run("moorline", add, SOON).await.unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let moorline = Moorline::on(place, &ready).await;
    let cameras = moorline.cli(&["camera", "list"]).await;
    let mut names: Vec<_> = cameras
        .as_array()
        .unwrap()
        .iter()
        .map(|camera| camera["id"].as_str())
        .collect();
    names.sort();
    assert_eq!(names, [Some("home/hall"), Some("home/yard")]);
}
