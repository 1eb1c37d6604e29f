//! Whether the store is to be tried: a circuit breaker of one endpoint, pure.
//!
//! ```text
//! closed ── 3 failures in a row ──▶ open until … ── time is over ──▶ half open: one upload ── success ──▶ closed
//!                                        ▲────────────────────── failure ─────┘
//! ```

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

    /// When it is worth looking again, if it is open.
    pub(crate) fn retry_at(&self, now: Instant) -> Option<Instant> {
        self.open_until.filter(|until| *until > now)
    }

    /// Somebody waits for an upload: one try now, whatever the pause.
    pub(crate) fn nudge(&mut self) {
        self.open_until = None;
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.open_until = None;
        self.backoff.reset();
    }

    pub(crate) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        // uploads that were under way together fail together: one pause for all
        if self.failures >= FAILURES && self.retry_at(now).is_none() {
            self.open_until = Some(now + self.backoff.next_delay());
        }
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
        breaker.failed(until);
        assert!(breaker.retry_at(until).unwrap() - until >= Duration::from_secs(1));
        breaker.nudge();
        assert_eq!(
            breaker.allowed(until, 4),
            1,
            "whoever drains does not sit out a pause"
        );
        breaker.succeeded();
        assert_eq!(breaker.allowed(until, 4), 4);
    }
}
