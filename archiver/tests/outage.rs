//! A store that is away for an hour, in simulated time: some seconds of ours.
#![allow(clippy::disallowed_methods, reason = "tests own time")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::camera::{FakeCamera, Film, OneCamera};
use common::{FakeStore, Mood};
use moorline_archiver::Settings;
use moorline_base::Clock as _;
use moorline_base::clock::TokioClock;
use moorline_core::Timestamp;
use moorline_core::status::ArchiveState;

/// 2026-11-20T21:40:00Z: an hour lies across a full one.
const BEGIN: i64 = 1_795_210_800_000;

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_an_hour_costs_nothing() {
    // Packets are stamped with the real clock, which stands still beside ours: the recorder takes no more than ten seconds of that for
    // latency, so that it is the same for all of them from here on.
    tokio::time::advance(Duration::from_secs(20)).await;
    let clock = Arc::new(TokioClock::starting_at(BEGIN));
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let settings = Settings {
        min_free_bytes: 0,
        // Fewer syncs, and less in one than the ledger waits for at a full hour.
        fragment: Duration::from_secs(5),
        ..Settings::default()
    };
    let archive = common::open_with(spool.path(), &store, settings, clock.clone()).await;
    let film = Film {
        fps: 2,
        gop: 20,
        size: 500,
        ..Film::default()
    };
    let relays = Arc::new(OneCamera(FakeCamera::new(film)));
    let running = common::start(&archive, relays, common::spec());
    let minutes = |minutes: u64| tokio::time::sleep(Duration::from_secs(60 * minutes));
    let report = || running.reports.borrow().clone().unwrap();

    minutes(5).await;
    let before = store.segments().len();
    assert!(before >= 3, "{before} segments are stored");
    store.mood.send_replace(Mood::Away);
    let puts = store.puts.load(Ordering::Relaxed);
    minutes(60).await;
    assert_eq!(store.segments().len(), before);
    let away = report();
    assert_eq!(away.state, ArchiveState::Recording);
    assert!(away.store_error.unwrap().contains("connection refused"));
    let puts = store.puts.load(Ordering::Relaxed) - puts;
    assert!((100..600).contains(&puts), "a few a minute: {puts}");

    store.mood.send_replace(Mood::Takes);
    minutes(1).await;
    let back = report();
    let now = Timestamp::from_millis(clock.wall_ms());
    let behind = now.since(back.durable_until.unwrap());
    assert!(behind < Duration::from_secs(150), "{behind:?} behind");
    assert_eq!(back.store_error, None);

    let last = running.drain(Duration::from_secs(40)).await.unwrap();
    assert_eq!(last.spool_bytes, 0);
    let frames = store.frames();
    assert!(frames.len() > 2 * 60 * 65, "{} pictures", frames.len());
    let expected: Vec<u64> = (frames[0]..frames[0] + frames.len() as u64).collect();
    assert_eq!(frames, expected, "every picture once, in order");
    // How long the first picture took is of no interest here.
    let first = store.segments().iter().map(|(key, _)| key.start).min();
    let mut gaps = store.gaps();
    gaps.retain(|gap| Some(gap.start) >= first);
    assert_eq!(gaps, []);
    archive.shutdown(Duration::from_secs(5)).await;
}
