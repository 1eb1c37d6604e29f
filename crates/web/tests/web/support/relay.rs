//! Live streams: the clip in real time, aligned to the wall clock, so that its running clock shows the second of the minute.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use moorline_base::clock::{Clock as _, SystemClock};
use moorline_core::port::{ByteStream, LiveFeed, LiveItem, Poster, ReaderRole, RelayError, Relays};
use moorline_core::{CameraId, SourceName, Timestamp};
use tokio::time::Interval;

use super::film::{Film, RATE};

/// Pictures of one live fragment.
const PICTURES: u64 = 5;

/// The relays of the cameras that are up.
pub(crate) struct FakeRelays {
    film: Arc<Film>,
    up: Arc<Mutex<HashSet<CameraId>>>,
    /// Bytes that were taken out of feeds.
    pub(crate) taken: Arc<AtomicU64>,
    /// Feeds give pictures as fast as they are taken.
    pub(crate) flood: AtomicBool,
}

impl FakeRelays {
    pub(crate) fn new(film: Arc<Film>) -> Self {
        Self {
            film,
            up: Arc::default(),
            taken: Arc::default(),
            flood: false.into(),
        }
    }

    pub(crate) fn start(&self, camera: &CameraId) {
        self.up.lock().unwrap().insert(camera.clone());
    }

    pub(crate) fn end(&self, camera: &CameraId) {
        self.up.lock().unwrap().remove(camera);
    }

    fn is_up(&self, camera: &CameraId) -> bool {
        self.up.lock().unwrap().contains(camera)
    }
}

fn now() -> u64 {
    u64::try_from(SystemClock.wall_ms()).unwrap()
}

#[async_trait]
impl Relays for FakeRelays {
    async fn open(
        &self,
        camera: &CameraId,
        _: SourceName,
        _: ReaderRole,
    ) -> Result<ByteStream, RelayError> {
        Err(if self.is_up(camera) {
            RelayError::Ended
        } else {
            RelayError::Away
        })
    }

    async fn live(
        &self,
        camera: &CameraId,
        _: SourceName,
        _: &str,
    ) -> Result<Box<dyn LiveFeed>, RelayError> {
        if !self.is_up(camera) {
            return Err(RelayError::Away);
        }
        let period = Duration::from_millis(1000 * PICTURES / RATE);
        let second = now() / 1000;
        Ok(Box::new(Feed {
            camera: camera.clone(),
            up: Arc::clone(&self.up),
            film: Arc::clone(&self.film),
            started: second * RATE,
            next: second * RATE,
            told: false,
            taken: Arc::clone(&self.taken),
            period: (!self.flood.load(Ordering::Relaxed)).then(|| tokio::time::interval(period)),
        }))
    }

    fn poster(&self, camera: &CameraId, source: SourceName) -> Option<Poster> {
        if source != SourceName::Main || !self.is_up(camera) {
            return None;
        }
        let second = now() / 1000;
        let wall = Timestamp::from_millis((second * 1000) as i64);
        let (mime, init) = self.film.init();
        let picture = self.film.fragment(second % 20 * RATE, 1, 0, wall);
        Some(Poster {
            mime,
            bytes: [init, picture].concat().into(),
            wall,
        })
    }
}

struct Feed {
    camera: CameraId,
    up: Arc<Mutex<HashSet<CameraId>>>,
    film: Arc<Film>,
    started: u64,
    next: u64,
    told: bool,
    taken: Arc<AtomicU64>,
    period: Option<Interval>,
}

#[async_trait]
impl LiveFeed for Feed {
    async fn next(&mut self) -> Result<LiveItem, RelayError> {
        if !self.told {
            self.told = true;
            let (mime, bytes) = self.film.init();
            return Ok(LiveItem::Init { mime, bytes });
        }
        // The pictures of the present second come at once, as from a ring that keeps the last GOP.
        let is_past = (self.next + PICTURES) * 1000 / RATE <= now();
        if let (false, Some(period)) = (is_past, &mut self.period) {
            period.tick().await;
        }
        if !self.up.lock().unwrap().contains(&self.camera) {
            return Err(RelayError::Ended);
        }
        let wall = Timestamp::from_millis((self.next * 1000 / RATE) as i64);
        let media = self.next - self.started;
        let bytes = self
            .film
            .fragment(self.next % (20 * RATE), PICTURES, media, wall);
        let key = self.next.is_multiple_of(RATE);
        self.next += PICTURES;
        self.taken.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(LiveItem::Fragment { bytes, key, wall })
    }
}
