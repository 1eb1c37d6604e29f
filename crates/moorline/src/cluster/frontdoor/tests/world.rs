//! The cluster's inside on loopback: an authority, a signer, relay pods with a camera each; and the front door before them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use moorline_base::{CancellationToken, SharedClock, SystemClock};
use moorline_core::camera::{Camera, Enabled, Record, Source as Stream};
use moorline_core::port::{
    CameraDirectory as _, PodUid, RelayPlace, SegmentStore, Users, WebSessions, WorkloadSpec,
};
use moorline_core::segment::Retention;
use moorline_core::status::RelayReport;
use moorline_core::user::{LoginName, Role};
use moorline_core::{CameraId, Generation, InstanceId, Masked, TenantId, Timestamp};
use moorline_gateway::{
    Dialer, Endpoint, RelayKey, ServerTls, Signer, SignerConfig, SignerMetrics, SignerParts,
    TicketCheck, TicketDoor, TicketMetrics, TicketPublic, TicketRelays, TicketSigner, TlsFiles,
    Trust, generate_key,
};
use moorline_proxy::{FrontDoor, Hub, ProxyMetrics, RelayConfig, relay_workload};
use moorline_simcam::{Source, SourceConfig};
use moorline_store::{DirectoryStore, TenantRead, TenantReads};
use moorline_testkit::patience;
use moorline_web::Place;
use moorline_web::access::COOKIE;
use moorline_web::api::Ports;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::{WebSocketStream, client_async};
use tower::ServiceExt as _;

use super::super::operations::HostKeyFiles;
use super::super::people::{Kept, People};
use super::super::{Inside, Opened};
use super::SOON;
use super::fakes::{Cameras, Control, FrontDoorAlone, Landing, Places, Puts};
use super::viewer::Viewer;
use crate::absent::Absent;
use crate::cluster::unchanged::Unchanged;
use crate::settings::Settings;

const SIGNER: &str = "moorline-signer.moorline-system.svc";
const PASSWORD: &str = "a long password";

pub(super) struct World {
    directory: tempfile::TempDir,
    clock: SharedClock,
    ticket_key: TicketPublic,
    cameras: Arc<Cameras>,
    places: Arc<Places>,
    people: (Arc<dyn Users>, Arc<dyn WebSessions>),
    _kept: Kept,
    tenants: Arc<Mutex<HashMap<TenantId, Timestamp>>>,
    router: axum::Router,
    metrics: prometheus_client::registry::Registry,
    pub(super) rtsp: SocketAddr,
    cancel: CancellationToken,
    pods: u32,
}

