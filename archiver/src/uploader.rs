//! The uploader: spool → store. One per spool; it outlives recorders.
//!
//! Oldest first, with a share for the newest while a backlog drains; a camera that drains goes before all others. An object leaves the
//! account only after the sink's acknowledgement, which has removed the file. It ends when its token is cancelled: uploads under way are
//! dropped, and their objects are found by the next start.

use std::fs::File;
use std::io::{self, Read};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use md5::{Digest, Md5};
use moorline_base::CancellationToken;
use moorline_base::clock::timeout;
use moorline_core::port::{SealedFile, SegmentSink, StoreError};

use crate::breaker::Breaker;
use crate::disk::Disk;
use crate::spool::{Item, ItemId, Spool};

/// The sink's own deadline is 30 s and 1 s per 100 kB; it gets a little more before its call is given up.
const DEADLINE: Duration = Duration::from_secs(40);
const BYTES_PER_SECOND: u64 = 100_000;
/// An object that the store refuses although it takes others is tried again so much later.
const PUT_OFF: Duration = Duration::from_secs(30);
/// One that keeps failing is put off twice as long each time, so often (8 min): each try may hold a place until its deadline.
const DOUBLINGS: u32 = 4;
/// What could not be sealed or written is tried again so often.
const MEND_EVERY: Duration = Duration::from_secs(5);

/// Moves objects from the spool to the store.
pub(crate) struct Uploader {
    pub(crate) spool: Arc<Spool>,
    pub(crate) sink: Arc<dyn SegmentSink>,
    pub(crate) cancel: CancellationToken,
}

struct Done {
    id: ItemId,
    bytes: u64,
    fresh: bool,
    result: Result<(), Failed>,
    /// The store does not have it, nor does the spool.
    gone: bool,
}

/// Why an upload failed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Which says nothing about the store.
    #[error("a file of the spool cannot be read: {0}")]
    Unreadable(io::Error),
}

impl Uploader {
    /// Runs until it is cancelled.
    pub(crate) async fn run(self) {
        let mut breaker = Breaker::new();
        let mut under_way = FuturesUnordered::new();
        let (mut fresh_ones, mut changes) = (0_usize, self.spool.changes());
        let mut mend_at: Option<Instant> = None;
        let clock = Arc::clone(&self.spool.clock);
        loop {
            changes.mark_unchanged();
            let now = clock.monotonic();
            if self.spool.stock(|stock| stock.take_hurried()) {
                breaker.nudge();
                self.spool.stock(|stock| stock.ripen_all());
            }
            let ripe = self.spool.stock(|stock| stock.ripen(now));
            let uploads = self.spool.settings.uploads.max(1);
            let allowed = breaker.allowed(now, uploads);
            while under_way.len() < allowed {
                let backlog = self.spool.stock(|stock| stock.waiting()) > uploads;
                let fresh = backlog && allowed > 1 && fresh_ones < (uploads / 4).max(1);
                let picked = self.spool.stock(|stock| {
                    let id = match breaker.other() {
                        Some(number) => stock.pick_other(number as usize)?,
                        None => stock.pick(fresh)?,
                    };
                    Some((id, stock.item(id)?.clone()))
                });
                let Some((id, item)) = picked else { break };
                fresh_ones += usize::from(fresh);
                under_way.push(self.upload(id, item, fresh));
            }
            self.count();
            mend_at = match self.spool.is_broken() {
                true => Some(mend_at.unwrap_or(now + MEND_EVERY)),
                false => None,
            };
            if mend_at.is_some_and(|at| at <= now) {
                let spool = Arc::clone(&self.spool);
                // a job that could not be run is tried again like what it should have mended
                let _ = self.spool.disk.run(move || spool.mend()).await;
                mend_at = None;
                continue;
            }
            let wake = [breaker.retry_at(now), ripe, mend_at];
            let wake = wake.into_iter().flatten().min();
            tokio::select! {
                () = self.cancel.cancelled() => break,
                Some(done) = under_way.next() => {
                    fresh_ones -= usize::from(done.fresh);
                    self.finish(&mut breaker, done, clock.monotonic());
                }
                // its sender lives in the spool that we hold
                _ = changes.changed() => {}
                () = sleep_until(&*clock, wake) => {}
            }
        }
        tracing::debug!("uploader ended");
    }

    async fn upload(&self, id: ItemId, item: Item, fresh: bool) -> Done {
        let (bytes, path) = (item.bytes, item.path.clone());
        let result = self.put(id, item).await;
        let missing = matches!(result, Err(Failed::Store(StoreError::Missing(_))));
        Done {
            id,
            bytes,
            fresh,
            result,
            gone: missing && self.is_gone(path).await,
        }
    }

    /// Whether the spool's file is not there for certain: a disk that does not answer says neither.
    async fn is_gone(&self, path: PathBuf) -> bool {
        let look = move || matches!(path.try_exists(), Ok(false));
        let looked = timeout(&*self.spool.clock, DEADLINE, self.spool.disk.read(look)).await;
        matches!(looked, Ok(Ok(true)))
    }

