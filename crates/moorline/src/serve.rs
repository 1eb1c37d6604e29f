//! `moorline serve`: wires the parts, opens the listeners, drains in order.
//!
//! ```text
//! cameras ─SSH─▶ tunnel ─ landings ─▶ relay ─┬─▶ recorder ─ spool ─ uploader ─▶ store ─▶ recordings ─▶ page
//!                  └──── events ─▶ monitor ──┤└─▶ front door ─▶ players
//!                                   └ alarms └──▶ page (live)
//! ```
//!
//! The stop has four phases, each bounded (P8): no new connections; tunnels end and recorders seal; the spool goes up; the registry closes.

mod classes;
pub mod daily;
pub mod doctor;
mod enrolment;
pub mod first_user;
pub(crate) mod metrics;
pub mod notifier;
pub mod operations;
pub mod parts;
pub(crate) mod pins;
pub mod place;
mod reload;
pub mod site;
mod sources;
pub(crate) mod tls;
mod uplinks;
mod usage;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use moorline_base::config::effective_toml;
use moorline_base::error::{Hinted, WithHint as _};
use moorline_base::files::{Access, DataDir, LockError, write_atomic};
use moorline_base::logging::LogHandle;
use moorline_base::shutdown::{Drain, Signals, Stop};
use moorline_base::{admin, net};
use moorline_core::camera::Login;
use moorline_core::port::{Landings, Relays};
use moorline_mon::TaskWorkloads;
use moorline_proxy::{
    Candidate, Candidates, DoorConfig, FrontDoor, Hub, ProxyMetrics, RelayConfig, relay_workload,
};
use moorline_tunnel::keyfile::HostKeys;
use moorline_tunnel::{AnyLandings, LanLandings, Tunnel, TunnelConfig};
use serde::Serialize;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::agents::rollout::Rollout;
use crate::agents::shelf::Shelf;
use crate::args::{Global, Listen};
use crate::client::socket_path;
use crate::settings::{self, Settings};
use doctor::{Facts, Running};
use parts::Parts;
use place::{Addresses, in_url};
use reload::Reload;
use site::Sources;

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
    reload: Reload,
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
        let parts = Parts::open(&global.data, &settings).await?;
        let data = std::path::absolute(parts.data.path())?;
        let keys = HostKeys::load_or_create(&data)
            .hint(|| "restore it from a backup: moorline restore")?;
        let (host, host_guessed) = place::public_host(listen, &settings.server, wanted.ssh);
        let certificate = Arc::new(tls::Certificate::new(tls::load(
            &settings.server,
            &data,
            &host,
        )?));

        let Doors {
            ssh,
            rtsp,
            https,
            admin: admin_listener,
        } = doors;
        let socket = open_socket(&data)?;
        let listened = Addresses {
            ssh: ssh.local_addr()?,
            rtsp: rtsp.local_addr()?,
            https: https.local_addr()?,
            admin: admin_listener.local_addr()?,
        };

        let mut metrics = metrics::Metrics::new();
        let clock = Arc::clone(&parts.clock);
        let cameras = parts.registry.cameras();
        let monitor_settings = moorline_mon::Settings {
            grace: settings.tunnel.grace.get(),
            drain_budget: settings.archive.drain.get(),
            stop_budget: settings.archive.drain.get() + Duration::from_secs(15),
            alarm_after: settings.alert.after.get(),
            ..moorline_mon::Settings::default()
        };
        let stop_budget = monitor_settings.stop_budget;
        let (monitor, watch) =
            moorline_mon::monitor(monitor_settings, Arc::clone(&clock), &mut metrics.registry);

        let tunnel_config = tunnel_config(&settings)?;
        let tunnel_metrics = moorline_tunnel::TunnelMetrics::register(&mut metrics.registry);
        let tunnel = Tunnel::new(
            tunnel_config,
            &keys,
            Arc::clone(&cameras) as _,
            Arc::clone(&clock),
            tunnel_metrics,
        )
        .map_err(|error| {
            Hinted::new(
                format!("tunnel.{error}"),
                "see docs/reference/configuration.md",
            )
        })?;
        tunnel.enrol_by(Arc::new(enrolment::Audited {
            next: parts.registry.enrolment(),
            audit: parts.registry.audit(),
            clock: Arc::clone(&clock),
        }));
        let lan = LanLandings::new(Arc::clone(&cameras) as _, Arc::clone(&clock));
        let landings: Arc<dyn Landings> = Arc::new(AnyLandings::new(
            Arc::clone(&cameras) as _,
            Arc::new(tunnel.clone()),
            Arc::new(lan),
        ));

        parts.archive.register(&mut metrics.registry);
        let streams = settings.rtsp.streams_per_user as usize;
        let relay_config = relay_config(streams);
        let proxy_metrics = ProxyMetrics::register(&mut metrics.registry);
        let hub = Hub::new(
            Arc::clone(&clock),
            Arc::clone(&cameras) as _,
            relay_config,
            proxy_metrics,
        );
        let relays: Arc<dyn Relays> = Arc::new(hub.clone());
        let workloads = workloads(&hub, landings, &parts, &relays, Arc::clone(&monitor) as _);
        let notifier = notifier::of(&settings.alert, &clock)?;
        let heartbeat = notifier::heartbeat(&settings.alert, &clock)?;
        notifier::register(heartbeat.clone(), &mut metrics.registry);
        daily::register(parts.daily.clone(), &mut metrics.registry);

        let first_user = first_user::ensure(&parts.registry, &data).await?;
        let facts = Facts {
            public_host: host.clone(),
            host_guessed,
            running: Some(Running {
                open_files,
                certificate: Arc::clone(&certificate),
                heartbeat: heartbeat.clone(),
                peers: {
                    let tunnel = tunnel.clone();
                    Arc::new(move || tunnel.peers())
                },
            }),
        };
        let shelf = Arc::new(Shelf::open(&data));
        let sources = Sources {
            statuses: Arc::clone(&monitor) as _,
            relays: Arc::clone(&relays),
            strangers: Arc::new(tunnel.clone()),
            shelf: Arc::clone(&shelf),
        };
        let place = site::place(&settings, host.clone(), listened, &keys, &parts.store);
        let ssh_port = place.ports.ssh;
        let ready = Ready {
            ssh: listened.ssh,
            rtsp: listened.rtsp,
            https: listened.https,
            admin: listened.admin,
            page: format!("https://{}:{}/", in_url(&host), place.ports.https),
            socket: socket_path(&data),
            data: data.clone(),
            known_hosts: place.known_hosts.clone(),
            certificate_sha256: certificate.fingerprint(),
            first_user,
            pid: std::process::id(),
        };
        let site = site::site(
            &parts,
            sources,
            place,
            &settings,
            Arc::clone(&notifier),
            Some(log.clone()),
            facts,
        );
        let router = moorline_web::router(site.clone());

        let mut drain = Drain::new();
        let doors = drain.phase("close the doors", CLOSE_DOORS);
        let cameras_phase = drain.phase("drain the cameras", stop_budget + Duration::from_secs(5));
        let uploads = drain.phase(
            "upload what waits",
            settings.archive.drain.get() + Duration::from_secs(5),
        );

        let readiness = admin::Readiness::new();
        let check = readiness.check("listening");
        let mon = moorline_tunnel::Monitor {
            events: Arc::clone(&monitor) as _,
            lines: Arc::clone(&monitor) as _,
        };
        let accepting = tunnel.clone();
        let stop = doors.token();
        doors.spawn("ssh", async move { accepting.accept(ssh, mon, stop).await });
        let rtsp_tls = TlsAcceptor::from(tls::config(Arc::clone(&certificate) as _, &[])?);
        let front_door = FrontDoor::new(
            hub.clone(),
            parts.registry.users(),
            parts.registry.audit(),
            Some(rtsp_tls),
            door_config(streams),
        );
        let stop = doors.token();
        doors.spawn("rtsp", async move { front_door.run(rtsp, stop).await });
        let https_tls =
            TlsAcceptor::from(tls::config(Arc::clone(&certificate) as _, &[b"http/1.1"])?);
        doors.spawn(
            "https",
            moorline_web::serve::https(https, https_tls, router.clone(), doors.token()),
        );
        doors.spawn(
            "command line",
            moorline_web::serve::local(socket, router, doors.token()),
        );
        let sweeper = parts.sweeper(&settings);
        let stop = doors.token();
        doors.spawn("retention", async move { sweeper.run(&stop).await });
        let probing = parts.store.clone().probe_until_answered(
            parts.registry.used_classes(),
            Arc::clone(&clock),
            doors.token(),
        );
        doors.spawn("store probe", probing);
        if let Some(directory) = parts.store.directory.clone() {
            let usage = parts.usage.clone();
            let measuring = usage.watch(Arc::new(directory), Arc::clone(&clock), doors.token());
            doors.spawn("usage", measuring);
        }
        if let Some(heartbeat) = heartbeat {
            let stop = doors.token();
            doors.spawn("heartbeat", async move { heartbeat.run(stop).await });
        }
        let filling = sources::Sources {
            cameras: Arc::clone(&cameras) as _,
            admin: parts.registry.cameras(),
            statuses: Arc::clone(&monitor) as _,
            clock: Arc::clone(&clock),
        };
        doors.spawn("sources", filling.run(doors.token()));
        let looking = site.clone();
        let raising = Arc::clone(&monitor);
        doors.spawn(
            "daily look at the store",
            parts.daily.clone().run(
                Arc::clone(&cameras) as _,
                Arc::new(move |camera, range| {
                    let site = looking.clone();
                    Box::pin(async move {
                        let found =
                            moorline_web::route::verified(&site, &camera, None, range, false).await;
                        found.map_err(|problem| problem.title().to_owned())
                    })
                }),
                Arc::new(move |alarm| raising.raise(alarm)),
                Arc::clone(&clock),
                doors.token(),
            ),
        );
        let rollout = Rollout {
            shelf,
            cameras: Arc::clone(&cameras) as _,
            statuses: Arc::clone(&monitor) as _,
            upgrades: Arc::clone(&monitor) as _,
            notifier: Arc::clone(&notifier),
            clock: Arc::clone(&clock),
        };
        doors.spawn("roll-out", rollout.run(doors.token()));
        let moving = uplinks::Uplinks {
            cameras: Arc::clone(&cameras) as _,
            admin: parts.registry.cameras(),
            statuses: Arc::clone(&monitor) as _,
            clock: Arc::clone(&clock),
            rule: uplinks::rule(&settings.uplink),
        };
        doors.spawn("uplinks", moving.run(doors.token()));
        let pins = pins::Pins {
            cameras: Arc::clone(&cameras) as _,
            statuses: Arc::clone(&monitor) as _,
            clock: Arc::clone(&clock),
            data: data.clone(),
            present: keys.public().cloned().collect(),
            place: (!host_guessed).then(|| (host.clone(), ssh_port)),
        };
        doors.spawn("host keys", pins.run(doors.token()));
        let ports = moorline_mon::Ports {
            directory: Arc::clone(&cameras) as _,
            claims: parts.registry.claims(),
            memories: parts.registry.memories(),
            workloads: Arc::new(workloads),
            sessions: Arc::new(tunnel.clone()),
            control: Arc::new(tunnel.clone()),
            notifier,
            audit: parts.registry.audit(),
        };
        let stop = cameras_phase.token();
        cameras_phase.spawn("monitor", async move {
            let report = watch.run(ports, stop).await;
            if report.left > 0 {
                tracing::warn!(left = report.left, "cameras were not drained in time");
            }
            tunnel.shutdown(CLOSE_DOORS).await;
        });
        let archive = parts.archive.clone();
        let (stop, budget) = (uploads.token(), settings.archive.drain.get());
        uploads.spawn("uploader", async move {
            stop.cancelled().await;
            archive.shutdown(budget).await;
        });
        let admin_router = admin::router(metrics.finish(), readiness);
        let admin_clock = Arc::clone(&clock);
        let stop = uploads.token();
        uploads.spawn("admin", async move {
            admin::serve(admin_listener, admin_router, admin_clock, stop).await
        });
        check.ready();

        let config = global.config.clone();
        let reload = Reload {
            data,
            config,
            host,
            certificate,
            log,
            in_force: effective_toml(&*settings),
        };
        Ok(Self {
            ready,
            site,
            drain,
            parts,
            reload,
        })
    }

    /// Runs until SIGTERM or SIGINT, then drains. A second signal aborts what still runs. SIGHUP reads certificate and log level again, and
    /// tells which other settings have changed.
    ///
    /// # Errors
    /// Something was not drained in time; everything was still closed.
    pub async fn run(self, mut signals: Signals) -> anyhow::Result<()> {
        while signals.next().await == Stop::Reload {
            self.reload.run();
        }
        self.stop(&mut signals).await
    }

    /// Drains and closes.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub async fn stop(self, signals: &mut Signals) -> anyhow::Result<()> {
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

