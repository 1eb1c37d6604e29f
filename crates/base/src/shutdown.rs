//! Signals, and the ordered stop (P8).
//!
//! Owns: what a signal means ([`Signals`]) and a stop in phases ([`Drain`]), each with a budget, each logged with how long it took and
//! what was still running. Does not own: the exit of the process; the binary returns from `main` when told.
//!
//! ```text
//! SIGTERM, SIGINT  during the start: what was begun is dropped, the process ends
//!                  first: Stop::Drain ─▶ phase 1 (stop accepting) ─▶ phase 2 (drain) ─▶ … ─▶ report
//!                  later: Stop::Abort ─▶ what still runs is aborted at once
//! SIGHUP           Stop::Reload, as often as it comes, also while draining
//! ```
//!
//! How a phase ends: its token is cancelled, then its tasks are awaited for the phase's budget; those that are left are aborted and
//! named. A task that blocks its thread cannot be aborted: it is waited for one second more and named.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, SystemClock};

/// How long aborted tasks get to be dropped.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// How many names of tasks a log line carries; the rest is a number.
const NAMED: usize = 16;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The first SIGTERM or SIGINT: drain.
    Drain,
    /// A further one: abort.
    Abort,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The signals of the process, as a stream that never ends: a ladder that works once would make the next signal abrupt.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    asked: bool,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP. Call it before anything is started, inside a runtime.
    ///
    /// # Errors
    /// What the system says; it does not happen on a working Linux.
    pub fn install() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            asked: false,
        })
    }

    /// The next thing asked for. Cancel-safe: no signal is lost when the future is dropped.
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => self.stop(),
            _ = self.interrupt.recv() => self.stop(),
            _ = self.hangup.recv() => Stop::Reload,
        }
    }

    /// Waits for the first SIGTERM or SIGINT, for what may be dropped at any moment: a start. A SIGHUP meanwhile is kept for [`Signals::next`].
    /// Cancel-safe.
    pub async fn stopped(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        self.asked = true;
    }

    fn stop(&mut self) -> Stop {
        if std::mem::replace(&mut self.asked, true) {
            Stop::Abort
        } else {
            Stop::Drain
        }
    }
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    /// The budget is over: what is spawned from now on is aborted too.
    aborted: bool,
    tasks: BTreeMap<u64, (Cow<'static, str>, Option<AbortHandle>)>,
}

#[derive(Debug)]
struct PhaseState {
    name: &'static str,
    budget: Duration,
    token: CancellationToken,
    tracker: TaskTracker,
    running: Mutex<Running>,
    broken: CancellationToken,
}

impl PhaseState {
    fn running<T>(&self, look: impl FnOnce(&mut Running) -> T) -> T {
        look(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One phase of a stop: the token that its tasks watch, and the tasks. Clones are the same phase.
#[derive(Debug, Clone)]
pub struct Phase(Arc<PhaseState>);

impl Phase {
    /// The token that is cancelled when the phase's turn comes. A task ends soon after.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.0.token.clone()
    }

    /// Spawns a task that the phase waits for, under a name for the log (at most a few dozen distinct ones; no secret, no stranger's text).
    ///
    /// The task watches [`Phase::token`] itself. Dropping the handle does not end it. A task spawned while the phase is being awaited is
    /// awaited too; one spawned when the budget is over is aborted at once.
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let id = self.0.running(|running| {
            running.next += 1;
            running.tasks.insert(running.next, (name.into(), None));
            running.next
        });
        let entry = Entry {
            phase: Arc::clone(&self.0),
            id,
        };
        let handle = self.0.tracker.spawn(async move {
            let _entry = entry;
            task.await
        });
        let aborted = self.0.running(|running| {
            if let Some((_, abort)) = running.tasks.get_mut(&id) {
                *abort = Some(handle.abort_handle());
            }
            running.aborted
        });
        if aborted {
            handle.abort();
        }
        handle
    }

    /// The same for a task without which the process is of no use: if it ends, or panics, before its phase's turn, [`Drain::broken`] is cancelled.
    /// A server that takes no tunnel and looks well is worse than one that is started again.
    pub fn spawn_vital<F>(
        &self,
        name: impl Into<Cow<'static, str>>,
        task: F,
    ) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let name = name.into();
        let vital = Vital {
            phase: Arc::clone(&self.0),
            name: name.clone(),
        };
        self.spawn(name, async move {
            let _vital = vital;
            task.await
        })
    }

