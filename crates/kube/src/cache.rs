//! What the API server said last, in memory: every look-up on the way of a session comes from here (promise P7).
//!
//! Owns: the newest known version of every Camera, Tenant and CameraClass, and the set of camera records made from them. Does not own: the
//! watches that feed it (`watching`), and no decision. Everything is keyed by name *and* uid: a camera that was deleted and made again is
//! another one.
//!
//! An older version never replaces a newer one, whichever of watch and answer to a write arrives first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use moorline_core::camera::{Camera, CameraSet, Enabled};
use moorline_core::{CameraId, Generation, PublicKey, TenantId};
use tokio::sync::watch;

use crate::convert::{FieldError, id_of, to_record};
use crate::resource::{self, CameraClassSpec, Session};
use crate::wake::Wakes;

/// So many names that are gone are remembered: whoever makes and deletes Cameras in a loop fills no replica's memory.
const LEFT: usize = 10_000;

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

/// What a change touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Changed {
    Nothing,
    /// A session, a condition: nothing that is in a record.
    Status,
    Records,
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

impl Changed {
    fn records(happened: bool) -> Self {
        if happened {
            Self::Records
        } else {
            Self::Nothing
        }
    }
}

#[derive(Debug, Default)]
struct State {
    cameras: BTreeMap<CameraId, Known>,
    /// The greatest generation that was ever seen of a name, so that a name that returns goes on.
    greatest: BTreeMap<CameraId, Generation>,
    /// Names that are gone, the one that went first first: their generation is remembered for a while.
    left: VecDeque<CameraId>,
    tenants: BTreeMap<TenantId, Arc<resource::Tenant>>,
    /// Tenants whose resource cannot be read, since it is a newer one perhaps: they may be suspended.
    unreadable: BTreeSet<TenantId>,
    /// All that is known comes from a copy: a tenant that is not in it may be suspended.
    by_copy: bool,
    classes: BTreeMap<String, Arc<CameraClassSpec>>,
    /// The keys that a camera may not use, since an older one of its tenant has them.
    duplicates: BTreeMap<CameraId, Vec<DuplicateKey>>,
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

impl State {
    /// A camera is gone. Its generation is remembered, should the name return soon; beyond that its uid tells it from its predecessor.
    fn leaves(&mut self, id: CameraId) {
        self.left.push_back(id);
        while self.left.len() > LEFT
            && let Some(oldest) = self.left.pop_front()
        {
            if !self.cameras.contains_key(&oldest) && !self.left.contains(&oldest) {
                self.greatest.remove(&oldest);
            }
        }
    }

