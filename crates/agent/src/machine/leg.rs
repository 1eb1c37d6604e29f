//! One session's way: waiting, dialling, up. Serial numbers tell calls apart, so that what a killed one still says is nobody's.

use std::time::Duration;

use moorline_control::{Reason, Role};

use super::tried::{Tried, Turn};
use super::{HELLO_WITHIN, PING_WITHIN};
use crate::backoff::Backoff;
use crate::endpoint::Endpoint;
use crate::settings::Trust;

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
    /// What was in vain at each server.
    tried: Tried,
    /// Whether the dialled address is private.
    pub(super) private: bool,
}

impl Default for Leg {
    fn default() -> Self {
        Leg {
            stage: Stage::Idle,
            backoff: Backoff::default(),
            tried: Tried::default(),
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

    /// Calls a server, one of those that are called now. What has its turn there?
    pub(super) fn dial(
        &mut self,
        now: Duration,
        serial: Serial,
        server: &(Endpoint, Trust),
        all: &[(Endpoint, Trust)],
    ) -> Turn {
        let until = now + HELLO_WITHIN;
        self.stage = Stage::Dialling { serial, until };
        self.private = false;
        self.tried.turn(server, all)
    }

    /// A call ended: another pin, key of the camera or address of the server has its turn if this one was wrong.
    pub(super) fn ended(&mut self, reason: Reason) {
        self.tried.ended(reason);
    }

    /// Where in the list the server stands that was called last.
    pub(super) fn place(&self, all: &[(Endpoint, Trust)]) -> Option<usize> {
        self.tried.place(all)
    }

    /// How many others were called since that one; the greatest number for one that was not called.
    pub(super) fn since(&self, call: &(Endpoint, Trust)) -> usize {
        self.tried.since(call)
    }

    /// Whether the owner named the server that was called last (S6: what was dialled counts).
    pub(super) fn is_owner_s(&self) -> bool {
        self.tried.trust() == Some(Trust::Owner)
    }

    /// The camera has another key: it has its turn first.
    pub(super) fn rekeyed(&mut self) {
        self.tried.rekeyed();
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
