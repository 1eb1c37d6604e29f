//! A mon replica that makes pods for its tunnels, and what the kubelet and the relay do for them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use moorline_core::id::InstanceId;
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    CameraDirectory as _, Claims as _, KeyPin, LinkEvent, LinkEvents as _, PodUid,
    RelayPlaces as _, WorkloadEvent, WorkloadEvents, WorkloadLinks, WorkloadOrder, WorkloadSpec,
    Workloads as _,
};
use moorline_core::{CameraId, Generation};
use moorline_kube::{Janitor, KubeMemories, KubePlaces, Leases, PodCache, PodSettings, Pods};
use serde_json::{Value, json};

use super::{Api, CAMERAS, Mon, camera, server, within};

/// Where Pods lie.
pub(crate) const PODS: &str = "/api/v1/pods";
/// Where CameraClasses lie.
pub(crate) const CLASSES: &str = "/apis/moorline.dev/v1alpha1/cameraclasses";

pub(crate) use super::yard;

/// An instance, and the pods that serve it.
pub(crate) type Assigned = (InstanceId, Vec<(Role, PodUid)>);

/// What the gateway was told, and what the monitor heard.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) assigned: Mutex<Vec<Assigned>>,
    /// What the pods that were assigned last are told.
    pub(crate) spec: Mutex<Option<WorkloadSpec>>,
    orders: Mutex<Vec<(InstanceId, WorkloadOrder)>>,
    heard: Mutex<Vec<(InstanceId, WorkloadEvent)>>,
}

impl WorkloadLinks for Told {
    fn assign(&self, spec: WorkloadSpec, pods: &[(Role, PodUid)]) {
        self.assigned
            .lock()
            .unwrap()
            .push((spec.instance, pods.to_vec()));
        *self.spec.lock().unwrap() = Some(spec);
    }

    fn order(&self, _: &CameraId, instance: InstanceId, order: WorkloadOrder) {
        self.orders.lock().unwrap().push((instance, order));
    }

    fn forget(&self, _: &CameraId, _: InstanceId) {}
}

impl WorkloadEvents for Told {
    fn tell(&self, _: &CameraId, instance: InstanceId, event: WorkloadEvent) {
        self.heard.lock().unwrap().push((instance, event));
    }
}

impl Told {
    pub(crate) fn drains(&self) -> usize {
        let orders = self.orders.lock().unwrap();
        orders
            .iter()
            .filter(|(_, order)| matches!(order, WorkloadOrder::Drain { .. }))
            .count()
    }

    pub(crate) fn heard_drained(&self, instance: InstanceId) -> bool {
        self.heard(instance, &WorkloadEvent::Drained)
    }

    pub(crate) fn heard(&self, instance: InstanceId, event: &WorkloadEvent) -> bool {
        let heard = self.heard.lock().unwrap();
        heard.contains(&(instance, event.clone()))
    }
}

/// One mon replica, with what makes its pods.
pub(crate) struct Replica {
    pub(crate) mon: Mon,
    pub(crate) pods: Pods,
    pub(crate) places: KubePlaces,
    pub(crate) told: Arc<Told>,
    pub(crate) memories: KubeMemories,
}

impl Replica {
    pub(crate) async fn new(api: &Api, clock: &moorline_base::SharedClock, number: u16) -> Self {
        let mon = Mon::new(api, clock, number).await;
        let (cache, told) = (PodCache::default(), Arc::new(Told::default()));
        let (watch, client, cancel) = (cache.clone(), api.client(), mon.stop.clone());
        let freshness = mon.directory.freshness().clone();
        tokio::spawn(async move { watch.run(client, &freshness, cancel).await });
        within("the first list of pods", cache.listed()).await;
        let memories = KubeMemories::new(mon.directory.clone());
        let pods = Pods::new(
            mon.writer.clone(),
            cache.clone(),
            told.clone(),
            told.clone(),
            memories.clone(),
            PodSettings {
                gateway: "moorline-mon.moorline-system:8443".into(),
                signer: "moorline-signer.moorline-system:8444".into(),
            },
            mon.stop.clone(),
        );
        Self {
            places: KubePlaces::of_mon(mon.writer.clone(), cache),
            mon,
            pods,
            told,
            memories,
        }
    }

    pub(crate) async fn claim(&self, number: u64) -> Generation {
        let session = self.mon.up(&yard(), number);
        self.mon.claims.claim(&yard(), session).await.unwrap()
    }

