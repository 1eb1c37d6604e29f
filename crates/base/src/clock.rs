//! Time, as a value that is passed in.
//!
//! Owns: the trait [`Clock`], its three implementations and the cancellable [`sleep`]. Does not own: any policy about time; pure code
//! takes instants as arguments and never sees a clock.
//!
//! | clock | monotonic | wall | for |
//! |---|---|---|---|
//! | [`SystemClock`] | tokio's, so that `start_paused` moves it | the system's | the binary |
//! | [`TokioClock`] | tokio's | start + what tokio's moved | tests with `start_paused` |
//! | [`SimulatedClock`] | set by hand | set by hand | tests that move time themselves |
//!
//! Wall time is `i64` milliseconds since the Unix epoch, UTC: the one form that is stored. Monotonic time is [`std::time::Instant`], so
//! that packages without a runtime can take it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A boxed future without a result, as [`Clock::sleep_until`] returns it.
pub type Sleeping = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// A clock that many tasks share.
pub type SharedClock = Arc<dyn Clock>;

/// Where time comes from. Reading it never blocks and never fails.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Monotonic time: for deadlines and durations. Never goes back.
    fn monotonic(&self) -> Instant;

    /// Wall time in milliseconds since the Unix epoch, UTC: for what is stored or shown. May jump, both ways.
    fn wall_ms(&self) -> i64;

    /// Completes when [`Clock::monotonic`] has reached `deadline`; at once when it is past. Dropping the future cancels it.
    fn sleep_until(&self, deadline: Instant) -> Sleeping;
}

/// How a [`sleep`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a cancelled sleep means that the task has to end"]
pub enum Slept {
    /// The whole duration has passed.
    Elapsed,
    /// The token was cancelled first.
    Cancelled,
}

impl Slept {
    /// True when the token was cancelled before the time was over.
    #[must_use]
    pub fn is_cancelled(self) -> bool {
        self == Slept::Cancelled
    }
}

/// Sleeps for `duration`, or until `cancel` is cancelled: the only sleep that long tasks use, so that none delays a stop (P8).
///
/// A token that is cancelled already wins over a duration that is already over.
pub async fn sleep(clock: &dyn Clock, duration: Duration, cancel: &CancellationToken) -> Slept {
    let deadline = clock.monotonic() + duration;
    sleep_until(clock, deadline, cancel).await
}

/// As [`sleep`], to an instant of `clock`'s monotonic time.
pub async fn sleep_until(
    clock: &dyn Clock,
    deadline: Instant,
    cancel: &CancellationToken,
) -> Slept {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Slept::Cancelled,
        () = clock.sleep_until(deadline) => Slept::Elapsed,
    }
}

/// The deadline passed before the future was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not done within {0:?}")]
pub struct TimedOut(pub Duration);

/// Awaits `future` for at most `limit` of `clock`'s time. A future that is ready wins over a deadline that has passed.
///
/// # Errors
/// [`TimedOut`]; the future was dropped then.
pub async fn timeout<F: Future>(
    clock: &dyn Clock,
    limit: Duration,
    future: F,
) -> Result<F::Output, TimedOut> {
    let deadline = clock.monotonic() + limit;
    tokio::select! {
        biased;
        value = future => Ok(value),
        () = clock.sleep_until(deadline) => Err(TimedOut(limit)),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the clock itself; tokio's, so that paused time holds here too"
)]
fn tokio_now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[expect(clippy::disallowed_methods, reason = "the clock itself")]
fn system_wall_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn tokio_sleep_until(deadline: Instant) -> Sleeping {
    Box::pin(async move { tokio::time::sleep_until(deadline.into()).await })
}

/// The clock of the running system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The system's clock, ready to be shared.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(SystemClock)
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Instant {
        tokio_now()
    }

    fn wall_ms(&self) -> i64 {
        system_wall_ms()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleeping {
        tokio_sleep_until(deadline)
    }
}

/// A clock for tests under `start_paused`: the wall starts where it is told and moves with tokio's time.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    origin: Instant,
    start_ms: i64,
}

impl TokioClock {
    /// The wall shows `start_ms` (Unix, milliseconds) now.
    #[must_use]
    pub fn starting_at(start_ms: i64) -> Self {
        TokioClock {
            origin: tokio_now(),
            start_ms,
        }
    }
}

impl Clock for TokioClock {
    fn monotonic(&self) -> Instant {
        tokio_now()
    }

    fn wall_ms(&self) -> i64 {
        let moved = tokio_now().saturating_duration_since(self.origin);
        self.start_ms.saturating_add(millis(moved))
    }

    fn sleep_until(&self, deadline: Instant) -> Sleeping {
        tokio_sleep_until(deadline)
    }
}

#[derive(Debug)]
struct Simulated {
    monotonic: Instant,
    wall_ms: i64,
    /// The deadline of each sleep under way, by a number of its own.
    sleepers: BTreeMap<u64, Instant>,
    next_sleeper: u64,
}

/// A clock that stands still until a test moves it. Clones are the same clock; it needs no runtime.
#[derive(Debug, Clone)]
pub struct SimulatedClock {
    state: Arc<Mutex<Simulated>>,
    changed: watch::Sender<()>,
}

