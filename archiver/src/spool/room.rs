//! Bounds of the spool: bytes, and what must stay free on its disk. A full disk is a state with a way out, not a failure.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_base::files::disk_space;
use moorline_core::Cause;
use moorline_core::segment::{GapKey, SegmentKey};

use super::Spool;
use crate::settings::WhenFull;

/// The file system is asked so often at most.
const MEASURED_FOR: Duration = Duration::from_secs(1);

/// What the file system last said.
#[derive(Debug, Default)]
pub(super) struct Measured {
    at: Option<Instant>,
    available: u64,
}

impl Spool {
    /// Makes room for so many bytes, by giving up the oldest if that is the setting. Blocks.
    ///
    /// # Errors
    /// `StorageFull` if there is none.
    pub(crate) fn make_room(self: &Arc<Self>, bytes: u64) -> io::Result<()> {
        loop {
            let used = self.stock(|stock| stock.bytes());
            let fits = used.saturating_add(bytes) <= self.settings.spool_bytes
                && self.available()? >= self.settings.min_free_bytes.saturating_add(bytes);
            if fits {
                return Ok(());
            }
            if !self.evict() {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
        }
    }

    /// Gives up one segment. `false`: there is none that may be given up.
    pub(crate) fn evict(self: &Arc<Self>) -> bool {
        if self.settings.when_full == WhenFull::StopNew {
            return false;
        }
        let Some((id, key)) = self.stock(|stock| stock.evictable()) else {
            return false;
        };
        // taken out of the account first, so that no upload of it begins
        let Some(item) = self.stock(|stock| stock.remove(id)) else {
            return true;
        };
        let markers = markers(&key);
        for marker in &markers {
            self.write_gap(marker.clone());
        }
        match std::fs::remove_file(&item.path) {
            Ok(()) => {
                self.metrics.evicted();
                tracing::warn!(camera = %key.place.camera, start = %key.start, reason = "spool_full", "the spool is at its bound: a segment was given up");
            }
            Err(error) => {
                tracing::error!(camera = %key.place.camera, %error, "a segment of the full spool cannot be removed");
            }
        }
        self.with(|state| state.room.at = None);
        self.tell();
        true
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

/// What stands for a segment that was given up.
fn markers(key: &SegmentKey) -> Vec<GapKey> {
    // however short: its neighbours may be given up as well
    key.range()
        .cut_at_hours()
        .map(|range| GapKey {
            place: key.place.clone(),
            start: range.from,
            duration: range.duration(),
            generation: key.generation,
            cause: Cause::SpoolFull,
        })
        .collect()
}
