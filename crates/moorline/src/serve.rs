//! `moorline serve`: wires the parts, opens the listeners, drains in order.
//!
//! ```text
//! cameras ─SSH─▶ tunnel ─ landings ─▶ relay ─┬─▶ recorder ─ spool ─ uploader ─▶ store ─▶ recordings ─▶ page
//!                  └──── events ─▶ monitor ──┤└─▶ front door ─▶ players
//!                                   └ alarms └──▶ page (live)
//! ```
//!
//! The stop has four phases, each bounded (P8): no new connections; tunnels end and recorders seal; the spool goes up; the registry closes.
//!
//! `engine` is what works behind the doors, `tasks` what runs and in which phase it ends; here they are put together.

mod classes;
pub mod daily;
pub mod doctor;
mod engine;
pub(crate) mod enrolment;
pub mod first_user;
pub mod in_force;
pub mod notifier;
pub mod operations;
pub mod parts;
pub(crate) mod pins;
pub mod place;
mod reload;
pub mod site;
mod sources;
mod tasks;
pub(crate) mod tls;
pub(crate) mod uplinks;
mod usage;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use moorline_base::error::{Hinted, WithHint as _};
use moorline_base::files::{Access, DataDir, LockError, write_atomic};
use moorline_base::logging::LogHandle;
use moorline_base::metrics::Metrics;
use moorline_base::net::OpenFiles;
use moorline_base::shutdown::{Drain, Signals};
use moorline_base::{CancellationToken, admin, net};
use moorline_proxy::{Candidates, DoorConfig, ProxyMetrics, RelayConfig};
use moorline_tunnel::TunnelConfig;
use moorline_tunnel::keyfile::HostKeys;
use moorline_web::Place;
use serde::Serialize;
use tokio::net::{TcpListener, UnixListener};

use crate::agents::shelf::Shelf;
use crate::args::{Global, Listen};
use crate::client::socket_path;
use crate::settings::{self, Settings};
use doctor::{Facts, Running};
use engine::Engine;
use in_force::InForce;
use parts::Parts;
use place::Addresses;
use reload::{BucketKey, Reload};
use site::Sources;
use tasks::Tasks;

/// How long listeners and their requests get to end.
const CLOSE_DOORS: Duration = Duration::from_secs(5);

/// What a running server tells whoever started it.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// Where cameras connect.
    pub ssh: SocketAddr,
    /// Where players connect.
    pub rtsp: SocketAddr,
    /// Where people connect.
    pub https: SocketAddr,
    /// Metrics and health.
    pub admin: SocketAddr,
    /// The page.
    pub page: String,
    /// The data directory.
    pub data: PathBuf,
    /// The Unix socket of the command line.
    pub socket: PathBuf,
    /// Lines for a camera's `known_hosts`.
    pub known_hosts: Vec<String>,
    /// SHA-256 of the certificate, as browsers show it.
    pub certificate_sha256: String,
    /// A 0600 file with the first user's passwords, if this start made one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_user: Option<PathBuf>,
    /// The process.
    pub pid: u32,
}

/// A server whose listeners are open.
pub struct Server {
    /// What it tells.
    pub ready: Ready,
    /// The routes' site, for `demo`.
    pub site: moorline_web::Site,
    drain: Drain,
    parts: Parts,
    reload: Arc<Reload>,
    /// Whether cameras and people can come, for `/readyz`.
    listening: admin::Check,
}

/// The ports. Opened before the data directory is made: a start that fails for one of them leaves nothing behind.
struct Doors {
    ssh: TcpListener,
    rtsp: TcpListener,
    https: TcpListener,
    admin: TcpListener,
}

impl Doors {
    fn open(wanted: &Addresses) -> anyhow::Result<Self> {
        Ok(Self {
            ssh: net::listen(wanted.ssh)?,
            rtsp: net::listen(wanted.rtsp)?,
            https: net::listen(wanted.https)?,
            admin: net::listen(wanted.admin)?,
        })
    }