    async fn put(&self, id: ItemId, item: Item) -> Result<(), Failed> {
        let limit = DEADLINE + Duration::from_secs(item.bytes / BYTES_PER_SECOND);
        let md5 = match (self.sink.wants_md5(), item.md5) {
            (false, _) => None,
            (true, Some(md5)) => Some(md5),
            (true, None) => {
                let digest = self.digest(item.path.clone(), &item);
                let md5 = match timeout(&*self.spool.clock, limit, digest).await {
                    Ok(md5) => md5?,
                    Err(_) => return Err(Failed::Unreadable(io::ErrorKind::TimedOut.into())),
                };
                self.spool.stock(|stock| stock.set_md5(id, md5));
                Some(md5)
            }
        };
        let file = SealedFile {
            path: item.path,
            key: item.key,
            bytes: item.bytes,
            md5,
        };
        // a panic of the adapter must not end the uploads of all cameras
        let put = AssertUnwindSafe(self.sink.put(&file)).catch_unwind();
        let unavailable = match timeout(&*self.spool.clock, limit, put).await {
            Ok(Ok(result)) => return Ok(result?),
            Ok(Err(_)) => "the store's adapter panicked".to_owned(),
            Err(_) => format!("no answer within {} s", limit.as_secs()),
        };
        Err(StoreError::Unavailable(unavailable).into())
    }

    async fn digest(&self, path: PathBuf, item: &Item) -> Result<[u8; 16], Failed> {
        let missing = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Missing(item.key.to_string()).into(),
            _ => Failed::Unreadable(error),
        };
        let read = self.spool.disk.read(move || md5_of(&path)).await;
        read.and_then(|digest| digest).map_err(missing)
    }

    fn finish(&self, breaker: &mut Breaker, done: Done, now: Instant) {
        let spool = &self.spool;
        let Err(error) = done.result else {
            breaker.succeeded();
            spool.stock(|stock| stock.remove(done.id));
            spool.metrics.uploaded(done.bytes);
            spool.set_store_error(None);
            spool.tell();
            return;
        };
        let reason = Reason::from(&error);
        spool.metrics.upload_failed(reason);
        let camera = spool.stock(|stock| Some(stock.item(done.id)?.key.place().camera.clone()));
        let camera = camera.map(tracing::field::display);
        if done.gone {
            tracing::error!(
                camera,
                reason = reason.as_str(),
                "an object of the spool was removed by another hand"
            );
            let spool = Arc::clone(spool);
            Disk::submit(move || spool.vanished(done.id));
            return;
        }
        let alone = spool.stock(|stock| stock.failed(done.id, breaker.successes()));
        let longer = PUT_OFF * (1 << alone.saturating_sub(1).min(DOUBLINGS));
        let put_off = match &error {
            Failed::Unreadable(_) => Some(longer),
            // the store is there and dislikes this one
            Failed::Store(StoreError::Digest(_) | StoreError::Missing(_)) => Some(PUT_OFF),
            // it refuses all, or this one: so that it is not this one that is tried each time
            Failed::Store(StoreError::Refused(_)) => {
                breaker.failed(now);
                Some(PUT_OFF)
            }
            // there is room for a smaller one
            Failed::Store(StoreError::Full(_)) if alone > 0 => Some(PUT_OFF),
            Failed::Store(StoreError::Unavailable(_)) if alone > 0 => Some(longer),
            Failed::Store(StoreError::Full(_) | StoreError::Unavailable(_)) => {
                breaker.failed(now);
                None
            }
        };
        let put_off = put_off.map(|pause| now + pause);
        tracing::warn!(camera, reason = reason.as_str(), %error, "upload failed");
        spool.stock(|stock| stock.put_back(done.id, put_off));
        spool.set_store_error(Some(error.to_string()));
        spool.tell();
    }

    fn count(&self) {
        let (bytes, objects) = self.spool.stock(|stock| (stock.bytes(), stock.len()));
        let metrics = &self.spool.metrics;
        metrics
            .spool_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
        metrics
            .spool_objects
            .set(i64::try_from(objects).unwrap_or(i64::MAX));
    }
}

async fn sleep_until(clock: &dyn moorline_base::Clock, at: Option<Instant>) {
    match at {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

moorline_core::words! {
    /// Why an upload failed, as it is counted and logged.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Reason {
        /// The file is gone.
        Missing = "missing",
        /// The store has no room.
        Full = "full",
        /// The store does not take it.
        Refused = "refused",
        /// What the store got is not what was sent.
        Digest = "digest",
        /// The store does not answer.
        Unavailable = "unavailable",
        /// The spool does not give the file.
        Unreadable = "unreadable",
    }
}

impl From<&Failed> for Reason {
    fn from(error: &Failed) -> Self {
        match error {
            Failed::Store(StoreError::Missing(_)) => Self::Missing,
            Failed::Store(StoreError::Full(_)) => Self::Full,
            Failed::Store(StoreError::Refused(_)) => Self::Refused,
            Failed::Store(StoreError::Digest(_)) => Self::Digest,
            Failed::Store(StoreError::Unavailable(_)) => Self::Unavailable,
            Failed::Unreadable(_) => Self::Unreadable,
        }
    }
}

fn md5_of(path: &Path) -> io::Result<[u8; 16]> {
    let mut file = File::open(path)?;
    let (mut digest, mut buffer) = (Md5::new(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().into()),
            read => digest.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}
