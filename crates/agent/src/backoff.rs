//! When to try again: full jitter, from 1 s to 60 s. A whole site that comes back at once must not come back in step.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// How long the next try waits.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more failure: a wait from nothing up to a bound that doubles with each. `random` is any number.
    pub fn after_failure(&mut self, random: u64) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.failures).min(LONGEST);
        self.failures = (self.failures + 1).min(16);
        let bound = u32::try_from(bound.as_secs()).unwrap_or_default() * 1000;
        // Half of it is as random as all of it, and MIPS divides no wider numbers itself.
        let random = u32::try_from(random & u64::from(u32::MAX)).unwrap_or_default();
        Duration::from_millis((random % (bound + 1)).into())
    }

    /// What was tried has held long enough.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Random numbers that need not be secret, from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed, of `/dev/urandom` on a camera.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Dice(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_to_a_minute_and_falls_back() {
        let mut backoff = Backoff::default();
        let bounds: Vec<u64> = (0..9)
            .map(|_| backoff.clone().bound_of(&mut backoff))
            .collect();
        assert_eq!(
            bounds,
            [
                1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000
            ]
        );
        backoff.reset();
        assert!(backoff.after_failure(u64::MAX) <= FIRST);
    }

    impl Backoff {
        /// The greatest wait that the next failure may give.
        fn bound_of(self, next: &mut Backoff) -> u64 {
            let greatest = (0..=60_000)
                .rev()
                .map(|random| {
                    let wait = self.clone().after_failure(random);
                    u64::try_from(wait.as_millis()).unwrap()
                })
                .max();
            next.after_failure(0);
            greatest.unwrap()
        }
    }

    #[test]
    fn a_hundred_agents_that_fail_together_come_back_apart() {
        let wait = |seed| {
            let (mut backoff, mut dice) = (Backoff::default(), Dice::new(seed));
            for _ in 0..6 {
                backoff.after_failure(dice.roll());
            }
            backoff.after_failure(dice.roll()).as_secs()
        };
        let mut per_ten_seconds = [0; 7];
        for seed in 0..100 {
            per_ten_seconds[usize::try_from(wait(seed) / 10).unwrap()] += 1;
        }
        assert!(
            per_ten_seconds[..6]
                .iter()
                .all(|tries| (4..=35).contains(tries)),
            "{per_ten_seconds:?}"
        );
    }
}
