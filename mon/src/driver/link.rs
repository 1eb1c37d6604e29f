//! Tunnels, claims and the lines of the monitor's channels: what leads to the table's session events.
//!
//! P1 is kept here in two ways: claims of one camera run one after another, so that the newest tunnel gets the greatest generation, and
//! a newer tunnel ends an older one that has not been served yet.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_base::Untrusted;
use moorline_base::clock::timeout;
use moorline_core::alarm::{Alarm, AlarmKind};
use moorline_core::camera::Access;
use moorline_core::lifecycle::{EndReason, Event, Link};
use moorline_core::port::{TunnelEnd, TunnelUp};
use moorline_core::{Camera, Generation, SessionId};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::{Driver, Timer};
use crate::conversation::{Conversation, Outcome};
use crate::roster::next_lan_session;

/// As `Claims::claim` says.
pub(super) const CLAIM_DEADLINE: Duration = Duration::from_secs(5);
/// *Key in two places* is told once in so long.
const TWO_PLACES_EVERY: Duration = Duration::from_secs(3600);

/// A live tunnel.
#[derive(Debug)]
pub(super) struct Tunnel {
    /// The record at its authentication: its key is one of these.
    camera: Arc<Camera>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) client: String,
    /// Since its claim.
    generation: Option<Generation>,
    /// Ended by us, or already counted as lost: what is still heard of it means nothing.
    over: bool,
}

/// The claim under way, and the tunnel that waits for one: the newest.
#[derive(Debug)]
pub(super) struct Claiming {
    waiting: Option<SessionId>,
    not_before: Instant,
    session: Option<SessionId>,
    pub(super) task: Option<JoinHandle<Result<Generation, String>>>,
}