    /// Where they listen: port 0 has become one.
    fn listened(&self) -> std::io::Result<Addresses> {
        Ok(Addresses {
            ssh: self.ssh.local_addr()?,
            rtsp: self.rtsp.local_addr()?,
            https: self.https.local_addr()?,
            admin: self.admin.local_addr()?,
        })
    }
}

/// Another server on the same directory is the better reason why a port is in use.
fn told_first(data: &Path, error: anyhow::Error) -> anyhow::Error {
    match data.exists().then(|| DataDir::open(data)) {
        Some(Err(held @ LockError::Held { .. })) => {
            let hint = held.hint().unwrap_or_default();
            Hinted::new(held.to_string(), hint).into()
        }
        _ => error,
    }
}

/// The data directory, and what the outside knows the server by.
struct Home {
    parts: Parts,
    data: PathBuf,
    keys: HostKeys,
    host: String,
    host_guessed: bool,
    viewer_host: String,
    certificate: Arc<tls::Certificate>,
}

impl Home {
    async fn open(
        data: &Path,
        settings: &Settings,
        listen: &Listen,
        wanted: &Addresses,
    ) -> anyhow::Result<Self> {
        let parts = Parts::open(data, settings).await?;
        let data = std::path::absolute(parts.data.path())?;
        let keys = HostKeys::load_or_create(&data)
            .hint(|| "restore it from a backup: moorline restore")?;
        let (host, host_guessed) = place::public_host(listen, &settings.server, wanted.ssh);
        let viewer_host = place::viewer_host(&settings.server, &host);
        let certificate = tls::load(&settings.server, &data, &viewer_host)?;
        Ok(Self {
            parts,
            data,
            keys,
            host,
            host_guessed,
            viewer_host,
            certificate: Arc::new(tls::Certificate::new(certificate)),
        })
    }

    fn facts(&self, open_files: OpenFiles, engine: &Engine) -> Facts {
        let tunnel = engine.tunnel.clone();
        Facts {
            public_host: self.host.clone(),
            host_guessed: self.host_guessed,
            viewer_host: self.viewer_host.clone(),
            running: Some(Running {
                open_files,
                certificate: Arc::clone(&self.certificate),
                heartbeats: engine.heartbeats.clone(),
                peers: Arc::new(move || tunnel.peers()),
            }),
        }
    }

    fn ready(&self, listened: Addresses, place: &Place, first_user: Option<PathBuf>) -> Ready {
        Ready {
            ssh: listened.ssh,
            rtsp: listened.rtsp,
            https: listened.https,
            admin: listened.admin,
            page: format!("https://{}:{}/", place.viewer_host, place.ports.https),
            socket: socket_path(&self.data),
            data: self.data.clone(),
            known_hosts: place.known_hosts.clone(),
            certificate_sha256: self.certificate.fingerprint(),
            first_user,
            pid: std::process::id(),
        }
    }
}

