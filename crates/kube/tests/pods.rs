//! From tunnel to pods on an API server in memory: each write is counted, and no spool is lost.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::time::Duration;

use http::Method;
use moorline_core::id::InstanceId;
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    CameraDirectory as _, Claims as _, KeyPin, LinkEvent, LinkEvents as _, Memories as _, Memory,
    PodUid, PutPolicy as _, RelayPlaces as _, WorkloadEvent, WorkloadOrder, WorkloadReport,
    WorkloadSpec, Workloads as _,
};
use moorline_core::status::{ArchiveReport, ArchiveState, OpenGap, Waits};
use moorline_core::{CameraId, Cause, SessionId, Timestamp};
use moorline_kube::{Janitor, Leases};
use serde_json::{Value, json};
use support::workloads::{
    CLASSES, PODS, Replica, announced, both, class, cluster, image, pods, runs, yard,
};
use support::{Api, CAMERAS, Fault, START, camera, condition, session, within};

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

/// What a camera sends beyond what it may put fills its spool and is lost: 4K by H.264 is 30 Mbit/s.
#[tokio::test(start_paused = true)]
async fn what_a_4k_camera_records_in_an_hour_may_be_put_and_as_much_again_from_its_spool() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let limits = replica.places.limits(&yard()).unwrap();
    assert!(limits.bytes_per_hour >= 2 * 30_000_000 / 8 * 3_600);
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

