//! Pictures for browsers: what `live` and `poster` give is what ffmpeg decodes.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod stage;

use std::time::{Duration, Instant};

use moorline_core::SourceName;
use moorline_core::port::{LiveFeed, LiveItem, RelayError, Relays};
use moorline_core::status::RelayState;
use moorline_simcam::video::{STAMP_UUID, Stamp};
use moorline_testkit::{Starved, child, peer};
use stage::camera::unix_micros;
use stage::{Fault, PATIENCE, Script, Stage, id, record};

const LONG: Duration = Duration::from_secs(60);

/// What the ring keeps for a browser that is slow.
const HISTORY: Duration = Duration::from_millis(300);

async fn next(feed: &mut Box<dyn LiveFeed>) -> LiveItem {
    tokio::time::timeout(PATIENCE, feed.next())
        .await
        .expect("an item in time")
        .expect("an item")
}

/// What ffprobe says of every picture and sound frame of a file.
async fn frames(bytes: &[u8], select: &str) -> Vec<String> {
    let directory = moorline_testkit::temp_dir().unwrap();
    let path = directory.path().join("live.mp4");
    std::fs::write(&path, bytes).unwrap();
    let mut ffprobe = peer::FFPROBE.command().unwrap();
    ffprobe.args(["-v", "error", "-select_streams", select, "-show_entries"]);
    ffprobe.args(["frame=pts_time,width,key_frame", "-of", "csv=p=0"]);
    ffprobe.arg(&path);
    let output = child::run("ffprobe", ffprobe, LONG).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The stamp of the first picture in a file.
fn first_stamp(file: &[u8]) -> Stamp {
    let mark = [&[6_u8, 5, 36][..], &STAMP_UUID[..]].concat();
    let at = file
        .windows(mark.len())
        .position(|window| window == mark.as_slice());
    Stamp::from_nal(&file[at.expect("a stamped picture")..]).expect("a stamp")
}

async fn collect(feed: &mut Box<dyn LiveFeed>, fragments: usize) -> (String, Vec<u8>, Vec<bool>) {
    let LiveItem::Init { mime, bytes } = next(feed).await else {
        panic!("an init comes first");
    };
    let (mut file, mut keys) = (bytes.to_vec(), Vec::new());
    while keys.len() < fragments {
        match next(feed).await {
            LiveItem::Fragment { bytes, key, .. } => {
                file.extend_from_slice(&bytes);
                keys.push(key);
            }
            LiveItem::Init { .. } => panic!("parameters have not changed"),
        }
    }
    (mime, file, keys)
}

#[tokio::test]
async fn a_browser_gets_the_last_group_at_once_and_then_picture_by_picture() {
    let stage = Stage::new(vec![record("yard")]).await;
    let mut script = Script::clip(1);
    script.sound = Some("8 PCMA/8000");
    stage.yard.up("yard", script);
    let _relay = stage.relay("yard");
    let camera = id("yard");
    let mut first = stage
        .hub
        .live(&camera, SourceName::Main, "ann")
        .await
        .unwrap();
    let (mime, file, keys) = collect(&mut first, 30).await;
    assert!(mime.starts_with("video/mp4; codecs=\"avc1."), "{mime}");
    assert!(mime.ends_with(",flac\""), "{mime}");
    assert!(keys[0]);
    let pictures = frames(&file, "v").await;
    assert!(pictures.len() >= 30, "{} pictures", pictures.len());
    let sounds = frames(&file, "a").await;
    assert!(sounds.len() >= 20, "{} frames of sound", sounds.len());
    // A second browser need not wait for a key frame: it begins with one that was filmed before, unless the next came at this very moment.
    let mut at_once = Vec::new();
    for _ in 0..3 {
        let starved = Starved::begin();
        let (asked, since) = (unix_micros(), Instant::now());
        let mut another = stage
            .hub
            .live(&camera, SourceName::Main, "ann")
            .await
            .unwrap();
        let (_, file, keys) = collect(&mut another, 1).await;
        let took = since.elapsed();
        let soon = took < Duration::from_millis(150) + starved.so_far();
        at_once.push((soon && first_stamp(&file).sent_us < asked, took));
        assert!(keys[0]);
        assert!(!frames(&file, "v").await.is_empty());
    }
    assert!(at_once.iter().any(|(at_once, _)| *at_once), "{at_once:?}");
}

#[tokio::test]
async fn the_poster_is_one_key_frame_and_stays_when_the_camera_is_let_go() {
    let relay = moorline_proxy::RelayConfig {
        linger: Duration::from_millis(200),
        ..moorline_proxy::RelayConfig::default()
    };
    let door = moorline_proxy::DoorConfig::default();
    let stage = Stage::with(vec![record("yard")], relay, door, None).await;
    stage.yard.up("yard", Script::clip(1));
    let mut running = stage.relay("yard");
    let camera = id("yard");
    assert_eq!(stage.hub.poster(&camera, SourceName::Main), None);
    let mut feed = stage
        .hub
        .live(&camera, SourceName::Main, "ann")
        .await
        .unwrap();
    next(&mut feed).await;
    let poster = stage
        .hub
        .poster(&camera, SourceName::Main)
        .expect("a key frame");
    let pictures = frames(&poster.bytes, "v").await;
    assert_eq!(pictures.len(), 1, "{pictures:?}");
    assert!(pictures[0].starts_with("1,"), "{pictures:?}");
    drop(feed);
    running
        .until("nobody reads", |state| state == RelayState::Idle)
        .await;
    let kept = stage
        .hub
        .poster(&camera, SourceName::Main)
        .expect("it is kept");
    assert_eq!(kept.mime, poster.mime);
}

#[tokio::test]
async fn a_slow_browser_goes_on_with_a_key_frame() {
    let relay = moorline_proxy::RelayConfig {
        ring: moorline_proxy::RingLimits {
            history_time: HISTORY,
            ..moorline_proxy::RingLimits::default()
        },
        ..moorline_proxy::RelayConfig::default()
    };
    let door = moorline_proxy::DoorConfig::default();
    let stage = Stage::with(vec![record("yard")], relay, door, None).await;
    stage.yard.up("yard", Script::generated(1, 20, 10, 400_000));
    let mut running = stage.relay("yard");
    let camera = id("yard");
    let mut feed = stage
        .hub
        .live(&camera, SourceName::Main, "ann")
        .await
        .unwrap();
    collect(&mut feed, 3).await;
    let before = running
        .until("plays", |state| state == RelayState::Playing)
        .await;
    // It fetches nothing until the ring has forgotten where it was: pictures that were late may all come at once, which is no time.
    let reports = &running.report;
    let later = |than: u64| {
        moorline_testkit::eventually("three groups later", PATIENCE, move || {
            let report = reports.borrow().clone();
            async move { Some(report?.pictures).filter(|pictures| *pictures >= than + 30) }
        })
    };
    let passed = later(before.pictures).await;
    let since = Instant::now();
    moorline_testkit::eventually("some time later", PATIENCE, || async {
        (since.elapsed() > 2 * HISTORY).then_some(())
    })
    .await;
    later(passed).await;
    let LiveItem::Fragment { key, .. } = next(&mut feed).await else {
        panic!("parameters have not changed");
    };
    assert!(
        key,
        "the first fragment after a jump begins with a key frame"
    );
}

#[tokio::test]
async fn what_cannot_be_shown_is_told() {
    let stage = Stage::with(
        vec![record("yard"), record("away")],
        moorline_proxy::RelayConfig {
            patience: Duration::from_millis(300),
            ..moorline_proxy::RelayConfig::default()
        },
        moorline_proxy::DoorConfig::default(),
        None,
    )
    .await;
    stage
        .yard
        .up("yard", Script::clip(1).fault(Fault::NotFound));
    let _relay = stage.relay("yard");
    for (name, source, error) in [
        ("nowhere", SourceName::Main, RelayError::Unknown),
        ("yard", SourceName::Sub, RelayError::Unknown),
        ("away", SourceName::Main, RelayError::Away),
        ("yard", SourceName::Main, RelayError::Away),
    ] {
        let opened = stage.hub.live(&id(name), source, "ann").await;
        assert_eq!(opened.err(), Some(error), "{name} {source}");
    }
}
