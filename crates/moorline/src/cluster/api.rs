//! The API's routes over the cameras of a cluster, in the process of the command itself: so that texts, JSON and errors are made by the same
//! code as against `moorline serve`. The caller's own rights are those of its kubeconfig; the API server checks them at each call.
//!
//! **Owns** which adapter stands behind which port of the routes: cameras, their changes, their tokens, releases of agents and what resources tell of them. What the replicas of `moorline
//! mon` alone know is asked of them ([`super::entered`]). Everything else of a server is [`Absent`].

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response};
use moorline_base::SharedClock;
use moorline_base::clock::SystemClock;
use moorline_base::error::{Hinted, WithHint as _};
use moorline_core::port::{CameraDirectory as _, Stranger, Strangers};
use moorline_core::segment::Retention;
use moorline_core::{CameraId, PublicKey, TenantId};
use moorline_kube::resource::DEFAULT_CLASS;
use moorline_kube::{Known, KubeAdmin, KubeDirectory, KubeReleases, KubeStatuses, LoadError};
use moorline_web::api::Ports;
use moorline_web::serve::local_router;
use moorline_web::{Operations, Place, Site};
use tower::ServiceExt as _;

use super::choice::{Installation, OnCluster, Which};
use super::entered::Entered;
use super::releases::Releases;
use super::strangers;
use crate::absent::Absent;
use crate::serve::place::{in_url, viewer_host};

/// What the ConfigMap `moorline` of a tenant's namespace says, by key.
pub mod told {
    /// The host name that cameras know.
    pub const PUBLIC_HOST: &str = "public_host";
    /// The host name that viewers know.
    pub const VIEWER_HOST: &str = "public_viewer_host";
    /// The port for cameras.
    pub const SSH_PORT: &str = "ssh_port";
    /// The port for players.
    pub const RTSP_PORT: &str = "rtsp_port";
    /// The port for people.
    pub const HTTPS_PORT: &str = "https_port";
    /// Lines for a camera's known_hosts.
    pub const KNOWN_HOSTS: &str = "known_hosts";
    /// The host keys that come next, as base64, one a line.
    pub const NEXT_HOST_KEYS: &str = "next_host_keys";
}

/// Retention of a new camera, as the resource has it.
const KEEP_DAYS: u16 = 14;
/// Where refused keys are asked for.
const STRANGERS: &str = "/api/v1/strangers";

/// The routes over one cluster.
pub struct ClusterApi {
    router: Router,
    directory: KubeDirectory,
    which: Which,
    at: Installation,
    admin: KubeAdmin,
    /// How it was chosen, to be typed again.
    typed: String,
    tenant: Option<TenantId>,
}

impl ClusterApi {
    /// Connects, and reads the cameras: of one tenant, where one is named, else of all. `camera` is the one that the command is about.
    ///
    /// # Errors
    /// The cluster cannot be reached, does not have Moorline, or the caller may not read cameras there.
    pub async fn open(
        on: &OnCluster,
        at: &Installation,
        camera: Option<&str>,
    ) -> anyhow::Result<Self> {
        let chosen = on.which.connect().await?;
        let named = on.tenant_of(&chosen);
        let about = match camera {
            Some(camera) => {
                let whole = super::choice::whole(camera, named.as_ref())?;
                Some(whole.parse::<CameraId>()?.tenant().clone())
            }
            None => named.clone(),
        };
        let clock = SystemClock::shared();
        let directory = KubeDirectory::new(chosen.client, Arc::clone(&clock));
        directory.load(about.as_ref()).await.map_err(hinted)?;
        let any = directory
            .snapshot()
            .iter()
            .next()
            .map(|camera| camera.id.tenant().clone());
        let place = match about.or(any) {
            Some(tenant) => read_place(&directory, &tenant).await?,
            None => place(&BTreeMap::new()),
        };
        Ok(Self::over(
            (&on.which, at),
            (directory, clock),
            named,
            place,
            Arc::new(Absent),
        ))
    }

