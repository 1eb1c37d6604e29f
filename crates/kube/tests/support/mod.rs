//! A cluster in memory, and what tests say about it.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test file uses what it needs"
)]

pub(crate) mod api;
pub(crate) mod monitor;
pub(crate) mod workloads;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use moorline_base::clock::TokioClock;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::camera::{Record, RecordBy};
use moorline_core::lifecycle::EndReason;
use moorline_core::port::{
    CameraDirectory as _, CameraLike, NewToken, Sessions, TokenMakes, TunnelEnd, TunnelEvents,
    TunnelUp,
};
use moorline_core::segment::Retention;
use moorline_core::{CameraId, SessionId, Timestamp};
use moorline_kube::{
    FrontDoorAccount, Gone, KubeAdmin, KubeClaims, KubeDirectory, KubeHolders, KubeIdentities,
    Owned, PodCache, Replica, StatusWriter,
};
use serde_json::{Value, json};

pub(crate) use api::{Api, Fault};

/// Where Cameras lie.
pub(crate) const CAMERAS: &str = "/apis/moorline.dev/v1alpha1/cameras";
/// The start of all tests: 2026-11-20.
pub(crate) const START: i64 = 1_795_000_000_000;

/// A public key.
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT";

/// The camera of most tests.
pub(crate) fn yard() -> CameraId {
    "acme/yard".parse().unwrap()
}

/// What a token of the yard's tenant is asked for, that is good for an hour.
pub(crate) fn new_token(makes: TokenMakes) -> NewToken {
    NewToken {
        tenant: "acme".parse().unwrap(),
        makes,
        like: CameraLike {
            title: None,
            site: None,
            timezone: "UTC".into(),
            record: Record::Main,
            record_by: RecordBy::Auto,
            retention: Retention::Days(7),
        },
        expires: Timestamp::from_millis(START + 3_600_000),
        comment: String::new(),
    }
}

/// An API server whose clock is tokio's.
pub(crate) fn server() -> (Api, SharedClock) {
    let clock: SharedClock = Arc::new(TokioClock::starting_at(START));
    let wall = Arc::clone(&clock);
    (Api::new(move || wall.wall_ms()), clock)
}

/// Remembers which sessions were ended.
#[derive(Debug, Default)]
pub(crate) struct Ended(Mutex<Vec<(SessionId, EndReason)>>);

impl Ended {
    pub(crate) fn all(&self) -> Vec<(SessionId, EndReason)> {
        self.0.lock().unwrap().clone()
    }
}

impl Sessions for Ended {
    fn serve(&self, _: SessionId, _: moorline_core::Generation) {}

    fn end(&self, session: SessionId, reason: EndReason) {
        self.0.lock().unwrap().push((session, reason));
    }
}

/// One mon replica on that server.
pub(crate) struct Mon {
    pub(crate) directory: KubeDirectory,
    pub(crate) admin: KubeAdmin,
    pub(crate) claims: KubeClaims,
    pub(crate) holders: KubeHolders,
    pub(crate) owned: Owned,
    pub(crate) writer: StatusWriter,
    pub(crate) ended: Arc<Ended>,
    pub(crate) stop: CancellationToken,
}

impl Mon {
    pub(crate) async fn new(api: &Api, clock: &SharedClock, number: u16) -> Self {
        let stop = CancellationToken::new();
        let directory = KubeDirectory::new(api.client(), Arc::clone(clock));
        let owned = Owned::new(Replica {
            name: format!("moorline-mon-{number}"),
            gateway: ([10, 0, 0, number as u8 + 1], 8443).into(),
        });
        let writer = StatusWriter::new(
            api.client(),
            directory.cache().clone(),
            owned.clone(),
            Arc::clone(clock),
            stop.clone(),
        );
        let ended = Arc::new(Ended::default());
        let sessions: Arc<dyn Sessions> = ended.clone();
        let freshness = directory.freshness().clone();
        let claims = KubeClaims::new(writer.clone(), sessions, freshness, stop.clone());
        let holders = KubeHolders::new(&directory, owned.clone(), Gone::default());
        let mon = Self {
            admin: KubeAdmin::new(directory.clone(), Arc::clone(clock), "standard"),
            directory,
            claims,
            holders,
            owned,
            writer,
            ended,
            stop,
        };
        let (directory, cancel) = (mon.directory.clone(), mon.stop.clone());
        tokio::spawn(async move { directory.run(cancel).await });
        let (holders, cancel) = (mon.holders.clone(), mon.stop.clone());
        let sessions: Arc<dyn Sessions> = mon.ended.clone();
        tokio::spawn(async move { holders.fence(sessions, cancel).await });
        within("the first lists", mon.directory.listed()).await;
        mon
    }
}

