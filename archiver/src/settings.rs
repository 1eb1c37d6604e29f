//! What an operator may set, with the reasons for the defaults.

use std::time::Duration;

/// What happens when the spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The oldest sealed segment of the camera that holds most is given up; its gap is written (promise P3).
    #[default]
    EvictOldest,
    /// Recording stops until the store has taken something.
    StopNew,
}

/// Settings of the archiver. [`Settings::default`] is right for one small server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Length of a segment. 60 s is where requests cost next to nothing (docs/design: archive). At least 0.1 s.
    pub segment: Duration,
    /// A segment in which no second key frame comes ends here: some cameras refresh their pictures bit by bit and send one key frame in all.
    /// Readers look back an hour for the segment in which an instant lies.
    pub longest: Duration,
    /// Longest fragment inside a longer GOP: what a crash may lose.
    pub fragment: Duration,
    /// Bytes that the spool may hold. 20 GiB: 20 cameras of 2 Mbit/s for an hour without a store.
    pub spool_bytes: u64,
    /// Bytes of the file system that stay free, whatever uses the rest.
    pub min_free_bytes: u64,
    /// What happens at these bounds.
    pub when_full: WhenFull,
    /// Uploads at a time. A quarter of them, at least one, is kept for the newest segments while a backlog drains.
    pub uploads: usize,
    /// Reports are sent on each change, and at least so often.
    pub report_every: Duration,
    /// Budget of a drain whose order never came, because the supervisor is gone.
    pub drain_budget: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment: Duration::from_secs(60),
            longest: Duration::from_secs(30 * 60),
            fragment: Duration::from_secs(2),
            spool_bytes: 20 << 30,
            min_free_bytes: 1 << 30,
            when_full: WhenFull::default(),
            uploads: 4,
            report_every: Duration::from_secs(10),
            drain_budget: Duration::from_secs(60),
        }
    }
}
