//! Failed sign-ins per (prefix, login) (rule S11): whoever fails too often from one network for one login waits; nobody else does.
//!
//! Pure: instants are arguments. The table is bounded; when it is full, the one with the fewest failures is forgotten, so that a flood of
//! invented logins cannot wash out the login that is being guessed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use moorline_base::rate::Prefix;

/// Failures before the first wait: a person who tries all their passwords.
const BURST: f64 = 10.0;
/// One more try each 30 s: 2,880 guesses a day.
const REFILL: Duration = Duration::from_secs(30);
/// Pairs that are remembered. Each costs an Argon2 run, so that no stranger fills it faster than it empties.
const LIMIT: usize = 16_384;

type Key = (Prefix, String);

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: f64,
    at: Instant,
}

impl Failures {
    fn now(self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.count - passed / REFILL.as_secs_f64()).max(0.0)
    }
}

/// The table of failures.
#[derive(Debug, Default)]
pub(crate) struct Throttle(HashMap<Key, Failures>);

/// Who tries: the network, and the login as it was typed (cut, since a stranger chooses it).
pub(crate) fn key(from: IpAddr, login: &str) -> Key {
    (Prefix::narrow(from), login.chars().take(64).collect())
}

impl Throttle {
    /// Whether a try may be made at all.
    pub(crate) fn allows(&self, key: &Key, now: Instant) -> bool {
        self.0
            .get(key)
            .is_none_or(|failures| failures.now(now) + 1.0 <= BURST)
    }

    /// Counts a try as failed until [`Throttle::succeeded`] is said, so that tries side by side count too. `false`: not allowed.
    pub(crate) fn begin(&mut self, key: &Key, now: Instant) -> bool {
        if !self.allows(key, now) {
            return false;
        }
        if !self.0.contains_key(key) && self.0.len() >= LIMIT {
            self.make_room(now);
        }
        let failures = self.0.entry(key.clone()).or_insert(Failures {
            count: 0.0,
            at: now,
        });
        *failures = Failures {
            count: failures.now(now) + 1.0,
            at: now,
        };
        true
    }

    /// Forgets the failures of whoever got in.
    pub(crate) fn succeeded(&mut self, key: &Key) {
        self.0.remove(key);
    }

    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, failures| failures.now(now) > 0.0);
        if self.0.len() < LIMIT {
            return;
        }
        let fewest = self
            .0
            .iter()
            .min_by(|(_, a), (_, b)| a.now(now).total_cmp(&b.now(now)));
        if let Some(key) = fewest.map(|(key, _)| key.clone()) {
            self.0.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(from: &str, login: &str) -> Key {
        key(from.parse().unwrap(), login)
    }

    #[test]
    fn a_guesser_waits_and_nobody_else_does() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        let guesser = at("198.51.100.7", "admin");
        for _ in 0..10 {
            assert!(throttle.begin(&guesser, now));
        }
        assert!(!throttle.begin(&guesser, now));
        assert!(
            !throttle.begin(&at("198.51.100.99", "admin"), now),
            "the same network"
        );
        assert!(
            throttle.begin(&at("203.0.113.1", "admin"), now),
            "the owner elsewhere"
        );
        assert!(
            throttle.begin(&at("198.51.100.7", "anna"), now),
            "a neighbour"
        );
        assert!(!throttle.begin(&guesser, now + REFILL - Duration::from_millis(1)));
        assert!(throttle.begin(&guesser, now + REFILL));
        assert!(!throttle.begin(&guesser, now + REFILL));
        throttle.succeeded(&guesser);
        assert!(throttle.begin(&guesser, now + REFILL));
    }

    /// S11.
    #[test]
    fn a_flood_of_logins_does_not_wash_out_the_guessed_one() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        let guesser = at("198.51.100.7", "admin");
        while throttle.begin(&guesser, now) {}
        for number in 0..LIMIT + 10 {
            assert!(throttle.begin(&at("198.51.100.7", &format!("invented-{number}")), now));
        }
        assert!(throttle.0.len() <= LIMIT);
        assert!(!throttle.allows(&guesser, now));
    }

    #[test]
    fn one_ipv6_network_is_one_guesser() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        for host in 0..10 {
            assert!(throttle.begin(&at(&format!("2001:db8::{host:x}"), "admin"), now));
        }
        assert!(!throttle.begin(&at("2001:db8::ffff", "admin"), now));
        assert!(throttle.begin(&at("2001:db8:0:1::1", "admin"), now));
    }
}