/// A class with a wrong image, a full cluster: whoever hangs up, or removes the camera, does not wait for a day.
#[tokio::test(start_paused = true)]
async fn pods_that_never_ran_are_not_waited_for() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let generation = replica.claim(1).await;
    let instance = replica.start(generation);
    let (_, archiver) = both(&api).await;
    let name = archiver["metadata"]["name"].as_str().unwrap();
    let waits = json!({"name": "archiver", "image": "a", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff"}}});
    let status = json!({"status": {"phase": "Pending", "containerStatuses": [waits]}});
    api.patch(PODS, "t-acme", name, &status);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let released = replica.mon.claims.release(&yard(), generation).await;
    released.unwrap();
    replica.drain(instance);
    api.until("the end of the session", |api| {
        session(api, "acme", "yard")["mon"].is_null()
    })
    .await;
    assert!(api.list(PODS).is_empty());
    assert!(replica.told.heard_drained(instance));
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

fn leases(api: &Api, clock: &moorline_base::SharedClock, replica: &Replica) -> Leases {
    Leases::new(
        api.client(),
        "moorline-system",
        replica.mon.owned.replica().name.clone(),
        moorline_kube::Gone::default(),
        replica.mon.directory.freshness().clone(),
        clock.clone(),
    )
}

/// A namespace that was restored without its Leases, with fewer replicas than before.
#[tokio::test(start_paused = true)]
async fn a_camera_of_a_replica_that_never_had_a_lease_is_looked_after() {
    let (api, clock) = cluster();
    let held = json!({"status": {"session": {"generation": 3, "mon": "moorline-mon-7", "address": "10.0.0.8:8443"}}});
    api.patch(CAMERAS, "t-acme", "yard", &held);
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-11-20T00:00:00Z"}});
    api.patch(CAMERAS, "t-acme", "yard", &deleted);
    let replica = Replica::new(&api, &clock, 0).await;
    let leases = leases(&api, &clock, &replica);
    let (task, cancel) = (leases.clone(), replica.mon.stop.clone());
    tokio::spawn(async move { task.run(cancel).await });
    let janitor = Janitor::new(replica.pods.clone(), leases);
    let cancel = replica.mon.stop.clone();
    tokio::spawn(async move { janitor.run(cancel).await });
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
    let (first, second) = (leases(&api, &clock, &left), leases(&api, &clock, &right));
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
    // What is remembered of it is what is known: when it was taken over, and what its archiver says. The monitor there never had it.
    let durable = Timestamp::from_millis(clock.wall_ms() - 50_000);
    let uid = PodUid(archiver["metadata"]["uid"].as_str().unwrap().to_owned());
    let report = ArchiveReport {
        state: ArchiveState::Draining,
        synced_until: None,
        durable_until: Some(durable),
        silent_since: None,
        spool_bytes: 0,
        audio_note: None,
        store_error: None,
        waits: Waits::Unknown,
    };
    let report = LinkEvent::Report(WorkloadReport::Archive(report));
    right.pods.said(&yard(), Role::Archiver, &uid, report);
    let taken_over = Timestamp::from_millis(clock.wall_ms());
    right.memories.store(&yard(), &gone(START)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    right.said_drained(&archiver);
    api.until("the end of the session", |api| {
        session(api, "acme", "yard")["mon"].is_null()
    })
    .await;
    assert!(api.list(PODS).is_empty());
    let away = &api.get(CAMERAS, "t-acme", "yard").unwrap()["status"]["away"];
    let instant = |field: &str| away[field].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(instant("durableUntil"), durable, "{away:#}");
    assert!(
        taken_over.since(instant("since")) < Duration::from_secs(5),
        "{away:#}"
    );
}

/// A camera whose pods are the left replica's, that came back at the right one and was lost before it was served there.
async fn lost_before_it_was_served() -> (Api, Replica, Replica, InstanceId) {
    let (api, clock) = cluster();
    let left = Replica::new(&api, &clock, 0).await;
    let right = Replica::new(&api, &clock, 1).await;
    let janitor = Janitor::new(right.pods.clone(), leases(&api, &clock, &right));
    let cancel = right.mon.stop.clone();
    tokio::spawn(async move { janitor.run(cancel).await });
    let first = left.claim(1).await;
    let instance = left.start(first);
    announced(&api, &left).await;
    left.mon.down(SessionId(1));
    let second = right.claim(2).await;
    right.mon.down(SessionId(2));
    right.mon.claims.give_back(&yard(), second).await.unwrap();
    (api, left, right, instance)
}

/// A load balancer sends a camera anywhere.
#[tokio::test(start_paused = true)]
async fn a_camera_that_flaps_between_replicas_keeps_its_pods() {
    let (api, left, right, instance) = lost_before_it_was_served().await;
    let before = api.list(PODS);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(
        condition(&api, "acme", "yard", "Connected"),
        Some(("False".into(), "Lost".into()))
    );
    let generation = left.claim(3).await;
    let order = WorkloadOrder::Rebind { generation };
    left.pods.order(&yard(), instance, order);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(api.list(PODS), before, "no pod was touched");
    assert_eq!((left.told.drains(), right.told.drains()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_was_lost_before_it_was_served_is_drained_after_a_whole_grace() {
    let begun = tokio::time::Instant::now();
    let (api, _left, right, _) = lost_before_it_was_served().await;
    let (_, archiver) = both(&api).await;
    api.until("the draining", |api| {
        condition(api, "acme", "yard", "Connected") == Some(("False".into(), "Draining".into()))
    })
    .await;
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(30), "{waited:?}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(right.told.drains(), 1);
    right.said_drained(&archiver);
    api.until("the end of the session", |api| {
        session(api, "acme", "yard")["mon"].is_null()
    })
    .await;
    assert!(api.list(PODS).is_empty());
}

/// Its monitor has never heard that another replica had it meanwhile.
#[tokio::test(start_paused = true)]
async fn the_pods_of_a_camera_that_comes_back_from_another_replica_are_looked_after_again() {
    let (api, clock) = cluster();
    let left = Replica::new(&api, &clock, 0).await;
    let right = Replica::new(&api, &clock, 1).await;
    let first = left.claim(1).await;
    let instance = left.start(first);
    let (relay, _) = both(&api).await;
    left.mon.down(SessionId(1));
    let second = right.claim(2).await;
    right.start(second);
    tokio::time::sleep(Duration::from_secs(2)).await;
    right.mon.down(SessionId(2));
    let generation = left.claim(3).await;
    let order = WorkloadOrder::Rebind { generation };
    left.pods.order(&yard(), instance, order);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(pods(&api, "relay"), std::slice::from_ref(&relay));
    api.remove(PODS, "t-acme", relay["metadata"]["name"].as_str().unwrap());
    api.until("another relay", |api| !pods(api, "relay").is_empty())
        .await;
}

/// What a monitor remembers of a camera that went away then.
fn gone(since: i64) -> Memory {
    let since = Timestamp::from_millis(since);
    let cause = Cause::TunnelDown;
    Memory {
        durable_until: Some(since),
        gaps: vec![(OpenGap { since, cause }, None)],
        ..Memory::default()
    }
}

/// The janitor tells of cameras that nobody holds, and never had them; the camera comes back to a replica that did not tell.
#[tokio::test(start_paused = true)]
async fn replicas_hear_what_the_last_holder_of_a_camera_knew_and_what_was_told() {
    let (api, clock) = cluster();
    let left = Replica::new(&api, &clock, 0).await;
    let right = Replica::new(&api, &clock, 1).await;
    for replica in [&left, &right] {
        assert!(replica.memories.load().await.unwrap().is_empty());
    }
    let generation = left.claim(1).await;
    let instance = left.start(generation);
    let (_, archiver) = both(&api).await;
    let knew = gone(clock.wall_ms());
    left.memories.store(&yard(), &knew).await.unwrap();
    left.mon.claims.release(&yard(), generation).await.unwrap();
    left.drain(instance);
    tokio::time::sleep(Duration::from_secs(5)).await;
    left.said_drained(&archiver);
    let heard = within("the news", right.memories.news()).await;
    assert_eq!(heard, [(yard(), knew.clone())]);

    let leases = leases(&api, &clock, &right);
    let (task, cancel) = (leases.clone(), right.mon.stop.clone());
    tokio::spawn(async move { task.run(cancel).await });
    let janitor = Janitor::new(right.pods.clone(), leases);
    let cancel = right.mon.stop.clone();
    tokio::spawn(async move { janitor.run(cancel).await });
    let told = Memory {
        alarmed_since: knew.durable_until,
        ..knew
    };
    right.memories.store(&yard(), &told).await.unwrap();
    let all = async {
        // First what it let go itself.
        let mut heard = left.memories.news().await;
        while heard
            .iter()
            .all(|(_, memory)| memory.alarmed_since.is_none())
        {
            heard = left.memories.news().await;
        }
        heard
    };
    assert_eq!(within("the news", all).await, [(yard(), told)]);
}
