//! Waiting with a deadline, and a setting for slow machines: for something that nobody announces by polling, and for what is noted.

use std::{
    fmt::Debug,
    sync::OnceLock,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::Error;

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

/// Waits until `pick` finds what it looks for in what was noted, past or future.
///
/// # Panics
/// When `deadline` (stretched by [`patience`]) passes first, or nobody notes any more; the message names the caller, `what` and all that was
/// noted.
#[track_caller]
pub fn told<S, T, P>(
    mut noted: watch::Receiver<Vec<S>>,
    what: &str,
    deadline: Duration,
    pick: P,
) -> impl Future<Output = T> + use<S, T, P>
where
    S: Debug,
    P: Fn(&[S]) -> Option<T>,
{
    let caller = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        let waiting = async {
            loop {
                if let Some(value) = pick(&noted.borrow_and_update()) {
                    return value;
                }
                noted.changed().await.expect("somebody notes");
            }
        };
        match tokio::time::timeout(patience(deadline), waiting).await {
            Ok(value) => value,
            Err(_) => panic!("{caller}: not told: {what}; told: {:#?}", *noted.borrow()),
        }
    }
}

/// What was noted, once it is `count` in all.
///
/// # Errors
/// [`Error::Timeout`] after `deadline` (stretched by [`patience`]), with what was noted; it names the one that did not come by `what`.
pub(crate) async fn counted<T: Clone + Debug>(
    notes: &watch::Sender<Vec<T>>,
    what: &str,
    count: usize,
    deadline: Duration,
) -> Result<Vec<T>, Error> {
    let deadline = patience(deadline);
    let mut noted = notes.subscribe();
    let waited = tokio::time::timeout(deadline, noted.wait_for(|seen| seen.len() >= count)).await;
    match waited {
        Ok(Ok(seen)) => Ok(seen.clone()),
        _ => Err(Error::Timeout {
            what: format!("{what} number {count}"),
            patience: deadline,
            detail: format!("{:#?}", notes.borrow().clone()),
        }),
    }
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
    async fn what_was_noted_before_and_what_comes_later_are_found() {
        let notes = watch::Sender::new(vec![1]);
        let deadline = Duration::from_secs(30);
        let find = |wanted: i32| move |noted: &[i32]| noted.contains(&wanted).then_some(wanted);
        assert_eq!(told(notes.subscribe(), "one", deadline, find(1)).await, 1);
        let later = told(notes.subscribe(), "two", deadline, find(2));
        notes.send_modify(|noted| noted.push(2));
        assert_eq!(later.await, 2);
    }

    #[tokio::test]
    #[should_panic(expected = "not told: the moon; told: [")]
    async fn says_what_was_told_instead() {
        let notes = watch::Sender::new(vec!["the sun"]);
        let deadline = Duration::from_millis(30);
        let nothing = |_: &[&str]| None::<()>;
        told(notes.subscribe(), "the moon", deadline, nothing).await;
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
