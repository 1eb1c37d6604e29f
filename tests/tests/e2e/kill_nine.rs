//! `kill -9` at random instants (P3): what was synced is there after the restart, and at most two seconds are not.

use std::collections::BTreeMap;

use moorline_simcam::{Camera, video::Stamp};
use moorline_testkit::{Starved, child::Signal, eventually};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use crate::support::{Moorline, SOON, exported, simulated};

const CAMERAS: usize = 10;
/// What may be lost of a camera at a kill, in microseconds.
const MOST_LOST_US: u64 = 2_000_000;

/// What was known of a camera at the instant of a kill.
struct Kill {
    /// When, in microseconds since the Unix epoch.
    at_us: u64,
    /// For how long the machine had kept the server waiting, in microseconds: pictures wait with it.
    late_us: u64,
    /// Up to where each camera's media was said to be on disk before.
    synced: BTreeMap<String, Value>,
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_of_ten_cameras_lose_nothing_that_was_synced() {
    kills(10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 100 kills take about 4 minutes"]
async fn a_hundred_kills_of_ten_cameras_lose_nothing_that_was_synced() {
    kills(100).await;
}

fn now_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_micros()).unwrap()
}

#[expect(clippy::print_stderr, reason = "the seed of a failed run")]
async fn kills(count: usize) {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut moorline = Moorline::with_short_segments().await;
    let mut cameras = Vec::new();
    for number in 0..CAMERAS {
        let name = format!("camera-{number}");
        cameras.push((simulated(&moorline, &name, number as u32).await, name));
    }
    let mut kills = Vec::new();
    for _ in 0..count {
        all_recording(&moorline).await;
        let starved = Starved::begin();
        random_instant(&cameras[0].0, &mut random).await;
        let synced = synced(&moorline).await;
        let late_us = u64::try_from(starved.so_far().as_micros()).unwrap();
        moorline.child().signal(Signal::KILL);
        let at_us = now_us();
        kills.push(Kill {
            at_us,
            late_us,
            synced,
        });
        moorline = moorline.kill_and_restart().await;
    }
    all_recording(&moorline).await;
    for (number, (camera, name)) in cameras.into_iter().enumerate() {
        camera.stop().await;
        let file = moorline.place().join(format!("{name}.mp4"));
        let path = file.to_str().unwrap();
        moorline
            .cli(&["segments", "export", &name, "--from", "1h", "-f", path])
            .await;
        check(&name, number as u32, &exported(&file).await, &kills);
        let rows = moorline.segments(&name).await;
        check_synced(&name, &rows, &kills);
    }
    let verified = moorline.cli(&["segments", "verify", "--full"]).await;
    assert_eq!(verified["findings"], serde_json::json!([]));
}

async fn all_recording(moorline: &Moorline) {
    for number in 0..CAMERAS {
        moorline.until_recording(&format!("camera-{number}")).await;
    }
}

/// Between 0 and 2 s of pictures later: the camera's own rhythm is the clock.
async fn random_instant(camera: &Camera, random: &mut StdRng) {
    let until = camera.source().counters().pictures + random.random_range(0..40);
    eventually("some more pictures", SOON, || async {
        (camera.source().counters().pictures >= until).then_some(())
    })
    .await;
}

/// Up to where each camera is said to be on disk.
async fn synced(moorline: &Moorline) -> BTreeMap<String, Value> {
    let views = moorline.get("/cameras").await;
    let views = views.as_array().unwrap().iter();
    views
        .filter_map(|view| {
            let name = view["id"].as_str()?.strip_prefix("home/")?;
            let synced = &view["status"]["archive"]["synced_until"];
            synced
                .is_string()
                .then(|| (name.to_owned(), synced.clone()))
        })
        .collect()
}

/// Every picture is there once and in order, but for those around a kill.
fn check(name: &str, number: u32, recorded: &[Stamp], kills: &[Kill]) {
    assert!(
        recorded.iter().all(|stamp| stamp.camera == number),
        "{name}: of another camera"
    );
    let mut jumps = 0;
    for pair in recorded.windows(2) {
        let (last, next) = (pair[0], pair[1]);
        assert!(
            next.frame > last.frame,
            "{name}: {} after {}",
            next.frame,
            last.frame
        );
        if next.frame == last.frame + 1 {
            continue;
        }
        let kill = kills
            .iter()
            .find(|kill| last.sent_us <= kill.at_us && kill.at_us <= next.sent_us);
        let Some(kill) = kill else {
            panic!(
                "{name}: pictures {} to {} are missing without a kill",
                last.frame, next.frame
            );
        };
        let lost = kill.at_us - last.sent_us;
        let most = MOST_LOST_US + kill.late_us;
        assert!(lost <= most, "{name}: {lost} µs lost by a kill");
        jumps += 1;
    }
    assert!(
        jumps > 0 && jumps <= kills.len(),
        "{name}: {jumps} jumps at {} kills",
        kills.len()
    );
}

/// What was told to be on disk before a kill is in a recorded stretch after it.
fn check_synced(name: &str, rows: &[Value], kills: &[Kill]) {
    let told = kills.iter().filter_map(|kill| kill.synced.get(name));
    let mut looked = 0;
    for told in told {
        let at = millis(told);
        let kept = rows.iter().any(|row| {
            let (from, to) = (millis(&row["from"]), millis(&row["to"]));
            row["kind"] == "recorded" && from < at && at <= to
        });
        assert!(
            kept,
            "{name}: {told} was synced and is in none of {rows:#?}"
        );
        looked += 1;
    }
    assert_eq!(
        looked,
        kills.len(),
        "{name}: nothing was told before a kill"
    );
}

fn millis(instant: &Value) -> i64 {
    let instant: jiff::Timestamp = instant.as_str().unwrap().parse().unwrap();
    instant.as_millisecond()
}
