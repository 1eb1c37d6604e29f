//! The server itself: accepting, one task per session, the ordered stop, and the ports that the monitor calls.
//!
//! Owns: the tables that sessions share ([`Inner`]). Does not own: what happens inside a session (`handler`).
//!
//! How its tasks end: see the package's docs. Nothing here waits for a peer without a limit.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moorline_base::net::Acceptor;
use moorline_base::rate::Prefix;
use moorline_base::{CancellationToken, SharedClock, Untrusted, clock};
use moorline_core::camera::Enabled;
use moorline_core::lifecycle::EndReason;
use moorline_core::port::{
    CameraDirectory, ControlLines, ControlWriter, Sessions, Stranger, Strangers, TunnelEvents,
};
use moorline_core::{CameraId, Generation, PublicKey, SessionId};
use russh::Disconnect;
use russh::server::{Config, run_stream};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::admission::{Admission, Verdict};
use crate::closed::Closed;
use crate::config::{InvalidConfig, TunnelConfig};
use crate::control;
use crate::handler::CameraHandler;
use crate::keyfile::HostKeys;
use crate::metrics::TunnelMetrics;
use crate::penalty::Offence;
use crate::registry::Registry;
use crate::seats::{Seats, Taken};
use crate::session::{Session, Stage};
use crate::stranger::StrangerList;
use crate::wire::Wire;

/// How long a session that we end politely gets to take its goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

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
    ssh: Arc<Config>,
    admission: Mutex<Admission>,
    next: AtomicU64,
    stopping: CancellationToken,
}

