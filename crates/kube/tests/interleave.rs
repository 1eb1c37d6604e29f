//! Claims, pods, Leases and janitors of three replicas in any order, with faults between them: one serves at a time, no spool is lost, and
//! everything comes to an end.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::id::InstanceId;
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    CameraDirectory as _, Holder, Holders as _, LinkEvent, LinkEvents as _, PodUid, WorkloadLinks,
    WorkloadOrder, WorkloadSpec,
};
use moorline_core::{CameraId, Generation, SessionId};
use moorline_kube::{
    Gone, Janitor, KubeHolders, KubeMemories, Leases, PodCache, PodSettings, Pods,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::monitor::{Mailbox, Monitor};
use support::{Api, CAMERAS, Fault, Mon, camera, server, session, within, yard};

const PODS: &str = "/api/v1/pods";
const CLASSES: &str = "/apis/moorline.dev/v1alpha1/cameraclasses";
/// Simulated time moves when nobody has anything to do: a second of it takes milliseconds. Where it has not moved at so many looks in a row somebody
/// spins, for ever. Looks, and no deadline: a process that was stopped does not spin.
const LOOKS: u32 = 60;
const LOOK: Duration = Duration::from_secs(1);
/// How long the monitor of this test waits for a tunnel that was lost.
const GRACE: Duration = Duration::from_secs(10);

/// The gateway's part: which pods an order reaches.
#[derive(Default)]
struct Told(Mutex<Instances>);

/// The pods of each instance, and the instances that have ended.
type Instances = (BTreeMap<InstanceId, Vec<PodUid>>, BTreeSet<InstanceId>);

impl WorkloadLinks for Told {
    fn assign(&self, spec: WorkloadSpec, pods: &[(Role, PodUid)]) {
        let archivers = pods.iter().filter(|(role, _)| *role == Role::Archiver);
        let archivers = archivers.map(|(_, uid)| uid.clone()).collect();
        self.0.lock().unwrap().0.insert(spec.instance, archivers);
    }

    fn order(&self, _: &CameraId, instance: InstanceId, order: WorkloadOrder) {
        if let WorkloadOrder::Drain { .. } = order {
            self.0.lock().unwrap().1.insert(instance);
        }
    }

    fn forget(&self, _: &CameraId, instance: InstanceId) {
        let mut told = self.0.lock().unwrap();
        told.0.remove(&instance);
        told.1.remove(&instance);
    }
}

impl Told {
    /// Archivers that were told to drain.
    fn draining(&self) -> Vec<PodUid> {
        let told = self.0.lock().unwrap();
        let links = told.1.iter().filter_map(|link| told.0.get(link));
        links.flatten().cloned().collect()
    }
}

struct Replica {
    mon: Mon,
    pods: Pods,
    told: Arc<Told>,
    leases: Leases,
    /// Its tasks that renew; `None` while it cannot.
    renews: Option<tokio::task::JoinHandle<()>>,
    monitor: Monitor,
}

impl Replica {
    async fn new(api: &Api, clock: &SharedClock, number: u16) -> Self {
        let mut mon = Mon::new(api, clock, number).await;
        let gone = Gone::default();
        mon.holders = KubeHolders::new(&mon.directory, mon.owned.clone(), gone.clone());
        let (cache, told) = (PodCache::default(), Arc::new(Told::default()));
        let (watch, client, cancel) = (cache.clone(), api.client(), mon.stop.clone());
        let freshness = mon.directory.freshness().clone();
        tokio::spawn(async move { watch.run(client, &freshness, cancel).await });
        within("the first list of pods", cache.listed()).await;
        let mailbox = Mailbox::default();
        let pods = Pods::new(
            mon.writer.clone(),
            cache,
            told.clone(),
            Arc::new(mailbox.clone()),
            KubeMemories::new(mon.directory.clone()),
            PodSettings {
                gateway: "moorline-mon.moorline-system:8443".into(),
                signer: "moorline-signer.moorline-system:8444".into(),
            },
            mon.stop.clone(),
        );
        let leases = Leases::new(
            api.client(),
            "moorline-system",
            mon.owned.replica().name.clone(),
            gone,
            mon.directory.freshness().clone(),
            clock.clone(),
        );
        let janitor = Janitor::new(pods.clone(), leases.clone());
        let cancel = mon.stop.clone();
        tokio::spawn(async move { janitor.run(cancel).await });
        let monitor = Monitor::new(&mon, pods.clone(), mailbox, GRACE);
        let mut replica = Self {
            mon,
            pods,
            told,
            leases,
            renews: None,
            monitor,
        };
        replica.renew();
        replica
    }

    fn renew(&mut self) {
        let (leases, never) = (self.leases.clone(), CancellationToken::new());
        self.renews = Some(tokio::spawn(async move { leases.run(never).await }));
    }

    /// Its API calls for Leases stop, or begin again.
    fn toggle_lease(&mut self) {
        match self.renews.take() {
            Some(task) => task.abort(),
            None => self.renew(),
        }
    }

    /// A tunnel comes up here.
    fn connect(&self, number: u64) {
        if let Some(record) = self.mon.directory.snapshot().get(&yard()).cloned() {
            self.monitor.connect(record, SessionId(number));
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(task) = self.renews.take() {
            task.abort();
        }
    }
}

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// The camera connects to a replica.
    Connect(usize),
    /// The tunnel that this replica serves is lost.
    Lose(usize),
    /// The next request of this kind goes wrong.
    Wrong(u8, u8),
    /// This replica cannot renew its Lease any more, or can again.
    Lease(usize),
    /// The camera is deleted and made again.
    Again,
    /// Another version of the image is installed.
    Image(u8),
    /// Time passes.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0_usize..3).prop_map(Step::Connect),
        3 => (0_usize..3).prop_map(Step::Lose),
        3 => ((0_u8..3), (0_u8..4)).prop_map(|(kind, fault)| Step::Wrong(kind, fault)),
        1 => (0_usize..3).prop_map(Step::Lease),
        1 => Just(Step::Again),
        1 => (0_u8..3).prop_map(Step::Image),
        5 => (1_u64..15_000).prop_map(Step::Wait),
    ]
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// What must hold at any moment.
#[derive(Default)]
struct Watched {
    greatest: BTreeMap<String, u64>,
    archivers: BTreeSet<String>,
    drained: Arc<Mutex<BTreeSet<String>>>,
    /// Of Cameras that are gone: the garbage collector's.
    collected: BTreeSet<String>,
}

impl Watched {
    fn look(&mut self, api: &Api, replicas: &[Replica]) -> Result<(), TestCaseError> {
        let now = session(api, "acme", "yard")["generation"]
            .as_u64()
            .unwrap_or(0);
        let camera = api
            .get(CAMERAS, "t-acme", "yard")
            .map(|camera| uid(&camera));
        let before = self
            .greatest
            .insert(camera.unwrap_or_default(), now)
            .unwrap_or(0);
        prop_assert!(now >= before, "{before} then {now}");
        let serves = |replica: &&Replica| {
            replica.mon.holders.holder(&yard()) == Holder::Here(Generation(now))
        };
        prop_assert!(
            replicas.iter().filter(serves).count() <= 1,
            "two serve generation {now}"
        );
        let archivers: BTreeSet<String> = api
            .list(PODS)
            .iter()
            .filter(|pod| pod["metadata"]["labels"]["moorline.dev/role"] == "archiver")
            .map(uid)
            .collect();
        let drained = self.drained.lock().unwrap();
        for gone in self.archivers.difference(&archivers) {
            prop_assert!(
                drained.contains(gone) || self.collected.contains(gone),
                "the spool of {gone} is lost"
            );
        }
        self.archivers = archivers;
        Ok(())
    }
}

async fn interleave(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let class = |image: &str| json!({"apiVersion": "moorline.dev/v1alpha1", "kind": "CameraClass", "metadata": {"name": "standard"}, "spec": {"image": image}});
    api.put(CLASSES, class("a"));
    let mut replicas = Vec::new();
    for number in 0..3 {
        replicas.push(Replica::new(&api, &clock, number).await);
    }
    let mut watched = Watched::default();
    // Pods connect, and archivers that are told to drain do so, within seconds.
    let tolds: Vec<_> = replicas
        .iter()
        .map(|replica| (replica.told.clone(), replica.pods.clone()))
        .collect();
    let (drained, stop) = (watched.drained.clone(), replicas[0].mon.stop.clone());
    let made = api.clone();
    tokio::spawn(async move {
        while !stop.is_cancelled() {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let made = made.list(PODS);
            for (told, pods) in &tolds {
                for pod in &made {
                    let is_relay = pod["metadata"]["labels"]["moorline.dev/role"] == "relay";
                    let role = if is_relay {
                        Role::Relay
                    } else {
                        Role::Archiver
                    };
                    pods.said(
                        &yard(),
                        role,
                        &PodUid(uid(pod)),
                        LinkEvent::Connected { connection: 1 },
                    );
                }
                for pod in told.draining() {
                    drained.lock().unwrap().insert(pod.0.clone());
                    pods.said(&yard(), Role::Archiver, &pod, LinkEvent::Drained);
                }
            }
        }
    });
    for (number, step) in (1..).zip(steps) {
        match step {
            Step::Connect(which) => replicas[which].connect(number),
            Step::Lose(which) => replicas[which].monitor.lose(),
            Step::Lease(which) => replicas[which].toggle_lease(),
            Step::Wrong(kind, fault) => {
                let (method, path) = [
                    (Method::PUT, "yard/status"),
                    (Method::POST, "/pods"),
                    (Method::DELETE, "/pods/"),
                ][usize::from(kind)]
                .clone();
                let fault = match (fault, kind) {
                    (0, _) => Fault::Swallowed,
                    (1, _) => Fault::AnswerLost,
                    // Somebody else writes a condition between.
                    (2, 0) => Fault::Overtaken(json!({"status": {"observedGeneration": 1}})),
                    (2, 1) => {
                        let why = "pods \"x\" is forbidden: exceeded quota: moorline";
                        Fault::Refused(403, "Forbidden", why.into())
                    }
                    _ => Fault::Refused(429, "TooManyRequests", "slow down".into()),
                };
                api.trap(method, path, 1, fault);
            }
            Step::Again => {
                api.remove(CAMERAS, "t-acme", "yard");
                for pod in api.list(PODS) {
                    watched.collected.insert(uid(&pod));
                    let name = pod["metadata"]["name"].as_str().unwrap();
                    api.remove(PODS, "t-acme", name);
                }
                replicas
                    .iter()
                    .for_each(|replica| replica.monitor.removed());
                api.put(CAMERAS, camera("acme", "yard"));
            }
            Step::Image(which) => {
                api.put(CLASSES, class(["a", "b", "c"][usize::from(which)]));
            }
            Step::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        }
        watched.look(&api, &replicas)?;
    }
    // The camera calls no more, and every replica can renew.
    for replica in &mut replicas {
        if replica.renews.is_none() {
            replica.renew();
        }
    }
    let left = || -> Vec<String> { api.list(PODS).iter().map(uid).collect() };
    let held = || !session(&api, "acme", "yard")["mon"].is_null();
    let mut quiet = 0;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_secs(30)).await;
        replicas.iter().for_each(|replica| replica.monitor.lose());
        watched.look(&api, &replicas)?;
        // What has been quiet for a minute stays so.
        quiet = if left().is_empty() && !held() {
            quiet + 1
        } else {
            0
        };
        if quiet == 3 {
            return Ok(());
        }
    }
    prop_assert!(left().is_empty(), "left: {:?}", left());
    prop_assert!(!held());
    Ok(())
}

