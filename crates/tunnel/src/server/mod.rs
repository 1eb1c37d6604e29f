//! The server itself: accepting, one task per session, the ordered stop, and the ports that the monitor calls.
//!
//! Owns: the tables that sessions share ([`Inner`]). Does not own: what happens inside a session (`handler`).
//!
//! How its tasks end: see the package's docs. Nothing here waits for a peer without a limit.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use moorline_base::net::Acceptor;
use moorline_base::rate::Prefix;
use moorline_base::{CancellationToken, SharedClock, Untrusted, clock};
use moorline_core::camera::Enabled;
use moorline_core::port::{CameraDirectory, ControlLines, Enrolment, TunnelEvents};
use moorline_core::{CameraId, SessionId};
use russh::server::Config;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::admission::{Admission, Verdict};
use crate::closed::Closed;
use crate::config::{InvalidConfig, TunnelConfig};
use crate::keyfile::HostKeys;
use crate::metrics::TunnelMetrics;
use crate::penalty::Offence;
use crate::registry::Registry;
use crate::seats::Seats;
use crate::session::{Session, Stage};
use crate::stranger::StrangerList;

mod attend;
mod ports;

/// What of a paced stop's budget is kept for the last ones to end.
const LAST: Duration = Duration::from_secs(5);

/// Whom the tunnels tell.
#[derive(Clone)]
pub struct Monitor {
    /// What tunnels do.
    pub events: Arc<dyn TunnelEvents>,
    /// What sessions say.
    pub lines: Arc<dyn ControlLines>,
}

/// What all sessions share.
pub(crate) struct Inner {
    pub(crate) config: TunnelConfig,
    pub(crate) directory: Arc<dyn CameraDirectory>,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: TunnelMetrics,
    pub(crate) registry: Registry,
    pub(crate) seats: Seats,
    pub(crate) strangers: StrangerList,
    pub(crate) tracker: TaskTracker,
    pub(crate) enrolment: OnceLock<Arc<dyn Enrolment>>,
    /// With the host keys: exchanged where they are.
    ssh: RwLock<Arc<Config>>,
    admission: Mutex<Admission>,
    next: AtomicU64,
    stopping: CancellationToken,
}

