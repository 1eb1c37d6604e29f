//! Waiting for something that nobody announces: poll until a deadline, with a setting for slow machines.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

/// How long one poll waits before the next. Short, since most conditions come true within a few of them.
const POLL: Duration = Duration::from_millis(10);

/// The deadline, stretched by `MOORLINE_TEST_PATIENCE` (a factor ≥ 1; anything else counts as 1).
#[must_use]
pub fn patience(deadline: Duration) -> Duration {
    static FACTOR: OnceLock<f64> = OnceLock::new();
    let factor = *FACTOR.get_or_init(|| {
        std::env::var("MOORLINE_TEST_PATIENCE")
            .ok()
            .and_then(|text| text.parse().ok())
            .filter(|factor| (1.0..=1000.0).contains(factor))
            .unwrap_or(1.0)
    });
    deadline.mul_f64(factor)
}

/// Polls `condition` every 10 ms until it gives `Some`, and returns what it gave.
///
/// Prefer a channel, a line of output or a paused clock: this is for state that can only be looked at.
///
/// # Panics
/// When `deadline` (stretched by [`patience`]) passes first; the message names the caller and `what`.
#[track_caller]
pub fn eventually<T, F, Fut>(
    what: &str,
    deadline: Duration,
    condition: F,
) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let caller = std::panic::Location::caller();
    let what = what.to_owned();
    poll_until(what, caller, patience(deadline), condition)
}

async fn poll_until<T, F, Fut>(
    what: String,
    caller: &'static std::panic::Location<'static>,
    deadline: Duration,
    mut condition: F,
) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        let left = deadline.saturating_sub(start.elapsed());
        // The condition itself is bounded too: a question that hangs is a failure of its own.
        match tokio::time::timeout(left.max(POLL), condition()).await {
            Ok(Some(value)) => return value,
            Ok(None) => {}
            Err(_) => panic!("{caller}: {what}: the condition itself hung for {left:?}"),
        }
        assert!(
            start.elapsed() < deadline,
            "{caller}: {what}: not within {deadline:?}"
        );
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_the_first_value_that_appears() {
        let mut polls = 0;
        let seen = eventually("third poll", Duration::from_secs(30), || {
            polls += 1;
            let now = polls;
            async move { (now == 3).then_some(now) }
        })
        .await;
        assert_eq!(seen, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "the moon: not within")]
    async fn says_what_did_not_happen() {
        eventually::<(), _, _>("the moon", Duration::from_millis(30), || async { None }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "the condition itself hung")]
    async fn a_condition_that_hangs_is_told_apart() {
        eventually::<(), _, _>("nothing", Duration::from_millis(30), std::future::pending).await;
    }
}
