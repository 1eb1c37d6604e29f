//! Clocks that step: a take ends, the next one has another name, and the stretch between has its cause.
#![allow(clippy::disallowed_methods, reason = "tests look at the real clock")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::camera::{FakeCamera, Film, OneCamera};
use common::{FakeStore, Mood, ShiftedClock};
use moorline_base::Clock as _;
use moorline_core::{Cause, TimeRange, Timestamp};
use moorline_testkit::Starved;

const HOUR: Duration = Duration::from_secs(3600);

/// The wall clock steps by half a minute. Begins at a wall time and returns the markers.
async fn steps(begin: &str) -> Vec<TimeRange> {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let clock = ShiftedClock::at(begin);
    let shared = Arc::clone(&clock) as _;
    let archive = common::open_with(spool.path(), &store, common::settings(), shared).await;
    let camera = FakeCamera::new(Film::default());
    let starved = Starved::begin();
    let running = common::start(
        &archive,
        Arc::new(OneCamera(Arc::clone(&camera))),
        common::spec(),
    );
    common::eventually("two segments are stored", || store.segments().len() >= 2).await;
    clock.step(30_000);
    common::eventually("it was asked again", || {
        camera.opened.load(Ordering::Relaxed) == 2
    })
    .await;
    let before = store.segments().len();
    common::eventually("segments of the next take", || {
        store.segments().len() >= before + 2
    })
    .await;
    running.drain(Duration::from_secs(30)).await;
    let late = starved.so_far();

    let segments = store.segments();
    let mut takes: Vec<_> = segments.iter().map(|(key, _)| key.take).collect();
    takes.dedup();
    assert_eq!(takes.len(), 2, "one take on each side");
    let gaps = store.losses();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].cause, Cause::ClockStep);
    // The step, and what was filmed until the camera was asked again; or less, where that one begins with pictures that are stored already.
    let frames = store.frames();
    let numbers = || frames.iter().map(|frame| i64::try_from(*frame).unwrap());
    let missing: i64 = numbers()
        .zip(numbers().skip(1))
        .map(|(one, next)| next - one - 1)
        .sum();
    let apart = i64::try_from(gaps[0].duration.as_millis()).unwrap() - (30_000 + 20 * missing);
    let late = i64::try_from(late.as_millis()).unwrap();
    assert!(
        apart.abs() < 1_000 + late,
        "{gaps:?}: {apart} ms, {missing} pictures"
    );
    archive.shutdown(Duration::from_secs(5)).await;
    let mut markers = store.gaps();
    markers.retain(|marker| marker.start >= gaps[0].start);
    markers.iter().map(|marker| marker.range()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_steps_ends_the_take() {
    let markers = steps("2026-11-20T12:10:00Z").await;
    assert_eq!(markers.len(), 1, "{markers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_across_midnight_is_cut_there() {
    // The clock steps by half a minute within the twenty-nine seconds until then.
    let markers = steps("2026-12-31T23:59:31Z").await;
    let midnight = "2027-01-01T00:00:00Z".parse().unwrap();
    assert!(
        matches!(markers[..], [before, after] if before.to == midnight && after.from == midnight),
        "{markers:?}"
    );
}

/// The camera's RTP time goes back, and nobody says so before its pictures do.
async fn goes_back(by: Duration) {
    let starved = Starved::begin();
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let (archive, camera, running) = common::recording(spool.path(), &store).await;
    common::eventually("two segments are stored", || store.segments().len() >= 2).await;
    let ticks = by.as_micros() as u64 * 9 / 100;
    camera.back.store(ticks, Ordering::Relaxed);
    common::eventually("it was asked again", || {
        camera.opened.load(Ordering::Relaxed) == 2
    })
    .await;
    let before = store.segments().len();
    common::eventually("segments of the next take", || {
        store.segments().len() >= before + 2
    })
    .await;
    running.drain(Duration::from_secs(30)).await;
    let late = u64::try_from(starved.so_far().as_millis()).unwrap();
    archive.shutdown(Duration::from_secs(5)).await;

    let frames = store.frames();
    let holes: Vec<u64> = frames
        .windows(2)
        .filter(|pair| pair[1] != pair[0] + 1)
        .map(|pair| pair[1] - pair[0])
        .collect();
    // The group in which time goes back, and what comes while the relay is asked again, up to the next key frame.
    let most = 50 + late / 20;
    assert!(
        holes.len() <= 1 && holes.iter().all(|hole| (1..most).contains(hole)),
        "{by:?}: {holes:?}"
    );
    store.assert_no_gap(&starved);
    let segments = store.segments();
    let mut takes: Vec<_> = segments.iter().map(|(key, _)| key.take).collect();
    takes.dedup();
    assert_eq!(takes.len(), 2, "{by:?}");
    for (key, bytes) in &segments {
        let pictures = common::frames(bytes).len() as u64;
        let said = key.duration.as_millis() as u64;
        assert!(
            said.abs_diff(pictures * 20) <= 1,
            "{by:?}: {pictures} pictures of 20 ms in {key}"
        );
    }
    // A take whose first pictures all came late is dated late.
    let back = -200 - i64::try_from(late).unwrap();
    let pauses = store.pauses();
    assert!(
        pauses.iter().all(|pause| *pause >= back),
        "{by:?}: {pauses:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rtp_time_that_goes_back_costs_a_group_of_pictures() {
    for by in [
        Duration::from_millis(300),
        Duration::from_secs(5),
        Duration::from_secs(7_200),
    ] {
        goes_back(by).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_set_back_hides_no_gap_and_nothing_is_durable_in_the_future() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let clock = ShiftedClock::at("2026-11-20T20:10:00Z");
    let shared = Arc::clone(&clock) as _;
    let archive = common::open_with(spool.path(), &store, common::settings(), shared).await;
    let camera = FakeCamera::new(Film::default());
    let relays = Arc::new(OneCamera(Arc::clone(&camera)));
    let running = common::start(&archive, relays.clone(), common::spec());
    common::eventually("two segments are stored", || store.segments().len() >= 2).await;
    clock.step(-8 * 3_600_000);
    let right = || Timestamp::from_millis(clock.wall_ms());
    let since = right();
    let later = || {
        let segments = store.segments();
        let right = segments.iter().filter(|(key, _)| key.start < since + HOUR);
        right.count()
    };
    common::eventually("two segments of the right time", || later() >= 2).await;
    let last = running.drain(Duration::from_secs(30)).await.unwrap();
    // A stream's time is anchored to the wall within a fraction of a second.
    let now = right() + Duration::from_secs(1);
    assert!(last.durable_until.unwrap() <= now, "{last:?}");

    // Nobody records for a while.
    let (stopped, before) = (right(), later());
    clock.step(5_000);
    let again = common::start(&archive, relays, common::spec());
    common::eventually("recording again", || later() > before).await;
    again.drain(Duration::from_secs(30)).await;
    let gaps = store.gaps();
    let explained = gaps.iter().find(|gap| {
        gap.range().to >= stopped + Duration::from_secs(4) && gap.start < stopped + HOUR
    });
    assert!(explained.is_some(), "{gaps:?}");
    archive.shutdown(Duration::ZERO).await;
}
