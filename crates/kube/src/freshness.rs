//! Whether what the watches say is fresh: not while the API server is away.
//!
//! Two signs: a call that a replica makes anyway every 5 s (the renewal of its Lease) was answered a moment ago, and the watch of cameras has not
//! broken since that call began. A black hole shows by the first, a server that is killed at once by the second.
//!
//! And whether what happened in an outage is known by now: claims that waited are written when it is over, and watches begin anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Without an answer for so long, the API server counts as away: two renewals and a half.
const STALE: Duration = Duration::from_secs(12);
/// So long after the end of an outage every replica has written what it claimed meanwhile, and heard what others did: each notices the end within
/// some 5 s, and both take seconds.
const SETTLED: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Signs {
    /// Since when somebody waits for an answer.
    begun: Instant,
    answered: Option<Instant>,
    broke: Option<Instant>,
    /// When the last outage was over.
    over: Option<Instant>,
}

/// What is known of the API server. Clones are the same.
#[derive(Debug, Clone)]
pub struct Freshness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    signs: Mutex<Signs>,
    /// Counts outages that are over.
    back: watch::Sender<u64>,
}

impl Freshness {
    /// Of a process that begins now.
    pub(crate) fn new(now: Instant) -> Self {
        let signs = Signs {
            begun: now,
            answered: None,
            broke: None,
            over: None,
        };
        Self(Arc::new(Inner {
            signs: Mutex::new(signs),
            back: watch::Sender::default(),
        }))
    }

    fn with<T>(&self, change: impl FnOnce(&mut Signs) -> T) -> T {
        change(&mut self.0.signs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The API server has answered a call that was begun then. After an outage whoever follows [`Freshness::back`] hears of it.
    pub(crate) fn answered(&self, begun: Instant) {
        let outage = self.with(|signs| {
            let before = signs.answered;
            signs.answered = before.max(Some(begun));
            let silence = begun.saturating_duration_since(before.unwrap_or(signs.begun));
            if silence >= STALE {
                signs.over = Some(begun);
            }
            silence >= STALE && before.is_some()
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

    /// How long it takes at least until what happened in an outage is known here. Zero in ordinary times.
    pub(crate) fn unsettled(&self, now: Instant) -> Duration {
        if !self.is_current(now) {
            return SETTLED;
        }
        let over = self.with(|signs| signs.over);
        over.map_or(Duration::ZERO, |over| {
            SETTLED.saturating_sub(now.saturating_duration_since(over))
        })
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
        let second = Duration::from_secs(1);
        let start = Instant::now() + second;
        let freshness = Freshness::new(start);
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
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let freshness = Freshness::new(start);
        let mut back = freshness.back();
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

    #[test]
    fn what_happened_in_an_outage_is_known_a_while_after_its_end() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let freshness = Freshness::new(start);
        freshness.answered(start + second);
        let unsettled = |seconds: u32| freshness.unsettled(start + second * seconds);
        assert_eq!(unsettled(2), Duration::ZERO, "there was none");
        assert_eq!(unsettled(100), SETTLED, "it goes on");
        freshness.answered(start + second * 200);
        assert_eq!(unsettled(201), SETTLED - second);
        for seconds in (205..=230).step_by(5) {
            freshness.answered(start + second * seconds);
        }
        assert_eq!(unsettled(229), second);
        assert_eq!(unsettled(230), Duration::ZERO);
    }

    #[test]
    fn a_process_that_began_in_an_outage_knows_as_late_what_happened_in_it() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let freshness = Freshness::new(start);
        let back = freshness.back();
        freshness.answered(start + second * 60);
        assert_eq!(freshness.unsettled(start + second * 61), SETTLED - second);
        assert!(!back.has_changed().unwrap(), "nothing is older than it");
    }
}
