//! What the owner changed, and LAN cameras, which are up because their record says so.

use std::sync::Arc;

use moorline_core::camera::{Access, RecordBy};
use moorline_core::lifecycle::{EndReason, Event};
use moorline_core::port::TunnelUp;
use moorline_core::{Camera, Cause, PublicKey, SessionId, SourceName};

use super::{By, Driver};
use crate::roster::next_lan_session;

impl Driver {
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
                key: None,
                peer: None,
                client: String::new(),
            });
        }
    }

    /// The operator hangs up. A LAN camera has no tunnel that it could open anew: it is read anew.
    pub(super) fn hung_up_by_operator(&mut self) {
        if self.is_lan() {
            tracing::info!("hang-up: the camera is read anew");
            self.by_operator();
            self.step(Event::Changed);
        } else {
            self.hang_up("the operator hung up");
        }
    }

    /// The operator hangs up by an order for one generation. A tunnel that came later stays, one that still waits for its claim too.
    pub(super) fn obey(&mut self) {
        let Some(ordered) = self.ordered else {
            return;
        };
        let present = self.present();
        // The order may be here before the claim that it is for is back.
        if present < Some(ordered) && self.claiming.is_under_way() {
            return;
        }
        self.ordered = None;
        if let Some(generation) = present.filter(|present| *present <= ordered) {
            tracing::info!(why = "the operator hung up", "hang-up");
            self.hung_up(generation, By::Operator);
        }
    }

    /// The owner changed the record.
    pub(super) fn record_changed(&mut self, camera: Arc<Camera>) {
        let old = std::mem::replace(&mut self.camera, Arc::clone(&camera));
        self.note_recorded(camera.record.source());
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
        if old.streampoint != camera.streampoint {
            self.streampoint_changed(old.streampoint.is_some());
        }
        let was_lan = matches!(old.access, Access::Lan { .. });
        if was_lan != self.is_lan() {
            self.by_operator();
            self.hang_up("the way to the camera was changed");
        } else if restarts_workloads(&old, &camera) {
            if old.record_by == RecordBy::Uplink || camera.record_by == RecordBy::Uplink {
                self.because_of(Cause::Restart);
            } else {
                self.by_operator();
            }
            self.step(Event::Changed);
        }
        self.claim_lan();
    }

    /// Another stream than before is recorded from now on, or from the beginning of what is missing now.
    fn note_recorded(&mut self, source: Option<SourceName>) {
        let before = self.recorded;
        self.recorded = source.or(before);
        if source.is_some() && before.is_some() && before != source {
            let open = self.ledger.open_gap().map(|gap| gap.since);
            self.recorded_from = Some(open.unwrap_or_else(|| self.shared.now()));
        }
    }

    /// What is missing from now on until there is media again is the operator's doing, unless something was missing already.
    fn by_operator(&mut self) {
        self.because_of(Cause::Operator);
    }

    fn because_of(&mut self, cause: Cause) {
        if self.ledger.open_gap().is_none() && !self.stopping {
            self.ledger.set(Some(cause), self.shared.now());
        }
    }

    /// Ends the tunnels whose own key was revoked; those of the camera's other keys go on. A session without a tunnel is the tunnel's to end
    /// (see `TunnelEvents`).
    fn end_revoked(&mut self) {
        let present = &self.camera.keys;
        let revoked = |key: &PublicKey| !present.iter().any(|kept| kept.key == *key);
        let tunnels = self.tunnels.iter();
        let of_revoked = tunnels.filter(|(_, tunnel)| tunnel.key.as_ref().is_some_and(revoked));
        let sessions: Vec<SessionId> = of_revoked.map(|(session, _)| *session).collect();
        for session in sessions {
            tracing::warn!(%session, "the key of the session was revoked");
            if self.claiming.waiting == Some(session) {
                self.claiming.waiting = None;
            }
            let claimed = self
                .tunnels
                .get(&session)
                .is_some_and(|tunnel| tunnel.generation.is_some());
            if claimed {
                // Its end is heard as a loss: the workloads wait for the camera, which may come back with another key.
                self.ports.sessions.end(session, EndReason::Removed);
            } else {
                self.end_session(session, EndReason::Removed);
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
