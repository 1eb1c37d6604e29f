//! `kill -9` and power loss: what was synced survives, what is torn is cut, the rest has a cause.
#![allow(
    clippy::disallowed_methods,
    reason = "tests look at the real clock and start processes"
)]

mod common;

use std::fs::{File, FileTimes};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use common::camera::{FakeCamera, Film, OneCamera};
use common::{FakeStore, Mood};
use moorline_archiver::Settings;
use moorline_core::Cause;

const CHILD: &str = "MOORLINE_TEST_SPOOL";

/// Runs only as the child of the test below: records into a spool that nobody empties, and prints what is synced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_is_killed() {
    let Some(spool) = std::env::var_os(CHILD) else {
        return;
    };
    let store = FakeStore::new(Mood::Away);
    let (_archive, _, mut running) =
        common::recording_with(Path::new(&spool), &store, long()).await;
    loop {
        running.reports.changed().await.unwrap();
        let synced = running
            .reports
            .borrow_and_update()
            .as_ref()
            .and_then(|report| report.synced_until);
        if let Some(synced) = synced {
            use std::io::Write as _;
            // past the capture of the test harness
            writeln!(std::io::stderr(), "SYNCED {}", synced.as_millis()).unwrap();
        }
    }
}

fn long() -> Settings {
    Settings {
        segment: Duration::from_millis(900),
        ..common::settings()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_synced_is_lost_by_kill_9() {
    for wait in [10, 17, 23] {
        let spool = tempfile::tempdir().unwrap();
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--nocapture"])
            .env(CHILD, spool.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(
            child.stderr.take().unwrap(),
        ));
        let mut synced = 0;
        for _ in 0..wait {
            let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            synced = line
                .strip_prefix("SYNCED ")
                .and_then(|text| text.parse().ok())
                .unwrap_or(synced);
        }
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        while let Ok(Some(line)) = lines.next_line().await {
            synced = line
                .strip_prefix("SYNCED ")
                .and_then(|text| text.parse().ok())
                .unwrap_or(synced);
        }

        let store = FakeStore::new(Mood::Takes);
        let archive = common::open(spool.path(), &store, long()).await;
        common::eventually("all is uploaded", || archive.waiting().is_empty()).await;
        let frames = store.frames();
        let expected: Vec<u64> = (frames[0]..frames[0] + frames.len() as u64).collect();
        assert_eq!(frames, expected, "no picture is missing or doubled");
        let end = store
            .segments()
            .iter()
            .map(|(key, _)| key.range().to.as_millis())
            .max()
            .unwrap();
        // the anchor of the first segment moves until it is sealed: by milliseconds here
        assert!(
            end + 50 >= synced,
            "{} ms of what was synced are lost",
            synced - end
        );
        assert_eq!(
            common::files(spool.path(), ".part"),
            Vec::<std::path::PathBuf>::new()
        );
        archive.shutdown(Duration::from_secs(5)).await;
    }
}

/// P3, P4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_tail_is_cut_and_the_time_since_has_its_causes() {
    let spool = tempfile::tempdir().unwrap();
    let part = torn_spool(spool.path()).await;
    let whole = std::fs::read(&part).unwrap();
    // a power cut: half a fragment, then pages that never came
    let mut torn = whole.clone();
    torn.extend_from_slice(&whole[whole.len() - 3_000..whole.len() - 1_500]);
    torn.extend_from_slice(&[0; 4_096]);
    std::fs::write(&part, &torn).unwrap();
    let died = common::now();
    // the disk keeps its own time
    let last_write = UNIX_EPOCH + Duration::from_millis(died.as_millis().unsigned_abs());
    let disk_time = FileTimes::new().set_modified(last_write);
    let recorded = died - Duration::from_secs(4);
    // the pictures are from four seconds before the last write
    shift_walls(&part, -4_000);
    let file = File::options().write(true).open(&part).unwrap();
    file.set_times(disk_time).unwrap();

    let store = FakeStore::new(Mood::Takes);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let mut spec = common::spec();
    spec.durable_until = Some(recorded - Duration::from_secs(1));
    spec.gaps = vec![(common::gap(died, Cause::Restart), None)];
    let camera = FakeCamera::new(Film::default());
    let running = common::start(&archive, Arc::new(OneCamera(camera)), spec);
    common::eventually("the old and a new segment are stored", || {
        let takes: std::collections::BTreeSet<_> =
            store.segments().iter().map(|(key, _)| key.take).collect();
        takes.len() == 2
    })
    .await;
    running.drain(Duration::from_secs(30)).await;

    let segments = store.segments();
    assert_eq!(
        common::frames(&segments[0].1),
        common::frames(&whole),
        "every whole fragment is there, and nothing else"
    );
    let causes: Vec<_> = store.gaps().iter().map(|gap| gap.cause).collect();
    assert!(
        causes.contains(&Cause::CrashRecovered),
        "{:?}",
        store.gaps()
    );
    archive.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_segment_is_set_aside_and_one_that_never_began_goes() {
    let spool = tempfile::tempdir().unwrap();
    let part = torn_spool(spool.path()).await;
    let whole = std::fs::read(&part).unwrap();
    let recovery = moorline_fmp4::recover(&whole);
    let first = recovery.fragments[0];
    let head = first.offset as usize;
    // What power cuts and kills leave of a file that nobody was promised: two of them are of zeros.
    let torn = &whole[..head + first.len as usize / 2];
    let mut unwritten = whole[..head].to_vec();
    unwritten.resize(whole.len(), 0);
    let never = [
        &whole[..head / 2],
        &whole[..head],
        torn,
        &[0; 100_000],
        &unwritten,
        &[],
    ];
    for (sequence, bytes) in never.into_iter().enumerate() {
        std::fs::write(
            part.with_file_name(format!("{:06}.part", 100 + sequence)),
            bytes,
        )
        .unwrap();
    }
    // A disk that lost the first sector, or one in the first fragment.
    let (mut headless, mut holed) = (whole.clone(), whole.clone());
    headless[..512].fill(0);
    holed[head + 200..head + 300].fill(0x55);
    std::fs::write(&part, &headless).unwrap();
    std::fs::write(part.with_file_name("000099.part"), &holed).unwrap();

    let store = FakeStore::new(Mood::Takes);
    for _ in 0..2 {
        let archive = common::open(spool.path(), &store, common::settings()).await;
        assert_eq!(
            common::files(spool.path(), ".part"),
            Vec::<std::path::PathBuf>::new()
        );
        let aside = common::files(spool.path(), ".damaged");
        let kept: Vec<_> = aside
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect();
        assert!(kept == [headless.clone(), holed.clone()], "{aside:?}");
        archive.shutdown(Duration::from_secs(5)).await;
    }
    assert_eq!(store.keys(), []);
}

/// The segment behind the gap is sealed and stored by the next process, before its recorder asks where the archive ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_before_a_segment_that_a_crash_tore_keeps_its_cause() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let settings = Settings {
        segment: Duration::from_secs(60),
        ..common::settings()
    };
    let archive = common::open(spool.path(), &store, settings.clone()).await;
    // Before the camera: its pictures are dated by when it filmed them, and none before it came.
    let began = common::now();
    let camera = FakeCamera::new(Film::default());
    let relays = Arc::new(OneCamera(Arc::clone(&camera)));
    let mut running = common::start(&archive, relays, common::spec());
    running.cause(None).await;
    running
        .until("recording", |report| report.synced_until.is_some())
        .await;
    camera.filming.store(false, Ordering::Relaxed);
    camera.boundary();
    let silent = common::now();
    running
        .cause(Some(common::gap(silent, Cause::Operator)))
        .await;
    common::eventually("longer than a hole", || {
        common::now().since(silent) > Duration::from_secs(2)
    })
    .await;
    let back = common::now();
    camera.filming.store(true, Ordering::Relaxed);
    running.cause(None).await;
    running
        .until("recording again", |report| report.synced_until > Some(back))
        .await;
    let sealed = spool.path().join(".sealed");
    common::eventually("what was before is stored", || {
        store.segments().len() == 1 && common::files(&sealed, "").is_empty()
    })
    .await;

    // Nothing is written while the camera is silent again: this is what a kill leaves.
    camera.filming.store(false, Ordering::Relaxed);
    let crashed = tempfile::tempdir().unwrap();
    copy(spool.path(), crashed.path());
    let stored = common::copy_of(&store);
    let died = common::now();
    running.cancel.cancel();
    let _ = running.task.await;

    let archive = common::open(crashed.path(), &stored, settings).await;
    common::eventually("what was torn is stored", || archive.waiting().is_empty()).await;
    assert_eq!(stored.segments().len(), 2);
    let mut spec = common::spec();
    // The monitor is at most ten seconds late to remember.
    spec.durable_until = Some(silent);
    spec.gaps = vec![
        (common::gap(silent, Cause::Operator), Some(back)),
        (common::gap(died, Cause::Restart), Some(common::now())),
    ];
    camera.filming.store(true, Ordering::Relaxed);
    let mut running = common::start(&archive, Arc::new(OneCamera(camera)), spec);
    running
        .until("recording", |report| report.synced_until > Some(died))
        .await;
    let report = running.drain(Duration::from_secs(30)).await.unwrap();
    let first = stored.segments()[0].0.start;
    assert!(first >= began);
    common::assert_explained(&stored, first, report.durable_until.unwrap());
    let gaps = stored.losses();
    assert_eq!(gaps[0].cause, Cause::Operator, "{gaps:?}");
    assert!(gaps[0].duration > Duration::from_secs(1), "{gaps:?}");
    archive.shutdown(Duration::from_secs(5)).await;
}

