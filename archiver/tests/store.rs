//! A store that is away, hangs, refuses or lies: nothing leaves the spool, recording goes on, every stop is bounded.
#![allow(clippy::disallowed_methods, reason = "tests look at the real clock")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::camera::{FakeCamera, Film, OneCamera};
use common::{FakeStore, Mood};
use moorline_archiver::{Settings, WhenFull};
use moorline_core::segment::{ObjectKey, SegmentKey};
use moorline_core::status::{ArchiveReport, ArchiveState};
use moorline_core::{CameraId, Cause, Timestamp};

const BUDGET: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_does_not_hold_up_a_drain_and_the_next_start_uploads_the_rest() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Stalls);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let camera = FakeCamera::new(Film::default());
    let running = common::start(
        &archive,
        Arc::new(OneCamera(Arc::clone(&camera))),
        common::spec(),
    );
    common::eventually("five segments wait", || {
        common::files(&spool.path().join(".sealed"), ".mp4").len() >= 5
    })
    .await;
    let began = Instant::now();
    let last = running.drain(Duration::from_millis(500)).await.unwrap();
    archive.shutdown(Duration::from_millis(500)).await;
    // A put is given up after 40 s, and this one never ends.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(last.spool_bytes > 0);
    assert_eq!(store.keys(), []);
    let waiting = common::files(&spool.path().join(".sealed"), ".mp4").len();
    drop(archive);

    store.mood.send_replace(Mood::Takes);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    common::eventually("all is uploaded", || archive.waiting().is_empty()).await;
    assert_eq!(store.segments().len(), waiting);
    let frames = store.frames();
    let expected: Vec<u64> = (frames[0]..frames[0] + frames.len() as u64).collect();
    assert_eq!(frames, expected);
    archive.shutdown(BUDGET).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recording_goes_on_while_the_store_refuses_and_nothing_is_lost() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Refuses);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let camera = FakeCamera::new(Film::default());
    let mut running = common::start(
        &archive,
        Arc::new(OneCamera(Arc::clone(&camera))),
        common::spec(),
    );
    running
        .until("told", |report| {
            report.store_error.as_deref() == Some("the store refused: access denied")
        })
        .await;
    common::eventually("six segments wait", || {
        common::files(&spool.path().join(".sealed"), ".mp4").len() >= 6
    })
    .await;
    let puts = store.puts.load(Ordering::Relaxed);
    assert!(puts <= 16, "the breaker holds back: {puts} puts");
    let report = running
        .until("recording", |report| {
            report.state == ArchiveState::Recording
        })
        .await;
    assert!(report.durable_until < report.synced_until);
    store.mood.send_replace(Mood::Takes);
    let last = running.drain(BUDGET).await.unwrap();
    assert_eq!((last.spool_bytes, last.store_error), (0, None));
    let frames = store.frames();
    let expected: Vec<u64> = (frames[0]..frames[0] + frames.len() as u64).collect();
    assert_eq!(frames, expected);
    archive.shutdown(BUDGET).await;
}

/// Whoever looks at that moment finds the archive longer, and no hole in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_try_after_an_outage_is_the_oldest_object() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Away);
    let settings = Settings {
        uploads: 1,
        ..common::settings()
    };
    let archive = common::open(spool.path(), &store, settings).await;
    let camera = FakeCamera::new(Film::default());
    let running = common::start(
        &archive,
        Arc::new(OneCamera(Arc::clone(&camera))),
        common::spec(),
    );
    common::eventually("eight segments wait", || {
        common::files(&spool.path().join(".sealed"), ".mp4").len() >= 8
    })
    .await;
    // It comes back in a pause. The first ends three puts in a row, each later one two: the oldest object's, and another's right behind it.
    common::eventually("a pause", || {
        let failed = store.turned_away.load(Ordering::Relaxed);
        failed >= 3 && !failed.is_multiple_of(2)
    })
    .await;
    store.mood.send_replace(Mood::Takes);
    common::eventually("it is tried again", || {
        !store.taken.lock().unwrap().is_empty()
    })
    .await;
    running.drain(BUDGET).await.unwrap();
    let taken = store.taken.lock().unwrap().clone();
    let oldest = taken.iter().map(|key| key.range().from).min();
    assert_eq!(Some(taken[0].range().from), oldest, "{taken:#?}");
    archive.shutdown(BUDGET).await;
}

