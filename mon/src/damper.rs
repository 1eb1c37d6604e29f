//! Claims of one camera, damped (P1, S5): two live devices with one key would supersede each other without end.
//!
//! Pure: instants are arguments. From the fourth claim within 60 s on, each waits 5 s more, at most 60 s. A camera that claims again as soon
//! as it is served waits 0, 0, 0, 5, 10, 15, 20, 25, 0, 5, 10 s, … and settles at 10 to 15 s: at about five claims a minute. 60 s are only
//! reached by a device that calls while its last call still waits.

use std::collections::VecDeque;
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(60);
/// So many claims within the window are free.
const FREE: usize = 3;
const STEP: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// More than these change nothing: the delay is at its longest.
const REMEMBERED: usize = FREE + 12;

/// The claims of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Damper {
    claims: VecDeque<Duration>,
}

impl Damper {
    /// A claim is wanted at `now` (monotonic, since any fixed instant): how long it has to wait.
    pub(crate) fn wanted(&mut self, now: Duration) -> Duration {
        while self
            .claims
            .front()
            .is_some_and(|first| now.saturating_sub(*first) >= WINDOW)
        {
            self.claims.pop_front();
        }
        if self.claims.len() >= REMEMBERED {
            self.claims.pop_front();
        }
        self.claims.push_back(now);
        let beyond = self.claims.len().saturating_sub(FREE);
        let beyond = u32::try_from(beyond).unwrap_or(u32::MAX);
        STEP.saturating_mul(beyond).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(seconds: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut damper = Damper::default();
        let wanted = seconds.into_iter().map(Duration::from_secs);
        wanted.map(|now| damper.wanted(now).as_secs()).collect()
    }

    #[test]
    fn the_fourth_claim_within_a_minute_waits_and_each_further_one_longer() {
        assert_eq!(delays([0, 1, 2, 3, 4, 5]), [0, 0, 0, 5, 10, 15]);
    }

    #[test]
    fn the_wait_has_a_longest() {
        assert_eq!(delays(std::iter::repeat_n(7, 40)).last(), Some(&60));
    }

    /// What one camera sees that claims again at once, each time that it is served: its waits in order.
    fn waits_of_a_restless_camera(claims: usize, between: Duration) -> Vec<Duration> {
        let (mut damper, mut now) = (Damper::default(), Duration::ZERO);
        let claim = |_| {
            let wait = damper.wanted(now);
            now += wait + between;
            wait
        };
        (0..claims).map(claim).collect()
    }

    #[test]
    fn a_camera_that_takes_over_from_itself_without_end_waits_25_s_at_most_and_10_to_15_s_in_the_long_run()
     {
        let waits = waits_of_a_restless_camera(30, Duration::from_millis(500));
        let waits: Vec<u64> = waits.iter().map(Duration::as_secs).collect();
        assert_eq!(waits[..8], [0, 0, 0, 5, 10, 15, 20, 25], "{waits:?}");
        assert_eq!(waits.iter().max(), Some(&25), "{waits:?}");
        assert_eq!(waits[20..], [15, 10, 10, 10, 10, 15, 15, 10, 10, 10]);
    }

    #[test]
    fn a_camera_that_reconnects_now_and_then_never_waits() {
        assert_eq!(delays((0..50).map(|turn| turn * 20)), [0; 50]);
        assert_eq!(
            delays([0, 1, 2, 60, 61, 62]),
            [0; 6],
            "the window has moved on"
        );
    }
}
