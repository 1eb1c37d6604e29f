//! Which cameras have a task: the directory, watched.
//!
//! Owns: starting a camera's task, telling it that its record changed or is gone, and the ordered stop (P8). Does not own: anything that
//! a task does. A task that panics is a bug, is logged, and is started again: its sessions are ended, so that the camera calls anew, and
//! the workloads that it left behind are killed by its successor.
//!
//! How it ends: [`Watch::run`] returns when its token is cancelled and every camera is at rest, or the budget is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moorline_base::CancellationToken;
use moorline_base::clock::{sleep, timeout};
use moorline_core::lifecycle::EndReason;
use moorline_core::port::{Memory, TunnelUp};
use moorline_core::{Camera, CameraId};
use tokio::task::{Id, JoinError, JoinSet};
use tracing::Instrument;

use crate::alarm_task;
use crate::driver::Driver;
use crate::mailbox::{RecordMail, SessionMail};
use crate::monitor::{Ports, Shared};

const LOAD_DEADLINE: Duration = Duration::from_secs(30);
/// How often the process says that it lives: a crash is dated so exactly.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
const ALIVE_DEADLINE: Duration = Duration::from_secs(5);
/// The message that is under way when the process stops gets so long.
const LAST_ALARM: Duration = Duration::from_secs(5);

/// How the stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopReport {
    /// Cameras that were not at rest when the budget was over; their tasks were aborted.
    pub left: usize,
}

/// The acting half of the monitor.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    broken: CancellationToken,
}

/// A camera's task, as the roster sees it.
struct Live {
    told: Arc<Camera>,
    removed: bool,
    task: Id,
}

struct Roster {
    shared: Arc<Shared>,
    ports: Arc<Ports>,
    memories: HashMap<CameraId, Memory>,
    live: HashMap<CameraId, Live>,
    tasks: JoinSet<()>,
    lan_sessions: Arc<AtomicU64>,
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            broken: CancellationToken::new(),
        }
    }

    /// Cancelled when nobody looks at the alarms, or tells them, any more: after the stop, or before it by a fault of ours. Then tunnels and recordings
    /// go on, and whoever owns the process decides.
    pub fn broken(&self) -> CancellationToken {
        self.broken.clone()
    }

    /// Runs every camera until `cancel` is cancelled, then stops them all in order: sessions end, workloads drain, what must be known
    /// again is stored. Returns within the stop budget.
    pub async fn run(self, ports: Ports, cancel: CancellationToken) -> StopReport {
        let ports = Arc::new(ports);
        let deliveries = Arc::clone(&self.shared.deliveries);
        // Before the channels are asked for, so that no change of them is missed. What nobody can be told is told once there is a channel: it is not
        // remembered beyond this start.
        let set = self.shared.alarm_after.subscribe();
        deliveries.open(&alarm_task::channels(&ports));
        let mut roster = Roster {
            memories: load(&self.shared, &ports).await,
            shared: Arc::clone(&self.shared),
            live: HashMap::new(),
            tasks: JoinSet::new(),
            lan_sessions: Arc::new(AtomicU64::new(crate::FIRST_LAN_SESSION)),
            ports: Arc::clone(&ports),
        };
        let watching = alarm_task::watch(Arc::clone(&self.shared), cancel.clone());
        let telling = alarm_task::tell(Arc::clone(&self.shared), Arc::clone(&ports), set);
        let living = live(Arc::clone(&self.shared), Arc::clone(&ports), cancel.clone());
        let watching = tokio::spawn(guarded(watching, &self.broken).in_current_span());
        let telling = tokio::spawn(guarded(telling, &self.broken).in_current_span());
        let living = tokio::spawn(guarded(living, &self.broken).in_current_span());
        roster.run(&cancel).await;
        let report = roster.stop().await;
        let _ = (watching.await, living.await);
        // The task ends after what is queued.
        deliveries.close();
        let mut telling = telling;
        let last = timeout(&*self.shared.clock, LAST_ALARM, &mut telling).await;
        if last.is_err() {
            tracing::warn!("a message was given up: the process stops");
            telling.abort();
        }
        report
    }
}

/// Cancels `broken` when the task ends, or panics.
fn guarded<F: Future>(
    task: F,
    broken: &CancellationToken,
) -> impl Future<Output = F::Output> + use<F> {
    let guard = broken.clone().drop_guard();
    async move {
        let _guard = guard;
        task.await
    }
}

async fn load(shared: &Shared, ports: &Ports) -> HashMap<CameraId, Memory> {
    match timeout(&*shared.clock, LOAD_DEADLINE, ports.memories.load()).await {
        Ok(Ok(memories)) => memories.into_iter().collect(),
        Ok(Err(error)) => {
            tracing::error!(%error, "what was known before the restart is lost: gaps begin now");
            HashMap::new()
        }
        Err(error) => {
            tracing::error!(%error, "what was known before the restart is lost: gaps begin now");
            HashMap::new()
        }
    }
}

