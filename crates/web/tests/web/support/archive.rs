//! The archive: stretches of the clip and gaps, as a directory of segments would give them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use moorline_base::clock::{Clock as _, SystemClock};
use moorline_core::coverage::{Coverage, Gap, Held, Recorded};
use moorline_core::port::{
    Export, Page, PlayItem, Playback, Recordings, RecordingsError, SegmentStore, StoreError, Unread,
};
use moorline_core::segment::{InitHash, Place, Retention, SegmentKey, Tier};
use moorline_core::{CameraId, Cause, Generation, TakeId, TimeRange, Timestamp};
use tokio::sync::watch;

use super::film::{Film, RATE};

/// One recorded take. Open: it goes on until now.
#[derive(Clone, Copy)]
struct Take {
    range: TimeRange,
    open: bool,
}

impl Take {
    fn end(&self) -> Timestamp {
        if self.open { now() } else { self.range.to }
    }
}

#[derive(Clone, Default)]
struct Tape {
    takes: Vec<Take>,
    gaps: Vec<(TimeRange, Cause)>,
    expired: Timestamp,
}

/// What was recorded of each camera.
pub(crate) struct FakeArchive {
    film: Arc<Film>,
    tapes: Mutex<BTreeMap<CameraId, Tape>>,
    /// What one read of a playback takes, as from a store that is far away.
    pub(crate) slow: Mutex<Duration>,
    /// So many recordings in a row are damaged from now on.
    pub(crate) damaged: Arc<AtomicU32>,
    /// What exports leave out.
    pub(crate) unread: Mutex<Vec<Unread>>,
    /// Exports give nothing while it is set.
    pub(crate) held: watch::Sender<bool>,
    /// How many wait for that.
    pub(crate) waiting: watch::Sender<usize>,
}

fn now() -> Timestamp {
    Timestamp::from_millis(SystemClock.wall_ms() / 1000 * 1000)
}

impl FakeArchive {
    pub(crate) fn new(film: Arc<Film>) -> Self {
        Self {
            film,
            tapes: Mutex::default(),
            slow: Mutex::default(),
            damaged: Arc::default(),
            unread: Mutex::default(),
            held: watch::Sender::new(false),
            waiting: watch::Sender::new(0),
        }
    }

    fn with(&self, camera: &CameraId, change: impl FnOnce(&mut Tape)) {
        change(
            self.tapes
                .lock()
                .unwrap()
                .entry(camera.clone())
                .or_default(),
        );
    }

    /// Media in whole seconds.
    pub(crate) fn record(&self, camera: &CameraId, range: TimeRange) {
        self.with(camera, |tape| {
            tape.takes.push(Take { range, open: false });
        });
    }

    /// Media from then on.
    pub(crate) fn record_on(&self, camera: &CameraId, from: Timestamp) {
        let range = TimeRange::new(from, from);
        self.with(camera, |tape| tape.takes.push(Take { range, open: true }));
    }

    pub(crate) fn gap(&self, camera: &CameraId, range: TimeRange, cause: Cause) {
        self.with(camera, |tape| tape.gaps.push((range, cause)));
    }

    pub(crate) fn expire(&self, camera: &CameraId, before: Timestamp) {
        self.with(camera, |tape| tape.expired = before);
    }

    fn tape(&self, camera: &CameraId) -> Tape {
        self.tapes
            .lock()
            .unwrap()
            .get(camera)
            .cloned()
            .unwrap_or_default()
    }
}

fn segments(camera: &CameraId, number: u32, take: &Take) -> Vec<Recorded> {
    let place = Place {
        camera: camera.clone(),
        retention: Retention::Days(14),
        tier: Tier::Full,
    };
    let (mut start, mut sequence, mut found) = (take.range.from, 0, Vec::new());
    while start < take.end() {
        let end = (start + Duration::from_secs(60)).min(take.end());
        let key = SegmentKey {
            place: place.clone(),
            start,
            duration: end.since(start),
            generation: Generation(1),
            take: TakeId(number),
            sequence,
            init: InitHash([0; 3]),
        };
        let held = if take.open && end == take.end() {
            Held::Open
        } else {
            Held::Store
        };
        found.push(Recorded { key, held });
        (start, sequence) = (end, sequence + 1);
    }
    found
}

#[async_trait]
impl Recordings for FakeArchive {
    async fn coverage(
        &self,
        camera: &CameraId,
        _: Option<Tier>,
        range: TimeRange,
    ) -> Result<Coverage, RecordingsError> {
        let tape = self.tape(camera);
        let numbered = (1..).zip(&tape.takes);
        let recorded: Vec<_> = numbered
            .flat_map(|(number, take)| segments(camera, number, take))
            .collect();
        let gap = |(range, cause): &(TimeRange, Cause)| Gap {
            range: *range,
            cause: *cause,
            generation: Generation(1),
            open: false,
        };
        let gaps: Vec<_> = tape.gaps.iter().map(gap).collect();
        Ok(Coverage::compute(range, &recorded, &gaps, tape.expired))
    }

    async fn play(
        &self,
        camera: &CameraId,
        _: Option<Tier>,
        from: Timestamp,
    ) -> Result<Box<dyn Playback>, RecordingsError> {
        let tape = self.tape(camera);
        let take = tape.takes.iter().position(|take| take.end() > from);
        let take = take.ok_or(RecordingsError::Nothing)?;
        let start = tape.takes[take].range.from.max(from).as_millis() / 1000 * 1000;
        Ok(Box::new(Player {
            film: Arc::clone(&self.film),
            slow: *self.slow.lock().unwrap(),
            damaged: Arc::clone(&self.damaged),
            camera: camera.clone(),
            tape,
            take,
            at: Timestamp::from_millis(start),
            told: false,
        }))
    }

