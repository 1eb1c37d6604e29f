//! The archiver of a process: one spool, one uploader, any number of recorders.
//!
//! Owns the uploader's task. [`Archive::shutdown`] ends it, in a budget (P8); whoever drops the last clone without that cancels it, and
//! the next start finds what was left.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::CameraId;
use moorline_core::port::{
    OpenSegment, OpenSegments, Relays, SegmentSink, StoreError, WorkloadControl, WorkloadSpec,
};
use moorline_core::segment::{GapKey, Place, Tier};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;

use crate::account::Account;
use crate::metrics::ArchiveMetrics;
use crate::recorder::{Parts, Recorder};
use crate::settings::Settings;
use crate::spool::{Erasing, Lane, OpenError, Spool};
use crate::uploader::Uploader;

/// A cancelled uploader ends within this, or is aborted.
const ENDING: Duration = Duration::from_secs(1);
/// Whoever stops the server hears so often what it waits for.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// The recorder and the uploads of a camera that is erased are waited for so long.
const ERASING: Duration = Duration::from_secs(60);
/// The largest range that is read at once.
const MOST_READ: u64 = 64 << 20;

/// The archiver. Clones are the same.
#[derive(Clone)]
pub struct Archive {
    inner: Arc<Inner>,
}

struct Inner {
    spool: Arc<Spool>,
    sink: Arc<dyn SegmentSink>,
    cancel: CancellationToken,
    /// The uploader has ended.
    ended: CancellationToken,
    uploader: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// What waited of a camera was removed. While it lives, no recorder of the camera begins.
#[derive(Debug)]
pub struct Erased {
    /// How much it was.
    pub bytes: u64,
    _erasing: Erasing,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive")
            .field("spool", &self.inner.spool.path())
            .finish_non_exhaustive()
    }
}

impl Archive {
    /// Locks the spool, recovers what a crash left and starts the uploader. Called once per process, inside a runtime.
    ///
    /// # Errors
    /// [`OpenError`]: the spool is in use, or cannot be read.
    pub async fn open(
        spool: PathBuf,
        sink: Arc<dyn SegmentSink>,
        clock: SharedClock,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        Self::open_counted(spool, sink, clock, settings, ArchiveMetrics::default()).await
    }

