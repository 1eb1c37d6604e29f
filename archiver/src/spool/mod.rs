//! The spool: local files that the store has not acknowledged.
//!
//! Owns: the directory and its lock, the account of what lies there, its bounds, gap markers. Does not own: what is in a segment
//! (`writer`, `moorline-fmp4`), nor uploads. No database: the files are the queue (layout: [`layout`]).
//!
//! ```text
//! OPEN ── append + fdatasync ──▶ SYNCED(n) ── seal: patch, fdatasync, rename, fsync ──▶ SEALED ── acknowledged ──▶ gone
//!   └────────── crash: cut at start, then sealed ──────────────────────────────────────▲
//! ```
//! Rules that nothing here breaks: only an acknowledgement lets a segment leave, but for [`WhenFull::EvictOldest`] at the bound, with its
//! gap (P3); retention never looks in here; no error path deletes.

pub(crate) mod layout;
mod recovery;
mod room;
mod stock;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use moorline_base::SharedClock;
use moorline_base::files::{Access, DataDir, LockError, write_atomic};
use moorline_core::segment::{GapKey, ObjectKey};
use moorline_core::{CameraId, TimeRange, Timestamp};
use tokio::sync::watch;

use crate::disk::Disk;
use crate::metrics::ArchiveMetrics;
use crate::settings::Settings;

pub(crate) use recovery::Found;
pub(crate) use stock::{Item, ItemId, Lane, Stock};
pub(crate) use writer::{NewSegment, OpenFile};

#[cfg(doc)]
use crate::settings::WhenFull;

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it, or it cannot be made.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It cannot be read.
    #[error("cannot read the spool {}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// The spool of this process.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: DataDir,
    pub(crate) settings: Settings,
    pub(crate) clock: SharedClock,
    pub(crate) disk: Disk,
    pub(crate) metrics: ArchiveMetrics,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    stock: Stock,
    /// What the start-up scan found, per recording, for the recorder's account.
    found: Vec<(Lane, Found)>,
    /// Segments that could not be sealed, and markers that could not be written: tried again by [`Spool::mend`].
    unsealed: Vec<writer::Body>,
    /// Of what could not be sealed, what is being tried again at this moment.
    mending: Vec<Lane>,
    unwritten: VecDeque<GapKey>,
    store_error: Option<String>,
    bounds: room::Bounds,
    room: room::Measured,
    /// Recorders by camera, and the cameras that are being erased.
    recorders: BTreeMap<CameraId, usize>,
    erasing: BTreeMap<CameraId, usize>,
}

/// A recorder of a camera that runs.
#[derive(Debug)]
pub(crate) struct Recording {
    spool: Arc<Spool>,
    camera: CameraId,
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.spool
            .with(|state| leave(&mut state.recorders, &self.camera));
        self.spool.tell();
    }
}

/// While it lives, no recorder of the camera begins.
#[derive(Debug)]
pub(crate) struct Erasing {
    spool: Arc<Spool>,
    camera: CameraId,
}

impl Drop for Erasing {
    fn drop(&mut self) {
        self.spool
            .with(|state| leave(&mut state.erasing, &self.camera));
    }
}

fn leave(counts: &mut BTreeMap<CameraId, usize>, camera: &CameraId) {
    if let Some(count) = counts.get_mut(camera) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(camera);
        }
    }
}