    async fn export(
        &self,
        camera: &CameraId,
        tier: Option<Tier>,
        range: TimeRange,
    ) -> Result<Box<dyn Export>, RecordingsError> {
        let playback = self.play(camera, tier, range.from).await?;
        let coverage = self.coverage(camera, tier, range).await?;
        Ok(Box::new(Clip {
            held: self.held.subscribe(),
            waiting: self.waiting.clone(),
            playback,
            coverage,
            unread: self.unread.lock().unwrap().clone(),
            to: range.to,
        }))
    }
}

struct Player {
    film: Arc<Film>,
    slow: Duration,
    damaged: Arc<AtomicU32>,
    camera: CameraId,
    tape: Tape,
    take: usize,
    at: Timestamp,
    told: bool,
}

#[async_trait]
impl Playback for Player {
    async fn next(&mut self) -> Result<PlayItem, RecordingsError> {
        // Dropped meanwhile, it begins anew.
        tokio::time::sleep(self.slow).await;
        let left = self.damaged.load(Ordering::Relaxed);
        if let (Some(left), Some(take)) = (left.checked_sub(1), self.tape.takes.get(self.take)) {
            self.damaged.store(left, Ordering::Relaxed);
            let segment = segments(&self.camera, 1, take).remove(0);
            return Err(RecordingsError::Damaged {
                key: segment.key.to_string(),
                why: "bytes are spoiled".to_owned(),
            });
        }
        let Some(take) = self.tape.takes.get(self.take) else {
            return Ok(PlayItem::End);
        };
        if self.at + Duration::from_secs(1) > take.end() {
            let Some(next) = self.tape.takes.get(self.take + 1) else {
                return Ok(PlayItem::End);
            };
            let range = TimeRange::new(self.at, next.range.from);
            let cause = self
                .tape
                .gaps
                .iter()
                .find(|(gap, _)| gap.from == range.from);
            let cause = cause.map(|(_, cause)| *cause);
            (self.take, self.at, self.told) = (self.take + 1, next.range.from, false);
            return Ok(PlayItem::Gap { range, cause });
        }
        if !self.told {
            self.told = true;
            let (mime, bytes) = self.film.init();
            return Ok(PlayItem::Init { mime, bytes });
        }
        let wall = self.at;
        let media_ms = wall.since(take.range.from).as_millis() as u64;
        self.at = wall + Duration::from_secs(1);
        let first = (wall.as_millis() / 1000).rem_euclid(20) as u64 * RATE;
        Ok(PlayItem::Fragment {
            bytes: self
                .film
                .fragment(first, RATE, media_ms * RATE / 1000, wall),
            wall,
            media_ms,
            duration_ms: 1000,
        })
    }
}

struct Clip {
    held: watch::Receiver<bool>,
    waiting: watch::Sender<usize>,
    playback: Box<dyn Playback>,
    coverage: Coverage,
    unread: Vec<Unread>,
    to: Timestamp,
}

#[async_trait]
impl Export for Clip {
    async fn next(&mut self) -> Result<Option<Bytes>, RecordingsError> {
        if *self.held.borrow() {
            self.waiting.send_modify(|count| *count += 1);
            self.held.wait_for(|held| !held).await.unwrap();
        }
        loop {
            match self.playback.next().await? {
                PlayItem::Init { bytes, .. } => return Ok(Some(bytes)),
                PlayItem::Fragment { bytes, wall, .. } if wall < self.to => {
                    return Ok(Some(bytes));
                }
                PlayItem::Gap { .. } => {}
                PlayItem::Fragment { .. } | PlayItem::End => return Ok(None),
            }
        }
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn unread(&self) -> &[Unread] {
        &self.unread
    }

    fn estimated_bytes(&self) -> u64 {
        1 << 20
    }
}

/// Stored objects in memory.
#[derive(Default)]
pub(crate) struct FakeStore(pub(crate) Mutex<BTreeMap<String, Bytes>>);

#[async_trait]
impl SegmentStore for FakeStore {
    async fn list(&self, prefix: &str, after: &str) -> Result<Page, StoreError> {
        let objects = self.0.lock().unwrap();
        let found = objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
        let listed = found.map(|(key, bytes)| moorline_core::port::Listed {
            key: key.clone(),
            bytes: bytes.len() as u64,
        });
        Ok(Page {
            objects: listed.collect(),
            more: false,
        })
    }

    async fn get(&self, key: &str, range: std::ops::Range<u64>) -> Result<Bytes, StoreError> {
        let objects = self.0.lock().unwrap();
        let bytes = objects
            .get(key)
            .ok_or_else(|| StoreError::Missing(key.to_owned()))?;
        let end = (range.end as usize).min(bytes.len());
        Ok(bytes.slice((range.start as usize).min(end)..end))
    }

    async fn head(&self, key: &str) -> Result<u64, StoreError> {
        let objects = self.0.lock().unwrap();
        objects
            .get(key)
            .map(|bytes| bytes.len() as u64)
            .ok_or_else(|| StoreError::Missing(key.to_owned()))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }

    async fn copy(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let bytes = self.get(from, 0..u64::MAX).await?;
        self.0.lock().unwrap().insert(to.to_owned(), bytes);
        Ok(())
    }
}
