//! Whether the camera's RTP time goes on as ours does (rule S31).
//!
//! Queueing makes media late and never early, and it passes; pictures out of order lie less than a second back. So these are no queueing,
//! and what follows is another stretch of media, with which a take ends:
//!
//! | seen | example |
//! |---|---|
//! | a picture more than 1 s before the latest | GStreamer's server: each PLAY "from the beginning" seeks, for all who watch |
//! | a picture more than 1 s earlier than media ever was | a streamer that counts anew, forward |
//! | media that is early by 5 s, or late by 5 s for a minute | a clock that runs at another rate |

use std::time::Duration;

use super::clock_map::MinFilter;

/// How far the clocks may part in the long run, in µs.
const PARTED: i64 = 5_000_000;
/// The longest step of one picture that is no jump, in µs: reordered pictures lie within it (a group of 16 at 20 pictures a second).
const JUMP: i64 = 1_000_000;
/// How much faster than ours a camera's clock may run: twice the worst that was seen.
const DRIFT_PPM: i64 = 500;

/// Watches one track.
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
    /// The latest picture's time in µs.
    highest: i64,
    /// The least lag of the first half minute.
    least: i64,
    /// The least lag so far, which rises as fast as a camera's clock may lag.
    floor: i64,
    /// When that was.
    floor_at: Duration,
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

    /// Takes a timestamp of the camera; `true` when media does not go on as it did. The caller restarts then.
    pub(crate) fn parted(&mut self, timestamp: u32, now: Duration) -> bool {
        let Some(first) = &mut self.first else {
            self.first = Some(First {
                arrival: now,
                last: timestamp,
                ticks: 0,
                highest: 0,
                least: 0,
                floor: 0,
                floor_at: now,
            });
            self.lag.add(0, now);
            self.since = now;
            return false;
        };
        first.ticks += i64::from(timestamp.wrapping_sub(first.last).cast_signed());
        first.last = timestamp;
        let media = i128::from(first.ticks) * 1_000_000 / i128::from(self.clock_rate);
        let media = i64::try_from(media).unwrap_or(i64::MAX);
        let lag = micros(now.saturating_sub(first.arrival)).saturating_sub(media);
        let back = media < first.highest - JUMP;
        let rise = micros(now.saturating_sub(first.floor_at)) / MILLION * DRIFT_PPM;
        let ahead = lag < first.floor + rise - JUMP;
        first.highest = first.highest.max(media);
        if lag <= first.floor + rise {
            (first.floor, first.floor_at) = (lag, now);
        }
        if now.saturating_sub(self.since) < WINDOW / 2 {
            first.least = first.least.min(lag);
        }
        self.lag.add(lag, now);
        let late = now.saturating_sub(self.since) >= WINDOW
            && self
                .lag
                .get()
                .is_some_and(|least| least > first.least + PARTED);
        back || ahead || lag < first.least - PARTED || late
    }
}

const MILLION: i64 = 1_000_000;

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
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
    fn a_step_back_is_found_at_its_first_picture_and_a_reordered_picture_is_none() {
        let mut watch = DriftWatch::new(90_000);
        for picture in 0..100 {
            // Every third picture is shown before the one that comes first.
            let shown = picture * 40 + [0, 200, 0][picture as usize % 3];
            assert!(!at(&mut watch, 10_000 + shown, picture * 40), "{picture}");
        }
        assert!(at(&mut watch, 10_000, 4_000), "4 s back");
    }

    #[test]
    fn a_step_ahead_is_found_although_media_was_late_for_minutes() {
        let mut watch = DriftWatch::new(90_000);
        for second in 0..10 {
            assert!(!at(&mut watch, second * 1000, second * 1000));
        }
        // A narrow uplink: three seconds late, then a camera that has left out what it could not send.
        for second in 10..200 {
            assert!(!at(&mut watch, second * 1000, second * 1000 + 3000));
        }
        assert!(!at(&mut watch, 203_000, 203_040), "on time again");
        assert!(at(&mut watch, 204_600, 203_080), "1.5 s early");
    }

    #[test]
    fn a_clock_that_is_fast_by_300_ppm_never_jumps() {
        let mut watch = DriftWatch::new(90_000);
        for second in 0..3_000u64 {
            let media = second * 1000 + second * 3 / 10;
            assert!(!at(&mut watch, media, second * 1000), "{second}");
        }
    }

    proptest::proptest! {
        /// Whatever was seen before: a step back of more than a second, or ahead of the clock, is found at once; a stalled uplink never is.
        #[test]
        fn jumps_are_found_and_stalls_are_not(
            delays in proptest::collection::vec(0u64..4_000, 1..200),
            jump in 1_001u64..3_600_000,
        ) {
            let mut watch = DriftWatch::new(90_000);
            let mut arrival = 4_000_000;
            let start = 4_000_000u64;
            for (picture, delay) in (0u64..).zip(&delays) {
                let media = start + picture * 40;
                arrival = (media + delay).max(arrival);
                proptest::prop_assert!(!at(&mut watch, media, arrival));
            }
            let last = start + (delays.len() as u64 - 1) * 40;
            let mut other = watch.clone();
            proptest::prop_assert!(at(&mut watch, last + 40 - jump - 40, arrival + 40));
            // Ahead counts from the most punctual picture so far: at most 4 s of delay may hide a part of it.
            proptest::prop_assert!(at(&mut other, last + 40 + jump + 4_000, arrival + 40));
        }
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