    /// Connects, and reads all cameras: for what is about the installation and no tenant.
    ///
    /// # Errors
    /// As [`ClusterApi::open`].
    pub async fn of_installation(which: &Which, at: &Installation) -> anyhow::Result<Self> {
        let chosen = which.connect().await?;
        let clock = SystemClock::shared();
        let directory = KubeDirectory::new(chosen.client.clone(), Arc::clone(&clock));
        directory.load(None).await.map_err(hinted)?;
        let releases = KubeReleases::new(chosen.client, &*at.namespace, Arc::clone(&clock));
        let operations = Releases::new(releases, directory.cache().clone());
        Ok(Self::over(
            (which, at),
            (directory, clock),
            None,
            place(&BTreeMap::new()),
            Arc::new(operations),
        ))
    }

    fn over(
        (which, at): (&Which, &Installation),
        (directory, clock): (KubeDirectory, SharedClock),
        tenant: Option<TenantId>,
        place: Place,
        operations: Arc<dyn Operations>,
    ) -> Self {
        let admin = KubeAdmin::new(directory.clone(), Arc::clone(&clock), DEFAULT_CLASS);
        let site = Site {
            cameras: Arc::new(directory.clone()),
            admin: Arc::new(admin.clone()),
            tokens: Arc::new(admin.clone()),
            statuses: Arc::new(KubeStatuses::new(directory.cache().clone())),
            users: Arc::new(Absent),
            sessions: Arc::new(Absent),
            audit: Arc::new(Absent),
            relays: Arc::new(Absent),
            landings: None,
            recordings: Arc::new(Absent),
            store: Arc::new(Absent),
            strangers: Arc::new(AtReplicas),
            operations,
            clock,
            place: Arc::new(place),
        };
        Self {
            router: local_router(moorline_web::router(site)),
            directory,
            which: which.clone(),
            at: at.clone(),
            admin,
            typed: which.typed(),
            tenant,
        }
    }

    /// Answers a request: by the routes, but for what the replicas alone know.
    ///
    /// # Errors
    /// No replica is reached.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Body>> {
        if request.method() == Method::GET && request.uri().path() == STRANGERS {
            // Boxed, since the replicas are asked by a client too.
            let strangers = Box::pin(strangers::strangers(&self.which, &self.at)).await?;
            return Ok(Response::new(Body::from(serde_json::to_vec(&strangers)?)));
        }
        Ok(self.router.clone().oneshot(request.map(Body::new)).await?)
    }

    /// Breaks off what makes several cameras: they are taken back.
    pub fn break_off(&self) {
        self.admin.break_off();
    }

    /// A camera as the cluster has it.
    pub fn known(&self, camera: &CameraId) -> Option<Known> {
        self.directory.cache().camera(camera)
    }

    /// The replica that holds a camera's tunnel. `None`: nobody holds one.
    pub fn holder(&self, camera: &CameraId) -> Option<Entered> {
        let name = self.known(camera)?.session()?.mon.clone()?;
        Some(Entered::replica(self.which.clone(), self.at.clone(), name))
    }

    /// The options by which this cluster was chosen.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// The tenant of cameras that are named without one.
    pub fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }
}

/// Refused keys, which [`ClusterApi::ask`] answers for: here nothing is known of them.
struct AtReplicas;

impl Strangers for AtReplicas {
    fn pending(&self) -> Vec<Stranger> {
        Vec::new()
    }

    fn forget(&self, _: &PublicKey) {}

    fn are_shown(&self) -> bool {
        false
    }
}

async fn read_place(directory: &KubeDirectory, tenant: &TenantId) -> anyhow::Result<Place> {
    match directory.place(tenant).await {
        Ok(says) => Ok(place(&says)),
        Err(LoadError::NoTenant(tenant)) => Err(Hinted::new(
            format!("tenant {tenant} has no namespace yet"),
            format!("moorline tenant show {tenant} --cluster says why"),
        )
        .into()),
        Err(error) => Err(hinted(error)),
    }
}

fn hinted(error: LoadError) -> anyhow::Error {
    let result: Result<(), LoadError> = Err(error);
    let hint = match &result {
        Err(LoadError::NoTenant(tenant)) => {
            format!("an operator makes it: moorline tenant add {tenant} --cluster")
        }
        Err(LoadError::Forbidden(_)) => {
            "name your tenant with --tenant TENANT, or ask the operator for the role moorline-tenant in its namespace".to_owned()
        }
        Err(LoadError::NotInstalled) => {
            "an operator installs them first: helm install moorline-crds (docs/guide/kubernetes.md)".to_owned()
        }
        _ => "check --kubeconfig and --context: kubectl get cameras --all-namespaces has to work".to_owned(),
    };
    match result.hint(|| hint) {
        Err(error) => error.into(),
        Ok(()) => anyhow::anyhow!("no error"),
    }
}