/// A store that has no good answer for a key, or a put that is never done in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_always_fail_hold_up_no_other() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let is_cursed = |key: &ObjectKey| {
        let first = matches!(key, ObjectKey::Segment(key) if key.sequence < 3);
        first && key.place().camera == common::camera().id
    };
    *store.cursed.lock().unwrap() = is_cursed;
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let relays = Arc::new(OneCamera(FakeCamera::new(Film::default())));
    let yard = common::start(&archive, relays.clone(), common::spec());
    let sealed = spool.path().join(".sealed");
    common::eventually("the breaker is open", || {
        store.puts.load(Ordering::Relaxed) >= 3 && common::files(&sealed, ".mp4").len() >= 3
    })
    .await;
    let mut door = common::spec();
    let camera = Arc::make_mut(&mut door.camera);
    camera.id = "home/door".parse().unwrap();
    let door_id = camera.id.clone();
    let door = common::start(&archive, relays, door);
    let stored = |of: &CameraId| {
        let segments = store.segments();
        segments
            .iter()
            .filter(|(key, _)| key.place.camera == *of)
            .count()
    };
    common::eventually("another camera's are stored", || stored(&door_id) >= 6).await;
    common::eventually("its own later ones are stored", || {
        stored(&common::camera().id) >= 6
    })
    .await;
    let first = store
        .segments()
        .iter()
        .map(|(key, _)| key.start)
        .min()
        .unwrap();
    let report = yard.reports.borrow().clone().unwrap();
    assert!(
        report.durable_until.unwrap() < first,
        "they are not durable"
    );
    *store.cursed.lock().unwrap() = |_| false;
    door.drain(BUDGET).await.unwrap();
    let last = yard.drain(BUDGET).await.unwrap();
    assert_eq!((last.spool_bytes, last.store_error), (0, None));
    archive.shutdown(BUDGET).await;
}

