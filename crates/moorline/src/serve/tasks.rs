//! What runs, and in which phase of the stop it ends (P8): doors first, then cameras, then what waits for the store.

use std::sync::Arc;
use std::time::Duration;

use moorline_base::admin::{self, Readiness};
use moorline_base::shutdown::{Drain, Phase};
use moorline_proxy::FrontDoor;
use moorline_web::Site;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::engine::{Engine, stop_budget};
use super::metrics::Metrics;
use super::parts::Parts;
use super::pins::Pins;
use super::{CLOSE_DOORS, door_config, sources, tls, uplinks};
use crate::agents::rollout::Rollout;
use crate::agents::shelf::Shelf;
use crate::settings::Settings;

/// What a phase gets beyond the budget of what runs in it.
const SLACK: Duration = Duration::from_secs(5);

/// Where tasks are started.
pub(super) struct Tasks<'a> {
    settings: &'a Settings,
    parts: &'a Parts,
    site: &'a Site,
    doors: Phase,
    cameras: Phase,
    uploads: Phase,
}

impl<'a> Tasks<'a> {
    /// Adds the phases, in their order.
    pub(super) fn new(
        drain: &mut Drain,
        settings: &'a Settings,
        parts: &'a Parts,
        site: &'a Site,
    ) -> Self {
        let budget = settings.archive.drain.get();
        Self {
            settings,
            parts,
            site,
            doors: drain.phase("close the doors", CLOSE_DOORS),
            cameras: drain.phase("drain the cameras", stop_budget(settings) + SLACK),
            uploads: drain.phase("upload what waits", budget + SLACK),
        }
    }

    /// The SSH server.
    pub(super) fn cameras_may_come(&self, ssh: TcpListener, engine: &Engine) {
        let mon = moorline_tunnel::Monitor {
            events: Arc::clone(&engine.monitor) as _,
            lines: Arc::clone(&engine.monitor) as _,
        };
        let (accepting, stop) = (engine.tunnel.clone(), self.doors.token());
        self.doors
            .spawn_vital("ssh", async move { accepting.accept(ssh, mon, stop).await });
    }

    /// Players, browsers, and the command line.
    pub(super) fn people_may_come(
        &self,
        rtsp: TcpListener,
        https: TcpListener,
        socket: UnixListener,
        engine: &Engine,
        certificate: &Arc<tls::Certificate>,
    ) -> anyhow::Result<()> {
        let tls = |protocols: &[&[u8]]| {
            tls::config(Arc::clone(certificate) as _, protocols).map(TlsAcceptor::from)
        };
        let front_door = FrontDoor::new(
            engine.hub.clone(),
            self.parts.registry.users(),
            self.parts.registry.audit(),
            Some(tls(&[])?),
            door_config(self.settings.rtsp.streams_per_user as usize),
        );
        let router = moorline_web::router(self.site.clone());
        let stop = self.doors.token();
        self.doors
            .spawn_vital("rtsp", async move { front_door.run(rtsp, stop).await });
        let page = moorline_web::serve::https(
            https,
            tls(&[b"http/1.1"])?,
            router.clone(),
            self.doors.token(),
        );
        self.doors.spawn_vital("https", page);
        let commands = moorline_web::serve::local(socket, router, self.doors.token());
        self.doors.spawn_vital("command line", commands);
        Ok(())
    }

    /// What makes room, measures and verifies, and what says that the server lives.
    pub(super) fn keep_the_store(&self, engine: &Engine) {
        let (parts, clock) = (self.parts, &self.parts.clock);
        let (sweeper, stop) = (parts.sweeper(self.settings), self.doors.token());
        self.doors
            .spawn("retention", async move { sweeper.run(&stop).await });
        let probing = parts.store.clone().probe_until_answered(
            parts.registry.used_classes(),
            Arc::clone(clock),
            self.doors.token(),
        );
        self.doors.spawn("store probe", probing);
        if let Some(directory) = parts.store.directory.clone() {
            let usage = parts.usage.clone();
            let stop = self.doors.token();
            let measuring = usage.watch(Arc::new(directory), Arc::clone(clock), stop);
            self.doors.spawn("usage", measuring);
        }
        if let Some(heartbeat) = engine.heartbeat.clone() {
            let stop = self.doors.token();
            self.doors
                .spawn("heartbeat", async move { heartbeat.run(stop).await });
        }
        self.look_at_the_store_daily(engine);
    }