/// What the installation told the tenant; ports that it did not tell are the chart's, and viewers know the host of cameras.
pub(super) fn place(says: &BTreeMap<String, String>) -> Place {
    let port = |key: &str, usual: u16| {
        let told = says.get(key).and_then(|text| text.parse().ok());
        told.filter(|port| *port != 0).unwrap_or(usual)
    };
    let host = |key: &str| says.get(key).filter(|host| !host.is_empty());
    let lines = |key: &str| -> Vec<String> {
        says.get(key)
            .map(|text| text.lines().map(str::to_owned).collect())
            .unwrap_or_default()
    };
    let cameras = host(told::PUBLIC_HOST).map_or("", String::as_str);
    let viewers = host(told::VIEWER_HOST).map_or(cameras, String::as_str);
    Place {
        public_host: in_url(cameras),
        viewer_host: in_url(viewers),
        hosts: Vec::new(),
        ports: Ports {
            ssh: port(told::SSH_PORT, 2222),
            rtsp: port(told::RTSP_PORT, 8554),
            https: port(told::HTTPS_PORT, 443),
        },
        known_hosts: lines(told::KNOWN_HOSTS),
        next_host_keys: lines(told::NEXT_HOST_KEYS),
        store: "s3".to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        retention: Retention::Days(KEEP_DAYS),
    }
}

/// What `moorline tenants` tells in each tenant's namespace.
///
/// # Errors
/// The host keys cannot be read.
pub fn tell(settings: &crate::settings::Settings) -> anyhow::Result<BTreeMap<String, String>> {
    let server = &settings.server;
    let mounted = std::path::Path::new(&settings.cluster.known_hosts);
    let lines = super::keys::known_hosts(mounted, &server.public_host)
        .context("cluster.known_hosts cannot be used: moorline keys init makes the Secret")?;
    let next =
        super::keys::next_host_keys(mounted).context("cluster.known_hosts cannot be used")?;
    let port = |public: u16, listened: &str| match public {
        0 => listened
            .parse::<std::net::SocketAddr>()
            .map_or(0, |address| address.port()),
        public => public,
    };
    Ok(BTreeMap::from(
        [
            (told::PUBLIC_HOST, server.public_host.clone()),
            (told::VIEWER_HOST, viewer_host(server, &server.public_host)),
            (
                told::SSH_PORT,
                port(server.public_ssh_port, &server.listen_ssh).to_string(),
            ),
            (
                told::RTSP_PORT,
                port(server.public_rtsp_port, &server.listen_rtsp).to_string(),
            ),
            (
                told::HTTPS_PORT,
                port(server.public_https_port, &server.listen_https).to_string(),
            ),
            (told::KNOWN_HOSTS, lines.join("\n")),
            (told::NEXT_HOST_KEYS, next.join("\n")),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tenant_was_told_is_what_a_camera_is_told() {
        let mut says = BTreeMap::from([
            ("public_host".to_owned(), "cctv.example.com".to_owned()),
            ("ssh_port".to_owned(), "22".to_owned()),
            (
                "known_hosts".to_owned(),
                "cctv.example.com ssh-ed25519 AAAA\ncctv.example.com ecdsa BBBB".to_owned(),
            ),
        ]);
        let told = place(&says);
        assert!(told.next_host_keys.is_empty(), "before there were some");
        assert_eq!((told.ports.ssh, told.ports.rtsp), (22, 8554));
        assert_eq!(told.known_hosts.len(), 2);
        assert_eq!(told.public_host, "cctv.example.com");
        assert_eq!(told.viewer_host, "cctv.example.com", "the only one told");
        says.insert("public_viewer_host".to_owned(), "2001:db8::1".to_owned());
        let told = place(&says);
        assert_eq!(told.public_host, "cctv.example.com");
        assert_eq!(told.viewer_host, "[2001:db8::1]");
    }
}