impl Claiming {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            waiting: None,
            not_before: now,
            session: None,
            task: None,
        }
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
        tracing::info!(%session, peer = ?up.peer, client = %Untrusted::new(&up.client), "tunnel");
        let lan = session.0 >= crate::FIRST_LAN_SESSION;
        self.tunnels.insert(
            session,
            Tunnel {
                camera: up.camera,
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
            Some(older) => self.end_session(older, EndReason::Superseded),
            None => {
                let since = now.saturating_duration_since(self.origin);
                let delay = self.damper.wanted(since);
                self.claiming.not_before = now + delay;
                if !delay.is_zero() {
                    tracing::warn!(%session, ?delay, "the camera's claims are damped: too many within a minute");
                    self.tell_two_places(session, now);
                }
            }
        }
        if let Some(claiming) = self.claiming.session {
            self.end_session(claiming, EndReason::Superseded);
        }
        self.seen = true;
    }

    /// Damped while another address serves: two devices have one key.
    fn tell_two_places(&mut self, session: SessionId, now: Instant) {
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
        let told = self.two_places_told;
        let lately =
            told.is_some_and(|told| now.saturating_duration_since(told) < TWO_PLACES_EVERY);
        if ip(here) == ip(there) || lately {
            return;
        }
        self.two_places_told = Some(now);
        tracing::warn!(%here, %there, "one key connects from two places");
        let alarm = Alarm {
            tenant: self.camera.id.tenant().clone(),
            at: self.shared.now(),
            kind: AlarmKind::KeyInTwoPlaces {
                camera: self.camera.id.clone(),
                peers: vec![here.to_string(), there.to_string()],
            },
        };
        crate::alarm_task::queue(&self.shared.metrics, &self.alarms, alarm);
    }

    /// Begins the waiting claim when its time has come and none is under way.
    pub(super) fn claim_if_due(&mut self) {
        let now = self.shared.clock.monotonic();
        if self.claiming.due().is_none_or(|due| due > now) {
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

    /// A claim is back.
    pub(super) fn claimed(&mut self, result: Result<Generation, String>) {
        let Some(session) = self.claiming.session.take() else {
            return;
        };
        let live = self.tunnels.get_mut(&session).filter(|tunnel| !tunnel.over);
        match (result, live) {
            (Ok(generation), Some(tunnel)) => {
                tunnel.generation = Some(generation);
                self.lan_backoff.reset();
                self.step(Event::Up {
                    generation,
                    session,
                });
                self.hung_up = false;
            }
            // It ended meanwhile; where a newer one waits, its claim supersedes this one.
            (Ok(generation), None) if self.claiming.waiting.is_none() => self.release(generation),
            (Ok(_), None) => {}
            (Err(error), _) => {
                tracing::error!(%session, %error, "the claim was lost");
                self.shared.metrics.claims_lost.inc();
                self.end_session(session, EndReason::ClaimLost);
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
        if let Some(generation) = tunnel.generation {
            match end {
                TunnelEnd::Lost => self.step(Event::Lost { generation }),
                TunnelEnd::HungUp => self.hung_up(generation),
            }
        }
    }

    /// The tunnel of that generation was ended on purpose.
    fn hung_up(&mut self, generation: Generation) {
        let present = match self.table.link() {
            Link::Up { generation, .. } | Link::Grace { generation } => Some(generation),
            Link::Absent => None,
        };
        if present == Some(generation) {
            self.hung_up = true;
            self.step(Event::HungUp { generation });
        }
    }

    /// The present link is ended on purpose, whoever wishes it.
    pub(super) fn hang_up(&mut self, why: &'static str) {
        tracing::info!(why, "hang-up");
        self.drop_claim(EndReason::HungUp);
        match self.table.link() {
            Link::Up { generation, .. } | Link::Grace { generation } => self.hung_up(generation),
            Link::Absent => {}
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
        if session.0 >= crate::FIRST_LAN_SESSION {
            self.tunnels.remove(&session);
            if self.claiming.waiting == Some(session) {
                self.claiming.waiting = None;
            }
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

    /// A session that served or waited is gone although its connection may still look alive.
    fn count_as_lost(&mut self, session: SessionId) {
        let generation = self
            .tunnels
            .get(&session)
            .and_then(|tunnel| tunnel.generation);
        if self.claiming.waiting == Some(session) {
            self.claiming.waiting = None;
        }
        self.end_session(session, EndReason::Silent);
        if let Some(generation) = generation {
            self.step(Event::Lost { generation });
        }
    }

    /// A LAN camera is up from the process's start or its enabling on: one claim each time.
    pub(super) fn claim_lan(&mut self) {
        let lan = |session: &SessionId| session.0 >= crate::FIRST_LAN_SESSION;
        let wanted = self.is_lan()
            && self.camera.enabled.is_yes()
            && !self.removed
            && !self.stopping
            && !self.tunnels.keys().any(lan);
        if wanted {
            self.tunnel_up(TunnelUp {
                session: next_lan_session(&self.lan_sessions),
                camera: Arc::clone(&self.camera),
                peer: None,
                client: String::new(),
            });
        }
    }

    /// The owner changed the record.
    pub(super) fn record_changed(&mut self, camera: Arc<Camera>) {
        let old = std::mem::replace(&mut self.camera, Arc::clone(&camera));
        self.end_revoked();
        match (old.enabled.is_yes(), camera.enabled.is_yes()) {
            (true, false) => {
                self.drop_claim(EndReason::Disabled);
                self.step(Event::Disabled);
                self.end_channels(EndReason::Disabled);
            }
            (false, true) => self.step(Event::Enabled),
            _ => {}
        }
        let was_lan = matches!(old.access, Access::Lan { .. });
        if was_lan != self.is_lan() {
            self.hang_up("the way to the camera was changed");
            self.hung_up = false;
        } else if restarts_workloads(&old, &camera) {
            self.step(Event::Changed);
        }
        self.claim_lan();
    }

    /// Ends every session whose key may have been revoked. The port does not say which key proved a session, only which keys the camera
    /// had then: a session of a camera with several keys is ended too, and comes back at once if it may.
    fn end_revoked(&mut self) {
        let present = &self.camera.keys;
        let revoked = |record: &Arc<Camera>| {
            let gone = |key| !present.iter().any(|kept| kept.key == key);
            record.keys.iter().any(|held| gone(held.key.clone()))
        };
        let tunnels = self.tunnels.iter();
        let mut sessions: Vec<SessionId> = tunnels
            .filter(|(_, tunnel)| revoked(&tunnel.camera))
            .map(|(session, _)| *session)
            .collect();
        let talks = self.talks.iter().filter(|(_, (_, record))| revoked(record));
        sessions.extend(talks.map(|(session, _)| *session));
        sessions.sort_unstable();
        sessions.dedup();
        for session in sessions {
            if session.0 < crate::FIRST_LAN_SESSION {
                tracing::warn!(%session, "a key of the camera was revoked");
                self.ports.sessions.end(session, EndReason::Removed);
            }
        }
    }

    /// Ends the sessions that have a monitor's channel and no tunnel: the camera may not be connected at all.
    pub(super) fn end_channels(&mut self, reason: EndReason) {
        let sessions: Vec<SessionId> = self.talks.keys().copied().collect();
        for session in sessions {
            if !self.tunnels.contains_key(&session) {
                self.end_session(session, reason);
            }
        }
    }

    /// A session opened its monitor's channel: hello and the time.
    pub(super) fn channel_opened(&mut self, session: SessionId) {
        let now = self.shared.clock.monotonic();
        let unix = u64::try_from(self.shared.clock.wall_ms() / 1_000).unwrap_or(0);
        let (talk, lines) = Conversation::open(&self.camera.id, unix, now);
        self.talks.insert(session, (talk, Arc::clone(&self.camera)));
        for line in lines {
            self.ports.control.send(session, &line.to_string());
        }
    }

    /// The camera said a line.
    pub(super) fn channel_line(&mut self, session: SessionId, line: &[u8]) {
        let now = self.shared.clock.monotonic();
        let Some((talk, _)) = self.talks.get_mut(&session) else {
            return;
        };
        if talk.line(line, now) == Outcome::Bye {
            self.bye(session);
        }
    }

    fn bye(&mut self, session: SessionId) {
        tracing::info!(%session, "the camera says BYE");
        let generation = self
            .tunnels
            .get(&session)
            .and_then(|tunnel| tunnel.generation);
        match generation {
            Some(generation) => self.hung_up(generation),
            None => {
                if self.claiming.waiting == Some(session) {
                    self.claiming.waiting = None;
                }
                if self.tunnels.contains_key(&session) && self.table.link() == Link::Absent {
                    self.hung_up = true;
                }
                self.end_session(session, EndReason::HungUp);
            }
        }
    }

    /// PINGs that are due; sessions that fell silent count as lost.
    pub(super) fn conversations_due(&mut self) {
        let now = self.shared.clock.monotonic();
        let mut silent = Vec::new();
        for (session, (talk, _)) in &mut self.talks {
            match talk.tick(now) {
                (Outcome::Silent, _) => silent.push(*session),
                (_, Some(ping)) => {
                    self.ports.control.send(*session, &ping.to_string());
                }
                _ => {}
            }
        }
        for session in silent {
            tracing::warn!(%session, "the camera stopped answering PING: lost");
            self.talks.remove(&session);
            self.count_as_lost(session);
        }
    }

    /// What the page shows of the session that serves, or of the newest one.
    pub(super) fn said(&self) -> Vec<(String, String)> {
        let serving = match self.table.link() {
            Link::Up { session, .. } => self.talks.get(&session),
            _ => None,
        };
        let talk = serving.or_else(|| self.talks.values().next_back());
        talk.map(|(talk, _)| talk.said()).unwrap_or_default()
    }
}

/// Whether relay and archiver have to be started anew. Title, site, time zone and keys are not their business; further forwards count
/// with the next session.
fn restarts_workloads(old: &Camera, new: &Camera) -> bool {
    let place = match (&old.access, &new.access) {
        (Access::Tunnel { .. }, Access::Tunnel { .. }) => false,
        (old, new) => old != new,
    };
    place
        || old.main != new.main
        || old.sub != new.sub
        || old.record != new.record
        || old.retention != new.retention
}
