//! `CameraAdmin` over Camera resources: what `moorline camera` and the web API do in a cluster, with the errors of an embedded server.
//!
//! Every change is a compare-and-swap on the version that the API server has, not on the cache; its answer goes into the cache, so that the
//! caller sees it at once. Passwords are written to the Secret `<camera>-rtsp` before the Camera that names them, and never read.
//!
//! Here: what changes a camera that is there, and what all of it shares. In modules: [`make`] one camera, [`import`] many, and [`hang_up`].

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Resource as _};
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::camera::{Camera, CameraKey, RecordBy, Source};
use moorline_core::port::{CameraAdmin, CameraAdminError, CameraChange, ImportError};
use moorline_core::{CameraId, PublicKey, check};
use tokio_util::task::TaskTracker;

use crate::call::{CALL, Connection, Fault, call};
use crate::convert::{
    FieldError, enrolled, is_same_server, is_timezone, of_spec, to_record, to_spec,
};
use crate::directory::KubeDirectory;
use crate::in_force::written;
use crate::names;
use crate::resource::{self, MANAGED_BY, MANAGED_BY_LABEL, OnDelete, RECORDINGS_FINALIZER};

mod hang_up;
mod import;
mod make;

pub(crate) use import::broken_off;
pub(crate) use make::Made;

const OPERATION: &str = "change the cameras of the cluster";
/// A change that meets another one is tried again so often.
const CONFLICTS: usize = 16;
const POLL: Duration = Duration::from_millis(250);
/// What the API server says of a quota that it has not counted yet.
const UNCOUNTED: &str = "status unknown for quota";
/// The field manager of what is applied.
const MANAGER: &str = "moorline-admin";

/// `CameraAdmin` of a cluster. Clones are the same.
#[derive(Debug, Clone)]
pub struct KubeAdmin {
    client: Connection,
    directory: KubeDirectory,
    clock: SharedClock,
    class: String,
    /// Of the lists of cameras that are being made.
    broken: CancellationToken,
    /// What makes them, and takes back what was broken off.
    making: TaskTracker,
}

impl KubeAdmin {
    /// New cameras get this class.
    pub fn new(directory: KubeDirectory, clock: SharedClock, class: impl Into<String>) -> Self {
        Self {
            client: Connection(directory.client().clone()),
            directory,
            clock,
            class: class.into(),
            broken: CancellationToken::new(),
            making: TaskTracker::new(),
        }
    }

    /// Breaks off what makes several cameras at this moment, and whatever is to make several from now on: what was made is taken back, and the caller is
    /// told then, also of what stays.
    pub fn break_off(&self) {
        self.broken.cancel();
    }

    /// Breaks off, and waits until all that was made is taken back. For a process that stops: what it leaves nobody else takes back.
    pub async fn wind_up(&self) {
        self.break_off();
        self.making.close();
        self.making.wait().await;
    }

