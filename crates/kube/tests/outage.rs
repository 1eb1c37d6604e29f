//! A replica that was cut off from the API server, once that answers again.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::time::Duration;

use moorline_base::CancellationToken;
use moorline_core::CameraId;
use moorline_core::port::CameraDirectory as _;
use moorline_kube::{Gone, Heard, Leases, PodCache, Pulse};
use serde_json::json;
use support::{CAMERAS, Mon, camera, server, within};

const PODS: &str = "/api/v1/pods";

/// Its connections are dead, which the network tells late. Until it knows of a camera that was made meanwhile it refuses the key.
#[tokio::test(start_paused = true)]
async fn what_was_made_during_an_outage_is_known_seconds_after_its_end() {
    let (api, clock) = server();
    let mon = Mon::new(&api, &clock, 0).await;
    let freshness = mon.directory.freshness();
    let pods = PodCache::default();
    let watching = (pods.clone(), api.client(), freshness.clone());
    let leases = Leases::new(
        api.client(),
        "moorline-system",
        "moorline-mon-0",
        Gone::default(),
        freshness.clone(),
        clock.clone(),
    );
    let cancel = CancellationToken::new();
    let (stop, _stops) = (cancel.clone(), cancel.drop_guard());
    let until = stop.clone();
    tokio::spawn(async move { watching.0.run(watching.1, &watching.2, until).await });
    tokio::spawn(async move { leases.run(stop).await });
    tokio::time::sleep(Duration::from_secs(30)).await;

    api.cut_off(true);
    tokio::time::sleep(Duration::from_secs(200)).await;
    let gate: CameraId = "acme/gate".parse().unwrap();
    let owner = api.put(CAMERAS, camera("acme", "gate"))["metadata"]["uid"].clone();
    let owner = owner.as_str().unwrap().to_owned();
    api.put(
        PODS,
        json!({"metadata": {
            "name": "relay", "namespace": "t-acme",
            "labels": {"app.kubernetes.io/managed-by": "moorline", "moorline.dev/role": "relay", "moorline.dev/camera": "gate"},
            "ownerReferences": [{"apiVersion": "moorline.dev/v1alpha1", "kind": "Camera", "name": "gate", "uid": owner, "controller": true}],
        }}),
    );
    api.cut_off(false);
    let knows = async {
        let mut seen = mon.directory.version();
        while mon.directory.snapshot().get(&gate).is_none() {
            seen = mon.directory.changed(seen).await;
        }
        while pods.of(&owner).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let known = tokio::time::timeout(Duration::from_secs(10), knows).await;
    assert!(known.is_ok(), "the camera or its pod is still unknown");
}

/// etcd was compacted while a watch stood still: a new list says what came meanwhile, and what went.
#[tokio::test(start_paused = true)]
async fn what_was_compacted_away_is_listed_anew() {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let mon = Mon::new(&api, &clock, 0).await;
    let [yard, gate, hall] =
        ["yard", "gate", "hall"].map(|name| format!("acme/{name}").parse::<CameraId>().unwrap());
    let until = async |there: &[&CameraId]| {
        let mut seen = mon.directory.version();
        loop {
            let all = mon.directory.snapshot();
            let known = [&yard, &gate, &hall].into_iter();
            let known: Vec<_> = known.filter(|id| all.get(id).is_some()).collect();
            if known == there {
                return;
            }
            seen = mon.directory.changed(seen).await;
        }
    };
    within("the first list", until(&[&yard])).await;
    api.put(CAMERAS, camera("acme", "gate"));
    api.remove(CAMERAS, "t-acme", "yard");
    api.compact();
    within("another list", until(&[&gate])).await;
    // And from there the watch goes on.
    api.put(CAMERAS, camera("acme", "hall"));
    within("what came after it", until(&[&gate, &hall])).await;
}

/// Who scrapes a role sees half a minute later that the API server is away, and since when; and that it is back.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_shows_and_so_does_its_return() {
    let (api, clock) = server();
    let (pulse, cancel) = (Pulse::default(), CancellationToken::new());
    assert_eq!(pulse.heard(), Heard::default(), "nothing was asked yet");
    let (asking, client, time) = (pulse.clone(), api.client(), clock.clone());
    let (stop, _stops) = (cancel.clone(), cancel.drop_guard());
    tokio::spawn(async move { asking.run(client, time, stop).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(pulse.heard().answers);

    api.away(true);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let heard = pulse.heard();
    assert!(!heard.answers);
    let since = clock.wall_ms() - heard.last.unwrap().as_millis();
    assert!((25_000..35_000).contains(&since), "{since}");

    api.away(false);
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert!(pulse.heard().answers);
}
