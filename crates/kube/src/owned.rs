//! The cameras that this process holds: what it claimed itself, and nothing that a predecessor of the same name left.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use moorline_core::port::Memory;
use moorline_core::{CameraId, Generation, SessionId, Timestamp};

use crate::cache::Known;
use crate::wake::{Wakes, Which};

/// This replica: its name is that of its pod and of its Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// `moorline-mon-0`.
    pub name: String,
    /// Its tunnel gateway, as other pods reach it.
    pub gateway: SocketAddr,
}

/// A claim of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Of which resource: one that was deleted and made again is another.
    pub uid: String,
    /// The claimed generation.
    pub generation: Generation,
    /// The session; `None` where only the draining was taken over.
    pub session: Option<SessionId>,
    /// Since when.
    pub since: Timestamp,
    /// The API server was away: the claim is still to be written.
    pub provisional: bool,
    /// The pods that were found were draining already: they are not to be used again.
    pub found_draining: bool,
    /// It was given back: only the draining is left.
    pub released: bool,
    /// It was given back before anything was started for it: since when an earlier holder's pods wait for the camera, as after any loss.
    pub waits: Option<Instant>,
    /// What the last holder has left of it, as the claim read it.
    pub left: Option<Memory>,
}

/// The claims of this process. Clones are the same.
#[derive(Debug, Clone)]
pub struct Owned(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    replica: Replica,
    claims: Mutex<HashMap<CameraId, Own>>,
    wakes: Wakes,
}

impl Owned {
    /// Nothing is held.
    pub fn new(replica: Replica) -> Self {
        Self(Arc::new(Inner {
            replica,
            claims: Mutex::default(),
            wakes: Wakes::default(),
        }))
    }

    /// This replica.
    pub fn replica(&self) -> &Replica {
        &self.0.replica
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<CameraId, Own>) -> T) -> T {
        change(&mut self.0.claims.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The claim of that camera, if this process has one.
    pub fn get(&self, camera: &CameraId) -> Option<Own> {
        self.with(|claims| claims.get(camera).cloned())
    }

    /// All claims.
    pub fn all(&self) -> Vec<(CameraId, Own)> {
        self.with(|claims| {
            claims
                .iter()
                .map(|(id, own)| (id.clone(), own.clone()))
                .collect()
        })
    }

    /// The claims among these cameras.
    pub(crate) fn among(&self, which: Which) -> Vec<(CameraId, Own)> {
        match which {
            Which::All => self.all(),
            Which::These(cameras) => {
                let claims = cameras.into_iter().filter_map(|camera| {
                    let own = self.get(&camera)?;
                    Some((camera, own))
                });
                claims.collect()
            }
        }
    }

    /// The camera is held, under this generation.
    pub(crate) fn put(&self, camera: &CameraId, own: Own) {
        self.with(|claims| claims.insert(camera.clone(), own));
        self.0.wakes.ring(camera);
    }

    /// Changes a claim that is still of this generation. `false`: it is not.
    pub(crate) fn change(
        &self,
        camera: &CameraId,
        generation: Generation,
        change: impl FnOnce(&mut Own),
    ) -> bool {
        let changed = self.with(|claims| {
            let own = claims
                .get_mut(camera)
                .filter(|own| own.generation == generation);
            own.map(change).is_some()
        });
        if changed {
            self.0.wakes.ring(camera);
        }
        changed
    }

    /// The claim of this generation is over.
    pub(crate) fn remove(&self, camera: &CameraId, generation: Generation) -> Option<Own> {
        let removed = self.with(|claims| {
            let own = claims
                .get(camera)
                .filter(|own| own.generation == generation)
                .cloned();
            own.is_some().then(|| claims.remove(camera)).flatten()
        });
        if removed.is_some() {
            self.0.wakes.ring(camera);
        }
        removed
    }

    /// The claim of that session.
    pub(crate) fn of_session(&self, session: SessionId) -> Option<(CameraId, Own)> {
        self.with(|claims| {
            let held = claims.iter().find(|(_, own)| own.session == Some(session));
            held.map(|(id, own)| (id.clone(), own.clone()))
        })
    }

    /// Wakes whoever waits for a camera.
    pub(crate) fn wakes(&self) -> &Wakes {
        &self.0.wakes
    }

    /// Whether the camera, as the cluster has it now, is still held under this claim.
    pub(crate) fn still_holds(&self, own: &Own, known: Option<&Known>) -> bool {
        let Some(known) = known.filter(|known| known.uid == own.uid) else {
            return false;
        };
        let seen = known.generation();
        if seen < own.generation {
            // The claim is newer than the watch, or not yet written.
            return true;
        }
        let mon = known.session().and_then(|session| session.mon.as_deref());
        seen == own.generation && mon == Some(&self.0.replica.name)
    }
}