/// A directory with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => std::fs::copy(entry.path(), to).map(drop).unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_that_is_killed_leaves_nothing_open_and_the_next_one_goes_on() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let settings = Settings {
        segment: Duration::from_secs(60),
        ..common::settings()
    };
    let archive = common::open(spool.path(), &store, settings).await;
    let camera = FakeCamera::new(Film::default());
    let relays = Arc::new(OneCamera(camera));
    for _ in 0..2 {
        let mut running = common::start(&archive, Arc::clone(&relays) as _, common::spec());
        running
            .until("recording", |report| report.synced_until.is_some())
            .await;
        running.cancel.cancel();
        tokio::time::timeout(Duration::from_secs(60), running.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
    common::eventually("both are stored", || store.segments().len() == 2).await;
    assert_eq!(
        common::files(spool.path(), ".part"),
        Vec::<std::path::PathBuf>::new()
    );
    archive.shutdown(Duration::from_secs(5)).await;
}

/// What a relay's ring still held comes late and at once. The pictures of the present date it, also where nobody came to seal it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_segment_that_began_with_late_pictures_is_dated_by_those_that_came_in_time() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let settings = Settings {
        segment: Duration::from_secs(3600),
        ..common::settings()
    };
    let archive = common::open(spool.path(), &store, settings.clone()).await;
    let camera = FakeCamera::new(Film::default());
    camera.stalled.store(true, Ordering::Relaxed);
    let relays = Arc::new(OneCamera(Arc::clone(&camera)));
    let running = common::start(&archive, relays, common::spec());
    common::eventually("two seconds are held back", || {
        let last = camera.last_sent.load(Ordering::Relaxed);
        camera.first_sent().is_some_and(|first| last >= first + 100)
    })
    .await;
    let came = common::now();
    camera.stalled.store(false, Ordering::Relaxed);
    common::eventually("pictures of the present are synced", || {
        let part = common::files(spool.path(), ".part").pop();
        let bytes = part.and_then(|part| std::fs::read(part).ok());
        bytes.is_some_and(|bytes| moorline_fmp4::recover(&bytes).fragments.len() >= 30)
    })
    .await;

    let crashed = tempfile::tempdir().unwrap();
    copy(spool.path(), crashed.path());
    running.cancel.cancel();
    let _ = running.task.await;
    let recovered = FakeStore::new(Mood::Takes);
    let after = common::open(crashed.path(), &recovered, settings).await;
    for (store, how) in [(&store, "cancelled"), (&recovered, "killed")] {
        common::eventually("it is stored", || store.segments().len() == 1).await;
        let (key, bytes) = store.segments().remove(0);
        let late = came.since(key.start);
        assert!(late >= Duration::from_secs(1), "{how}: {late:?}");
        let inside = moorline_fmp4::recover(&bytes).start_wall().unwrap();
        assert_eq!(inside.unix_millis(), key.start.as_millis(), "{how}");
    }
    archive.shutdown(Duration::from_secs(5)).await;
    after.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_in_the_spool_keeps_nothing_else_from_being_stored() {
    let spool = tempfile::tempdir().unwrap();
    let part = torn_spool(spool.path()).await;
    // A directory cannot be opened for writing, nor removed as a file, by root either.
    std::fs::create_dir(part.with_file_name("000077.part")).unwrap();
    std::fs::create_dir_all(spool.path().join(".sealed/.marker.tmp")).unwrap();
    let store = FakeStore::new(Mood::Takes);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    common::eventually("the segment is stored", || store.segments().len() == 1).await;
    archive.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_one_spool_is_refused() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let _first = common::open(spool.path(), &store, common::settings()).await;
    let second = moorline_archiver::Archive::open(
        spool.path().to_owned(),
        store,
        common::clock(),
        common::settings(),
    )
    .await;
    assert!(
        second
            .unwrap_err()
            .to_string()
            .contains("is in use by process")
    );
}

