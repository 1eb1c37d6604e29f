//! Which wall clock retention believes.
//!
//! Owns: [`Trust`]. Does not own: the clock, and what is remembered over restarts.

use std::time::{Duration, Instant};

use moorline_core::Timestamp;

/// A clock that went further ahead than time did is not believed: a machine may be off for a weekend, and what is deleted two days too
/// early by a clock that is wrong by less would be gone soon anyway.
const LEAP: Duration = Duration::from_secs(48 * 3600);

/// A clock that leapt is believed when it has stood for so long: time enough for NTP, and for a person to read the log.
const PROOF: Duration = Duration::from_secs(3600);

/// The last wall time that was believed, and since when another one is claimed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trust {
    wall: Timestamp,
    at: Instant,
    doubted: Option<Instant>,
}

/// What to take for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Now {
    /// The clock is believed.
    Sure(Timestamp),
    /// It leapt ahead; by what is known it is this.
    Doubted(Timestamp),
}

impl Trust {
    /// `wall` was believed last, and that was `at` or earlier.
    pub(super) fn new(wall: Timestamp, at: Instant) -> Self {
        Self {
            wall,
            at,
            doubted: None,
        }
    }

    /// The clock says `wall`, at this instant.
    pub(super) fn judge(&mut self, wall: Timestamp, at: Instant) -> Now {
        let expected = self.wall + at.saturating_duration_since(self.at);
        if wall > expected + LEAP {
            let since = *self.doubted.get_or_insert(at);
            if at.saturating_duration_since(since) < PROOF {
                return Now::Doubted(expected);
            }
        }
        *self = Self::new(wall, at);
        Now::Sure(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_leapt_ahead_is_believed_after_an_hour_and_one_that_was_corrected_at_once() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let start = Timestamp::from_millis(1_000_000_000);
        #[expect(clippy::disallowed_methods, reason = "some instant to count from")]
        let boot = Instant::now();
        // Off for a night.
        let mut trust = Trust::new(start, boot);
        let morning = start + minutes(600);
        assert_eq!(trust.judge(morning, boot), Now::Sure(morning));
        // Ten years ahead.
        let years = minutes(10 * 365 * 24 * 60);
        for minute in [1, 30, 60] {
            let (wall, at) = (morning + years + minutes(minute), boot + minutes(minute));
            let known = Now::Doubted(morning + minutes(minute));
            assert_eq!(trust.judge(wall, at), known);
        }
        let corrected = trust;
        let (wall, at) = (morning + years + minutes(61), boot + minutes(61));
        assert_eq!(trust.judge(wall, at), Now::Sure(wall));
        // The network sets it right within the hour: no hour of before counts for the next leap.
        let mut trust = corrected;
        let right = morning + minutes(60);
        assert_eq!(trust.judge(right, boot + minutes(60)), Now::Sure(right));
        let (wall, at) = (right + years, boot + minutes(62));
        assert_eq!(trust.judge(wall, at), Now::Doubted(right + minutes(2)));
    }
}