impl Server {
    /// Opens everything. When it returns, cameras and people can connect.
    ///
    /// # Errors
    /// A setting is wrong, a port is in use, another process has the directory, a file is damaged: each says which, and the cure.
    pub async fn start(global: &Global, listen: &Listen, log: LogHandle) -> anyhow::Result<Self> {
        let settings = Arc::new(settings::load(&global.data, global.config.as_deref())?);
        let wanted = Addresses::of(listen, &settings.server)?;
        let open_files = net::raise_open_files();
        let doors = Doors::open(&wanted).map_err(|error| told_first(&global.data, error))?;
        let home = Home::open(&global.data, &settings, listen, &wanted).await?;
        let socket = open_socket(&home.data)?;
        let listened = doors.listened()?;

        let mut metrics = Metrics::default();
        let engine = Engine::build(&settings, &home.parts, &home.keys, &mut metrics)?;
        let first_user = first_user::ensure(&home.parts.registry, &home.data).await?;
        let shelf = Arc::new(Shelf::open(&home.data));
        let sources = Sources {
            statuses: Arc::clone(&engine.monitor) as _,
            relays: Arc::clone(&engine.relays),
            landings: Some(Arc::new(engine.tunnel.clone())),
            strangers: Arc::new(engine.tunnel.clone()),
            shelf: Arc::clone(&shelf),
        };
        let place = site::place(
            &settings,
            home.host.clone(),
            listened,
            &home.keys,
            &home.parts.store,
        );
        let ssh_port = place.ports.ssh;
        let ready = home.ready(listened, &place, first_user);
        let in_force = InForce::new(Arc::clone(&settings));
        let site = site::site(
            &home.parts,
            sources,
            place,
            in_force.clone(),
            Arc::clone(&engine.channels) as _,
            Some(log.clone()),
            home.facts(open_files, &engine),
        );

        let mut drain = Drain::new();
        let tasks = Tasks::new(&mut drain, &settings, &home.parts, &site);
        let readiness = admin::Readiness::new();
        let listening = readiness.check("listening");
        let Doors {
            ssh,
            rtsp,
            https,
            admin: admin_listener,
        } = doors;
        tasks.cameras_may_come(ssh, &engine);
        let front_door = tasks.people_may_come(rtsp, https, socket, &engine, &home.certificate)?;
        let sweeper = Arc::new(home.parts.sweeper(&settings));
        tasks.keep_the_store(&engine, &sweeper);
        tasks.look_after_cameras(
            &engine,
            shelf,
            pins::Pins {
                cameras: home.parts.registry.cameras(),
                statuses: Arc::clone(&engine.monitor) as _,
                clock: Arc::clone(&home.parts.clock),
                keys: pins::Own {
                    data: home.data.clone(),
                    present: home.keys.public().cloned().collect(),
                },
                place: (!home.host_guessed).then(|| (home.host.clone(), ssh_port)),
            },
        );
        let running = reload::Running {
            clock: Arc::clone(&home.parts.clock),
            monitor: Arc::clone(&engine.monitor),
            channels: Arc::clone(&engine.channels),
            heartbeats: engine.heartbeats.clone(),
            hub: engine.hub.clone(),
            front_door,
            sweeper,
            archive: home.parts.archive.clone(),
        };
        tasks.end_in_order(engine);
        tasks.tell_how_it_is(admin_listener, metrics, readiness);
        listening.ready();

        let reload = Reload {
            data: home.data,
            config: global.config.clone(),
            host: home.viewer_host,
            certificate: home.certificate,
            log,
            bucket_key: BucketKey::read(&settings)?,
            in_force,
            parts: running,
            under_way: Mutex::default(),
        };
        Ok(Self {
            ready,
            site,
            drain,
            parts: home.parts,
            reload: Arc::new(reload),
            listening,
        })
    }

    /// Runs until SIGTERM or SIGINT, then drains. A second signal aborts what still runs. SIGHUP reads settings and certificate again, and tells
    /// which of those that changed wait for a restart.
    ///
    /// # Errors
    /// Something was not drained in time; everything was still closed. Or a part of it ended although nobody asked it to: it drains and ends then, so
    /// that whoever looks after it starts it again.
    pub async fn run(self, mut signals: Signals) -> anyhow::Result<()> {
        let broken = self.broken();
        // On a thread of its own: a file may lie on a disk that hangs, and a signal to stop is heard all the same (P8).
        let reload = || {
            let reload = Arc::clone(&self.reload);
            tokio::task::spawn_blocking(move || reload.run());
        };
        self.drain.due(&mut signals, reload).await;
        self.stop(&mut signals).await?;
        anyhow::ensure!(
            !broken.is_cancelled(),
            "a part of the server ended although nobody asked it to; the log names it"
        );
        Ok(())
    }

