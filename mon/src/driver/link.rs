//! Tunnels and claims: what leads to the table's session events.
//!
//! P1 is kept here in two ways: claims of one camera run one after another, so that the newest tunnel gets the greatest generation, and
//! a newer tunnel ends an older one that has not been served yet.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_base::Untrusted;
use moorline_base::clock::timeout;
use moorline_core::alarm::{Alarm, AlarmKind, Notice, NoticeKind};
use moorline_core::lifecycle::{EndReason, Event, Link};
use moorline_core::port::{TunnelEnd, TunnelUp};
use moorline_core::{Generation, PublicKey, SessionId};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::appearance::Fate;
use super::{By, Driver, Timer};

/// As `Claims::claim` says.
pub(super) const CLAIM_DEADLINE: Duration = Duration::from_secs(5);

/// A live tunnel.
#[derive(Debug)]
pub(super) struct Tunnel {
    /// The key that proved it; none for a LAN camera.
    pub(super) key: Option<PublicKey>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) client: String,
    /// Since its claim.
    pub(super) generation: Option<Generation>,
    /// Ended by us, or already counted as lost: what is still heard of it means nothing.
    over: bool,
}

/// The claim under way, and the tunnel that waits for one: the newest.
#[derive(Debug)]
pub(super) struct Claiming {
    pub(super) waiting: Option<SessionId>,
    not_before: Instant,
    /// Its turn at the gate of the tenant has been given, and at that of the process (S5).
    turns: (bool, bool),
    session: Option<SessionId>,
    /// Claimed for a session that had ended by then.
    missed: Option<Generation>,
    pub(super) task: Option<JoinHandle<Result<Generation, String>>>,
}

impl Claiming {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            waiting: None,
            not_before: now,
            turns: (false, false),
            session: None,
            missed: None,
            task: None,
        }
    }

    /// Whether a tunnel is there that is still to be claimed.
    pub(super) fn is_under_way(&self) -> bool {
        self.waiting.is_some() || self.session.is_some()
    }

    /// When a waiting claim may begin.
    pub(super) fn due(&self) -> Option<Instant> {
        let idle = self.task.is_none() && self.waiting.is_some();
        idle.then_some(self.not_before)
    }
}

impl Driver {
    /// A session's first forward was granted.
    pub(super) fn tunnel_up(&mut self, up: TunnelUp) {
        let session = up.session;
        let peer = up.peer.map(tracing::field::display);
        tracing::info!(%session, peer, client = %Untrusted::new(&up.client), "tunnel");
        let lan = session.0 >= crate::FIRST_LAN_SESSION;
        self.tunnels.insert(
            session,
            Tunnel {
                key: up.key,
                peer: up.peer,
                client: up.client,
                generation: None,
                over: false,
            },
        );
        let refused = if self.removed {
            Some(EndReason::Removed)
        } else if self.stopping {
            Some(EndReason::Shutdown)
        } else if !self.camera.enabled.is_yes() {
            Some(EndReason::Disabled)
        } else if self.is_lan() != lan {
            tracing::warn!(%session, "refused: the camera is read over the local network");
            Some(EndReason::ClaimLost)
        } else {
            None
        };
        match refused {
            Some(reason) => self.end_session(session, reason),
            None => self.want_claim(session),
        }
    }

    /// The newest tunnel waits for its claim; one that waited before it is superseded and leaves its place in time.
    fn want_claim(&mut self, session: SessionId) {
        let now = self.shared.clock.monotonic();
        let older = self.claiming.waiting.replace(session);
        match older {
            Some(older) => self.give_way(older),
            None => {
                let since = now.saturating_duration_since(self.origin);
                let delay = self.damper.wanted(since);
                self.claiming.not_before = now + delay;
                self.claiming.turns = (false, false);
                if !delay.is_zero() {
                    tracing::warn!(%session, ?delay, "the camera's claims are damped: too many within a minute");
                    self.tell_two_places(session);
                }
            }
        }
        if let Some(claiming) = self.claiming.session {
            self.give_way(claiming);
        }
        self.seen = true;
    }

    /// A newer tunnel is there. One that has not served ends; one that serves, and claims again, does so until the newer one's claim is back.
    fn give_way(&mut self, older: SessionId) {
        let served = |tunnel: &Tunnel| tunnel.generation.is_some();
        if !self.tunnels.get(&older).is_some_and(served) {
            self.end_session(older, EndReason::Superseded);
        }
    }

