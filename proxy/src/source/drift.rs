//! Whether RTP time and our own have parted (rule S31: a take ends when they do by more than 5 s beyond queueing).

use std::time::Duration;

use super::clock_map::MinFilter;

/// How far they may part.
const PARTED: i64 = 5_000_000;

/// Watches one track. Queueing makes media late and never early, and it passes: so media that is early by 5 s, or that has been late by
/// 5 s for half a minute without a break, has another clock than we.
#[derive(Debug, Clone)]
pub(crate) struct DriftWatch {
    clock_rate: u32,
    first: Option<First>,
    lag: MinFilter,
    since: Duration,
}

#[derive(Debug, Clone, Copy)]
struct First {
    arrival: Duration,
    last: u32,
    ticks: i64,
    /// The least lag of the first half minute.
    least: i64,
}

/// How long it takes to tell queueing from another clock.
const WINDOW: Duration = Duration::from_secs(60);

impl DriftWatch {
    pub(crate) fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate: clock_rate.max(1),
            first: None,
            lag: MinFilter::default(),
            since: Duration::ZERO,
        }
    }

    /// A new read begins.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.clock_rate);
    }

    /// Takes a timestamp of the camera; `true` when the clocks have parted. The caller restarts then.
    pub(crate) fn parted(&mut self, timestamp: u32, now: Duration) -> bool {
        let Some(first) = &mut self.first else {
            self.first = Some(First {
                arrival: now,
                last: timestamp,
                ticks: 0,
                least: 0,
            });
            self.lag.add(0, now);
            self.since = now;
            return false;
        };
        first.ticks += i64::from(timestamp.wrapping_sub(first.last).cast_signed());
        first.last = timestamp;
        let media = i128::from(first.ticks) * 1_000_000 / i128::from(self.clock_rate);
        let passed = now.saturating_sub(first.arrival).as_micros();
        let lag = i64::try_from(passed.cast_signed() - media).unwrap_or(i64::MAX);
        if now.saturating_sub(self.since) < WINDOW / 2 {
            first.least = first.least.min(lag);
        }
        self.lag.add(lag, now);
        let late = now.saturating_sub(self.since) >= WINDOW
            && self
                .lag
                .get()
                .is_some_and(|least| least > first.least + PARTED);
        lag < first.least - PARTED || late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(watch: &mut DriftWatch, media_ms: u64, now_ms: u64) -> bool {
        watch.parted((media_ms * 90) as u32, Duration::from_millis(now_ms))
    }

    #[test]
    fn queueing_passes_and_a_jump_does_not() {
        let mut watch = DriftWatch::new(90_000);
        for second in 0..70 {
            assert!(!at(&mut watch, second * 1000, second * 1000));
        }
        // The uplink hangs for 20 s, then all of it comes at once.
        for second in 70..90 {
            assert!(!at(&mut watch, second * 1000, 90_000));
        }
        assert!(!at(&mut watch, 90_000, 90_100));
        assert!(at(&mut watch, 97_000, 90_200), "7 s too early");
        watch.restart();
        assert!(!at(&mut watch, 97_000, 90_200));
        assert!(!at(&mut watch, 97_040, 90_240));
    }

    #[test]
    fn a_slow_clock_is_found() {
        let mut watch = DriftWatch::new(90_000);
        let parted = (0..200u64).find(|second| at(&mut watch, second * 900, second * 1000));
        assert!(
            parted.is_some_and(|second| (50..130).contains(&second)),
            "{parted:?}"
        );
    }
}
