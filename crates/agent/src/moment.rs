//! The one place that looks at the clock: time since the agent's start.

use std::time::{Duration, Instant};

/// Counts from when it was made.
#[derive(Debug, Clone, Copy)]
pub struct Moments(Instant);

impl Moments {
    /// Begins now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "std only: there is no base here; everything else takes what this gives"
    )]
    pub fn begin() -> Self {
        Moments(Instant::now())
    }

    /// How long ago it began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