    /// Once no claim is under way: what becomes of one that came after its session. Nothing is recorded for long under an older generation than the
    /// newest (the signer refuses it), so a tunnel that serves under one claims again, in its turn, as a tunnel that has just come up does.
    pub(super) fn missed_claim(&mut self) {
        if self.claiming.is_under_way() {
            return;
        }
        if let Some(generation) = self.claiming.missed.take() {
            self.step(Event::Missed { generation });
        }
        let live = |session: &SessionId| {
            let tunnel = self.tunnels.get(session);
            tunnel.is_some_and(|tunnel| !tunnel.over)
        };
        if let Some(session) = self.table.outdated().filter(live) {
            tracing::info!(%session, "claimed again: a later session of the camera was claimed, and has ended");
            self.want_claim(session);
        }
    }

    /// Damped while another address serves: two devices have one key.
    fn tell_two_places(&mut self, session: SessionId) {
        let address =
            |session: SessionId| -> Option<SocketAddr> { self.tunnels.get(&session)?.peer };
        let Link::Up {
            session: serving, ..
        } = self.table.link()
        else {
            return;
        };
        let (Some(here), Some(there)) = (address(serving), address(session)) else {
            return;
        };
        let ip = |address: SocketAddr| -> IpAddr { address.ip().to_canonical() };
        if ip(here) == ip(there) {
            return;
        }
        let notice = Notice {
            at: self.shared.now(),
            what: NoticeKind::KeyInTwoPlaces,
            peer: Some(there),
            client: self
                .tunnels
                .get(&session)
                .map_or_else(String::new, |tunnel| tunnel.client.clone()),
        };
        // Both places take turns: which of them is the newer one does not matter, so one hour has one message.
        let at = notice.at;
        if self.notices.add(notice) != Fate::Told {
            return;
        }
        tracing::warn!(%here, %there, "one key connects from two places");
        let alarm = Alarm {
            tenant: self.camera.id.tenant().clone(),
            at,
            kind: AlarmKind::KeyInTwoPlaces {
                camera: self.camera.id.clone(),
                peers: vec![here.to_string(), there.to_string()],
            },
        };
        crate::alarm_task::queue(&self.shared, alarm);
    }