    /// The same with counters that were registered before: recovery may take minutes on a slow disk, and who serves metrics meanwhile needs them.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub async fn open_counted(
        spool: PathBuf,
        sink: Arc<dyn SegmentSink>,
        clock: SharedClock,
        settings: Settings,
        metrics: ArchiveMetrics,
    ) -> Result<Self, OpenError> {
        let path = spool.clone();
        let open = move || Spool::open(&spool, settings, clock, metrics);
        let opening = tokio::task::spawn_blocking(open);
        let spool = opening.await.map_err(|error| OpenError::Io {
            path,
            source: io::Error::other(error),
        })??;
        let cancel = CancellationToken::new();
        let uploader = Uploader {
            spool: Arc::clone(&spool),
            sink: Arc::clone(&sink),
            cancel: cancel.clone(),
        };
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let uploader = Mutex::new(Some(tokio::spawn(async move {
            let _guard = guard;
            uploader.run().await;
        })));
        let inner = Inner {
            spool,
            sink,
            cancel,
            ended,
            uploader,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Cancelled when nothing is uploaded any more: after [`Archive::shutdown`], or by a fault of ours.
    pub fn ended(&self) -> CancellationToken {
        self.inner.ended.clone()
    }

    /// A recorder, as `mon`'s `TaskWorkloads` starts it. It ends after an order to drain, or when the supervisor is gone; cancelling the
    /// token means *now*. A camera of which nothing is recorded ends at once.
    pub fn recorder_workload(
        &self,
        spec: WorkloadSpec,
        control: Box<dyn WorkloadControl>,
        relays: Arc<dyn Relays>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Result<(), String>> {
        let archive = self.clone();
        // From the order on, not from its first step: whoever erases waits for it.
        let recording = archive.inner.spool.recording(&spec.camera.id);
        Box::pin(async move {
            let Some(source) = spec.camera.record.source() else {
                return Ok(());
            };
            let Some(_recording) = recording else {
                return Err("the camera's recordings are being erased".to_owned());
            };
            let place = Place {
                camera: spec.camera.id.clone(),
                retention: spec.camera.retention,
                tier: Tier::of_source(source),
            };
            let inner = &archive.inner;
            let account = Account::new(&inner.spool, &inner.sink, place, &spec);
            let parts = Parts {
                spool: Arc::clone(&inner.spool),
                spec,
                source,
                account,
                control,
                relays,
                cancel,
            };
            Recorder::new(parts).run().await
        })
    }

    /// Changes [`Settings::spool_bytes`] and [`Settings::min_free_bytes`] for what is recorded from now on.
    pub fn set_bounds(&self, spool_bytes: u64, min_free_bytes: u64) {
        self.inner.spool.set_bounds(spool_bytes, min_free_bytes);
    }

    /// Registers the metrics `moorline_archive_*`.
    pub fn register(&self, registry: &mut Registry) {
        self.inner.spool.metrics.register(registry);
    }

    /// Removes what waits of a camera, because its owner had it erased. Its recorder, which has been told to end or is about to be, and
    /// uploads of it that are under way are waited for, at most 60 s: what they stored is the caller's to remove. Until the caller drops
    /// what is returned, no recorder of the camera begins.
    ///
    /// # Errors
    /// The system's; `TimedOut` if the recorder or an upload does not end.
    pub async fn erase(&self, camera: &CameraId) -> io::Result<Erased> {
        let spool = &self.inner.spool;
        let erasing = spool.erasing(camera);
        let deadline = spool.clock.monotonic() + ERASING;
        let (mut changes, mut bytes) = (spool.changes(), 0);
        loop {
            changes.mark_unchanged();
            // Looked at first: what it leaves is there before it has gone.
            let written = spool.is_written(camera);
            let (of, removed) = (camera.clone(), Arc::clone(spool));
            bytes += spool.disk.run(move || removed.erase(&of)).await??;
            let (idle, uploading) = spool.stock(|stock| stock.of_camera(camera));
            if !written && uploading == 0 && idle.is_empty() {
                return Ok(Erased {
                    bytes,
                    _erasing: erasing,
                });
            }
            if idle.is_empty() {
                tokio::select! {
                    _ = changes.changed() => {}
                    () = spool.clock.sleep_until(deadline) => return Err(io::ErrorKind::TimedOut.into()),
                }
            }
        }
    }

    /// Bytes that the store has not acknowledged, by camera.
    pub fn waiting(&self) -> Vec<(CameraId, u64)> {
        self.inner.spool.stock(|stock| {
            let lanes = stock.lanes().filter(|(_, bytes)| *bytes > 0);
            lanes
                .map(|(lane, bytes)| (lane.camera.clone(), bytes))
                .collect()
        })
    }

    /// Uploads what fits into the budget, then ends the uploader. Recorders are drained before. Idempotent.
    pub async fn shutdown(&self, budget: Duration) {
        let spool = &self.inner.spool;
        let now = spool.clock.monotonic();
        let (deadline, mut due) = (now + budget, now + TELL_EVERY);
        let mut changes = spool.changes();
        loop {
            changes.mark_unchanged();
            let left = spool.left();
            if left == 0 {
                break;
            }
            tokio::select! {
                () = spool.clock.sleep_until(deadline) => {
                    tracing::warn!(objects = left, reason = "budget_over", "segments stay in the spool until the next start");
                    break;
                }
                () = self.inner.cancel.cancelled() => break,
                () = spool.clock.sleep_until(due) => {
                    due += TELL_EVERY;
                    tracing::info!(objects = left, "the stop waits for segments that the store does not have yet");
                }
                _ = changes.changed() => {}
            }
        }
        self.inner.cancel.cancel();
        let uploader = {
            let mut uploader = self
                .inner
                .uploader
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            uploader.take()
        };
        if let Some(mut uploader) = uploader
            && moorline_base::clock::timeout(&*spool.clock, ENDING, &mut uploader)
                .await
                .is_err()
        {
            uploader.abort();
        }
    }
}

#[async_trait]
impl OpenSegments for Archive {
    fn of(&self, camera: &CameraId, tier: Tier) -> (Vec<OpenSegment>, Vec<GapKey>) {
        let lane = Lane {
            camera: camera.clone(),
            tier,
        };
        self.inner.spool.stock(|stock| stock.view(&lane))
    }

    async fn read(&self, segment: &OpenSegment, range: Range<u64>) -> Result<Bytes, StoreError> {
        let lane = Lane {
            camera: segment.key.place.camera.clone(),
            tier: segment.key.place.tier,
        };
        let missing = || StoreError::Missing(segment.key.to_string());
        // once more if it was sealed between the look and the opening
        for _ in 0..2 {
            let found = self
                .inner
                .spool
                .stock(|stock| stock.find(&lane, &segment.key));
            let (path, bytes) = found.ok_or_else(missing)?;
            let range = range.start
                ..range
                    .end
                    .min(bytes)
                    .min(range.start.saturating_add(MOST_READ));
            let reading = move || read_range(&path, range);
            let read = self
                .inner
                .spool
                .disk
                .read(reading)
                .await
                .and_then(|read| read);
            match read {
                Ok(bytes) => return Ok(bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::Unavailable(error.to_string())),
            }
        }
        Err(missing())
    }
}

fn read_range(path: &std::path::Path, range: Range<u64>) -> io::Result<Bytes> {
    let file = std::fs::File::open(path)?;
    let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(Bytes::from(bytes))
}
