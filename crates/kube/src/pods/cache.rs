//! All pods of ours, in memory, as the watch and the answers to writes show them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::runtime::watcher;
use moorline_base::CancellationToken;
use moorline_core::CameraId;
use moorline_core::port::PodUid;
use tokio::sync::watch;

use super::view::PodView;
use crate::directory::{Change, feed_as};
use crate::freshness::Freshness;
use crate::resource::{MANAGED_BY, MANAGED_BY_LABEL, ROLE_LABEL};
use crate::wake::Wakes;

/// What of a pod counts, with its resource version.
fn versioned(pod: &Pod) -> Option<(Arc<PodView>, Option<u64>)> {
    let version = pod.metadata.resource_version.as_deref();
    let version = version.and_then(|version| version.parse().ok());
    Some((Arc::new(PodView::of(pod)?), version))
}

/// Pods by uid and by owner. What an owner's pods are is counted, so that whoever waits for them looks only when it concerns him.
///
/// An older version never replaces a newer one, and a pod that is gone does not come back, whichever of watch and answer arrives first: a pod
/// that rose from the dead would stand for the camera's until the next list.
#[derive(Debug, Default)]
struct Index {
    pods: BTreeMap<PodUid, Arc<PodView>>,
    /// The resource version of each, where it is a number.
    versions: BTreeMap<PodUid, u64>,
    owned: BTreeMap<String, (BTreeSet<PodUid>, u64)>,
    count: u64,
    /// The pods that went last. A uid never returns.
    gone: VecDeque<PodUid>,
    /// The cameras whose pods have changed, until they are woken.
    touched: BTreeSet<CameraId>,
}

/// So many pods that are gone are remembered: answers that are late by more than these are none.
const GONE: usize = 1_000;

impl Index {
    /// A version of a pod was seen.
    fn saw(&mut self, view: Arc<PodView>, version: Option<u64>) {
        let known = self.versions.get(&view.uid);
        let seen = version.is_some_and(|version| known.is_some_and(|known| version <= *known));
        if seen || self.gone.contains(&view.uid) {
            return;
        }
        if let Some(version) = version {
            self.versions.insert(view.uid.clone(), version);
        }
        self.put(view);
    }

    /// A pod is gone for good.
    fn bury(&mut self, uid: &PodUid) {
        self.drop(uid);
        self.versions.remove(uid);
        self.gone.push_back(uid.clone());
        if self.gone.len() > GONE {
            self.gone.pop_front();
        }
    }

    fn put(&mut self, view: Arc<PodView>) {
        if self.pods.get(&view.uid) == Some(&view) {
            return;
        }
        self.drop(&view.uid.clone());
        self.touched.insert(view.camera.clone());
        if let Some(owner) = &view.owner {
            self.count += 1;
            let owned = self.owned.entry(owner.clone()).or_default();
            owned.0.insert(view.uid.clone());
            owned.1 = self.count;
        }
        self.pods.insert(view.uid.clone(), view);
    }

    fn drop(&mut self, uid: &PodUid) {
        let Some(view) = self.pods.remove(uid) else {
            return;
        };
        self.touched.insert(view.camera.clone());
        if let Some(owner) = &view.owner
            && let Some(owned) = self.owned.get_mut(owner)
        {
            self.count += 1;
            owned.0.remove(uid);
            owned.1 = self.count;
        }
    }

    /// The whole list: what is not in it is gone, but for what is newer than all of it: that was made since. Owners without pods are forgotten:
    /// whoever waits for one looks every minute anyway.
    fn replace(&mut self, list: Vec<(Arc<PodView>, Option<u64>)>) {
        let listed: BTreeSet<PodUid> = list.iter().map(|(view, _)| view.uid.clone()).collect();
        let newest = list.iter().filter_map(|(_, version)| *version).max();
        let since = |uid: &PodUid| newest.is_some() && self.versions.get(uid).copied() > newest;
        let gone = self.pods.keys();
        let gone = gone.filter(|uid| !listed.contains(*uid) && !since(uid));
        let gone: Vec<PodUid> = gone.cloned().collect();
        for uid in gone {
            self.drop(&uid);
            self.versions.remove(&uid);
        }
        for (view, version) in list {
            self.saw(view, version);
        }
        self.owned.retain(|_, (pods, _)| !pods.is_empty());
    }
}

/// All pods of ours, in memory. Clones are the same.
#[derive(Debug, Clone)]
pub struct PodCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pods: RwLock<Index>,
    wakes: Wakes,
    listed: watch::Sender<bool>,
}

impl Default for PodCache {
    fn default() -> Self {
        Self(Arc::new(Inner {
            pods: RwLock::default(),
            wakes: Wakes::default(),
            listed: watch::Sender::new(false),
        }))
    }
}

