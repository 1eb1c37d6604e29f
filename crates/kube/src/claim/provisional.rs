//! Claims while the API server is away: the session is served under the next generation, and the write waits.
//!
//! The server may come back with a rival's claim. Then the later connection keeps it: an older rival's generation is at least ours, so ours is
//! spent, the session ends and the camera redials; a later one's too. Either way no two sessions are served under one generation for long,
//! and the gateway asks its peers meanwhile. The replica that lost the camera lets its pods wait until this must have been written: so all that
//! wait are tried as soon as the outage is over.

use moorline_base::Backoff;
use moorline_core::lifecycle::EndReason;
use moorline_core::{CameraId, Timestamp};

use super::rule::Intent;
use super::{KubeClaims, WRITE, connected, draining, lost};
use crate::call::Fault;
use crate::owned::Own;
use crate::resource::Session;
use crate::status::Note;

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
            let (mut backoff, mut back) = (Backoff::standard(), this.0.freshness.back());
            loop {
                let delay = backoff.next_delay();
                let clock = this.0.writer.clock();
                tokio::select! {
                    slept = moorline_base::clock::sleep(&**clock, delay, &this.0.stop) => {
                        if slept.is_cancelled() {
                            return;
                        }
                    }
                    Ok(()) = back.changed() => backoff.reset(),
                }
                let owned = this.0.writer.owned();
                let held = owned.get(&camera);
                let held = held.filter(|now| now.generation == own.generation && now.provisional);
                let Some(held) = held else {
                    return;
                };
                match this.try_now(&camera, &held).await {
                    Tried::Written => {
                        owned.change(&camera, own.generation, |own| own.provisional = false);
                        this.tell_late(&camera);
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
        // All that wait try when the server is back.
        let _place = match writer.room().place(&**writer.clock()).await {
            Ok(place) => place,
            Err(fault) => return Tried::Later(fault),
        };
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
        let written = known.session().is_some_and(|known| {
            let same = |known: &Session| (known.generation, known.mon.clone(), known.since);
            same(known) == same(&session)
        });
        if written {
            return Tried::Written;
        }
        if known.generation() >= own.generation {
            return Tried::Lost;
        }
        let (note, now) = (self.as_it_is(own), writer.now());
        let put = writer
            .put(&known, WRITE, |status| {
                status.claimed(session);
                status.away = None;
                note.apply(status, now);
            })
            .await;
        match put {
            Ok(()) => Tried::Written,
            Err(fault) => Tried::Later(fault),
        }
    }

    /// The tunnel may have gone while the write waited: whoever looks at the camera must not read that it is up.
    fn as_it_is(&self, own: &Own) -> Note {
        let lives = |session| self.0.book.facts(session).is_some();
        match own.session {
            _ if own.waits.is_some() => lost(),
            _ if own.released => draining(),
            Some(session) if !lives(session) => lost(),
            _ => connected(),
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
