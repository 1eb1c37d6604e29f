//! `moorline bench cluster`: what a camera waits for, and what it costs, at an installation on Kubernetes that is there already.
//!
//! **Owns** a tenant of its own, which it makes and removes, also when it is interrupted, and simulated cameras that call the SSH service from
//! this machine. What is measured is what the operator's rights show: the cameras' own pictures, and what a watch of Cameras and pods tells. **Does
//! not own** what only the lab can see (docs/reference/benchmarks.md): the first byte in the bucket, a viewer's picture, the API server's audit log.

mod figures;
mod site;
mod stories;
mod story;
mod turn;

use std::net::SocketAddr;

use moorline_base::shutdown::Signals;
use moorline_kube::{Fault, memory_of};
use moorline_simcam::KnownHosts;

use super::report::{Bar, Report, Row};
use super::{pause, progress};
use crate::args::ClusterBench;
use crate::cluster::api::told;
use crate::output;
use figures::Figures;
use site::{Site, public, resolved};
use turn::Turn;

/// How long each replica's watch gets to have the new cameras.
const KNOWN: u64 = 3;
/// What a turn takes beside what is filmed, as progress says it.
const STEPS: u64 = 10;
/// The pods of the chart's `moorline mon`.
const MON: &str = "app.kubernetes.io/name=moorline,app.kubernetes.io/component=mon";

/// Runs it: half a minute and more for each camera.
///
/// # Errors
/// The tenant cannot be made or removed, or a camera does not do a step. What was measured so far is in the report.
pub async fn run(asked: &ClusterBench, report: &mut Report) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    let named = resolved(&asked.ssh).await?;
    let site = Site::connect(asked).await?;
    site.make(asked.cameras).await?;
    let mut figures = Figures::default();
    let measured = tokio::select! {
        measured = measure(&site, asked, &named, &mut figures, report) => measured,
        () = signals.stopped() => Err(anyhow::anyhow!("it was interrupted")),
    };
    figures.tell(report);
    output::say(&format!("tenant {} is removed", asked.tenant));
    let removed = tokio::select! {
        removed = site.remove() => removed,
        () = signals.stopped() => Err(site.left("it was interrupted again")),
    };
    if let (Err(_), Err(left)) = (&measured, &removed) {
        output::say(&moorline_base::error::report(left.as_ref()));
    }
    measured.and(removed)
}

async fn measure(
    site: &Site,
    asked: &ClusterBench,
    named: &[SocketAddr],
    figures: &mut Figures,
    report: &mut Report,
) -> anyhow::Result<()> {
    let count = u64::from(asked.cameras);
    progress(
        &format!("cluster: {count} cameras, one after another"),
        count * (3 * asked.seconds + STEPS),
    );
    if let Ok(version) = site.client.apiserver_version().await {
        report.peer("Kubernetes", &version.git_version);
    }
    report.note("machine and version are those of the bench; the installation's are its own, and its nodes should have the image");
    report.note("Archiving: the archiver is told to record. The first byte in the bucket, viewers and refused writes are measured by the lab's tests");
    site.until_ready().await?;
    let says = site.says().await?;
    let servers = match named {
        [] => resolved(&[public(&says)?]).await?,
        named => named.to_vec(),
    };
    if servers.len() < 2 {
        report.note("takeover was left out: it takes the addresses of two replicas (--ssh HOST:PORT --ssh HOST:PORT)");
    }
    let pins = says.get(told::KNOWN_HOSTS).cloned().unwrap_or_default();
    let known_hosts = KnownHosts::parse(pins.lines())?;
    let watching = site.watch().await?;
    let cameras = site.add(asked.cameras).await?;
    pause(KNOWN).await;
    for (number, camera) in (1..).zip(&cameras) {
        output::say(&format!("  camera {number} of {count}"));
        let turn = Turn {
            camera,
            servers: &servers,
            known_hosts: &known_hosts,
            stories: &watching.stories,
            films: asked.seconds,
            patience: asked.patience.get(),
        };
        let taken = turn.take(figures).await;
        figures.broke = watching.stories.broke();
        taken?;
    }
    memory(site, asked, report).await;
    Ok(())
}

/// What the replicas of mon use afterwards, if the cluster tells.
async fn memory(site: &Site, asked: &ClusterBench, report: &mut Report) {
    let left_out = match memory_of(&site.client, &*site.clock, &asked.namespace, MON).await {
        Ok(pods) if pods.is_empty() => format!(
            "no pod of it was measured in namespace {} (--namespace)",
            asked.namespace
        ),
        Ok(pods) => {
            for (name, bytes) in pods {
                let what = format!("memory of {name} afterwards, working set");
                report.row(Row::new(what, bytes as f64 / 1e6, "MB", None, Bar::None));
            }
            return;
        }
        Err(Fault::Missing) => "the cluster has no metrics server".to_owned(),
        Err(fault) => fault.to_string(),
    };
    report.note(format!("memory of mon was left out: {left_out}"));
}
