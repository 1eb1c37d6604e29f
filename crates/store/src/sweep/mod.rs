//! Retention: what has outlived its class goes, and the oldest goes when the disk gets full.
//!
//! Owns: [`plan()`], a pure function over what is listed and how full the disk is, and [`Sweeper`], which carries it out. Does not own:
//! the spool, which retention never touches, and lifecycle rules of a bucket.
//!
//! An object of class `rNNN` goes NNN days after the end of what it covers; class `keep` never goes. For room, segments go oldest first
//! over all cameras, so that one instant tells what is expired everywhere: [`SweepState::room_before`]. It is written down *before*
//! anything is deleted, since a stretch that is gone without having been called expired is a bug (P4). Gap markers free nothing: they
//! go with their day, so that what the page still shows of a day keeps its causes.

mod erase;
mod plan;
mod run;
mod state;

#[cfg(feature = "s3")]
pub(crate) use erase::erase;
pub use erase::{Pace, Whose, erase_prefix};
pub use plan::{Object, Plan, Room, plan};
pub use run::{Sweeper, Swept};
pub use state::{SweepState, expired_by_age};

use std::time::Duration;

/// How much may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepPolicy {
    /// The share of the disk that recordings may take, in percent.
    pub max_percent: u8,
    /// What must stay free on the disk, in bytes.
    pub min_free: u64,
    /// What is younger than this never goes for room: if the disk is filled by somebody else, deleting the last hour helps nobody.
    pub spare: Duration,
    /// How often to sweep.
    pub every: Duration,
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
