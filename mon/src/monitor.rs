//! The monitor as others see it: mailboxes in, statuses out. No call here blocks or awaits (P7).
//!
//! Owns: which mailbox a session's events go to. Does not own: what follows from them (the camera's task).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use moorline_base::SharedClock;
use moorline_control::ServerLine;
use moorline_core::alarm::{Alarm, NoticeKind, Untold};
use moorline_core::port::{
    AgentRelease, AgentUpgrades, Audit, CameraDirectory, Claims, ControlLines, ControlWriter,
    Memories, Notifier, Sessions, Statuses, TellError, TunnelEnd, TunnelEvents, TunnelUp,
    WorkloadEvent, WorkloadEvents, Workloads,
};
use moorline_core::status::CameraStatus;
use moorline_core::{CameraId, Generation, InstanceId, SessionId, TenantId, Timestamp};
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, Semaphore, watch};

use crate::alarm_task::Deliveries;
use crate::board::Board;
use crate::gates::Gates;
use crate::mailbox::Mailbox;
use crate::metrics::{BoardMetrics, Metrics};
use crate::roster::Watch;
use crate::settings::Settings;
use crate::transfer::offer_of;

/// Stores of memory at a time, over all cameras.
const STORES: usize = 4;

/// Everything behind which an adapter stands. Only the binary knows which.
#[derive(Clone)]
pub struct Ports {
    /// The cameras.
    pub directory: Arc<dyn CameraDirectory>,
    /// Who may serve a camera.
    pub claims: Arc<dyn Claims>,
    /// What survives a restart.
    pub memories: Arc<dyn Memories>,
    /// Relays and archivers.
    pub workloads: Arc<dyn Workloads>,
    /// The way back to the tunnel.
    pub sessions: Arc<dyn Sessions>,
    /// Lines to a session's monitor's channel.
    pub control: Arc<dyn ControlWriter>,
    /// Who is told.
    pub notifier: Arc<dyn Notifier>,
    /// Where a takeover is written down (S35).
    pub audit: Arc<dyn Audit>,
}

/// What the handle, the roster and every camera's task share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// [`Settings::alarm_after`], which may change. Each change has the notifier asked for its channels again.
    pub(crate) alarm_after: watch::Sender<Duration>,
    pub(crate) clock: SharedClock,
    pub(crate) board: Arc<Board>,
    pub(crate) metrics: Metrics,
    /// Stores of memory under way: claims of a thousand cameras must not stand behind a thousand of them.
    pub(crate) stores: Semaphore,
    /// What all cameras share of claims and notices (S4, S5).
    pub(crate) gates: Mutex<Gates>,
    /// What each channel of the alarms has still to tell.
    pub(crate) deliveries: Arc<Deliveries>,
    /// There is a mailbox whose camera has no task yet.
    pub(crate) strange: Notify,
    routes: Mutex<Routes>,
}

#[derive(Debug, Default)]
struct Routes {
    cameras: HashMap<CameraId, Arc<Mailbox>>,
    sessions: HashMap<SessionId, Route>,
    stopped: bool,
}

