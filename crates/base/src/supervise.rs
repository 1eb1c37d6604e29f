//! Long tasks: `run()` loops `run_once()` with back-off.
//!
//! Owns: running one attempt as a task of its own (so that a panic ends the attempt and not the process), the pause between attempts,
//! and the one log line per end. Does not own: what the attempt does.
//!
//! ```text
//!         ┌────────────── pause (back-off) ◀── Err(reason) or panic ──┐
//!         ▼                                                           │
//!  run ─▶ attempt ── Ok(Next::Again) ─▶ attempt        attempt ───────┘
//!         │   └───── Ok(Next::Done)  ─▶ Ended::Done
//!         └───────── token cancelled ─▶ attempt gets `stop_budget`, is aborted then ─▶ Ended::Cancelled
//! ```
//!
//! How it ends: on cancellation within `stop_budget` plus one second (P8), or when an attempt says that it is done. Dropping the future aborts the attempt.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::clock::{SharedClock, sleep};
use crate::untrusted::Untrusted;

/// An error that belongs to a closed list: the word for logs and metrics.
pub trait Reason: Display + Send + 'static {
    /// One word in `snake_case` from a closed list: never made of foreign text, since it becomes a metric label.
    fn reason(&self) -> &'static str;
}

/// Of an attempt that can only panic.
impl Reason for std::convert::Infallible {
    fn reason(&self) -> &'static str {
        match *self {}
    }
}

/// What follows an attempt that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Run again, after the shortest pause.
    Again,
    /// Nothing is left to do.
    Done,
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// An attempt said so.
    Done,
    /// The token was cancelled.
    Cancelled,
}

/// One failed attempt, as the observer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The error's [`Reason`], or `panic`.
    pub reason: &'static str,
    /// The pause that follows.
    pub retry_in: Duration,
    /// How many failures in a row, this one included.
    pub failures: u32,
}

/// A loop around one kind of attempt.
pub struct Supervisor {
    name: &'static str,
    clock: SharedClock,
    backoff: Backoff,
    cancel: CancellationToken,
    stop_budget: Duration,
    observer: Box<dyn FnMut(Failure) + Send>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor")
            .field("name", &self.name)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// A loop under `name` (for the log), until `cancel` is cancelled. An attempt gets 10 s to end then, unless told otherwise.
    #[must_use]
    pub fn new(
        name: &'static str,
        clock: SharedClock,
        backoff: Backoff,
        cancel: CancellationToken,
    ) -> Self {
        Supervisor {
            name,
            clock,
            backoff,
            cancel,
            stop_budget: Duration::from_secs(10),
            observer: Box::new(|_| ()),
        }
    }

    /// How long an attempt may take to end once the token is cancelled; it is aborted after that.
    #[must_use]
    pub fn stop_budget(mut self, budget: Duration) -> Self {
        self.stop_budget = budget;
        self
    }

    /// Calls `observer` at each failure: for metrics and state. It must not block.
    #[must_use]
    pub fn on_failure(mut self, observer: impl FnMut(Failure) + Send + 'static) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// Runs attempts until one is done or the token is cancelled. The attempt watches the same token itself and ends soon after.
    pub async fn run<F, A, E>(mut self, mut run_once: F) -> Ended
    where
        F: FnMut() -> A,
        A: Future<Output = Result<Next, E>> + Send + 'static,
        E: Reason,
    {
        while !self.cancel.is_cancelled() {
            self.backoff.started(self.clock.monotonic());
            let Some(result) = self.attempt(run_once()).await else {
                break;
            };
            let retry_in = match result {
                Ok(Ok(Next::Done)) => return Ended::Done,
                Ok(Ok(Next::Again)) => {
                    self.backoff.reset();
                    let pause = self.backoff.next_delay();
                    self.backoff.reset();
                    pause
                }
                Ok(Err(error)) => self.failed(error.reason(), &error.to_string()),
                Err(panic) => self.failed("panic", &panic_text(panic)),
            };
            if sleep(&*self.clock, retry_in, &self.cancel)
                .await
                .is_cancelled()
            {
                break;
            }
        }
        Ended::Cancelled
    }

    /// `None`: it was aborted because the token was cancelled and the budget is over, or it ended after the cancelling.
    async fn attempt<T: Send + 'static>(
        &mut self,
        attempt: impl Future<Output = T> + Send + 'static,
    ) -> Option<Result<T, JoinError>> {
        use tracing::Instrument;
        let mut task = AbortOnDrop(tokio::spawn(attempt.in_current_span()));
        tokio::select! {
            result = &mut task.0 => return Some(result),
            () = self.cancel.cancelled() => (),
        }
        let deadline = self.clock.monotonic() + self.stop_budget;
        tokio::select! {
            biased;
            result = &mut task.0 => {
                if let Err(panic) = result && panic.is_panic() {
                    tracing::error!(task = self.name, reason = "panic", error = %panic_text(panic), "task ended while stopping");
                }
            }
            () = self.clock.sleep_until(deadline) => {
                tracing::warn!(task = self.name, reason = "overdue", "task aborted: it did not stop in its budget");
            }
        }
        None
    }