impl Inner {
    pub(super) fn admission<T>(&self, look: impl FnOnce(&mut Admission) -> T) -> T {
        look(
            &mut self
                .admission
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// What a connection is served with that begins now.
    fn ssh(&self) -> Arc<Config> {
        let ssh = self.ssh.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&ssh)
    }

    /// A session has proved its key.
    pub(crate) fn logged_in(&self, session: &Arc<Session>) {
        let Some(proved) = session.proved() else {
            return;
        };
        let (id, camera) = (session.id, &proved.camera.id);
        let now = self.clock.monotonic();
        self.admission(|admission| admission.proved(id, session.peer.ip(), now));
        self.metrics.logged_in();
        self.metrics.sessions.inc();
        self.registry.proved(session, camera);
        self.end_one_too_many(camera, Stage::Idle);
        let client = Untrusted::new(session.client());
        tracing::info!(session = %id, %camera, peer = %session.peer, %client, "camera connected");
        // The directory may have changed since the login was decided, before the session was in the table.
        self.recheck(session);
    }

    /// Ends a camera's oldest session in this stage if there are too many.
    pub(crate) fn end_one_too_many(&self, camera: &CameraId, stage: Stage) {
        let most = self.config.idle_sessions;
        if let Some(oldest) = self.registry.one_too_many(camera, stage, most) {
            oldest.end(Closed::TooManyIdle);
        }
    }

    /// A session's handler is dropped: nothing of it is left.
    pub(crate) fn gone(&self, session: &Session) {
        self.registry.remove(session);
        // Whoever waits for this session, a writer of lines say, waits no more.
        session.kill.cancel();
        let (id, address) = (session.id, session.peer.ip());
        // An enrolment has a handle and stays a stranger.
        if session.handle().is_some() && session.proved().is_some() {
            self.metrics.sessions.dec();
            self.admission(|admission| admission.ended(address));
            return;
        }
        let offence = match session.reason() {
            Some(Closed::LoginGrace) => Some(Offence::GraceExceeded),
            Some(Closed::EnrolmentRefused) => Some(Offence::Refused),
            Some(_) => None,
            None if session.refused_stranger.load(Ordering::Relaxed) => Some(Offence::Refused),
            None if session.refused_key.load(Ordering::Relaxed) => Some(Offence::RefusedAgain),
            None => Some(Offence::NoAttempt),
        };
        let now = self.clock.monotonic();
        let held_off = self.admission(|admission| admission.failed(id, address, offence, now));
        if let Some(time) = held_off {
            let (network, seconds) = (Prefix::narrow(address), time.as_secs());
            let hint = "camera pending shows the keys that were refused; a right one gets in when the time is over";
            tracing::info!(%network, seconds, hint, "network held off: too many tries without a key that is known");
        }
    }

    /// Ends a session whose camera or key is not accepted any more.
    fn recheck(&self, session: &Session) {
        let Some(proved) = session.proved() else {
            return;
        };
        let cameras = self.directory.snapshot();
        let Some(camera) = cameras.get(&proved.camera.id) else {
            return session.end(Closed::Removed);
        };
        if camera.enabled != Enabled::Yes {
            session.end(Closed::Disabled);
        } else if !camera.keys.iter().any(|key| key.key == proved.key) {
            session.end(Closed::Removed);
        }
    }

    async fn watch_directory(&self) {
        let mut seen = self.directory.version();
        loop {
            seen = self.directory.changed(seen).await;
            for session in self.registry.sessions() {
                self.recheck(&session);
            }
        }
    }
}

/// The SSH server. Clones are the same server; it is also the ports `Sessions`, `ControlWriter`, `Strangers` and
/// `Landings` of [`moorline_core::port`].
#[derive(Clone)]
pub struct Tunnel(Arc<Inner>);

/// How [`Tunnel::shutdown`] went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// Sessions that there were.
    pub sessions: usize,
    /// Sessions that had not ended when the budget was used up. They are killed, and end as soon as they run.
    pub left: usize,
}

impl Tunnel {
    /// A server without listener: see [`Tunnel::accept`]. Session ids count up from 1; ids from 2^63 on are left to others.
    ///
    /// # Errors
    /// [`InvalidConfig`].
    pub fn new(
        config: TunnelConfig,
        keys: &HostKeys,
        directory: Arc<dyn CameraDirectory>,
        clock: SharedClock,
        metrics: TunnelMetrics,
    ) -> Result<Self, InvalidConfig> {
        config.check()?;
        let admission = Admission::new(
            config.unauthenticated,
            config.unauthenticated_per_prefix,
            config.penalties,
        );
        Ok(Tunnel(Arc::new(Inner {
            ssh: RwLock::new(Arc::new(config.ssh(keys))),
            registry: Registry::new(&config, metrics.queued.clone()),
            seats: Seats::default(),
            strangers: StrangerList::default(),
            tracker: TaskTracker::new(),
            admission: Mutex::new(admission),
            next: AtomicU64::new(1),
            enrolment: OnceLock::new(),
            stopping: CancellationToken::new(),
            config,
            directory,
            clock,
            metrics,
        })))
    }

    /// From now on strangers may enrol as user `enroll`, by this port. The first call counts.
    pub fn enrol_by(&self, enrolment: Arc<dyn Enrolment>) {
        let _ = self.0.enrolment.set(enrolment);
    }

