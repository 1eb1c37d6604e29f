//! Commands of the operator against a running server, each to its end: a camera that is refused, let in again and erased, people, the log
//! level, health, a reload.

use std::net::SocketAddr;
use std::path::Path;

use moorline_base::files::{Access, write_atomic};
use moorline_testkit::child::Signal;
use moorline_testkit::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Moorline, SOON, Setup, assert_in_order, exported, simulated};

/// Files that hold pictures.
fn media(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(media(&path));
        } else if path
            .extension()
            .is_some_and(|end| end == "mp4" || end == "part")
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_refused_let_in_again_and_erased_while_it_records() {
    let moorline = Moorline::with_short_segments().await;
    let _camera = simulated(&moorline, "yard", 1).await;
    let _other = simulated(&moorline, "door", 2).await;
    moorline.until_recording("yard").await;
    moorline.until_recording("door").await;

    moorline.cli(&["camera", "disable", "yard"]).await;
    let is_absent = |view: &serde_json::Value| view["status"]["link"]["state"] == "absent";
    let view = moorline.until("yard", "refused", is_absent).await;
    assert_eq!(view["enabled"], "disabled", "{view:#}");
    moorline.cli(&["camera", "enable", "yard"]).await;
    moorline.until_recording("yard").await;

    moorline
        .cli(&["camera", "disable", "--stolen", "yard"])
        .await;
    let calls = |view: &serde_json::Value| view["status"]["notices"].to_string().contains("stolen");
    moorline.until("yard", "its call is told", calls).await;
    moorline.cli(&["camera", "enable", "yard"]).await;
    moorline.until_recording("yard").await;

    moorline
        .cli(&["camera", "rm", "yard", "--erase", "--yes"])
        .await;
    let left: Vec<String> = media(&moorline.data())
        .into_iter()
        .filter(|path| path.contains("/yard/"))
        .collect();
    assert_eq!(left, [""; 0], "recordings were erased");
    assert!(!media(&moorline.data()).is_empty(), "another camera's stay");
    let listed = moorline.cli(&["camera", "list"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");

    moorline.cli(&["camera", "rm", "door", "--yes"]).await;
    assert!(
        !media(&moorline.data()).is_empty(),
        "without --erase recordings stay"
    );
    let again = moorline.try_cli(&["camera", "rm", "door", "--yes"]).await;
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    moorline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_listed_and_get_new_passwords() {
    let moorline = Moorline::start().await;
    let added = moorline.cli(&["user", "add", "vera"]).await;
    let listed = moorline.cli(&["user", "list"]).await;
    let logins: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|user| &user["login"])
        .collect();
    assert_eq!(logins, ["admin", "vera"]);
    let web = moorline.cli(&["user", "passwd", "vera"]).await;
    assert_ne!(web["password"], added["password"]);
    assert!(web["password"].is_string(), "{web}");
    let stream = moorline.cli(&["user", "passwd", "vera", "--stream"]).await;
    assert_ne!(stream["stream_password"], added["stream_password"]);
    assert!(stream["stream_password"].is_string(), "{stream}");

    moorline.cli(&["user", "rm", "vera"]).await;
    let audit = moorline.cli(&["audit", "--user", "vera"]).await;
    let entries = audit.as_array().unwrap().iter();
    let done: Vec<_> = entries
        .map(|entry| {
            let word = |field: &str| entry[field].as_str().unwrap();
            (word("actor"), word("event"))
        })
        .collect();
    let newest_first = [
        "user_remove",
        "user_stream_password",
        "user_password",
        "user_add",
    ];
    assert_eq!(
        done,
        newest_first.map(|event| ("command line", event)),
        "{audit:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_shown_and_completions_are_printed() {
    let moorline = Moorline::with_short_segments().await;
    let shown = moorline.cli(&["config", "show"]).await;
    let toml = shown["toml"].as_str().unwrap();
    assert!(toml.contains("segment = \"2s\""), "{toml}");
    for shell in ["bash", "zsh", "fish"] {
        let printed = moorline.cli(&["completions", shell]).await;
        let script = printed["script"].as_str().unwrap();
        assert!(script.contains("hang-up"), "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_level_changes_while_the_server_runs_and_a_reload_names_what_it_did_not_take() {
    let mut moorline = Moorline::with_short_segments().await;
    let set = moorline.cli(&["log", "info,moorline=debug"]).await;
    assert_eq!(set["filter"], "info,moorline=debug");
    // At that level alone a stranger who goes without a word is worth a line.
    drop(TcpStream::connect(moorline.address("ssh")).await.unwrap());
    let said = moorline.child();
    let said = said.wait_for_line("connection ended without a login", SOON);
    said.await.unwrap_or_else(|error| panic!("{error}"));
    let wrong = moorline.try_cli(&["log", "moorline=loud"]).await;
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");

    let file = moorline.place().join("moorline.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text + "[tunnel]\ngrace = \"7s\"\n[server]\nlog = \"warn\"\n",
    )
    .unwrap();
    let child = moorline.child();
    child.signal(Signal::HUP);
    let told = child
        .wait_for_line("take effect at a restart", SOON)
        .await
        .unwrap();
    assert!(told.contains("tunnel.grace"), "{told}");
    assert!(!told.contains("server.log"), "{told}");
}

/// Whoever searches the log for a camera, or for one of its tunnels, finds what monitor, relay and recorder did for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_for_a_camera_is_logged_with_its_name_and_generation() {
    let moorline = Moorline::start().await;
    let camera = simulated(&moorline, "yard", 1).await;
    moorline.until_recording("yard").await;
    camera.stop().await;
    let log = moorline.stop_and_tell().await;
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    for message in ["camera up", "the camera plays", "take ended"] {
        let line = lines.iter().find(|line| line["message"] == message);
        let line = line.unwrap_or_else(|| panic!("no {message:?} in {log}"));
        let spans = line["spans"].as_array().unwrap();
        let field = |name: &str| {
            let found = spans.iter().find_map(|span| span.get(name));
            found.map(|value| value.to_string().replace('"', ""))
        };
        assert_eq!(field("camera").as_deref(), Some("home/yard"), "{line}");
        assert_eq!(field("generation").as_deref(), Some("1"), "{line}");
    }
}

/// P10: a secret in a file of its own is compared, never shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_names_the_secrets_that_changed() {
    let place = moorline_testkit::temp_dir().unwrap();
    let file = place.path().join("secret-key");
    let put = |secret: &str| {
        write_atomic(&file, secret.as_bytes(), Access::Private).unwrap();
    };
    put("hunter2\n");
    let mut moorline = Moorline::with(Setup {
        sections: format!("[s3]\nsecret_key_file = {file:?}\n"),
        ..Setup::default()
    })
    .await;
    let child = moorline.child();
    child.signal(Signal::HUP);
    let unchanged = child.wait_for_line("reloaded: ", SOON).await;
    unchanged.unwrap();
    let mark = child.mark();
    put("hunter3\n");
    child.signal(Signal::HUP);
    let told = child
        .wait_for_after(mark, "what waits", SOON, |line| {
            line.contains("take effect at a restart")
                .then(|| line.to_owned())
        })
        .await
        .unwrap();
    assert!(told.contains("s3.secret_key"), "{told}");
    let log = moorline.stop_and_tell().await;
    assert_eq!(log.matches("take effect at a restart").count(), 1, "{log}");
    assert!(!log.contains("hunter"), "{log}");
}

pub(crate) async fn asked(admin: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// S34.
#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_says_that_the_server_lives_and_listens() {
    let moorline = Moorline::start().await;
    let admin = moorline.address("admin");
    for path in ["/healthz", "/readyz"] {
        eventually("ready", SOON, || async {
            let answer = asked(admin, path).await;
            answer.starts_with("HTTP/1.1 200").then_some(())
        })
        .await;
    }
    let metrics = asked(admin, "/metrics").await;
    assert!(metrics.contains("moorline_cameras"), "{metrics}");
    let nothing = asked(admin, "/api/v1/log").await;
    assert!(
        nothing.starts_with("HTTP/1.1 404"),
        "it only reads: {nothing}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_of_a_removed_camera_are_reached_through_its_name() {
    let moorline = Moorline::with_short_segments().await;
    let _camera = simulated(&moorline, "yard", 1).await;
    let stored = |rows: Vec<serde_json::Value>| {
        let rows = rows.into_iter().filter(|row| row["held"] == "store");
        rows.map(|row| row["key"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = eventually("segments in the store", SOON, || async {
        let keys = stored(moorline.segments("yard").await);
        (keys.len() >= 2).then_some(keys)
    })
    .await;
    moorline.cli(&["camera", "rm", "yard"]).await;

    let list = ["segments", "list", "yard", "--from", "1h"];
    let refused = moorline.try_cli(&list).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("camera add yard --record off"), "{told}");

    let add = ["camera", "add", "yard", "--record", "off"];
    moorline
        .cli(&[&add[..], &["--key-file", "again.key"]].concat())
        .await;
    let after = stored(moorline.segments("yard").await);
    assert_eq!(&after[..before.len()], before);
    let file = moorline.place().join("yard.mp4");
    let export = ["segments", "export", "yard", "--from", "1h", "-f"];
    moorline
        .cli(&[&export[..], &[file.to_str().unwrap()]].concat())
        .await;
    let pictures = exported(&file).await;
    assert_in_order(&pictures, 1);
    assert!(pictures.len() > 40, "{} pictures", pictures.len());
}