    fn failed(&mut self, reason: &'static str, error: &str) -> Duration {
        let retry_in = self.backoff.failed(self.clock.monotonic());
        let failures = self.backoff.failures();
        let task = self.name;
        let error = Untrusted::new(error);
        if reason == "panic" {
            tracing::error!(task, reason, %error, ?retry_in, failures, "task ended");
        } else {
            tracing::warn!(task, reason, %error, ?retry_in, failures, "task ended");
        }
        (self.observer)(Failure {
            reason,
            retry_in,
            failures,
        });
        retry_in
    }
}

/// Ends the attempt with the supervisor.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The text of a panic, or why there is none.
fn panic_text(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => {
            let text = payload.downcast_ref::<&str>().map(ToString::to_string);
            text.or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "a panic without a text".into())
        }
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Jitter;
    use crate::clock::{Clock, SystemClock};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    #[derive(Debug, thiserror::Error)]
    #[error("the other side hung up")]
    struct HungUp;

    impl Reason for HungUp {
        fn reason(&self) -> &'static str {
            "peer_closed"
        }
    }

    fn supervisor(cancel: &CancellationToken) -> Supervisor {
        let second = Duration::from_secs(1);
        let backoff = Backoff::new(second, 60 * second, 60 * second, Jitter::Equal);
        Supervisor::new(
            "test",
            SystemClock::shared(),
            backoff.expect("valid"),
            cancel.clone(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_and_an_error_are_retried_with_growing_pauses_until_done() {
        let runs = Arc::new(AtomicU32::new(0));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let failures = seen.clone();
        let ended = supervisor(&CancellationToken::new())
            .on_failure(move |failure| failures.lock().expect("not poisoned").push(failure))
            .run(|| {
                let run = runs.fetch_add(1, Ordering::SeqCst);
                async move {
                    match run {
                        0 => panic!("index out of range"),
                        1 => Err(HungUp),
                        2 => Ok(Next::Again),
                        _ => Ok(Next::Done),
                    }
                }
            })
            .await;
        assert_eq!(ended, Ended::Done);
        assert_eq!(runs.load(Ordering::SeqCst), 4);
        let seen = seen.lock().expect("not poisoned");
        let reasons: Vec<_> = seen.iter().map(|failure| failure.reason).collect();
        assert_eq!(reasons, ["panic", "peer_closed"]);
        assert!(seen[1].retry_in >= Duration::from_secs(1), "{seen:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_ends_the_pause_between_attempts() {
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let ended = supervisor(&cancel)
            .on_failure(move |_| stop.cancel())
            .run(|| async { Err::<Next, _>(HungUp) })
            .await;
        assert_eq!(ended, Ended::Cancelled);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_ignores_the_token_is_aborted_after_its_budget() {
        let cancel = CancellationToken::new();
        let start = SystemClock.monotonic();
        let stop = cancel.clone();
        let (dropped, gone) = tokio::sync::oneshot::channel::<()>();
        let mut dropped = Some(dropped);
        let ended = supervisor(&cancel)
            .stop_budget(Duration::from_secs(3))
            .run(move || {
                let held = dropped.take();
                let stop = stop.clone();
                async move {
                    let _held = held;
                    stop.cancel();
                    std::future::pending::<Result<Next, HungUp>>().await
                }
            })
            .await;
        assert_eq!(ended, Ended::Cancelled);
        assert_eq!(SystemClock.monotonic() - start, Duration::from_secs(3));
        assert!(gone.await.is_err(), "the attempt was dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_supervisor_ends_the_attempt() {
        let (started, running) = tokio::sync::oneshot::channel();
        let (held, gone) = tokio::sync::oneshot::channel::<()>();
        let mut parts = Some((started, held));
        let cancel = CancellationToken::new();
        let task = tokio::spawn(supervisor(&cancel).run(move || {
            let parts = parts.take();
            async move {
                let (started, _held) = parts.expect("one attempt");
                started.send(()).expect("receiver lives");
                std::future::pending::<Result<Next, HungUp>>().await
            }
        }));
        running.await.expect("started");
        task.abort();
        assert!(gone.await.is_err());
    }
}
