//! The monitor of one camera on one replica: the table of `core`, driven over real claims and real pods as `mon` drives it, which this package
//! may not use. What has nothing to do with claims and pods is left out: no damping, no alarms, no restarts.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use moorline_core::camera::Camera;
use moorline_core::id::InstanceId;
use moorline_core::lifecycle::{Action, Event, Lifecycle, Link};
use moorline_core::port::{
    Claims as _, Sessions as _, TunnelEnd, TunnelEvents, TunnelUp, WorkloadEvent, WorkloadEvents,
    WorkloadOrder, WorkloadSpec, Workloads as _,
};
use moorline_core::{CameraId, Generation, SessionId};
use moorline_kube::{KubeClaims, Pods};
use tokio::sync::mpsc;

use super::{Ended, Mon};

/// What a drain is given, and what it gets beside before it is killed.
const BUDGET: Duration = Duration::from_secs(60);
/// A session that is ended by its kill switch is gone after so long.
const KILLED: Duration = Duration::from_millis(50);

/// What the monitor hears.
#[derive(Debug)]
enum Mail {
    Up(SessionId, Arc<Camera>),
    Ended(SessionId),
    Claimed(SessionId, Option<Generation>),
    Table(Event),
    /// It hung up.
    HungUp,
    /// The camera was removed: what comes now is a new one's.
    Removed,
}

/// Where it hears it. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mailbox(Arc<Mutex<Option<mpsc::UnboundedSender<Mail>>>>);

impl Mailbox {
    fn put(&self, mail: Mail) {
        if let Some(sender) = &*self.0.lock().unwrap() {
            // After the end of the test nobody reads it.
            let _ = sender.send(mail);
        }
    }

    fn later(&self, after: Duration, mail: Mail) {
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            this.put(mail);
        });
    }
}

impl TunnelEvents for Mailbox {
    fn up(&self, up: TunnelUp) -> bool {
        self.put(Mail::Up(up.session, up.camera));
        true
    }

    fn stolen(&self, _: &CameraId, _: SocketAddr, _: &str) {}

    fn ended(&self, session: SessionId, _: TunnelEnd) {
        self.put(Mail::Ended(session));
    }
}

impl WorkloadEvents for Mailbox {
    fn tell(&self, _: &CameraId, instance: InstanceId, event: WorkloadEvent) {
        if let WorkloadEvent::Drained = event {
            self.put(Mail::Table(Event::Drained { instance }));
        }
    }
}

/// The tunnels of this replica, and the monitor behind them.
pub(crate) struct Monitor {
    mailbox: Mailbox,
    tunnels: Arc<dyn TunnelEvents>,
    live: Arc<Mutex<HashSet<SessionId>>>,
}

impl Monitor {
    /// Begins. A lost tunnel's pods drain after `grace`.
    pub(crate) fn new(mon: &Mon, pods: Pods, mailbox: Mailbox, grace: Duration) -> Self {
        let (sender, mails) = mpsc::unbounded_channel();
        *mailbox.0.lock().unwrap() = Some(sender);
        let tunnels: Arc<dyn TunnelEvents> = Arc::new(mon.claims.events(Arc::new(mailbox.clone())));
        let live = Arc::new(Mutex::new(HashSet::new()));
        let driver = Driver {
            mailbox: mailbox.clone(),
            claims: mon.claims.clone(),
            sessions: Arc::clone(&mon.ended),
            pods,
            grace,
            table: Lifecycle::new(grace),
            camera: None,
            begun: tokio::time::Instant::now(),
            sessions_of: HashMap::new(),
            waiting: None,
            claiming: None,
            missed: None,
        };
        tokio::spawn(driver.run(mails));
        tokio::spawn(kill(
            Arc::clone(&mon.ended),
            Arc::clone(&tunnels),
            Arc::clone(&live),
        ));
        Self {
            mailbox,
            tunnels,
            live,
        }
    }

    /// A camera's tunnel comes up.
    pub(crate) fn connect(&self, camera: Arc<Camera>, session: SessionId) {
        self.live.lock().unwrap().insert(session);
        let taken = self.tunnels.up(TunnelUp {
            session,
            key: None,
            camera,
            peer: Some(([203, 0, 113, 9], 40_000).into()),
            client: String::new(),
        });
        assert!(taken);
    }

    /// All tunnels of this replica are lost.
    pub(crate) fn lose(&self) {
        let all: Vec<_> = self.live.lock().unwrap().drain().collect();
        for session in all {
            self.tunnels.ended(session, TunnelEnd::Lost);
        }
    }

    /// The camera hangs up, or somebody on it.
    pub(crate) fn hang_up(&self) {
        self.mailbox.put(Mail::HungUp);
    }

    /// The camera is gone.
    pub(crate) fn removed(&self) {
        self.mailbox.put(Mail::Removed);
    }
}

/// The tunnel's part: a session that is to be ended ends.
async fn kill(
    ended: Arc<Ended>,
    tunnels: Arc<dyn TunnelEvents>,
    live: Arc<Mutex<HashSet<SessionId>>>,
) {
    let mut done = 0;
    loop {
        tokio::time::sleep(KILLED).await;
        let all = ended.all();
        for (session, _) in &all[done..] {
            if live.lock().unwrap().remove(session) {
                tunnels.ended(*session, TunnelEnd::Lost);
            }
        }
        done = all.len();
    }
}

struct Driver {
    mailbox: Mailbox,
    claims: KubeClaims,
    sessions: Arc<Ended>,
    pods: Pods,
    grace: Duration,
    table: Lifecycle,
    camera: Option<Arc<Camera>>,
    begun: tokio::time::Instant,
    /// Sessions that are not over, with what they were claimed under.
    sessions_of: HashMap<SessionId, Option<Generation>>,
    waiting: Option<SessionId>,
    claiming: Option<SessionId>,
    /// Claimed for a session that had ended by then.
    missed: Option<Generation>,
}

