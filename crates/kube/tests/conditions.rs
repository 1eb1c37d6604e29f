//! What a camera's conditions and events say about its tunnel, its pods and its keys, and that it costs few writes.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::time::Duration;

use http::Method;
use moorline_core::id::SourceName;
use moorline_core::lifecycle::Role;
use moorline_core::port::{Claims as _, LinkEvent, LinkEvents as _, PodUid, WorkloadReport};
use moorline_core::status::{ArchiveReport, ArchiveState, RelayReport, RelayState};
use moorline_core::{SessionId, Timestamp};
use moorline_kube::{Janitor, Leases};
use serde_json::{Value, json};
use support::workloads::{PODS, Replica, announced, both, cluster, pods, yard};
use support::{Api, CAMERAS, Fault, KEY, camera, condition, until_told};

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
    replica.mon.down(SessionId(1));
    tokio::time::sleep(Duration::from_secs(8)).await;
    let lost = ("False".to_owned(), "Lost".to_owned());
    for kind in ["Connected", "Archiving", "Ready"] {
        assert_eq!(
            condition(&api, "acme", "yard", kind),
            Some(lost.clone()),
            "{kind}"
        );
    }
    until_told(&api, "Lost", "Warning", "power and network").await;
    replica.claim(2).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(conditions(&api), before);
    until_told(&api, "Back", "Normal", "its pods go on").await;
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
    until_told(&api, "Crashing", "Warning", "kubectl logs --previous").await;
    until_told(&api, "Running", "Normal", "holds again").await;
}

/// Its kubelet mends it within a second, and no condition changes: what it was is told all the same.
#[tokio::test(start_paused = true)]
async fn containers_that_were_killed_are_told_with_what_it_cost_and_what_to_look_at() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let first = replica.claim(1).await;
    replica.start(first);
    announced(&api, &replica).await;
    let (relay, archiver) = both(&api).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = conditions(&api);
    api.forget_requests();
    for (pod, how) in [(&relay, "OOMKilled"), (&archiver, "Error")] {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let container = json!({"name": "c", "image": "a", "imageID": "", "ready": true, "restartCount": 1,
            "lastState": {"terminated": {"exitCode": 137, "reason": how}}});
        api.patch(
            PODS,
            "t-acme",
            name,
            &json!({"status": {"containerStatuses": [container]}}),
        );
    }
    until_told(&api, "RelayRestarted", "Warning", "raise relay.memory").await;
    until_told(
        &api,
        "ArchiverRestarted",
        "Warning",
        "finds its spool again",
    )
    .await;
    assert_eq!(conditions(&api), before);
    assert_eq!(api.writes(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_node_is_lost_is_told_and_has_a_successor() {
    let (api, clock) = cluster();
    let replica = Replica::new(&api, &clock, 0).await;
    let first = replica.claim(1).await;
    replica.start(first);
    announced(&api, &replica).await;
    let (_, archiver) = both(&api).await;
    let name = archiver["metadata"]["name"].as_str().unwrap();
    let target = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint"});
    let taken = json!({"metadata": {"deletionTimestamp": "2026-11-20T01:00:00Z"}, "status": {"conditions": [target]}});
    api.patch(PODS, "t-acme", name, &taken);
    until_told(&api, "PodDisrupted", "Warning", "kubectl get nodes").await;
    api.until("a successor", |api| pods(api, "archiver").len() == 2)
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
                waits: Default::default(),
                shut_out: false,
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
    said(
        Role::Relay,
        &relay,
        LinkEvent::Disconnected { connection: 1 },
    );
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
async fn the_younger_of_two_cameras_with_one_key_is_told_so_until_it_has_its_own() {
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
    let advice = "give this camera a key of its own";
    until_told(&api, "KeyOfOlderCamera", "Warning", advice).await;
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
    until_told(&api, "KeysOfItsOwn", "Normal", "any more").await;
}