    /// The same for what runs elsewhere: `ended` is cancelled when it is over.
    pub fn needs(&self, name: impl Into<Cow<'static, str>>, ended: CancellationToken) {
        let stop = self.token();
        self.spawn_vital(name, async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = ended.cancelled() => {}
            }
        });
    }

    /// The names of the tasks that run now, sorted, at most 16, and how many there are in all.
    #[must_use]
    pub fn running(&self) -> (Vec<String>, usize) {
        self.0.running(|running| {
            let mut names: Vec<String> = running
                .tasks
                .values()
                .map(|(name, _)| name.to_string())
                .collect();
            let count = names.len();
            names.sort_unstable();
            names.truncate(NAMED);
            (names, count)
        })
    }

    async fn end(&self, abort: &CancellationToken) -> PhaseReport {
        let clock = SystemClock;
        let start = clock.monotonic();
        let budget = self.0.budget;
        self.0.token.cancel();
        self.0.tracker.close();
        let all_ended = tokio::select! {
            biased;
            () = self.0.tracker.wait() => true,
            () = abort.cancelled() => false,
            () = clock.sleep_until(start + budget) => false,
        };
        let (left, left_count) = if all_ended {
            (Vec::new(), 0)
        } else {
            self.running()
        };
        if !all_ended {
            self.abort_all().await;
        }
        let report = PhaseReport {
            name: self.0.name,
            took: clock.monotonic() - start,
            left,
            left_count,
        };
        report.log();
        report
    }

    async fn abort_all(&self) {
        // Aborting a task that no thread runs drops it here, and its `Entry` asks for the lock: so not under it.
        let handles: Vec<AbortHandle> = self.0.running(|running| {
            running.aborted = true;
            let tasks = running.tasks.values();
            tasks.filter_map(|(_, abort)| abort.clone()).collect()
        });
        handles.iter().for_each(AbortHandle::abort);
        let limit = SystemClock.monotonic() + ABORT_GRACE;
        tokio::select! {
            biased;
            () = self.0.tracker.wait() => (),
            () = SystemClock.sleep_until(limit) => (),
        }
    }
}

/// Tells when a vital task ends before its time.
struct Vital {
    phase: Arc<PhaseState>,
    name: Cow<'static, str>,
}

impl Drop for Vital {
    fn drop(&mut self) {
        if !self.phase.token.is_cancelled() && !self.phase.broken.is_cancelled() {
            tracing::error!(task = %self.name, "what must not end has ended: the process has to be started again");
            self.phase.broken.cancel();
        }
    }
}

/// Takes the task off the list when it ends, panics or is aborted.
struct Entry {
    phase: Arc<PhaseState>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.phase.running(|running| running.tasks.remove(&self.id));
    }
}

/// How one phase went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseReport {
    /// The phase.
    pub name: &'static str,
    /// From the cancelling of its token to its end.
    pub took: Duration,
    /// Names of tasks that had to be aborted, at most 16.
    pub left: Vec<String>,
    /// How many had to be aborted in all.
    pub left_count: usize,
}

impl PhaseReport {
    fn log(&self) {
        let (phase, took_ms) = (self.name, u64::try_from(self.took.as_millis()).unwrap_or(0));
        if self.left_count == 0 {
            tracing::info!(phase, took_ms, "stop: phase ended");
        } else {
            let still_running = self.left.join(",");
            tracing::warn!(
                phase,
                took_ms,
                count = self.left_count,
                still_running,
                "stop: phase overdue, its tasks were aborted"
            );
        }
    }
}

