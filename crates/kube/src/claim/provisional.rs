//! Claims while the API server is away: the session is served under the next generation, and the write waits.
//!
//! The server may come back with a rival's claim. Then the later connection keeps it: an older rival's generation is at least ours, so ours is
//! spent, the session ends and the camera redials; a later one's too. Either way no two sessions are served under one generation for long,
//! and the gateway asks its peers meanwhile.

use moorline_base::Backoff;
use moorline_core::lifecycle::EndReason;
use moorline_core::{CameraId, Timestamp};

use super::rule::Intent;
use super::{KubeClaims, WRITE, connected};
use crate::call::Fault;
use crate::owned::Own;
use crate::resource::Session;

/// How a try ended.
enum Tried {
    Written,
    /// The generation is spent, or the camera gone.
    Lost,
    Later(Fault),
}

impl KubeClaims {
    /// Writes the claim once the API server answers. Ends with the claim, or with the process.
    pub(super) fn write_later(&self, camera: CameraId, own: Own) {
        let this = self.clone();
        tokio::spawn(async move {
            let mut backoff = Backoff::standard();
            loop {
                let delay = backoff.next_delay();
                let clock = this.0.writer.clock();
                let slept = moorline_base::clock::sleep(&**clock, delay, &this.0.stop).await;
                let owned = this.0.writer.owned();
                let wanted = owned
                    .get(&camera)
                    .is_some_and(|now| now.generation == own.generation && now.provisional);
                if slept.is_cancelled() || !wanted {
                    return;
                }
                match this.try_now(&camera, &own).await {
                    Tried::Written => {
                        owned.change(&camera, own.generation, |own| own.provisional = false);
                        tracing::info!(%camera, generation = %own.generation, "the claim is written");
                        return;
                    }
                    Tried::Lost => {
                        tracing::warn!(%camera, generation = %own.generation, "the claim was overtaken while the API server was away");
                        owned.remove(&camera, own.generation);
                        if let Some(session) = own.session {
                            this.0.sessions.end(session, EndReason::ClaimLost);
                        }
                        return;
                    }
                    Tried::Later(fault) => {
                        tracing::debug!(%camera, %fault, "the claim still waits");
                    }
                }
            }
        });
    }

    async fn try_now(&self, camera: &CameraId, own: &Own) -> Tried {
        let writer = &self.0.writer;
        let lane = writer.lane(camera);
        let _turn = lane.turn.lock().await;
        let known = match writer.read(camera, WRITE).await {
            Ok(known) => known,
            Err(Fault::Missing) => return Tried::Lost,
            Err(fault) => return Tried::Later(fault),
        };
        let session = self.session_of(own);
        if known.uid != own.uid || known.is_leaving() {
            return Tried::Lost;
        }
        if known.session() == Some(&session) {
            return Tried::Written;
        }
        if known.generation() >= own.generation {
            return Tried::Lost;
        }
        let (note, now) = (connected(), writer.now());
        let put = writer
            .put(&known, WRITE, |status| {
                status.session = Some(session);
                status.away = None;
                note.apply(status, now);
            })
            .await;
        match put {
            Ok(()) => Tried::Written,
            Err(fault) => Tried::Later(fault),
        }
    }

    fn session_of(&self, own: &Own) -> Session {
        let facts = own.session.and_then(|session| self.0.book.facts(session));
        let peer = facts
            .and_then(|facts| facts.peer)
            .map(|peer| peer.to_string());
        let since: Timestamp = own.since;
        self.session(&Intent {
            mon: self.0.writer.owned().replica().name.clone(),
            since,
            peer,
            read: own.generation,
            wanted: own.generation,
        })
    }
}
