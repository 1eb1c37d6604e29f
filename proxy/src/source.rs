//! One stream of one camera, as its readers see it: the ring, the layout of its tracks, its state, and who wants it.
//!
//! **Owns** what upstream and readers share, behind one short lock that is never held across an await. **Does not own** the connection to the
//! camera (`upstream`) nor those to readers (`reader`).
//!
//! Upstream writes by [`Publisher::publish`], which hands media to those who keep up ([`Follower`]) once per read of the socket, and wakes
//! whoever else waits by [`Source::changes`]; all look by [`Source::look`]. Whoever wants the stream holds a [`Lease`].

mod clock_map;
mod drift;
mod followers;
mod inner;
mod lease;
mod numbering;
mod publish;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moorline_base::SharedClock;
use moorline_core::port::Poster;
use moorline_core::status::RelayState;
use moorline_core::{CameraId, Generation, SourceName, Timestamp};
use moorline_rtsp::sdp::Media;
use tokio::sync::watch;

use crate::config::RingLimits;
use crate::metrics::ProxyMetrics;
use followers::Followers;
pub(crate) use followers::{Follower, Following};
pub(crate) use inner::{Inner, Stage};
pub(crate) use lease::{Lease, ReaderKind};
pub(crate) use publish::{CNAME, Publisher};

/// The tracks of a stream. It changes only when the camera's description changes in a way that a reader cannot follow.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Counts layouts of the source.
    pub(crate) id: u64,
    /// The media sections, in the order of the tracks.
    pub(crate) media: Vec<Media>,
    /// Our SSRC of each track.
    pub(crate) ssrcs: Vec<u32>,
    /// The video track whose key frames are where readers begin; the first track where there is no video.
    pub(crate) key_track: usize,
    /// Whether the key track is video.
    pub(crate) has_video: bool,
}

/// A stream of a camera.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) camera: CameraId,
    pub(crate) name: SourceName,
    pub(crate) clock: SharedClock,
    metrics: ProxyMetrics,
    started: Instant,
    inner: Mutex<Inner>,
    /// Counts what readers may want to see.
    version: watch::Sender<u64>,
    /// Counts changes of what is reported: pictures are none.
    told: watch::Sender<u64>,
    /// Who gets media at once.
    followers: Followers,
    /// How many want it, by kind.
    demand: watch::Sender<[usize; 3]>,
}

impl Source {
    pub(crate) fn new(
        camera: CameraId,
        name: SourceName,
        clock: SharedClock,
        limits: RingLimits,
        metrics: ProxyMetrics,
    ) -> Arc<Self> {
        let started = clock.monotonic();
        let wall = Timestamp::from_millis(clock.wall_ms());
        Arc::new(Self {
            camera,
            name,
            clock,
            metrics,
            started,
            inner: Mutex::new(Inner::new(limits, wall)),
            version: watch::Sender::new(0),
            told: watch::Sender::new(0),
            followers: Followers::default(),
            demand: watch::Sender::new([0; 3]),
        })
    }

    /// Time since the source was made: the clock of ring and numbering.
    pub(crate) fn now(&self) -> Duration {
        self.clock
            .monotonic()
            .saturating_duration_since(self.started)
    }

    /// The clock's instant of a moment of [`Source::now`].
    pub(crate) fn instant(&self, moment: Duration) -> Instant {
        self.started + moment
    }

    pub(crate) fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.wall_ms())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what is shared. `look` must be short.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.lock())
    }

    /// Changes what is shared without waking anybody.
    pub(crate) fn note<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.lock())
    }

    /// Changes what is shared and wakes whoever waits.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let value = change(&mut self.lock());
        self.version.send_modify(|version| *version += 1);
        self.told.send_modify(|told| *told += 1);
        self.followers.call();
        value
    }

    /// New media is there; `state`: another state, too. Those who keep up get it at once.
    fn wake(&self, now: Duration, state: bool) {
        self.version.send_modify(|version| *version += 1);
        if state {
            self.told.send_modify(|told| *told += 1);
        }
        self.followers.offer(self.instant(now));
    }

    /// Tells of changes from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Tells of other states from now on.
    pub(crate) fn states(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    /// How many want the stream, in all.
    pub(crate) fn readers(&self) -> usize {
        self.demand.borrow().iter().sum()
    }

    pub(crate) fn demand(&self) -> watch::Receiver<[usize; 3]> {
        self.demand.subscribe()
    }

    /// The layout, if the stream is being received.
    pub(crate) fn ready(&self) -> Option<Arc<Layout>> {
        self.look(|inner| {
            inner
                .layout
                .clone()
                .filter(|_| inner.stage == Stage::Playing)
        })
    }

    /// Waits until the stream is received; `None` when the source ends first.
    pub(crate) async fn until_ready(&self) -> Option<Arc<Layout>> {
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            if let Some(layout) = self.ready() {
                return Some(layout);
            }
            if self.look(|inner| inner.stage == Stage::Ended) || changes.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Sets the state that is reported.
    pub(crate) fn set_state(&self, state: RelayState) {
        let wall = self.wall();
        self.change(|inner| inner.set_state(state, wall));
    }

    /// The tunnel of the connection to the camera.
    pub(crate) fn generation(&self) -> Generation {
        self.look(|inner| inner.generation)
    }

    /// No more media will come: readers end.
    pub(crate) fn end(&self) {
        let (now, wall) = (self.now(), self.wall());
        self.change(|inner| {
            inner.end_play(now);
            inner.stage = Stage::Ended;
            inner.set_state(RelayState::Idle, wall);
        });
    }

    /// The still picture that was kept when the source was last let go.
    pub(crate) fn kept_poster(&self) -> Option<Poster> {
        self.look(|inner| inner.poster.clone())
    }
}
