//! What the sweeper took for room, remembered over restarts.

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

/// Up to where recordings went for room. Clones are the same state: the sweeper writes it, whoever computes coverage reads it.
#[derive(Debug, Clone)]
pub struct SweepState {
    before: Arc<AtomicI64>,
    path: Option<Arc<PathBuf>>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    room_before: Timestamp,
}

impl SweepState {
    /// A state that nobody remembers.
    pub fn in_memory() -> Self {
        Self {
            before: Arc::new(AtomicI64::new(NEVER)),
            path: None,
        }
    }

    /// Reads the file at `path`, which lies in the data directory; none yet is no error. Blocks shortly.
    ///
    /// # Errors
    /// If it is there and cannot be read, or is no such file.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let before = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Stored>(&bytes)?
                .room_before
                .as_millis(),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => NEVER,
            Err(cause) => return Err(cause),
        };
        Ok(Self {
            before: Arc::new(AtomicI64::new(before)),
            path: Some(Arc::new(path)),
        })
    }

    /// Recordings that end before this instant went for room; `None` if none ever had to.
    pub fn room_before(&self) -> Option<Timestamp> {
        let before = self.before.load(Ordering::Acquire);
        (before != NEVER).then(|| Timestamp::from_millis(before))
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
        if let Some(path) = &self.path {
            let text = serde_json::to_vec(&Stored {
                room_before: before,
            })?;
            write_atomic(path, &text, Access::Private)?;
        }
        self.before.fetch_max(before.as_millis(), Ordering::AcqRel);
        Ok(())
    }
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
        let again = SweepState::open(path.clone()).unwrap();
        assert_eq!(again.room_before(), Some(noon));
        assert_eq!(again.expired_before(Retention::Days(14), now), noon);
        assert_eq!(
            again.expired_before(Retention::Days(1), now),
            Timestamp::from_millis(86_400_000)
        );
        std::fs::write(&path, "{").unwrap();
        assert!(SweepState::open(path).is_err());
    }
}
