//! `moorline mon`: the SSH server of a cluster, whose monitor makes a camera's pods when its tunnel comes up and ends them when it goes.
//!
//! ```text
//! camera ─SSH─▶ tunnel ─ events ─▶ claims' book ─▶ monitor ─▶ claims (PUT Camera.status) · pods (POST, DELETE)
//!                  └─ landings ─▶ tunnel gateway ◀─ CONNECT, control ─ relay and archiver pods
//! ```
//! Any replica takes any camera. What ends first at SIGTERM are the tunnels: cameras call again and another replica claims them; no pod is touched.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use moorline_base::error::{Hinted, WithHint as _};
use moorline_base::{CancellationToken, Clock, net};
use moorline_core::CameraId;
use moorline_core::port::{AgentUpgrades, Landings, Notifier, Sessions, Statuses, WorkloadEvents};
use moorline_gateway::{
    Gateway, GatewayConfig, GatewayMetrics, GatewayParts, Links, TicketPublics,
};
use moorline_kube::{
    Gone, Janitor, KubeClaims, KubeEnrolment, KubeHangUps, KubeHolders, KubeMemories, KubePlaces,
    KubeReleases, KubeSources, KubeUpgrades, KubeUplinks, Leases, Owned, PodSettings, Pods,
    Replica, StatusWriter,
};
use moorline_tunnel::keyfile::HostKeys;
use moorline_tunnel::{Tunnel, TunnelConfig};

use super::own_alarms::OwnAlarms;
use super::pins::Mounted;
use super::replica::{Replica as Commands, forget_added};
use super::role::{LISTED, Role, address, service};
use super::rollout::ClusterRollout;
use crate::absent::Absent;
use crate::args::Global;
use crate::serve;
use crate::serve::enrolment::Audited;
use crate::serve::pins::Pins;
use crate::serve::place::public_port;

/// How often the mounted host keys are looked at.
const LOOK: Duration = Duration::from_secs(30);
/// Tunnels that end per second at a stop: their cameras call again, and other replicas claim them.
const END_PER_SECOND: u32 = 20;
/// Who has a copy of the cameras waits so long for the API server, and serves by the copy then.
const COPIED: Duration = Duration::from_secs(5);
/// What of `cluster.stop` is kept for what ends after the tunnels.
const AFTER_TUNNELS: Duration = Duration::from_secs(2);

/// How long the API server is waited for before cameras are served.
fn patience(copy: &Path) -> Duration {
    if copy.exists() { COPIED } else { LISTED }
}