impl Spool {
    /// Locks the directory, recovers what a crash left, and enqueues what is sealed. Blocks.
    ///
    /// # Errors
    /// [`OpenError`]. A single file that cannot be recovered is logged and left in its place.
    pub(crate) fn open(
        path: &Path,
        settings: Settings,
        clock: SharedClock,
        metrics: ArchiveMetrics,
    ) -> Result<Arc<Self>, OpenError> {
        let failed = |source| OpenError::Io {
            path: path.into(),
            source,
        };
        let directory = DataDir::open_within(path)?;
        std::fs::create_dir_all(path.join(layout::SEALED)).map_err(failed)?;
        let found = recovery::scan(path).map_err(failed)?;
        let mut state = State {
            bounds: room::Bounds {
                bytes: settings.spool_bytes,
                free: settings.min_free_bytes,
            },
            ..State::default()
        };
        for object in &found {
            let (key, path, bytes) = (object.key.clone(), object.path.clone(), object.bytes);
            state.stock.add(key, path, bytes);
        }
        state.found = found
            .into_iter()
            .map(|object| (Lane::of(&object.key), object))
            .collect();
        Ok(Arc::new(Self {
            directory,
            settings,
            clock,
            disk: Disk::new(),
            metrics,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
        }))
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the account, or changes it. Never blocks for long: no I/O under this lock.
    pub(crate) fn stock<T>(&self, change: impl FnOnce(&mut Stock) -> T) -> T {
        self.with(|state| change(&mut state.stock))
    }

    /// Counts what enters and leaves the account (not the growth of what is open: nobody waits for that).
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn tell(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Up to where everything of a camera is acknowledged by the store, or is a gap that is: [`Stock::durable_until`], but not beyond a
    /// gap that is known and could not be written yet.
    pub(crate) fn durable_until(&self, lane: &Lane) -> Option<Timestamp> {
        self.with(|state| {
            let known = state.stock.durable_until(lane)?;
            let of_camera = |gap: &&GapKey| gap.place.camera == lane.camera;
            let unwritten = state.unwritten.iter().filter(of_camera);
            Some(unwritten.map(|gap| gap.start).fold(known, Timestamp::min))
        })
    }

    /// Whether nothing of a recording waits: no sealed object, and nothing that could not be sealed or written yet.
    pub(crate) fn is_settled(&self, lane: &Lane) -> bool {
        self.with(|state| {
            let is_its =
                |gap: &GapKey| gap.place.camera == lane.camera && gap.place.tier == lane.tier;
            state.stock.waiting_of(lane) == 0
                && !state.unwritten.iter().any(is_its)
                && !state.unsealed.iter().any(|body| body.lane() == lane)
                && !state.mending.contains(lane)
        })
    }

    /// How many segments and markers the store does not have yet, the open ones included.
    pub(crate) fn left(&self) -> usize {
        self.with(|state| state.stock.len() + state.stock.open() + state.unwritten.len())
    }

    /// What the start-up scan found of a recording, oldest first: given once.
    pub(crate) fn take_found(&self, lane: &Lane) -> Vec<Found> {
        self.with(|state| {
            let found = std::mem::take(&mut state.found);
            let (mine, others): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|(of, _)| of == lane);
            state.found = others;
            let mut mine: Vec<Found> = mine.into_iter().map(|(_, found)| found).collect();
            mine.sort_by_key(|found| found.key.range().from);
            mine
        })
    }

    /// The store's last refusal, in words.
    pub(crate) fn store_error(&self) -> Option<String> {
        self.with(|state| state.store_error.clone())
    }

    pub(crate) fn set_store_error(&self, error: Option<String>) {
        let changed = self.with(|state| {
            let changed = state.store_error != error;
            state.store_error = error;
            changed
        });
        if changed {
            self.tell();
        }
    }

    /// Writes a gap marker; one that cannot be written now is written later. Blocks.
    pub(crate) fn write_gap(&self, key: GapKey) {
        if let Err(error) = self.try_write_gap(&key) {
            tracing::warn!(camera = %key.place.camera, cause = %key.cause, %error, "a gap marker cannot be written yet");
            self.with(|state| {
                // what cannot be given up is tried again, with the same marker
                if !state.unwritten.contains(&key) {
                    state.unwritten.push_back(key);
                }
            });
            self.tell();
        }
    }

    fn try_write_gap(&self, key: &GapKey) -> io::Result<()> {
        let TimeRange { from, to } = key.range();
        let body = format!(
            "{{\"from\":\"{from}\",\"to\":\"{to}\",\"cause\":\"{}\"}}\n",
            key.cause
        );
        let object = ObjectKey::Gap(key.clone());
        let path = layout::sealed_path(self.path(), &object);
        write_atomic(&path, body.as_bytes(), Access::Private)?;
        self.metrics.gap(key.cause);
        self.stock(|stock| stock.add(object, path, body.len() as u64));
        self.tell();
        Ok(())
    }

    /// Seals and writes what could not be sealed or written before. Blocks.
    pub(crate) fn mend(self: &Arc<Self>) {
        self.write_unwritten();
        let unsealed = self.with(|state| {
            let unsealed = std::mem::take(&mut state.unsealed);
            state.mending = unsealed.iter().map(|body| body.lane().clone()).collect();
            unsealed
        });
        if unsealed.is_empty() {
            return;
        }
        for body in unsealed {
            body.seal_or_keep(self);
        }
        self.with(|state| state.mending.clear());
        self.tell();
    }

    /// Writes the markers that could not be written before. Each stays noted until it is in the account, so that nothing behind it is
    /// called durable meanwhile. Blocks.
    pub(crate) fn write_unwritten(&self) {
        for key in self.with(|state| state.unwritten.clone()) {
            if let Err(error) = self.try_write_gap(&key) {
                tracing::debug!(camera = %key.place.camera, %error, "a gap marker still cannot be written");
                return;
            }
            self.with(|state| state.unwritten.retain(|other| *other != key));
            self.tell();
        }
    }

    /// Whether something waits for [`Spool::mend`].
    pub(crate) fn is_broken(&self) -> bool {
        self.with(|state| !state.unsealed.is_empty() || !state.unwritten.is_empty())
    }

    /// A recorder of the camera begins; `None`: its recordings are being erased.
    pub(crate) fn recording(self: &Arc<Self>, camera: &CameraId) -> Option<Recording> {
        self.with(|state| {
            if state.erasing.contains_key(camera) {
                return None;
            }
            *state.recorders.entry(camera.clone()).or_default() += 1;
            Some(Recording {
                spool: Arc::clone(self),
                camera: camera.clone(),
            })
        })
    }

    /// Recordings of the camera are erased from now on.
    pub(crate) fn erasing(self: &Arc<Self>, camera: &CameraId) -> Erasing {
        self.with(|state| *state.erasing.entry(camera.clone()).or_default() += 1);
        Erasing {
            spool: Arc::clone(self),
            camera: camera.clone(),
        }
    }

    /// Whether something of the camera still comes: from a recorder, or from a segment whose last owner has let go of it and that is being
    /// sealed.
    pub(crate) fn is_written(&self, camera: &CameraId) -> bool {
        self.with(|state| state.recorders.contains_key(camera) || state.stock.has_open(camera))
    }

    /// Removes what waits of a camera, because its owner had it erased: media and markers, and segments that could not be sealed.
    /// What is being uploaded or written stays for the next call. Blocks.
    ///
    /// # Errors
    /// The system's; what was removed is removed.
    pub(crate) fn erase(&self, camera: &CameraId) -> io::Result<u64> {
        let (mut bytes, mut changed) = (0, false);
        for id in self.stock(|stock| stock.of_camera(camera)).0 {
            let Some(item) = self.stock(|stock| stock.remove_idle(id)) else {
                continue;
            };
            changed = true;
            match std::fs::remove_file(&item.path) {
                Ok(()) => bytes += item.bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.stock(|stock| stock.add(item.key, item.path, item.bytes));
                    return Err(error);
                }
            }
        }
        let unsealed: Vec<_> = self.with(|state| {
            let is_its = |body: &mut writer::Body| body.lane().camera == *camera;
            state.unsealed.extract_if(.., is_its).collect()
        });
        let mut failed = None;
        changed |= !unsealed.is_empty();
        for body in unsealed {
            match body.discard(self) {
                Ok(discarded) => bytes += discarded,
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        self.with(|state| {
            state.found.retain(|(lane, _)| lane.camera != *camera);
            let before = state.unwritten.len();
            state.unwritten.retain(|gap| gap.place.camera != *camera);
            changed |= state.unwritten.len() != before;
            state.stock.forget(camera);
        });
        // Whoever calls again at each change must not be woken by the call itself.
        if changed {
            self.tell();
        }
        Ok(bytes)
    }
}
