//! What is to be erased from stores, as the resources say it, and the word that it is done.
//!
//! ```text
//! Tenant, deleted, onDelete erase, no Camera left              → its whole storage id    → status.erased
//! Camera, deleted, onDelete erase, drained (no archive finalizer) → its folder            → the recordings finalizer goes
//! Camera, not deleted, onDelete erase, without that finalizer  → the finalizer is added: `kubectl delete` waits for the erasing too
//! ```

use kube::Api;
use kube::api::{Patch, PatchParams};
use moorline_base::SharedClock;
use moorline_core::{CameraId, TenantId};
use serde_json::json;

use crate::cache::{Cache, Known};
use crate::call::{CALL, Connection, Fault, call};
use crate::directory::KubeDirectory;
use crate::names;
use crate::resource::{ARCHIVE_FINALIZER, Camera, OnDelete, RECORDINGS_FINALIZER, Tenant};

/// Something whose recordings are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erasure {
    /// All of a tenant, which has no camera left.
    Tenant(TenantId),
    /// All of a camera, which has drained.
    Camera(CameraId),
}

impl Erasure {
    /// Whose store it is.
    pub fn tenant(&self) -> &TenantId {
        match self {
            Self::Tenant(tenant) => tenant,
            Self::Camera(camera) => camera.tenant(),
        }
    }
}

/// The erasures of a cluster. Clones are the same.
#[derive(Debug, Clone)]
pub struct Erasures {
    client: Connection,
    cache: Cache,
    clock: SharedClock,
}

fn finalizers(known: &Known) -> &[String] {
    known
        .object
        .metadata
        .finalizers
        .as_deref()
        .unwrap_or_default()
}

fn has(known: &Known, finalizer: &str) -> bool {
    finalizers(known).iter().any(|name| name == finalizer)
}

impl Erasures {
    /// Over the watch of `directory`.
    pub fn new(directory: &KubeDirectory, clock: SharedClock) -> Self {
        Self {
            client: Connection(directory.client().clone()),
            cache: directory.cache().clone(),
            clock,
        }
    }

    /// What is to be erased now. Of a tenant only once its cameras are gone.
    pub fn due(&self) -> Vec<Erasure> {
        let cameras = self.cache.cameras();
        let of_cameras = cameras.iter().filter(|(_, known)| {
            known.is_leaving() && has(known, RECORDINGS_FINALIZER) && !has(known, ARCHIVE_FINALIZER)
        });
        let mut due: Vec<Erasure> = of_cameras
            .map(|(id, _)| Erasure::Camera(id.clone()))
            .collect();
        for tenant in self.cache.tenants() {
            let erased = tenant.status.as_ref().is_some_and(|status| status.erased);
            let Some(Ok(id)) = tenant.metadata.name.as_deref().map(str::parse::<TenantId>) else {
                continue;
            };
            let empty = !cameras.iter().any(|(camera, _)| *camera.tenant() == id);
            if tenant.metadata.deletion_timestamp.is_some()
                && tenant.spec.on_delete == OnDelete::Erase
                && !erased
                && empty
            {
                due.push(Erasure::Tenant(id));
            }
        }
        due
    }

    /// Whether its owner still wants it erased: who has changed that keeps the recordings.
    pub fn is_wanted(&self, erasure: &Erasure) -> bool {
        match erasure {
            Erasure::Tenant(_) => self.due().contains(erasure),
            Erasure::Camera(id) => self
                .cache
                .camera(id)
                .is_some_and(|known| known.object.spec.on_delete == OnDelete::Erase),
        }
    }

    /// Nothing of it is left in its store. Idempotent.
    ///
    /// # Errors
    /// [`Fault`]; it stays due.
    pub async fn done(&self, erasure: &Erasure) -> Result<(), Fault> {
        match erasure {
            Erasure::Tenant(id) => self.say_erased(id).await,
            Erasure::Camera(id) => {
                let Some(known) = self.cache.camera(id) else {
                    return Ok(());
                };
                let rest = finalizers(&known)
                    .iter()
                    .filter(|name| *name != RECORDINGS_FINALIZER);
                self.put_finalizers(id, &known, rest.cloned().collect())
                    .await
            }
        }
    }

    /// Marks cameras that are to be erased with their resource, and are not deleted yet. Returns how many.
    ///
    /// # Errors
    /// The first [`Fault`].
    pub async fn mark(&self) -> Result<usize, Fault> {
        let mut marked = 0;
        for (id, known) in self.cache.cameras() {
            let wants = known.object.spec.on_delete == OnDelete::Erase && !known.is_leaving();
            if wants && !has(&known, RECORDINGS_FINALIZER) {
                let mut all = finalizers(&known).to_vec();
                all.push(RECORDINGS_FINALIZER.to_owned());
                match self.put_finalizers(&id, &known, all).await {
                    // It was changed meanwhile: the next pass sees how.
                    Ok(()) | Err(Fault::Conflict | Fault::Missing) => marked += 1,
                    Err(fault) => return Err(fault),
                }
            }
        }
        Ok(marked)
    }

    async fn put_finalizers(
        &self,
        id: &CameraId,
        known: &Known,
        finalizers: Vec<String>,
    ) -> Result<(), Fault> {
        let patch = json!({"metadata": {
            "resourceVersion": known.object.metadata.resource_version, "finalizers": finalizers,
        }});
        let api: Api<Camera> =
            Api::namespaced(self.client.0.clone(), &names::namespace(id.tenant()));
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        match call(
            &*self.clock,
            CALL,
            api.patch(id.name(), &parameters, &patch),
        )
        .await
        {
            Ok(object) => {
                let gone = object.metadata.deletion_timestamp.is_some()
                    && object
                        .metadata
                        .finalizers
                        .as_ref()
                        .is_none_or(Vec::is_empty);
                match gone {
                    true => self.cache.camera_gone(id, Some(&known.uid)),
                    false => self.cache.saw_camera(object),
                }
                Ok(())
            }
            Err(Fault::Missing) => {
                self.cache.camera_gone(id, Some(&known.uid));
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    async fn say_erased(&self, id: &TenantId) -> Result<(), Fault> {
        let api: Api<Tenant> = Api::all(self.client.0.clone());
        let patch = json!({"status": {"erased": true}});
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = api.patch_status(id.as_str(), &parameters, &patch);
        match call(&*self.clock, CALL, patched).await {
            Ok(tenant) => {
                self.cache.saw_tenant(tenant);
                Ok(())
            }
            Err(Fault::Missing) => Ok(()),
            Err(fault) => Err(fault),
        }
    }
}
