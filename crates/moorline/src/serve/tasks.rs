//! What runs, and in which phase of the stop it ends (P8): doors first, then cameras, then what waits for the store.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::admin::{self, Readiness};
use moorline_base::clock::SharedClock;
use moorline_base::metrics::Metrics;
use moorline_base::shutdown::{Drain, Phase};
use moorline_base::supervise::{Next, Supervisor};
use moorline_base::{Backoff, CancellationToken};
use moorline_proxy::FrontDoor;
use moorline_store::Sweeper;
use moorline_web::Site;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::daily::{Look, Tell};
use super::engine::{Engine, stop_budget};
use super::parts::Parts;
use super::pins::{Own, Pins};
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

    /// Players, browsers, and the command line. Gives the players' door.
    pub(super) fn people_may_come(
        &self,
        rtsp: TcpListener,
        https: TcpListener,
        socket: UnixListener,
        engine: &Engine,
        certificate: &Arc<tls::Certificate>,
    ) -> anyhow::Result<FrontDoor> {
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
        let (door, stop) = (front_door.clone(), self.doors.token());
        self.doors
            .spawn_vital("rtsp", async move { door.run(rtsp, stop).await });
        let page = moorline_web::serve::https(
            https,
            tls(&[b"http/1.1"])?,
            router.clone(),
            self.doors.token(),
        );
        self.doors.spawn_vital("https", page);
        let commands = moorline_web::serve::local(socket, router, self.doors.token());
        self.doors.spawn_vital("command line", commands);
        Ok(front_door)
    }

    /// What makes room, measures and verifies, and what says that the server lives.
    pub(super) fn keep_the_store(&self, engine: &Engine, sweeper: &Arc<Sweeper>) {
        let (parts, clock) = (self.parts, &self.parts.clock);
        let sweeper = Arc::clone(sweeper);
        self.again("retention", move |stop| {
            let sweeper = Arc::clone(&sweeper);
            async move { sweeper.run(&stop).await }
        });
        let probing = parts.store.clone().probe_until_answered(
            parts.registry.used_classes(),
            Arc::clone(clock),
            self.doors.token(),
        );
        self.doors.spawn("store probe", probing);
        if let Some(directory) = parts.store.directory.clone() {
            let (usage, time, disk) = (parts.usage.clone(), Arc::clone(clock), directory.clone());
            self.again("room", move |stop| {
                let disk = disk.clone();
                let look = move || {
                    let disk = disk.clone();
                    async move { disk.space().await }
                };
                usage.clone().watch_space(look, Arc::clone(&time), stop)
            });
            let (usage, time) = (parts.usage.clone(), Arc::clone(clock));
            self.again("usage", move |stop| {
                let store = Arc::new(directory.clone());
                usage.clone().watch(store, Arc::clone(&time), stop)
            });
        }
        let heartbeats = engine.heartbeats.clone();
        self.again("heartbeat", move |stop| heartbeats.clone().run(stop));
        self.look_at_the_store_daily(engine);
    }

    fn look_at_the_store_daily(&self, engine: &Engine) {
        let (looking, raising) = (self.site.clone(), Arc::clone(&engine.monitor));
        let look: Look = Arc::new(move |camera, range| {
            let site = looking.clone();
            Box::pin(async move {
                let found = moorline_web::route::verified(&site, &camera, None, range, false).await;
                found.map_err(|problem| problem.title().to_owned())
            })
        });
        let tell: Tell = Arc::new(move |alarm| raising.raise(alarm));
        let (daily, clock) = (self.parts.daily.clone(), Arc::clone(&self.parts.clock));
        let cameras = self.parts.registry.cameras();
        self.again("daily look at the store", move |stop| {
            daily.clone().run(
                Arc::clone(&cameras) as _,
                Arc::clone(&look),
                Arc::clone(&tell),
                Arc::clone(&clock),
                stop,
            )
        });
    }

    /// What is told to cameras' agents and learnt from them.
    pub(super) fn look_after_cameras(&self, engine: &Engine, shelf: Arc<Shelf>, pins: Pins<Own>) {
        let (registry, clock) = (&self.parts.registry, &self.parts.clock);
        let filling = sources::Sources {
            cameras: registry.cameras(),
            admin: registry.cameras(),
            statuses: Arc::clone(&engine.monitor) as _,
            clock: Arc::clone(clock),
        };
        self.again("sources", move |stop| filling.clone().run(stop));
        let rollout = Rollout {
            shelf,
            cameras: registry.cameras(),
            statuses: Arc::clone(&engine.monitor) as _,
            upgrades: Arc::clone(&engine.monitor) as _,
            notifier: Arc::clone(&engine.channels) as _,
            clock: Arc::clone(clock),
        };
        self.again("roll-out", move |stop| rollout.clone().run(stop));
        let moving = uplinks::Uplinks {
            cameras: registry.cameras(),
            admin: registry.cameras(),
            statuses: Arc::clone(&engine.monitor) as _,
            clock: Arc::clone(clock),
            rule: uplinks::rule(&self.settings.uplink),
        };
        self.again("uplinks", move |stop| moving.clone().run(stop));
        self.again("host keys", move |stop| pins.clone().run(stop));
    }

    /// Runs a task until the doors close. One that panics is told and begins again: a server without retention fills its disk and looks well.
    fn again<F>(
        &self,
        name: &'static str,
        task: impl FnMut(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (clock, stop) = (Arc::clone(&self.parts.clock), self.doors.token());
        self.doors.spawn(name, again(name, clock, stop, task));
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
            notifier: engine.channels,
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

async fn again<F>(
    name: &'static str,
    clock: SharedClock,
    stop: CancellationToken,
    mut task: impl FnMut(CancellationToken) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let supervisor = Supervisor::new(name, clock, Backoff::standard(), stop.clone());
    let attempt = move || {
        let running = task(stop.clone());
        async move {
            running.await;
            Ok::<_, Infallible>(Next::Done)
        }
    };
    supervisor.run(attempt).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use moorline_base::SystemClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_begins_again_until_it_is_told_to_stop() {
        let (runs, stop) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
        let counted = Arc::clone(&runs);
        let task = move |stop: CancellationToken| {
            let run = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(run >= 2, "as a fault of ours would");
                stop.cancelled().await;
            }
        };
        let running = again("retention", SystemClock::shared(), stop.clone(), task);
        let running = tokio::spawn(running);
        while runs.load(Ordering::SeqCst) < 3 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        stop.cancel();
        running.await.expect("it ends with the token");
    }
}
