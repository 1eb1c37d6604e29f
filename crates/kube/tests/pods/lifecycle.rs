//! What a camera's connection, hang-up and removal do to its pods, and how long a drain is waited for.

use std::time::Duration;

use http::Method;
use moorline_core::port::{
    CameraDirectory as _, Claims as _, KeyPin, PutPolicy as _, RelayPlaces as _, WorkloadOrder,
    Workloads as _,
};
use moorline_core::{Generation, InstanceId, SessionId};
use serde_json::{Value, json};

use crate::support::workloads::{PODS, Replica, announced, both, cluster, pods, yard};
use crate::support::{Api, CAMERAS, Fault, condition, events, session, until_told};

/// The camera is connected, and its pods are there; the last is its archiver.
async fn connected() -> (Api, Replica, Generation, InstanceId, Value) {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let generation = replica.claim(1).await;
    let instance = replica.start(generation);
    let (_, archiver) = both(&api).await;
    (api, replica, generation, instance, archiver)
}

/// The claim is given back, and the instance told to end.
async fn hangs_up(replica: &Replica, generation: Generation, instance: InstanceId) {
    let released = replica.mon.claims.release(&yard(), generation).await;
    released.unwrap();
    replica.drain(instance);
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
    hangs_up(&replica, second, instance).await;
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

/// The tunnel is lost, and its grace ends.
#[tokio::test(start_paused = true)]
async fn a_disconnect_costs_five_writes() {
    let (api, replica, generation, instance, archiver) = connected().await;
    announced(&api, &replica).await;
    api.forget_requests();
    replica.mon.down(SessionId(1));
    tokio::time::sleep(Duration::from_secs(30)).await;
    hangs_up(&replica, generation, instance).await;
    api.until("the relay's end", |api| pods(api, "relay").is_empty())
        .await;
    replica.said_drained(&archiver);
    api.until("the end of the session", |api| {
        session(api, "acme", "yard")["mon"].is_null()
    })
    .await;
    assert!(api.list(PODS).is_empty());
    assert_eq!(api.writes().len(), 5, "{:#?}", api.writes());
}

/// `kubectl apply` makes a Camera without our finalizer. One that were deleted then would be gone at once, and nobody would sign for what its archiver
/// still has (P4).
#[tokio::test(start_paused = true)]
async fn p4_a_camera_made_by_kubectl_is_kept_for_its_archiver_before_that_is_made() {
    let (api, clock) = cluster();
    let bare = json!({"metadata": {"finalizers": null}});
    api.patch(CAMERAS, "t-acme", "yard", &bare);
    let replica = Replica::new(&api, &clock, 0).await;
    api.forget_requests();
    let generation = replica.claim(1).await;
    // Somebody else's write comes between, once.
    let note = json!({"status": {"observedGeneration": 1}});
    api.trap(Method::PATCH, "cameras/yard", 1, Fault::Overtaken(note));
    replica.start(generation);
    both(&api).await;
    let writes = api.writes();
    let first = |method: &str, what: &str| {
        let wanted = |write: &String| write.starts_with(method) && write.contains(what);
        writes.iter().rposition(wanted)
    };
    let (kept, made) = (first("PATCH", "cameras/yard"), first("POST", "pods"));
    assert!(kept.is_some() && kept < made, "{writes:#?}");
    let camera = api.get(CAMERAS, "t-acme", "yard").unwrap();
    assert_eq!(
        camera["metadata"]["finalizers"],
        json!(["moorline.dev/archive"])
    );
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
    let (api, replica, generation, instance, _) = connected().await;
    hangs_up(&replica, generation, instance).await;
    tokio::time::sleep(Duration::from_secs(23 * 3_600)).await;
    assert_eq!(pods(&api, "archiver").len(), 1);
    assert!(events(&api, "DrainOverdue").is_empty());
    tokio::time::sleep(Duration::from_secs(2 * 3_600)).await;
    assert!(api.list(PODS).is_empty());
    until_told(&api, "DrainOverdue", "Warning", "within 1d").await;
}

/// A class with a wrong image, a full cluster: whoever hangs up, or removes the camera, does not wait for a day.
#[tokio::test(start_paused = true)]
async fn pods_that_never_ran_are_not_waited_for() {
    let (api, replica, generation, instance, archiver) = connected().await;
    let name = archiver["metadata"]["name"].as_str().unwrap();
    let waits = json!({"name": "archiver", "image": "a", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff"}}});
    let status = json!({"status": {"phase": "Pending", "containerStatuses": [waits]}});
    api.patch(PODS, "t-acme", name, &status);
    tokio::time::sleep(Duration::from_secs(5)).await;
    hangs_up(&replica, generation, instance).await;
    api.until("the end of the session", |api| {
        session(api, "acme", "yard")["mon"].is_null()
    })
    .await;
    assert!(api.list(PODS).is_empty());
    assert!(replica.told.heard_drained(instance));
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_is_back_while_draining_gets_new_pods_and_the_old_archiver_drains_on() {
    let (api, replica, first, old, draining) = connected().await;
    hangs_up(&replica, first, old).await;
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
async fn a_deleted_camera_goes_when_its_archiver_has_drained() {
    let (api, replica, generation, instance, archiver) = connected().await;
    use moorline_core::port::CameraAdmin as _;
    replica.mon.admin.remove(&yard()).await.unwrap();
    assert!(
        replica.mon.directory.snapshot().get(&yard()).is_none(),
        "it may not connect any more"
    );
    hangs_up(&replica, generation, instance).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(api.get(CAMERAS, "t-acme", "yard").is_some());
    replica.said_drained(&archiver);
    api.until("the camera's end", |api| {
        api.get(CAMERAS, "t-acme", "yard").is_none()
    })
    .await;
}
