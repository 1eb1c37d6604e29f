//! Thousands of cameras on two replicas: their pods "run" on nodes without machines (kwok), their tunnels are real.
//!
//! What it costs is printed for `docs/reference/benchmarks.md`; asserted is what must hold: every camera is served, under one generation, its pods
//! are made once, and the loss of a replica touches none of them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use moorline_base::SystemClock;
use moorline_simcam::{Key, KnownHosts, Source, SourceConfig, Tunnel, TunnelConfig, video::Shape};
use moorline_testkit::{cluster::SOON, eventually};
use serde_json::{Value, json};

use crate::support::{Moorline, Tenant};

const TENANTS: usize = 10;
const CAMERAS: usize = 200;
/// Each takes 110 pods.
const NODES: u32 = 40;
/// All control plane, both replicas and all cameras share the machine's processors.
const WITHIN: Duration = Duration::from_secs(15 * 60);
/// A replica that dies leaves its cameras without a tunnel for as long as a thousand handshakes take.
const GRACE: &str = "10m";

/// Cameras with tunnels of one tenant.
struct Fleet<'a> {
    tenant: Tenant<'a>,
    keys: Vec<(String, Key)>,
}

impl<'a> Fleet<'a> {
    async fn new(moorline: &'a Moorline, number: usize) -> Self {
        let more = json!({"classes": ["scale"], "cameras": CAMERAS});
        let tenant = moorline.tenant_with(&format!("scale-{number}"), more).await;
        let keys: Vec<_> = (0..CAMERAS)
            .map(|camera| (format!("camera-{camera}"), Key::generate().unwrap()))
            .collect();
        let items = keys.iter().map(|(name, key)| {
            json!({
                "apiVersion": "moorline.dev/v1alpha1", "kind": "Camera",
                "metadata": {"name": name},
                "spec": {"class": "scale", "keys": [key.public_line()], "sources": {"main": {"path": "/main"}}},
            })
        });
        let all = json!({"apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>()});
        tenant.space.apply(&all).await.unwrap();
        Self { tenant, keys }
    }

    async fn cameras(&self) -> Vec<Value> {
        let list = self.tenant.space.get(&["cameras"]).await.unwrap();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// The ids of the pods that run.
    async fn running(&self) -> Vec<String> {
        let list = self.tenant.space.get(&["pods"]).await.unwrap();
        let all = list["items"].as_array().into_iter().flatten();
        let run = all.filter(|pod| pod["status"]["phase"] == "Running");
        let mut uids: Vec<_> = run
            .map(|pod| {
                pod["metadata"]["uid"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect();
        uids.sort();
        uids
    }
}

/// How many objects of that kind the API server has, without listing them.
async fn count(moorline: &Moorline, path: &str) -> u64 {
    let one = format!("{path}?limit=1");
    let list = moorline.cluster().json(&["get", "--raw", &one]).await;
    let list = list.unwrap();
    let here = list["items"].as_array().map_or(0, Vec::len) as u64;
    here + list["metadata"]["remainingItemCount"].as_u64().unwrap_or(0)
}

/// What the replicas have written so far, by kind.
fn writes(moorline: &Moorline) -> BTreeMap<String, usize> {
    let all = moorline.cluster().lab().unwrap().writes().unwrap();
    let mut counts = BTreeMap::new();
    for event in &all {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if text(&event["user"]["username"]).ends_with(":moorline-mon") {
            let object = &event["objectRef"];
            let (verb, resource) = (text(&event["verb"]), text(&object["resource"]));
            let line = format!("{verb} {resource}/{}", text(&object["subresource"]));
            *counts.entry(line).or_default() += 1;
        }
    }
    counts
}

fn tell_writes(what: &str, before: &BTreeMap<String, usize>, now: &BTreeMap<String, usize>) {
    let cameras = (TENANTS * CAMERAS) as f64;
    let new = now.iter().map(|(kind, count)| {
        let count = count - before.get(kind).copied().unwrap_or(0);
        (kind, count as f64 / cameras)
    });
    let parts: Vec<_> = new
        .filter(|(_, each)| *each > 0.005)
        .map(|(kind, each)| format!("{kind} {each:.2}"))
        .collect();
    println!("MEASURED {what}: written per camera: {}", parts.join(", "));
}

async fn tell_memory(moorline: &Moorline, when: &str) {
    for replica in moorline.pair().await {
        let status = moorline.status_of(&replica.node, &replica.uid).await;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        println!(
            "MEASURED {} {when}: {} resident",
            replica.name,
            resident.unwrap_or("?").trim()
        );
    }
}

/// How often the container of a replica was begun anew.
async fn restarts(moorline: &Moorline, name: &str) -> u64 {
    let object = format!("pod/{name}");
    let pod = moorline.system.get(&[&object]).await.unwrap();
    let status = &pod["status"]["containerStatuses"][0];
    status["restartCount"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: two thousand cameras"]
async fn two_thousand_cameras_come_up_and_outlive_a_replica() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let lab = moorline.cluster().lab().unwrap();
    let standard = moorline
        .cluster()
        .json(&["get", "cameraclass", "standard", "-o", "json"]);
    let mut spec = standard.await.unwrap()["spec"].clone();
    spec["grace"] = GRACE.into();
    moorline
        .cluster()
        .apply(&json!({
            "apiVersion": "moorline.dev/v1alpha1", "kind": "CameraClass",
            "metadata": {"name": "scale"}, "spec": spec,
        }))
        .await
        .unwrap();
    let nodes = lab.without_machines(NODES).await.unwrap();
    let mut fleets = Vec::new();
    for number in 0..TENANTS {
        fleets.push(Fleet::new(&moorline, number).await);
    }
    let service = moorline.ssh_service().await;
    let hosts = moorline.known_hosts(service.ip());
    let hosts = Arc::new(KnownHosts::parse(hosts.lines()).unwrap());
    let source = Source::new(
        SourceConfig::generated(1, Shape::default()),
        SystemClock::shared(),
    );
    let (before, pods) = (writes(&moorline), count(&moorline, "/api/v1/pods").await);
    let wanted = 2 * (TENANTS * CAMERAS) as u64;

    let start = Instant::now();
    let mut tunnels = Vec::new();
    for fleet in &fleets {
        for (name, key) in &fleet.keys {
            let user = format!("{}/{name}", fleet.tenant.name);
            let config = TunnelConfig::new(service, user, key.clone(), KnownHosts::clone(&hosts));
            tunnels.push(Tunnel::start(config, source.clone(), SystemClock::shared()));
        }
    }
    for tunnel in &tunnels {
        tokio::time::timeout(WITHIN, tunnel.up()).await.unwrap();
    }
    println!(
        "MEASURED {} tunnels up after {:.1} s",
        tunnels.len(),
        start.elapsed().as_secs_f64()
    );
    eventually("two pods for each camera", WITHIN, || async {
        (count(&moorline, "/api/v1/pods").await >= pods + wanted).then_some(())
    })
    .await;
    println!(
        "MEASURED {wanted} pods made after {:.1} s",
        start.elapsed().as_secs_f64()
    );
    for fleet in &fleets {
        eventually("all pods of a tenant run", WITHIN, || async {
            let running = fleet.running().await;
            (running.len() == 2 * CAMERAS).then_some(())
        })
        .await;
    }
    println!(
        "MEASURED {wanted} pods run after {:.1} s",
        start.elapsed().as_secs_f64()
    );
    let connected = writes(&moorline);
    for replica in moorline.pair().await {
        let restarts = restarts(&moorline, &replica.name).await;
        assert_eq!(restarts, 0, "{} was begun anew: of memory?", replica.name);
    }
    tell_writes("from cold", &before, &connected);
    tell_memory(&moorline, "with all cameras").await;
    let mut uids = Vec::new();
    for fleet in &fleets {
        uids.push(fleet.running().await);
    }

    let [first, second] = moorline.pair().await;
    let mut held = 0;
    for fleet in &fleets {
        let of = |camera: &&Value| camera["status"]["session"]["mon"] == *first.name;
        held += fleet.cameras().await.iter().filter(of).count();
    }
    moorline.signal(&first.node, &first.uid, "KILL").await;
    let killed = Instant::now();
    eventually(
        "the other replica, or the new one, holds all",
        WITHIN,
        || async {
            for fleet in &fleets {
                let served = |camera: &Value| {
                    let session = &camera["status"]["session"];
                    let again = session["generation"].as_u64() > Some(1);
                    again || session["mon"] == *second.name
                };
                if !fleet.cameras().await.iter().all(served) {
                    return None;
                }
            }
            Some(())
        },
    )
    .await;
    println!(
        "MEASURED {} died with {held} cameras: all held again after {:.1} s",
        first.name,
        killed.elapsed().as_secs_f64()
    );
    tell_writes("loss of a replica", &connected, &writes(&moorline));
    moorline.until_ready().await;
    let begun = [&first, &second].map(|replica| restarts(&moorline, &replica.name));
    let [killed, other] = begun;
    assert_eq!((killed.await, other.await), (1, 0), "nobody else ended");
    tell_memory(&moorline, "after the loss").await;
    for (fleet, uids) in fleets.iter().zip(uids) {
        assert_eq!(fleet.running().await, uids, "a lost replica touches no pod");
    }
    for tunnel in tunnels {
        tunnel.stop().await;
    }
    drop(fleets);
    nodes.heal().await.unwrap();
    let class = ["delete", "cameraclass", "scale", "--wait=false"];
    moorline.cluster().kubectl(&class).await.unwrap();
    eventually(
        "the pods are gone with their nodes",
        WITHIN.min(SOON * 20),
        || async { (count(&moorline, "/api/v1/pods").await <= pods).then_some(()) },
    )
    .await;
}
