//! Retention: what has outlived its class goes, and the oldest goes when the disk gets full.
//!
//! Owns: [`plan()`], a pure function over what is listed and how full the disk is, and [`Sweeper`], which carries it out. Does not own:
//! the spool, which retention never touches, and lifecycle rules of a bucket.
//!
//! An object of class `rNNN` goes NNN days after the end of what it covers; class `keep` never goes. For room, segments go oldest first
//! over all cameras, so that one instant tells what is expired everywhere: [`SweepState::room_before`]. It is written down *before*
//! anything is deleted, since a stretch that is gone without having been called expired is a bug (P4). Only on a disk that is full to the
//! last byte the oldest objects go first, until there is room for the note. Gap markers free nothing: they
//! go with their day, so that what the page still shows of a day keeps its causes.
//!
//! Room is made before it is missing: a recorder that finds none gives up what it has just received, while two weeks of older
//! recordings lie on the same disk. So the disk is looked at every few seconds, and a sweep frees more than the bound asks for, so that
//! the next one, which lists the whole archive, is not due at once.
//!
//! Age is told by the wall clock, and a machine that boots with a dead battery may believe in any year before the network corrects it:
//! a clock that leapt ahead is not believed until it has stood for an hour ([`SweepState`] remembers the last one that was).

mod erase;
mod plan;
mod run;
mod state;
#[cfg(test)]
mod tests;
mod trust;

#[cfg(feature = "s3")]
pub(crate) use erase::erase;
pub use erase::{Pace, Whose, erase_prefix};
pub use plan::{Object, Plan, Room, plan};
pub use run::{Sweeper, Swept};
pub use state::{Doubt, SweepState, expired_by_age};

use std::time::Duration;

/// How much may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepPolicy {
    /// The share of the disk that recordings may take, in percent.
    pub max_percent: u8,
    /// What must stay free on the disk, in bytes. A sweep frees half as much again.
    pub min_free: u64,
    /// What is younger than this never goes for room: if the disk is filled by somebody else, deleting the last hour helps nobody.
    pub spare: Duration,
    /// How often to sweep; sooner where the disk gets full.
    pub every: Duration,
}

impl SweepPolicy {
    /// What a sweep leaves free beyond the bound.
    fn headroom(&self) -> u64 {
        self.min_free / 2
    }

    /// Whether a sweep is due before its time: the bound is near.
    fn is_tight(&self, available: u64) -> bool {
        available < self.min_free.saturating_add(self.headroom() / 4)
    }
}

impl Default for SweepPolicy {
    fn default() -> Self {
        Self {
            max_percent: 80,
            min_free: 5 * 1024 * 1024 * 1024,
            spare: Duration::from_secs(3600),
            every: Duration::from_secs(600),
        }
    }
}