/// A disk that lost a sector of a segment: the kernel's own `EIO`, which whoever reads a process's memory at address 0 gets, without
/// privileges.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_file_that_cannot_be_read_holds_up_no_other() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Stalls);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let camera = FakeCamera::new(Film::default());
    let mut running = common::start(&archive, Arc::new(OneCamera(camera)), common::spec());
    let sealed = spool.path().join(".sealed");
    // the first four are read and being put
    common::eventually("six segments wait", || {
        common::files(&sealed, ".mp4").len() >= 6
    })
    .await;
    let unreadable = common::files(&sealed, ".mp4")[4].clone();
    std::fs::rename(&unreadable, spool.path().join("aside")).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", &unreadable).unwrap();
    let error = std::fs::read(&unreadable).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5), "EIO: {error}");
    let name = unreadable
        .file_name()
        .unwrap()
        .to_string_lossy()
        .replace('~', "/");
    let ObjectKey::Segment(unreadable) = name.parse().unwrap() else {
        panic!("{name}")
    };
    store.mood.send_replace(Mood::Takes);
    common::eventually("later ones are stored", || {
        let later = |(key, _): &(SegmentKey, _)| key.start > unreadable.start;
        store
            .segments()
            .iter()
            .filter(|segment| later(segment))
            .count()
            >= 4
    })
    .await;
    running
        .until("durable up to it", |report| {
            report.durable_until == Some(unreadable.start)
        })
        .await;
    running.cancel.cancel();
    let _ = running.task.await;
    archive.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_the_store_garbles_is_never_durable() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::WrongDigest);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let camera = FakeCamera::new(Film::default());
    let mut running = common::start(
        &archive,
        Arc::new(OneCamera(Arc::clone(&camera))),
        common::spec(),
    );
    running
        .until("told", |report| {
            report
                .store_error
                .as_deref()
                .is_some_and(|error| error.contains("other bytes"))
        })
        .await;
    store.mood.send_replace(Mood::Takes);
    common::eventually("later ones are stored", || store.segments().len() >= 3).await;
    let first = store
        .segments()
        .iter()
        .map(|(key, _)| key.start)
        .min()
        .unwrap();
    let report = running.reports.borrow().clone().unwrap();
    assert!(
        report.durable_until.unwrap() < first,
        "what was garbled is put off, others go on"
    );
    assert!(report.spool_bytes > 0);
    running.cancel.cancel();
    let _ = running.task.await;
    archive.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_gives_up_the_oldest_and_says_so() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Away);
    let settings = Settings {
        // five segments of 20 pictures of 5 kB
        spool_bytes: 500_000,
        segment: Duration::from_secs(1),
        ..common::settings()
    };
    let film = Film {
        size: 2_500,
        ..Film::default()
    };
    let archive = common::open(spool.path(), &store, settings.clone()).await;
    let camera = FakeCamera::new(film);
    let began = common::now();
    let mut running = common::start(
        &archive,
        Arc::new(OneCamera(Arc::clone(&camera))),
        common::spec(),
    );
    let sealed = spool.path().join(".sealed");
    common::eventually("something was given up", || {
        common::files(&sealed, ".json").len() >= 2
    })
    .await;
    let report = running
        .until("still recording", |report| {
            report.state == ArchiveState::Recording
        })
        .await;
    assert!(report.spool_bytes <= settings.spool_bytes);
    store.mood.send_replace(Mood::Takes);
    let report = running.drain(Duration::from_secs(40)).await.unwrap();
    let gaps = store.losses();
    assert!(
        gaps.iter().all(|gap| gap.cause == Cause::SpoolFull),
        "{gaps:?}"
    );
    let mut explained: Vec<_> = store.keys().iter().map(ObjectKey::range).collect();
    explained.sort();
    let mut end = explained[0].from;
    let filmed = began + Duration::from_millis(20 * camera.first_sent().unwrap());
    assert!(end.since(filmed) < Duration::from_secs(2));
    for range in explained {
        assert!(
            range.from.since(end) < Duration::from_secs(1),
            "nothing is missing without a cause: {range:?}"
        );
        end = end.max(range.to);
    }
    assert_eq!(report.durable_until, Some(end));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_that_cannot_be_emptied_gives_up_nothing() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Stalls);
    let settings = Settings {
        spool_bytes: 1_000_000,
        ..common::settings()
    };
    let archive = common::open(spool.path(), &store, settings).await;
    let camera = FakeCamera::new(Film::default());
    let mut running = common::start(&archive, Arc::new(OneCamera(camera)), common::spec());
    let sealed = spool.path().join(".sealed");
    let segments = || common::files(&sealed, ".mp4");
    common::eventually("six segments wait", || segments().len() >= 6).await;
    // The first four objects are being put; a directory is no file that can be removed, not even by root.
    let first_idle = 4 - common::files(&sealed, ".json").len();
    let (stuck, aside) = (segments()[first_idle].clone(), spool.path().join("aside"));
    std::fs::rename(&stuck, &aside).unwrap();
    std::fs::create_dir(&stuck).unwrap();
    running
        .until("full", |report| report.state == ArchiveState::DiskFull)
        .await;
    let waiting = segments();
    let sequences: Vec<u32> = waiting
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            match name.replace('~', "/").parse().unwrap() {
                ObjectKey::Segment(key) => key.sequence,
                ObjectKey::Gap(key) => panic!("{key}"),
            }
        })
        .collect();
    // The stuck one is no file at this moment.
    let all: Vec<u32> = (0..=sequences.len() as u32)
        .filter(|n| *n != first_idle as u32)
        .collect();
    assert_eq!(sequences, all, "none was given up for another");
    store.mood.send_replace(Mood::Takes);
    common::eventually("the others are stored", || {
        store.segments().len() >= sequences.len()
    })
    .await;
    std::fs::remove_dir(&stuck).unwrap();
    std::fs::rename(&aside, &stuck).unwrap();
    let last = running.drain(Duration::from_secs(40)).await.unwrap();
    assert_eq!(last.spool_bytes, 0);
    let kept: Vec<u64> = store
        .segments()
        .iter()
        .take(sequences.len() + 1)
        .flat_map(|(_, bytes)| common::frames(bytes))
        .collect();
    let expected: Vec<u64> = (kept[0]..kept[0] + kept.len() as u64).collect();
    assert_eq!(kept, expected, "all are stored");
    archive.shutdown(BUDGET).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_hand_removed_from_the_spool_is_a_gap_before_anything_behind_it_is_durable() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Away);
    // What is shorter than a second is no gap.
    let settings = Settings {
        segment: Duration::from_millis(1_500),
        ..common::settings()
    };
    let archive = common::open(spool.path(), &store, settings).await;
    let camera = FakeCamera::new(Film::default());
    let running = common::start(&archive, Arc::new(OneCamera(camera)), common::spec());
    let sealed = spool.path().join(".sealed");
    common::eventually("three segments wait", || {
        common::files(&sealed, ".mp4").len() >= 3
    })
    .await;
    let mut waiting = common::files(&sealed, ".mp4");
    waiting.sort();
    std::fs::remove_file(&waiting[1]).unwrap();
    store.mood.send_replace(Mood::Takes);
    let last = running.drain(Duration::from_secs(40)).await.unwrap();
    let gaps = store.losses();
    let causes: Vec<_> = gaps.iter().map(|gap| gap.cause).collect();
    assert_eq!(causes, [Cause::NodeLost], "{gaps:?}");
    let mut explained: Vec<_> = store.keys().iter().map(ObjectKey::range).collect();
    explained.sort();
    let mut end = explained[0].from;
    for range in explained {
        assert!(range.from.since(end) < Duration::from_secs(1), "{range:?}");
        end = end.max(range.to);
    }
    assert_eq!(last.durable_until, Some(end));
    archive.shutdown(BUDGET).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_segment_that_another_hand_removed_is_a_gap_and_holds_nothing_up() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let settings = Settings {
        segment: Duration::from_millis(1_500),
        ..common::settings()
    };
    let archive = common::open(spool.path(), &store, settings).await;
    let camera = FakeCamera::new(Film::default());
    let running = common::start(&archive, Arc::new(OneCamera(camera)), common::spec());
    common::eventually("an open segment is removed", || {
        let open = common::files(spool.path(), ".part");
        open.first()
            .is_some_and(|path| std::fs::remove_file(path).is_ok())
    })
    .await;
    common::eventually("later ones are stored", || store.segments().len() >= 2).await;
    let last = running.drain(Duration::from_secs(40)).await.unwrap();
    let causes: Vec<_> = store.losses().iter().map(|gap| gap.cause).collect();
    assert_eq!(causes, [Cause::NodeLost]);
    let end = store.keys().iter().map(|key| key.range().to).max();
    assert_eq!(last.durable_until, end);
    archive.shutdown(BUDGET).await;
}

