//! From tunnel to pods on an API server in memory: each write is counted, and no spool is lost.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use moorline_core::id::{InstanceId, SourceName};
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    CameraDirectory as _, Claims as _, KeyPin, LinkEvent, LinkEvents as _, PodUid,
    RelayPlaces as _, TunnelEnd, TunnelEvents, TunnelUp, WorkloadEvent, WorkloadEvents,
    WorkloadLinks, WorkloadOrder, WorkloadReport, WorkloadSpec, Workloads as _,
};
use moorline_core::status::{ArchiveReport, ArchiveState, RelayReport, RelayState};
use moorline_core::{CameraId, Generation, SessionId, Timestamp};
use moorline_kube::{Janitor, KubeMemories, KubePlaces, Leases, PodCache, PodSettings, Pods};
use serde_json::{Value, json};
use support::{Api, CAMERAS, Fault, Mon, camera, condition, server, session, within};

const PODS: &str = "/api/v1/pods";
const CLASSES: &str = "/apis/moorline.dev/v1alpha1/cameraclasses";

fn yard() -> CameraId {
    "acme/yard".parse().unwrap()
}

/// An instance, and the pods that serve it.
type Assigned = (InstanceId, Vec<(Role, PodUid)>);

/// What the gateway was told, and what the monitor heard.
#[derive(Default)]
struct Told {
    assigned: Mutex<Vec<Assigned>>,
    orders: Mutex<Vec<(InstanceId, WorkloadOrder)>>,
    heard: Mutex<Vec<(InstanceId, WorkloadEvent)>>,
}

impl WorkloadLinks for Told {
    fn assign(&self, spec: WorkloadSpec, pods: &[(Role, PodUid)]) {
        self.assigned
            .lock()
            .unwrap()
            .push((spec.instance, pods.to_vec()));
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
    fn drains(&self) -> usize {
        let orders = self.orders.lock().unwrap();
        orders
            .iter()
            .filter(|(_, order)| matches!(order, WorkloadOrder::Drain { .. }))
            .count()
    }

    fn heard_drained(&self, instance: InstanceId) -> bool {
        self.heard
            .lock()
            .unwrap()
            .contains(&(instance, WorkloadEvent::Drained))
    }
}

struct Replica {
    mon: Mon,
    pods: Pods,
    places: KubePlaces,
    told: Arc<Told>,
}

impl Replica {
    async fn new(api: &Api, clock: &moorline_base::SharedClock, number: u16) -> Self {
        let mon = Mon::new(api, clock, number).await;
        let (cache, told) = (PodCache::default(), Arc::new(Told::default()));
        let (watch, client, cancel) = (cache.clone(), api.client(), mon.stop.clone());
        tokio::spawn(async move { watch.run(client, cancel).await });
        within("the first list of pods", cache.listed()).await;
        let pods = Pods::new(
            mon.writer.clone(),
            cache.clone(),
            told.clone(),
            told.clone(),
            KubeMemories::new(mon.directory.clone()),
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
        }
    }

    async fn claim(&self, number: u64) -> Generation {
        self.mon
            .claims
            .claim(&yard(), SessionId(number))
            .await
            .unwrap()
    }