impl SimulatedClock {
    /// The wall shows `wall_ms` (Unix, milliseconds) until it is moved.
    #[must_use]
    pub fn new(wall_ms: i64) -> Self {
        let state = Simulated {
            monotonic: tokio_now(),
            wall_ms,
            sleepers: BTreeMap::new(),
            next_sleeper: 0,
        };
        SimulatedClock {
            state: Arc::new(Mutex::new(state)),
            changed: watch::Sender::new(()),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Simulated) -> T) -> T {
        let value = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
        value
    }

    /// Moves both clocks forward and wakes whoever slept until then or less.
    pub fn advance(&self, by: Duration) {
        self.with(|state| {
            state.monotonic += by;
            state.wall_ms = state.wall_ms.saturating_add(millis(by));
        });
    }

    /// Sets the wall alone, forward or back, as an operator or NTP would; wakes nobody.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        self.with(|state| state.wall_ms = wall_ms);
    }

    /// Waits until at least `count` sleeps are under way whose time has not come, so that a test knows that advancing will reach them.
    pub async fn sleepers(&self, count: usize) {
        let asleep = |state: &Simulated| {
            let deadlines = state.sleepers.values();
            deadlines
                .filter(|deadline| **deadline > state.monotonic)
                .count()
        };
        let mut changed = self.changed.subscribe();
        while self.read(asleep) < count {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn read<T>(&self, look: impl FnOnce(&Simulated) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Lists one sleep of a [`SimulatedClock`] for as long as it lives.
struct Sleeper {
    clock: SimulatedClock,
    id: u64,
}

impl Sleeper {
    fn new(clock: SimulatedClock, deadline: Instant) -> Self {
        let id = clock.with(|state| {
            state.next_sleeper += 1;
            state.sleepers.insert(state.next_sleeper, deadline);
            state.next_sleeper
        });
        Sleeper { clock, id }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.clock.with(|state| state.sleepers.remove(&self.id));
    }
}

impl Clock for SimulatedClock {
    fn monotonic(&self) -> Instant {
        self.read(|state| state.monotonic)
    }

    fn wall_ms(&self) -> i64 {
        self.read(|state| state.wall_ms)
    }

    fn sleep_until(&self, deadline: Instant) -> Sleeping {
        let clock = self.clone();
        Box::pin(async move {
            let mut changed = clock.changed.subscribe();
            if clock.monotonic() >= deadline {
                return;
            }
            let _sleeper = Sleeper::new(clock.clone(), deadline);
            while clock.monotonic() < deadline {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn simulated_sleep_ends_when_time_is_moved_and_not_before() {
        let clock = SimulatedClock::new(1_700_000_000_000);
        let cancel = CancellationToken::new();
        let sleeper = {
            let (clock, cancel) = (clock.clone(), cancel.clone());
            tokio::spawn(async move { sleep(&clock, HOUR, &cancel).await })
        };
        clock.sleepers(1).await;
        clock.advance(HOUR - Duration::from_millis(1));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished(), "one millisecond is missing");
        clock.advance(Duration::from_millis(1));
        assert_eq!(sleeper.await.expect("no panic"), Slept::Elapsed);
        assert_eq!(clock.wall_ms(), 1_700_000_000_000 + 3_600_000);
    }

    #[tokio::test]
    async fn cancellation_ends_a_sleep_of_any_clock() {
        for clock in [
            SystemClock::shared(),
            Arc::new(SimulatedClock::new(0)) as SharedClock,
        ] {
            let cancel = CancellationToken::new();
            let (sleeping, asked) = (cancel.clone(), clock.clone());
            let task = tokio::spawn(async move { sleep(&*asked, HOUR, &sleeping).await });
            tokio::task::yield_now().await;
            cancel.cancel();
            assert!(task.await.expect("no panic").is_cancelled());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn paused_tokio_time_moves_system_and_tokio_clock() {
        let wall = TokioClock::starting_at(5_000);
        let before = SystemClock.monotonic();
        let slept = sleep(&SystemClock, HOUR, &CancellationToken::new()).await;
        assert_eq!(slept, Slept::Elapsed);
        assert_eq!(SystemClock.monotonic() - before, HOUR);
        assert_eq!(wall.wall_ms(), 5_000 + 3_600_000);
    }

    #[tokio::test]
    async fn setting_the_wall_back_does_not_touch_monotonic_time() {
        let clock = SimulatedClock::new(10_000);
        let before = clock.monotonic();
        clock.set_wall_ms(-1);
        assert_eq!(clock.wall_ms(), -1);
        assert_eq!(clock.monotonic(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn timeout_says_how_long_it_waited_and_prefers_a_ready_value() {
        let late = timeout(&SystemClock, HOUR, std::future::pending::<()>()).await;
        assert_eq!(late, Err(TimedOut(HOUR)));
        let ready = timeout(&SystemClock, Duration::ZERO, async { 7 }).await;
        assert_eq!(ready, Ok(7));
    }
}