/// In a cluster, what has drained loses its disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_a_segment_that_cannot_be_sealed_yet() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let camera = FakeCamera::new(Film::default());
    let mut running = common::start(&archive, Arc::new(OneCamera(camera)), common::spec());
    let sealed = spool.path().join(".sealed");
    common::eventually("all that was sealed is stored", || {
        !store.segments().is_empty() && std::fs::remove_dir(&sealed).is_ok()
    })
    .await;
    let mut reports = running.reports.clone();
    let synced = running
        .until("it records on", |report| report.spool_bytes > 0)
        .await
        .synced_until;
    let mended = async {
        let draining = |report: &Option<ArchiveReport>| {
            report
                .as_ref()
                .is_some_and(|report| report.state == ArchiveState::Draining)
        };
        reports.wait_for(draining).await.unwrap();
        std::fs::create_dir(&sealed).unwrap();
    };
    let (last, ()) = tokio::join!(running.drain(BUDGET), mended);
    assert_eq!(last.unwrap().spool_bytes, 0);
    let end = store.keys().iter().map(|key| key.range().to).max();
    assert_all_stored(end, synced);
    archive.shutdown(BUDGET).await;
}

/// Whoever was cut short leaves a segment that is sealed behind its back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_waits_for_a_segment_that_cannot_be_sealed_yet() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let camera = FakeCamera::new(Film::default());
    let mut running = common::start(&archive, Arc::new(OneCamera(camera)), common::spec());
    let sealed = spool.path().join(".sealed");
    common::eventually("all that was sealed is stored", || {
        !store.segments().is_empty() && std::fs::remove_dir(&sealed).is_ok()
    })
    .await;
    let synced = running
        .until("it records on", |report| report.spool_bytes > 0)
        .await
        .synced_until;
    running.cancel.cancel();
    running.task.await.unwrap().unwrap();
    let mended = async { std::fs::create_dir(&sealed).unwrap() };
    tokio::join!(archive.shutdown(BUDGET), mended);
    assert_eq!(
        common::files(spool.path(), ".part"),
        Vec::<std::path::PathBuf>::new()
    );
    assert!(archive.waiting().is_empty());
    let end = store.keys().iter().map(|key| key.range().to).max();
    assert_all_stored(end, synced);
}