    pub(crate) fn directory(&self) -> &KubeDirectory {
        &self.directory
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    fn api(&self, camera: &CameraId) -> Api<resource::Camera> {
        Api::namespaced(self.client.0.clone(), &names::namespace(camera.tenant()))
    }

    async fn get(&self, id: &CameraId) -> Result<resource::Camera, CameraAdminError> {
        let api = self.api(id);
        match call(&*self.clock, CALL, api.get(id.name())).await {
            Ok(camera) if camera.metadata.deletion_timestamp.is_none() => Ok(camera),
            Ok(_) | Err(Fault::Missing) => Err(CameraAdminError::Unknown(id.clone())),
            Err(fault) => Err(refused(fault)),
        }
    }

    /// Reads the record that is in force, changes it and writes its owner's part, again if another one came between. `Ok(false)` from `change`: nothing
    /// to write.
    async fn change(
        &self,
        id: &CameraId,
        change: impl Fn(&mut Camera) -> Result<bool, CameraAdminError> + Send + Sync,
    ) -> Result<Camera, CameraAdminError> {
        self.change_with(id, change, |_| ()).await
    }

    /// As [`KubeAdmin::change`], and what no record has. A key that came by a token is one of the spec's from then on.
    pub(crate) async fn change_with(
        &self,
        id: &CameraId,
        change: impl Fn(&mut Camera) -> Result<bool, CameraAdminError> + Send + Sync,
        besides: impl Fn(&mut resource::CameraSpec) + Send + Sync,
    ) -> Result<Camera, CameraAdminError> {
        for _ in 0..CONFLICTS {
            let mut object = self.get(id).await?;
            let owners = of_spec(&object).map_err(unreadable)?;
            let before = to_record(&object).map_err(unreadable)?;
            let mut record = before.clone();
            if !change(&mut record)? {
                return Ok(record);
            }
            self.free(&record, &before.keys)?;
            let kept = written(record.clone(), &owners, &before);
            let mut spec = to_spec(&kept, &object.spec.class)?;
            keep_references(&object.spec, &mut spec, &kept);
            // A key that is revoked would come back by its token.
            let holds = |key: &CameraKey| record.keys.iter().any(|one| one.key == key.key);
            if enrolled(&object).is_some_and(|key| !holds(&key))
                && let Some(token) = &mut spec.enrolment
            {
                token.revoked = true;
            }
            besides(&mut spec);
            object.spec = spec;
            // The relay takes a password as soon as it is written: what would be refused is refused before (promise P11).
            if has_password(&kept) {
                if self.replace(id, &object, true).await?.is_none() {
                    continue;
                }
                let owner = object.controller_owner_ref(&());
                self.write_passwords(&kept, owner).await?;
            }
            if let Some(object) = self.replace(id, &object, false).await? {
                self.directory.cache().saw_camera(object);
                return Ok(record);
            }
        }
        Err(refused(Fault::Busy(
            "others change this camera all the time".into(),
        )))
    }

    /// Replaces a Camera with what was made of the one that was read; `None`: another change came between. `dry_run`: it is only asked whether the API
    /// server would take it.
    async fn replace(
        &self,
        id: &CameraId,
        object: &resource::Camera,
        dry_run: bool,
    ) -> Result<Option<resource::Camera>, CameraAdminError> {
        let api = self.api(id);
        let parameters = PostParams {
            dry_run,
            ..PostParams::default()
        };
        let replaced = api.replace(id.name(), &parameters, object);
        match call(&*self.clock, CALL, replaced).await {
            Ok(object) => Ok(Some(object)),
            Err(Fault::Conflict) => Ok(None),
            Err(Fault::Missing) => Err(CameraAdminError::Unknown(id.clone())),
            Err(fault) => Err(refused(fault)),
        }
    }

    /// Whether the directory shows this record as `seen`: without keys that belong to an older camera, disabled while its tenant is suspended.
    fn is_shown_as(&self, record: &Camera, seen: &Camera) -> bool {
        let cache = self.directory.cache();
        let known = cache.camera(&record.id).and_then(|known| known.record.ok());
        known.as_deref() == Some(record)
            && cache.records().get(&record.id).map(|shown| &**shown) == Some(seen)
    }

    /// Keys are unique among the cameras of a tenant (rule S2). The API server cannot check it: two that are added at once both stand, and the older
    /// camera keeps the key. What other tenants' cameras have does not count: a user name chooses among them, and whoever could refuse a key by
    /// naming it first would lock others out, and learn who has it. A key that it has already, of `before`, holds up no change of something else:
    /// such a camera is disabled and renamed as any, and its token taken back.
    fn free(&self, camera: &Camera, before: &[CameraKey]) -> Result<(), CameraAdminError> {
        let present = self.directory.cache().records();
        let is_new = |key: &&CameraKey| before.iter().all(|known| known.key != key.key);
        for key in camera.keys.iter().filter(is_new) {
            if let Some(owner) = present
                .having(&key.key)
                .iter()
                .find(|owner| **owner != camera.id && owner.tenant() == camera.id.tenant())
            {
                return Err(CameraAdminError::KeyTaken {
                    fingerprint: key.key.fingerprint(),
                    owner: format!("camera {owner}"),
                });
            }
        }
        Ok(())
    }

    /// Writes the passwords that are given into the camera's Secret, owned by the Camera once that is there. An empty one is one that this
    /// record does not know, and stays.
    async fn write_passwords(
        &self,
        camera: &Camera,
        owner: Option<OwnerReference>,
    ) -> Result<(), CameraAdminError> {
        let sources = [("main", Some(&camera.main)), ("sub", camera.sub.as_ref())];
        let data: BTreeMap<String, ByteString> = sources
            .into_iter()
            .filter_map(|(name, source)| Some((name, password(source?)?)))
            .map(|(name, password)| (name.to_owned(), ByteString(password.as_bytes().to_vec())))
            .collect();
        if data.is_empty() {
            return Ok(());
        }
        let namespace = names::namespace(camera.id.tenant());
        let name = names::password_secret(camera.id.name());
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())].into()),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            data: Some(data),
            type_: Some("Opaque".into()),
            ..Secret::default()
        };
        let api: Api<Secret> = Api::namespaced(self.client.0.clone(), &namespace);
        // A merge: a password of the other source stays, and no right to read is needed.
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&secret));
        let merged = api.patch(&name, &parameters, &patch);
        match call(&*self.clock, CALL, merged).await {
            Ok(_) => return Ok(()),
            Err(Fault::Missing) => {}
            Err(fault) => return Err(refused(fault)),
        }
        let parameters = PostParams {
            field_manager: Some(MANAGER.into()),
            ..PostParams::default()
        };
        let created = api.create(&parameters, &secret);
        let created = call(&*self.clock, CALL, created).await;
        created.map(|_| ()).map_err(refused)
    }

    async fn pause(&self) {
        let never = CancellationToken::new();
        let _ = moorline_base::clock::sleep(&*self.clock, POLL, &never).await;
    }
}