    /// Begins the waiting claim when its time has come and none is under way.
    pub(super) fn claim_if_due(&mut self) {
        let now = self.shared.clock.monotonic();
        if self.claiming.due().is_none_or(|due| due > now) || !self.has_turn(now) {
            return;
        }
        let Some(session) = self.claiming.waiting.take() else {
            return;
        };
        let claims = Arc::clone(&self.ports.claims);
        let clock = Arc::clone(&self.shared.clock);
        let camera = self.camera.id.clone();
        let claim = async move {
            match timeout(&*clock, CLAIM_DEADLINE, claims.claim(&camera, session)).await {
                Ok(Ok(generation)) => Ok(generation),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        };
        self.claiming.session = Some(session);
        self.claiming.task = Some(tokio::spawn(claim.in_current_span()));
    }

    /// Whether the waiting claim has its turn among the others (S5): first its tenant's, then the process's. If not, it waits for it.
    fn has_turn(&mut self, now: Instant) -> bool {
        let tenant = self.camera.id.tenant();
        if !std::mem::replace(&mut self.claiming.turns.0, true) {
            let wait = self.shared.gate(|gates| gates.tenant(tenant, now));
            if !wait.is_zero() {
                self.shared.metrics.claims_waited.inc();
                self.claiming.not_before = now + wait;
                return false;
            }
        }
        if !std::mem::replace(&mut self.claiming.turns.1, true) {
            let wait = self.shared.gate(|gates| gates.process(now));
            if !wait.is_zero() {
                self.shared.metrics.claims_waited.inc();
                self.claiming.not_before = now + wait;
                return false;
            }
        }
        true
    }

    /// A claim is back.
    pub(super) fn claimed(&mut self, result: Result<Generation, String>) {
        let Some(session) = self.claiming.session.take() else {
            return;
        };
        let live = self.tunnels.get_mut(&session).filter(|tunnel| !tunnel.over);
        match (result, live) {
            (Ok(generation), Some(tunnel)) => {
                tunnel.generation = Some(generation);
                self.claiming.missed = None;
                self.lan_backoff.reset();
                self.left(generation);
                self.step(Event::Up {
                    generation,
                    session,
                });
                self.hung_up = None;
            }
            // It ended meanwhile; where a newer one waits, its claim supersedes this one.
            (Ok(generation), None) => self.claiming.missed = Some(generation),
            (Err(error), live) => {
                if let Some(tunnel) = live {
                    let served = tunnel.generation;
                    tracing::error!(%session, %error, "the claim was lost");
                    self.shared.metrics.claims_lost.inc();
                    self.end_session(session, EndReason::ClaimLost);
                    if let Some(generation) = served {
                        // It had claimed again: the workloads wait for the camera, which calls anew.
                        self.step(Event::Lost { generation });
                    }
                } else {
                    tracing::debug!(%session, %error, "a session that has ended was not claimed");
                }
                if self.is_lan() {
                    let pause = self.lan_backoff.next_delay();
                    self.schedule(pause, Timer::ClaimLan);
                }
            }
        }
    }

    /// A tunnel's connection ended.
    pub(super) fn tunnel_ended(&mut self, session: SessionId, end: TunnelEnd) {
        let Some(tunnel) = self.tunnels.remove(&session) else {
            return;
        };
        if self.claiming.waiting == Some(session) {
            self.claiming.waiting = None;
        }
        if tunnel.over {
            return;
        }
        tracing::info!(%session, ?end, "tunnel ended");
        match (tunnel.generation, end) {
            (Some(generation), TunnelEnd::Lost) => self.step(Event::Lost { generation }),
            (Some(generation), TunnelEnd::HungUp) => self.hung_up(generation, By::Camera),
            (None, TunnelEnd::Lost) => self.wait_anew(),
            (None, TunnelEnd::HungUp) => {}
        }
    }

    /// The camera was here again, and lost before it was claimed: this loss has a whole grace too.
    fn wait_anew(&mut self) {
        let Link::Grace { generation } = self.table.link() else {
            return;
        };
        let over = Timer::Grace(generation);
        self.timers.retain(|(_, timer)| *timer != over);
        self.schedule(self.shared.settings.grace, over);
    }

    /// The grace of that loss is over. It goes on where the camera may be at another process and this one cannot know it: what it would drain is read
    /// from there.
    pub(super) fn grace_over(&mut self, generation: Generation) {
        let hold = self.ports.claims.hold();
        if hold.is_zero() || self.table.link() != (Link::Grace { generation }) {
            self.step(Event::GraceOver { generation });
            return;
        }
        if self.held.replace(generation) != Some(generation) {
            tracing::warn!(
                "the grace is over, and another process may have the camera: workloads wait until it is known whether one has"
            );
        }
        self.schedule(hold, Timer::Grace(generation));
    }

    /// The tunnel of that generation was ended on purpose.
    pub(super) fn hung_up(&mut self, generation: Generation, by: By) {
        if self.present() == Some(generation) {
            self.hung_up = Some(by);
            self.step(Event::HungUp { generation });
        }
    }

    /// The generation of the present link.
    pub(super) fn present(&self) -> Option<Generation> {
        match self.table.link() {
            Link::Up { generation, .. } | Link::Grace { generation } => Some(generation),
            Link::Absent => None,
        }
    }

    /// The operator ends the present link.
    pub(super) fn hang_up(&mut self, why: &'static str) {
        tracing::info!(why, "hang-up");
        self.drop_claim(EndReason::HungUp);
        if let Some(generation) = self.present() {
            self.hung_up(generation, By::Operator);
        }
    }

    /// Ends the tunnels that have no generation yet.
    pub(super) fn drop_claim(&mut self, reason: EndReason) {
        if let Some(waiting) = self.claiming.waiting.take() {
            self.end_session(waiting, reason);
        }
        if let Some(claiming) = self.claiming.session {
            self.end_session(claiming, reason);
        }
    }

    /// Ends a session by its kill switch; what the tunnel says of it from now on is old news.
    pub(super) fn end_session(&mut self, session: SessionId, reason: EndReason) {
        if self.claiming.waiting == Some(session) {
            self.claiming.waiting = None;
        }
        if session.0 >= crate::FIRST_LAN_SESSION {
            self.tunnels.remove(&session);
            return;
        }
        if let Some(tunnel) = self.tunnels.get_mut(&session) {
            if tunnel.over {
                return;
            }
            tunnel.over = true;
        }
        tracing::info!(%session, ?reason, "session ended");
        self.ports.sessions.end(session, reason);
    }
}