/// The monitor's mailbox, when nobody looks into it.
pub(crate) struct Nobody;

impl TunnelEvents for Nobody {
    fn up(&self, _: TunnelUp) -> bool {
        true
    }

    fn stolen(&self, _: &CameraId, _: std::net::SocketAddr, _: &str) {}

    fn ended(&self, _: SessionId, _: TunnelEnd) {}
}

impl Mon {
    /// A tunnel of that camera comes up here.
    pub(crate) fn up(&self, camera: &CameraId, number: u64) -> SessionId {
        let session = SessionId(number);
        let record = self.directory.snapshot().get(camera).cloned();
        let record = record.expect("the camera");
        let taken = self.claims.events(Arc::new(Nobody)).up(TunnelUp {
            session,
            key: record.keys.first().map(|key| key.key.clone()),
            camera: record,
            peer: Some(([203, 0, 113, 9], 40_000 + number as u16).into()),
            client: String::new(),
        });
        assert!(taken);
        session
    }

    /// It is lost.
    pub(crate) fn down(&self, session: SessionId) {
        let events = self.claims.events(Arc::new(Nobody));
        events.ended(session, TunnelEnd::Lost);
    }
}

impl Drop for Mon {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Who shows a token, by what that replica's watches and these pods say.
pub(crate) fn identities(
    api: &Api,
    mon: &Mon,
    pods: PodCache,
    clock: SharedClock,
) -> KubeIdentities {
    let front_door = FrontDoorAccount {
        namespace: "moorline-system".into(),
        name: "moorline-frontdoor".into(),
    };
    let cache = mon.directory.cache().clone();
    KubeIdentities::new(api.client(), cache, pods, front_door, clock)
}

/// How often the server was asked about a token.
pub(crate) fn reviews(api: &Api) -> usize {
    let asked = api.requests();
    let reviews = asked.iter().filter(|asked| asked.contains("tokenreviews"));
    reviews.count()
}

/// Waits at most 30 s of tokio's time.
pub(crate) async fn within<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), waiting).await {
        Ok(value) => value,
        Err(_) => panic!("never came: {what}"),
    }
}

/// A Camera as an owner writes it, with a key of its own.
pub(crate) fn camera(tenant: &str, name: &str) -> Value {
    json!({
        "apiVersion": "moorline.dev/v1alpha1", "kind": "Camera",
        "metadata": {"name": name, "namespace": format!("t-{tenant}"), "finalizers": ["moorline.dev/archive"]},
        "spec": {"keys": []},
    })
}

/// The session that the server has for a camera.
pub(crate) fn session(api: &Api, tenant: &str, name: &str) -> Value {
    let camera = api.get(CAMERAS, &format!("t-{tenant}"), name);
    camera.map_or(Value::Null, |camera| camera["status"]["session"].clone())
}

/// The Events of that reason: the type and the note of each.
pub(crate) fn events(api: &Api, reason: &str) -> Vec<(String, String)> {
    let mut all = api.list("/apis/events.k8s.io/v1/events");
    all.retain(|event| event["reason"] == reason);
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let told = all.iter();
    told.map(|event| (text(event, "type"), text(event, "note")))
        .collect()
}

/// Waits for an Event of that reason, and wants it to say this.
pub(crate) async fn until_told(api: &Api, reason: &str, grade: &str, words: &str) {
    api.until(reason, |api| !events(api, reason).is_empty())
        .await;
    let told = events(api, reason);
    let says = |(kind, note): &(String, String)| kind == grade && note.contains(words);
    assert!(told.iter().any(says), "{grade}, {words}: {told:?}");
}

/// The condition of that type: status and reason.
pub(crate) fn condition(
    api: &Api,
    tenant: &str,
    name: &str,
    kind: &str,
) -> Option<(String, String)> {
    let camera = api.get(CAMERAS, &format!("t-{tenant}"), name)?;
    let all = camera["status"]["conditions"].as_array()?;
    let found = all.iter().find(|condition| condition["type"] == kind)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason")))
}
