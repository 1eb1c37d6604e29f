//! What the API server said last, in memory: every look-up on the way of a session comes from here (promise P7).
//!
//! Owns: the newest known version of every Camera, Tenant and CameraClass, and the set of camera records made from them. Does not own: the
//! watches that feed it (`watching`), and no decision. Everything is keyed by name *and* uid: a camera that was deleted and made again is
//! another one.
//!
//! An older version never replaces a newer one, whichever of watch and answer to a write arrives first.
//!
//! Here: the lock, and whom a change wakes. In [`state`]: what is known, and what a change makes of it.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use moorline_core::camera::{Camera, CameraSet};
use moorline_core::{CameraId, Generation, TenantId};
use tokio::sync::watch;

use crate::convert::{FieldError, id_of};
use crate::resource::{self, CameraClassSpec, Session};
use crate::wake::Wakes;

mod state;
#[cfg(test)]
mod tests;

pub(crate) use self::state::is_newer;
use self::state::{Changed, State, records};

/// A Camera as it was seen last.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its identity.
    pub uid: String,
    /// The object, without managed fields.
    pub object: Arc<resource::Camera>,
    /// Its record, or the field that is wrong.
    pub record: Result<Arc<Camera>, FieldError>,
}

impl Known {
    /// The generation of its newest claim, 0 before the first.
    pub fn generation(&self) -> Generation {
        Generation(self.session().map_or(0, |session| session.generation))
    }

    /// Its newest claim.
    pub fn session(&self) -> Option<&Session> {
        self.object.status.as_ref()?.session.as_ref()
    }

    /// What its status says.
    pub(crate) fn conditions(&self) -> &[Condition] {
        let status = self.object.status.as_ref();
        status.map_or(&[], |status| &status.conditions)
    }

    /// Whether its owner has deleted it: it only waits for its archiver.
    pub fn is_leaving(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    fn resource_version(&self) -> Option<&str> {
        self.object.metadata.resource_version.as_deref()
    }
}

/// Whom a change touches.
#[derive(Debug, Clone, Copy)]
enum Whom<'a> {
    Camera(&'a CameraId),
    /// The cameras of a tenant.
    Tenant(&'a TenantId),
    /// The cameras of some class.
    Class,
    All,
}

/// A key that two cameras of a tenant have: the older one keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateKey {
    /// The key's fingerprint.
    pub fingerprint: String,
    /// The older camera.
    pub owner: CameraId,
}

/// The cache. Clones are the same.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: RwLock<State>,
    records: ArcSwap<CameraSet>,
    /// Counts changes of records alone: what `CameraDirectory` tells.
    version: watch::Sender<u64>,
    /// Counts all changes, sessions and conditions too.
    changes: watch::Sender<u64>,
    tenant_changes: watch::Sender<u64>,
    wakes: Wakes,
}

impl Default for Cache {
    fn default() -> Self {
        Self(Arc::new(Inner {
            state: RwLock::default(),
            records: ArcSwap::from_pointee(CameraSet::default()),
            version: watch::Sender::new(1),
            changes: watch::Sender::new(1),
            tenant_changes: watch::Sender::new(1),
            wakes: Wakes::default(),
        }))
    }
}

impl Cache {
    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state and shows what came of it. The lock is held until the records are shown, so that two changes show in their order.
    fn write(&self, whom: Whom<'_>, change: impl FnOnce(&mut State) -> Changed) {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut state);
        if changed == Changed::Nothing {
            return;
        }
        // Claims and conditions are most of what comes: they do not touch the set.
        if changed == Changed::Records {
            let (records, duplicates) = records(&state);
            state.duplicates = duplicates;
            let shown = self.0.records.load();
            let differs = shown.len() != records.len()
                || records
                    .iter()
                    .any(|record| shown.get(&record.id) != Some(record));
            if differs {
                self.0.records.store(Arc::new(CameraSet::sharing(records)));
                self.0.version.send_modify(|version| *version += 1);
            }
        }
        self.0.changes.send_modify(|count| *count += 1);
        match whom {
            Whom::Camera(camera) => self.0.wakes.ring(camera),
            Whom::Tenant(tenant) => self.0.wakes.ring_where(|camera| camera.tenant() == tenant),
            Whom::Class => self.0.wakes.ring_where(|_| true),
            Whom::All => self.0.wakes.ring_all(),
        }
    }

