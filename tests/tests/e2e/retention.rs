//! What is kept and for how long, seen over a running server: days by the camera's class, room by the oldest first; what is gone is told as expired.

use std::path::{Path, PathBuf};

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use moorline_simcam::Key;
use moorline_testkit::{eventually, tempfile::TempDir};
use serde_json::Value;

use crate::faults_device::small;
use crate::faults_rig::{SOON, Server};

/// Hours back from now.
const TOO_OLD: i64 = 15 * 24;
const OLD: i64 = 13 * 24;
const YESTERDAY: i64 = 24;

/// The stored segments of a camera.
fn segments(data: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![data.join("archive/v1")];
    while let Some(place) = open.pop() {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|kind| kind == "mp4") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The same recording as if it had been made so many hours ago: time stands in its name alone.
fn aged(segment: &Path, hours: i64) -> PathBuf {
    let then = Timestamp::now() - hours.hours();
    let then = then.to_zoned(TimeZone::UTC);
    let name = segment.file_name().unwrap().to_str().unwrap();
    let (_, rest) = name.split_once('_').unwrap();
    let day = segment.ancestors().nth(4).unwrap();
    let folder = day.join(then.strftime("%Y/%m/%d").to_string());
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{}.000Z_{rest}", then.strftime("%H%M%S")));
    std::fs::copy(segment, &path).unwrap();
    path
}

/// What the list says of the two hours around an instant.
async fn kinds(server: &Server, hours: i64) -> Vec<String> {
    let from = (Timestamp::now() - (hours + 1).hours()).to_string();
    let to = (Timestamp::now() - (hours - 1).hours()).to_string();
    let rows = server
        .cli(&["segments", "list", "yard", "--from", &from, "--to", &to])
        .await;
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row["kind"].as_str().unwrap().to_owned())
        .collect()
}

async fn is_gone(path: &Path) {
    eventually(&format!("{} stays", path.display()), SOON, || async {
        (!path.exists()).then_some(())
    })
    .await;
}

/// A server whose archive was changed while it was stopped.
struct Again<T> {
    server: Server,
    aged: T,
    key: Key,
    _place: TempDir,
}

/// A server that has recorded, is stopped, and starts again with other settings over what `age` has done to its archive.
async fn again<T>(settings: &str, age: impl FnOnce(&Path) -> T) -> Again<T> {
    let place = moorline_testkit::temp_dir().unwrap();
    let data = place.path().join("data");
    let first = "[archive]\nsegment = \"2s\"\ndisk_free = \"64MiB\"\n";
    let server = Server::start_in(&data, first).await;
    let key = server.add("yard", &[]).await;
    let yard = server.call("yard", &key, small(1), &[]);
    server.moves_on("yard").await;
    yard.tunnel.stop().await;
    server.stop().await;
    let aged = age(&data);
    let settings = format!("[archive]\nsegment = \"2s\"\n{settings}");
    let server = Server::start_in(&data, &settings).await;
    Again {
        server,
        aged,
        key,
        _place: place,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_its_days_goes_and_is_told_as_expired() {
    let again = again("disk_free = \"64MiB\"\n", |data| {
        let segment = segments(data).remove(0);
        (aged(&segment, TOO_OLD), aged(&segment, OLD))
    })
    .await;
    let (server, (gone, kept)) = (&again.server, &again.aged);
    is_gone(gone).await;
    assert!(kept.exists(), "14 days are not over");
    assert!(kinds(server, OLD).await.contains(&"recorded".to_owned()));
    assert_eq!(kinds(server, TOO_OLD).await, ["expired"]);
    let shown = server.camera("yard").await;
    assert_eq!(shown["retention"], "r014", "{shown}");
    let _yard = server.call("yard", &again.key, small(1), &[]);
    server.moves_on("yard").await;
    again.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_disk_gets_full_the_oldest_go_and_recording_goes_on() {
    let place = moorline_testkit::temp_dir().unwrap();
    let free = available(place.path()).await;
    // Not below the bound, where recording would stop, and so near that room is made.
    let settings = format!("disk_free = {:?}\n", format!("{}MiB", free * 95 / 100));
    let again = again(&settings, |data| {
        let segment = segments(data).remove(0);
        (aged(&segment, OLD), aged(&segment, YESTERDAY))
    })
    .await;
    let server = &again.server;
    is_gone(&again.aged.0).await;
    is_gone(&again.aged.1).await;
    // What is younger than an hour stays, whoever fills the disk.
    let rows = server
        .cli(&["segments", "list", "yard", "--from", "1h"])
        .await;
    let recorded = |row: &&Value| row["kind"] == "recorded";
    assert!(
        rows.as_array().unwrap().iter().any(|row| recorded(&row)),
        "{rows}"
    );
    assert!(kinds(server, OLD).await.contains(&"expired".to_owned()));
    let _yard = server.call("yard", &again.key, small(1), &[]);
    server.moves_on("yard").await;
    again.server.stop().await;
}

/// MiB that are free where a place lies.
async fn available(place: &Path) -> u64 {
    let output = tokio::process::Command::new("df")
        .args(["-B1M", "--output=avail"])
        .arg(place)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().nth(1).unwrap().trim().parse().unwrap()
}