/// A relay's pod and its camera.
pub(super) struct RelayPod {
    camera: CameraId,
    source: Source,
    relay: watch::Receiver<Option<RelayReport>>,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), String>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let clock = SystemClock::shared();
        let cancel = CancellationToken::new();
        let (pem, ticket_key) = generate_key().unwrap();
        std::fs::write(path("ticket.key"), pem).unwrap();
        std::fs::write(path("token"), FrontDoorAlone::TOKEN).unwrap();
        certify(directory.path());
        let (cameras, places) = (Arc::new(Cameras::default()), Arc::<Places>::default());
        let signer = signer(directory.path(), &clock, &places, &cancel);
        let trust = Trust::load(path("ca.crt"), Arc::clone(&clock)).unwrap();
        let endpoint = Endpoint {
            service: SIGNER.to_owned(),
            port: signer.port(),
            address: Some(signer),
            token: path("token"),
        };
        let dialer = Dialer::new(endpoint, Arc::new(trust), Arc::clone(&clock)).unwrap();
        let settings = Settings::default();
        let people = People::open(&settings, &path("people"), &clock)
            .await
            .unwrap();
        for (login, tenant) in [("anna", "acme"), ("bert", "shop")] {
            let tenant: TenantId = tenant.parse().unwrap();
            let login: LoginName = login.parse().unwrap();
            let password = Masked::new(PASSWORD.to_owned());
            people
                .users
                .add(login, tenant.clone(), Role::Admin, password.clone())
                .await
                .unwrap();
            // So that the first may be removed.
            let other: LoginName = format!("{tenant}-admin").parse().unwrap();
            people
                .users
                .add(other, tenant, Role::Admin, password)
                .await
                .unwrap();
        }
        std::fs::create_dir_all(path("store")).unwrap();
        let bucket = DirectoryStore::open(&path("store"), Arc::clone(&clock)).unwrap();
        let bucket: Arc<dyn SegmentStore> = Arc::new(bucket);
        let find = move |tenant: &TenantId| {
            let storage_id = format!("storage-{tenant}").parse().ok()?;
            let known = ["acme", "shop"].contains(&tenant.as_str());
            known.then(|| TenantRead {
                store: Arc::clone(&bucket),
                storage_id,
            })
        };
        let tenants: HashMap<TenantId, Timestamp> = ["acme", "shop"]
            .map(|tenant| (tenant.parse().unwrap(), Timestamp::default()))
            .into();
        let tenants = Arc::new(Mutex::new(tenants));
        let made = Arc::clone(&tenants);
        let mut metrics = prometheus_client::registry::Registry::default();
        let known = (Arc::clone(&people.users), Arc::clone(&people.sessions));
        let inside = Inside {
            clock: Arc::clone(&clock),
            cameras: Arc::clone(&cameras) as _,
            admin: Arc::new(Unchanged::BY_THE_PAGE),
            tokens: Arc::new(Absent),
            statuses: Arc::clone(&cameras) as _,
            signs: Arc::clone(&cameras) as _,
            tickets: TicketRelays::new(dialer),
            people,
            tenants: Arc::new(move |tenant| made.lock().unwrap().get(tenant).copied()),
            store: Arc::new(TenantReads::new(Arc::new(find))),
            classes: Arc::new(|_| vec![Retention::Days(14)]),
            place: place(),
            host_keys: HostKeyFiles {
                directory: path("known-hosts"),
                host: "localhost".to_owned(),
            },
            log: None,
            metrics: ProxyMetrics::register(&mut metrics),
            streams_per_user: 8,
        };
        let Opened {
            hub,
            readings,
            users,
            audit,
            router,
            people,
        } = inside.open();
        let door = FrontDoor::new(hub, users, audit, None, crate::serve::door_config(8));
        let listener = moorline_base::net::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let rtsp = listener.local_addr().unwrap();
        let stop = cancel.clone();
        tokio::spawn(async move { door.run(listener, stop).await });
        tokio::spawn(readings.run(cancel.clone()));
        Self {
            directory,
            clock,
            ticket_key,
            cameras,
            places,
            people: known,
            _kept: people,
            tenants,
            router,
            metrics,
            rtsp,
            cancel,
            pods: 0,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a camera and its relay's pod; the number is the mark in its pictures.
    pub(super) async fn relay(&mut self, name: &str, mark: u32) -> RelayPod {
        self.pods += 1;
        let camera: CameraId = name.parse().unwrap();
        let uid = format!("pod-{}", self.pods);
        let record = Arc::new(record(&camera));
        let source = Source::new(SourceConfig::clip(mark), Arc::clone(&self.clock));
        let cancel = self.cancel.child_token();
        let one = Arc::new(Cameras::default());
        one.put((*record).clone());
        let hub = Hub::new(
            Arc::clone(&self.clock),
            one,
            RelayConfig {
                // As long as a test wants to see that nobody reads any more.
                linger: Duration::from_millis(200),
                ..RelayConfig::default()
            },
            ProxyMetrics::default(),
        );
        let spec = WorkloadSpec {
            instance: InstanceId {
                generation: Generation(7),
                ordinal: 0,
            },
            camera: record.clone(),
            generation: Generation(7),
            gaps: Vec::new(),
            durable_until: None,
            recorded_from: None,
        };
        let (reports, relay) = watch::channel(None);
        let task = tokio::spawn(relay_workload(
            hub.clone(),
            Arc::new(Landing(source.clone())),
            spec,
            Box::new(Control(reports)),
            cancel.clone(),
        ));
        let scratch = self.path(&uid);
        std::fs::create_dir_all(&scratch).unwrap();
        let key = RelayKey::load_or_make(&scratch).unwrap();
        let check = Arc::new(TicketCheck::new(camera.clone(), PodUid(uid.clone())));
        check.set_keys(vec![self.ticket_key]);
        let listener = moorline_base::net::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let place = RelayPlace {
            pod: PodUid(uid.clone()),
            address: listener.local_addr().unwrap(),
            key: key.pin(),
            generation: Generation(7),
        };
        let door = TicketDoor::new(
            Arc::clone(&self.clock),
            key,
            check,
            Arc::new(hub),
            TicketMetrics::default(),
        );
        let stop = cancel.clone();
        tokio::spawn(async move { door.run(listener, stop).await });
        self.places.0.lock().unwrap().insert(camera.clone(), place);
        self.cameras.put((*record).clone());
        self.cameras.sign(&camera, |sign| {
            sign.relay = Some(uid);
            sign.held = true;
        });
        RelayPod {
            camera,
            source,
            relay,
            cancel,
            task,
        }
    }

    /// So many cameras are known, and nobody watches any.
    pub(super) fn know(&self, count: usize) {
        let name = |number| format!("acme/camera-{number}").parse().unwrap();
        self.cameras
            .put_all((0..count).map(|number| record(&name(number))));
    }

    /// The pod goes, as when its node is drained.
    pub(super) async fn end(&self, pod: RelayPod) {
        self.places.0.lock().unwrap().remove(&pod.camera);
        pod.cancel.cancel();
        let ended = tokio::time::timeout(patience(SOON), pod.task).await;
        ended.expect("the pod ends").unwrap().unwrap();
    }

    /// Nobody holds its tunnel any more, and nobody waits for it.
    pub(super) fn let_go(&self, name: &str) {
        self.cameras
            .sign(&name.parse().unwrap(), |sign| sign.held = false);
    }

    pub(super) fn disable(&self, name: &str) {
        let id: CameraId = name.parse().unwrap();
        let mut camera = Camera::clone(self.cameras.snapshot().get(&id).unwrap());
        camera.enabled = Enabled::Disabled;
        self.cameras.put(camera);
    }

    /// The stream password as it is now; one that is wrong, if there is no such user.
    pub(super) fn stream_password(&self, login: &str) -> String {
        let wrong = || "gone".to_owned();
        let Ok(login) = login.parse::<LoginName>() else {
            return wrong();
        };
        // From memory: it is there at once.
        let password = self.people.0.stream_password(&login).now_or_never();
        let password = password.expect("from memory");
        password.map_or_else(|_| wrong(), |password| password.reveal().clone())
    }

    pub(super) async fn watch(&self, path: &str, login: &str) -> Viewer {
        let password = self.stream_password(login);
        Viewer::open(self.rtsp, path, login, &password).await
    }

    pub(super) fn url(&self, path: &str, login: &str) -> String {
        let password = self.stream_password(login);
        format!("rtsp://{login}:{password}@{}/{path}", self.rtsp)
    }

    pub(super) async fn remove_user(&self, login: &str) {
        self.people.0.remove(&login.parse().unwrap()).await.unwrap();
    }

    /// The tenant is deleted, and made anew for somebody else.
    pub(super) fn make_anew(&self, tenant: &str) {
        let now = Timestamp::from_millis(self.clock.wall_ms() + 1);
        let tenant = tenant.parse().unwrap();
        self.tenants.lock().unwrap().insert(tenant, now);
    }

    /// Connections that the front door has taken.
    pub(super) fn door_connections(&self) -> u64 {
        self.counted("connections")
    }

    /// Readings that run.
    pub(super) fn readings(&self) -> u64 {
        self.counted("relay_running")
    }

    fn counted(&self, word: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        let named = |line: &&str| {
            line.split(['{', ' '])
                .next()
                .unwrap_or_default()
                .contains(word)
        };
        let line = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .find(named);
        let value = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
        value.unwrap_or_else(|| panic!("{word} is not counted in\n{text}"))
    }

    /// How often the camera was asked to play.
    pub(super) fn camera_plays(&self, pod: &RelayPod) -> u64 {
        pod.source.counters().plays
    }

    pub(super) fn relay_readers(&self, pod: &RelayPod) -> u32 {
        let report = pod.relay.borrow();
        report.as_ref().map_or(0, |report| report.readers)
    }

    /// Stores a segment of a camera, under its tenant's storage id; returns the key by which its owner knows it.
    pub(super) fn record(&self, name: &str) -> String {
        let camera: CameraId = name.parse().unwrap();
        let (tenant, name_only) = (camera.tenant(), camera.name());
        let rest = "2026/01/01/000010.000Z_00060000_g0000000007_7f3a9c21_000042_b41d0e_full.mp4";
        let stored = format!("store/v1/r014/storage-{tenant}/{name_only}/{rest}");
        let file = self.path(&stored);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, format!("recorded by {name}")).unwrap();
        format!("v1/r014/{tenant}/{name_only}/{rest}")
    }

    /// A session's token.
    pub(super) async fn sign_in(&self, login: &str) -> String {
        let login: LoginName = login.parse().unwrap();
        self.people.1.open(&login).await.unwrap().reveal().clone()
    }

    /// Asks the API as a browser does.
    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        session: Option<&str>,
        body: &str,
    ) -> (StatusCode, String) {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", "localhost")
            .header("origin", "https://localhost")
            .header("content-type", "application/json");
        if let Some(session) = session {
            request = request.header("cookie", format!("{COOKIE}={session}"));
        }
        let router = self.router.clone();
        answer(router, request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// A WebSocket of the API, as the operator.
    pub(super) async fn socket(&self, path: &str) -> WebSocketStream<UnixStream> {
        let file = self.path("moorline.sock");
        let listener = UnixListener::bind(&file).unwrap();
        let served = moorline_web::serve::local(listener, self.router.clone(), self.cancel.clone());
        tokio::spawn(served);
        let stream = UnixStream::connect(&file).await.unwrap();
        let url = format!("ws://localhost/api/v1{path}");
        let opened = tokio::time::timeout(patience(SOON), client_async(url, stream)).await;
        opened.expect("an answer").unwrap().0
    }

    /// Asks it over the local socket.
    pub(super) async fn ask_locally(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let router = moorline_web::serve::local_router(self.router.clone());
        answer(router, request).await
    }
}

async fn answer(router: axum::Router, request: Request<Body>) -> (StatusCode, String) {
    let answer = router.oneshot(request).await.unwrap();
    let status = answer.status();
    let body = tokio::time::timeout(patience(SOON), answer.into_body().collect()).await;
    let bytes = body.expect("the answer ends").unwrap().to_bytes();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

fn place() -> Place {
    Place {
        public_host: "localhost".to_owned(),
        viewer_host: "localhost".to_owned(),
        hosts: Vec::new(),
        ports: Ports {
            ssh: 2222,
            rtsp: 8554,
            https: 443,
        },
        known_hosts: Vec::new(),
        next_host_keys: Vec::new(),
        store: "bucket".to_owned(),
        version: "0",
        retention: Retention::Days(14),
    }
}

fn record(id: &CameraId) -> Camera {
    let stream = Stream {
        path: Some("/main".to_owned()),
        ..Stream::default()
    };
    Camera {
        title: format!("Camera {id}"),
        main: stream,
        record: Record::Off,
        ..Camera::new(id.clone(), Timestamp::default(), Retention::Days(14))
    }
}

/// An authority, and the signer's certificate.
fn certify(directory: &std::path::Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    std::fs::write(directory.join("ca.crt"), authority.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![SIGNER.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(directory.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(directory.join("tls.key"), key.serialize_pem()).unwrap();
}

fn signer(
    directory: &std::path::Path,
    clock: &SharedClock,
    places: &Arc<Places>,
    cancel: &CancellationToken,
) -> SocketAddr {
    let files = TlsFiles {
        certificate: directory.join("tls.crt"),
        key: directory.join("tls.key"),
        authority: directory.join("ca.crt"),
    };
    let parts = SignerParts {
        clock: Arc::clone(clock),
        identities: Arc::new(FrontDoorAlone),
        places: Arc::clone(places) as _,
        policy: Arc::new(Puts),
        puts: Arc::new(Puts),
        tickets: Arc::new(
            TicketSigner::load(directory.join("ticket.key"), Arc::clone(clock)).unwrap(),
        ),
        tls: Arc::new(ServerTls::load(files, Arc::clone(clock)).unwrap()),
        metrics: SignerMetrics::default(),
    };
    let signer = Signer::new(parts, SignerConfig::default());
    let listener = moorline_base::net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let stop = cancel.clone();
    tokio::spawn(async move { signer.run(listener, stop).await });
    address
}
