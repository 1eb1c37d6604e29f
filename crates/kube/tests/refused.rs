//! Pods that a cluster does not take: nothing is hammered, nothing that runs is touched, the owner is told, and it goes on by itself.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::time::Duration;

use http::Method;
use moorline_core::port::{CameraDirectory as _, Claims as _, WorkloadSpec, Workloads as _};
use moorline_core::{CameraId, InstanceId};
use serde_json::{Value, json};
use support::workloads::{CLASSES, PODS, Replica, announced, both, class, cluster, runs};
use support::{Api, CAMERAS, Fault, camera, condition, until_told};

const TENANTS: &str = "/apis/moorline.dev/v1alpha1/tenants";

/// A tunnel of that camera comes up, and its pods are wanted.
async fn starts(replica: &Replica, id: &CameraId, number: u64) {
    let session = replica.mon.up(id, number);
    let generation = replica.mon.claims.claim(id, session).await.unwrap();
    replica.pods.start(WorkloadSpec {
        instance: InstanceId {
            generation,
            ordinal: 0,
        },
        camera: replica.mon.directory.snapshot().get(id).cloned().unwrap(),
        generation,
        gaps: Vec::new(),
        durable_until: None,
        recorded_from: None,
    });
}

fn id(camera: &str) -> CameraId {
    camera.parse().unwrap()
}

/// How often a pod of that namespace was tried.
fn tries(api: &Api, namespace: &str) -> usize {
    let path = format!("POST /api/v1/namespaces/{namespace}/pods");
    let writes = api.writes();
    writes.iter().filter(|write| **write == path).count()
}

fn deletes(api: &Api) -> usize {
    let writes = api.writes();
    let deletes = writes.iter().filter(|write| write.starts_with("DELETE"));
    deletes.count()
}

fn pods_of(api: &Api, namespace: &str) -> usize {
    let all = api.list(PODS);
    let own = all
        .iter()
        .filter(|pod| pod["metadata"]["namespace"] == namespace);
    own.count()
}

/// Waits for what the yard, or another camera, says of its pods.
async fn until_says(api: &Api, id: &CameraId, status: &str, reason: &str) {
    let wanted = Some((status.to_owned(), reason.to_owned()));
    api.until(reason, |api| {
        condition(api, id.tenant().as_str(), id.name(), "WorkloadsReady") == wanted
    })
    .await;
}

/// A pod of another camera of the tenant that no node has a place for.
fn waits(number: usize) -> Value {
    let name = format!("waits-{number}");
    let owner = json!({"apiVersion": "moorline.dev/v1alpha1", "kind": "Camera", "name": name, "uid": name, "controller": true});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "t-acme", "ownerReferences": [owner],
            "labels": {"app.kubernetes.io/managed-by": "moorline", "moorline.dev/role": "relay", "moorline.dev/camera": name},
        },
        "spec": {"containers": []},
        "status": {"phase": "Pending"},
    })
}

/// More of them would help nobody, and a cluster that has a thousand is slow for all.
#[tokio::test(start_paused = true)]
async fn beyond_a_hundred_pods_that_wait_none_is_made_until_there_is_room_again() {
    let (api, clock) = cluster();
    for number in 0..100 {
        api.put(PODS, waits(number));
    }
    let yard = id("acme/yard");
    let replica = Replica::new(&api, &clock, 0).await;
    starts(&replica, &yard, 1).await;
    until_says(&api, &yard, "False", "TooManyPending").await;
    let advice = "100 pods wait for a place or an image already; look at what those wait for";
    until_told(&api, "TooManyPending", "Warning", advice).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((tries(&api, "t-acme"), deletes(&api)), (0, 0));

    let one = api.get(PODS, "t-acme", "waits-0").unwrap();
    runs(&api, &one);
    both(&api).await;
    until_says(&api, &yard, "True", "Running").await;
    assert_eq!(pods_of(&api, "t-acme"), 102);
}

