//! `moorline sweeper`: deletes what has outlived its retention class, and what is to be erased with its camera or tenant. It alone has the key that may
//! delete (rule S18), and needs no other right on the store than to list.
//!
//! ```text
//! every 10 min: each bucket → what is older than its class (the same plan as serve's)   at most so many objects per second
//! every 30 s:   cameras and tenants to be erased → their folders, until a list is empty → finalizer away, `erased`
//! ```
//! All by state, and idempotent: what was interrupted is begun anew by the next pass.

use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::sleep;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::CameraId;
use moorline_kube::{Erasure, Erasures, KubeDirectory};
use moorline_store::sweep::{Pace, Whose};
use moorline_store::{SweepPolicy, SweepState, Sweeper};

use super::role::{LISTED, Role};
use super::stores::{Keys, Stores};
use crate::args::Global;

/// Between two looks for something to erase.
const EVERY: Duration = Duration::from_secs(30);

/// Runs until SIGTERM.
///
/// # Errors
/// A setting or a file is wrong, or the API server cannot be reached at all.
pub async fn run(global: &Global) -> anyhow::Result<()> {
    let mut role = Role::new(global, Duration::from_secs(5)).await?;
    let cluster = role.settings.cluster.clone();
    let stores = Stores::new(&role, Keys::Delete, &cluster.store_delete)?;
    let Some(listed) = role.listed(false, LISTED).await else {
        return role.leave().await;
    };
    if !listed {
        tracing::warn!("the API server does not answer: nothing is erased until it does");
    }
    let (keeping, stop) = (stores.clone(), role.doors.token());
    role.doors
        .spawn("tenants' stores", async move { keeping.run(stop).await });
    let broom = Broom {
        stores,
        erasures: Erasures::new(&role.directory, Arc::clone(&role.clock)),
        pace: cluster.sweep_pace,
        clock: Arc::clone(&role.clock),
    };
    let (erasing, stop, listed) = (broom.clone(), role.work.token(), role.directory.clone());
    role.work.spawn(
        "erasing",
        async move { erasing.erasing(&listed, &stop).await },
    );
    let (stop, every) = (role.work.token(), cluster.sweep_every.get());
    role.work.spawn(
        "retention",
        async move { broom.sweeping(every, &stop).await },
    );
    role.run().await
}

#[derive(Clone)]
struct Broom {
    stores: Stores,
    erasures: Erasures,
    /// Objects per second.
    pace: u32,
    clock: SharedClock,
}

impl Broom {
    fn pace(&self, stop: &CancellationToken) -> Pace {
        Pace::new(self.pace, Arc::clone(&self.clock), stop.clone())
    }

    /// Looks for what is to be erased, again and again until `stop`.
    async fn erasing(&self, directory: &KubeDirectory, stop: &CancellationToken) {
        let known = async {
            // Before everything was listed a tenant looks as if it had no camera left.
            directory.listed().await;
            self.stores.listed().await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = known => {}
        }
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.erase(stop) => {}
            }
            if sleep(&*self.clock, EVERY, stop).await.is_cancelled() {
                return;
            }
        }
    }

    /// Looks for what has expired, again and again until `stop`.
    async fn sweeping(&self, every: Duration, stop: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.sweep(stop) => {}
            }
            if sleep(&*self.clock, every, stop).await.is_cancelled() {
                return;
            }
        }
    }

    /// What has outlived its class, in every bucket, one after the other.
    async fn sweep(&self, stop: &CancellationToken) {
        for store in self.stores.all() {
            let policy = SweepPolicy::default();
            // The nodes of a cluster keep time: no clock is remembered.
            let state = SweepState::in_memory();
            let sweeper = Sweeper::by_age(Arc::new(store), policy, state, Arc::clone(&self.clock));
            match sweeper.paced(self.pace(stop)).run_once().await {
                Ok(swept) if swept.objects == 0 => {}
                Ok(swept) => tracing::info!(
                    objects = swept.objects,
                    bytes = swept.bytes,
                    "retention deleted recordings"
                ),
                Err(cause) => tracing::warn!(%cause, "retention could not sweep a bucket"),
            }
        }
    }

    /// What is to go with its camera or tenant.
    async fn erase(&self, stop: &CancellationToken) {
        if let Err(fault) = self.erasures.mark().await {
            tracing::warn!(%fault, "cameras to be erased could not be marked");
        }
        for erasure in self.erasures.due() {
            if let Err(error) = self.erase_one(&erasure, stop).await {
                tracing::warn!(?erasure, "not erased, and tried again: {error:#}");
            }
        }
    }

    async fn erase_one(&self, erasure: &Erasure, stop: &CancellationToken) -> anyhow::Result<()> {
        if self.erasures.is_wanted(erasure) {
            let found = self.stores.find(erasure.tenant());
            let found =
                found.ok_or_else(|| anyhow::anyhow!("its store is not known, or does not work"))?;
            let whose = match erasure {
                Erasure::Tenant(_) => Whose::Tenant(found.storage_id),
                Erasure::Camera(camera) => {
                    Whose::Camera(CameraId::new(found.storage_id, camera.name().parse()?))
                }
            };
            let objects = found.store.erase(&whose, &self.pace(stop)).await?;
            tracing::info!(?erasure, objects, "erased");
        }
        Ok(self.erasures.done(erasure).await?)
    }
}

#[cfg(test)]
mod tests;