impl Driver {
    async fn run(mut self, mut mails: mpsc::UnboundedReceiver<Mail>) {
        while let Some(mail) = mails.recv().await {
            self.hear(mail);
            self.missed_claim();
            self.claim();
        }
    }

    fn hear(&mut self, mail: Mail) {
        match mail {
            Mail::Up(session, camera) => {
                self.camera = Some(camera);
                self.sessions_of.insert(session, None);
                let older = [self.waiting.replace(session), self.claiming];
                for older in older.into_iter().flatten() {
                    if self.generation(older).is_none() {
                        self.end(older);
                    }
                }
            }
            Mail::Ended(session) => {
                self.waiting = self.waiting.filter(|waiting| *waiting != session);
                if let Some(Some(generation)) = self.sessions_of.remove(&session) {
                    self.step(Event::Lost { generation });
                }
            }
            Mail::Claimed(session, generation) => {
                self.claiming = None;
                let live = self.sessions_of.get_mut(&session);
                match (generation, live) {
                    (Some(generation), Some(own)) => {
                        *own = Some(generation);
                        self.missed = None;
                        self.step(Event::Up {
                            generation,
                            session,
                        });
                    }
                    (Some(generation), None) => self.missed = Some(generation),
                    (None, _) => {
                        let served = self.generation(session);
                        self.end(session);
                        if let Some(generation) = served {
                            self.step(Event::Lost { generation });
                        }
                    }
                }
            }
            Mail::Table(over @ Event::GraceOver { .. }) => {
                let hold = self.claims.hold();
                match hold.is_zero() {
                    true => self.step(over),
                    false => self.mailbox.later(hold, Mail::Table(over)),
                }
            }
            Mail::Table(event) => self.step(event),
            Mail::HungUp => {
                if let Link::Up { generation, .. } | Link::Grace { generation } = self.table.link()
                {
                    self.step(Event::HungUp { generation });
                }
            }
            Mail::Removed => {
                let unclaimed = [self.waiting.take(), self.claiming];
                let unclaimed = unclaimed.into_iter().flatten();
                unclaimed.for_each(|session| self.end(session));
                self.step(Event::Removed);
                self.table = Lifecycle::new(self.grace);
            }
        }
    }

    /// What a session was claimed under, if it is not over.
    fn generation(&self, session: SessionId) -> Option<Generation> {
        self.sessions_of.get(&session).copied().flatten()
    }

    /// Once no claim is under way: what becomes of one that came after its session.
    fn missed_claim(&mut self) {
        if self.waiting.is_some() || self.claiming.is_some() {
            return;
        }
        if let Some(generation) = self.missed.take() {
            self.step(Event::Missed { generation });
        }
        let outdated = self.table.outdated();
        self.waiting = outdated.filter(|session| self.sessions_of.contains_key(session));
    }

    fn claim(&mut self) {
        if self.claiming.is_some() {
            return;
        }
        let (Some(session), Some(camera)) = (self.waiting.take(), self.camera.clone()) else {
            return;
        };
        self.claiming = Some(session);
        let (claims, mailbox) = (self.claims.clone(), self.mailbox.clone());
        tokio::spawn(async move {
            let claimed = claims.claim(&camera.id, session).await;
            mailbox.put(Mail::Claimed(session, claimed.ok()));
        });
    }

    /// Ends a session; what is still heard of it means nothing.
    fn end(&mut self, session: SessionId) {
        if self.sessions_of.remove(&session).is_some() {
            self.sessions
                .end(session, moorline_core::lifecycle::EndReason::Superseded);
        }
    }

    fn release(&self, generation: Generation, unused: bool) {
        let (claims, camera) = (self.claims.clone(), self.camera.clone());
        tokio::spawn(async move {
            // Once, as the monitor: what becomes of a write that fails is the adapter's.
            let _ = match camera {
                Some(camera) if unused => claims.give_back(&camera.id, generation).await,
                Some(camera) => claims.release(&camera.id, generation).await,
                None => Ok(()),
            };
        });
    }

    fn step(&mut self, event: Event) {
        let actions = self.table.step(event, self.begun.elapsed());
        actions.into_iter().for_each(|action| self.perform(action));
    }

    fn perform(&mut self, action: Action) {
        let Some(camera) = self.camera.clone() else {
            return;
        };
        let order = |instance, order| self.pods.order(&camera.id, instance, order);
        match action {
            Action::EndSession { session, .. } => self.end(session),
            Action::Start {
                instance,
                generation,
            } => self.pods.start(WorkloadSpec {
                instance,
                generation,
                gaps: Vec::new(),
                durable_until: None,
                recorded_from: None,
                camera,
            }),
            Action::Rebind {
                instance,
                generation,
            } => order(instance, WorkloadOrder::Rebind { generation }),
            Action::Drain { instance } => {
                order(instance, WorkloadOrder::Drain { budget: BUDGET });
                let overdue = Mail::Table(Event::Overdue { instance });
                self.mailbox.later(BUDGET, overdue);
            }
            Action::Kill { instance } => self.pods.kill(&camera.id, instance),
            Action::StartGrace { generation } => {
                let over = Mail::Table(Event::GraceOver { generation });
                self.mailbox.later(self.grace, over);
            }
            Action::Release { generation } => self.release(generation, false),
            Action::GiveBack { generation } => self.release(generation, true),
            Action::Serve { .. }
            | Action::ScheduleRestart { .. }
            | Action::Restart { .. }
            | Action::Forget { .. } => {}
        }
    }
}