/// S5: a node that refuses what the scheduler gives it ends a pod at once, and no kubelet paces that.
#[tokio::test(start_paused = true)]
async fn s5_pods_that_end_as_soon_as_they_are_made_are_made_at_a_pace_until_they_live() {
    let (api, clock) = cluster();
    let yard = id("acme/yard");
    let replica = Replica::new(&api, &clock, 0).await;
    starts(&replica, &yard, 1).await;
    let over = json!({"status": {"phase": "Failed", "reason": "OutOfcpu"}});
    let mut told = false;
    // Ten minutes.
    for _ in 0..3_000 {
        for pod in api.list(PODS) {
            if pod["status"]["phase"] != "Failed" {
                let name = pod["metadata"]["name"].as_str().unwrap();
                api.patch(PODS, "t-acme", name, &over);
            }
        }
        let says = condition(&api, "acme", "yard", "WorkloadsReady");
        told |= says == Some(("False".into(), "TooManyStarts".into()));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let made = tries(&api, "t-acme");
    // Twelve times at once and 120 times later, a pod or a pair.
    assert!((60..=264).contains(&made), "{made}");
    assert!(told, "nobody is told");
    until_told(&api, "TooManyStarts", "Warning", "look at what ends them").await;

    api.until("pods that live", |api| {
        let all = api.list(PODS);
        all.len() == 2 && all.iter().all(|pod| pod["status"]["phase"] != "Failed")
    })
    .await;
    until_says(&api, &yard, "True", "Running").await;
}

/// What a class says of a camera that records is an error of the operator's: it costs no picture.
#[tokio::test(start_paused = true)]
async fn a_class_that_is_gone_or_not_the_tenants_is_told_and_touches_no_pod() {
    let (api, clock) = cluster();
    let yard = id("acme/yard");
    let replica = Replica::new(&api, &clock, 0).await;
    starts(&replica, &yard, 1).await;
    announced(&api, &replica).await;
    until_says(&api, &yard, "True", "Running").await;
    let before = both(&api).await;
    api.forget_requests();

    api.remove(CLASSES, "", "standard");
    until_says(&api, &yard, "False", "ClassMissing").await;
    until_told(
        &api,
        "ClassMissing",
        "Warning",
        "there is no CameraClass standard",
    )
    .await;
    api.put(CLASSES, class("a"));
    until_says(&api, &yard, "True", "Running").await;

    let tenant = |classes: Value| {
        json!({"apiVersion": "moorline.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": "acme"},
            "spec": {"classes": classes}})
    };
    api.put(TENANTS, tenant(json!(["gold"])));
    until_says(&api, &yard, "False", "ClassNotAllowed").await;
    let advice = "moorline tenant set TENANT --class NAME --cluster";
    until_told(&api, "ClassNotAllowed", "Warning", advice).await;
    api.put(TENANTS, tenant(json!(["gold", "standard"])));
    until_says(&api, &yard, "True", "Running").await;

    assert_eq!((tries(&api, "t-acme"), deletes(&api)), (0, 0));
    let uid = |pod: &Value| pod["metadata"]["uid"].clone();
    let (relay, archiver) = both(&api).await;
    assert_eq!(
        (uid(&relay), uid(&archiver)),
        (uid(&before.0), uid(&before.1))
    );
}

/// agones#3384: a refusal is answered by waiting, of the whole namespace, and by nobody else's.
#[tokio::test(start_paused = true)]
async fn a_namespace_that_refuses_pods_is_left_alone_and_no_other_waits_for_it() {
    let (api, clock) = cluster();
    api.put(CAMERAS, camera("acme", "gate"));
    api.put(CAMERAS, camera("shop", "door"));
    let [yard, gate, door] = ["acme/yard", "acme/gate", "shop/door"].map(id);
    // Four passes of two pods each.
    let why = "pods is forbidden: maximum memory usage per Container is 64Mi, but limit is 1Gi";
    api.trap(
        Method::POST,
        "/namespaces/t-acme/pods",
        8,
        Fault::Refused(403, "Forbidden", why.to_owned()),
    );
    let replica = Replica::new(&api, &clock, 0).await;
    starts(&replica, &yard, 1).await;
    while tries(&api, "t-acme") < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    starts(&replica, &gate, 2).await;
    starts(&replica, &door, 3).await;
    api.until("both pods of the other tenant", |api| {
        pods_of(api, "t-shop") == 2
    })
    .await;
    assert_eq!(tries(&api, "t-acme"), 2, "its own namespace is left alone");
    until_says(&api, &yard, "False", "Forbidden").await;
    until_told(
        &api,
        "Forbidden",
        "Warning",
        "per Container is 64Mi, but limit is 1Gi; look at",
    )
    .await;
    until_says(&api, &gate, "False", "NamespaceWaits").await;
    // By itself, once nothing refuses them.
    api.until("the pods of both", |api| pods_of(api, "t-acme") == 4)
        .await;
    for camera in [&yard, &gate] {
        until_says(&api, camera, "True", "Running").await;
    }
    assert_eq!((tries(&api, "t-acme"), deletes(&api)), (12, 0));
}
