//! Which stream an uplink can carry: a pure table, one per camera whose owner left the choice to the server.
//!
//! ```text
//!            more than `percent` of all pictures dropped within `after`
//!   Main ────────────────────────────────────────────────────────────────▶ Sub
//!    ▲                                                                       │
//!    └────────── nearly nothing dropped for the whole of a patience ─────────┘
//! ```
//!
//! Whether the main stream would fit again cannot be seen while the sub-stream is sent; it can only be tried. A try that fails within its
//! patience doubles the next patience, from [`Rule::back`] up to a day, so that an uplink that is too small is tried seven times on the first day
//! and once a day from then on; a main stream that held for its patience has won it back. The time without a report counts for nothing.
//!
//! Owns: which cameras may be moved, and when to move. Does not own: the counters (the camera's agent says them in `STATUS`), the record, who is told.
//! Instants are the time since any fixed instant.

use std::collections::VecDeque;
use std::time::Duration;

use crate::camera::{Access, Camera, Record, RecordBy};
use crate::status::CameraStatus;

/// The longest patience.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// On the sub-stream an interval in which more than one picture in so many was dropped is no quiet one.
const QUIET: u64 = 100;
/// An agent reports at least once a minute: after so long without a report nothing is known of the time between.
const UNKNOWN: Duration = Duration::from_secs(180);
/// Samples that are kept: they are taken at least `after` / this apart.
const SAMPLES: u32 = 64;

/// When a camera moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// More than so many of a hundred pictures dropped are too many, 1 to 99.
    pub percent: u8,
    /// Within so long.
    pub after: Duration,
    /// The first patience.
    pub back: Duration,
}

/// Whether the server may choose: the owner did not, there are two streams, and an agent can tell of the uplink.
#[must_use]
pub fn may_move(camera: &Camera) -> bool {
    let chosen = match camera.record_by {
        RecordBy::Owner => false,
        RecordBy::Auto => camera.record == Record::Main,
        RecordBy::Uplink => camera.record == Record::Sub,
    };
    let tunnel = matches!(camera.access, Access::Tunnel { .. });
    chosen && tunnel && camera.sub.is_some() && camera.enabled.is_yes()
}

/// Where to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// The uplink cannot carry the main stream: record the sub-stream.
    ToSub,
    /// The main stream is worth a try.
    ToMain,
}

/// Pictures that the agent's relay took in since its start, and those of them that it dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pictures {
    /// All.
    pub all: u64,
    /// Dropped.
    pub dropped: u64,
}

impl Pictures {
    /// The counters that the agent said last.
    #[must_use]
    pub fn said(status: &CameraStatus) -> Option<Self> {
        let said = |key: &str| -> Option<u64> {
            let (_, value) = status.said.iter().find(|(name, _)| name == key)?;
            value.parse().ok()
        };
        Some(Self {
            all: said("pictures")?,
            dropped: said("pictures-dropped")?,
        })
    }

    /// What came since an earlier reading; `None` where the counters began anew between them.
    fn since(self, earlier: Self) -> Option<Self> {
        Some(Self {
            all: self.all.checked_sub(earlier.all)?,
            dropped: self.dropped.checked_sub(earlier.dropped)?,
        })
    }
}

/// One camera's uplink.
#[derive(Debug)]
pub struct Uplink {
    rule: Rule,
    on_sub: bool,
    patience: Duration,
    /// When the main stream was tried again; `None`: it was not since the start.
    tried: Option<Duration>,
    /// On the sub-stream: since when nearly nothing is dropped.
    quiet_since: Duration,
    samples: VecDeque<(Duration, Pictures)>,
}

impl Uplink {
    /// A camera that is recorded from one of its streams now.
    #[must_use]
    pub fn new(rule: Rule, on_sub: bool, now: Duration) -> Self {
        Self {
            rule,
            on_sub,
            patience: rule.back,
            tried: None,
            quiet_since: now,
            samples: VecDeque::new(),
        }
    }

    /// Whether it is on the sub-stream.
    #[must_use]
    pub fn on_sub(&self) -> bool {
        self.on_sub
    }

