//! What the sweeper took for room, and the clock that it believed, remembered over restarts.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use moorline_base::files::{Access, write_atomic};
use moorline_core::Timestamp;
use moorline_core::segment::Retention;
use serde::{Deserialize, Serialize};

const NEVER: i64 = i64::MIN;

/// Up to where recordings went for room, and the last wall clock by which they went for age. Clones are the same state: the sweeper
/// writes it, whoever computes coverage reads it.
#[derive(Debug, Clone)]
pub struct SweepState {
    before: Arc<AtomicI64>,
    clock: Arc<AtomicI64>,
    path: Option<Arc<PathBuf>>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Stored {
    room_before: Option<Timestamp>,
    clock: Option<Timestamp>,
}

impl SweepState {
    /// A state that nobody remembers.
    pub fn in_memory() -> Self {
        Self::of(&Stored::default(), None)
    }

    fn of(stored: &Stored, path: Option<PathBuf>) -> Self {
        let raw = |at: Option<Timestamp>| at.map_or(NEVER, Timestamp::as_millis);
        Self {
            before: Arc::new(AtomicI64::new(raw(stored.room_before))),
            clock: Arc::new(AtomicI64::new(raw(stored.clock))),
            path: path.map(Arc::new),
        }
    }

    /// Reads the file at `path`, which lies in the data directory; none yet is no error. Blocks shortly.
    ///
    /// # Errors
    /// If it is there and cannot be read, or is no such file.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let stored = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Stored::default(),
            Err(cause) => return Err(cause),
        };
        Ok(Self::of(&stored, Some(path)))
    }

    /// Recordings that end before this instant went for room; `None` if none ever had to.
    pub fn room_before(&self) -> Option<Timestamp> {
        known(&self.before)
    }

    /// The wall clock by which recordings went for age the last time; `None` if none ever did.
    pub(super) fn clock(&self) -> Option<Timestamp> {
        known(&self.clock)
    }

    /// What of a camera is expired: the later of what its class says and what went for room.
    pub fn expired_before(&self, retention: Retention, now: Timestamp) -> Timestamp {
        let by_age = expired_by_age(retention, now);
        self.room_before()
            .map_or(by_age, |before| by_age.max(before))
    }

    /// Remembers durably, and never goes back. Blocks.
    pub(super) fn advance(&self, before: Timestamp) -> io::Result<()> {
        if self.room_before().is_some_and(|known| known >= before) {
            return Ok(());
        }
        self.write(&Stored {
            room_before: Some(before),
            clock: self.clock(),
        })?;
        self.before.fetch_max(before.as_millis(), Ordering::AcqRel);
        Ok(())
    }

    /// Remembers durably which clock is believed. Blocks.
    pub(super) fn believe(&self, clock: Timestamp) -> io::Result<()> {
        self.write(&Stored {
            room_before: self.room_before(),
            clock: Some(clock),
        })?;
        self.clock.store(clock.as_millis(), Ordering::Release);
        Ok(())
    }

    /// The sweeper alone writes.
    fn write(&self, stored: &Stored) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        write_atomic(path, &serde_json::to_vec(stored)?, Access::Private)
    }
}

fn known(at: &AtomicI64) -> Option<Timestamp> {
    let at = at.load(Ordering::Acquire);
    (at != NEVER).then(|| Timestamp::from_millis(at))
}

/// What of a camera is expired by its class alone: where nothing goes for room.
pub fn expired_by_age(retention: Retention, now: Timestamp) -> Timestamp {
    match retention {
        Retention::Days(days) => now - Duration::from_secs(24 * 3600 * u64::from(days)),
        Retention::Keep => Timestamp::from_millis(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_for_room_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("swept.json");
        let state = SweepState::open(path.clone()).unwrap();
        assert_eq!(state.room_before(), None);
        let (noon, now) = (
            Timestamp::from_millis(43_200_000),
            Timestamp::from_millis(172_800_000),
        );
        state.advance(noon).unwrap();
        state.advance(Timestamp::from_millis(5)).unwrap();
        state.believe(now).unwrap();
        let again = SweepState::open(path.clone()).unwrap();
        assert_eq!(again.room_before(), Some(noon));
        assert_eq!(again.clock(), Some(now));
        assert_eq!(again.expired_before(Retention::Days(14), now), noon);
        assert_eq!(
            again.expired_before(Retention::Days(1), now),
            Timestamp::from_millis(86_400_000)
        );
        std::fs::write(&path, "{").unwrap();
        assert!(SweepState::open(path).is_err());
    }
}
