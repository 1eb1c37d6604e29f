//! What the relay sent and dropped in the last minutes: how fast the uplink is, and whether that is enough.

use std::fmt::{self, Display};
use std::time::Duration;

use crate::words::number;

/// What is told covers one to two of these.
const STRETCH: Duration = Duration::from_secs(60);

/// What came, what was dropped and what went out in a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Uplink {
    /// Pictures that the relay took in, dropped ones too.
    pub pictures: u64,
    /// Those of them that it dropped.
    pub dropped: u64,
    /// Bytes that wait now.
    pub waiting: usize,
    /// The stretch in seconds.
    pub seconds: u64,
    /// Bytes that went out.
    pub sent: u32,
}

impl Uplink {
    /// Whether it is too slow: more than 5 % were dropped, from which on the server takes the small stream, too.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.dropped.saturating_mul(20) > self.pictures
    }

    /// What went out, in kbit/s: the uplink's speed while something waits, and no more than was asked for else. In 32 bits, which MIPS divides itself.
    #[must_use]
    pub fn rate(&self) -> u32 {
        let seconds = u32::try_from(self.seconds).unwrap_or(u32::MAX);
        self.sent / 125 / seconds.max(1)
    }

    /// Reads what `Display` wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let mut next = || number(words.next()?);
        Some(Uplink {
            pictures: next()?,
            dropped: next()?,
            waiting: usize::try_from(next()?).ok()?,
            seconds: next()?,
            sent: u32::try_from(next()?).ok()?,
        })
    }
}

impl Display for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Uplink {
            pictures,
            dropped,
            waiting,
            seconds,
            sent,
        } = self;
        write!(f, "{pictures} {dropped} {waiting} {seconds} {sent}")
    }
}

/// When the relay's counters stood where: the time, pictures, dropped ones, bytes that went out.
type Sample = (Duration, u64, u64, u32);

/// The counters of a while ago.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recent {
    before: Sample,
    last: Sample,
}

impl Recent {
    /// Looks at the relay's counters, and tells what they have counted in the last minutes.
    pub fn look(
        &mut self,
        now: Duration,
        pictures: u64,
        dropped: u64,
        sent: u32,
        waiting: usize,
    ) -> Uplink {
        if now.saturating_sub(self.last.0) >= STRETCH {
            self.before = self.last;
            self.last = (now, pictures, dropped, sent);
        }
        let (then, pictures_then, dropped_then, sent_then) = self.before;
        Uplink {
            pictures: pictures.saturating_sub(pictures_then),
            dropped: dropped.saturating_sub(dropped_then),
            waiting,
            seconds: now.saturating_sub(then).as_secs(),
            // The counter begins anew after 4 GB.
            sent: sent.wrapping_sub(sent_then),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_hour_is_not_told_of_for_ever() {
        let mut recent = Recent::default();
        let at = Duration::from_secs;
        let (mut pictures, mut dropped, mut sent) = (0, 0, u32::MAX - 141_000_000);
        for second in (0..600).step_by(10) {
            (pictures, dropped) = (pictures + 200, dropped + 20);
            // 2 Mbit/s, in the last minute over the counter's end.
            sent = sent.wrapping_add(2_500_000);
            recent.look(at(second), pictures, dropped, sent, 0);
        }
        let slow = recent.look(at(600), pictures, dropped, sent, 7);
        assert!(
            slow.is_slow() && (60..=120).contains(&slow.seconds),
            "{slow}"
        );
        assert!((1_600..=2_000).contains(&slow.rate()), "{slow}");
        assert_eq!(Uplink::parse(&slow.to_string()), Some(slow));
        for second in (610..800).step_by(10) {
            pictures += 200;
            recent.look(at(second), pictures, dropped, sent, 0);
        }
        let well = recent.look(at(800), pictures, dropped, sent, 0);
        assert!(!well.is_slow() && well.pictures > 0, "{well}");
        assert!(!Recent::default().look(at(0), 0, 0, 0, 0).is_slow());
        assert_eq!(Uplink::parse("1 2"), None);
    }
}
