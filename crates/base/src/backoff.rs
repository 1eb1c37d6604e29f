//! How long to wait before the next try.
//!
//! Owns: the arithmetic of exponential back-off with jitter. Does not own: the waiting (see [`crate::clock::sleep`]) nor the loop (see
//! [`crate::supervise`]). Pure but for the random number: instants are arguments.
//!
//! The n-th delay is drawn below the ceiling `min * 2^n`, at most `max`. [`Jitter::Full`] draws from `[0, ceiling]`, at least `min`/2:
//! many clients that failed together come back apart. [`Jitter::Equal`] draws from `[ceiling/2, ceiling]`: a pause that is never short.

use std::time::{Duration, Instant};

/// How the delay is drawn below its ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Anywhere up to the ceiling (never below half of `min`, so that a loop cannot spin).
    Full,
    /// In the upper half.
    Equal,
}

/// Bounds that make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackoffError {
    /// `min` is zero: the loop would spin.
    #[error("the shortest delay must be longer than zero")]
    ZeroMinimum,
    /// `max` is below `min`.
    #[error("the longest delay {max:?} is shorter than the shortest {min:?}")]
    Reversed {
        /// The shortest delay.
        min: Duration,
        /// The longest delay.
        max: Duration,
    },
}

/// The state of one retry loop.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    stable_after: Duration,
    jitter: Jitter,
    failures: u32,
    started: Option<Instant>,
}

impl Backoff {
    /// Delays from `min` to `max`; a run of at least `stable_after` starts the count again.
    ///
    /// # Errors
    /// [`BackoffError`] when `min` is zero or greater than `max`.
    pub fn new(
        min: Duration,
        max: Duration,
        stable_after: Duration,
        jitter: Jitter,
    ) -> Result<Self, BackoffError> {
        if min.is_zero() {
            return Err(BackoffError::ZeroMinimum);
        }
        if max < min {
            return Err(BackoffError::Reversed { min, max });
        }
        Ok(Backoff {
            min,
            max,
            stable_after,
            jitter,
            failures: 0,
            started: None,
        })
    }

    /// From 1 s to 60 s with full jitter, reset after 60 s: what a camera's agent does too.
    #[must_use]
    pub fn standard() -> Self {
        Backoff {
            min: Duration::from_secs(1),
            max: Duration::from_secs(60),
            stable_after: Duration::from_secs(60),
            jitter: Jitter::Full,
            failures: 0,
            started: None,
        }
    }

    /// A run begins at `now`.
    pub fn started(&mut self, now: Instant) {
        self.started = Some(now);
    }

    /// The run that began with [`Backoff::started`] failed at `now`: how long to wait. A run that was stable resets the count first.
    pub fn failed(&mut self, now: Instant) -> Duration {
        if let Some(started) = self.started.take()
            && now.saturating_duration_since(started) >= self.stable_after
        {
            self.reset();
        }
        self.next_delay()
    }

    /// The next delay, drawn at random.
    pub fn next_delay(&mut self) -> Duration {
        self.next_delay_at(rand::random::<f64>())
    }

    /// The next delay for a `draw` in `[0, 1)`: what a test passes.
    pub fn next_delay_at(&mut self, draw: f64) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        let draw = if draw.is_finite() {
            draw.clamp(0.0, 1.0)
        } else {
            1.0
        };
        match self.jitter {
            Jitter::Full => ceiling.mul_f64(draw).max(self.min / 2),
            Jitter::Equal => ceiling / 2 + (ceiling / 2).mul_f64(draw),
        }
    }

    fn ceiling(&self) -> Duration {
        // 2^31 * 1 ns is past two seconds, 2^31 * 1 ms past 24 days: a greater exponent decides nothing.
        let factor = 1u32 << self.failures.min(31);
        self.min
            .checked_mul(factor)
            .map_or(self.max, |ceiling| ceiling.min(self.max))
    }

    /// How many failures in a row were counted.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Starts the count again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn senseless_bounds_are_refused() {
        let zero = Backoff::new(Duration::ZERO, MINUTE, MINUTE, Jitter::Full);
        assert_eq!(zero.unwrap_err(), BackoffError::ZeroMinimum);
        let reversed = Backoff::new(MINUTE, SECOND, MINUTE, Jitter::Full).unwrap_err();
        assert_eq!(
            reversed.to_string(),
            "the longest delay 1s is shorter than the shortest 60s"
        );
    }

    #[test]
    fn equal_jitter_doubles_up_to_the_maximum() {
        let mut backoff = Backoff::new(SECOND, 10 * SECOND, MINUTE, Jitter::Equal).unwrap();
        let highest: Vec<_> = (0..6)
            .map(|_| backoff.next_delay_at(1.0).as_secs())
            .collect();
        assert_eq!(highest, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn a_stable_run_starts_again_and_a_short_one_does_not() {
        let mut backoff = Backoff::new(SECOND, MINUTE, MINUTE, Jitter::Equal).unwrap();
        let start = Instant::now();
        for _ in 0..5 {
            backoff.started(start);
            backoff.failed(start + SECOND);
        }
        assert_eq!(backoff.failures(), 5);
        backoff.started(start);
        backoff.failed(start + MINUTE);
        assert_eq!(backoff.failures(), 1);
    }

    proptest! {
        #[test]
        fn every_delay_lies_within_its_bounds(
            min_ms in 1u64..10_000,
            extra_ms in 0u64..100_000,
            draws in proptest::collection::vec(0.0f64..1.0, 1..80),
            equal: bool,
        ) {
            let min = Duration::from_millis(min_ms);
            let max = min + Duration::from_millis(extra_ms);
            let jitter = if equal { Jitter::Equal } else { Jitter::Full };
            let mut backoff = Backoff::new(min, max, MINUTE, jitter).unwrap();
            for draw in draws {
                let delay = backoff.next_delay_at(draw);
                prop_assert!(delay >= min / 2 && delay <= max, "{delay:?} of {min:?}..{max:?}");
            }
        }
    }
}
