//! Whether what the watches say is fresh: not while the API server is away.
//!
//! Two signs: a call that a replica makes anyway every 5 s (the renewal of its Lease) was answered a moment ago, and the watch of cameras has not
//! broken since that call began. A black hole shows by the first, a server that is killed at once by the second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Without an answer for so long, the API server counts as away: two renewals and a half.
const STALE: Duration = Duration::from_secs(12);

#[derive(Debug, Default)]
struct Signs {
    answered: Option<Instant>,
    broke: Option<Instant>,
}

/// What is known of the API server. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Freshness(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    signs: Mutex<Signs>,
    /// Counts outages that are over.
    back: watch::Sender<u64>,
}

impl Freshness {
    fn with<T>(&self, change: impl FnOnce(&mut Signs) -> T) -> T {
        change(&mut self.0.signs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The API server has answered a call that was begun then. After an outage whoever follows [`Freshness::back`] hears of it.
    pub(crate) fn answered(&self, begun: Instant) {
        let outage = self.with(|signs| {
            let before = signs.answered;
            signs.answered = before.max(Some(begun));
            before.is_some_and(|before| begun.saturating_duration_since(before) >= STALE)
        });
        if outage {
            self.0.back.send_modify(|count| *count += 1);
        }
    }

    /// The watch of cameras broke.
    pub(crate) fn broke(&self, now: Instant) {
        self.with(|signs| signs.broke = Some(now));
    }

    /// Changes when the API server answers again after an outage: connections from before are dead perhaps, which shows late.
    pub(crate) fn back(&self) -> watch::Receiver<u64> {
        self.0.back.subscribe()
    }

    /// Whether the watch is to be believed at this moment.
    pub fn is_current(&self, now: Instant) -> bool {
        self.with(|signs| {
            signs.answered.is_some_and(|answered| {
                now.saturating_duration_since(answered) < STALE
                    && signs.broke.is_none_or(|broke| answered > broke)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_believed_while_the_api_server_answers() {
        let (freshness, second) = (Freshness::default(), Duration::from_secs(1));
        let start = Instant::now() + second;
        assert!(!freshness.is_current(start), "nothing was answered yet");
        freshness.answered(start);
        assert!(freshness.is_current(start + second * 11));
        assert!(!freshness.is_current(start + second * 12), "a black hole");
        freshness.answered(start + second * 60);
        freshness.broke(start + second * 61);
        assert!(!freshness.is_current(start + second * 61), "killed");
        freshness.answered(start + second * 65);
        assert!(freshness.is_current(start + second * 66));
    }

    #[test]
    fn the_end_of_an_outage_is_told_once() {
        let (freshness, second) = (Freshness::default(), Duration::from_secs(1));
        let (start, mut back) = (Instant::now(), freshness.back());
        for seconds in [0, 5, 10, 15] {
            freshness.answered(start + second * seconds);
        }
        assert!(!back.has_changed().unwrap(), "no outage");
        freshness.answered(start + second * 27);
        assert!(back.has_changed().unwrap());
        back.mark_unchanged();
        freshness.answered(start + second * 32);
        assert!(!back.has_changed().unwrap());
    }
}
