//! Replicas on an API server in memory, and agents that say what a test has them say.

use std::sync::Mutex;

use async_trait::async_trait;
use moorline_base::clock::TokioClock;
use moorline_core::alarm::{Alarm, AlarmKind};
use moorline_core::lifecycle::EndReason;
use moorline_core::port::{
    CameraDirectory as _, Claims as _, NotifyError, Sessions, TellError, TunnelEnd, TunnelEvents,
    TunnelUp,
};
use moorline_core::{Generation, SessionId};
use moorline_kube::{
    KubeClaims, KubeDirectory, Owned, Replica as Name, StatusWriter, StoredRelease,
};
use serde_json::{Value, json};

use super::super::testing::api::{Api, Fault as Fails};
use super::super::testing::{CAMERAS, camera};
use super::*;
use crate::spoken::Spoken;

const NAMESPACE: &str = "moorline-system";
const CONFIGMAPS: &str = "/api/v1/configmaps";
const OLD: &str = "0.1.0";
const NEW: &str = "0.2.0";
/// Looks are a second apart, after a fault five.
const A_WHILE: Duration = Duration::from_secs(20);

/// Agents of one replica, and who was told of roll-backs.
#[derive(Default)]
struct Agents {
    cameras: Arc<Spoken>,
    offered: Mutex<Vec<CameraId>>,
    told: Mutex<Vec<CameraId>>,
}

impl Agents {
    fn says(&self, camera: &CameraId, key: &'static str, value: &str) {
        let mut all = self.cameras.0.lock().unwrap();
        let said = all.get_mut(camera).expect("it is connected");
        said.insert(key, value.to_owned());
    }

    fn offered(&self) -> Vec<CameraId> {
        self.offered.lock().unwrap().clone()
    }

    fn told(&self) -> Vec<CameraId> {
        self.told.lock().unwrap().clone()
    }
}

impl AgentUpgrades for Agents {
    fn offer(&self, camera: &CameraId, release: &Arc<AgentRelease>) -> Result<(), TellError> {
        self.says(camera, "offered", &release.version);
        self.offered.lock().unwrap().push(camera.clone());
        Ok(())
    }
}

#[async_trait]
impl Notifier for Agents {
    async fn tell(&self, alarm: &Alarm) -> Vec<Result<&'static str, NotifyError>> {
        if let AlarmKind::AgentRolledBack { camera, .. } = &alarm.kind {
            self.told.lock().unwrap().push(camera.clone());
        }
        Vec::new()
    }

    fn reaches_anybody(&self) -> bool {
        true
    }
}

/// The tunnel and the monitor, when nobody looks.
struct Nobody;

impl Sessions for Nobody {
    fn serve(&self, _: SessionId, _: Generation) {}

    fn end(&self, _: SessionId, _: EndReason) {}
}

impl TunnelEvents for Nobody {
    fn up(&self, _: TunnelUp) -> bool {
        true
    }

    fn stolen(&self, _: &CameraId, _: std::net::SocketAddr, _: &str) {}

    fn ended(&self, _: SessionId, _: TunnelEnd) {}
}

struct Replica {
    agents: Arc<Agents>,
    directory: KubeDirectory,
    claims: KubeClaims,
    stop: CancellationToken,
}

impl Replica {
    async fn new(api: &Api, clock: &SharedClock, number: u8) -> Self {
        let stop = CancellationToken::new();
        let directory = KubeDirectory::new(api.client(), Arc::clone(clock));
        let owned = Owned::new(Name {
            name: format!("moorline-mon-{number}"),
            gateway: ([10, 0, 0, number + 1], 8443).into(),
        });
        let writer = StatusWriter::new(
            api.client(),
            directory.cache().clone(),
            owned,
            Arc::clone(clock),
            stop.clone(),
        );
        let agents = Arc::new(Agents::default());
        let releases = KubeReleases::new(api.client(), NAMESPACE, Arc::clone(clock));
        let rollout = ClusterRollout {
            releases: releases.clone(),
            upgrades: KubeUpgrades::new(writer.clone()),
            statuses: agents.cameras.clone(),
            offers: agents.clone(),
            notifier: agents.clone(),
            clock: Arc::clone(clock),
        };
        let (watching, cancel) = (directory.clone(), stop.clone());
        tokio::spawn(async move { watching.run(cancel).await });
        let (freshness, cancel) = (directory.freshness().clone(), stop.clone());
        tokio::spawn(async move { releases.run(&freshness, cancel).await });
        let cancel = stop.clone();
        tokio::spawn(async move { rollout.run(cancel).await });
        directory.listed().await;
        Self {
            claims: KubeClaims::new(
                writer,
                Arc::new(Nobody),
                directory.freshness().clone(),
                stop.clone(),
            ),
            agents,
            directory,
            stop,
        }
    }