impl Inner {
    fn admission<T>(&self, look: impl FnOnce(&mut Admission) -> T) -> T {
        look(
            &mut self
                .admission
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
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
        let (id, address) = (session.id, session.peer.ip());
        if session.proved().is_some() {
            self.metrics.sessions.dec();
            self.admission(|admission| admission.ended(address));
            return;
        }
        let offence = match session.reason() {
            Some(Closed::LoginGrace) => Some(Offence::GraceExceeded),
            Some(_) => None,
            None if session.refused_key.load(Ordering::Relaxed) => Some(Offence::Refused),
            None => Some(Offence::NoAttempt),
        };
        let now = self.clock.monotonic();
        self.admission(|admission| admission.failed(id, address, offence, now));
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

/// The SSH server. Clones are the same server; it is also the ports [`Sessions`], [`ControlWriter`], [`Strangers`] and
/// [`moorline_core::port::Landings`].
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
            ssh: Arc::new(config.ssh(keys)),
            registry: Registry::new(&config, metrics.queued.clone()),
            seats: Seats::default(),
            strangers: StrangerList::default(),
            tracker: TaskTracker::new(),
            admission: Mutex::new(admission),
            next: AtomicU64::new(1),
            stopping: CancellationToken::new(),
            config,
            directory,
            clock,
            metrics,
        })))
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
        let running = run(Arc::clone(inner), monitor.clone(), session, socket);
        inner.tracker.spawn(running);
    }

    /// Ends every session, with a goodbye first, and waits for their ends at most for `budget`. Whoever connects later is turned away.
    pub async fn shutdown(&self, budget: Duration) -> Shutdown {
        let inner = &self.0;
        inner.stopping.cancel();
        let sessions = inner.registry.sessions();
        for session in &sessions {
            match session.stage() {
                Stage::Stranger => session.end(Closed::Shutdown),
                _ => session.end_politely(Closed::Shutdown),
            }
        }
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

/// One session, from its socket to its end.
async fn run(inner: Arc<Inner>, monitor: Monitor, session: Arc<Session>, socket: TcpStream) {
    let wire = Wire::new(socket, Arc::clone(&session), &inner.metrics);
    let handler = CameraHandler::new(Arc::clone(&inner), monitor, Arc::clone(&session));
    let ssh = Arc::clone(&inner.ssh);
    // russh returns from the first only after the client's version line.
    let running = async { run_stream(ssh, wire, handler).await?.await };
    let attending = async {
        tokio::join!(
            login_grace(&inner, &session),
            goodbye(&inner, &session),
            close_channels(&session)
        )
    };
    let mut running = pin!(running);
    let mut attending = pin!(attending);
    let result = tokio::select! {
        biased;
        result = &mut running => result,
        // Ends with the kill switch alone, which ends the other.
        _ = &mut attending => running.await,
    };
    let closed = session.reason().unwrap_or_else(|| Closed::of(&result));
    inner.metrics.closed(closed);
    let (id, reason) = (session.id, closed.as_str());
    match session.proved() {
        Some(proved) => {
            tracing::info!(session = %id, camera = %proved.camera.id, peer = %session.peer, reason, "camera disconnected");
        }
        None => {
            let error = result.err().map(|error| error.to_string());
            let error = Untrusted::new(error.unwrap_or_default());
            tracing::debug!(session = %id, peer = %session.peer, reason, %error, "connection ended without a login");
        }
    }
}

/// russh knows no login grace: any packet resets its inactivity timer.
async fn login_grace(inner: &Inner, session: &Session) {
    let proved = session.proved_key.cancelled();
    let in_time = clock::timeout(&*inner.clock, inner.config.login_grace, proved).await;
    if in_time.is_err() {
        session.end(Closed::LoginGrace);
    }
    session.kill.cancelled().await;
}

/// A session that is to end politely, or that russh shuts down, gets a second.
async fn goodbye(inner: &Inner, session: &Session) {
    tokio::select! {
        () = session.goodbye.cancelled() => {}
        () = session.kill.cancelled() => return,
    }
    let saying = async {
        if let Some(handle) = session.handle() {
            let reason = session.reason().map_or("", Closed::as_str);
            // Not heard if the session is on its way out already.
            let _ = handle
                .disconnect(Disconnect::ByApplication, reason.to_owned(), String::new())
                .await;
        }
        std::future::pending::<()>().await;
    };
    let _ = clock::timeout(&*inner.clock, GOODBYE, saying).await;
    session.kill.cancel();
}

/// Closes channels whose stream was dropped, or that another session's bytes crowded out.
async fn close_channels(session: &Session) {
    let closing = async {
        loop {
            session.closing.notified().await;
            for channel in session.take_closing() {
                if let Some(handle) = session.handle() {
                    // Not heard if the session is over: its channels are closed then.
                    let _ = handle.close(channel).await;
                }
            }
        }
    };
    tokio::select! {
        () = session.kill.cancelled() => {}
        () = closing => {}
    }
}

impl Sessions for Tunnel {
    fn serve(&self, session: SessionId, generation: Generation) {
        let inner = &self.0;
        let Some(session) = inner.registry.get(session) else {
            return;
        };
        let Some(proved) = session.proved() else {
            return;
        };
        let camera = &proved.camera.id;
        if !session.serve(generation) {
            return;
        }
        match inner.seats.take(camera, Arc::clone(&session), generation) {
            Taken::Free => {}
            Taken::From(old) => {
                // No byte of it goes anywhere from now on (P1), even before its own task runs.
                for queue in old.queues() {
                    queue.cut();
                }
                old.end(Closed::Superseded);
            }
            Taken::TooLate => session.end(Closed::Superseded),
        }
        // It may have ended while it took the seat.
        if session.stage() == Stage::Ended {
            inner.seats.leave(camera, session.id);
        }
        tracing::info!(session = %session.id, %camera, %generation, "tunnel serves");
    }

    fn end(&self, session: SessionId, reason: EndReason) {
        if let Some(session) = self.0.registry.get(session) {
            session.end(reason.into());
        }
    }
}

impl ControlWriter for Tunnel {
    fn send(&self, session: SessionId, line: &str) -> bool {
        let session = self.0.registry.get(session);
        match (session, control::to_send(line)) {
            (Some(session), Some(line)) => session.send_line(line),
            _ => false,
        }
    }
}

impl Strangers for Tunnel {
    fn pending(&self) -> Vec<Stranger> {
        self.0.strangers.pending()
    }

    fn forget(&self, key: &PublicKey) {
        self.0.strangers.forget(key);
    }
}
