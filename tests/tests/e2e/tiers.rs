//! A camera whose recording is changed from its full picture to its smaller stream and back: one archive.

use std::sync::Arc;

use moorline_simcam::video::{Generated, Shape};
use moorline_simcam::{SourceConfig, Stream};
use serde_json::Value;

use crate::faults_device::stamps;
use crate::faults_rig::{SHORT, SOON, Server};

/// A film at `/main` and a smaller one at `/sub`, a key frame a second.
pub(crate) fn two_streams(number: u32) -> SourceConfig {
    let stream = |path: &str, width, height| {
        let shape = Shape {
            width,
            height,
            fps: 10,
            bitrate: 200_000,
            gop: 10,
            ..Shape::default()
        };
        Stream {
            path: path.to_owned(),
            film: Arc::new(Generated::new(shape)),
            other_film: None,
            audio: None,
        }
    };
    let streams = vec![stream("main", 320, 176), stream("sub", 160, 96)];
    SourceConfig::of(number, streams)
}

async fn rows(server: &Server) -> Vec<Value> {
    let rows = server
        .cli(&["segments", "list", "yard", "--from", "1h"])
        .await;
    rows.as_array().unwrap().clone()
}

/// The tiers that follow each other, each once.
fn tiers(rows: &[Value]) -> Vec<&str> {
    let mut tiers: Vec<&str> = rows.iter().filter_map(|row| row["tier"].as_str()).collect();
    tiers.dedup();
    tiers
}

/// Waits until two more segments of the camera's present recording are stored.
async fn recorded(server: &Server, expected: &[&str]) -> Vec<Value> {
    moorline_testkit::eventually("the new recording is not stored", SOON, || async {
        let rows = rows(server).await;
        let last = rows
            .iter()
            .rev()
            .filter(|row| row["held"] == "store")
            .take(2);
        let settled = last
            .filter(|row| row["tier"] == *expected.last().unwrap())
            .count()
            == 2;
        (settled && tiers(&rows) == expected).then_some(rows)
    })
    .await
}

#[tokio::test]
async fn after_a_change_of_stream_both_recordings_are_reached() {
    let server = Server::start(SHORT).await;
    let key = server.add("yard", &["--sub-path", "/sub"]).await;
    let _camera = server.call("yard", &key, two_streams(6), &[]);
    recorded(&server, &["full"]).await;
    let before = server.moves_on("yard").await;
    server
        .cli(&["camera", "set", "yard", "--record", "sub"])
        .await;
    let both = recorded(&server, &["full", "low"]).await;
    let unexplained = both
        .iter()
        .filter(|row| row["kind"] == "unexplained")
        .count();
    assert_eq!(unexplained, 0, "{both:?}");
    let first_low = both.iter().find(|row| row["tier"] == "low").unwrap();
    let change = first_low["from"].as_str().unwrap();
    assert!(
        server.moves_on("yard").await > before,
        "durable until goes on"
    );

    // One file cannot hold both, and says where to cut; cut there it does.
    let file = server.data().with_extension("clip.mp4");
    let path = file.to_str().unwrap();
    let export = [
        "segments", "export", "yard", "--force", "-f", path, "--from",
    ];
    let whole = [&export[..], &["1h"]].concat();
    let refused = server.refused(&whole).await;
    let words = format!("the picture format changes at {change}");
    assert!(
        refused.contains(&words) && refused.contains("--source"),
        "{refused}"
    );
    let width = || {
        let bytes = std::fs::read(&file).unwrap();
        let found = stamps(&bytes);
        assert!(found.len() > 10, "{} pictures", found.len());
        // The sample entry's width lies 24 bytes behind its four letters.
        let at = bytes.windows(4).position(|four| four == b"avc1").unwrap();
        u16::from_be_bytes([bytes[at + 28], bytes[at + 29]])
    };
    for (more, expected) in [
        (["1h", "--to", change], 320),
        (["1h", "--source", "main"], 320),
        (["1h", "--source", "sub"], 160),
    ] {
        server.cli(&[&export[..], &more].concat()).await;
        assert_eq!(width(), expected, "{more:?}");
    }
    let only = [
        "segments", "list", "yard", "--from", "1h", "--source", "main",
    ];
    let only = server.cli(&only).await;
    let rows = only.as_array().unwrap();
    let other = rows
        .iter()
        .any(|row| row["kind"] == "other" && row["tier"] == "low");
    assert!(other, "what the other has is missing here: {rows:?}");

    server
        .cli(&["camera", "set", "yard", "--record", "main"])
        .await;
    let back = recorded(&server, &["full", "low", "full"]).await;
    let unexplained = back
        .iter()
        .filter(|row| row["kind"] == "unexplained")
        .count();
    assert_eq!(unexplained, 0, "{back:?}");
    let found = server.cli(&["segments", "verify", "--full"]).await;
    assert_eq!(found["findings"], Value::Array(Vec::new()));
    let stored = back.iter().filter(|row| row["held"] == "store").count();
    assert!(
        found["objects"].as_u64().unwrap() >= stored as u64,
        "both tiers are verified: {found}"
    );
    server.stop().await;
}

#[tokio::test]
async fn one_path_for_both_streams_is_refused_and_nothing_is_changed() {
    let server = Server::start(SHORT).await;
    let key = moorline_simcam::Key::generate().unwrap().public_line();
    let refused = async |arguments: &[&str]| {
        let told = server.refused(arguments).await;
        assert!(told.contains("this is the path of main"), "{told}");
    };
    let add = ["camera", "add", "yard", "--key", &key];
    for sub in ["/main", "/main/"] {
        refused(&[&add[..], &["--path", "/main", "--sub-path", sub]].concat()).await;
    }
    let cameras = server.cli(&["camera", "list"]).await;
    assert_eq!(cameras, Value::Array(Vec::new()));

    server.add("yard", &["--sub-path", "/sub"]).await;
    let set = ["camera", "set", "yard"];
    for change in [["--sub-path", "/main"], ["--path", "/sub"]] {
        refused(&[&set[..], &change].concat()).await;
    }
    let yard = server.camera("yard").await;
    assert_eq!(
        (&yard["main"]["path"], &yard["sub"]["path"]),
        (&"/main".into(), &"/sub".into())
    );
    server.stop().await;
}
