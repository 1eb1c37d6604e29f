//! One session's way: waiting, dialling, up. Serial numbers tell calls apart, so that what a killed one still says is nobody's.

use std::time::Duration;

use moorline_control::{Reason, Role};

use super::{HELLO_WITHIN, PING_WITHIN};
use crate::backoff::Backoff;

/// The number of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Serial(pub u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is to be called.
    Idle,
    /// The wait before a call.
    Waiting { until: Duration },
    /// Called; no hello yet.
    Dialling { serial: Serial, until: Duration },
    /// The hello came.
    Up {
        serial: Serial,
        since: Duration,
        until: Duration,
        role: Role,
    },
}

#[derive(Debug)]
pub(super) struct Leg {
    pub(super) stage: Stage,
    pub(super) backoff: Backoff,
    /// Calls that a host key ended: chooses among several pins. One that holds is kept.
    pub(super) mismatches: usize,
    /// Calls that the camera's key ended: while they are odd the former key is tried.
    refusals: usize,
    /// Calls that reached nobody: chooses among several addresses of a name. One that answers is kept.
    misses: usize,
    /// Whether the dialled address is private.
    pub(super) private: bool,
}

impl Default for Leg {
    fn default() -> Self {
        Leg {
            stage: Stage::Idle,
            backoff: Backoff::default(),
            mismatches: 0,
            refusals: 0,
            misses: 0,
            private: false,
        }
    }
}

impl Leg {
    pub(super) fn is(&self, expected: Serial) -> bool {
        match self.stage {
            Stage::Dialling { serial, .. } | Stage::Up { serial, .. } => serial == expected,
            Stage::Idle | Stage::Waiting { .. } => false,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.stage == Stage::Idle
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Up { .. })
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.stage, Stage::Up { .. } | Stage::Dialling { .. })
    }

    pub(super) fn role(&self) -> Option<Role> {
        match self.stage {
            Stage::Up { role, .. } => Some(role),
            _ => None,
        }
    }

    /// How long it has been up.
    pub(super) fn held(&self, now: Duration) -> Option<Duration> {
        match self.stage {
            Stage::Up { since, .. } => Some(now.saturating_sub(since)),
            _ => None,
        }
    }

    pub(super) fn due(&self) -> Option<Duration> {
        match self.stage {
            Stage::Idle => None,
            Stage::Waiting { until } | Stage::Dialling { until, .. } | Stage::Up { until, .. } => {
                Some(until)
            }
        }
    }

    pub(super) fn dial(&mut self, now: Duration, serial: Serial) -> usize {
        let until = now + HELLO_WITHIN;
        self.stage = Stage::Dialling { serial, until };
        self.private = false;
        self.mismatches
    }

    /// A call ended: another pin, or the camera's other key, has its turn if this one was wrong.
    pub(super) fn ended(&mut self, reason: Reason) {
        match reason {
            Reason::HostKey => self.mismatches = self.mismatches.wrapping_add(1),
            Reason::Auth => self.refusals = self.refusals.wrapping_add(1),
            Reason::Connect | Reason::Hello => self.misses = self.misses.wrapping_add(1),
            _ => {}
        }
    }

    /// Which of a name's addresses has its turn.
    pub(super) fn nth_address(&self) -> usize {
        self.misses
    }

    /// Whether the camera's former key has its turn.
    pub(super) fn former_key(&self) -> bool {
        self.refusals % 2 == 1
    }

    /// The camera has another key: it has its turn first.
    pub(super) fn rekeyed(&mut self) {
        self.refusals = 0;
    }

    pub(super) fn hello(&mut self, now: Duration, role: Role) {
        if let Stage::Dialling { serial, .. } = self.stage {
            self.stage = Stage::Up {
                serial,
                since: now,
                until: now + PING_WITHIN,
                role,
            };
        }
    }

    pub(super) fn ping(&mut self, now: Duration) {
        if let Stage::Up { until, .. } = &mut self.stage {
            *until = now + PING_WITHIN;
        }
    }

    pub(super) fn wait(&mut self, until: Duration) {
        self.stage = Stage::Waiting { until };
    }
}
