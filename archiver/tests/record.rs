//! Recording: what the camera sent is in the store, in order, once; what it did not send has a cause.
#![allow(clippy::disallowed_methods, reason = "tests look at the real clock")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::camera::{Away, FakeCamera, Film, OneCamera};
use common::{FakeStore, Mood, ShiftedClock, assert_explained};
use moorline_archiver::Settings;
use moorline_core::Cause;
use moorline_core::camera::Camera;
use moorline_core::coverage::Held;
use moorline_core::port::OpenSegments;
use moorline_core::segment::Tier;
use moorline_core::status::ArchiveState;
use moorline_testkit::{Starved, patience};

const BUDGET: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_picture_survives_twenty_cuts_once_and_in_order() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let (archive, camera, mut running) = common::recording(spool.path(), &store).await;
    common::eventually("twenty segments are stored", || {
        store.segments().len() >= 20
    })
    .await;
    let starved = Starved::begin();
    common::eventually("and one more", || store.segments().len() > 20).await;
    // Pictures that come while the disk is slow to sync are under way for longer.
    running
        .until("synced without a delay", |report| {
            let synced = report.synced_until;
            synced.is_some_and(|synced| common::now().since(synced) < Duration::from_millis(80))
        })
        .await;
    let last = running.drain(BUDGET).await.unwrap();
    let sent = camera.last_sent.load(Ordering::Relaxed);
    let late = u64::try_from(starved.so_far().as_millis()).unwrap();

    let frames = store.frames();
    let first = camera.first_sent().unwrap();
    let expected: Vec<u64> = (first..first + frames.len() as u64).collect();
    assert_eq!(
        frames, expected,
        "none missing, none twice, none out of order"
    );
    let under_way = sent - frames.last().unwrap();
    assert!(
        under_way <= 5 + late / 20,
        "all but what was under way: {under_way}"
    );

    let segments = store.segments();
    let takes: Vec<_> = segments
        .iter()
        .map(|(key, _)| (key.take, key.sequence))
        .collect();
    let expected: Vec<_> = (0..segments.len() as u32)
        .map(|n| (segments[0].0.take, n))
        .collect();
    assert_eq!(takes, expected);
    assert_eq!(store.losses(), [], "nothing is missing");
    assert_eq!(
        last.durable_until,
        segments.last().map(|(key, _)| key.range().to)
    );
    assert_eq!((last.spool_bytes, last.state), (0, ArchiveState::Draining));
    for (key, bytes) in &segments {
        let info = moorline_fmp4::SegmentInfo::parse(bytes).unwrap();
        assert_eq!(info.head.init().hash().0, key.init.0);
        let index = info.index.unwrap();
        assert!(index[0].starts_with_sync, "it begins with a key frame");
        let start = info.anchor.unwrap().unix_micros / 1_000;
        assert_eq!(start, key.start.as_millis(), "prft and key agree");
    }
    archive.shutdown(BUDGET).await;
}

