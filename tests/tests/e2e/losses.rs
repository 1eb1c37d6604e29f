//! What a store loses or cuts off after it had taken it is found and explained; a sequence that jumps loses nothing.

use std::path::{Path, PathBuf};

use moorline_simcam::Event;
use serde_json::Value;

use crate::faults_rig::{SHORT, SOON, Server, said};

/// The stored segments of a directory store, by key, which is by time.
fn segments(server: &Server) -> Vec<PathBuf> {
    fn walk(place: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => walk(&path, found),
                false if path.extension().is_some_and(|kind| kind == "mp4") => found.push(path),
                false => {}
            }
        }
    }
    let mut found = Vec::new();
    walk(&server.data().join("archive/v1"), &mut found);
    found.sort();
    found
}

/// The take in a segment's name.
fn take(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.split('_').nth(3).unwrap().to_owned()
}

/// As a disk does it: in the middle of the last picture, where neither length nor structure shows it.
fn turn_a_bit(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let mdat = bytes.windows(4).rposition(|four| four == b"mdat").unwrap();
    let middle = (mdat + bytes.len()) / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn what_the_store_lost_and_spoiled_is_found_and_becomes_a_gap_with_its_cause() {
    let server = Server::start(SHORT).await;
    let _yard = server.healthy("yard", 2).await;
    let stored = moorline_testkit::eventually("too few segments", SOON, || async {
        let stored = segments(&server);
        (stored.len() >= 6).then_some(stored)
    })
    .await;
    let clean = server.cli(&["segments", "verify", "--full"]).await;
    assert_eq!(clean["findings"], Value::Array(Vec::new()));
    assert_eq!(server.gaps("yard").await, [""; 0]);

    std::fs::remove_file(&stored[2]).unwrap();
    turn_a_bit(&stored[3]);
    let mut bytes = std::fs::read(&stored[4]).unwrap();
    bytes.truncate(bytes.len() * 2 / 3);
    std::fs::write(&stored[4], bytes).unwrap();

    let output = server
        .command(&["--output", "json", "segments", "verify", "--full"])
        .await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kinds: Vec<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["damaged", "damaged", "lost"], "{found}");
    for (finding, (spoiled, why)) in [(&stored[3], "checksum"), (&stored[4], "cut off")]
        .into_iter()
        .enumerate()
    {
        let finding = &found["findings"][finding];
        let name = spoiled.file_name().unwrap().to_str().unwrap();
        assert!(
            finding["key"].as_str().unwrap().ends_with(name),
            "{finding}"
        );
        assert!(finding["why"].as_str().unwrap().contains(why), "{finding}");
    }
    assert_eq!(server.gaps("yard").await, ["store_lost"]);
    server.moves_on("yard").await;
    server.stop().await;
}

#[tokio::test]
async fn a_camera_whose_sequence_numbers_jump_is_recorded_on_in_the_same_take() {
    let server = Server::start(SHORT).await;
    let yard = server.healthy("yard", 2).await;
    yard.source.faults().fire(Event::SequenceJump);
    server.moves_on("yard").await;
    server.nothing_lost("yard", 2).await;
    assert_eq!(server.gaps("yard").await, [""; 0]);
    let takes: std::collections::BTreeSet<String> =
        segments(&server).iter().map(|path| take(path)).collect();
    assert_eq!(takes.len(), 1, "{takes:?}");
    server.stop().await;
}