/// Runs until SIGTERM.
///
/// # Errors
/// A setting or a file is wrong, or the API server cannot be reached at all.
pub async fn run(global: &Global) -> anyhow::Result<()> {
    let mut role = Role::with(global, |settings| settings.cluster.stop.get()).await?;
    role.watch_pods();
    let settings = role.settings.clone();
    let cluster = &settings.cluster;
    let clock = Arc::clone(&role.clock);
    let replica = Replica {
        name: named("cluster.replica", &cluster.replica)?,
        gateway: own_gateway(&cluster.address, &cluster.listen_gateway)?,
    };
    let keys = HostKeys::load_mounted(Path::new(&cluster.host_keys))
        .hint(|| "moorline keys init makes the Secret that is mounted at cluster.host_keys")?;
    let ssh = net::listen(address("server.listen_ssh", &settings.server.listen_ssh)?)?;
    let ssh_port = public_port(settings.server.public_ssh_port, ssh.local_addr()?);
    let inside = net::listen(address("cluster.listen_gateway", &cluster.listen_gateway)?)?;

    let copy = global.data.join("cameras.json");
    let Some(listed) = role.listed(true, patience(&copy)).await else {
        return role.leave().await;
    };
    if !listed {
        let known = role.directory.load_copy(&copy).unwrap_or(0);
        tracing::warn!(
            cameras = known,
            "the API server does not answer: cameras are known from the copy on disk"
        );
    }
    let (keeping, stop) = (role.directory.clone(), role.doors.token());
    role.doors.spawn("copy of cameras", async move {
        keeping.keep_copy(copy, stop).await
    });

    let monitor_settings = moorline_mon::Settings {
        grace: settings.tunnel.grace.get(),
        drain_budget: settings.archive.drain.get(),
        alarm_after: settings.alert.after.get(),
        ..moorline_mon::Settings::default()
    };
    let (monitor, watch) = moorline_mon::monitor(
        monitor_settings,
        Arc::clone(&clock),
        &mut role.metrics.registry,
    );
    let tunnel_metrics = moorline_tunnel::TunnelMetrics::register(&mut role.metrics.registry);
    let tunnel = Tunnel::new(
        TunnelConfig {
            names_required: true,
            ..serve::tunnel_config(&settings)?
        },
        &keys,
        Arc::new(role.directory.clone()),
        Arc::clone(&clock),
        tunnel_metrics,
    )
    .map_err(|error| {
        Hinted::new(
            format!("tunnel.{error}"),
            "see docs/reference/configuration.md",
        )
    })?;
    let sessions: Arc<dyn Sessions> = Arc::new(tunnel.clone());

    let owned = Owned::new(replica.clone());
    let cache = role.directory.cache().clone();
    let writer = StatusWriter::new(
        role.client.clone(),
        cache.clone(),
        owned.clone(),
        Arc::clone(&clock),
        role.doors.token(),
    );
    tunnel.enrol_by(Arc::new(Audited {
        next: Arc::new(KubeEnrolment::new(writer.clone())),
        // As the monitor's.
        audit: Arc::new(Absent),
        clock: Arc::clone(&clock),
    }));
    let gone = Gone::default();
    let leases = Leases::new(
        role.client.clone(),
        cluster.namespace.clone(),
        replica.name.clone(),
        gone.clone(),
        role.directory.freshness().clone(),
        Arc::clone(&clock),
    );
    let claims = KubeClaims::new(
        writer.clone(),
        Arc::clone(&sessions),
        role.directory.freshness().clone(),
        role.doors.token(),
    );
    let memories = KubeMemories::new(role.directory.clone());
    let links = Links::new(Arc::clone(&clock));
    let pods = Pods::new(
        writer.clone(),
        role.pods.clone(),
        Arc::new(links.clone()),
        Arc::clone(&monitor) as Arc<dyn WorkloadEvents>,
        memories.clone(),
        PodSettings {
            gateway: cluster.gateway.clone(),
            signer: cluster.signer.clone(),
        },
        role.doors.token(),
    );
    let hang_ups = KubeHangUps::new(cache, owned.clone());
    let sources = KubeSources::new(writer.clone());
    let upgrades = KubeUpgrades::new(writer.clone());
    let uplinks = KubeUplinks::new(pods.clone(), serve::uplinks::rule(&settings.uplink));
    let holders = KubeHolders::new(&role.directory, owned, gone);
    let identities = role.identities();
    let (following, stop) = (identities.clone(), role.doors.token());
    role.doors.spawn_vital("keys of tokens", async move {
        following.follow_issuer(stop).await
    });
    let tickets = TicketPublics::load((&cluster.ticket_publics).into(), Arc::clone(&clock))
        .context("cluster.ticket_publics cannot be used: moorline keys init makes it")?;
    let mut gateway_config = GatewayConfig::new(service("cluster.gateway", &cluster.gateway)?.name);
    gateway_config.peers = Some(cluster.peers.clone())
        .filter(|peers| !peers.is_empty())
        .into_iter()
        .collect();
    let gateway = Gateway::new(
        GatewayParts {
            clock: Arc::clone(&clock),
            identities: Arc::new(identities),
            holders: Arc::new(holders.clone()),
            landings: Arc::new(tunnel.clone()) as Arc<dyn Landings>,
            places: Arc::new(KubePlaces::of_mon(writer, role.pods.clone())),
            links,
            events: Arc::new(pods.clone()),
            tickets: Arc::new(tickets),
            tls: role.tls()?,
            metrics: GatewayMetrics::register(&mut role.metrics.registry),
        },
        gateway_config,
    )?;

    let notifier = Arc::new(OwnAlarms::new(
        Arc::new(holders.clone()),
        leases.leads(),
        serve::notifier::of(&settings.alert, &clock)?,
    ));
    let mon = moorline_tunnel::Monitor {
        events: Arc::new(claims.events(Arc::clone(&monitor) as _)),
        lines: Arc::clone(&monitor) as _,
    };
    let releases = KubeReleases::new(
        role.client.clone(),
        cluster.namespace.clone(),
        Arc::clone(&clock),
    );
    let rollout = ClusterRollout {
        releases: releases.clone(),
        upgrades,
        statuses: Arc::clone(&monitor) as Arc<dyn Statuses>,
        offers: Arc::clone(&monitor) as Arc<dyn AgentUpgrades>,
        notifier: Arc::clone(&notifier) as Arc<dyn Notifier>,
        clock: Arc::clone(&clock),
    };
    let (accepting, stop) = (tunnel.clone(), role.work.token());
    role.work
        .spawn_vital("ssh", async move { accepting.accept(ssh, mon, stop).await });
    let ports = moorline_mon::Ports {
        directory: Arc::new(role.directory.clone()),
        claims: Arc::new(claims),
        memories: Arc::new(memories),
        workloads: Arc::new(pods.clone()),
        sessions: Arc::clone(&sessions),
        control: Arc::new(tunnel.clone()),
        notifier,
        // In the log alone: this process faces strangers and reaches no database of people.
        audit: Arc::new(Absent),
    };
    // The monitor is never told to stop, which would drain every camera's pods: its tunnels end, cameras call another replica, and what does not
    // come back is the janitor's. It ends with the process.
    let never = CancellationToken::new();
    let broken = watch.broken();
    role.work.needs("monitor", broken.clone());
    tokio::spawn(async move {
        let _guard = broken.drop_guard();
        watch.run(ports, never).await
    });
    take_commands(
        &role,
        &global.data,
        Commands {
            cameras: Arc::new(role.directory.clone()),
            statuses: Arc::clone(&monitor) as Arc<dyn Statuses>,
            strangers: Arc::new(tunnel.clone()),
            landings: Arc::new(tunnel.clone()),
            clock: Arc::clone(&clock),
            public_host: settings.server.public_host.clone(),
        },
    );
    let pins = Pins {
        cameras: Arc::new(role.directory.clone()),
        statuses: Arc::clone(&monitor) as Arc<dyn Statuses>,
        clock: Arc::clone(&clock),
        keys: Mounted::new(PathBuf::from(&cluster.host_keys), Arc::clone(&clock)),
        place: Some((settings.server.public_host.clone(), ssh_port))
            .filter(|(host, _)| !host.is_empty()),
    };
    let stop = role.doors.token();
    role.doors
        .spawn("next host keys", async move { pins.run(stop).await });
    let showing = tunnel.clone();
    let budget = cluster.stop.get().saturating_sub(AFTER_TUNNELS);
    let (stop, ending) = (role.work.token(), tunnel);
    role.work.spawn("tunnels", async move {
        stop.cancelled().await;
        let ended = ending.shutdown_paced(END_PER_SECOND, budget).await;
        tracing::info!(
            sessions = ended.sessions,
            left = ended.left,
            "tunnels ended"
        );
    });
    let (stop, mount) = (role.doors.token(), PathBuf::from(&cluster.host_keys));
    let looking = Arc::clone(&clock);
    role.doors.spawn("host keys", async move {
        exchange(&showing, keys, &mount, &*looking, &stop).await;
    });
    let stop = role.doors.token();
    role.doors
        .spawn_vital("gateway", async move { gateway.run(inside, stop).await });
    let stop = role.doors.token();
    role.doors
        .spawn_vital("fence", async move { holders.fence(sessions, stop).await });
    let (ending, stop) = (Arc::clone(&monitor), role.doors.token());
    role.doors.spawn_vital("hang-ups", async move {
        let hang_up = |camera: &CameraId, generation| ending.hang_up_of(camera, generation);
        hang_ups.run(hang_up, stop).await;
    });
    let (hearing, stop) = (
        Arc::clone(&monitor) as Arc<dyn Statuses>,
        role.doors.token(),
    );
    role.doors
        .spawn_vital("sources", async move { sources.run(hearing, stop).await });
    let (hearing, stop) = (
        Arc::clone(&monitor) as Arc<dyn Statuses>,
        role.doors.token(),
    );
    role.doors
        .spawn_vital("uplinks", async move { uplinks.run(hearing, stop).await });
    let (freshness, stop) = (role.directory.freshness().clone(), role.doors.token());
    role.doors.spawn_vital("watch of the roll-out", async move {
        releases.run(&freshness, stop).await;
    });
    let stop = role.doors.token();
    role.doors
        .spawn_vital("roll-out", async move { rollout.run(stop).await });
    let janitor = Janitor::new(pods, leases.clone());
    let stop = role.doors.token();
    role.doors
        .spawn_vital("janitor", async move { janitor.run(stop).await });
    let stop = role.doors.token();
    role.doors
        .spawn_vital("leases", async move { leases.run(stop).await });
    role.run().await
}