/// A field of the Camera is wrong already.
fn unreadable(error: FieldError) -> CameraAdminError {
    CameraAdminError::Refused(format!("a field of its Camera is wrong already: {error}"))
}

/// What the API server refused, in the words that were written for people.
fn refused(fault: Fault) -> CameraAdminError {
    match fault {
        Fault::Forbidden(message) if message.contains(UNCOUNTED) => {
            let words = "the cluster has not counted this tenant's cameras yet, which takes up to five minutes where Moorline's resources are new";
            CameraAdminError::Unavailable(words.to_owned())
        }
        Fault::Forbidden(message) | Fault::Invalid(message) => {
            let words = message.split_once("denied request: ");
            CameraAdminError::Refused(
                words
                    .map_or(message.as_str(), |(_, words)| words)
                    .to_owned(),
            )
        }
        Fault::Quota(message) => CameraAdminError::Refused(format!(
            "the tenant has as many cameras as it may: {message}"
        )),
        fault @ (Fault::Busy(_) | Fault::Unknown(_)) => {
            CameraAdminError::Unavailable(fault.to_string())
        }
        fault => fault.port(OPERATION).into(),
    }
}

fn password(source: &Source) -> Option<&str> {
    let login = source.login.as_ref()?;
    Some(login.password.reveal().as_str()).filter(|password| !password.is_empty())
}

/// Whether the record has one to be written.
fn has_password(camera: &Camera) -> bool {
    let mut sources = [Some(&camera.main), camera.sub.as_ref()]
        .into_iter()
        .flatten();
    sources.any(|source| password(source).is_some())
}

/// What a record does not say stays: a login whose password it does not know keeps the key under which that lies, the main one's for a new sub stream,
/// what becomes of the recordings, the token, and what a newer release knows.
fn keep_references(
    before: &resource::CameraSpec,
    after: &mut resource::CameraSpec,
    record: &Camera,
) {
    let keep = |before: Option<&resource::SourceSpec>,
                after: Option<&mut resource::SourceSpec>,
                source: Option<&Source>| {
        let unknown = source.is_some_and(|source| password(source).is_none());
        if let (Some(before), Some(after), true) = (
            before.and_then(|source| source.login.as_ref()),
            after.and_then(|source| source.login.as_mut()),
            unknown,
        ) {
            after.password_secret_ref = before.password_secret_ref.clone();
        }
    };
    after.on_delete = before.on_delete;
    after.enrolment = before.enrolment.clone();
    after.newer = before.newer.clone();
    // As its owner wrote it: who may not send a stream elsewhere changes the rest all the same, and a policy compares the text.
    if let (Some(before), Some(after)) = (&before.streampoint, &mut after.streampoint)
        && is_same_server(before, after)
    {
        *after = before.clone();
    }
    keep(
        Some(&before.sources.main),
        Some(&mut after.sources.main),
        Some(&record.main),
    );
    let sub = before.sources.sub.as_ref();
    keep(
        sub.or(Some(&before.sources.main)),
        after.sources.sub.as_mut(),
        record.sub.as_ref(),
    );
}

