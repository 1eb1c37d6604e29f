//! `moorline-workload archive`: the archiver of one camera as a pod.
//!
//! Reads its relay by ticket, keeps what the store has not taken in its spool, puts by presigned requests: it holds no key of the store. It says
//! `drained` when the spool is empty, or after a day in which the store did not take it, and rests until the cluster deletes it. A container that was
//! killed finds its spool again: until what a crash left there is recovered, the pod is alive and not ready.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use moorline_archiver::{Archive, ArchiveMetrics};
use moorline_base::CancellationToken;
use moorline_base::admin::Check;
use moorline_gateway::{ControlSettings, SignedSink, StoreTrust, TicketRelays};

use crate::args::ArchiveArgs;
use crate::pod::{Pod, rest, until_stopped};

/// How long a drained recorder's spool is uploaded: the holder deletes the pod earlier when its own patience ends.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// What stays free on the volume beyond the spool's bound: the file system's own needs.
const FREE: u64 = 16 << 20;

/// Runs until SIGTERM.
///
/// # Errors
/// A file or an address is wrong, the spool is in use; the workload failed.
pub(crate) async fn run(args: ArchiveArgs) -> anyhow::Result<()> {
    let goodbye = args.goodbye.get();
    let mut pod = Pod::new(&args.pod, goodbye)?;
    let signer = pod
        .dialer(&args.signer, &args.signer_token)
        .context("--signer cannot be used")?;
    let trust = StoreTrust::load(args.store_authority.clone(), Arc::clone(&pod.clock))
        .context("--store-authority cannot be used")?;
    let sink = Arc::new(SignedSink::new(signer.clone(), trust));
    let relays = Arc::new(TicketRelays::new(signer));
    let settings = moorline_archiver::Settings {
        segment: args.segment.get(),
        spool_bytes: args.spool_bytes.bytes(),
        min_free_bytes: FREE,
        ..moorline_archiver::Settings::default()
    };
    // The volume's own root belongs to the kubelet, which lets our group write: the spool is a private folder of ours in it.
    let spool = args.spool.join("spool");
    let metrics = ArchiveMetrics::default();
    metrics.register(&mut pod.metrics.registry);
    let opening = Archive::open_counted(spool, sink, Arc::clone(&pod.clock), settings, metrics);
    let link = pod.link(&args.pod, ControlSettings::default());
    let (stop, check) = (pod.work.token(), pod.readiness.check("spool"));
    let work = async move {
        // Not cut short by SIGTERM: what is recovered within the grace can still be uploaded, and the spool may go with the pod.
        let archive = recovered(opening, &check).await?;
        let spec = tokio::select! {
            spec = link.spec() => spec,
            () = stop.cancelled() => None,
        };
        if let Some(spec) = spec {
            // Nothing kills a recorder but the kernel: SIGTERM is an order to drain.
            let kill = CancellationToken::new();
            let control = until_stopped(&link, &stop, goodbye);
            let recorder = archive.recorder_workload(spec, control, relays, kill);
            recorder
                .await
                .map_err(|why| anyhow!("the recorder failed: {why}"))?;
        }
        if stop.is_cancelled() {
            archive.shutdown(goodbye).await;
            return Ok(());
        }
        tokio::select! {
            () = archive.shutdown(PATIENCE) => {}
            () = stop.cancelled() => {
                archive.shutdown(goodbye).await;
                return Ok(());
            }
        }
        link.drained().await;
        rest(&stop).await;
        Ok(())
    };
    pod.run(&args.pod, work).await
}

/// Waits until what a crash left in the spool is recovered, and tells so meanwhile.
async fn recovered<T, E>(
    opening: impl Future<Output = Result<T, E>>,
    check: &Check,
) -> Result<T, E> {
    check.not_ready("recovering what the spool holds");
    let opened = opening.await?;
    check.ready();
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use moorline_base::admin::Readiness;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn an_archiver_that_recovers_its_spool_says_so_and_is_ready_only_then() {
        let readiness = Readiness::new();
        let check = readiness.check("spool");
        let (done, opening) = oneshot::channel();
        let recovering = tokio::spawn(async move { recovered(opening, &check).await });
        tokio::task::yield_now().await;
        let told = Some("recovering what the spool holds".to_owned());
        assert_eq!(readiness.snapshot(), [("spool", told)]);
        done.send(()).unwrap();
        recovering.await.unwrap().unwrap();
        assert!(readiness.is_ready());
    }

    #[tokio::test]
    async fn an_archiver_whose_spool_cannot_be_opened_is_never_ready() {
        let readiness = Readiness::new();
        let check = readiness.check("spool");
        let opening = async { Err::<(), _>("in use") };
        recovered(opening, &check).await.unwrap_err();
        assert!(!readiness.is_ready());
    }
}