    pub(crate) fn start(&self, generation: Generation) -> InstanceId {
        let instance = InstanceId {
            generation,
            ordinal: 0,
        };
        self.pods.start(WorkloadSpec {
            instance,
            camera: self.mon.directory.snapshot().get(&yard()).cloned().unwrap(),
            generation,
            gaps: Vec::new(),
            durable_until: None,
            recorded_from: None,
        });
        instance
    }

    pub(crate) fn drain(&self, instance: InstanceId) {
        let budget = Duration::from_secs(60);
        self.pods
            .order(&yard(), instance, WorkloadOrder::Drain { budget });
    }

    /// The pod's control connection stands.
    pub(crate) fn connects(&self, id: &CameraId, role: Role, pod: &Value) {
        let uid = PodUid(pod["metadata"]["uid"].as_str().unwrap().to_owned());
        self.pods
            .said(id, role, &uid, LinkEvent::Connected { connection: 2 });
    }

    /// The end of its connection before that one is told, late.
    pub(crate) fn had_been_cut_off(&self, id: &CameraId, role: Role, pod: &Value) {
        let uid = PodUid(pod["metadata"]["uid"].as_str().unwrap().to_owned());
        self.pods
            .said(id, role, &uid, LinkEvent::Disconnected { connection: 1 });
    }

    pub(crate) fn said_drained(&self, pod: &Value) {
        let uid = PodUid(pod["metadata"]["uid"].as_str().unwrap().to_owned());
        self.pods
            .said(&yard(), Role::Archiver, &uid, LinkEvent::Drained);
    }
}

/// The Leases of that replica.
pub(crate) fn leases(api: &Api, clock: &moorline_base::SharedClock, replica: &Replica) -> Leases {
    Leases::new(
        api.client(),
        "moorline-system",
        replica.mon.owned.replica().name.clone(),
        moorline_kube::Gone::default(),
        replica.mon.directory.freshness().clone(),
        clock.clone(),
    )
}

/// They are renewed from now on, as long as the replica is there.
pub(crate) fn renews(replica: &Replica, leases: &Leases) {
    let (task, cancel) = (leases.clone(), replica.mon.stop.clone());
    tokio::spawn(async move { task.run(cancel).await });
}

/// Its janitor looks after what it has to.
pub(crate) fn tidies(replica: &Replica, leases: Leases) {
    let (janitor, cancel) = (
        Janitor::new(replica.pods.clone(), leases),
        replica.mon.stop.clone(),
    );
    tokio::spawn(async move { janitor.run(cancel).await });
}

/// A cluster with the camera of [`yard`] and its class.
pub(crate) fn cluster() -> (Api, moorline_base::SharedClock) {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    api.put(CLASSES, class("a"));
    (api, clock)
}

/// The class of all cameras, whose pods are of that image.
pub(crate) fn class(image: &str) -> Value {
    json!({"apiVersion": "moorline.dev/v1alpha1", "kind": "CameraClass", "metadata": {"name": "standard"}, "spec": {"image": image}})
}

/// All pods of that role.
pub(crate) fn pods(api: &Api, role: &str) -> Vec<Value> {
    let mut all = api.list(PODS);
    all.retain(|pod| pod["metadata"]["labels"]["moorline.dev/role"] == role);
    all
}

/// The image that a pod is of.
pub(crate) fn image(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap()
}

/// The kubelet's part: the pod runs and is ready.
pub(crate) fn runs(api: &Api, pod: &Value) {
    let name = pod["metadata"]["name"].as_str().unwrap();
    let status = json!({"status": {"phase": "Running", "podIP": "10.42.0.7", "conditions": [{"type": "Ready", "status": "True"}]}});
    api.patch(PODS, "t-acme", name, &status);
}

/// The first relay and the first archiver, when both are there.
pub(crate) async fn both(api: &Api) -> (Value, Value) {
    api.until("both pods", |api| {
        !pods(api, "relay").is_empty() && !pods(api, "archiver").is_empty()
    })
    .await;
    (
        pods(api, "relay").remove(0),
        pods(api, "archiver").remove(0),
    )
}

/// The relay says its key, as at its first CONNECT.
pub(crate) async fn announced(api: &Api, replica: &Replica) {
    let (relay, archiver) = both(api).await;
    runs(api, &relay);
    runs(api, &archiver);
    let uid = PodUid(relay["metadata"]["uid"].as_str().unwrap().to_owned());
    let seen = async {
        while replica.pods.cache().get(&uid).is_none_or(|pod| !pod.ready) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("the watch of pods", seen).await;
    within(
        "the announcement",
        replica.places.announce(&yard(), &uid, KeyPin([7; 32])),
    )
    .await
    .unwrap();
}
