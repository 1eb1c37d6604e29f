//! Clocks that step: a take ends, the next one has another name, and the stretch between has its cause.
#![allow(clippy::disallowed_methods, reason = "tests look at the real clock")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use common::camera::{FakeCamera, Film, OneCamera};
use common::{FakeStore, Mood};
use moorline_archiver::Archive;
use moorline_base::clock::Sleeping;
use moorline_base::{Clock, SharedClock, SystemClock};
use moorline_core::Cause;

#[derive(Debug)]
struct SteppingClock {
    real: SharedClock,
    offset_ms: AtomicI64,
}

impl Clock for SteppingClock {
    fn monotonic(&self) -> Instant {
        self.real.monotonic()
    }

    fn wall_ms(&self) -> i64 {
        self.real.wall_ms() + self.offset_ms.load(Ordering::Relaxed)
    }

    fn sleep_until(&self, deadline: Instant) -> Sleeping {
        self.real.sleep_until(deadline)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_steps_ends_the_take() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let clock = Arc::new(SteppingClock {
        real: SystemClock::shared(),
        offset_ms: AtomicI64::new(0),
    });
    let archive = Archive::open(
        spool.path().to_owned(),
        Arc::clone(&store) as _,
        Arc::clone(&clock) as _,
        common::settings(),
    )
    .await
    .unwrap();
    let camera = FakeCamera::new(Film::default());
    let running = common::start(
        &archive,
        Arc::new(OneCamera(Arc::clone(&camera))),
        common::spec(),
    );
    common::eventually("two segments are stored", || store.segments().len() >= 2).await;
    clock.offset_ms.store(30_000, Ordering::Relaxed);
    common::eventually("it was asked again", || {
        camera.opened.load(Ordering::Relaxed) == 2
    })
    .await;
    let before = store.segments().len();
    common::eventually("segments of the next take", || {
        store.segments().len() >= before + 2
    })
    .await;
    running.drain(Duration::from_secs(10)).await;

    let segments = store.segments();
    let mut takes: Vec<_> = segments.iter().map(|(key, _)| key.take).collect();
    takes.dedup();
    assert_eq!(takes.len(), 2, "one take on each side");
    let gaps = store.gaps();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].cause, Cause::ClockStep);
    let seconds = gaps[0].duration.as_secs_f64();
    assert!((29.0..32.0).contains(&seconds), "{seconds}");
    archive.shutdown(Duration::from_secs(5)).await;
}