    /// The agent's counters as they are now. A move that is returned counts as made.
    pub fn seen(&mut self, now: Duration, pictures: Pictures) -> Option<Move> {
        let before = self.samples.back().copied();
        let lately = before.filter(|(at, _)| now.saturating_sub(*at) < UNKNOWN);
        let fresh = lately.and_then(|(_, last)| pictures.since(last));
        match fresh {
            Some(fresh) if self.on_sub && fresh.dropped.saturating_mul(QUIET) > fresh.all => {
                self.quiet_since = now;
            }
            Some(_) => {}
            // The agent or its session began anew, or nothing was heard for long.
            None => {
                self.samples.clear();
                self.quiet_since = now;
            }
        }
        self.keep(now, pictures);
        if self.on_sub {
            self.back(now)
        } else {
            self.down(now)
        }
    }

    /// Keeps one sample at the beginning of the window or before it, and those within.
    fn keep(&mut self, now: Duration, pictures: Pictures) {
        let apart = self.rule.after / SAMPLES;
        // The last one is replaced while it is too near to the one before it: the window ends now, whatever comes how often.
        let near = match (self.samples.len().checked_sub(2), self.samples.back()) {
            (Some(before), Some((last, _))) => self
                .samples
                .get(before)
                .is_some_and(|(at, _)| last.saturating_sub(*at) < apart),
            _ => false,
        };
        if near {
            self.samples.pop_back();
        }
        self.samples.push_back((now, pictures));
        let begin = now.saturating_sub(self.rule.after);
        while self.samples.get(1).is_some_and(|(at, _)| *at <= begin) {
            self.samples.pop_front();
        }
    }

    fn down(&mut self, now: Duration) -> Option<Move> {
        let (first, begin) = self.samples.front().copied()?;
        let (_, end) = self.samples.back().copied()?;
        if now.saturating_sub(first) < self.rule.after {
            return None;
        }
        let window = end.since(begin)?;
        let too_many = window.dropped.saturating_mul(100)
            > window.all.saturating_mul(u64::from(self.rule.percent));
        if !too_many {
            return None;
        }
        let failed = self
            .tried
            .is_some_and(|tried| now.saturating_sub(tried) < self.patience);
        self.patience = if failed {
            self.patience
                .saturating_mul(2)
                .min(LONGEST.max(self.rule.back))
        } else {
            self.rule.back
        };
        self.turn(now, true);
        Some(Move::ToSub)
    }

    fn back(&mut self, now: Duration) -> Option<Move> {
        if now.saturating_sub(self.quiet_since) < self.patience {
            return None;
        }
        self.tried = Some(now);
        self.turn(now, false);
        Some(Move::ToMain)
    }

    /// The other stream is another load: what was counted before says nothing of it.
    fn turn(&mut self, now: Duration, on_sub: bool) {
        self.on_sub = on_sub;
        self.quiet_since = now;
        self.samples.clear();
    }
}

/// A camera that may be moved: its table, and the report that it saw last. Each report counts once.
#[derive(Debug)]
pub struct Watched {
    table: Uplink,
    seen: Option<Pictures>,
}

impl Watched {
    /// A camera that is recorded from one of its streams now.
    #[must_use]
    pub fn new(rule: Rule, on_sub: bool, now: Duration) -> Self {
        Self {
            table: Uplink::new(rule, on_sub, now),
            seen: None,
        }
    }

    /// What its record and its agent say now. A move that is returned counts as made; whoever cannot make it begins anew.
    pub fn look(
        &mut self,
        rule: Rule,
        on_sub: bool,
        now: Duration,
        said: Option<Pictures>,
    ) -> Option<Move> {
        // Somebody else moved it meanwhile.
        if self.table.on_sub() != on_sub {
            *self = Self::new(rule, on_sub, now);
        }
        let pictures = said.filter(|said| self.seen != Some(*said))?;
        self.seen = Some(pictures);
        self.table.seen(now, pictures)
    }
}

#[cfg(test)]
mod tests;
