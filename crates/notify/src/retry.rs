//! Trying again, for at most 10 minutes: an alarm that comes later is of no use, and the next one is on its way.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use moorline_base::backoff::{Backoff, Jitter};
use moorline_base::clock::Clock;

/// From the first try to the last.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);
const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(120);

/// Why one try failed, and whether another may succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) why: String,
    pub(crate) passes: bool,
}

impl Failure {
    /// It may pass: no connection, a server error.
    pub(crate) fn passing(why: impl Display) -> Self {
        Self {
            why: why.to_string(),
            passes: true,
        }
    }

    /// It will not pass: refused.
    pub(crate) fn lasting(why: impl Display) -> Self {
        Self {
            why: why.to_string(),
            passes: false,
        }
    }
}

/// Tries until it succeeds, fails for good, or `limit` is over; zero: one try.
pub(crate) async fn retry<F, Fut>(
    clock: &dyn Clock,
    limit: Duration,
    mut attempt: F,
) -> Result<(), String>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), Failure>>,
{
    let end = clock.monotonic() + limit;
    let mut backoff = Backoff::new(SHORTEST, LONGEST, LIMIT, Jitter::Equal)
        .unwrap_or_else(|_| Backoff::standard());
    let mut tries = 0_u32;
    loop {
        tries += 1;
        let failure = match attempt().await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        let next = clock.monotonic() + backoff.next_delay();
        if !failure.passes || limit.is_zero() {
            return Err(failure.why);
        }
        if next > end {
            return Err(format!("{} (tried {tries} times)", failure.why));
        }
        clock.sleep_until(next).await;
    }
}