/// Marks stand still on the wall clock, each camera's at its own instant, so that not all upload at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_camera_is_cut_at_marks_of_its_own() {
    const LENGTH: i64 = 1_000;
    // Where the hashes of their names put them within a second.
    const MARKS: [(&str, i64); 2] = [("yard", 597), ("hall", 263)];
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let settings = Settings {
        segment: Duration::from_secs(1),
        ..common::settings()
    };
    let archive = common::open(spool.path(), &store, settings).await;
    let running = MARKS.map(|(name, _)| {
        let mut spec = common::spec();
        spec.camera = Arc::new(Camera {
            id: name.parse().unwrap(),
            ..(*spec.camera).clone()
        });
        let camera = FakeCamera::new(Film::default());
        common::start(&archive, Arc::new(OneCamera(camera)), spec)
    });
    // The first segment of a take is dated when it is sealed, so that the second begins where its mark was guessed.
    let starts = |name: &str| -> Vec<i64> {
        let segments = store.segments().into_iter();
        segments
            .filter(|(key, _)| key.place.camera.name() == name && key.sequence >= 2)
            .map(|(key, _)| key.start.as_millis())
            .collect()
    };
    common::eventually("three segments behind marks", || {
        MARKS.iter().all(|(name, _)| starts(name).len() >= 3)
    })
    .await;
    for one in running {
        one.drain(BUDGET).await;
    }
    for (name, mark) in MARKS {
        for start in starts(name) {
            // A key frame comes every tenth of a second, and a clock is told in whole milliseconds.
            let late = (start - mark + 20).rem_euclid(LENGTH) - 20;
            assert!(
                (-20..150).contains(&late),
                "{name}: {start} is {late} ms behind its mark"
            );
        }
    }
    archive.shutdown(BUDGET).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boundary_begins_a_new_take_at_once() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let camera = FakeCamera::new(Film::default());
    let starved = Starved::begin();
    let running = common::start(
        &archive,
        Arc::new(OneCamera(Arc::clone(&camera))),
        common::spec(),
    );
    common::eventually("a segment is stored", || !store.segments().is_empty()).await;
    camera.boundary();
    common::eventually("it was asked again", || {
        camera.opened.load(Ordering::Relaxed) == 2
    })
    .await;
    let before = store.segments().len();
    common::eventually("segments of the next take", || {
        store.segments().len() > before + 1
    })
    .await;
    running.drain(BUDGET).await;

    let segments = store.segments();
    let mut takes: Vec<_> = segments.iter().map(|(key, _)| key.take).collect();
    takes.dedup();
    assert_eq!(takes.len(), 2);
    let second = segments
        .iter()
        .find(|(key, _)| key.take == takes[1])
        .unwrap();
    assert_eq!(second.0.sequence, 0, "numbers begin anew");
    store.assert_no_gap(&starved);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_a_gap_with_the_monitors_cause() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let (_archive, camera, mut running) = common::recording(spool.path(), &store).await;
    common::eventually("a segment is stored", || !store.segments().is_empty()).await;
    camera.filming.store(false, Ordering::Relaxed);
    let silent = running
        .until("silent", |report| {
            report.state == ArchiveState::Waiting && report.silent_since.is_some()
        })
        .await;
    assert_eq!(
        silent.silent_since, silent.synced_until,
        "silent since the last picture"
    );
    running
        .cause(Some(common::gap(
            silent.silent_since.unwrap(),
            Cause::CameraSilent,
        )))
        .await;
    camera.filming.store(true, Ordering::Relaxed);
    running
        .until("recording again", |report| {
            report.state == ArchiveState::Recording
        })
        .await;
    running.cause(None).await;
    common::eventually("a gap is stored", || !store.losses().is_empty()).await;
    let report = running.drain(BUDGET).await.unwrap();

    let gaps = store.losses();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].cause, Cause::CameraSilent);
    assert!(gaps[0].duration >= Duration::from_secs(4));
    let first = store.segments()[0].0.start;
    assert_explained(&store, first, report.durable_until.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_that_stalls_costs_no_picture() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let (_archive, camera, mut running) = common::recording(spool.path(), &store).await;
    common::eventually("a segment is stored", || !store.segments().is_empty()).await;
    camera.stalled.store(true, Ordering::Relaxed);
    running
        .until("silent", |report| {
            report.state == ArchiveState::Waiting && report.synced_until.is_some()
        })
        .await;
    camera.stalled.store(false, Ordering::Relaxed);
    let stored = store.segments().len();
    common::eventually("what was held back is stored", || {
        store.segments().len() > stored + 5
    })
    .await;
    running.drain(BUDGET).await;
    let frames = store.frames();
    let expected: Vec<u64> = (frames[0]..frames[0] + frames.len() as u64).collect();
    assert_eq!(frames, expected);
    assert_eq!(store.losses(), []);
    let segments = store.segments();
    assert!(
        segments
            .iter()
            .all(|(key, _)| key.take == segments[0].0.take),
        "one take"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_synced_can_be_read_before_it_is_stored() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Away);
    let (archive, _, mut running) = common::recording(spool.path(), &store).await;
    let id = common::camera().id.clone();
    common::eventually("two sealed and one open", || {
        let (segments, _) = archive.of(&id, Tier::Full);
        let sealed = segments
            .iter()
            .filter(|segment| segment.held == Held::Spool)
            .count();
        sealed >= 2 && segments.iter().any(|segment| segment.held == Held::Open)
    })
    .await;
    let (segments, _) = archive.of(&id, Tier::Full);
    let mut frames = Vec::new();
    for segment in &segments {
        let bytes = archive.read(segment, 0..segment.bytes).await.unwrap();
        assert_eq!(bytes.len() as u64, segment.bytes);
        frames.extend(common::frames(&bytes));
    }
    let expected: Vec<u64> = (frames[0]..frames[0] + frames.len() as u64).collect();
    assert_eq!(frames, expected);
    running
        .until("the store's refusal in words", |report| {
            report.store_error.as_deref() == Some("the store is unavailable: connection refused")
        })
        .await;
    let held = running
        .until("nothing durable", |report| report.spool_bytes > 0)
        .await;
    assert_eq!(
        held.durable_until,
        segments.first().map(|segment| segment.key.start)
    );

    store.mood.send_replace(Mood::Takes);
    let last = running.drain(BUDGET).await.unwrap();
    assert_eq!(last.store_error, None);
    assert!(archive.of(&id, Tier::Full).0.is_empty());
    assert!(
        archive.read(&segments[0], 0..10).await.is_err(),
        "the store has it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_before_the_first_picture_is_explained_by_the_monitors_causes() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let clock = ShiftedClock::at("2026-11-20T12:10:00Z");
    let shared = Arc::clone(&clock) as _;
    let archive = common::open_with(spool.path(), &store, common::settings(), shared).await;
    let camera = FakeCamera::new(Film::default());
    let began = clock.now();
    let ago = |seconds| began - Duration::from_secs(seconds);
    let mut spec = common::spec();
    spec.durable_until = Some(ago(7_000));
    spec.gaps = vec![
        (common::gap(ago(7_000), Cause::TunnelDown), Some(ago(100))),
        (common::gap(ago(100), Cause::RtspError), None),
    ];
    let mut running = common::start(&archive, Arc::new(OneCamera(Arc::clone(&camera))), spec);
    // The monitor hears of the first picture, and not before.
    running
        .until("recording", |report| {
            report.state == ArchiveState::Recording
        })
        .await;
    running.cause(None).await;
    common::eventually("a segment is stored", || !store.segments().is_empty()).await;
    let report = running.drain(BUDGET).await.unwrap();

    assert_explained(&store, ago(7_000), report.durable_until.unwrap());
    let gaps = store.gaps();
    assert_eq!(gaps.len(), 4, "cut at eleven and at twelve: {gaps:?}");
    let of = |cause| {
        gaps.iter()
            .filter(|gap| gap.cause == cause)
            .map(|gap| gap.duration.as_secs())
            .sum::<u64>()
    };
    assert!((6_898..=6_900).contains(&of(Cause::TunnelDown)), "{gaps:?}");
    let until_the_first_picture = 99..=100 + 20;
    assert!(
        until_the_first_picture.contains(&of(Cause::RtspError)),
        "{gaps:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missing_while_the_other_stream_was_recorded_is_nobodys_gap() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let camera = FakeCamera::new(Film::default());
    let began = common::now();
    let ago = |seconds| began - Duration::from_secs(seconds);
    // The other stream was recorded until half a minute ago, with a pause before; this one never.
    let mut spec = common::spec();
    spec.durable_until = Some(ago(600));
    spec.recorded_from = Some(ago(30));
    spec.gaps = vec![
        (common::gap(ago(500), Cause::TunnelDown), Some(ago(400))),
        (common::gap(ago(30), Cause::Operator), None),
    ];
    let mut running = common::start(&archive, Arc::new(OneCamera(camera)), spec);
    running
        .until("recording", |report| {
            report.state == ArchiveState::Recording
        })
        .await;
    running.cause(None).await;
    common::eventually("a segment is stored", || !store.segments().is_empty()).await;
    let report = running.drain(BUDGET).await.unwrap();

    let gaps = store.stretches();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!((gaps[0].start, gaps[0].cause), (ago(30), Cause::Operator));
    assert_explained(&store, ago(30), report.durable_until.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_without_a_camera_are_stored_while_it_is_away() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let clock = ShiftedClock::at("2026-11-20T02:10:00Z");
    let shared = Arc::clone(&clock) as _;
    let archive = common::open_with(spool.path(), &store, common::settings(), shared).await;
    let began = clock.now();
    let since = began - Duration::from_secs(5 * 3_600);
    let mut spec = common::spec();
    spec.durable_until = Some(since);
    spec.gaps = vec![(common::gap(since, Cause::TunnelDown), None)];
    let mut running = common::start(&archive, Arc::new(Away), spec);
    let hour = began.floor_hour();
    let report = running
        .until("durable to the last full hour", |report| {
            report.durable_until >= Some(hour)
        })
        .await;
    assert_eq!(report.state, ArchiveState::Waiting);
    let gaps = store.gaps();
    assert!(
        gaps.iter().all(|gap| gap.cause == Cause::TunnelDown),
        "{gaps:?}"
    );
    assert_eq!(gaps.len(), 5, "one for each hour: {gaps:?}");
    assert_explained(&store, since, hour);
    running.drain(BUDGET).await;
    assert_eq!(
        store.gaps().len(),
        gaps.len(),
        "what goes on is not written"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overrun_is_a_hole_or_a_gap_and_the_take_goes_on() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let (_archive, camera, running) = common::recording(spool.path(), &store).await;
    running.cause(None).await;
    for skipped in [20, 90] {
        let stored = store.segments().len();
        common::eventually("segments are stored", || {
            store.segments().len() > stored + 1
        })
        .await;
        camera.skip.store(skipped, Ordering::Relaxed);
    }
    common::eventually("a gap is stored", || !store.losses().is_empty()).await;
    running.drain(BUDGET).await;

    let segments = store.segments();
    assert!(
        segments
            .iter()
            .all(|(key, _)| key.take == segments[0].0.take),
        "one take"
    );
    let holes = segments
        .iter()
        .flat_map(|(_, bytes)| moorline_fmp4::SegmentInfo::parse(bytes).unwrap().holes);
    let holes: Vec<_> = holes.map(|hole| (hole.cause, hole.duration / 90)).collect();
    assert!(
        matches!(&holes[..], [(cause, 380..=520)] if cause == "overrun"),
        "four tenths of a second: {holes:?}"
    );
    let gaps = store.losses();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].cause, Cause::Overrun);
}

/// Whoever listens is to know that somebody is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_change_is_reported_again_and_again() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let settings = Settings {
        report_every: Duration::from_millis(300),
        ..common::settings()
    };
    let archive = common::open(spool.path(), &store, settings).await;
    let mut running = common::start(&archive, Arc::new(Away), common::spec());
    let (mut last, mut repeated) = (None, 0);
    while repeated < 3 {
        let told = tokio::time::timeout(patience(BUDGET), running.reports.changed()).await;
        told.expect("a report in time").unwrap();
        let report = running.reports.borrow_and_update().clone();
        repeated += u32::from(report == last);
        last = report;
    }
    running.drain(BUDGET).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_that_are_lost_are_noted_in_the_segment() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let (_archive, camera, running) = common::recording(spool.path(), &store).await;
    common::eventually("a segment is stored", || !store.segments().is_empty()).await;
    camera.lose.store(true, Ordering::Relaxed);
    let lost = || camera.lost.load(Ordering::Relaxed);
    common::eventually("it is past", || {
        camera.last_sent.load(Ordering::Relaxed) > lost().saturating_add(60)
    })
    .await;
    let lost = lost();
    running.drain(BUDGET).await;

    let holes: Vec<_> = store
        .segments()
        .iter()
        .flat_map(|(_, bytes)| moorline_fmp4::SegmentInfo::parse(bytes).unwrap().holes)
        .collect();
    assert_eq!(holes.len(), 1, "{holes:?}");
    assert_eq!(
        (holes[0].packets, holes[0].cause.as_str()),
        (3, "packet_loss")
    );
    assert_eq!(store.losses(), []);
    assert!(!store.frames().contains(&lost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_sends_no_second_key_frame_is_cut_without_one_and_loses_no_picture() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let settings = Settings {
        segment: Duration::from_secs(1),
        longest: Duration::from_secs(2),
        fragment: Duration::from_millis(500),
        ..common::settings()
    };
    let archive = common::open(spool.path(), &store, settings).await;
    let film = Film {
        gop: 200,
        ..Film::default()
    };
    let relays = Arc::new(OneCamera(FakeCamera::new(film)));
    let running = common::start(&archive, relays, common::spec());
    common::eventually("three segments", || store.segments().len() >= 3).await;
    running.drain(BUDGET).await;
    for (key, _) in store.segments() {
        assert!(key.duration < Duration::from_secs(4), "{key}");
    }
    let frames = store.frames();
    let expected: Vec<u64> = (frames[0]..frames[0] + frames.len() as u64).collect();
    assert_eq!(frames, expected);
    // Its first key frame may be four seconds away when it is asked.
    assert_eq!(store.losses(), []);
    archive.shutdown(Duration::ZERO).await;
}