/// The anchor of a take's first segment moves until it is sealed: by milliseconds here.
#[track_caller]
fn assert_all_stored(end: Option<Timestamp>, synced: Option<Timestamp>) {
    let (end, synced) = (end.unwrap(), synced.unwrap());
    assert!(end + Duration::from_millis(50) >= synced, "{end} {synced}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_may_be_given_up_recording_stops_and_comes_back() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Away);
    let settings = Settings {
        spool_bytes: 300_000,
        when_full: WhenFull::StopNew,
        ..common::settings()
    };
    let archive = common::open(spool.path(), &store, settings).await;
    let camera = FakeCamera::new(Film::default());
    let mut running = common::start(
        &archive,
        Arc::new(OneCamera(Arc::clone(&camera))),
        common::spec(),
    );
    let full = running
        .until("full", |report| report.state == ArchiveState::DiskFull)
        .await;
    assert_eq!(full.silent_since, full.synced_until);
    let kept = common::files(&spool.path().join(".sealed"), ".mp4").len();
    common::eventually("a while passes", || {
        common::now().since(full.silent_since.unwrap()) > Duration::from_millis(1_500)
    })
    .await;
    // What was still open may have been sealed meanwhile.
    assert!(
        common::files(&spool.path().join(".sealed"), ".mp4").len() >= kept,
        "nothing is given up"
    );
    store.mood.send_replace(Mood::Takes);
    running
        .until("recording again", |report| {
            report.state == ArchiveState::Recording
        })
        .await;
    common::eventually("stored", || !store.losses().is_empty()).await;
    running.drain(Duration::from_secs(40)).await;
    let causes: Vec<_> = store.losses().iter().map(|gap| gap.cause).collect();
    assert_eq!(causes, [Cause::SpoolFull]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_that_panics_does_not_end_the_uploads() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Panics);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let camera = FakeCamera::new(Film::default());
    let mut running = common::start(&archive, Arc::new(OneCamera(camera)), common::spec());
    running
        .until("told", |report| {
            report
                .store_error
                .as_deref()
                .is_some_and(|error| error.contains("panicked"))
        })
        .await;
    store.mood.send_replace(Mood::Takes);
    let last = running.drain(BUDGET).await.unwrap();
    assert_eq!((last.spool_bytes, last.store_error), (0, None));
    assert!(!store.segments().is_empty());
    archive.shutdown(BUDGET).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_of_a_camera_can_be_erased() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Away);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let camera = FakeCamera::new(Film::default());
    let running = common::start(&archive, Arc::new(OneCamera(camera)), common::spec());
    let sealed = spool.path().join(".sealed");
    common::eventually("two segments wait", || {
        common::files(&sealed, ".mp4").len() >= 2
    })
    .await;
    running.drain(Duration::ZERO).await;
    let other = archive.erase(&"home/door".parse().unwrap()).await.unwrap();
    assert_eq!(other.bytes, 0, "another camera's stay");
    let erased = archive.erase(&common::camera().id).await.unwrap();
    assert!(erased.bytes > 0);
    assert_eq!(common::files(&sealed, ""), Vec::<std::path::PathBuf>::new());
    assert!(archive.waiting().is_empty());
    archive.shutdown(BUDGET).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasing_a_camera_that_records_waits_for_its_recorder() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Away);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let relays = Arc::new(OneCamera(FakeCamera::new(Film::default())));
    let mut running = common::start(&archive, relays.clone(), common::spec());
    running
        .until("recording", |report| {
            report.state == ArchiveState::Recording
        })
        .await;
    // The order to drain comes after the order to erase, as in a server.
    let id = common::camera().id.clone();
    let (erased, _) = tokio::join!(archive.erase(&id), running.drain(BUDGET));
    let erased = erased.unwrap();
    let left = |suffix| common::files(spool.path(), suffix);
    assert_eq!(
        (left(".mp4"), left(".part"), left(".json")),
        Default::default()
    );
    let refused = common::start(&archive, relays.clone(), common::spec());
    let refused = refused.task.await.unwrap().unwrap_err();
    assert!(refused.contains("erased"), "{refused}");
    drop(erased);
    let mut again = common::start(&archive, relays, common::spec());
    again
        .until("recording again", |report| {
            report.state == ArchiveState::Recording
        })
        .await;
    again.drain(Duration::ZERO).await;
    archive.shutdown(Duration::ZERO).await;
}

