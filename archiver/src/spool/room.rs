//! Bounds of the spool: bytes, and what must stay free on its disk. A full disk is a state with a way out, not a failure.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_base::files::disk_space;
use moorline_core::Cause;
use moorline_core::segment::{GapKey, ObjectKey, SegmentKey};

use super::{ItemId, Spool};
use crate::settings::WhenFull;

/// The file system is asked so often at most.
const MEASURED_FOR: Duration = Duration::from_secs(1);

/// Beyond them the oldest is given up, or nothing more is taken. They may change while the process runs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds {
    /// Bytes that the spool may hold.
    pub(super) bytes: u64,
    /// Bytes of the file system that stay free.
    pub(super) free: u64,
}

/// What the file system last said.
#[derive(Debug, Default)]
pub(super) struct Measured {
    at: Option<Instant>,
    available: u64,
}

impl Spool {
    /// Changes the bounds. What is over them by that is given up with the next fragment, if at all.
    pub(crate) fn set_bounds(&self, bytes: u64, free: u64) {
        self.with(|state| state.bounds = Bounds { bytes, free });
    }

    /// Makes room for so many bytes, by giving up the oldest if that is the setting. Blocks.
    ///
    /// # Errors
    /// `StorageFull` if there is none.
    pub(crate) fn make_room(self: &Arc<Self>, bytes: u64) -> io::Result<()> {
        loop {
            let (bounds, used) = self.with(|state| (state.bounds, state.stock.bytes()));
            let fits = used.saturating_add(bytes) <= bounds.bytes
                && self.available()? >= bounds.free.saturating_add(bytes);
            if fits {
                return Ok(());
            }
            if !self.evict() {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
        }
    }

    /// Gives up one segment. `false`: there is none that may be given up, or it cannot be removed.
    pub(crate) fn evict(self: &Arc<Self>) -> bool {
        if self.settings.when_full == WhenFull::StopNew {
            return false;
        }
        // Held, so that no upload of it begins, and in the account until its gap is: until then nothing behind it is durable.
        let held = self.stock(|stock| {
            let (id, key) = stock.evictable()?;
            stock.hold(id);
            Some((id, key))
        });
        let Some((id, key)) = held else {
            return false;
        };
        for marker in markers(&key, Cause::SpoolFull) {
            self.write_gap(marker);
        }
        let path = self.stock(|stock| stock.item(id).map(|item| item.path.clone()));
        let removed = path.map_or(Ok(()), std::fs::remove_file);
        match removed {
            Ok(()) => {
                self.metrics.evicted();
                tracing::warn!(camera = %key.place.camera, start = %key.start, reason = "spool_full", "the spool is at its bound: a segment was given up");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // No room comes of it, and none would come of the next one: what is there stays.
            Err(error) => {
                tracing::error!(camera = %key.place.camera, %error, "a segment of the full spool cannot be removed");
                self.stock(|stock| stock.put_back(id, None));
                self.tell();
                return false;
            }
        }
        self.stock(|stock| stock.remove(id));
        self.with(|state| state.room.at = None);
        // On a disk that was full to the last byte there is room for the marker only now.
        self.write_unwritten();
        self.tell();
        true
    }

    /// Somebody else removed the file of a segment or a marker that waited, and the store does not have it: what it covered is missing.
    /// Blocks.
    pub(crate) fn vanished(&self, id: ItemId) {
        match self.stock(|stock| stock.item(id).map(|item| item.key.clone())) {
            Some(ObjectKey::Segment(key)) => {
                // It leaves the account after its gap is there, so that nothing behind it is durable, and no drain is over, before.
                self.write_lost(&key);
                self.stock(|stock| stock.remove(id));
            }
            Some(ObjectKey::Gap(key)) => {
                self.with(|state| {
                    state.unwritten.push_back(key);
                    state.stock.remove(id);
                });
                self.write_unwritten();
            }
            None => return,
        }
        self.tell();
    }

    /// Writes what stands for a segment whose file is gone. Blocks.
    pub(crate) fn write_lost(&self, key: &SegmentKey) {
        for marker in markers(key, Cause::NodeLost) {
            self.write_gap(marker);
        }
    }

    fn available(&self) -> io::Result<u64> {
        let now = self.clock.monotonic();
        let fresh = self.with(|state| {
            let room = &state.room;
            let fresh = room
                .at
                .is_some_and(|at| now.saturating_duration_since(at) < MEASURED_FOR);
            fresh.then_some(room.available)
        });
        if let Some(available) = fresh {
            return Ok(available);
        }
        let available = disk_space(self.path())?.available;
        self.with(|state| {
            state.room = Measured {
                at: Some(now),
                available,
            }
        });
        Ok(available)
    }
}

/// What stands for a segment that is gone.
fn markers(key: &SegmentKey, cause: Cause) -> Vec<GapKey> {
    // however short: its neighbours may be given up as well
    key.range()
        .cut_at_hours()
        .map(|range| GapKey {
            place: key.place.clone(),
            start: range.from,
            duration: range.duration(),
            generation: key.generation,
            cause,
        })
        .collect()
}
