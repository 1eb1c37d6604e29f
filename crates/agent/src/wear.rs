//! How often the flash is written at a server's word: a server that changes a setting back and forth must not wear it out.

use std::time::Duration;

/// So many at once: enrolment, and what follows it.
const AT_ONCE: u32 = 8;
/// And one more each so often: 720 a day of a file of a kilobyte or two, which a flash bears for longer than a camera lives.
const EVERY: Duration = Duration::from_secs(120);

/// What may still be written.
#[derive(Debug)]
pub(crate) struct Wear {
    left: u32,
    since: Duration,
}

impl Default for Wear {
    fn default() -> Self {
        Wear {
            left: AT_ONCE,
            since: Duration::ZERO,
        }
    }
}

impl Wear {
    /// Whether something may be written now; then it counts as written.
    pub(crate) fn may_write(&mut self, now: Duration) -> bool {
        while self.left < AT_ONCE && now >= self.next() {
            self.left += 1;
            self.since += EVERY;
        }
        if self.left == AT_ONCE {
            self.since = now;
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }

    /// When one more may be written.
    pub(crate) fn next(&self) -> Duration {
        self.since + EVERY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_changes_its_mind_all_day_costs_a_flash_some_hundred_writes() {
        let mut wear = Wear::default();
        let day = 24 * 3600;
        let often = (0..day).filter(|second| wear.may_write(Duration::from_secs(*second)));
        assert_eq!(often.count(), 8 + 719);
    }

    #[test]
    fn what_is_set_at_once_is_written_at_once_and_again_after_a_rest() {
        let mut wear = Wear::default();
        for hour in [1, 2, 3] {
            let now = Duration::from_secs(hour * 3600);
            assert_eq!((0..20).filter(|_| wear.may_write(now)).count(), 8);
            assert_eq!(wear.next(), now + EVERY);
            assert!(!wear.may_write(now + EVERY - Duration::from_secs(1)));
            assert!(wear.may_write(now + EVERY));
        }
    }
}
