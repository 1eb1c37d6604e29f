//! Which tunnel a recording came through: what is named by an older one than it began under, a signer does not take.
#![allow(clippy::disallowed_methods, reason = "tests look at the real clock")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::camera::{FakeCamera, Film, OneCamera};
use common::{FakeStore, Mood};
use moorline_core::port::{
    ByteStream, LiveFeed, Poster, ReaderRole, RelayError, Relays, WorkloadOrder,
};
use moorline_core::status::{ArchiveReport, ArchiveState};
use moorline_core::{CameraId, Cause, Generation, SourceName};

const BUDGET: Duration = Duration::from_secs(30);

/// The generations of what is stored, in order, each once.
fn generations(store: &FakeStore) -> Vec<u64> {
    let segments = store.segments().into_iter();
    let mut all: Vec<u64> = segments.map(|(key, _)| key.generation.0).collect();
    all.dedup();
    all
}

/// The relay has connected again before its archiver is told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_take_that_goes_on_is_named_by_the_newer_tunnel_from_the_next_segment_on() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let (archive, _, running) = common::recording(spool.path(), &store).await;
    common::eventually("two segments", || store.segments().len() >= 2).await;
    let order = WorkloadOrder::Rebind {
        generation: Generation(8),
    };
    running.orders.send(order).await.unwrap();
    common::eventually("a segment of the newer tunnel", || {
        generations(&store) == [7, 8]
    })
    .await;
    running.drain(BUDGET).await.unwrap();
    let frames = store.frames();
    let expected: Vec<u64> = (frames[0]..frames[0] + frames.len() as u64).collect();
    assert_eq!(frames, expected, "no picture is missing, none is twice");
    let takes: Vec<_> = store.segments().iter().map(|(key, _)| key.take).collect();
    assert!(takes.iter().all(|take| *take == takes[0]), "{takes:?}");
    archive.shutdown(BUDGET).await;
}

/// A relay, and a way to it that knows the newest tunnel.
struct Through(OneCamera, Generation);

#[async_trait::async_trait]
impl Relays for Through {
    async fn open(
        &self,
        camera: &CameraId,
        source: SourceName,
        role: ReaderRole,
    ) -> Result<ByteStream, RelayError> {
        self.0.open(camera, source, role).await
    }

    fn generation(&self, _: &CameraId) -> Option<Generation> {
        Some(self.1)
    }

    async fn live(
        &self,
        camera: &CameraId,
        source: SourceName,
        login: &str,
    ) -> Result<Box<dyn LiveFeed>, RelayError> {
        self.0.live(camera, source, login).await
    }

    fn poster(&self, camera: &CameraId, source: SourceName) -> Option<Poster> {
        self.0.poster(camera, source)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_the_relay_tells_of_a_newer_tunnel_before_the_order_does() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let relays = Through(OneCamera(FakeCamera::new(Film::default())), Generation(9));
    let running = common::start(&archive, Arc::new(relays), common::spec());
    common::eventually("two segments", || store.segments().len() >= 2).await;
    // Late, and of an older one.
    let order = WorkloadOrder::Rebind {
        generation: Generation(8),
    };
    running.orders.send(order).await.unwrap();
    let stored = store.segments().len();
    common::eventually("two more", || store.segments().len() >= stored + 2).await;
    running.drain(BUDGET).await.unwrap();
    assert_eq!(generations(&store), [9]);
    archive.shutdown(BUDGET).await;
}

/// A relay to which there is no way for a while, as when no signer answers.
struct Gate {
    relay: OneCamera,
    shut: AtomicBool,
}

#[async_trait::async_trait]
impl Relays for Gate {
    async fn open(
        &self,
        camera: &CameraId,
        source: SourceName,
        role: ReaderRole,
    ) -> Result<ByteStream, RelayError> {
        if self.shut.load(Ordering::Relaxed) {
            return Err(RelayError::Away);
        }
        self.relay.open(camera, source, role).await
    }

    async fn live(
        &self,
        camera: &CameraId,
        source: SourceName,
        login: &str,
    ) -> Result<Box<dyn LiveFeed>, RelayError> {
        self.relay.live(camera, source, login).await
    }

    fn poster(&self, camera: &CameraId, source: SourceName) -> Option<Poster> {
        self.relay.poster(camera, source)
    }
}

/// The monitor, which sees a relay that plays, would take it for pictures without a key frame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archiver_says_that_its_relay_does_not_open_and_the_gap_is_not_the_cameras() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    let archive = common::open(spool.path(), &store, common::settings()).await;
    let camera = FakeCamera::new(Film::default());
    let relays = Arc::new(Gate {
        relay: OneCamera(Arc::clone(&camera)),
        shut: AtomicBool::new(false),
    });
    let way = Arc::clone(&relays) as Arc<dyn Relays>;
    let mut running = common::start(&archive, way, common::spec());
    let records = |report: &ArchiveReport| report.state == ArchiveState::Recording;
    let open = running.until("recording", records).await;
    assert!(!open.shut_out);
    common::eventually("a segment is stored", || !store.segments().is_empty()).await;
    relays.shut.store(true, Ordering::Relaxed);
    camera.boundary();
    let shut = running.until("shut out", |report| report.shut_out).await;
    assert_eq!(shut.state, ArchiveState::Waiting);
    // From when the monitor has heard of it on: what was before it does not explain.
    let gap = common::gap(common::now(), Cause::Restart);
    running.cause(Some(gap)).await;
    relays.shut.store(false, Ordering::Relaxed);
    let open = running.until("recording again", records).await;
    assert!(!open.shut_out);
    running.cause(None).await;
    common::eventually("a gap is stored", || !store.losses().is_empty()).await;
    running.drain(BUDGET).await.unwrap();
    let gaps = store.losses();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].cause, Cause::Restart);
    assert!(gaps[0].duration >= Duration::from_secs(4), "{gaps:?}");
    archive.shutdown(BUDGET).await;
}

/// A replica that has the camera's new tunnel is found later than the pictures that come through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_waits_for_the_word_of_a_monitor_that_cannot_be_heard_yet() {
    let spool = tempfile::tempdir().unwrap();
    let store = FakeStore::new(Mood::Takes);
    // Nothing is sealed meanwhile: a gap is written before what follows it.
    let mut settings = common::settings();
    settings.segment = Duration::from_secs(3_600);
    let (archive, camera, mut running) =
        common::recording_with(spool.path(), &store, settings).await;
    let is = |state| move |report: &ArchiveReport| report.state == state;
    running
        .until("recording", is(ArchiveState::Recording))
        .await;
    camera.filming.store(false, Ordering::Relaxed);
    let silent = running.until("silent", is(ArchiveState::Waiting)).await;
    running.heard.store(false, Ordering::Relaxed);
    camera.filming.store(true, Ordering::Relaxed);
    running
        .until("recording again", is(ArchiveState::Recording))
        .await;
    let since = silent.silent_since.unwrap();
    running
        .cause(Some(common::gap(since, Cause::TunnelDown)))
        .await;
    running.cause(None).await;
    running.heard.store(true, Ordering::Relaxed);
    common::eventually("a gap is stored", || !store.losses().is_empty()).await;
    running.drain(BUDGET).await.unwrap();
    let causes: Vec<Cause> = store.losses().iter().map(|gap| gap.cause).collect();
    assert!(
        causes.iter().all(|cause| *cause == Cause::TunnelDown),
        "{causes:?}"
    );
    archive.shutdown(BUDGET).await;
}