    /// Cancelled when a part of it has ended although nobody asked it to: stop it then.
    pub fn broken(&self) -> CancellationToken {
        self.drain.broken()
    }

    /// Drains and closes.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub async fn stop(self, signals: &mut Signals) -> anyhow::Result<()> {
        self.listening.not_ready("stopping");
        tracing::info!("draining; a second signal aborts");
        let report = self.drain.run_with(signals).await;
        let _ = std::fs::remove_file(&self.ready.socket);
        drop(self.site);
        self.parts.close().await;
        anyhow::ensure!(report.is_clean(), "not everything was drained in time");
        tracing::info!("stopped");
        Ok(())
    }
}

pub(crate) fn tunnel_config(settings: &Settings) -> anyhow::Result<TunnelConfig> {
    let window = settings.tunnel.window.bytes();
    Ok(TunnelConfig {
        window: u32::try_from(window).context("tunnel.window is too large")?,
        queued_per_channel: usize::try_from((window * 2).max(4 << 20))?,
        unauthenticated: settings.tunnel.strangers as usize,
        queued: usize::try_from(settings.tunnel.queued.bytes())?,
        queued_per_tenant: usize::try_from(settings.tunnel.queued_per_tenant.bytes())?,
        ..TunnelConfig::default()
    })
}

/// Relays, where one login may watch so many streams.
pub(crate) fn relay_config(streams: usize) -> RelayConfig {
    let defaults = RelayConfig::default();
    RelayConfig {
        candidates: Candidates::known(),
        readers_per_user: streams,
        readers_per_address: defaults.readers_per_address.max(streams),
        ..defaults
    }
}

/// The same for the front door.
pub(crate) fn door_config(streams: usize) -> DoorConfig {
    DoorConfig {
        connections_per_user: 2 * streams,
        ..DoorConfig::default()
    }
}

/// The command line's socket. The lock on the directory is ours, so what lies there is left from a crash.
pub(crate) fn open_socket(data: &Path) -> anyhow::Result<UnixListener> {
    let path = socket_path(data);
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path);
    let listener =
        listener.with_context(|| format!("cannot open the socket {}", path.display()))?;
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Writes passwords into a 0600 file (rule S36).
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    write_atomic(path, text.as_bytes(), Access::Private)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// How many cameras are known, for the line at the start.
pub fn camera_count(site: &moorline_web::Site) -> usize {
    site.cameras.snapshot().len()
}

/// The metrics reference page: what every part of a server, and of a cluster, registers. The parts are opened in a directory that is thrown away.
///
/// # Errors
/// They cannot be opened.
pub async fn metrics_reference() -> anyhow::Result<String> {
    let directory = tempfile::tempdir()?;
    let parts = Parts::open(&directory.path().join("data"), &Settings::default()).await?;
    let mut metrics = Metrics::default();
    let _ = moorline_mon::monitor(
        moorline_mon::Settings::default(),
        Arc::clone(&parts.clock),
        &mut metrics.registry,
    );
    let _ = moorline_tunnel::TunnelMetrics::register(&mut metrics.registry);
    let _ = ProxyMetrics::register(&mut metrics.registry);
    parts.archive.register(&mut metrics.registry);
    notifier::register(notifier::Heartbeats::new(None), &mut metrics.registry);
    daily::register(parts.daily.clone(), &mut metrics.registry);
    #[cfg(feature = "kube")]
    {
        let registry = &mut metrics.registry;
        crate::cluster::api_server::register(moorline_kube::Pulse::default(), registry);
        crate::cluster::frontdoor::behind::register(None, registry);
        let _ = moorline_gateway::GatewayMetrics::register(registry);
        let _ = moorline_gateway::SignerMetrics::register(registry);
        let _ = moorline_gateway::TicketMetrics::register(registry);
    }
    parts.close().await;
    Ok(admin::reference_markdown(&metrics.registry))
}