/// Says that the process lives, until `cancel` is cancelled: what is remembered was true up to then (P4).
async fn live(shared: Arc<Shared>, ports: Arc<Ports>, cancel: CancellationToken) {
    let clock = &*shared.clock;
    loop {
        let said = ports.memories.alive(shared.now());
        match timeout(clock, ALIVE_DEADLINE, said).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a crash now would be dated back"),
            Err(error) => tracing::warn!(%error, "a crash now would be dated back"),
        }
        if sleep(clock, ALIVE_EVERY, &cancel).await.is_cancelled() {
            return;
        }
    }
}

impl Roster {
    async fn run(&mut self, cancel: &CancellationToken) {
        let mut version = self.ports.directory.version();
        let ports = Arc::clone(&self.ports);
        let mut look = true;
        loop {
            if std::mem::replace(&mut look, true) {
                self.reconcile();
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                seen = self.ports.directory.changed(version) => version = seen,
                () = self.shared.strange.notified() => {}
                news = ports.memories.news() => {
                    let live = news.into_iter();
                    for (camera, memory) in live.filter(|(camera, _)| self.live.contains_key(camera)) {
                        self.shared.mailbox(&camera).remembered(memory);
                    }
                    // It changes no task; of thousands each comes by itself.
                    look = false;
                }
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    self.ended(ended);
                }
            }
        }
    }

    /// Makes the tasks agree with the directory.
    fn reconcile(&mut self) {
        let set = self.ports.directory.snapshot();
        for camera in set.iter() {
            match self.live.get_mut(&camera.id) {
                None => self.spawn(camera),
                Some(live) if live.removed || Arc::ptr_eq(&live.told, camera) => {}
                // The same name for another camera: the old one goes first.
                Some(live) if live.told.created != camera.created => {
                    live.removed = true;
                    let mailbox = self.shared.mailbox(&camera.id);
                    mailbox.record(RecordMail::Removed);
                }
                Some(live) => {
                    if live.told != *camera {
                        let mailbox = self.shared.mailbox(&camera.id);
                        mailbox.record(RecordMail::Changed(Arc::clone(camera)));
                    }
                    live.told = Arc::clone(camera);
                }
            }
        }
        for (id, live) in &mut self.live {
            if set.get(id).is_none() && !live.removed {
                live.removed = true;
                self.shared.mailbox(id).record(RecordMail::Removed);
            }
        }
        for id in self.shared.mailboxes() {
            if set.get(&id).is_none() && !self.live.contains_key(&id) {
                self.discard(&id);
            }
        }
    }

    fn spawn(&mut self, camera: &Arc<Camera>) {
        let remembered = self.memories.remove(&camera.id);
        let memory = remembered.or_else(|| {
            let shown = self.shared.board.get(&camera.id)?;
            Some(Memory {
                durable_until: shown.status.durable_until,
                recorded_until: shown.status.recorded_until,
                gaps: shown.status.gaps.clone(),
                alarmed_since: shown.alarmed_since,
                notices: shown.status.notices.clone(),
                ..Memory::default()
            })
        });
        let driver = Driver::new(
            Arc::clone(camera),
            Arc::clone(&self.shared),
            Arc::clone(&self.ports),
            memory.unwrap_or_default(),
            Arc::clone(&self.lan_sessions),
        );
        let task = self.tasks.spawn(driver.run()).id();
        let live = Live {
            told: Arc::clone(camera),
            removed: false,
            task,
        };
        self.live.insert(camera.id.clone(), live);
    }

    /// Mail for a camera that is not there: it was removed a moment ago.
    fn discard(&self, camera: &CameraId) {
        let Some(mailbox) = self.shared.forget(camera) else {
            return;
        };
        for mail in mailbox.take().sessions {
            if let SessionMail::Up(TunnelUp { session, .. }) | SessionMail::Opened(session) = mail {
                self.ports.sessions.end(session, EndReason::Removed);
            }
        }
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (task, panicked) = match &ended {
            Ok((task, ())) => (*task, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let id = self.live.iter().find(|(_, live)| live.task == task);
        let Some(id) = id.map(|(id, _)| id.clone()) else {
            return;
        };
        self.live.remove(&id);
        if panicked {
            tracing::error!(camera = %id, "the camera's task panicked and is started again");
            for session in self.shared.sessions_of(&self.shared.mailbox(&id)) {
                self.ports.sessions.end(session, EndReason::Silent);
            }
        }
    }

    async fn stop(mut self) -> StopReport {
        for mailbox in self.shared.stop() {
            mailbox.stop();
        }
        let clock = Arc::clone(&self.shared.clock);
        let deadline = clock.monotonic() + self.shared.settings.stop_budget;
        while !self.tasks.is_empty() {
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                () = clock.sleep_until(deadline) => break,
            }
        }
        let left = self.live.len();
        for camera in self.live.keys() {
            tracing::error!(%camera, "the camera was not at rest within the stop budget");
        }
        self.tasks.abort_all();
        StopReport { left }
    }
}

/// The next synthetic session of a LAN camera.
pub(crate) fn next_lan_session(counter: &AtomicU64) -> moorline_core::SessionId {
    moorline_core::SessionId(counter.fetch_add(1, Ordering::Relaxed))
}