    /// Whoever connects from now on is shown these host keys. Sessions that are there stay.
    pub fn change_keys(&self, keys: &HostKeys) {
        let ssh = Arc::new(self.0.config.ssh(keys));
        *self.0.ssh.write().unwrap_or_else(PoisonError::into_inner) = ssh;
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// Accepts cameras until `stop` is cancelled; sessions live on. Meanwhile a session ends when its camera is disabled or removed or its key
    /// revoked. May run several times at once, for several listeners.
    pub async fn accept(&self, listener: TcpListener, monitor: Monitor, stop: CancellationToken) {
        let mut acceptor = Acceptor::new("ssh", listener, Arc::clone(&self.0.clock), stop);
        let accepting = async {
            while let Some((socket, peer)) = acceptor.next().await {
                self.admit(socket, peer, &monitor);
            }
        };
        tokio::select! {
            () = accepting => {}
            () = self.0.watch_directory() => {}
        }
    }

    fn admit(&self, socket: TcpStream, peer: SocketAddr, monitor: &Monitor) {
        let inner = &self.0;
        inner.metrics.connected();
        if inner.stopping.is_cancelled() {
            return inner.metrics.not_admitted("stopping");
        }
        let id = SessionId(inner.next.fetch_add(1, Ordering::Relaxed));
        let now = inner.clock.monotonic();
        match inner.admission(|admission| admission.arrive(id, peer.ip(), now)) {
            Verdict::Admitted { crowded_out } => {
                for id in crowded_out {
                    if let Some(session) = inner.registry.get(id) {
                        session.end(Closed::CrowdedOut);
                    }
                }
            }
            refused => {
                let reason = match refused {
                    Verdict::HeldOff => "held_off",
                    _ => "full",
                };
                let network = Prefix::narrow(peer.ip());
                tracing::debug!(%network, reason, "connection not admitted");
                return inner.metrics.not_admitted(reason);
            }
        }
        // Not being able to is no reason to refuse anybody: the keepalive ends a dead session too.
        let timeout = u32::try_from(inner.config.user_timeout.as_millis()).unwrap_or(u32::MAX);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&socket, timeout);
        let session = Session::new(id, peer);
        inner.registry.add(&session);
        let running = attend::run(Arc::clone(inner), monitor.clone(), session, socket);
        inner.tracker.spawn(running);
    }

    /// As [`Tunnel::shutdown`], but tunnels end at `per_second`, the oldest first: cameras that call again reach another server one after the other.
    /// Where `budget` is too short for that the pace is greater. Whoever has no tunnel ends at once.
    pub async fn shutdown_paced(&self, per_second: u32, budget: Duration) -> Shutdown {
        let inner = &self.0;
        inner.stopping.cancel();
        let begun = inner.clock.monotonic();
        let sessions = inner.registry.sessions();
        let all = sessions.len();
        let serves = |session: &Arc<Session>| matches!(session.stage(), Stage::Serving(_));
        let (mut serving, rest): (Vec<_>, Vec<_>) = sessions.into_iter().partition(serves);
        rest.iter().for_each(|session| end(session));
        serving.sort_by_key(|session| session.id);
        let room = budget.saturating_sub(LAST);
        let tunnels = u32::try_from(serving.len()).unwrap_or(u32::MAX).max(1);
        let step = (Duration::from_secs(1) / per_second.max(1)).min(room / tunnels);
        let mut due = begun;
        for session in &serving {
            inner.clock.sleep_until(due).await;
            end(session);
            due += step;
        }
        let spent = inner.clock.monotonic().saturating_duration_since(begun);
        Shutdown {
            sessions: all,
            ..self.shutdown(budget.saturating_sub(spent)).await
        }
    }

    /// Ends every session, with a goodbye first, and waits for their ends at most for `budget`. Whoever connects later is turned away.
    pub async fn shutdown(&self, budget: Duration) -> Shutdown {
        let inner = &self.0;
        inner.stopping.cancel();
        let sessions = inner.registry.sessions();
        sessions.iter().for_each(|session| end(session));
        inner.tracker.close();
        let ended = clock::timeout(&*inner.clock, budget, inner.tracker.wait()).await;
        let left = inner.registry.sessions();
        for session in &left {
            session.end(Closed::Shutdown);
        }
        Shutdown {
            sessions: sessions.len(),
            left: if ended.is_ok() { 0 } else { left.len() },
        }
    }
}

/// With a goodbye, for whoever has proved who it is.
fn end(session: &Session) {
    match session.stage() {
        Stage::Stranger => session.end(Closed::Shutdown),
        _ => session.end_politely(Closed::Shutdown),
    }
}