#[async_trait]
impl CameraAdmin for KubeAdmin {
    async fn add(&self, mut camera: Camera) -> Result<(), CameraAdminError> {
        self.prepare(&mut camera)?;
        self.make(&camera).await.map(|_| ())
    }

    async fn import(&self, cameras: Vec<Camera>, dry_run: bool) -> Result<(), ImportError> {
        self.import_all(cameras, dry_run).await
    }

    async fn set(&self, id: &CameraId, change: CameraChange) -> Result<Camera, CameraAdminError> {
        let given = change;
        self.change(id, move |camera| {
            let before = camera.clone();
            // Asked anew in each round: the record may have been changed between two.
            let stands = |seen: &Camera| *seen == before || self.is_shown_as(&before, seen);
            if !given.decided_on.as_deref().is_none_or(stands) {
                return Err(CameraAdminError::Changed(before.id));
            }
            given.clone().apply(camera);
            // It is left to the uplink already, and stays as that chose.
            if before.record_by == RecordBy::Uplink && camera.record_by == RecordBy::Auto {
                (camera.record, camera.record_by) = (before.record, before.record_by);
            }
            // A camera is always switched off, even one with a field that is refused now.
            let switched = Camera {
                enabled: camera.enabled,
                ..before.clone()
            };
            if *camera != switched {
                check::camera(camera, is_timezone)?;
            }
            Ok(*camera != before)
        })
        .await
    }

    async fn remove(&self, id: &CameraId) -> Result<(), CameraAdminError> {
        self.get(id).await?;
        let api = self.api(id);
        let parameters = DeleteParams::background();
        let deleted = call(&*self.clock, CALL, api.delete(id.name(), &parameters)).await;
        match deleted {
            // With our finalizer it stays until it has drained; without it, it is gone.
            Ok(answer) => match answer.left() {
                Some(object) => self.directory.cache().saw_camera(object),
                None => self.directory.cache().camera_gone(id, None),
            },
            Err(Fault::Missing) => return Err(CameraAdminError::Unknown(id.clone())),
            Err(fault) => return Err(refused(fault)),
        }
        Ok(())
    }

    async fn erase_with_it(&self, id: &CameraId) -> Result<bool, CameraAdminError> {
        for _ in 0..CONFLICTS {
            let mut object = self.get(id).await?;
            object.spec.on_delete = OnDelete::Erase;
            let finalizers = object.metadata.finalizers.get_or_insert_default();
            if !finalizers.iter().any(|name| name == RECORDINGS_FINALIZER) {
                finalizers.push(RECORDINGS_FINALIZER.into());
            }
            if let Some(object) = self.replace(id, &object, false).await? {
                self.directory.cache().saw_camera(object);
                return Ok(true);
            }
        }
        Err(refused(Fault::Busy(
            "others change this camera all the time".into(),
        )))
    }

    async fn hang_up(&self, id: &CameraId) -> Result<(), CameraAdminError> {
        self.end_tunnel(id).await
    }

    async fn add_key(&self, id: &CameraId, key: CameraKey) -> Result<(), CameraAdminError> {
        let added = self.change(id, move |camera| {
            if camera.keys.iter().any(|known| known.key == key.key) {
                return Ok(false);
            }
            camera.keys.push(key.clone());
            check::keys(&camera.keys)?;
            Ok(true)
        });
        added.await.map(|_| ())
    }

    async fn revoke_key(&self, id: &CameraId, key: &PublicKey) -> Result<(), CameraAdminError> {
        let (camera_id, key) = (id.clone(), key.clone());
        let revoked = self.change(id, move |camera| {
            let before = camera.keys.len();
            camera.keys.retain(|known| known.key != key);
            if camera.keys.len() == before {
                return Err(CameraAdminError::UnknownKey {
                    camera: camera_id.clone(),
                    fingerprint: key.fingerprint(),
                });
            }
            Ok(true)
        });
        revoked.await.map(|_| ())
    }
}
