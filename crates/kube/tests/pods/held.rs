//! A camera that is lost while the API server is away may be at another replica by now, and who lost it cannot hear of that: its pods wait until it can.

use std::time::Duration;

use moorline_core::port::{CameraDirectory as _, Holder, Holders as _};
use moorline_core::{Generation, SessionId};
use serde_json::Value;

use crate::support::monitor::{Mailbox, Monitor};
use crate::support::workloads::{
    PODS, Replica, announced, both, cluster, leases, pods, renews, tidies, yard,
};
use crate::support::{Api, condition, session};

const GRACE: Duration = Duration::from_secs(30);
/// Many graces.
const OUTAGE: Duration = Duration::from_secs(300);

struct Lost {
    api: Api,
    left: Replica,
    right: Replica,
    at_left: Monitor,
    at_right: Monitor,
    pods: Vec<Value>,
}

fn uids(api: &Api) -> Vec<Value> {
    let pods = api.list(PODS);
    pods.iter()
        .map(|pod| pod["metadata"]["uid"].clone())
        .collect()
}

fn connect(replica: &Replica, monitor: &Monitor, session: u64) {
    let record = replica.mon.directory.snapshot().get(&yard()).cloned();
    monitor.connect(record.unwrap(), SessionId(session));
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// The camera was the left replica's, and is lost as the API server goes away for all.
async fn lost_in_an_outage() -> Lost {
    let (api, clock) = cluster();
    let left = Replica::new(&api, &clock, 0).await;
    let right = Replica::new(&api, &clock, 1).await;
    let [at_left, at_right] = [&left, &right].map(|replica| {
        renews(replica, &leases(&api, &clock, replica));
        let (pods, mailbox) = (replica.pods.clone(), Mailbox::default());
        Monitor::new(&replica.mon, pods, mailbox, GRACE)
    });
    connect(&left, &at_left, 1);
    announced(&api, &left).await;
    seconds(60).await;
    let pods = uids(&api);
    api.cut_off(true);
    at_left.lose();
    Lost {
        api,
        left,
        right,
        at_left,
        at_right,
        pods,
    }
}

#[tokio::test(start_paused = true)]
async fn a_grace_that_ends_in_an_outage_drains_nothing_and_a_hang_up_does_at_once() {
    let lost = lost_in_an_outage().await;
    tokio::time::sleep(OUTAGE).await;
    assert_eq!(lost.left.told.drains(), 0);
    lost.at_left.hang_up();
    seconds(1).await;
    assert_eq!(lost.left.told.drains(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_nobody_has_is_drained_half_a_minute_after_the_outage() {
    let lost = lost_in_an_outage().await;
    tokio::time::sleep(OUTAGE).await;
    lost.api.cut_off(false);
    seconds(25).await;
    assert_eq!(lost.left.told.drains(), 0, "others may still write theirs");
    seconds(20).await;
    assert_eq!(lost.left.told.drains(), 1);
    lost.left.said_drained(&pods(&lost.api, "archiver")[0]);
    lost.api
        .until("the end of the session", |api| {
            session(api, "acme", "yard")["mon"].is_null()
        })
        .await;
    assert!(lost.api.list(PODS).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_called_another_replica_in_an_outage_keeps_its_pods() {
    let lost = lost_in_an_outage().await;
    seconds(10).await;
    connect(&lost.right, &lost.at_right, 2);
    tokio::time::sleep(OUTAGE).await;
    let holder = |replica: &Replica| replica.mon.holders.holder(&yard());
    let here = |generation| Holder::Here(Generation(generation));
    assert_eq!(holder(&lost.right), here(2), "served from memory");
    assert_eq!(holder(&lost.left), here(1), "it has not heard of that");

    lost.api.cut_off(false);
    seconds(15).await;
    let now = session(&lost.api, "acme", "yard");
    assert_eq!(now["mon"], "moorline-mon-1", "no pause is waited for");
    assert_eq!(now["generation"], 2);
    seconds(600).await;
    assert_eq!(lost.left.mon.owned.get(&yard()), None);
    assert_eq!(lost.left.told.drains() + lost.right.told.drains(), 0);
    assert_eq!(uids(&lost.api), lost.pods, "so nothing is missing");
    let assigned = lost.right.told.assigned.lock().unwrap();
    assert_eq!(assigned.last().unwrap().1.len(), 2);
}

/// What a janitor waits for is in memory alone, and as it was before the outage.
#[tokio::test(start_paused = true)]
async fn what_a_predecessor_had_is_not_taken_over_before_an_outage_has_settled() {
    let (api, clock) = cluster();
    let before = Replica::new(&api, &clock, 0).await;
    let generation = before.claim(1).await;
    before.start(generation);
    both(&api).await;
    seconds(10).await;
    before.mon.stop.cancel();

    let replica = Replica::new(&api, &clock, 0).await;
    let own = leases(&api, &clock, &replica);
    renews(&replica, &own);
    tidies(&replica, own);
    seconds(10).await;
    api.cut_off(true);
    tokio::time::sleep(OUTAGE).await;
    api.cut_off(false);
    seconds(25).await;
    let connected = |api: &Api| condition(api, "acme", "yard", "Connected");
    assert_eq!(connected(&api), Some(("True".into(), "Claimed".into())));
    api.until("the draining", |api| {
        connected(api) == Some(("False".into(), "Draining".into()))
    })
    .await;
}
