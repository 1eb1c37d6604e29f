//! What works behind the doors: the monitor, the tunnels, the relays and recorders that it starts, and whoever is told.
//!
//! Owns: how they are put together, and their metrics. Does not own: when they run and end, which is `tasks`' matter.

use std::sync::Arc;
use std::time::Duration;

use moorline_base::error::Hinted;
use moorline_base::metrics::Metrics;
use moorline_core::port::{Landings, Relays, WorkloadEvents};
use moorline_mon::{Monitor, TaskWorkloads, Watch};
use moorline_proxy::{Hub, ProxyMetrics, relay_workload};
use moorline_tunnel::keyfile::HostKeys;
use moorline_tunnel::{AnyLandings, LanLandings, Tunnel, TunnelMetrics};

use super::notifier::{self, Channels, Heartbeats};
use super::parts::Parts;
use super::{daily, enrolment, relay_config, tunnel_config};
use crate::settings::Settings;

/// What a drained recorder gets beyond its own budget before it is killed.
const SEALING: Duration = Duration::from_secs(15);

/// What works behind the doors.
pub(super) struct Engine {
    pub(super) monitor: Arc<Monitor>,
    /// Runs the monitor.
    pub(super) watch: Watch,
    pub(super) tunnel: Tunnel,
    pub(super) hub: Hub,
    pub(super) relays: Arc<dyn Relays>,
    pub(super) workloads: TaskWorkloads,
    pub(super) channels: Arc<Channels>,
    pub(super) heartbeats: Heartbeats,
}

impl Engine {
    /// Puts it together. Nothing runs yet.
    ///
    /// # Errors
    /// A setting of the tunnels or of the alarms cannot work.
    pub(super) fn build(
        settings: &Settings,
        parts: &Parts,
        keys: &HostKeys,
        metrics: &mut Metrics,
    ) -> anyhow::Result<Self> {
        let clock = &parts.clock;
        let (monitor, watch) = moorline_mon::monitor(
            monitor_settings(settings),
            Arc::clone(clock),
            &mut metrics.registry,
        );
        let tunnel = tunnel(settings, parts, keys, metrics)?;
        parts.archive.register(&mut metrics.registry);
        let hub = Hub::new(
            Arc::clone(clock),
            parts.registry.cameras(),
            relay_config(settings.rtsp.streams_per_user as usize),
            ProxyMetrics::register(&mut metrics.registry),
        );
        let relays: Arc<dyn Relays> = Arc::new(hub.clone());
        let landings = landings(parts, &tunnel);
        let workloads = workloads(&hub, landings, parts, &relays, Arc::clone(&monitor) as _);
        let channels = Arc::new(Channels::new(&settings.alert, clock)?);
        let heartbeats = Heartbeats::new(notifier::heartbeat(&settings.alert, clock)?);
        notifier::register(heartbeats.clone(), &mut metrics.registry);
        daily::register(parts.daily.clone(), &mut metrics.registry);
        Ok(Self {
            monitor,
            watch,
            tunnel,
            hub,
            relays,
            workloads,
            channels,
            heartbeats,
        })
    }
}

/// How long all cameras together get to drain when the server stops.
pub(super) fn stop_budget(settings: &Settings) -> Duration {
    settings.archive.drain.get() + SEALING
}

fn monitor_settings(settings: &Settings) -> moorline_mon::Settings {
    moorline_mon::Settings {
        grace: settings.tunnel.grace.get(),
        drain_budget: settings.archive.drain.get(),
        stop_budget: stop_budget(settings),
        alarm_after: settings.alert.after.get(),
        ..moorline_mon::Settings::default()
    }
}

fn tunnel(
    settings: &Settings,
    parts: &Parts,
    keys: &HostKeys,
    metrics: &mut Metrics,
) -> anyhow::Result<Tunnel> {
    let clock = &parts.clock;
    let tunnel = Tunnel::new(
        tunnel_config(settings)?,
        keys,
        parts.registry.cameras(),
        Arc::clone(clock),
        TunnelMetrics::register(&mut metrics.registry),
    );
    let tunnel = tunnel.map_err(|error| {
        Hinted::new(
            format!("tunnel.{error}"),
            "see docs/reference/configuration.md",
        )
    })?;
    tunnel.enrol_by(Arc::new(enrolment::Audited {
        next: parts.registry.enrolment(),
        audit: parts.registry.audit(),
        clock: Arc::clone(clock),
    }));
    Ok(tunnel)
}

/// The way to each camera: its tunnel, or its address in the own network.
fn landings(parts: &Parts, tunnel: &Tunnel) -> Arc<dyn Landings> {
    let lan = LanLandings::new(parts.registry.cameras(), Arc::clone(&parts.clock));
    Arc::new(AnyLandings::new(
        parts.registry.cameras(),
        Arc::new(tunnel.clone()),
        Arc::new(lan),
    ))
}

fn workloads(
    hub: &Hub,
    landings: Arc<dyn Landings>,
    parts: &Parts,
    relays: &Arc<dyn Relays>,
    events: Arc<dyn WorkloadEvents>,
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
