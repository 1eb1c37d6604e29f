//! Who holds a camera, from memory; and the fence: a session of this replica that was superseded elsewhere is ended.
//!
//! `Here` is only what this process claimed itself: what a predecessor of the same name left is nobody's until it is claimed again or the
//! janitor takes it. A replica whose Lease has expired is nobody too.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::lifecycle::EndReason;
use moorline_core::port::{Holder, Holders, Sessions};
use moorline_core::{CameraId, Timestamp};
use tokio::sync::watch;

use crate::cache::Cache;
use crate::directory::KubeDirectory;
use crate::freshness::Freshness;
use crate::owned::Owned;
use crate::wake::Touched;

/// The replicas whose Lease has expired, by name. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Gone(Arc<watch::Sender<BTreeSet<String>>>);

impl Gone {
    /// Whether this replica is gone.
    pub fn contains(&self, replica: &str) -> bool {
        self.0.borrow().contains(replica)
    }

    /// These are gone now.
    pub fn set(&self, replicas: BTreeSet<String>) {
        self.0.send_if_modified(|known| {
            let differs = *known != replicas;
            *known = replicas;
            differs
        });
    }

    /// Changes when they do.
    fn changes(&self) -> watch::Receiver<BTreeSet<String>> {
        self.0.subscribe()
    }
}

/// `Holders` of this replica. Clones are the same.
#[derive(Debug, Clone)]
pub struct KubeHolders {
    cache: Cache,
    owned: Owned,
    gone: Gone,
    freshness: Freshness,
    clock: SharedClock,
}

impl KubeHolders {
    /// Over what the directory's watch and this replica's claims say. `gone` and the directory's freshness are what its [`Leases`] tell.
    ///
    /// [`Leases`]: crate::Leases
    pub fn new(directory: &KubeDirectory, owned: Owned, gone: Gone) -> Self {
        Self {
            cache: directory.cache().clone(),
            owned,
            gone,
            freshness: directory.freshness().clone(),
            clock: Arc::clone(directory.clock()),
        }
    }

    /// Ends the sessions of this replica that were superseded elsewhere: a higher generation, the same under another replica, or another
    /// resource of that name. Touches no pod and writes nothing. Ends with `cancel`.
    pub async fn fence(&self, sessions: Arc<dyn Sessions>, cancel: CancellationToken) {
        let touched = Arc::new(Touched::default());
        self.cache.wakes().follow(&touched);
        self.owned.wakes().follow(&touched);
        // What was claimed before.
        touched.add_all();
        loop {
            let which = tokio::select! {
                () = cancel.cancelled() => return,
                which = touched.next() => which,
            };
            for (camera, own) in self.owned.among(which) {
                let known = self.cache.camera(&camera);
                if self.owned.still_holds(&own, known.as_ref()) {
                    continue;
                }
                if self.owned.remove(&camera, own.generation).is_some() {
                    tracing::info!(%camera, generation = %own.generation, "superseded by another replica");
                    if let Some(session) = own.session {
                        sessions.end(session, EndReason::Superseded);
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Holders for KubeHolders {
    fn holder(&self, camera: &CameraId) -> Holder {
        let known = self.cache.camera(camera);
        if let Some(own) = self.owned.get(camera)
            && self.owned.still_holds(&own, known.as_ref())
        {
            return Holder::Here(own.generation);
        }
        let Some(known) = known else {
            return Holder::Unknown;
        };
        let Some(session) = known.session() else {
            return Holder::Nobody;
        };
        let here = &self.owned.replica().name;
        let there = session
            .mon
            .as_deref()
            .filter(|mon| mon != here && !self.gone.contains(mon));
        let address = session.address.as_deref().map(str::parse);
        match (there, address) {
            (Some(_), Some(Ok(address))) => Holder::There {
                address,
                generation: known.generation(),
            },
            _ => Holder::Nobody,
        }
    }

    fn since(&self, camera: &CameraId) -> Option<Timestamp> {
        let own = self.owned.get(camera)?;
        let known = self.cache.camera(camera);
        let holds = self.owned.still_holds(&own, known.as_ref());
        holds.then_some(own.since)
    }

    fn is_current(&self) -> bool {
        self.freshness.is_current(self.clock.monotonic())
    }

    async fn changed(&self, camera: &CameraId, seen: &Holder) -> Holder {
        let mut cached = self.cache.wakes().of(camera);
        let mut claimed = self.owned.wakes().of(camera);
        let mut gone = self.gone.changes();
        loop {
            let holder = self.holder(camera);
            if holder != *seen {
                return holder;
            }
            tokio::select! {
                Ok(()) = cached.changed() => {}
                Ok(()) = claimed.changed() => {}
                Ok(()) = gone.changed() => {}
                else => std::future::pending().await,
            }
        }
    }
}
