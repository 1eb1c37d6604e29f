//! What the monitor calls: [`Sessions`], [`ControlWriter`], [`Strangers`]. No call blocks.

use std::net::IpAddr;
use std::sync::Arc;

use moorline_core::lifecycle::EndReason;
use moorline_core::port::{ControlWriter, Sessions, Stranger, Strangers};
use moorline_core::{CameraId, Generation, PublicKey, SessionId};

use super::Tunnel;
use crate::closed::Closed;
use crate::control;
use crate::seats::Taken;
use crate::session::Stage;

impl Tunnel {
    /// Where each connected camera comes from, one per session that proved a key.
    pub fn peers(&self) -> Vec<(CameraId, IpAddr)> {
        let sessions = self.0.registry.sessions().into_iter();
        let proved = sessions.filter_map(|session| {
            let camera = session.proved()?.camera.id.clone();
            Some((camera, session.peer.ip()))
        });
        proved.collect()
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
            Taken::TooLate => return session.end(Closed::Superseded),
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
        let inner = &self.0;
        let now = inner.clock.monotonic();
        let mut pending = inner.strangers.pending();
        inner.admission(|admission| {
            for stranger in &mut pending {
                stranger.held_off = admission.held_off(stranger.peer.ip(), now);
            }
        });
        pending
    }

    fn forget(&self, key: &PublicKey) {
        self.0.strangers.forget(key);
    }
}
