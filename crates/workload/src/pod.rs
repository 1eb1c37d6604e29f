//! What both kinds of workload pods have in common: the way to the gateway, the control connection, metrics, the order of the stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use moorline_base::clock::SystemClock;
use moorline_base::logging::{self, Format};
use moorline_base::metrics::Metrics;
use moorline_base::shutdown::{Drain, Phase, Signals, Stop};
use moorline_base::{CancellationToken, SharedClock, admin, net};
use moorline_core::Generation;
use moorline_core::port::{WorkloadControl, WorkloadOrder, WorkloadReport};
use moorline_gateway::{ControlLink, ControlSettings, Dialer, Endpoint, ServiceAddress, Trust};

use crate::args::PodArgs;

/// Listeners and connections get so long at the end.
const CLOSE: Duration = Duration::from_secs(8);

/// A workload pod while it is put together.
pub(crate) struct Pod {
    pub(crate) clock: SharedClock,
    pub(crate) metrics: Metrics,
    /// To the tunnel gateway.
    pub(crate) gateway: Dialer,
    /// What `/readyz` tells; a part that needs time to begin has a check of its own.
    pub(crate) readiness: admin::Readiness,
    trust: Arc<Trust>,
    signals: Signals,
    drain: Drain,
    /// The workload itself: ends first.
    pub(crate) work: Phase,
    /// Its connections.
    pub(crate) doors: Phase,
}

impl Pod {
    /// Reads the files, begins to log. `budget` is what the workload gets after SIGTERM.
    pub(crate) fn new(args: &PodArgs, budget: Duration) -> anyhow::Result<Self> {
        logging::init_server(&args.log, Format::Json)?;
        let signals = Signals::install()?;
        let clock = SystemClock::shared();
        let trust = Trust::load(args.authority.clone(), Arc::clone(&clock))
            .context("--authority cannot be used")?;
        let trust = Arc::new(trust);
        let gateway = dialer(&args.gateway, &args.gateway_token, &trust, &clock)
            .context("--gateway cannot be used")?;
        let mut drain = Drain::new();
        let work = drain.phase("drain the workload", budget);
        let doors = drain.phase("close connections", CLOSE);
        Ok(Self {
            clock,
            metrics: Metrics::default(),
            gateway,
            readiness: admin::Readiness::new(),
            trust,
            signals,
            drain,
            work,
            doors,
        })
    }

    /// A way to another Service of ours.
    pub(crate) fn dialer(
        &self,
        service: &ServiceAddress,
        token: &std::path::Path,
    ) -> anyhow::Result<Dialer> {
        dialer(service, token, &self.trust, &self.clock)
    }

    /// The control connection to the camera's holder. It outlives the workload's end, so that `drained` is heard.
    pub(crate) fn link(&self, args: &PodArgs, settings: ControlSettings) -> ControlLink {
        let gateway = self.gateway.clone();
        ControlLink::start(gateway, args.camera.clone(), settings, self.doors.token())
    }

    /// Serves metrics and health, and runs until the cluster ends the pod or the workload fails: then the kubelet starts the container again. Whatever may
    /// take long belongs into `work`: before this nobody is told that the pod is alive.
    pub(crate) async fn run(
        self,
        args: &PodArgs,
        work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> anyhow::Result<()> {
        let Self {
            clock,
            metrics,
            readiness,
            mut signals,
            drain,
            work: phase,
            doors,
            ..
        } = self;
        let ready = readiness.check("running");
        let listener = net::listen(args.listen_admin)?;
        let router = admin::router(metrics.finish(), readiness);
        let stop = doors.token();
        doors.spawn("admin", async move {
            admin::serve(listener, router, clock, stop).await
        });
        let mut working = phase.spawn("workload", work);
        ready.ready();
        let failed = loop {
            tokio::select! {
                stop = signals.next() => if stop != Stop::Reload { break None },
                ended = &mut working => break Some(ended.context("the workload was aborted").flatten()),
            }
        };
        tracing::info!(camera = %args.camera, "the pod ends");
        let report = drain.run_with(&mut signals).await;
        if let Some(ended) = failed {
            ended?;
            anyhow::bail!("the workload ended although nobody told it to");
        }
        anyhow::ensure!(report.is_clean(), "not everything was drained in time");
        Ok(())
    }
}

fn dialer(
    service: &ServiceAddress,
    token: &std::path::Path,
    trust: &Arc<Trust>,
    clock: &SharedClock,
) -> anyhow::Result<Dialer> {
    let endpoint = Endpoint {
        service: service.name.clone(),
        port: service.port,
        address: None,
        token: token.to_owned(),
    };
    Ok(Dialer::new(endpoint, Arc::clone(trust), Arc::clone(clock))?)
}

/// The workload's control, which takes the pod's end as an order to drain: a SIGTERM must not cost what was recorded.
pub(crate) fn until_stopped(
    link: &ControlLink,
    stop: &CancellationToken,
    budget: Duration,
) -> Box<dyn WorkloadControl> {
    Box::new(UntilStopped {
        link: link.control(),
        stop: stop.clone(),
        budget: Some(budget),
    })
}

struct UntilStopped {
    link: Box<dyn WorkloadControl>,
    stop: CancellationToken,
    /// What the drain gets; taken when it was told.
    budget: Option<Duration>,
}

#[async_trait]
impl WorkloadControl for UntilStopped {
    async fn order(&mut self) -> Option<WorkloadOrder> {
        let stopped = async {
            self.stop.cancelled().await;
            match self.budget.take() {
                Some(budget) => WorkloadOrder::Drain { budget },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            order = self.link.order() => order,
            order = stopped => Some(order),
        }
    }

    fn report(&self, report: WorkloadReport) {
        self.link.report(report);
    }

    fn has_heard(&self, generation: Generation) -> bool {
        self.link.has_heard(generation)
    }
}

/// After a drain was heard the pod waits to be deleted: a container that exits would be started again.
pub(crate) async fn rest(stop: &CancellationToken) {
    stop.cancelled().await;
}