/// How the whole stop went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainReport {
    /// The phases in their order.
    pub phases: Vec<PhaseReport>,
}

impl DrainReport {
    /// True when no task had to be aborted.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.phases.iter().all(|phase| phase.left_count == 0)
    }
}

/// The ordered stop of a process: phases in the order in which they were added, one after another.
#[derive(Debug, Default)]
pub struct Drain {
    phases: Vec<Phase>,
    abort: CancellationToken,
    broken: CancellationToken,
}

impl Drain {
    /// A stop without phases.
    #[must_use]
    pub fn new() -> Self {
        Drain::default()
    }

    /// Adds the next phase. Its tasks get at most `budget` after their token was cancelled.
    pub fn phase(&mut self, name: &'static str, budget: Duration) -> Phase {
        let phase = Phase(Arc::new(PhaseState {
            name,
            budget,
            token: CancellationToken::new(),
            tracker: TaskTracker::new(),
            running: Mutex::new(Running::default()),
            broken: self.broken.clone(),
        }));
        self.phases.push(phase.clone());
        phase
    }

    /// Cancelled when a vital task has ended before its time ([`Phase::spawn_vital`]): run the drain then, and end with an error.
    #[must_use]
    pub fn broken(&self) -> CancellationToken {
        self.broken.clone()
    }

    /// Waits for what ends the process: SIGTERM, SIGINT, or a vital task that ended before its time. SIGHUP runs `reload` and waits on.
    pub async fn due(&self, signals: &mut Signals, mut reload: impl FnMut()) {
        loop {
            tokio::select! {
                () = self.broken.cancelled() => return,
                signal = signals.next() => match signal {
                    Stop::Reload => reload(),
                    Stop::Drain | Stop::Abort => return,
                },
            }
        }
    }

    /// Cancel it on [`Stop::Abort`]: what is left of the drain then takes one second per phase at most.
    #[must_use]
    pub fn abort_token(&self) -> CancellationToken {
        self.abort.clone()
    }

    /// Runs the phases. Ends after the sum of their budgets (and a second for each that had to be aborted) at the latest.
    pub async fn run(self) -> DrainReport {
        let mut phases = Vec::with_capacity(self.phases.len());
        for phase in &self.phases {
            phases.push(phase.end(&self.abort).await);
        }
        DrainReport { phases }
    }

