//! Several replicas of the monitor: a camera that moves between them keeps its pods, and the janitor looks after whoever nobody holds.

use std::time::Duration;

use moorline_core::id::InstanceId;
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    Claims as _, LinkEvent, LinkEvents as _, Memories as _, Memory, PodUid, WorkloadOrder,
    WorkloadReport, Workloads as _,
};
use moorline_core::status::{ArchiveReport, ArchiveState, OpenGap, Waits};
use moorline_core::{Cause, Generation, SessionId, Timestamp};
use serde_json::{Value, json};

use crate::support::workloads::{
    PODS, Replica, announced, both, cluster, leases, pods, renews, tidies, yard,
};
use crate::support::{Api, CAMERAS, START, condition, session, until_told, within};

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
    renews(&replica, &leases);
    tidies(&replica, leases);
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
    renews(&right, &second);
    tidies(&right, second.clone());
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
    let words = "moorline-mon-0, which had its tunnel, ended";
    until_told(&api, "HolderGone", "Warning", words).await;
    // What is remembered of it is what is known: when it was taken over, and what its archiver says. The monitor there never had it.
    let durable = Timestamp::from_millis(clock.wall_ms() - 50_000);
    says_durable(&right, &archiver, durable);
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

/// As in a rollout: what does not come back waits for its grace, and not for a term of the Lease as well.
#[tokio::test(start_paused = true)]
async fn a_replica_that_stops_gives_its_leases_back_and_the_next_janitor_begins_at_once() {
    let (api, clock) = cluster();
    let left = Replica::new(&api, &clock, 0).await;
    let right = Replica::new(&api, &clock, 1).await;
    let (first, second) = (leases(&api, &clock, &left), leases(&api, &clock, &right));
    let stops = moorline_base::CancellationToken::new();
    let (task, cancel) = (first.clone(), stops.clone());
    let ending = tokio::spawn(async move { task.run(cancel).await });
    within("the first to lead", first.leads().wait_for(|leads| *leads))
        .await
        .unwrap();
    renews(&right, &second);
    tidies(&right, second.clone());
    let generation = left.claim(1).await;
    left.start(generation);
    both(&api).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let leads = *second.leads().borrow();
    assert!(!leads, "the first one does");

    stops.cancel();
    within("the end of the first", ending).await.unwrap();
    left.mon.stop.cancel();
    let begun = tokio::time::Instant::now();
    within(
        "the second to lead",
        second.leads().wait_for(|leads| *leads),
    )
    .await
    .unwrap();
    assert!(begun.elapsed() <= Duration::from_secs(5));
    api.until("the taking over", |api| {
        session(api, "acme", "yard")["mon"] == "moorline-mon-1"
    })
    .await;
    let waited = begun.elapsed().as_secs();
    assert!((29..45).contains(&waited), "the grace alone: {waited} s");
    assert_eq!(session(&api, "acme", "yard")["generation"], generation.0);
}

/// A camera whose pods are the left replica's, that came back at the right one and was lost before it was served there.
async fn lost_before_it_was_served() -> (Api, Replica, Replica, InstanceId) {
    let (api, clock) = cluster();
    let left = Replica::new(&api, &clock, 0).await;
    let right = Replica::new(&api, &clock, 1).await;
    renews(&left, &leases(&api, &clock, &left));
    let own = leases(&api, &clock, &right);
    renews(&right, &own);
    tidies(&right, own);
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

/// An archiver that drains says up to where everything is durable.
fn says_durable(replica: &Replica, archiver: &Value, until: Timestamp) {
    let uid = PodUid(archiver["metadata"]["uid"].as_str().unwrap().to_owned());
    let report = ArchiveReport {
        state: ArchiveState::Draining,
        synced_until: None,
        durable_until: Some(until),
        silent_since: None,
        spool_bytes: 0,
        audio_note: None,
        store_error: None,
        waits: Waits::Unknown,
        shut_out: false,
    };
    let report = LinkEvent::Report(WorkloadReport::Archive(report));
    replica.pods.said(&yard(), Role::Archiver, &uid, report);
}

/// A replica that knows this of its camera gives it back, and its pods drain.
async fn lets_go(replica: &Replica, generation: Generation, instance: InstanceId, knew: &Memory) {
    replica.memories.store(&yard(), knew).await.unwrap();
    let released = replica.mon.claims.release(&yard(), generation).await;
    released.unwrap();
    replica.drain(instance);
    tokio::time::sleep(Duration::from_secs(5)).await;
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

/// P4: the last segments are stored while the archiver drains. Who has the camera next tells no gap of them.
#[tokio::test(start_paused = true)]
async fn p4_the_next_holder_knows_what_an_archiver_said_last() {
    let (api, clock) = cluster();
    let left = Replica::new(&api, &clock, 0).await;
    let right = Replica::new(&api, &clock, 1).await;
    for replica in [&left, &right] {
        assert!(replica.memories.load().await.unwrap().is_empty());
    }
    let generation = left.claim(1).await;
    let instance = left.start(generation);
    let (_, archiver) = both(&api).await;
    let mut knew = gone(clock.wall_ms());
    let since = knew.durable_until;
    let stored = Some(Timestamp::from_millis(clock.wall_ms() - 8_000));
    (knew.durable_until, knew.recorded_until) = (stored, stored);
    lets_go(&left, generation, instance, &knew).await;
    says_durable(&left, &archiver, since.unwrap());
    left.said_drained(&archiver);
    let heard = within("the news", right.memories.news()).await;
    (knew.durable_until, knew.recorded_until) = (since, since);
    assert_eq!(heard, [(yard(), knew)]);
}

/// P4: the camera calls another replica at once. Its claim hands over what it read, before the news of it are heard.
#[tokio::test(start_paused = true)]
async fn p4_the_claim_of_the_next_holder_hands_over_what_the_last_one_left() {
    let (api, clock) = cluster();
    let left = Replica::new(&api, &clock, 0).await;
    let right = Replica::new(&api, &clock, 1).await;
    let first = left.claim(1).await;
    let instance = left.start(first);
    let (_, archiver) = both(&api).await;
    let knew = gone(clock.wall_ms());
    lets_go(&left, first, instance, &knew).await;
    left.said_drained(&archiver);
    api.until("why it is away", |api| {
        let yard = api.get(CAMERAS, "t-acme", "yard").unwrap();
        yard["status"]["away"].is_object()
    })
    .await;
    let second = right.claim(2).await;
    let claims = &right.mon.claims;
    assert_eq!(claims.left(&yard(), second), Some(knew));
    assert_eq!(claims.left(&yard(), first), None, "of another claim");
    // It serves: what is left of it now is its holder's.
    let third = right.claim(3).await;
    assert_eq!(claims.left(&yard(), third), None);
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
    lets_go(&left, generation, instance, &knew).await;
    left.said_drained(&archiver);
    let heard = within("the news", right.memories.news()).await;
    assert_eq!(heard, [(yard(), knew.clone())]);

    let leases = leases(&api, &clock, &right);
    renews(&right, &leases);
    tidies(&right, leases);
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
