//! What the roles with a Deployment of their own have in common: settings, log, the API server, TLS, metrics, the order of the stop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use moorline_base::clock::SystemClock;
use moorline_base::error::{Hinted, WithHint as _};
use moorline_base::logging::{self, Format, LogHandle};
use moorline_base::metrics::Metrics;
use moorline_base::shutdown::{Drain, Phase, Signals};
use moorline_base::{SharedClock, admin, net};
use moorline_gateway::{NoService, ServerTls, ServiceAddress, TlsFiles};
use moorline_kube::{
    Client, FrontDoorAccount, KubeDirectory, KubeIdentities, PodCache, Pulse, connect,
};

use crate::args::Global;
use crate::settings::{self, Settings};

/// How long the watches may take to list everything once.
pub(super) const LISTED: Duration = Duration::from_secs(60);
/// Listeners, watches and Leases get so long at the end.
const CLOSE: Duration = Duration::from_secs(8);

/// A role while it is put together.
pub(super) struct Role {
    pub(super) settings: Settings,
    pub(super) log: LogHandle,
    pub(super) clock: SharedClock,
    pub(super) client: Client,
    pub(super) directory: KubeDirectory,
    pub(super) pods: PodCache,
    pub(super) metrics: Metrics,
    pub(super) signals: Signals,
    pub(super) drain: Drain,
    /// What ends first.
    pub(super) work: Phase,
    /// Watches and connections: they outlive the work.
    pub(super) doors: Phase,
}

impl Role {
    /// Reads the settings, begins to log, connects to the API server, starts the watches. `budget` is what the work gets after SIGTERM.
    pub(super) async fn new(global: &Global, budget: Duration) -> anyhow::Result<Self> {
        Self::with(global, |_| budget).await
    }

    /// As [`Role::new`], with a budget that stands in the settings.
    pub(super) async fn with(
        global: &Global,
        budget: impl FnOnce(&Settings) -> Duration,
    ) -> anyhow::Result<Self> {
        let settings = settings::load(&global.data, global.config.as_deref())?;
        let log = logging::init_server(&settings.server.log, Format::Json)?;
        let signals = Signals::install()?;
        let clock = SystemClock::shared();
        let client = connect::in_cluster().hint(|| "this role runs as a pod of the chart")?;
        let directory = KubeDirectory::new(client.clone(), Arc::clone(&clock));
        let pods = PodCache::default();
        let mut drain = Drain::new();
        let work = drain.phase("drain", budget(&settings));
        let doors = drain.phase("close connections", CLOSE);
        let (watching, stop) = (directory.clone(), doors.token());
        doors.spawn_vital("watch of cameras", async move { watching.run(stop).await });
        let mut metrics = Metrics::default();
        let pulse = Pulse::default();
        super::api_server::register(pulse.clone(), &mut metrics.registry);
        let (asked, time, stop) = (client.clone(), Arc::clone(&clock), doors.token());
        doors.spawn("questions to the API server", async move {
            pulse.run(asked, time, stop).await;
        });
        Ok(Self {
            settings,
            log,
            clock,
            client,
            directory,
            pods,
            metrics,
            signals,
            drain,
            work,
            doors,
        })
    }

    /// Watches the pods of all cameras.
    pub(super) fn watch_pods(&self) {
        let (pods, client, stop) = (self.pods.clone(), self.client.clone(), self.doors.token());
        let freshness = self.directory.freshness().clone();
        self.doors.spawn_vital("watch of pods", async move {
            pods.run(client, &freshness, stop).await;
        });
    }

    /// Waits until cameras, and pods if they are watched, are known, for so long. An API server that does not answer is no reason to stay down:
    /// returns whether everything was learnt in time. `None`: the process is to stop; [`Role::leave`].
    pub(super) async fn listed(&mut self, pods: bool, patience: Duration) -> Option<bool> {
        let (directory, cache) = (&self.directory, &self.pods);
        let listed = async {
            directory.listed().await;
            if pods {
                cache.listed().await;
            }
        };
        let waiting = moorline_base::clock::timeout(&*self.clock, patience, listed);
        let listed = unless(self.signals.stopped(), waiting).await?;
        Some(listed.is_ok())
    }

