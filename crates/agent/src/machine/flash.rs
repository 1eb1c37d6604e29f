//! How often a server's words may be written onto the flash, which wears: a burst is written at once, then one change a minute, however many there are.

use std::time::Duration;

/// A whole configuration: sixteen endpoints, and every other setting.
const BURST: u32 = 20;
/// Half a million writes a year: jffs2 spreads them over the blocks, of which each stands 100,000.
const EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Flash {
    left: u32,
    /// Since when `left` grows by one in each [`EVERY`].
    since: Duration,
    /// Something is set that is not written yet.
    dirty: bool,
}

impl Default for Flash {
    fn default() -> Self {
        Flash {
            left: BURST,
            since: Duration::ZERO,
            dirty: false,
        }
    }
}

impl Flash {
    /// Something is to be written.
    pub(super) fn changed(&mut self) {
        self.dirty = true;
    }

    /// Whether it is written now.
    pub(super) fn writes(&mut self, now: Duration) -> bool {
        self.rest(now);
        let writes = self.dirty && self.left > 0;
        if writes {
            self.left -= 1;
            self.dirty = false;
        }
        writes
    }

    /// Whether something else may be written so often now; then it counts.
    pub(super) fn spends(&mut self, now: Duration, writes: u32) -> bool {
        self.rest(now);
        let may = self.left >= writes;
        if may {
            self.left -= writes;
        }
        may
    }

    fn rest(&mut self, now: Duration) {
        while self.left < BURST && now.saturating_sub(self.since) >= EVERY {
            self.left += 1;
            self.since += EVERY;
        }
        if self.left == BURST {
            self.since = now;
        }
    }

    /// The agent ends: it is written whatever there was before.
    pub(super) fn writes_last(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    pub(super) fn due(&self) -> Option<Duration> {
        let at = match self.left {
            0 => self.since + EVERY,
            _ => Duration::ZERO,
        };
        self.dirty.then_some(at)
    }
}