    /// A version of a camera was seen. An older one than the known is ignored.
    pub fn saw_camera(&self, object: resource::Camera) {
        if let Some(id) = id_of(&object) {
            self.write(Whom::Camera(&id), |state| state.put(object));
        }
    }

    /// A camera is gone: the one with this uid, not one of the same name that was made since.
    pub fn camera_gone(&self, id: &CameraId, uid: Option<&str>) {
        self.write(Whom::Camera(id), |state| {
            let is_it = state
                .cameras
                .get(id)
                .is_some_and(|known| uid.is_none_or(|uid| known.uid == uid));
            if is_it {
                state.cameras.remove(id);
                state.leaves(id.clone());
            }
            Changed::records(is_it)
        });
    }

    /// The whole list, as of a new watch: what is not in it is gone. What answered a write since keeps its newer version.
    pub fn all_cameras(&self, objects: Vec<resource::Camera>) {
        self.write(Whom::All, |state| {
            let listed: BTreeSet<CameraId> = objects.iter().filter_map(id_of).collect();
            let version = |text: Option<&str>| text?.parse::<u64>().ok();
            let versions = objects
                .iter()
                .map(|object| version(object.metadata.resource_version.as_deref()));
            let newest = versions.flatten().max();
            // What is newer than all of the list was added since, by an answer to a write.
            let mut gone = Vec::new();
            state.cameras.retain(|id, known| {
                let stays = listed.contains(id)
                    || (newest.is_some() && version(known.resource_version()) > newest);
                if !stays {
                    gone.push(id.clone());
                }
                stays
            });
            gone.into_iter().for_each(|id| state.leaves(id));
            for object in objects {
                state.put(object);
            }
            Changed::Records
        });
    }

    /// The whole list of tenants.
    pub fn all_tenants(&self, objects: Vec<resource::Tenant>) {
        self.write(Whom::All, |state| {
            state.tenants.clear();
            state.unreadable.clear();
            state.by_copy = false;
            objects
                .into_iter()
                .for_each(|tenant| state.put_tenant(tenant));
            Changed::Records
        });
        self.0.tenant_changes.send_modify(|count| *count += 1);
    }

    /// What an earlier process knew, read from its copy: less than what a watch has said since.
    pub(crate) fn read_copy(&self, tenants: Vec<resource::Tenant>, cameras: Vec<resource::Camera>) {
        self.write(Whom::All, |state| {
            state.by_copy = true;
            tenants
                .into_iter()
                .for_each(|tenant| state.put_tenant(tenant));
            cameras.into_iter().for_each(|camera| {
                state.put(camera);
            });
            Changed::Records
        });
        self.0.tenant_changes.send_modify(|count| *count += 1);
    }

    /// A tenant was seen.
    pub fn saw_tenant(&self, object: resource::Tenant) {
        let name = object.metadata.name.as_deref();
        let Some(Ok(id)) = name.map(str::parse::<TenantId>) else {
            return;
        };
        self.write(Whom::Tenant(&id), |state| {
            state.put_tenant(object);
            Changed::Records
        });
        self.0.tenant_changes.send_modify(|count| *count += 1);
    }

    /// A tenant is there and cannot be read: it counts as suspended.
    pub(crate) fn tenant_unreadable(&self, name: Option<&str>) {
        if let Some(Ok(id)) = name.map(str::parse::<TenantId>) {
            self.write(Whom::Tenant(&id), |state| {
                state.tenants.remove(&id);
                Changed::records(state.unreadable.insert(id.clone()))
            });
            self.0.tenant_changes.send_modify(|count| *count += 1);
        }
    }

    /// A tenant is gone.
    pub fn tenant_gone(&self, name: Option<&str>) {
        let id = name.map(str::parse::<TenantId>);
        if let Some(Ok(id)) = id {
            self.write(Whom::Tenant(&id), |state| {
                let unreadable = state.unreadable.remove(&id);
                Changed::records(state.tenants.remove(&id).is_some() || unreadable)
            });
            self.0.tenant_changes.send_modify(|count| *count += 1);
        }
    }