/// A real ENOSPC needs a file system of its own: skipped where none may be mounted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_is_a_state_with_a_way_out() {
    let Some(disk) = TinyDisk::mount("600k") else {
        moorline_testkit::skip("no tmpfs may be mounted here (needs root)");
        return;
    };
    let store = FakeStore::new(Mood::Away);
    // its own bound never holds: the disk says no
    let settings = Settings {
        when_full: WhenFull::StopNew,
        ..common::settings()
    };
    let archive = common::open(&disk.path().join("spool"), &store, settings).await;
    let camera = FakeCamera::new(Film::default());
    let mut running = common::start(
        &archive,
        Arc::new(OneCamera(Arc::clone(&camera))),
        common::spec(),
    );
    let full = running
        .until("full", |report| report.state == ArchiveState::DiskFull)
        .await;
    common::eventually("all that is written is sealed", || {
        common::files(disk.path(), ".part").is_empty()
    })
    .await;
    common::eventually("what is missing is long enough for a gap", || {
        common::now().since(full.silent_since.unwrap()) > Duration::from_millis(1_500)
    })
    .await;
    store.mood.send_replace(Mood::Takes);
    running
        .until("recording again", |report| {
            report.state == ArchiveState::Recording
        })
        .await;
    common::eventually("the gap is stored", || !store.losses().is_empty()).await;
    let last = running.drain(Duration::from_secs(40)).await.unwrap();
    assert_eq!(last.spool_bytes, 0);
    let frames = store.frames();
    assert!(frames.is_sorted() && frames.len() > 50, "{frames:?}");
    for (_, bytes) in store.segments() {
        assert_eq!(
            moorline_fmp4::recover(&bytes).stop,
            moorline_fmp4::Stop::End
        );
    }
    archive.shutdown(BUDGET).await;
}

struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=0700"),
                "moorline-test",
            ])
            .arg(directory.path())
            .output();
        mount
            .is_ok_and(|done| done.status.success())
            .then_some(Self(directory))
    }

    fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        // lazily, since the spool's lock may still be held
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.path())
            .output();
    }
}
