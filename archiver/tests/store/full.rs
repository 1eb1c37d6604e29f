//! A spool at its bound and a disk that is full: what is given up is said, and a state has a way out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use moorline_archiver::{Archive, Settings, WhenFull};
use moorline_core::Cause;
use moorline_core::segment::ObjectKey;
use moorline_core::status::{ArchiveReport, ArchiveState};

use crate::BUDGET;
use crate::common::camera::{FakeCamera, Film, OneCamera};
use crate::common::{self, FakeStore, Mood, Running};

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
    let (archive, _, mut running) = common::recording_with(spool.path(), &store, settings).await;
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

/// A recorder whose spool is full, and nothing in it may be given up; and what it reports of that.
async fn filled(spool: &Path, store: &Arc<FakeStore>) -> (Archive, Running, ArchiveReport) {
    let settings = Settings {
        spool_bytes: 300_000,
        when_full: WhenFull::StopNew,
        ..common::settings()
    };
    let (archive, _, mut running) = common::recording_with(spool, store, settings).await;
    let full = running.until("full", |report| report.state == ArchiveState::DiskFull);
    let full = full.await;
    (archive, running, full)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_may_be_given_up_recording_stops_and_comes_back() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Away);
    let (_archive, mut running, full) = filled(spool.path(), &store).await;
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
async fn a_bound_that_is_raised_lets_recording_go_on_without_a_restart() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Away);
    let (archive, mut running, _) = filled(spool.path(), &store).await;
    let min_free = common::settings().min_free_bytes;
    archive.set_bounds(30_000_000, min_free);
    running
        .until("recording again", |report| {
            report.state == ArchiveState::Recording
        })
        .await;
    archive.set_bounds(30_000_000, u64::MAX / 2);
    running
        .until("too little would stay free", |report| {
            report.state == ArchiveState::DiskFull
        })
        .await;
    archive.set_bounds(30_000_000, min_free);
    store.mood.send_replace(Mood::Takes);
    running.drain(Duration::from_secs(40)).await;
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
    let (archive, _, mut running) =
        common::recording_with(&disk.path().join("spool"), &store, settings).await;
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

    fn path(&self) -> &Path {
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
