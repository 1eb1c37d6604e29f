//! The table's actions, carried out, and what instances say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::timeout;
use moorline_base::{Backoff, Untrusted};
use moorline_core::alarm::NoticeKind;
use moorline_core::lifecycle::{Action, EndReason, Event, Link, Role};
use moorline_core::port::{AuditEntry, AuditEvent, WorkloadOrder, WorkloadSpec};
use moorline_core::status::{ArchiveReport, RelayReport, RelayState};
use moorline_core::{Generation, InstanceId, SessionId, SourceName};
use tracing::Instrument;

use super::link::CLAIM_DEADLINE;
use super::{Driver, Timer};
use crate::mailbox::InstanceMail;

/// A workload that uses its whole budget still gets so long to say that it is drained.
const DRAIN_SLACK: Duration = Duration::from_secs(5);

/// How a claim is given back.
#[derive(Debug, Clone, Copy)]
enum Back {
    Released,
    /// Nothing was started for it.
    Unused,
}

/// A started pair of workloads, until it is forgotten.
#[derive(Debug, Default)]
pub(super) struct Instance {
    /// The tunnel that it reads from.
    generation: Generation,
    pub(super) relays: BTreeMap<SourceName, RelayReport>,
    /// Nothing was heard of the relay since the present tunnel serves.
    pub(super) rebound: bool,
    /// The relay has played since the present tunnel serves.
    pub(super) played: bool,
    pub(super) archive: Option<ArchiveReport>,
    /// Nothing is heard of the relay's pod since its last report.
    pub(super) relay_away: bool,
    /// Roles that crashed and wait for their restart.
    pub(super) down: BTreeSet<Role>,
    backoffs: BTreeMap<Role, Backoff>,
}

