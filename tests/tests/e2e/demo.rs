//! `moorline demo`: the first thing that anybody does with Moorline.

use std::{fs, path::PathBuf, time::Duration};

use moorline_testkit::{
    child::{Child, Signal, run},
    eventually, temp_dir,
};
use serde_json::Value;
use tokio::process::Command;

use crate::support::{SOON, ffmpeg};

/// The demo takes two debug servers' worth of work to start.
const STARTED: Duration = Duration::from_secs(40);

struct Demo {
    child: Child,
    shown: Value,
    /// Its temporary directory, so that what is left is seen.
    temporary: moorline_testkit::tempfile::TempDir,
}

impl Demo {
    async fn start(arguments: &[&str]) -> Self {
        let temporary = temp_dir().unwrap();
        let mut command = Command::new(moorline_tests::moorline());
        command
            .current_dir(temporary.path())
            .env("TMPDIR", temporary.path());
        command.args(["--output", "json", "demo"]).args(arguments);
        let child = Child::spawn("moorline demo", command).unwrap();
        let shown = child.wait_for_after(0, "its line", STARTED, |line| {
            let shown: Value = serde_json::from_str(line).ok()?;
            shown.get("stream_password").is_some().then_some(shown)
        });
        let shown = shown.await.unwrap_or_else(|error| panic!("{error}"));
        Self {
            child,
            shown,
            temporary,
        }
    }

    /// Both cameras can be watched with what was shown.
    async fn plays(&self) {
        let urls = self.shown["rtsp"].as_array().unwrap();
        assert_eq!(urls.len(), 2, "{}", self.shown);
        for (number, url) in urls.iter().enumerate() {
            let player = ffmpeg(&["-rtsp_transport", "tcp"], url.as_str().unwrap());
            let stamps = player.pictures(10).await;
            assert!(
                stamps.iter().all(|stamp| stamp.camera == number as u32 + 1),
                "{stamps:?}"
            );
        }
    }

    /// Both cameras' recordings are to be seen, as the page shows them.
    async fn records(&self) {
        let data = self.shown["server"]["data"].as_str().unwrap();
        for name in ["camera-1", "camera-2"] {
            eventually("recordings", SOON, || async {
                let mut list = Command::new(moorline_tests::moorline());
                list.args(["--data", data, "--output", "json", "segments", "list", name]);
                let output = run("moorline", list, SOON).await.unwrap();
                let rows: Value = serde_json::from_slice(&output.stdout).ok()?;
                let mut rows = rows.as_array()?.iter();
                rows.any(|row| row["kind"] == "recorded").then_some(())
            })
            .await;
        }
    }

    /// It is not warned that its cameras come from where they are.
    async fn is_not_behind_a_proxy(&self) {
        let data = self.shown["server"]["data"].as_str().unwrap();
        let mut doctor = Command::new(moorline_tests::moorline());
        doctor.args(["--data", data, "--output", "json", "doctor"]);
        let output = run("moorline", doctor, SOON).await.unwrap();
        let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut checks = findings.as_array().unwrap().iter();
        assert!(
            checks.all(|finding| finding["check"] != "addresses"),
            "{findings:#}"
        );
    }

    /// It has ended well: no process, no file.
    async fn leaves_nothing(mut self) {
        let pid = self.child.pid().unwrap();
        let children = children(pid);
        let status = self.child.wait(Duration::from_secs(60)).await;
        let status = status.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(status.code(), Some(0), "{}", self.child.tail());
        let left: Vec<PathBuf> = fs::read_dir(self.temporary.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "left behind");
        for child in children {
            // Whoever inherits it may take a moment to bury it.
            eventually(&format!("process {child} still runs"), SOON, async || {
                (!fs::exists(format!("/proc/{child}")).unwrap()).then_some(())
            })
            .await;
        }
    }
}

fn children(parent: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_plays_what_it_shows_and_control_c_leaves_nothing() {
    let demo = Demo::start(&[]).await;
    for field in ["page", "user", "password", "stream_password"] {
        let text = demo.shown[field].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "no {field}: {}", demo.shown);
    }
    assert!(
        demo.shown["page"]
            .as_str()
            .unwrap()
            .starts_with("https://localhost:")
    );
    demo.plays().await;
    demo.records().await;
    demo.is_not_behind_a_proxy().await;
    demo.child.signal(Signal::INT);
    demo.leaves_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_with_the_real_dbclient_leaves_by_itself() {
    // Enough for a machine that takes seconds to start a program.
    let demo = Demo::start(&["--dbclient", "--leave-after", "25s"]).await;
    let pid = demo.child.pid().unwrap();
    eventually("the child", SOON, || async {
        (children(pid).len() == 1).then_some(())
    })
    .await;
    let url = demo.shown["rtsp"][1].as_str().unwrap();
    let player = ffmpeg(&["-rtsp_transport", "tcp"], url);
    player.pictures(10).await;
    demo.leaves_nothing().await;
}

#[tokio::test]
async fn demo_that_cannot_tell_its_passwords_says_so_and_stops_what_it_started() {
    let place = temp_dir().unwrap();
    let mut command = Command::new("sh");
    command
        .current_dir(place.path())
        .args(["-c", "exec \"$0\" --data data demo --keep >/dev/full"])
        .arg(moorline_tests::moorline());
    let output = run("moorline demo", command, 2 * STARTED).await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("No space left"), "{told}");
    // A server that has stopped takes its socket with it.
    let data = fs::read_dir(place.path().join("data")).unwrap();
    let left: Vec<_> = data.map(|entry| entry.unwrap().path()).collect();
    let sockets = left.iter().filter(|path| is_socket(path));
    assert_eq!(sockets.count(), 0, "{left:?}");
}

fn is_socket(path: &std::path::Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    fs::metadata(path).unwrap().file_type().is_socket()
}