    /// The whole list of classes.
    pub fn all_classes(&self, objects: Vec<resource::CameraClass>) {
        self.write(Whom::Class, |state| {
            state.classes = objects.into_iter().filter_map(named_class).collect();
            Changed::Status
        });
    }

    /// A class was seen.
    pub fn saw_class(&self, object: resource::CameraClass) {
        if let Some((name, spec)) = named_class(object) {
            self.write(Whom::Class, |state| {
                state.classes.insert(name, spec);
                Changed::Status
            });
        }
    }

    /// A class is gone.
    pub fn class_gone(&self, name: Option<&str>) {
        if let Some(name) = name {
            self.write(Whom::Class, |state| {
                state.classes.remove(name);
                Changed::Status
            });
        }
    }

    /// The camera of that id.
    pub fn camera(&self, id: &CameraId) -> Option<Known> {
        self.read(|state| state.cameras.get(id).cloned())
    }

    /// All cameras, by id.
    pub fn cameras(&self) -> Vec<(CameraId, Known)> {
        self.read(|state| {
            let all = state.cameras.iter();
            all.map(|(id, known)| (id.clone(), known.clone())).collect()
        })
    }

    /// The cameras that are made by the token of that hash (rule S3). A look at all: who asks was counted as a stranger before.
    pub(crate) fn enrolling(&self, hash: &str) -> Vec<(CameraId, Known)> {
        let has = |known: &Known| {
            let token = known.object.spec.enrolment.as_ref();
            token.is_some_and(|token| token.token_hash == hash) && !known.is_leaving()
        };
        self.read(|state| {
            let all = state.cameras.iter().filter(|(_, known)| has(known));
            all.map(|(id, known)| (id.clone(), known.clone())).collect()
        })
    }

    /// The camera with that uid.
    pub fn camera_by_uid(&self, id: &CameraId, uid: &str) -> Option<Known> {
        self.camera(id).filter(|known| known.uid == uid)
    }

    /// The keys of that camera which belong to an older one of its tenant.
    pub fn duplicates(&self, id: &CameraId) -> Vec<DuplicateKey> {
        self.read(|state| state.duplicates.get(id).cloned().unwrap_or_default())
    }

    /// The class of that name.
    pub fn class(&self, name: &str) -> Option<Arc<CameraClassSpec>> {
        self.read(|state| state.classes.get(name).cloned())
    }

    /// The tenant's resource.
    pub fn tenant(&self, id: &TenantId) -> Option<Arc<resource::Tenant>> {
        self.read(|state| state.tenants.get(id).cloned())
    }

    /// All tenants.
    pub fn tenants(&self) -> Vec<Arc<resource::Tenant>> {
        self.read(|state| state.tenants.values().cloned().collect())
    }

    /// Counts changes of tenants.
    pub fn tenant_changes(&self) -> watch::Receiver<u64> {
        self.0.tenant_changes.subscribe()
    }

    /// The greatest generation that this process ever saw of that name.
    pub fn greatest(&self, id: &CameraId) -> Generation {
        self.read(|state| state.greatest.get(id).copied().unwrap_or_default())
    }

    /// A generation that this process gave without the API server's word, while that is away.
    pub(crate) fn gave(&self, id: &CameraId, generation: Generation) {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        let greatest = state.greatest.entry(id.clone()).or_default();
        *greatest = generation.max(*greatest);
    }

    /// The records.
    pub fn records(&self) -> Arc<CameraSet> {
        self.0.records.load_full()
    }

    /// Counts changes of the records.
    pub fn version(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// Wakes whoever waits for a camera.
    pub(crate) fn wakes(&self) -> &Wakes {
        &self.0.wakes
    }

    /// Counts all changes: for who looks at all cameras, now and then. Whoever waits for one camera is woken by it alone.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }
}

fn named_class(class: resource::CameraClass) -> Option<(String, Arc<CameraClassSpec>)> {
    Some((class.metadata.name?, Arc::new(class.spec)))
}