    fn start(&self, generation: Generation) -> InstanceId {
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

    fn drain(&self, instance: InstanceId) {
        let budget = Duration::from_secs(60);
        self.pods
            .order(&yard(), instance, WorkloadOrder::Drain { budget });
    }

    fn said_drained(&self, pod: &Value) {
        let uid = PodUid(pod["metadata"]["uid"].as_str().unwrap().to_owned());
        self.pods
            .said(&yard(), Role::Archiver, &uid, LinkEvent::Drained);
    }
}

fn cluster() -> (Api, moorline_base::SharedClock) {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    api.put(CLASSES, class("a"));
    (api, clock)
}

fn class(image: &str) -> Value {
    json!({"apiVersion": "moorline.dev/v1alpha1", "kind": "CameraClass", "metadata": {"name": "standard"}, "spec": {"image": image}})
}

fn pods(api: &Api, role: &str) -> Vec<Value> {
    let mut all = api.list(PODS);
    all.retain(|pod| pod["metadata"]["labels"]["moorline.dev/role"] == role);
    all
}

/// The kubelet's part: the pod runs and is ready.
fn runs(api: &Api, pod: &Value) {
    let name = pod["metadata"]["name"].as_str().unwrap();
    let status = json!({"status": {"phase": "Running", "podIP": "10.42.0.7", "conditions": [{"type": "Ready", "status": "True"}]}});
    api.patch(PODS, "t-acme", name, &status);
}

async fn both(api: &Api) -> (Value, Value) {
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
async fn announced(api: &Api, replica: &Replica) {
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

#[tokio::test(start_paused = true)]
async fn a_first_connection_costs_four_writes_a_flap_one_and_a_hang_up_four() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    api.forget_requests();
    let first = replica.claim(1).await;
    let instance = replica.start(first);
    announced(&api, &replica).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(api.writes().len(), 4, "{:#?}", api.writes());
    for kind in [
        "Connected",
        "RelayReady",
        "WorkloadsReady",
        "Archiving",
        "Ready",
    ] {
        assert_eq!(
            condition(&api, "acme", "yard", kind).unwrap().0,
            "True",
            "{kind}"
        );
    }
    let place = replica.places.place(&yard()).unwrap();
    assert_eq!(
        (place.address.to_string(), place.key),
        ("10.42.0.7:8554".to_owned(), KeyPin([7; 32]))
    );

    let before = api.list(PODS);
    api.forget_requests();
    let second = replica.claim(2).await;
    replica.pods.order(
        &yard(),
        instance,
        WorkloadOrder::Rebind { generation: second },
    );
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(api.writes().len(), 1, "{:#?}", api.writes());
    assert_eq!(api.list(PODS), before, "a flap touches no pod");

    api.forget_requests();
    replica.mon.claims.release(&yard(), second).await.unwrap();
    replica.drain(instance);
    tokio::time::sleep(Duration::from_secs(120)).await;
    replica.pods.kill(&yard(), instance);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let archivers = pods(&api, "archiver");
    assert_eq!(
        archivers.len(),
        1,
        "an archiver that has not said drained stays, whatever the monitor's budget"
    );
    assert!(!replica.told.heard_drained(instance));
    replica.said_drained(&archivers[0]);
    api.until("the end of the session", |api| {
        session(api, "acme", "yard")["mon"].is_null()
    })
    .await;
    assert!(api.list(PODS).is_empty());
    assert_eq!(api.writes().len(), 4, "{:#?}", api.writes());
    assert_eq!(session(&api, "acme", "yard")["generation"], 2);
    assert!(replica.told.heard_drained(instance));
    let status = &api.get(CAMERAS, "t-acme", "yard").unwrap()["status"];
    assert_eq!(status["away"]["cause"], "tunnel_down");
    assert!(status["relay"].is_null());
}

/// What the monitor's mailbox of tunnels hears, when nobody looks into it.
struct Nobody;

impl TunnelEvents for Nobody {
    fn up(&self, _: TunnelUp) -> bool {
        true
    }

    fn stolen(&self, _: &CameraId, _: std::net::SocketAddr, _: &str) {}

    fn ended(&self, _: SessionId, _: TunnelEnd) {}
}

/// Each condition of the yard, in the order in which they follow from each other.
fn conditions(api: &Api) -> Vec<(&'static str, String, String)> {
    let kinds = [
        "Connected",
        "WorkloadsReady",
        "RelayReady",
        "Archiving",
        "Ready",
    ];
    let found = kinds.map(|kind| {
        let (status, reason) = condition(api, "acme", "yard", kind).unwrap_or_default();
        (kind, status, reason)
    });
    found.to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_was_lost_for_eight_seconds_is_ready_again_and_that_cost_two_writes() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let first = replica.claim(1).await;
    replica.start(first);
    announced(&api, &replica).await;
    let before = conditions(&api);
    assert!(
        before.iter().all(|(_, status, _)| status == "True"),
        "{before:?}"
    );
    api.forget_requests();
    let events = replica.mon.claims.events(Arc::new(Nobody));
    events.ended(SessionId(1), TunnelEnd::Lost);
    tokio::time::sleep(Duration::from_secs(8)).await;
    let lost = ("False".to_owned(), "Lost".to_owned());
    for kind in ["Connected", "Archiving", "Ready"] {
        assert_eq!(
            condition(&api, "acme", "yard", kind),
            Some(lost.clone()),
            "{kind}"
        );
    }
    replica.claim(2).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(conditions(&api), before);
    assert_eq!(api.writes().len(), 2, "{:#?}", api.writes());
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_is_back_while_draining_is_not_ready_before_its_new_relay_has_said_its_key() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let first = replica.claim(1).await;
    let old = replica.start(first);
    announced(&api, &replica).await;
    replica.mon.claims.release(&yard(), first).await.unwrap();
    replica.drain(old);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let second = replica.claim(2).await;
    replica.start(second);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let starting = ("False".to_owned(), "Starting".to_owned());
    assert_eq!(condition(&api, "acme", "yard", "Ready"), Some(starting));
    announced(&api, &replica).await;
    let after = conditions(&api);
    assert!(
        after.iter().all(|(_, status, _)| status == "True"),
        "{after:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_trouble_that_is_over_is_unsaid_by_whoever_holds_the_camera_then() {
    let (api, clock) = cluster();
    let left = Replica::new(&api, &clock, 0).await;
    let right = Replica::new(&api, &clock, 1).await;
    let first = left.claim(1).await;
    left.start(first);
    announced(&api, &left).await;
    let (_, archiver) = both(&api).await;
    let name = archiver["metadata"]["name"].as_str().unwrap();
    let container = |state: Value| json!({"status": {"containerStatuses": [{"name": "archiver", "image": "a", "imageID": "", "ready": false, "restartCount": 3, "state": state}]}});
    let crashing = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}});
    api.patch(PODS, "t-acme", name, &container(crashing));
    let said = |api: &Api, reason: &str| {
        condition(api, "acme", "yard", "Ready").is_some_and(|(_, said)| said == reason)
    };
    api.until("the word", |api| said(api, "Crashing")).await;
    left.mon.stop.cancel();
    let running = json!({"waiting": null, "running": {"startedAt": "2026-11-20T01:00:00Z"}});
    api.patch(PODS, "t-acme", name, &container(running));
    let second = right.claim(2).await;
    right.start(second);
    api.until("the end of it", |api| said(api, "Recording"))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_and_a_dead_relay_are_conditions_and_events_that_say_what_to_do() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let first = replica.claim(1).await;
    replica.start(first);
    announced(&api, &replica).await;
    let uid = |pod: &Value| PodUid(pod["metadata"]["uid"].as_str().unwrap().to_owned());
    let (relay, archiver) = both(&api).await;
    let (relay, archiver) = (uid(&relay), uid(&archiver));
    let said = |role, pod: &PodUid, event| replica.pods.said(&yard(), role, pod, event);
    // As pods report: at least every 10 s.
    let archives = async |tens: u64, why: Option<&str>, relay_lives: bool| {
        for _ in 0..tens {
            let report = ArchiveReport {
                state: ArchiveState::Recording,
                synced_until: None,
                durable_until: Some(Timestamp::from_millis(clock.wall_ms())),
                silent_since: None,
                spool_bytes: 0,
                audio_note: None,
                store_error: why.map(str::to_owned),
            };
            let report = LinkEvent::Report(WorkloadReport::Archive(report));
            said(Role::Archiver, &archiver, report);
            let plays = LinkEvent::Report(WorkloadReport::Relay(RelayReport {
                source: SourceName::Main,
                state: RelayState::Playing,
                since: Timestamp::from_millis(clock.wall_ms()),
                path: None,
                media: Vec::new(),
                bits_per_second: 0,
                readers: 1,
                pictures: 0,
                pictures_lost: 0,
                resyncs: 0,
            }));
            if relay_lives {
                said(Role::Relay, &relay, plays);
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    };
    let ready = || condition(&api, "acme", "yard", "Ready").unwrap().1;
    archives(10, None, true).await;
    api.forget_requests();
    archives(10, Some("403 from the bucket acme"), true).await;
    assert_eq!(ready(), "StoreRefuses");
    archives(10, None, true).await;
    assert_eq!(ready(), "Recording");
    said(Role::Relay, &relay, LinkEvent::Disconnected);
    archives(6, None, false).await;
    assert_eq!(ready(), "RelaySilent");
    assert_eq!(api.writes().len(), 3, "{:#?}", api.writes());
    let events = api.list("/apis/events.k8s.io/v1/events");
    let mut told: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event["type"].as_str().unwrap(),
                event["reason"].as_str().unwrap(),
            )
        })
        .collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            ("Normal", "Recording"),
            ("Warning", "RelaySilent"),
            ("Warning", "StoreRefuses")
        ]
    );
    let store = events
        .iter()
        .find(|event| event["reason"] == "StoreRefuses");
    let note = store.unwrap()["note"].as_str().unwrap();
    assert!(
        note.contains("403 from the bucket acme") && note.contains("look at the store"),
        "{note}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_archiver_whose_store_never_comes_back_is_given_up_after_the_classs_patience() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let generation = replica.claim(1).await;
    let instance = replica.start(generation);
    both(&api).await;
    replica
        .mon
        .claims
        .release(&yard(), generation)
        .await
        .unwrap();
    replica.drain(instance);
    tokio::time::sleep(Duration::from_secs(23 * 3_600)).await;
    assert_eq!(pods(&api, "archiver").len(), 1);
    tokio::time::sleep(Duration::from_secs(2 * 3_600)).await;
    assert!(api.list(PODS).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_comes_back_to_another_replica_keeps_its_pods() {
    let (api, clock) = cluster();
    let (left, right) = (
        Replica::new(&api, &clock, 0).await,
        Replica::new(&api, &clock, 1).await,
    );
    let first = left.claim(1).await;
    let old = left.start(first);
    both(&api).await;
    let before: Vec<_> = api
        .list(PODS)
        .iter()
        .map(|pod| pod["metadata"]["uid"].clone())
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = right.claim(2).await;
    right.start(second);
    tokio::time::sleep(Duration::from_secs(5)).await;
    // The old holder's grace ends: it drains what it believes to have, and touches nothing.
    left.drain(old);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(left.told.heard_drained(old));
    let after: Vec<_> = api
        .list(PODS)
        .iter()
        .map(|pod| pod["metadata"]["uid"].clone())
        .collect();
    assert_eq!(before, after);
    assert_eq!(left.told.drains() + right.told.drains(), 0);
    let assigned = right.told.assigned.lock().unwrap().last().cloned().unwrap();
    assert_eq!(assigned.1.len(), 2, "the found pods serve the new holder");
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_is_back_while_draining_gets_new_pods_and_the_old_archiver_drains_on() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let first = replica.claim(1).await;
    let old = replica.start(first);
    let (_, draining) = both(&api).await;
    replica.mon.claims.release(&yard(), first).await.unwrap();
    replica.drain(old);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let second = replica.claim(2).await;
    let new = replica.start(second);
    api.until("the successor", |api| {
        pods(api, "archiver").len() == 2 && pods(api, "relay").len() == 1
    })
    .await;
    replica.said_drained(&draining);
    api.until("the old archiver's end", |api| {
        pods(api, "archiver").len() == 1
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(replica.told.heard_drained(old) && !replica.told.heard_drained(new));
    assert_eq!(session(&api, "acme", "yard")["mon"], "moorline-mon-0");
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_used_up_is_a_condition_and_an_event_and_no_loop() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let quota = "pods \"x\" is forbidden: exceeded quota: moorline, requested: pods=1, used: pods=200, limited: pods=200";
    api.trap(
        Method::POST,
        "/pods",
        usize::MAX,
        Fault::Refused(403, "Forbidden", quota.into()),
    );
    let generation = replica.claim(1).await;
    replica.start(generation);
    api.until("the condition", |api| {
        condition(api, "acme", "yard", "WorkloadsReady")
            == Some(("False".into(), "QuotaExceeded".into()))
    })
    .await;
    let status = api.get(CAMERAS, "t-acme", "yard").unwrap()["status"].to_string();
    assert!(
        status.contains("used: pods=200") && status.contains("moorline tenant set"),
        "the cluster's words, and what to do: {status}"
    );
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tries = api
        .writes()
        .iter()
        .filter(|write| write.starts_with("POST") && write.ends_with("/pods"))
        .count();
    assert!((2..40).contains(&tries), "{tries} tries in ten minutes");
    let deletes = api
        .writes()
        .iter()
        .filter(|write| write.starts_with("DELETE"))
        .count();
    assert_eq!(deletes, 0);
    let events = api.list("/apis/events.k8s.io/v1/events");
    assert_eq!(events[0]["reason"], "QuotaExceeded");
    assert!(events.len() <= 11, "at most one a minute: {}", events.len());
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_missing_is_told_and_the_pod_is_kept() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let generation = replica.claim(1).await;
    replica.start(generation);
    let (relay, _) = both(&api).await;
    let name = relay["metadata"]["name"].as_str().unwrap();
    let waiting = json!({"status": {"phase": "Pending", "containerStatuses": [{"name": "relay", "image": "a", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}});
    api.patch(PODS, "t-acme", name, &waiting);
    api.until("the condition", |api| {
        condition(api, "acme", "yard", "WorkloadsReady")
            == Some(("False".into(), "ImageMissing".into()))
    })
    .await;
    assert_eq!(
        api.get(PODS, "t-acme", name).unwrap()["metadata"]["uid"],
        relay["metadata"]["uid"]
    );
}

#[tokio::test(start_paused = true)]
async fn another_image_replaces_both_pods_without_losing_the_spool() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let generation = replica.claim(1).await;
    let instance = replica.start(generation);
    let (_, old) = both(&api).await;
    api.put(CLASSES, class("b"));
    let made_of = |pod: &Value| pod["spec"]["containers"][0]["image"].clone();
    api.until("the successors", |api| {
        pods(api, "archiver").len() == 2
            && pods(api, "relay").iter().all(|pod| made_of(pod) == "b")
            && !pods(api, "relay").is_empty()
    })
    .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(pods(&api, "archiver").len(), 2);
    replica.said_drained(&old);
    api.until("the old archiver's end", |api| {
        pods(api, "archiver").len() == 1
    })
    .await;
    assert_eq!(made_of(&pods(&api, "archiver")[0]), "b");
    assert!(
        !replica.told.heard_drained(instance),
        "the instance goes on"
    );
}

/// The kubelet's and the relay's part for one of many cameras: its newest pods run, and the relay says its key.
async fn works(api: &Api, replica: &Replica, id: &CameraId) {
    let of = |role: &str| {
        let mut all = pods(api, role);
        all.retain(|pod| pod["metadata"]["labels"]["moorline.dev/camera"] == id.name());
        all
    };
    for pod in of("relay").iter().chain(&of("archiver")) {
        runs(api, pod);
    }
    let relay = of("relay").pop().unwrap();
    let uid = PodUid(relay["metadata"]["uid"].as_str().unwrap().to_owned());
    let seen = async {
        while replica.pods.cache().get(&uid).is_none_or(|pod| !pod.ready) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("the watch of pods", seen).await;
    let key = KeyPin([7; 32]);
    within("the word", replica.places.announce(id, &uid, key))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_twenty_cameras_four_are_replaced_at_once_and_the_next_when_those_work() {
    let (api, clock) = cluster();
    let names: Vec<String> = (0..20).map(|number| format!("cam-{number}")).collect();
    for name in &names {
        api.put(CAMERAS, camera("acme", name));
    }
    let replica = Replica::new(&api, &clock, 0).await;
    let ids: Vec<CameraId> = names
        .iter()
        .map(|name| format!("acme/{name}").parse().unwrap())
        .collect();
    for (number, id) in (1..).zip(&ids) {
        let claims = &replica.mon.claims;
        let generation = claims.claim(id, SessionId(number)).await.unwrap();
        let camera = replica.mon.directory.snapshot().get(id).cloned().unwrap();
        replica.pods.start(WorkloadSpec {
            instance: InstanceId {
                generation,
                ordinal: 0,
            },
            camera,
            generation,
            gaps: Vec::new(),
            durable_until: None,
            recorded_from: None,
        });
    }
    api.until("all pods", |api| api.list(PODS).len() == 40)
        .await;
    for id in &ids {
        works(&api, &replica, id).await;
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    api.put(CLASSES, class("b"));
    let new = |api: &Api| -> Vec<CameraId> {
        let mut all = pods(api, "relay");
        all.retain(|pod| pod["spec"]["containers"][0]["image"] == "b");
        let name = |pod: &Value| pod["metadata"]["labels"]["moorline.dev/camera"].clone();
        let ids = all
            .iter()
            .map(|pod| format!("acme/{}", name(pod).as_str().unwrap()));
        ids.map(|id| id.parse().unwrap()).collect()
    };
    let mut work: Vec<CameraId> = Vec::new();
    while work.len() < ids.len() {
        // However long the new ones take, nobody else's pods are touched.
        tokio::time::sleep(Duration::from_secs(600)).await;
        let replaced = new(&api);
        assert_eq!(replaced.len(), work.len() + 4, "those that work, and four");
        for id in replaced.iter().filter(|id| !work.contains(id)) {
            works(&api, &replica, id).await;
        }
        work = replaced;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_camera_goes_when_its_archiver_has_drained() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let generation = replica.claim(1).await;
    let instance = replica.start(generation);
    let (_, archiver) = both(&api).await;
    use moorline_core::port::CameraAdmin as _;
    replica.mon.admin.remove(&yard()).await.unwrap();
    assert!(
        replica.mon.directory.snapshot().get(&yard()).is_none(),
        "it may not connect any more"
    );
    replica
        .mon
        .claims
        .release(&yard(), generation)
        .await
        .unwrap();
    replica.drain(instance);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(api.get(CAMERAS, "t-acme", "yard").is_some());
    replica.said_drained(&archiver);
    api.until("the camera's end", |api| {
        api.get(CAMERAS, "t-acme", "yard").is_none()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_cameras_of_a_replica_that_died_are_drained_by_the_janitor_after_their_grace() {
    let (api, clock) = cluster();
    let left = Replica::new(&api, &clock, 0).await;
    let right = Replica::new(&api, &clock, 1).await;
    let leases = |replica: &Replica| {
        let gone = moorline_kube::Gone::default();
        Leases::new(
            api.client(),
            "moorline-system",
            replica.mon.owned.replica().name.clone(),
            gone,
            replica.mon.directory.freshness().clone(),
            clock.clone(),
        )
    };
    let (first, second) = (leases(&left), leases(&right));
    let dies = moorline_base::CancellationToken::new();
    let (task, cancel) = (first.clone(), dies.clone());
    let holder = tokio::spawn(async move { task.run(cancel).await });
    within("the first to lead", first.leads().wait_for(|leads| *leads))
        .await
        .unwrap();
    let (task, cancel) = (second.clone(), right.mon.stop.clone());
    tokio::spawn(async move { task.run(cancel).await });
    let janitor = Janitor::new(right.pods.clone(), second.clone());
    let cancel = right.mon.stop.clone();
    tokio::spawn(async move { janitor.run(cancel).await });
    let generation = left.claim(1).await;
    left.start(generation);
    let (_, archiver) = both(&api).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(session(&api, "acme", "yard")["mon"], "moorline-mon-0");

    // Without a word: its Lease is not given back.
    holder.abort();
    left.mon.stop.cancel();
    let begun = tokio::time::Instant::now();
    api.until("the taking over", |api| {
        session(api, "acme", "yard")["mon"] == "moorline-mon-1"
    })
    .await;
    let waited = begun.elapsed();
    assert!(
        waited >= Duration::from_secs(45),
        "a term of the lease and the grace: {waited:?}"
    );
    assert_eq!(session(&api, "acme", "yard")["generation"], generation.0);
    assert_eq!(right.told.drains(), 1);
    right.said_drained(&archiver);
    api.until("the end of the session", |api| {
        session(api, "acme", "yard")["mon"].is_null()
    })
    .await;
    assert!(api.list(PODS).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_younger_of_two_cameras_with_one_key_is_told_so_until_it_has_its_own() {
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT";
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let name = replica.mon.owned.replica().name.clone();
    let gone = moorline_kube::Gone::default();
    let fresh = replica.mon.directory.freshness().clone();
    let leases = Leases::new(
        api.client(),
        "moorline-system",
        name,
        gone,
        fresh,
        clock.clone(),
    );
    let (task, cancel) = (leases.clone(), replica.mon.stop.clone());
    tokio::spawn(async move { task.run(cancel).await });
    let (janitor, cancel) = (
        Janitor::new(replica.pods.clone(), leases),
        replica.mon.stop.clone(),
    );
    tokio::spawn(async move { janitor.run(cancel).await });
    for (name, made) in [
        ("gate", "2026-11-20T01:00:00Z"),
        ("hall", "2026-11-20T02:00:00Z"),
    ] {
        let mut object = camera("acme", name);
        object["spec"]["keys"] = json!([KEY]);
        object["metadata"]["creationTimestamp"] = made.into();
        api.put(CAMERAS, object);
    }
    let said = |api: &Api, name| condition(api, "acme", name, "DuplicateKey");
    api.until("the word to the younger", |api| {
        said(api, "hall") == Some(("True".into(), "KeyOfOlderCamera".into()))
    })
    .await;
    let hall = api.get(CAMERAS, "t-acme", "hall").unwrap();
    let message = hall["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("belongs to the older camera acme/gate") && message.contains("SHA256:"),
        "{message}"
    );
    assert_eq!(said(&api, "gate"), None);
    let writes = api.writes().len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    // Leases apart, nothing is said twice.
    let later = api.writes().split_off(writes);
    assert!(
        later.iter().all(|write| write.contains("leases")),
        "{later:?}"
    );
    api.patch(CAMERAS, "t-acme", "hall", &json!({"spec": {"keys": []}}));
    api.until("the end of it", |api| {
        said(api, "hall") == Some(("False".into(), "KeysOfItsOwn".into()))
    })
    .await;
}