    fn put(&mut self, mut object: resource::Camera) -> Changed {
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

    fn put_tenant(&mut self, mut tenant: resource::Tenant) {
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

fn named_class(class: resource::CameraClass) -> Option<(String, Arc<CameraClassSpec>)> {
    Some((class.metadata.name?, Arc::new(class.spec)))
}

/// Resource versions of one kind grow; where they are no numbers, the later word counts.
fn is_newer(new: Option<&str>, known: Option<&str>) -> bool {
    let number = |text: Option<&str>| text?.parse::<u64>().ok();
    match (number(new), number(known)) {
        (Some(new), Some(known)) => new > known,
        _ => new != known,
    }
}

/// The records that are served: not those of deleted cameras; those of a suspended tenant are disabled; a key that two cameras of a tenant
/// have belongs to the older one, and is told of the younger.
fn records(state: &State) -> (Vec<Arc<Camera>>, BTreeMap<CameraId, Vec<DuplicateKey>>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT";

    fn object(name: &str, uid: &str, version: &str, generation: u64) -> resource::Camera {
        let mut spec: resource::CameraSpec = serde_json::from_str("{}").unwrap();
        spec.keys = vec![KEY.into()];
        let mut object = resource::Camera::new(name, spec);
        object.metadata.namespace = Some("t-acme".into());
        object.metadata.uid = Some(uid.into());
        object.metadata.resource_version = Some(version.into());
        object.status = Some(resource::CameraStatus {
            session: Some(Session {
                generation,
                ..Session::default()
            }),
            ..resource::CameraStatus::default()
        });
        object
    }

    fn id(text: &str) -> CameraId {
        text.parse().unwrap()
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one() {
        let cache = Cache::default();
        cache.saw_camera(object("yard", "u1", "10", 4));
        let version = *cache.version().borrow();
        cache.saw_camera(object("yard", "u1", "9", 3));
        assert_eq!(
            cache.camera(&id("acme/yard")).unwrap().generation(),
            Generation(4)
        );
        cache.saw_camera(object("yard", "u1", "11", 5));
        assert_eq!(
            cache.camera(&id("acme/yard")).unwrap().generation(),
            Generation(5)
        );
        assert_eq!(
            *cache.version().borrow(),
            version,
            "a claim is no change of records"
        );
    }

    #[test]
    fn a_claim_wakes_whoever_waits_for_that_camera_and_a_tenant_its_own_cameras() {
        let cache = Cache::default();
        cache.saw_camera(object("yard", "u1", "10", 4));
        let [mut yard, mut gate, other] =
            ["acme/yard", "acme/gate", "other/yard"].map(|name| cache.wakes().of(&id(name)));
        cache.saw_camera(object("yard", "u1", "11", 5));
        assert!(yard.has_changed().unwrap());
        assert!(!gate.has_changed().unwrap());
        yard.borrow_and_update();
        cache.saw_camera(object("yard", "u1", "11", 5));
        assert!(!yard.has_changed().unwrap(), "nothing new");
        let spec = serde_json::from_value(serde_json::json!({})).unwrap();
        cache.saw_tenant(resource::Tenant::new("acme", spec));
        assert!(gate.has_changed().unwrap());
        assert!(!other.has_changed().unwrap());
        gate.borrow_and_update();
        cache.all_cameras(vec![object("yard", "u1", "12", 6)]);
        assert!(gate.has_changed().unwrap(), "nobody knows which");
    }

    #[test]
    fn a_camera_that_was_made_again_is_another_and_its_generation_goes_on() {
        let cache = Cache::default();
        cache.saw_camera(object("yard", "u1", "10", 17));
        cache.saw_camera(object("yard", "u2", "20", 0));
        cache.camera_gone(&id("acme/yard"), Some("u1"));
        assert_eq!(cache.camera(&id("acme/yard")).unwrap().uid, "u2");
        assert_eq!(cache.greatest(&id("acme/yard")), Generation(17));
    }

    #[test]
    fn a_key_of_two_cameras_belongs_to_the_older_one_and_one_bad_camera_stops_nobody() {
        let cache = Cache::default();
        let mut bad = object("bad", "u3", "3", 0);
        bad.spec.timezone = "Nowhere".into();
        cache.all_cameras(vec![
            object("a", "u1", "1", 0),
            object("b", "u2", "2", 0),
            bad,
        ]);
        let records = cache.records();
        assert_eq!(records.len(), 2);
        assert_eq!(records.get(&id("acme/a")).unwrap().keys.len(), 1);
        assert_eq!(records.get(&id("acme/b")).unwrap().keys.len(), 0);
        assert_eq!(cache.duplicates(&id("acme/a")), []);
        assert_eq!(cache.duplicates(&id("acme/b"))[0].owner, id("acme/a"));
        cache.camera_gone(&id("acme/a"), Some("u1"));
        assert_eq!(cache.duplicates(&id("acme/b")), [], "it is its own now");
    }

    #[test]
    fn a_suspended_tenant_has_no_enabled_camera() {
        let cache = Cache::default();
        cache.saw_camera(object("yard", "u1", "1", 0));
        let tenant = |suspended| {
            let spec = serde_json::json!({"suspended": suspended, "store": {"bucket": "abc", "secret": "s"}});
            let mut tenant = resource::Tenant::new("acme", serde_json::from_value(spec).unwrap());
            tenant.metadata.resource_version = Some(if suspended { "2" } else { "3" }.into());
            tenant
        };
        let enabled = || cache.records().get(&id("acme/yard")).unwrap().enabled;
        assert_eq!(enabled(), Enabled::Yes);
        cache.saw_tenant(tenant(true));
        assert_eq!(enabled(), Enabled::Disabled);
        cache.saw_tenant(tenant(false));
        assert_eq!(enabled(), Enabled::Yes);
    }

    #[test]
    fn names_that_come_and_go_do_not_fill_the_memory() {
        let cache = Cache::default();
        cache.saw_camera(object("stays", "u", "1", 3));
        for number in 0..LEFT + 50 {
            let name = format!("cam-{number}");
            let (uid, version) = (format!("u-{number}"), (number + 2).to_string());
            cache.saw_camera(object(&name, &uid, &version, 7));
            cache.camera_gone(&id(&format!("acme/{name}")), Some(&uid));
        }
        assert_eq!(cache.read(|state| state.greatest.len()), LEFT + 1);
        assert_eq!(cache.greatest(&id("acme/stays")), Generation(3));
        assert_eq!(cache.greatest(&id("acme/cam-0")), Generation(0));
        let last = format!("acme/cam-{}", LEFT + 49);
        assert_eq!(cache.greatest(&id(&last)), Generation(7));
    }

    #[test]
    fn by_a_copy_only_tenants_that_it_knows_not_to_be_suspended_are_served() {
        let tenant = |name: &str, suspended: bool| {
            let spec = serde_json::json!({"suspended": suspended});
            let mut tenant = resource::Tenant::new(name, serde_json::from_value(spec).unwrap());
            tenant.metadata.resource_version = Some("1".into());
            tenant
        };
        let cameras = || {
            ["t-acme", "t-late", "t-new"].map(|namespace| {
                let mut camera = object("yard", namespace, "1", 0);
                camera.metadata.namespace = Some(namespace.into());
                camera
            })
        };
        let cache = Cache::default();
        let tenants = vec![tenant("acme", false), tenant("late", true)];
        cache.read_copy(tenants, cameras().to_vec());
        let enabled = |tenant: &str| {
            let records = cache.records();
            records.get(&id(&format!("{tenant}/yard"))).unwrap().enabled
        };
        assert_eq!(enabled("acme"), Enabled::Yes);
        assert_eq!(enabled("late"), Enabled::Disabled);
        assert_eq!(enabled("new"), Enabled::Disabled, "nobody knows");
        let tenants = [
            tenant("acme", false),
            tenant("late", false),
            tenant("new", false),
        ];
        cache.all_tenants(tenants.to_vec());
        assert_eq!(enabled("late"), Enabled::Yes);
        assert_eq!(enabled("new"), Enabled::Yes);
    }
}