/// Opens the socket for whoever enters the pod. Cameras are served without it too.
fn take_commands(role: &Role, data: &Path, commands: Commands) {
    let (cameras, strangers) = (
        Arc::clone(&commands.cameras),
        Arc::clone(&commands.strangers),
    );
    let stop = role.doors.token();
    role.doors.spawn("refused keys", async move {
        forget_added(cameras, strangers, stop).await;
    });
    match serve::open_socket(data) {
        Ok(socket) => {
            let (router, stop) = (commands.router(), role.doors.token());
            role.doors.spawn("commands", async move {
                moorline_web::serve::local(socket, router, stop).await;
            });
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::warn!(%error, "this replica takes no commands");
        }
    }
}

/// Shows new host keys once the mounted Secret has them. Such as cannot be read leave the old ones in use.
async fn exchange(
    tunnel: &Tunnel,
    mut used: HostKeys,
    mount: &Path,
    clock: &dyn Clock,
    stop: &CancellationToken,
) {
    while !moorline_base::clock::sleep(clock, LOOK, stop)
        .await
        .is_cancelled()
    {
        match HostKeys::load_mounted(mount) {
            Ok(keys) if keys.public().eq(used.public()) => {}
            Ok(keys) => {
                tunnel.change_keys(&keys);
                used = keys;
                tracing::warn!(
                    "the SSH host keys were exchanged: cameras that pin another one do not get in any more"
                );
            }
            Err(error) => {
                tracing::warn!(%error, "the SSH host keys cannot be read: the old ones stay in use");
            }
        }
    }
}

fn named(field: &str, text: &str) -> anyhow::Result<String> {
    if text.is_empty() {
        anyhow::bail!(Hinted::new(
            format!("{field} is empty"),
            "the chart sets it from the pod's own fields"
        ));
    }
    Ok(text.to_owned())
}

/// Where other pods reach this replica's gateway.
fn own_gateway(pod: &str, listen: &str) -> anyhow::Result<SocketAddr> {
    let ip: IpAddr = pod.parse().map_err(|_| {
        Hinted::new(
            format!("cluster.address = {pod:?}: no address"),
            "the chart sets it from the pod's own fields",
        )
    })?;
    Ok(SocketAddr::new(
        ip,
        address("cluster.listen_gateway", listen)?.port(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A replica whose container restarts in an outage has what it needs to serve cameras: it does not let them wait for a minute.
    #[test]
    fn who_knows_the_cameras_waits_for_the_api_server_for_seconds() {
        let place = moorline_testkit::temp_dir().unwrap();
        let copy = place.path().join("cameras.json");
        assert_eq!(patience(&copy), LISTED);
        std::fs::write(&copy, "{}").unwrap();
        assert!(patience(&copy) <= Duration::from_secs(5));
    }
}
