//! Another image replaces pods: the old ones serve until the new ones do, where there is room for both, and few cameras at once.

use std::time::Duration;

use http::Method;
use moorline_core::id::InstanceId;
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    CameraDirectory as _, Claims as _, KeyPin, LinkEvent, LinkEvents as _, PodUid,
    RelayPlaces as _, WorkloadEvent, WorkloadOrder, WorkloadSpec, Workloads as _,
};
use moorline_core::status::OpenGap;
use moorline_core::{CameraId, Cause, Timestamp};
use serde_json::{Value, json};

use crate::support::workloads::{
    CLASSES, PODS, Replica, both, class, cluster, image, pods, runs, yard,
};
use crate::support::{Api, CAMERAS, Fault, camera, within};

#[tokio::test(start_paused = true)]
async fn another_image_replaces_both_pods_without_losing_the_spool() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let generation = replica.claim(1).await;
    let instance = replica.start(generation);
    let (_, old) = both(&api).await;
    let gap = OpenGap {
        since: Timestamp::from_millis(5_000),
        cause: Cause::TunnelDown,
    };
    for gap in [Some(gap), None] {
        let order = WorkloadOrder::Cause { gap };
        replica.pods.order(&yard(), instance, order);
    }
    api.put(CLASSES, class("b"));
    let two = |api: &Api| pods(api, "archiver").len() == 2 && pods(api, "relay").len() == 2;
    api.until("the successors", two).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(
        two(&api),
        "however long they take to start, the old ones serve"
    );
    assert_eq!(replica.told.drains(), 0);
    for role in [Role::Relay, Role::Archiver] {
        assert!(!replica.told.heard(instance, &WorkloadEvent::Replaced));
        let all = pods(&api, role.as_str());
        let new = all.iter().find(|pod| image(pod) == "b").unwrap();
        replica.connects(&yard(), role, new);
    }
    api.until("the old relay's end", |api| pods(api, "relay").len() == 1)
        .await;
    assert_eq!(image(&pods(&api, "relay")[0]), "b");
    assert!(replica.told.heard(instance, &WorkloadEvent::Replaced));
    let spec = replica.told.spec.lock().unwrap().clone().unwrap();
    assert_eq!(spec.gaps.len(), 1);
    let (known, end) = spec.gaps[0];
    assert!(
        known == gap && end.is_some(),
        "what is over is told as over"
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(pods(&api, "archiver").len(), 2);
    replica.said_drained(&old);
    api.until("the old archiver's end", |api| {
        pods(api, "archiver").len() == 1
    })
    .await;
    assert_eq!(image(&pods(&api, "archiver")[0]), "b");
    assert!(
        !replica.told.heard_drained(instance),
        "the instance goes on"
    );
}

/// The old connection's end and the new one's beginning are told by two tasks.
#[tokio::test(start_paused = true)]
async fn a_pod_that_connects_again_is_connected_in_whatever_order_that_is_told() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let generation = replica.claim(1).await;
    let instance = replica.start(generation);
    both(&api).await;
    api.put(CLASSES, class("b"));
    let two = |api: &Api| pods(api, "archiver").len() == 2 && pods(api, "relay").len() == 2;
    api.until("the successors", two).await;
    for role in [Role::Relay, Role::Archiver] {
        let all = pods(&api, role.as_str());
        let new = all.iter().find(|pod| image(pod) == "b").unwrap();
        replica.connects(&yard(), role, new);
        replica.had_been_cut_off(&yard(), role, new);
    }
    api.until("the old relay's end", |api| pods(api, "relay").len() == 1)
        .await;
    let (relay, _) = both(&api).await;
    assert_eq!(image(&relay), "b");
    replica.had_been_cut_off(&yard(), Role::Relay, &relay);
    let away = WorkloadEvent::Away { role: Role::Relay };
    assert!(!replica.told.heard(instance, &away));
}

/// A box of one small node: there is no place for a successor beside what runs.
#[tokio::test(start_paused = true)]
async fn where_successors_find_no_place_the_pods_are_replaced_in_place_after_a_while() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let generation = replica.claim(1).await;
    replica.start(generation);
    let (old, _) = both(&api).await;
    api.put(CLASSES, class("b"));
    api.until("the successors", |api| pods(api, "relay").len() == 2)
        .await;
    let no_place = json!({"status": {"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Too many pods",
    }]}});
    let all = pods(&api, "relay");
    let new = all.iter().find(|pod| image(pod) == "b").unwrap();
    let name = new["metadata"]["name"].as_str().unwrap();
    api.patch(PODS, "t-acme", name, &no_place);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(pods(&api, "relay").contains(&old), "a node may be added");
    tokio::time::sleep(Duration::from_secs(150)).await;
    let relays = pods(&api, "relay");
    assert_eq!(relays.iter().map(image).collect::<Vec<_>>(), ["b"]);
}

/// A tenant that has all the cameras that it may have.
#[tokio::test(start_paused = true)]
async fn the_pods_serve_while_the_quota_refuses_their_successors_and_are_replaced_in_place_then() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let generation = replica.claim(1).await;
    replica.start(generation);
    let (old, _) = both(&api).await;
    let quota = "pods \"x\" is forbidden: exceeded quota: moorline, requested: pods=1";
    let refused = Fault::Refused(403, "Forbidden", quota.into());
    api.trap(Method::POST, "/pods", 1_000, refused);
    api.put(CLASSES, class("b"));
    api.forget_requests();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(pods(&api, "relay").contains(&old));
    assert_eq!(replica.told.drains(), 0);
    let tries = api.writes();
    let tries = tries.iter().filter(|write| write.contains("POST"));
    assert!(
        tries.count() <= 2 * 5,
        "half a minute apart: {:#?}",
        api.writes()
    );
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(pods(&api, "relay"), Vec::<Value>::new());
    assert_eq!(replica.told.drains(), 1);
}

/// The kubelet's and the relay's part for one of many cameras: its newest pods run, and the relay says its key.
async fn works(api: &Api, replica: &Replica, id: &CameraId) {
    let of = |role: &str| {
        let mut all = pods(api, role);
        all.retain(|pod| pod["metadata"]["labels"]["moorline.dev/camera"] == id.name());
        all
    };
    let newest = |role: &str| {
        let mut all = of(role);
        all.sort_by_key(|pod| image(pod).to_owned());
        all.pop().unwrap()
    };
    let (relay, archiver) = (newest("relay"), newest("archiver"));
    for (role, pod) in [(Role::Relay, &relay), (Role::Archiver, &archiver)] {
        runs(api, pod);
        replica.connects(id, role, pod);
    }
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
async fn of_twenty_cameras_four_are_replaced_at_once_and_the_next_when_those_work_and_the_old_are_gone()
 {
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
        let session = replica.mon.up(id, number);
        let generation = claims.claim(id, session).await.unwrap();
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
        all.retain(|pod| image(pod) == "b");
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
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(new(&api).len(), replaced.len(), "the store is away");
        for pod in pods(&api, "archiver") {
            if image(&pod) == "a" {
                let camera = pod["metadata"]["labels"]["moorline.dev/camera"].as_str();
                let id: CameraId = format!("acme/{}", camera.unwrap()).parse().unwrap();
                let uid = PodUid(pod["metadata"]["uid"].as_str().unwrap().to_owned());
                if replaced.contains(&id) {
                    let drained = LinkEvent::Drained;
                    replica.pods.said(&id, Role::Archiver, &uid, drained);
                }
            }
        }
        work = replaced;
    }
}