/// So many orders, each as it is: what is left out of one that fails makes another one of it.
fn orders(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(orders(24))]

    /// Connections, losses, faults of the API server, Leases that run out, cameras that are made again, other images.
    #[test]
    fn one_serves_no_spool_is_lost_and_everything_ends(steps in proptest::collection::vec(step(), 1..20)) {
        in_simulated_time(steps)?;
    }
}

proptest! {
    #![proptest_config(orders(600))]

    #[test]
    #[ignore = "long: six hundred orders take minutes"]
    fn one_serves_no_spool_is_lost_and_everything_ends_in_many_orders(steps in proptest::collection::vec(step(), 1..20)) {
        in_simulated_time(steps)?;
    }
}

/// Runs one order. What spins fails, and is named with its steps.
fn in_simulated_time(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let seconds = Arc::new(AtomicU64::new(0));
    let (passing, (tell, told)) = (Arc::clone(&seconds), std::sync::mpsc::channel());
    let case = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                passing.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Whoever waits for it has given up.
        let _ = tell.send(runtime.block_on(interleave(steps)));
    });
    let (mut seen, mut still) = (0, 0);
    while still < LOOKS {
        match told.recv_timeout(LOOK) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => match case.join() {
                Err(panicked) => std::panic::resume_unwind(panicked),
                Ok(()) => return Err(TestCaseError::fail("it ended without a word")),
            },
            Err(RecvTimeoutError::Timeout) => {
                let now = seconds.load(Ordering::Relaxed);
                still = if now == seen { still + 1 } else { 0 };
                seen = now;
            }
        }
    }
    let why = format!("it spins: {seen} s of simulated time, and no more");
    Err(TestCaseError::fail(why))
}
