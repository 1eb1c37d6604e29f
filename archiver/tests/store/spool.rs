//! What lies in the spool: removed by another hand, not sealed yet when everything is to end, erased.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use moorline_archiver::{Archive, Settings};
use moorline_core::segment::ObjectKey;
use moorline_core::status::{ArchiveReport, ArchiveState};
use moorline_core::{Cause, Timestamp};

use crate::BUDGET;
use crate::common::camera::{FakeCamera, Film, OneCamera};
use crate::common::{self, FakeStore, Mood, Running};

/// What a recorder reports.
type Reports = tokio::sync::watch::Receiver<Option<ArchiveReport>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_hand_removed_from_the_spool_is_a_gap_before_anything_behind_it_is_durable() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Away);
    // What is shorter than a second is no gap.
    let settings = Settings {
        segment: Duration::from_millis(1_500),
        ..common::settings()
    };
    let (archive, _, running) = common::recording_with(spool.path(), &store, settings).await;
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
    let (archive, _, running) = common::recording_with(spool.path(), &store, settings).await;
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

/// All that was sealed is stored, and the folder for more is gone: what is recorded on cannot be sealed until it is there again. That folder, and up to
/// when all is synced.
async fn unsealable(
    spool: &Path,
    store: &Arc<FakeStore>,
) -> (Archive, Running, PathBuf, Option<Timestamp>) {
    let (archive, _, mut running) = common::recording(spool, store).await;
    let sealed = spool.join(".sealed");
    common::eventually("all that was sealed is stored", || {
        !store.segments().is_empty() && std::fs::remove_dir(&sealed).is_ok()
    })
    .await;
    let recording = running.until("it records on", |report| report.spool_bytes > 0);
    let synced = recording.await.synced_until;
    (archive, running, sealed, synced)
}

/// Waits until it says that it drains.
async fn drains(mut reports: Reports) -> Reports {
    let draining = |report: &Option<ArchiveReport>| {
        report
            .as_ref()
            .is_some_and(|report| report.state == ArchiveState::Draining)
    };
    reports.wait_for(draining).await.unwrap();
    reports
}

/// In a cluster, what has drained loses its disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_a_segment_that_cannot_be_sealed_yet() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let (archive, running, sealed, synced) = unsealable(spool.path(), &store).await;
    let reports = running.reports.clone();
    let mended = async {
        drains(reports).await;
        std::fs::create_dir(&sealed).unwrap();
    };
    let (last, ()) = tokio::join!(running.drain(BUDGET), mended);
    assert_eq!(last.unwrap().spool_bytes, 0);
    let end = store.keys().iter().map(|key| key.range().to).max();
    assert_all_stored(end, synced);
    archive.shutdown(BUDGET).await;
}

/// Whoever hears nothing from a recorder takes it for dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_goes_on_reporting_while_the_store_does_not_answer() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Stalls);
    let settings = Settings {
        report_every: Duration::from_millis(50),
        ..common::settings()
    };
    let (archive, _, mut running) = common::recording_with(spool.path(), &store, settings).await;
    running
        .until("it records", |report| report.spool_bytes > 0)
        .await;
    let reports = running.reports.clone();
    let heard = async {
        let mut reports = drains(reports).await;
        // More than the sealing of the last segment changes.
        for _ in 0..20 {
            reports.changed().await.expect("it reports on");
        }
        store.mood.send_replace(Mood::Takes);
    };
    let (last, ()) = tokio::join!(running.drain(BUDGET), heard);
    assert_eq!(last.unwrap().spool_bytes, 0);
    archive.shutdown(BUDGET).await;
}

/// Whoever was cut short leaves a segment that is sealed behind its back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_waits_for_a_segment_that_cannot_be_sealed_yet() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let (archive, running, sealed, synced) = unsealable(spool.path(), &store).await;
    running.cancel.cancel();
    running.task.await.unwrap().unwrap();
    let mended = async { std::fs::create_dir(&sealed).unwrap() };
    tokio::join!(archive.shutdown(BUDGET), mended);
    assert_eq!(common::files(spool.path(), ".part"), Vec::<PathBuf>::new());
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
async fn what_waits_of_a_camera_can_be_erased() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Away);
    let (archive, _, running) = common::recording(spool.path(), &store).await;
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
    assert_eq!(common::files(&sealed, ""), Vec::<PathBuf>::new());
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