/// A spool with one open segment, as a dead process leaves it.
async fn torn_spool(spool: &Path) -> std::path::PathBuf {
    let other = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Away);
    let settings = Settings {
        segment: Duration::from_secs(60),
        ..common::settings()
    };
    let (_archive, _, mut running) = common::recording_with(other.path(), &store, settings).await;
    running
        .until("ten fragments", |report| report.spool_bytes > 120_000)
        .await;
    let part = common::files(other.path(), ".part").remove(0);
    let target = spool.join(part.strip_prefix(other.path()).unwrap());
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    // whole fragments only: a copy may catch an append half way
    let bytes = std::fs::read(&part).unwrap();
    let whole = moorline_fmp4::recover(&bytes).whole_len as usize;
    std::fs::write(&target, &bytes[..whole]).unwrap();
    running.cancel.cancel();
    let _ = running.task.await;
    target
}

/// Moves the wall clock of every fragment, outside the checksum as at seal.
fn shift_walls(part: &Path, by_ms: i64) {
    let mut bytes = std::fs::read(part).unwrap();
    let recovery = moorline_fmp4::recover(&bytes);
    let first = recovery.fragments[0];
    let anchor = moorline_fmp4::Anchor {
        unix_micros: first.wall.unix_micros() + by_ms * 1_000,
        media_time: first.media_time,
    };
    let seal = moorline_fmp4::Seal {
        fragments: &recovery.fragments,
        anchor: Some(anchor),
        ..Default::default()
    };
    let head = recovery.head.unwrap();
    // only the clocks: the head stays that of an open segment
    for patch in head
        .seal(&seal)
        .into_iter()
        .filter(|patch| patch.offset > head.len() as u64)
    {
        let at = patch.offset as usize;
        bytes[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    std::fs::write(part, bytes).unwrap();
}