/// Where a live session's events go.
#[derive(Debug)]
struct Route {
    mailbox: Arc<Mailbox>,
    tunnel: bool,
    channel: bool,
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut Routes) -> T) -> T {
        change(&mut self.routes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.wall_ms())
    }

    /// Draws from what all cameras share.
    pub(crate) fn gate<T>(&self, draw: impl FnOnce(&mut Gates) -> T) -> T {
        draw(&mut self.gates.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The mailbox of a camera; made if there is none.
    pub(crate) fn mailbox(&self, camera: &CameraId) -> Arc<Mailbox> {
        self.with(|routes| self.mailbox_in(routes, camera))
    }

    fn mailbox_in(&self, routes: &mut Routes, camera: &CameraId) -> Arc<Mailbox> {
        if let Some(mailbox) = routes.cameras.get(camera) {
            return Arc::clone(mailbox);
        }
        let mailbox = Arc::<Mailbox>::default();
        routes.cameras.insert(camera.clone(), Arc::clone(&mailbox));
        self.strange.notify_one();
        mailbox
    }

    /// The cameras that have a mailbox.
    pub(crate) fn mailboxes(&self) -> Vec<CameraId> {
        self.with(|routes| routes.cameras.keys().cloned().collect())
    }

    /// Takes a camera's mailbox away.
    pub(crate) fn forget(&self, camera: &CameraId) -> Option<Arc<Mailbox>> {
        self.with(|routes| routes.cameras.remove(camera))
    }

    /// From now on no tunnel is taken. Returns all mailboxes.
    pub(crate) fn stop(&self) -> Vec<Arc<Mailbox>> {
        self.with(|routes| {
            routes.stopped = true;
            routes.cameras.values().cloned().collect()
        })
    }

    /// The live sessions of a camera that the monitor knows.
    pub(crate) fn sessions_of(&self, mailbox: &Arc<Mailbox>) -> Vec<SessionId> {
        self.with(|routes| {
            let own = routes.sessions.iter();
            let own = own.filter(|(_, route)| Arc::ptr_eq(&route.mailbox, mailbox));
            own.map(|(session, _)| *session).collect()
        })
    }
}

/// The monitor's handle: hand it to the tunnel, the workloads and the page. Clones of the `Arc` are the same monitor.
#[derive(Debug)]
pub struct Monitor {
    shared: Arc<Shared>,
}

/// Makes a monitor: the handle, which takes events at once, and its [`Watch`], which acts on them once it runs. The two are apart
/// because tunnel and workloads need the handle before they can be a port of the watch.
///
/// Metrics are registered without a prefix of their own: `registry` is one `with_prefix("moorline")`.
pub fn monitor(
    settings: Settings,
    clock: SharedClock,
    registry: &mut Registry,
) -> (Arc<Monitor>, Watch) {
    let board = Arc::<Board>::default();
    let deliveries = Arc::<Deliveries>::default();
    let shared = Arc::new(Shared {
        alarm_after: watch::Sender::new(settings.alarm_after),
        settings,
        metrics: Metrics::register(registry),
        board: Arc::clone(&board),
        strange: Notify::new(),
        stores: Semaphore::new(STORES),
        deliveries: Arc::clone(&deliveries),
        gates: Mutex::new(Gates::new(clock.monotonic())),
        routes: Mutex::default(),
        clock: Arc::clone(&clock),
    });
    registry.register_collector(Box::new(BoardMetrics::new(board, deliveries, clock)));
    let handle = Arc::new(Monitor {
        shared: Arc::clone(&shared),
    });
    (handle, Watch::new(shared))
}

impl Monitor {
    /// The alarms were set anew: from now on a camera that stands still for `after` is one, and the port `Notifier` is asked again for its channels.
    /// What a channel that stays has still to tell it tells at once, and a new one too; of what stands still, and nobody could be told, new ones tell.
    /// Never waits.
    pub fn set_alarms(&self, after: Duration) {
        self.shared.alarm_after.send_replace(after);
    }

    /// As [`Statuses::hang_up`], by an order that names the tunnel's generation: one that came later stays, however late the order is. Never waits.
    pub fn hang_up_of(&self, camera: &CameraId, generation: Generation) {
        let mailbox = self
            .shared
            .with(|routes| routes.cameras.get(camera).cloned());
        if let Some(mailbox) = mailbox {
            mailbox.hang_up_of(generation);
        }
    }

    /// Has somebody told of what is not the monitor's to see: it goes the way of all alarms. Never waits.
    pub fn raise(&self, alarm: Alarm) {
        tracing::warn!(alarm = crate::alarm_task::word(&alarm.kind), "alarm");
        crate::alarm_task::queue(&self.shared, alarm);
    }
}

impl TunnelEvents for Monitor {
    fn up(&self, up: TunnelUp) -> bool {
        self.shared.with(|routes| {
            if routes.stopped {
                return false;
            }
            let mailbox = self.shared.mailbox_in(routes, &up.camera.id);
            let session = up.session;
            if routes
                .sessions
                .get(&session)
                .is_some_and(|route| route.tunnel)
            {
                return true;
            }
            let taken = mailbox.up(up);
            if taken {
                route(routes, session, mailbox).tunnel = true;
            }
            taken
        })
    }

    fn stolen(&self, camera: &CameraId, peer: SocketAddr, client: &str) {
        let mailbox = self
            .shared
            .with(|routes| routes.cameras.get(camera).cloned());
        if let Some(mailbox) = mailbox {
            mailbox.stolen(peer, client);
        }
    }

    fn token_spent(&self, camera: &CameraId, peer: SocketAddr, client: &str) {
        let mailbox = self
            .shared
            .with(|routes| routes.cameras.get(camera).cloned());
        if let Some(mailbox) = mailbox {
            mailbox.token_spent(peer, client);
        }
    }

    fn ended(&self, session: SessionId, end: TunnelEnd) {
        self.shared.with(|routes| {
            if let Some(route) = routes.sessions.get_mut(&session)
                && std::mem::take(&mut route.tunnel)
            {
                route.mailbox.ended(session, end);
                prune(routes, session);
            }
        });
    }
}

impl ControlLines for Monitor {
    fn opened(&self, session: SessionId, camera: &CameraId) {
        self.shared.with(|routes| {
            let mailbox = self.shared.mailbox_in(routes, camera);
            if mailbox.opened(session) {
                route(routes, session, mailbox).channel = true;
            }
        });
    }

    fn line(&self, session: SessionId, line: &[u8]) -> bool {
        let mailbox = self.shared.with(|routes| {
            let route = routes.sessions.get(&session);
            route.map(|route| Arc::clone(&route.mailbox))
        });
        let taken = mailbox.is_some_and(|mailbox| mailbox.line(session, line));
        if !taken {
            self.shared.metrics.lines_dropped.inc();
        }
        taken
    }

    fn closed(&self, session: SessionId) {
        self.shared.with(|routes| {
            if let Some(route) = routes.sessions.get_mut(&session) {
                route.channel = route.mailbox.closed(session);
                prune(routes, session);
            }
        });
    }
}

fn route(routes: &mut Routes, session: SessionId, mailbox: Arc<Mailbox>) -> &mut Route {
    routes.sessions.entry(session).or_insert(Route {
        mailbox,
        tunnel: false,
        channel: false,
    })
}

fn prune(routes: &mut Routes, session: SessionId) {
    let gone = |route: &Route| !route.tunnel && !route.channel;
    if routes.sessions.get(&session).is_some_and(gone) {
        routes.sessions.remove(&session);
    }
}

impl WorkloadEvents for Monitor {
    fn tell(&self, camera: &CameraId, instance: InstanceId, event: WorkloadEvent) {
        let mailbox = self
            .shared
            .with(|routes| routes.cameras.get(camera).cloned());
        if let Some(mailbox) = mailbox {
            mailbox.instance(instance, event);
        }
    }
}

impl Monitor {
    /// The mailbox of a camera whose agent has said what it is.
    fn agent_of(&self, camera: &CameraId) -> Option<Arc<Mailbox>> {
        let speaks = self.get(camera).is_some_and(|status| {
            let mut said = status.said.iter();
            said.any(|(key, _)| key == "agent")
        });
        let mailbox = self
            .shared
            .with(|routes| routes.cameras.get(camera).cloned());
        mailbox.filter(|_| speaks)
    }
}

impl AgentUpgrades for Monitor {
    fn offer(&self, camera: &CameraId, release: &Arc<AgentRelease>) -> Result<(), TellError> {
        offer_of(release).map_err(|field| TellError::Wrong(field.to_owned()))?;
        let mailbox = self.agent_of(camera).ok_or(TellError::Away)?;
        mailbox.offer(Arc::clone(release));
        Ok(())
    }
}

#[async_trait]
impl Statuses for Monitor {
    fn get(&self, camera: &CameraId) -> Option<CameraStatus> {
        let entry = self.shared.board.get(camera)?;
        Some(entry.status.clone())
    }

    fn list(&self, tenant: &TenantId) -> Vec<CameraStatus> {
        let entries = self.shared.board.of(tenant).into_iter();
        entries.map(|entry| entry.status.clone()).collect()
    }

    async fn changed(&self, seen: u64) -> u64 {
        self.shared.board.changed(seen).await
    }

    fn version(&self) -> u64 {
        self.shared.board.version()
    }

    fn untold(&self) -> Vec<Untold> {
        self.shared.deliveries.untold()
    }

    fn hang_up(&self, camera: &CameraId) {
        let mailbox = self
            .shared
            .with(|routes| routes.cameras.get(camera).cloned());
        if let Some(mailbox) = mailbox {
            mailbox.hang_up();
        }
    }

    fn notice(&self, camera: &CameraId, what: NoticeKind) {
        let mailbox = self
            .shared
            .with(|routes| routes.cameras.get(camera).cloned());
        if let Some(mailbox) = mailbox {
            mailbox.noticed(what);
        }
    }

    fn tell_agent(&self, camera: &CameraId, line: &str) -> Result<(), TellError> {
        match ServerLine::parse(line.as_bytes()) {
            Ok(
                ServerLine::Config(_)
                | ServerLine::Refer(_)
                | ServerLine::Rekey
                | ServerLine::Rekeyed(_)
                | ServerLine::Reboot,
            ) => {}
            Ok(_) => return Err(TellError::Wrong("line.word".to_owned())),
            Err(error) => return Err(TellError::Wrong(error.to_string())),
        }
        match self.agent_of(camera) {
            Some(mailbox) if mailbox.tell(line.to_owned()) => Ok(()),
            _ => Err(TellError::Away),
        }
    }

    fn diagnose(&self, camera: &CameraId) {
        let mailbox = self
            .shared
            .with(|routes| routes.cameras.get(camera).cloned());
        if let Some(mailbox) = mailbox {
            mailbox.diagnose();
        }
    }
}
