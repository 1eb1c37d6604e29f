//! Ways to come again (rule S22): what an archiver that has shown a ticket shows the next time, so that a reading that ended does not wait for a signer.
//!
//! ```text
//! ticket ─▶ 200, way 1 ─▶ reading ─▶ end ─▶ way 1 ─▶ 200, way 2 ─▶ reading ─▶ …
//!                                     └─ 10 minutes ─▶ forgotten
//! ```
//! A way is 32 random bytes, told once, in the answer that opened a stream. It opens one stream, of the same source. This process alone knows it, by its
//! digest, so it ends with the process. It gives nothing that its reading did not have: that could have gone on for as long.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use moorline_base::SharedClock;
use moorline_core::{Masked, SourceName};
use sha2::{Digest as _, Sha256};

/// How long a way is good after the reading with which it was told: an archiver comes again at once, or within seconds. While it cannot reach the relay
/// for longer, it is not the signer that keeps it out.
const UNUSED: Duration = Duration::from_secs(600);
/// Ways that are remembered: a camera has one archiver, and two while pods are exchanged. Beyond it the oldest is forgotten.
const MOST: usize = 16;

/// SHA-256 of a way's text. Ways are found by it, so how long a comparison takes tells nothing of a way.
type Known = [u8; 32];

struct Way {
    known: Known,
    source: SourceName,
    /// From then on it is nothing; `None` while its reading goes on.
    until: Option<Instant>,
}

/// The ways that this relay has told.
pub(super) struct Ways {
    clock: SharedClock,
    told: Mutex<VecDeque<Way>>,
}

impl Ways {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            told: Mutex::default(),
        }
    }

    fn told(&self) -> MutexGuard<'_, VecDeque<Way>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new way, for an archiver whose reading of this source begins.
    pub(super) fn tell(&self, source: SourceName) -> (Masked<String>, Reading<'_>) {
        let text = Masked::new(BASE64.encode(rand::random::<[u8; 32]>()));
        let known = digest(text.reveal());
        let mut told = self.told();
        if told.len() >= MOST {
            told.pop_front();
        }
        told.push_back(Way {
            known,
            source,
            until: None,
        });
        (text, Reading { ways: self, known })
    }

    /// Takes a way, once: the source that it opens.
    pub(super) fn take(&self, text: &str) -> Option<SourceName> {
        let (known, now) = (digest(text), self.clock.monotonic());
        let mut told = self.told();
        told.retain(|way| way.until.is_none_or(|until| now < until));
        let at = told.iter().position(|way| way.known == known)?;
        told.remove(at).map(|way| way.source)
    }
}

fn digest(text: &str) -> Known {
    Sha256::digest(text).into()
}

/// A reading that goes on. At its end the time of its way begins to run.
pub(super) struct Reading<'a> {
    ways: &'a Ways,
    known: Known,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let until = self.ways.clock.monotonic() + UNUSED;
        let mut told = self.ways.told();
        if let Some(way) = told.iter_mut().find(|way| way.known == self.known) {
            way.until = Some(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use moorline_base::SimulatedClock;

    use super::*;

    fn ways() -> (SimulatedClock, Ways) {
        let clock = SimulatedClock::new(1_790_000_000_000);
        (clock.clone(), Ways::new(Arc::new(clock)))
    }

    #[test]
    fn a_way_opens_its_own_source_once_and_is_no_other_text() {
        let (_, ways) = ways();
        let (main, _reading) = ways.tell(SourceName::Main);
        let (sub, _another) = ways.tell(SourceName::Sub);
        assert_eq!(main.reveal().len(), 43, "32 bytes, without padding");
        assert_ne!(main.reveal(), sub.reveal());
        for wrong in ["", "A", &main.reveal()[1..], &format!("{}=", main.reveal())] {
            assert_eq!(ways.take(wrong), None, "{wrong:?}");
        }
        assert_eq!(ways.take(sub.reveal()), Some(SourceName::Sub));
        assert_eq!(ways.take(sub.reveal()), None, "used");
        assert_eq!(ways.take(main.reveal()), Some(SourceName::Main));
        let (_, others) = self::ways();
        assert_eq!(others.take(main.reveal()), None, "another process");
    }

    #[test]
    fn a_way_is_good_while_its_reading_goes_on_and_ten_minutes_longer() {
        let (clock, ways) = ways();
        let (first, reading) = ways.tell(SourceName::Main);
        let (second, another) = ways.tell(SourceName::Main);
        clock.advance(UNUSED * 100);
        drop(reading);
        drop(another);
        clock.advance(UNUSED - Duration::from_millis(1));
        assert_eq!(ways.take(first.reveal()), Some(SourceName::Main));
        clock.advance(Duration::from_millis(1));
        assert_eq!(ways.take(second.reveal()), None);
    }

    #[test]
    fn of_too_many_ways_the_oldest_is_forgotten() {
        let (_, ways) = ways();
        let all: Vec<_> = (0..=MOST).map(|_| ways.tell(SourceName::Main)).collect();
        let mut good = all.iter().map(|(way, _)| ways.take(way.reveal()).is_some());
        assert_eq!(good.next(), Some(false));
        assert!(good.all(|good| good));
    }
}
