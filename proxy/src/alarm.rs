//! A timer that is set anew at each turn of a loop, at the cost of nothing while it need not ring earlier.

use std::future::pending;
use std::time::Instant;

use moorline_base::SharedClock;
use moorline_base::clock::Sleeping;

/// Rings at or before the instant that was set last: whoever waits asks what is due.
pub(crate) struct Alarm {
    clock: SharedClock,
    armed: Option<(Instant, Sleeping)>,
}

impl Alarm {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { clock, armed: None }
    }

    /// Wants to be woken at `at`; `None` cancels nothing.
    pub(crate) fn set(&mut self, at: Option<Instant>) {
        let Some(at) = at else {
            return;
        };
        if self.armed.as_ref().is_none_or(|(armed, _)| *armed > at) {
            self.armed = Some((at, self.clock.sleep_until(at)));
        }
    }

    /// Waits for the alarm. Cancel-safe.
    pub(crate) async fn wait(&mut self) {
        match &mut self.armed {
            Some((_, sleeping)) => sleeping.await,
            None => pending().await,
        }
        self.armed = None;
    }
}