    /// A camera calls, with the agent of before.
    async fn connects(&self, camera: &CameraId, session: u64) {
        let record = self.directory.snapshot().get(camera).cloned().unwrap();
        let session = SessionId(session);
        let taken = self.claims.events(Arc::new(Nobody)).up(TunnelUp {
            session,
            key: None,
            camera: record,
            peer: Some(([203, 0, 113, 9], 40_000).into()),
            client: String::new(),
        });
        assert!(taken);
        self.claims.claim(camera, session).await.unwrap();
        let said = [("target", "mipsel"), ("agent", OLD)];
        let said = said.map(|(key, value)| (key, value.to_owned()));
        let mut all = self.agents.cameras.0.lock().unwrap();
        all.insert(camera.clone(), BTreeMap::from(said));
    }

    /// It is lost here.
    fn loses(&self, camera: &CameraId) {
        self.agents.cameras.0.lock().unwrap().remove(camera);
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct World {
    api: Api,
    releases: KubeReleases,
    replicas: [Replica; 2],
    cameras: Vec<CameraId>,
}

impl World {
    /// With so many cameras of one tenant.
    async fn new(cameras: usize) -> Self {
        Self::with(cameras_of("acme", cameras)).await
    }

    /// Two replicas, at which these cameras are connected in turn, and a release that rests.
    async fn with(cameras: Vec<CameraId>) -> Self {
        let clock: SharedClock = Arc::new(TokioClock::starting_at(1_795_000_000_000));
        let wall = Arc::clone(&clock);
        let api = Api::new(move || wall.wall_ms());
        for one in &cameras {
            let tenant = one.tenant().as_str();
            api.put(
                CAMERAS,
                camera(tenant, one.name(), json!(["moorline.dev/archive"])),
            );
        }
        let replicas = [
            Replica::new(&api, &clock, 0).await,
            Replica::new(&api, &clock, 1).await,
        ];
        for (number, camera) in cameras.iter().enumerate() {
            replicas[number % 2].connects(camera, number as u64).await;
        }
        let releases = KubeReleases::new(api.client(), NAMESPACE, clock);
        let program = format!("x moorline-agent-stamp {NEW} mipsel\n");
        let offer = release::unsigned(program.as_bytes()).unwrap();
        let stored = StoredRelease {
            name: name(),
            bytes: program.len() as u64,
        };
        let file = release::write(&offer, program.as_bytes());
        assert!(releases.keep(&stored, file).await.unwrap());
        releases.begin().await.unwrap();
        let world = Self {
            api,
            releases,
            replicas,
            cameras,
        };
        world.roll_out("off").await;
        world
    }

    /// As the command does.
    async fn roll_out(&self, stage: &str) {
        let set = self.releases.change(|all| {
            let going = all.entry(name()).or_default();
            going.begin(stage.to_owned());
            true
        });
        set.await.unwrap();
        a_while().await;
    }

    async fn going(&self) -> Going {
        self.releases.load().await.unwrap();
        self.releases.all()[&name()].clone()
    }

    /// The replica at which a camera is connected.
    fn at(&self, camera: &CameraId) -> &Replica {
        let here = |replica: &&Replica| replica.agents.cameras.get(camera).is_some();
        self.replicas.iter().find(here).unwrap()
    }

    fn says(&self, camera: &CameraId, key: &'static str, value: &str) {
        self.at(camera).agents.says(camera, key, value);
    }

    /// The camera calls the other replica, with the agent of before.
    async fn moves(&self, camera: &CameraId, session: u64) {
        let from = usize::from(self.replicas[1].agents.cameras.get(camera).is_some());
        self.replicas[from].loses(camera);
        self.replicas[1 - from].connects(camera, session).await;
    }

    fn offered(&self) -> Vec<CameraId> {
        let all = self.replicas.iter();
        all.flat_map(|replica| replica.agents.offered()).collect()
    }

    fn told(&self) -> Vec<CameraId> {
        let all = self.replicas.iter();
        all.flat_map(|replica| replica.agents.told()).collect()
    }

    /// What stands in a camera's status.
    fn state(&self, camera: &CameraId) -> Value {
        let namespace = format!("t-{}", camera.tenant());
        let object = self.api.get(CAMERAS, &namespace, camera.name()).unwrap();
        object["status"]["upgrade"]["state"].clone()
    }
}

fn cameras_of(tenant: &str, count: usize) -> Vec<CameraId> {
    (0..count)
        .map(|number| format!("{tenant}/camera-{number}").parse().unwrap())
        .collect()
}

fn name() -> ReleaseName {
    ReleaseName {
        target: "mipsel".into(),
        version: NEW.into(),
    }
}

async fn a_while() {
    tokio::time::sleep(A_WHILE).await;
}

#[tokio::test(start_paused = true)]
async fn one_is_one_camera_of_all_replicas_and_all_are_each_offered_it_once() {
    let world = World::new(6).await;
    assert_eq!(world.offered(), [], "it rests");
    world.roll_out("one").await;
    let first = world.offered();
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(world.going().await.first.as_ref(), Some(&first[0]));
    assert_eq!(world.state(&first[0]), "offered");
    // Its trial: it is away, and nobody gets its place.
    world.at(&first[0]).loses(&first[0]);
    a_while().await;
    assert_eq!(world.offered(), first);

    world.roll_out("all").await;
    let mut offered = world.offered();
    offered.sort();
    assert_eq!(offered, world.cameras);
}

#[tokio::test(start_paused = true)]
async fn a_release_costs_two_writes_in_a_cameras_life_and_a_connection_none() {
    let world = World::new(2).await;
    world.api.forget_requests();
    world.roll_out("all").await;
    for camera in &world.cameras {
        world.says(camera, "agent", NEW);
    }
    a_while().await;
    let of_cameras = |world: &World| {
        let writes = world.api.writes().into_iter();
        writes.filter(|write| write.contains("/cameras/")).count()
    };
    assert_eq!(of_cameras(&world), 4, "{:#?}", world.api.writes());
    for camera in &world.cameras {
        assert_eq!(world.state(camera), "updated");
    }

    world.api.forget_requests();
    let yard = &world.cameras[0];
    world.moves(yard, 10).await;
    world.says(yard, "agent", NEW);
    a_while().await;
    assert_eq!(
        world.api.writes().len(),
        1,
        "the claim: {:#?}",
        world.api.writes()
    );
}

#[tokio::test(start_paused = true)]
async fn a_roll_back_that_the_other_replica_hears_stops_it_for_the_tenant_and_is_told_once() {
    let world = World::new(4).await;
    world.roll_out("one").await;
    let first = world.offered().remove(0);
    world.moves(&first, 10).await;
    world.says(&first, "rolled-back", NEW);
    a_while().await;
    let part = world.going().await.part.unwrap();
    assert_eq!(part.tenant.as_str(), "acme");
    assert_eq!(part.why, format!("camera {first} took it back"));
    assert_eq!(world.told(), std::slice::from_ref(&first));
    assert_eq!(world.state(&first), "rolledBack");
    assert_eq!(world.offered().len(), 1);

    // The operator goes on: it is left alone, and what it says goes on to stop nothing.
    world.roll_out("all").await;
    let offered = world.offered();
    assert_eq!(offered.iter().filter(|camera| **camera == first).count(), 1);
    assert_eq!(offered.len(), 4, "{offered:?}");
    assert_eq!((world.going().await.part, world.told().len()), (None, 1));
}

/// A stop that is not written yet is no reason to forget what the camera said.
#[tokio::test(start_paused = true)]
async fn a_roll_back_that_is_heard_in_an_outage_stops_it_afterwards() {
    let world = World::new(2).await;
    world.roll_out("one").await;
    let first = world.offered().remove(0);
    let busy = Fails::Refused(503, "ServiceUnavailable", "no room".to_owned());
    let path = "/configmaps/moorline-agent-rollout";
    world.api.trap(http::Method::PUT, path, 3, busy);
    world.says(&first, "rolled-back", NEW);
    a_while().await;
    assert_eq!(world.told(), std::slice::from_ref(&first));
    assert!(world.going().await.part.is_some());
    assert_eq!(world.state(&first), "rolledBack");
}

#[tokio::test(start_paused = true)]
async fn a_change_without_an_answer_is_told_from_one_that_others_overtake() {
    let world = World::new(1).await;
    let path = "/configmaps/moorline-agent-rollout";
    let late = Fails::Refused(409, "Conflict", "the object has been modified".to_owned());
    for (fault, told) in [
        (Fails::Swallowed, "does not answer"),
        (late, "all the time"),
    ] {
        world.api.trap(http::Method::PUT, path, 4, fault);
        let changed = world.releases.change(|all| {
            all.entry(name()).or_default().stage = "all".to_owned();
            true
        });
        let fault = changed.await.unwrap_err().to_string();
        assert!(fault.contains(told), "{fault}");
    }
}

/// Its owner changes it without an end, say: whoever writes its status is always late.
#[tokio::test(start_paused = true)]
async fn a_camera_whose_status_is_never_written_holds_up_no_other() {
    let world = World::new(6).await;
    let late = Fails::Refused(409, "Conflict", "the object has been modified".to_owned());
    let (lost, heard) = (&world.cameras[0], &world.cameras[1]);
    let path = |camera: &CameraId| format!("/cameras/{}/status", camera.name());
    let put = http::Method::PUT;
    world
        .api
        .trap(put.clone(), &path(lost), usize::MAX, late.clone());
    world.roll_out("all").await;
    let mut offered = world.offered();
    offered.sort();
    assert_eq!(offered, world.cameras[1..]);

    // Nor one of which it cannot be kept that it was updated: another one of its replica, whose transfer was cut, is offered it anew.
    world.api.trap(put, &path(heard), usize::MAX, late);
    world.says(heard, "agent", NEW);
    let (cut, replica) = (&world.cameras[3], &world.replicas[1]);
    replica.connects(cut, 10).await;
    a_while().await;
    let offered = replica.agents.offered();
    let times = offered.iter().filter(|camera| *camera == cut).count();
    assert_eq!(times, 2, "{offered:?}");
    assert_eq!(world.state(heard), "offered");
}

/// A policy of the cluster's owner, say, or an object of which a newer definition does not approve.
#[tokio::test(start_paused = true)]
async fn a_camera_whose_status_is_refused_holds_up_no_other_whichever_comes_first() {
    let refusals = [(403, "Forbidden"), (422, "Invalid")];
    for ((code, reason), number) in refusals
        .into_iter()
        .flat_map(|one| [0, 2, 4].map(|n| (one, n)))
    {
        let world = World::new(6).await;
        let refused = world.cameras[number].clone();
        let path = format!("/cameras/{}/status", refused.name());
        let refusal = Fails::Refused(code, reason, format!("policy denies {refused}"));
        world
            .api
            .trap(http::Method::PUT, &path, usize::MAX, refusal);
        world.roll_out("all").await;
        let mut offered = world.offered();
        offered.sort();
        let mut others = world.cameras.clone();
        others.remove(number);
        assert_eq!(offered, others, "{reason}: {refused}");
    }
}

/// More of them than are tried at a time.
#[tokio::test(start_paused = true)]
async fn many_cameras_whose_status_is_refused_hold_up_no_other() {
    let world = World::new(24).await;
    let here = world.cameras.iter().step_by(2);
    let (last, refused) = (&world.cameras[22], here.take(11));
    for camera in refused {
        let path = format!("/cameras/{}/status", camera.name());
        let refusal = Fails::Refused(403, "Forbidden", format!("policy denies {camera}"));
        world
            .api
            .trap(http::Method::PUT, &path, usize::MAX, refusal);
    }
    world.roll_out("all").await;
    assert_eq!(
        world.replicas[0].agents.offered(),
        std::slice::from_ref(last)
    );
}

/// As in `serve`: it was tried by hand, or somebody who holds one key says so.
#[tokio::test(start_paused = true)]
async fn what_a_camera_says_that_was_offered_nothing_stops_nobodys_release() {
    let world = World::new(4).await;
    let liar = world.cameras[2].clone();
    world.says(&liar, "rolled-back", NEW);
    world.roll_out("one").await;
    world.roll_out("all").await;
    let offered = world.offered();
    assert_eq!(offered.len(), 3, "{offered:?}");
    assert!(!offered.contains(&liar));
    let Going { part, stopped, .. } = world.going().await;
    assert_eq!((part, stopped, world.told()), (None, None, Vec::new()));
    assert_eq!(world.state(&liar), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn refusals_pass_the_place_on_and_three_of_them_stop_it_whoever_hears_them() {
    let world = World::new(8).await;
    world.roll_out("one").await;
    for turn in 1..=3 {
        let offered = world.offered();
        assert_eq!(offered.len(), turn, "{offered:?}");
        let camera = offered
            .iter()
            .find(|camera| world.state(camera) == "offered");
        world.says(camera.unwrap(), "bad", "UPGRADE.signature");
        a_while().await;
    }
    let going = world.going().await;
    assert!(going.part.unwrap().why.contains("signature"));
    assert_eq!(world.offered().len(), 3);
    assert_eq!(world.told(), [], "no roll-back");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_was_removed_is_offered_to_nobody() {
    let world = World::new(2).await;
    let objects = world.api.list(CONFIGMAPS);
    let release = objects.iter().find(|object| object["immutable"] == true);
    let release = release.unwrap()["metadata"]["name"].as_str().unwrap();
    world.api.remove(CONFIGMAPS, NAMESPACE, release);
    world.roll_out("all").await;
    assert_eq!(world.offered(), []);
    assert_eq!(world.state(&world.cameras[0]), Value::Null);
}

/// Tenants do not trust each other: whoever has the key of a camera can have it say what they like, and an update may be one that others need.
#[tokio::test(start_paused = true)]
async fn a_roll_back_of_one_tenant_stops_no_other_tenants_update_until_another_one_says_so_too() {
    let (theirs, others) = (cameras_of("acme", 4), cameras_of("other", 4));
    let world = World::with([theirs.clone(), others.clone()].concat()).await;
    // All are away but one of each tenant.
    let rest = theirs[1..].iter().chain(&others[1..]);
    rest.for_each(|camera| world.at(camera).loses(camera));
    world.roll_out("all").await;
    let (liar, honest) = (&theirs[0], &others[0]);
    assert_eq!(world.offered().len(), 2);
    world.says(liar, "rolled-back", NEW);
    a_while().await;
    world.replicas[0].connects(&theirs[1], 21).await;
    world.replicas[1].connects(&others[1], 22).await;
    a_while().await;
    assert_eq!(world.state(&theirs[1]), Value::Null, "its own part rests");
    assert_eq!(world.state(&others[1]), "offered", "the other's goes on");
    assert_eq!(world.going().await.stopped, None);
    assert_eq!(world.told(), std::slice::from_ref(liar));

    world.says(honest, "rolled-back", NEW);
    a_while().await;
    world.replicas[0].connects(&others[2], 23).await;
    a_while().await;
    let stopped = world.going().await.stopped;
    assert_eq!(stopped, Some(format!("camera {honest} took it back")));
    assert_eq!(world.state(&others[2]), Value::Null);
    assert_eq!(world.told(), [liar.clone(), honest.clone()]);
}