fn workloads(
    hub: &Hub,
    landings: Arc<dyn Landings>,
    parts: &Parts,
    relays: &Arc<dyn Relays>,
    events: Arc<dyn moorline_core::port::WorkloadEvents>,
) -> TaskWorkloads {
    let hub = hub.clone();
    let (archive, relays) = (parts.archive.clone(), Arc::clone(relays));
    TaskWorkloads::new(
        Arc::clone(&parts.clock),
        events,
        Arc::new(move |spec, control, kill| {
            Box::pin(relay_workload(
                hub.clone(),
                Arc::clone(&landings),
                spec,
                control,
                kill,
            ))
        }),
        Arc::new(move |spec, control, kill| {
            archive.recorder_workload(spec, control, Arc::clone(&relays), kill)
        }),
    )
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
        candidates: candidates(),
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

/// The known streams of camera firmware, tried where the owner gave no path.
pub(crate) fn candidates() -> Candidates {
    let candidate = |path: &str, logins: &[moorline_control::Login]| Candidate {
        path: path.to_owned(),
        login: logins.first().map(|login| Login {
            user: login.user.to_owned(),
            password: login.password.to_owned().into(),
        }),
    };
    let presets = moorline_control::PRESETS;
    Candidates {
        main: presets
            .iter()
            .map(|preset| candidate(preset.main, preset.logins))
            .collect(),
        sub: presets
            .iter()
            .filter_map(|preset| preset.sub.map(|sub| candidate(sub, preset.logins)))
            .collect(),
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

/// The metrics reference page: what every part registers. The parts are opened in a directory that is thrown away.
///
/// # Errors
/// They cannot be opened.
pub async fn metrics_reference() -> anyhow::Result<String> {
    let directory = tempfile::tempdir()?;
    let parts = Parts::open(&directory.path().join("data"), &Settings::default()).await?;
    let mut metrics = metrics::Metrics::new();
    let _ = moorline_mon::monitor(
        moorline_mon::Settings::default(),
        Arc::clone(&parts.clock),
        &mut metrics.registry,
    );
    let _ = moorline_tunnel::TunnelMetrics::register(&mut metrics.registry);
    let _ = ProxyMetrics::register(&mut metrics.registry);
    parts.archive.register(&mut metrics.registry);
    notifier::register(None, &mut metrics.registry);
    daily::register(parts.daily.clone(), &mut metrics.registry);
    parts.close().await;
    Ok(admin::reference_markdown(&metrics.registry))
}