    /// Runs the phases while listening to the signals: a further SIGTERM or SIGINT aborts, SIGHUP is ignored.
    pub async fn run_with(self, signals: &mut Signals) -> DrainReport {
        let abort = self.abort_token();
        let run = self.run();
        tokio::pin!(run);
        loop {
            tokio::select! {
                biased;
                report = &mut run => return report,
                stop = signals.next() => match stop {
                    Stop::Reload => tracing::info!("reload ignored: the server is stopping"),
                    Stop::Drain | Stop::Abort => {
                        tracing::warn!("stop: second signal, aborting");
                        abort.cancel();
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn phases_end_in_their_order_and_a_later_one_lives_until_its_turn() {
        let mut drain = Drain::new();
        let first = drain.phase("accept", SECOND);
        let second = drain.phase("sessions", SECOND);
        let (ended, mut order) = mpsc::channel(2);
        for (phase, name) in [(&second, "second"), (&first, "first")] {
            let (token, ended) = (phase.token(), ended.clone());
            phase.spawn(name, async move {
                token.cancelled().await;
                ended.send(name).await.expect("receiver lives");
            });
        }
        let report = drain.run().await;
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(order.recv().await, Some("first"));
        assert_eq!(order.recv().await, Some("second"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_overdue_task_is_named_aborted_and_does_not_hold_up_the_next_phase() {
        let mut drain = Drain::new();
        let stuck = drain.phase("drain", 5 * SECOND);
        let later = drain.phase("upload", SECOND);
        let task = stuck.spawn("camera acme/yard", std::future::pending::<()>());
        let token = later.token();
        let done = later.spawn("uploader", async move { token.cancelled().await });
        let report = drain.run().await;
        assert!(task.await.unwrap_err().is_cancelled());
        done.await.expect("ended by itself");
        assert_eq!(report.phases[0].left, ["camera acme/yard"]);
        assert_eq!(report.phases[0].took, 5 * SECOND);
        assert_eq!(report.phases[1].left_count, 0);
        assert!(!report.is_clean());
        let late = stuck.spawn("late", std::future::pending::<()>());
        assert!(late.await.unwrap_err().is_cancelled(), "the phase is over");
    }

    #[tokio::test(start_paused = true)]
    async fn abort_ends_a_long_drain_at_once() {
        let mut drain = Drain::new();
        let phase = drain.phase("drain", 3600 * SECOND);
        phase.spawn("stuck", std::future::pending::<()>());
        drain.abort_token().cancel();
        let report = drain.run().await;
        assert!(report.phases[0].took <= SECOND, "{report:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_vital_task_that_panics_breaks_the_process_and_one_that_ends_in_its_turn_does_not() {
        let mut drain = Drain::new();
        let phase = drain.phase("doors", SECOND);
        let (broken, token) = (drain.broken(), phase.token());
        phase.spawn_vital("page", async move { token.cancelled().await });
        phase.spawn("one of many", async { panic!("a test's panic") });
        tokio::task::yield_now().await;
        assert!(!broken.is_cancelled());
        let elsewhere = CancellationToken::new();
        phase.needs("uploader", elsewhere.clone());
        tokio::task::yield_now().await;
        assert!(!broken.is_cancelled());
        elsewhere.cancel();
        broken.cancelled().await;
        assert!(drain.run().await.is_clean());

        let mut drain = Drain::new();
        let (phase, broken) = (drain.phase("doors", SECOND), drain.broken());
        phase.spawn_vital("ssh", async { panic!("a test's panic") });
        broken.cancelled().await;
        assert!(drain.run().await.is_clean());

        let mut drain = Drain::new();
        let phase = drain.phase("doors", SECOND);
        let (broken, token) = (drain.broken(), phase.token());
        phase.spawn_vital("page", async move { token.cancelled().await });
        assert!(drain.run().await.is_clean());
        assert!(!broken.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_panicking_task_is_counted_as_ended() {
        let mut drain = Drain::new();
        let phase = drain.phase("drain", SECOND);
        phase.spawn("boom", async { panic!("a test's panic") });
        assert!(drain.run().await.is_clean());
        assert_eq!(phase.running().1, 0);
    }

    // One test for all signals: they reach every listener of the process, so two tests would hear each other.
    /// P8.
    #[tokio::test]
    async fn first_signal_drains_second_aborts_and_hangup_reloads() {
        use rustix::process::{Signal, getpid, kill_process};

        let mut signals = Signals::install().expect("installed");
        for (signal, stop) in [
            (Signal::HUP, Stop::Reload),
            (Signal::TERM, Stop::Drain),
            (Signal::HUP, Stop::Reload),
            (Signal::INT, Stop::Abort),
            (Signal::TERM, Stop::Abort),
        ] {
            kill_process(getpid(), signal).expect("may signal itself");
            let heard = tokio::time::timeout(60 * SECOND, signals.next()).await;
            assert_eq!(heard, Ok(stop), "{signal:?}");
        }

        let mut drain = Drain::new();
        let phase = drain.phase("drain", 3600 * SECOND);
        let (asked, started) = tokio::sync::oneshot::channel();
        let token = phase.token();
        phase.spawn("stuck", async move {
            token.cancelled().await;
            asked.send(()).expect("receiver lives");
            std::future::pending::<()>().await;
        });
        let running = tokio::spawn(async move { drain.run_with(&mut signals).await });
        started.await.expect("the drain began");
        kill_process(getpid(), Signal::TERM).expect("may signal itself");
        let report = tokio::time::timeout(60 * SECOND, running).await;
        let report = report.expect("in time").expect("no panic");
        assert_eq!(report.phases[0].left, ["stuck"]);
    }
}
