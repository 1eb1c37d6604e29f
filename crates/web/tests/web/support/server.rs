//! The site and its server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use moorline_base::clock::SystemClock;
use moorline_core::camera::Camera;
use moorline_core::port::Users as _;
use moorline_core::segment::{Retention, Tier};
use moorline_core::user::Role;
use moorline_core::{CameraId, Masked, TimeRange, Timestamp};
use moorline_web::api::{AlertResult, DiskView, DoctorFinding, Ports, VerifyView};
use moorline_web::problem::Problem;
use moorline_web::{Operations, Place, Site, serve};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::archive::{FakeArchive, FakeStore};
use super::cameras::{FakeCameras, FakeTokens, Nobody};
use super::film::Film;
use super::landings::FakeLandings;
use super::people::{FakeAudit, FakePeople, FakeSessions};
use super::relay::FakeRelays;
use super::scene;

/// The web password of everybody here.
pub(crate) const PASSWORD: &str = "correct horse";

/// Everything behind the page, to be changed while it is served.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) cameras: Arc<FakeCameras>,
    pub(crate) tokens: Arc<FakeTokens>,
    pub(crate) people: Arc<FakePeople>,
    pub(crate) sessions: Arc<FakeSessions>,
    pub(crate) audit: Arc<FakeAudit>,
    pub(crate) relays: Arc<FakeRelays>,
    pub(crate) landings: Arc<FakeLandings>,
    pub(crate) archive: Arc<FakeArchive>,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) operations: Arc<FakeOperations>,
    /// When it was opened, in whole seconds: what the scene tells is so long before.
    pub(crate) opened: Timestamp,
    /// What is served, without its connections.
    pub(crate) router: axum::Router,
    _stop: tokio_util::sync::DropGuard,
}

impl House {
    /// Serves these cameras to `anna` (admin) and `vera` (viewer) of `home`, and `eve` (admin) of `acme`.
    pub(crate) async fn open(cameras: Vec<Camera>) -> Self {
        let film = Arc::new(Film::new());
        let cameras = Arc::new(FakeCameras::new(cameras));
        let tokens = Arc::new(FakeTokens::default());
        let people = Arc::new(FakePeople::default());
        let sessions = Arc::new(FakeSessions::new(Arc::clone(&people)));
        let audit = Arc::new(FakeAudit::default());
        let relays = Arc::new(FakeRelays::new(Arc::clone(&film)));
        let landings = Arc::new(FakeLandings::default());
        let archive = Arc::new(FakeArchive::new(film));
        let store = Arc::new(FakeStore::default());
        let operations = Arc::new(FakeOperations::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let site = Site {
            cameras: Arc::clone(&cameras) as _,
            admin: Arc::clone(&cameras) as _,
            tokens: Arc::clone(&tokens) as _,
            users: Arc::clone(&people) as _,
            sessions: Arc::clone(&sessions) as _,
            audit: Arc::clone(&audit) as _,
            statuses: Arc::clone(&cameras) as _,
            relays: Arc::clone(&relays) as _,
            landings: Some(Arc::clone(&landings) as _),
            recordings: Arc::clone(&archive) as _,
            store: Arc::clone(&store) as _,
            strangers: Arc::new(Nobody),
            operations: Arc::clone(&operations) as _,
            clock: SystemClock::shared(),
            place: Arc::new(place(address)),
        };
        for (login, tenant, role) in [
            ("anna", "home", Role::Admin),
            ("vera", "home", Role::Viewer),
            ("eve", "acme", Role::Admin),
        ] {
            let password = Masked::new(PASSWORD.to_owned());
            let (login, tenant) = (login.parse().unwrap(), tenant.parse().unwrap());
            people.add(login, tenant, role, password).await.unwrap();
        }
        let own = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]);
        let own = own.unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let certificate = own.cert.der().clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let stop = CancellationToken::new();
        let router = moorline_web::router(site);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let served = serve::https(listener, acceptor, router.clone(), stop.clone());
        tokio::spawn(served);
        Self {
            address,
            certificate,
            cameras,
            tokens,
            people,
            sessions,
            audit,
            relays,
            landings,
            archive,
            store,
            operations,
            opened: scene::now(),
            router,
            _stop: stop.drop_guard(),
        }
    }

    /// So many seconds before it was opened.
    pub(crate) fn before(&self, seconds: u64) -> Timestamp {
        self.opened - std::time::Duration::from_secs(seconds)
    }

    /// The page's address.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/", self.address.port())
    }
}

fn place(address: SocketAddr) -> Place {
    Place {
        public_host: "cctv.example.com".to_owned(),
        viewer_host: "watch.example.com".to_owned(),
        hosts: Vec::new(),
        ports: Ports {
            ssh: 2222,
            rtsp: 8554,
            https: address.port(),
        },
        known_hosts: Vec::new(),
        next_host_keys: Vec::new(),
        store: "directory".to_owned(),
        version: "0.0.0",
        retention: Retention::Days(14),
    }
}

/// What the process does; remembers what it was told.
#[derive(Default)]
pub(crate) struct FakeOperations {
    pub(crate) erased: Mutex<Vec<CameraId>>,
    pub(crate) done: Mutex<Vec<String>>,
    pub(crate) disk_asked: AtomicUsize,
}

impl FakeOperations {
    fn did(&self, what: &str) {
        self.done.lock().unwrap().push(what.to_owned());
    }
}

#[async_trait]
impl Operations for FakeOperations {
    fn disk(&self) -> Option<DiskView> {
        self.disk_asked.fetch_add(1, Ordering::Relaxed);
        Some(DiskView {
            total: 500_000_000_000,
            free: 211_000_000_000,
            bound: 400_000_000_000,
            used: 189_000_000_000,
        })
    }

    fn expired_before(&self, _: &Camera) -> Timestamp {
        Timestamp::default()
    }

    async fn verify(
        &self,
        _: &CameraId,
        _: Option<Tier>,
        _: TimeRange,
        _: bool,
    ) -> Result<VerifyView, Problem> {
        self.did("verify");
        Ok(VerifyView::default())
    }

    async fn erase(&self, camera: &CameraId) -> Result<u64, Problem> {
        self.erased.lock().unwrap().push(camera.clone());
        Ok(1)
    }

    async fn alert_test(&self) -> Vec<AlertResult> {
        self.did("alert test");
        Vec::new()
    }

    async fn doctor(&self) -> Vec<DoctorFinding> {
        self.did("doctor");
        Vec::new()
    }

    async fn backup(&self) -> Result<Bytes, Problem> {
        self.did("backup");
        Ok(Bytes::from_static(b"everything"))
    }

    fn backup_done(&self) {
        self.did("backup done");
    }

    fn set_log(&self, _: &str) -> Result<(), Problem> {
        self.did("log");
        Ok(())
    }
}