    fn look_at_the_store_daily(&self, engine: &Engine) {
        let (looking, raising) = (self.site.clone(), Arc::clone(&engine.monitor));
        let daily = self.parts.daily.clone().run(
            self.parts.registry.cameras(),
            Arc::new(move |camera, range| {
                let site = looking.clone();
                Box::pin(async move {
                    let found =
                        moorline_web::route::verified(&site, &camera, None, range, false).await;
                    found.map_err(|problem| problem.title().to_owned())
                })
            }),
            Arc::new(move |alarm| raising.raise(alarm)),
            Arc::clone(&self.parts.clock),
            self.doors.token(),
        );
        self.doors.spawn("daily look at the store", daily);
    }

    /// What is told to cameras' agents and learnt from them.
    pub(super) fn look_after_cameras(&self, engine: &Engine, shelf: Arc<Shelf>, pins: Pins) {
        let (registry, clock) = (&self.parts.registry, &self.parts.clock);
        let filling = sources::Sources {
            cameras: registry.cameras(),
            admin: registry.cameras(),
            statuses: Arc::clone(&engine.monitor) as _,
            clock: Arc::clone(clock),
        };
        self.doors.spawn("sources", filling.run(self.doors.token()));
        let rollout = Rollout {
            shelf,
            cameras: registry.cameras(),
            statuses: Arc::clone(&engine.monitor) as _,
            upgrades: Arc::clone(&engine.monitor) as _,
            notifier: Arc::clone(&engine.notifier),
            clock: Arc::clone(clock),
        };
        self.doors
            .spawn("roll-out", rollout.run(self.doors.token()));
        let moving = uplinks::Uplinks {
            cameras: registry.cameras(),
            admin: registry.cameras(),
            statuses: Arc::clone(&engine.monitor) as _,
            clock: Arc::clone(clock),
            rule: uplinks::rule(&self.settings.uplink),
        };
        self.doors.spawn("uplinks", moving.run(self.doors.token()));
        self.doors.spawn("host keys", pins.run(self.doors.token()));
    }

    /// The monitor drains its cameras and ends; the uploader outlives the recorders.
    pub(super) fn end_in_order(&self, engine: Engine) {
        let registry = &self.parts.registry;
        let (watch, tunnel) = (engine.watch, engine.tunnel);
        let ports = moorline_mon::Ports {
            directory: registry.cameras(),
            claims: registry.claims(),
            memories: registry.memories(),
            workloads: Arc::new(engine.workloads),
            sessions: Arc::new(tunnel.clone()),
            control: Arc::new(tunnel.clone()),
            notifier: engine.notifier,
            audit: registry.audit(),
        };
        self.cameras.needs("alarms", watch.broken());
        let stop = self.cameras.token();
        self.cameras.spawn_vital("monitor", async move {
            let report = watch.run(ports, stop).await;
            if report.left > 0 {
                tracing::warn!(left = report.left, "cameras were not drained in time");
            }
            tunnel.shutdown(CLOSE_DOORS).await;
        });
        self.uploads.needs("uploads", self.parts.archive.ended());
        let archive = self.parts.archive.clone();
        let (stop, budget) = (self.uploads.token(), self.settings.archive.drain.get());
        self.uploads.spawn("uploader", async move {
            stop.cancelled().await;
            archive.shutdown(budget).await;
        });
    }

    /// Metrics and health, to the end.
    pub(super) fn tell_how_it_is(
        &self,
        listener: TcpListener,
        metrics: Metrics,
        readiness: Readiness,
    ) {
        let router = admin::router(metrics.finish(), readiness);
        let (clock, stop) = (Arc::clone(&self.parts.clock), self.uploads.token());
        self.uploads.spawn("admin", async move {
            admin::serve(listener, router, clock, stop).await
        });
    }
}