    /// Awaits what else a start waits for. `None`: the process is to stop, and what was awaited is dropped; [`Role::leave`].
    pub(super) async fn unless_stopped<T>(&mut self, part: impl Future<Output = T>) -> Option<T> {
        unless(self.signals.stopped(), part).await
    }

    /// Ends what the start has begun: nothing is served yet, so this takes no time.
    pub(super) async fn leave(self) -> anyhow::Result<()> {
        let Self {
            mut signals, drain, ..
        } = self;
        tracing::info!("stopped before the start was done");
        drain.run_with(&mut signals).await;
        Ok(())
    }

    /// Who shows a token, by what the watches say.
    pub(super) fn identities(&self) -> KubeIdentities {
        let cluster = &self.settings.cluster;
        let front_door = FrontDoorAccount {
            namespace: cluster.namespace.clone(),
            name: cluster.frontdoor_account.clone(),
        };
        KubeIdentities::new(
            self.client.clone(),
            self.directory.cache().clone(),
            self.pods.clone(),
            front_door,
            Arc::clone(&self.clock),
        )
    }

    /// Certificate, key and authority of the cluster's inside.
    pub(super) fn tls(&self) -> anyhow::Result<Arc<ServerTls>> {
        let directory = Path::new(&self.settings.cluster.tls);
        let files = TlsFiles {
            certificate: directory.join("tls.crt"),
            key: directory.join("tls.key"),
            authority: directory.join("ca.crt"),
        };
        let tls = ServerTls::load(files, Arc::clone(&self.clock))
            .context("cluster.tls cannot be used: moorline keys init makes the Secret")?;
        Ok(Arc::new(tls))
    }

    /// Serves metrics and health, and runs until SIGTERM.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self {
            settings,
            clock,
            metrics,
            mut signals,
            drain,
            doors,
            ..
        } = self;
        let readiness = admin::Readiness::new();
        let ready = readiness.check("running");
        let listener = net::listen(address(
            "server.listen_admin",
            &settings.server.listen_admin,
        )?)?;
        let router = admin::router(metrics.finish(), readiness);
        let stop = doors.token();
        doors.spawn("admin", async move {
            admin::serve(listener, router, clock, stop).await
        });
        ready.ready();
        let broken = drain.broken();
        drain.due(&mut signals, || ()).await;
        ready.not_ready("stopping");
        tracing::info!("draining");
        let report = drain.run_with(&mut signals).await;
        anyhow::ensure!(report.is_clean(), "not everything was drained in time");
        anyhow::ensure!(
            !broken.is_cancelled(),
            "a part of the process ended although nobody asked it to; the log names it"
        );
        Ok(())
    }
}

/// Awaits a part of the start, unless the process is told to stop before it is done.
async fn unless<T>(stopped: impl Future<Output = ()>, part: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = part => Some(done),
        () = stopped => None,
    }
}

/// An address of the settings.
pub(super) fn address(field: &str, text: &str) -> anyhow::Result<std::net::SocketAddr> {
    text.parse().map_err(|_| {
        anyhow::Error::from(Hinted::new(
            format!("{field} = {text:?}: no address with a port"),
            "write it like 0.0.0.0:8443",
        ))
    })
}

/// A Service of the settings.
pub(super) fn service(field: &str, text: &str) -> anyhow::Result<ServiceAddress> {
    text.parse()
        .map_err(|why: NoService| anyhow::anyhow!("{field}: {why}"))
}

#[cfg(test)]
mod tests {
    use moorline_base::{CancellationToken, Clock as _};

    use super::super::testing::api::Api;
    use super::*;

    /// P8: a rollout that is taken back while the API server is away waits for no start.
    #[tokio::test]
    async fn a_start_that_waits_for_the_api_server_ends_as_soon_as_it_is_told_to_stop() {
        let api = Api::new(|| SystemClock.wall_ms());
        // Nobody watches, so that nothing is ever listed.
        let directory = KubeDirectory::new(api.client(), SystemClock::shared());
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(unless(stop.cancelled(), directory.listed()).await, None);
        let done = unless(std::future::pending(), async { 7 }).await;
        assert_eq!(done, Some(7));
    }
}
