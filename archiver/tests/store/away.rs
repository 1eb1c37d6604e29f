//! What a store does with an object, from refusing it to a panic, holds up neither recording nor another object, and makes nothing durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use moorline_archiver::Settings;
use moorline_core::CameraId;
use moorline_core::segment::{ObjectKey, SegmentKey};
use moorline_core::status::{ArchiveReport, ArchiveState};

use crate::BUDGET;
use crate::common::camera::{FakeCamera, Film, OneCamera};
use crate::common::{self, FakeStore, Mood, Running};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_does_not_hold_up_a_drain_and_the_next_start_uploads_the_rest() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Stalls);
    let (archive, _, running) = common::recording(spool.path(), &store).await;
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
    let (archive, _, mut running) = common::recording(spool.path(), &store).await;
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
    let (archive, _, running) = common::recording_with(spool.path(), &store, settings).await;
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
    let (archive, _, mut running) = common::recording(spool.path(), &store).await;
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

/// Waits until it says that of the store.
async fn tells(running: &mut Running, words: &str) {
    let said = |report: &ArchiveReport| {
        let error = report.store_error.as_deref();
        error.is_some_and(|error| error.contains(words))
    };
    running.until("told", said).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_the_store_garbles_is_never_durable() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::WrongDigest);
    let (archive, _, mut running) = common::recording(spool.path(), &store).await;
    tells(&mut running, "other bytes").await;
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
async fn an_adapter_that_panics_does_not_end_the_uploads() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Panics);
    let (archive, _, mut running) = common::recording(spool.path(), &store).await;
    tells(&mut running, "panicked").await;
    store.mood.send_replace(Mood::Takes);
    let last = running.drain(BUDGET).await.unwrap();
    assert_eq!((last.spool_bytes, last.store_error), (0, None));
    assert!(!store.segments().is_empty());
    archive.shutdown(BUDGET).await;
}