impl PodCache {
    /// Watches until `cancel`, and begins again after an outage of the API server that `freshness` knows of.
    pub async fn run(&self, client: Client, freshness: &Freshness, cancel: CancellationToken) {
        let ours = watcher::Config::default()
            .labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY},{ROLE_LABEL}"));
        let watching = feed_as(
            client,
            ours,
            &self.0.listed,
            freshness.back(),
            |pod: Pod| versioned(&pod),
            |change| match change {
                Change::All(views) => {
                    let views = views.into_iter().flatten().collect();
                    self.change(|all| all.replace(views));
                }
                Change::Now(seen) => self.seen(*seen),
                Change::Gone(metadata) => self.gone(&PodUid(metadata.uid.unwrap_or_default())),
                Change::Unreadable(_) | Change::Broke => {}
            },
        );
        tokio::select! {
            () = cancel.cancelled() => {}
            () = watching => {}
        }
    }

    /// Returns once pods have been listed. Cancel-safe; no deadline.
    pub async fn listed(&self) {
        let _ = self.0.listed.subscribe().wait_for(|listed| *listed).await;
    }

    fn change(&self, change: impl FnOnce(&mut Index)) {
        let touched = {
            let mut all = self.0.pods.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut all);
            std::mem::take(&mut all.touched)
        };
        touched.iter().for_each(|camera| self.0.wakes.ring(camera));
    }

    /// A version of a pod was seen. An older one than the known is ignored.
    pub(crate) fn saw(&self, pod: &Pod) {
        self.seen(versioned(pod));
    }

    fn seen(&self, pod: Option<(Arc<PodView>, Option<u64>)>) {
        if let Some((view, version)) = pod {
            self.change(|all| all.saw(view, version));
        }
    }

    /// A deletion of this pod was accepted: the watch will say so too.
    pub(crate) fn deleting(&self, uid: &PodUid) {
        self.change(|all| {
            if let Some(pod) = all.pods.get(uid) {
                let mut pod = PodView::clone(pod);
                pod.deleting = true;
                all.put(Arc::new(pod));
            }
        });
    }

    /// A pod is gone.
    pub(crate) fn gone(&self, uid: &PodUid) {
        self.change(|all| all.bury(uid));
    }

    /// The pod of that uid.
    pub fn get(&self, uid: &PodUid) -> Option<Arc<PodView>> {
        self.read(|all| all.pods.get(uid).cloned())
    }

    fn read<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.0.pods.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The pods that this Camera controls, the newest first.
    pub fn of(&self, owner: &str) -> Vec<Arc<PodView>> {
        let mut pods: Vec<_> = self.read(|all| {
            let owned = all.owned.get(owner).into_iter().flat_map(|owned| &owned.0);
            owned.filter_map(|uid| all.pods.get(uid).cloned()).collect()
        });
        pods.sort_by(|a, b| (b.created, &b.name).cmp(&(a.created, &a.name)));
        pods
    }

    /// Differs when any pod of this Camera does.
    pub(crate) fn revision(&self, owner: &str) -> u64 {
        self.read(|all| all.owned.get(owner).map_or(0, |owned| owned.1))
    }

    /// How many pods of this namespace wait for a place or an image.
    pub fn pending(&self, namespace: &str) -> usize {
        self.read(|all| {
            let pending = all
                .pods
                .values()
                .filter(|pod| pod.pending && !pod.deleting && pod.namespace == namespace);
            pending.count()
        })
    }

    /// Wakes whoever waits for a camera's pods.
    pub(crate) fn wakes(&self) -> &Wakes {
        &self.0.wakes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::CAMERA_LABEL;

    fn pod(uid: &str, version: u64, phase: &str) -> Pod {
        let owner = json!({"apiVersion": "moorline.dev/v1alpha1", "kind": "Camera", "name": "yard", "uid": "u-1", "controller": true});
        let pod = json!({
            "metadata": {
                "name": "relay", "namespace": "t-acme", "uid": uid, "resourceVersion": version.to_string(),
                "labels": {ROLE_LABEL: "relay", CAMERA_LABEL: "yard"}, "ownerReferences": [owner],
            },
            "status": {"phase": phase},
        });
        serde_json::from_value(pod).unwrap()
    }

    fn pending(cache: &PodCache) -> Vec<bool> {
        cache.of("u-1").iter().map(|pod| pod.pending).collect()
    }

    #[test]
    fn a_pod_wakes_whoever_waits_for_its_camera_and_only_by_what_is_new() {
        let cache = PodCache::default();
        let [mut yard, gate] =
            ["acme/yard", "acme/gate"].map(|name| cache.wakes().of(&name.parse().unwrap()));
        cache.saw(&pod("p-1", 5, "Pending"));
        assert!(yard.has_changed().unwrap());
        yard.borrow_and_update();
        cache.saw(&pod("p-1", 5, "Pending"));
        assert!(!yard.has_changed().unwrap(), "nothing new");
        cache.gone(&PodUid("p-1".into()));
        assert!(yard.has_changed().unwrap());
        assert!(!gate.has_changed().unwrap());
    }

    #[test]
    fn a_late_answer_does_not_take_back_what_the_watch_has_said() {
        let (cache, uid) = (PodCache::default(), PodUid("p-1".into()));
        cache.saw(&pod("p-1", 12, "Running"));
        cache.saw(&pod("p-1", 10, "Pending"));
        assert_eq!(pending(&cache), [false]);
        cache.deleting(&uid);
        cache.saw(&pod("p-1", 12, "Running"));
        assert!(cache.get(&uid).unwrap().deleting);
        cache.gone(&uid);
        cache.saw(&pod("p-1", 10, "Pending"));
        assert!(pending(&cache).is_empty(), "it rose from the dead");
        cache.saw(&pod("p-2", 20, "Pending"));
        assert_eq!(pending(&cache), [true], "its successor");
    }

    #[test]
    fn a_list_forgets_what_is_gone_and_keeps_what_was_made_since() {
        let cache = PodCache::default();
        for (uid, version) in [("p-1", 5), ("p-2", 30)] {
            cache.saw(&pod(uid, version, "Running"));
        }
        let list = [pod("p-3", 20, "Running")];
        let list = list.iter().filter_map(versioned).collect();
        cache.change(|all| all.replace(list));
        let uids: Vec<String> = cache
            .of("u-1")
            .iter()
            .map(|pod| pod.uid.0.clone())
            .collect();
        assert_eq!(uids.len(), 2, "{uids:?}");
        assert!(!uids.contains(&"p-1".to_owned()));
        cache.saw(&pod("p-1", 40, "Running"));
        assert_eq!(cache.of("u-1").len(), 3, "a list buries nobody");
    }
}
