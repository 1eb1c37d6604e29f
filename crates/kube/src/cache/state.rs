//! What the cache knows, without its lock and without whom it wakes: what a version that was seen changes, and the records that come of it all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use moorline_core::camera::{Camera, Enabled};
use moorline_core::{CameraId, Generation, PublicKey, TenantId};

use super::{DuplicateKey, Known};
use crate::convert::{id_of, to_record};
use crate::resource::{self, CameraClassSpec};

/// So many names that are gone are remembered: whoever makes and deletes Cameras in a loop fills no replica's memory.
pub(super) const LEFT: usize = 10_000;

/// What a change touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Changed {
    Nothing,
    /// A session, a condition: nothing that is in a record.
    Status,
    Records,
}

impl Changed {
    pub(super) fn records(happened: bool) -> Self {
        if happened {
            Self::Records
        } else {
            Self::Nothing
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) cameras: BTreeMap<CameraId, Known>,
    /// The greatest generation that was ever seen of a name, so that a name that returns goes on.
    pub(super) greatest: BTreeMap<CameraId, Generation>,
    /// Names that are gone, the one that went first first: their generation is remembered for a while.
    left: VecDeque<CameraId>,
    pub(super) tenants: BTreeMap<TenantId, Arc<resource::Tenant>>,
    /// Tenants whose resource cannot be read, since it is a newer one perhaps: they may be suspended.
    pub(super) unreadable: BTreeSet<TenantId>,
    /// All that is known comes from a copy: a tenant that is not in it may be suspended.
    pub(super) by_copy: bool,
    pub(super) classes: BTreeMap<String, Arc<CameraClassSpec>>,
    /// The keys that a camera may not use, since an older one of its tenant has them.
    pub(super) duplicates: BTreeMap<CameraId, Vec<DuplicateKey>>,
}

impl State {
    /// A camera is gone. Its generation is remembered, should the name return soon; beyond that its uid tells it from its predecessor.
    pub(super) fn leaves(&mut self, id: CameraId) {
        self.left.push_back(id);
        while self.left.len() > LEFT
            && let Some(oldest) = self.left.pop_front()
        {
            if !self.cameras.contains_key(&oldest) && !self.left.contains(&oldest) {
                self.greatest.remove(&oldest);
            }
        }
    }

    pub(super) fn put(&mut self, mut object: resource::Camera) -> Changed {
        object.metadata.managed_fields = None;
        let (Some(id), Some(uid)) = (id_of(&object), object.metadata.uid.clone()) else {
            return Changed::Nothing;
        };
        let before = self.cameras.get(&id);
        let version = object.metadata.resource_version.as_deref();
        if before.is_some_and(|known| !is_newer(version, known.resource_version())) {
            return Changed::Nothing;
        }
        let record = to_record(&object).map(Arc::new);
        if let Err(error) = &record
            && before.is_none_or(|before| before.record.as_ref().err() != Some(error))
        {
            tracing::warn!(camera = %id, %error, "a Camera is not served: a field is wrong");
        }
        let known = Known {
            uid,
            object: Arc::new(object),
            record,
        };
        let same = before.is_some_and(|before| {
            before.record == known.record && before.is_leaving() == known.is_leaving()
        });
        let greatest = self.greatest.entry(id.clone()).or_default();
        *greatest = known.generation().max(*greatest);
        self.cameras.insert(id, known);
        if same {
            Changed::Status
        } else {
            Changed::Records
        }
    }

    pub(super) fn put_tenant(&mut self, mut tenant: resource::Tenant) {
        tenant.metadata.managed_fields = None;
        let id = tenant.metadata.name.as_deref().map(str::parse::<TenantId>);
        let Some(Ok(id)) = id else { return };
        self.unreadable.remove(&id);
        let known = self.tenants.get(&id);
        let version = tenant.metadata.resource_version.as_deref();
        if known.is_none_or(|known| is_newer(version, known.metadata.resource_version.as_deref())) {
            self.tenants.insert(id, Arc::new(tenant));
        }
    }

    /// A tenant that is suspended, or being removed; or of which nobody can say that it is neither.
    fn is_suspended(&self, tenant: &TenantId) -> bool {
        let unknown = self.by_copy || self.unreadable.contains(tenant);
        self.tenants.get(tenant).map_or(unknown, |tenant| {
            tenant.spec.suspended || tenant.metadata.deletion_timestamp.is_some()
        })
    }
}

/// Resource versions of one kind grow; where they are no numbers, the later word counts.
pub(crate) fn is_newer(new: Option<&str>, known: Option<&str>) -> bool {
    let number = |text: Option<&str>| text?.parse::<u64>().ok();
    match (number(new), number(known)) {
        (Some(new), Some(known)) => new > known,
        _ => new != known,
    }
}

/// The records that are served: not those of deleted cameras; those of a suspended tenant are disabled; a key that two cameras of a tenant
/// have belongs to the older one, and is told of the younger.
pub(super) fn records(state: &State) -> (Vec<Arc<Camera>>, BTreeMap<CameraId, Vec<DuplicateKey>>) {
    let served = state.cameras.values().filter(|known| !known.is_leaving());
    let mut records: Vec<Arc<Camera>> = served
        .filter_map(|known| known.record.clone().ok())
        .collect();
    records.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    let mut owners: BTreeMap<(TenantId, PublicKey), CameraId> = BTreeMap::new();
    let mut duplicates = BTreeMap::new();
    for record in &mut records {
        let tenant = record.id.tenant().clone();
        let of_older = |key: &PublicKey| owners.get(&(tenant.clone(), key.clone()));
        let taken: Vec<DuplicateKey> = record
            .keys
            .iter()
            .filter_map(|key| {
                Some(DuplicateKey {
                    fingerprint: key.key.fingerprint(),
                    owner: of_older(&key.key)?.clone(),
                })
            })
            .collect();
        if !taken.is_empty() {
            Arc::make_mut(record)
                .keys
                .retain(|key| of_older(&key.key).is_none());
            duplicates.insert(record.id.clone(), taken);
        }
        for key in &record.keys {
            owners.insert((tenant.clone(), key.key.clone()), record.id.clone());
        }
        if record.enabled == Enabled::Yes && state.is_suspended(&tenant) {
            Arc::make_mut(record).enabled = Enabled::Disabled;
        }
    }
    (records, duplicates)
}
