//! What the sweeper took for room, and the clock that it believed, remembered over restarts.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// Of it what the file has.
    noted: Arc<AtomicI64>,
    clock: Arc<AtomicI64>,
    doubt: Arc<Mutex<Option<Doubt>>>,
    path: Option<Arc<PathBuf>>,
}

/// A wall clock that leapt ahead and is not believed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// What it said at the last sweep.
    pub clock: Timestamp,
    /// What it was then, by what is known.
    pub expected: Timestamp,
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
            noted: Arc::new(AtomicI64::new(raw(stored.room_before))),
            clock: Arc::new(AtomicI64::new(raw(stored.clock))),
            doubt: Arc::default(),
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

    /// As if nothing had been remembered; what comes replaces the file at `path`.
    pub fn anew(path: PathBuf) -> Self {
        Self::of(&Stored::default(), Some(path))
    }

    /// Recordings that end before this instant went for room; `None` if none ever had to.
    pub fn room_before(&self) -> Option<Timestamp> {
        known(&self.before)
    }

    /// The wall clock by which recordings went for age the last time; `None` if none ever did.
    pub(super) fn clock(&self) -> Option<Timestamp> {
        known(&self.clock)
    }

    /// The clock of the last sweep, if it was not believed. Not remembered over restarts: the next sweep judges anew.
    pub fn doubt(&self) -> Option<Doubt> {
        *self.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_doubt(&self, doubt: Option<Doubt>) {
        *self.doubt.lock().unwrap_or_else(PoisonError::into_inner) = doubt;
    }

    /// What of a camera is expired: the later of what its classes say ([`expired_by_age`]) and what went for room.
    pub fn expired_before(
        &self,
        classes: impl IntoIterator<Item = Retention>,
        now: Timestamp,
    ) -> Timestamp {
        let by_age = expired_by_age(classes, now);
        self.room_before()
            .map_or(by_age, |before| by_age.max(before))
    }

    /// Remembers durably, and never goes back. Blocks.
    pub(super) fn advance(&self, before: Timestamp) -> io::Result<()> {
        if self.noted.load(Ordering::Acquire) >= before.as_millis() {
            return Ok(());
        }
        self.write(&Stored {
            room_before: Some(before),
            clock: self.clock(),
        })?;
        self.noted.fetch_max(before.as_millis(), Ordering::AcqRel);
        self.foresee(before);
        Ok(())
    }

    /// Lets readers know what will be expired, before it can be remembered durably.
    pub(super) fn foresee(&self, before: Timestamp) {
        self.before.fetch_max(before.as_millis(), Ordering::AcqRel);
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

/// What of a camera is expired by its classes alone: what the shortest one says, of those that it has ever used. What a longer class still
/// holds shows before it all the same; since when a class is used is not known, and after a change from 14 days to 30 the days between
/// are not there, which is no fault.
pub fn expired_by_age(classes: impl IntoIterator<Item = Retention>, now: Timestamp) -> Timestamp {
    let days = classes.into_iter().filter_map(|class| match class {
        Retention::Days(days) => Some(days),
        Retention::Keep => None,
    });
    days.min().map_or(Timestamp::from_millis(0), |days| {
        now - Duration::from_secs(24 * 3600 * u64::from(days))
    })
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
        assert_eq!(again.expired_before([Retention::Days(14)], now), noon);
        assert_eq!(again.expired_before([Retention::Keep], now), noon);
        assert_eq!(
            again.expired_before([Retention::Days(1)], now),
            Timestamp::from_millis(86_400_000)
        );
        std::fs::write(&path, "{").unwrap();
        assert!(SweepState::open(path).is_err());
    }

    #[test]
    fn what_a_shorter_class_of_before_let_go_stays_expired() {
        let (day, state) = (Duration::from_secs(86_400), SweepState::in_memory());
        let now = Timestamp::from_millis(0) + day * 100;
        let classes = [Retention::Days(30), Retention::Days(14), Retention::Keep];
        assert_eq!(state.expired_before(classes, now), now - day * 14);
        let kept = state.expired_before([Retention::Keep], now);
        assert_eq!(kept, Timestamp::from_millis(0));
    }
}