impl Driver {
    /// One action of the table.
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Serve {
                session,
                generation,
            } => {
                self.appear(session);
                self.ports.sessions.serve(session, generation);
            }
            Action::EndSession { session, reason } => {
                if reason == EndReason::Superseded {
                    self.taken_over(session);
                }
                self.end_session(session, reason);
            }
            Action::Start {
                instance,
                generation,
            } => self.start(instance, generation),
            Action::Rebind {
                instance,
                generation,
            } => {
                tracing::info!(%instance, "camera is back: workloads rebind");
                if let Some(running) = self.instances.get_mut(&instance) {
                    running.generation = generation;
                    running.rebound = true;
                    running.played = false;
                }
                self.order(instance, WorkloadOrder::Rebind { generation });
            }
            Action::Drain { instance } => {
                let budget = self.shared.settings.drain_budget;
                tracing::info!(%instance, ?budget, "workloads drain");
                self.order(instance, WorkloadOrder::Drain { budget });
                self.schedule(budget + DRAIN_SLACK, Timer::Overdue(instance));
            }
            Action::Kill { instance } => {
                tracing::warn!(%instance, "workloads killed: not drained within the budget");
                self.ports.workloads.kill(&self.camera.id, instance);
            }
            Action::ScheduleRestart { instance, role } => self.schedule_restart(instance, role),
            Action::Restart { instance, role } => self.restart(instance, role),
            Action::StartGrace { generation } => {
                let grace = self.shared.settings.grace;
                tracing::info!(?grace, "camera lost: workloads wait for it");
                self.schedule(grace, Timer::Grace(generation));
            }
            Action::Release { generation } => self.release(generation, Back::Released),
            Action::GiveBack { generation } => self.release(generation, Back::Unused),
            Action::Forget { instance } => {
                tracing::info!(%instance, "workloads drained");
                self.instances.remove(&instance);
            }
        }
    }

    /// A tunnel that served gives way to another (S35). A claim that lost its turn is none: it never served.
    fn taken_over(&self, session: SessionId) {
        let address = |session: &SessionId| {
            let peer = self.tunnels.get(session).and_then(|tunnel| tunnel.peer);
            peer.map_or_else(|| "an unknown address".to_owned(), |peer| peer.to_string())
        };
        let served = self.tunnels.get(&session);
        if served.is_none_or(|tunnel| tunnel.generation.is_none()) {
            return;
        }
        let by = match self.table.link() {
            Link::Up { session: new, .. } => address(&new),
            Link::Grace { .. } | Link::Absent => return,
        };
        self.ports.audit.write(AuditEntry {
            at: self.shared.now(),
            actor: format!("camera {}", self.camera.id),
            event: AuditEvent::Takeover,
            subject: format!("{} from {} by {by}", self.camera.id, address(&session)),
        });
    }

    /// Says who serves from now on, and what is new about it (S4).
    fn appear(&mut self, session: SessionId) {
        let tunnel = self.tunnels.get(&session);
        let peer = tunnel.and_then(|tunnel| tunnel.peer);
        let client = tunnel
            .map(|tunnel| tunnel.client.clone())
            .unwrap_or_default();
        let news = self.appearances.seen(peer.map(|peer| peer.ip()), &client);
        let shown = Untrusted::new(&client);
        let from = peer.map(tracing::field::display);
        tracing::info!(%session, peer = from, client = %shown, "camera up");
        if news.network {
            self.notice(NoticeKind::NewNetwork, peer, client.clone());
        }
        if news.client {
            self.notice(NoticeKind::NewClient, peer, client.clone());
        }
        self.client = Some(client).filter(|client| !client.is_empty());
    }

    fn order(&self, instance: InstanceId, order: WorkloadOrder) {
        self.ports.workloads.order(&self.camera.id, instance, order);
    }

    fn start(&mut self, instance: InstanceId, generation: Generation) {
        tracing::info!(%instance, "workloads start");
        let started = Instance {
            generation,
            ..Instance::default()
        };
        self.instances.insert(instance, started);
        self.ports.workloads.start(self.spec(instance, generation));
    }

    fn spec(&self, instance: InstanceId, generation: Generation) -> WorkloadSpec {
        WorkloadSpec {
            instance,
            camera: Arc::clone(&self.camera),
            generation,
            gaps: self.ledger.stretches(),
            durable_until: self.ledger.durable_until(),
            recorded_from: self.recorded_from,
        }
    }

    fn schedule_restart(&mut self, instance: InstanceId, role: Role) {
        let now = self.shared.clock.monotonic();
        let Some(running) = self.instances.get_mut(&instance) else {
            return;
        };
        let backoff = running
            .backoffs
            .entry(role)
            .or_insert_with(Backoff::standard);
        let pause = backoff.failed(now);
        running.down.insert(role);
        match role {
            Role::Relay => running.relays.clear(),
            Role::Archiver => running.archive = None,
        }
        tracing::warn!(%instance, role = role.as_str(), ?pause, "a workload is started again");
        self.schedule(pause, Timer::Restart(instance, role));
    }

    fn restart(&mut self, instance: InstanceId, role: Role) {
        let now = self.shared.clock.monotonic();
        let Some(running) = self.instances.get_mut(&instance) else {
            return;
        };
        running.down.remove(&role);
        running
            .backoffs
            .entry(role)
            .or_insert_with(Backoff::standard)
            .started(now);
        let generation = running.generation;
        self.shared.metrics.restarted(role);
        let spec = self.spec(instance, generation);
        self.ports.workloads.restart(instance, role, spec);
    }

    /// Gives a claim back, in a task of its own.
    fn release(&mut self, generation: Generation, how: Back) {
        let claims = Arc::clone(&self.ports.claims);
        let clock = Arc::clone(&self.shared.clock);
        let camera = self.camera.id.clone();
        let release = async move {
            let given = match how {
                Back::Released => claims.release(&camera, generation),
                Back::Unused => claims.give_back(&camera, generation),
            };
            match timeout(&*clock, CLAIM_DEADLINE, given).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the claim was not given back; the next one supersedes it")
                }
                Err(error) => {
                    tracing::warn!(%error, "the claim was not given back; the next one supersedes it")
                }
            }
        };
        self.releases.spawn(release.in_current_span());
    }

    /// What an instance has said since the last turn.
    pub(super) fn instance_said(&mut self, instance: InstanceId, mail: InstanceMail) {
        let now = self.shared.now();
        let Some(known) = self.instances.get_mut(&instance) else {
            // Left behind by a task that panicked, or a last word of one that is gone: ending it again does no harm.
            if !mail.drained {
                self.ports.workloads.kill(&self.camera.id, instance);
            }
            return;
        };
        known.rebound &= mail.relays.is_empty();
        if mail.relay_away || mail.replaced {
            known.relays.clear();
        }
        if mail.replaced {
            known.relay_away = false;
            known.archive = None;
        }
        known.relay_away = mail.relay_away || known.relay_away && mail.relays.is_empty();
        let mut states = mail.relays.values().map(|report| report.state);
        known.played |= states.any(|state| state == RelayState::Playing);
        known.relays.extend(mail.relays);
        if let Some(report) = mail.archive {
            if let Some(durable) = report.durable_until {
                self.ledger.durable(durable, now);
            }
            known.archive = Some(report);
        }
        for (role, reason) in mail.crashed {
            let reason = Untrusted::new(reason);
            tracing::error!(%instance, role = role.as_str(), %reason, "a workload ended although nobody asked it to");
            self.step(Event::Crashed { instance, role });
        }
        if mail.drained {
            self.step(Event::Drained { instance });
        }
    }
}
