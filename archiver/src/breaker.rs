//! Whether the store is to be tried: a circuit breaker of one endpoint, pure.
//!
//! ```text
//! closed ── 3 failures in a row ──▶ open until … ── time is over ──▶ half open: one upload ── success ──▶ closed
//!                                        ▲──────── failure of two ────────────┘
//! ```
//! Half open, the oldest object is tried first: when the store is back, what was stored is then durable too. It may be the object and not the
//! store that fails (a file that cannot be read, a key for which the store has no good answer), so another one is tried behind it, each time
//! another: one object must not end the uploads of all cameras.

use std::time::{Duration, Instant};

use moorline_base::Backoff;
use moorline_base::backoff::Jitter;

/// So many failures in a row open it: one reset connection is no outage.
const FAILURES: u32 = 3;

/// The breaker. Pauses grow from 1 s to 30 s: when the store is back after an hour, half a minute more does not matter.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
    backoff: Backoff,
    /// Failed uploads since it opened, other than those that were under way then.
    tries: u32,
    /// Uploads that succeeded, ever.
    successes: u64,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        let backoff = Backoff::new(
            Duration::from_secs(1),
            Duration::from_secs(30),
            Duration::from_secs(60),
            Jitter::Equal,
        );
        Self {
            failures: 0,
            open_until: None,
            backoff: backoff.unwrap_or_else(|_| Backoff::standard()),
            tries: 0,
            successes: 0,
        }
    }

    /// How many uploads may be under way at `now`, given the setting.
    pub(crate) fn allowed(&self, now: Instant, uploads: usize) -> usize {
        match self.open_until {
            Some(until) if now < until => 0,
            _ if self.failures >= FAILURES => 1,
            _ => uploads,
        }
    }

    /// Half open: how many other objects have been tried so far, if the next try is another one's. `None`: the oldest's.
    pub(crate) fn other(&self) -> Option<u32> {
        (self.tries % 2 == 1).then_some(self.tries / 2)
    }

    /// Uploads that succeeded so far: what failed, and fails again after others have succeeded, has itself to blame.
    pub(crate) fn successes(&self) -> u64 {
        self.successes
    }

    /// When it is worth looking again, if it is open.
    pub(crate) fn retry_at(&self, now: Instant) -> Option<Instant> {
        self.open_until.filter(|until| *until > now)
    }

    /// Somebody waits for an upload: one try now, whatever the pause.
    pub(crate) fn nudge(&mut self) {
        self.open_until = None;
    }

    pub(crate) fn succeeded(&mut self) {
        self.successes += 1;
        self.failures = 0;
        self.tries = 0;
        self.open_until = None;
        self.backoff.reset();
    }

    pub(crate) fn failed(&mut self, now: Instant) {
        let half_open = self.failures >= FAILURES;
        self.failures = self.failures.saturating_add(1);
        // uploads that were under way together fail together: one pause for all
        if self.failures < FAILURES || self.retry_at(now).is_some() {
            return;
        }
        if half_open {
            self.tries = self.tries.wrapping_add(1);
            if self.other().is_some() {
                return;
            }
        }
        self.open_until = Some(now + self.backoff.next_delay());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_open_it_and_one_success_closes_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        breaker.failed(now);
        breaker.failed(now);
        assert_eq!(breaker.allowed(now, 4), 4);
        breaker.failed(now);
        assert_eq!(breaker.allowed(now, 4), 0);
        let until = breaker.retry_at(now).unwrap();
        assert!(until - now <= Duration::from_secs(1));
        breaker.failed(now);
        assert_eq!(
            breaker.retry_at(now),
            Some(until),
            "those under way count once"
        );
        assert_eq!(breaker.allowed(until, 4), 1, "one try");
        assert_eq!(breaker.other(), None, "the oldest's");
        breaker.failed(until);
        assert_eq!(breaker.allowed(until, 4), 1, "and one of another");
        assert_eq!(breaker.other(), Some(0));
        breaker.failed(until);
        assert!(breaker.retry_at(until).unwrap() - until >= Duration::from_secs(1));
        breaker.nudge();
        assert_eq!(
            breaker.allowed(until, 4),
            1,
            "whoever drains does not sit out a pause"
        );
        assert_eq!(breaker.other(), None);
        breaker.failed(until);
        assert_eq!(breaker.other(), Some(1), "each time another");
        breaker.succeeded();
        assert_eq!(breaker.allowed(until, 4), 4);
    }
}
