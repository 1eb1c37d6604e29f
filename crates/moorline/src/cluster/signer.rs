//! `moorline signer`: signs puts and tickets for pods. It has no way in from outside, and holds what `mon` must not: the store's key that may put,
//! and the ticket key (rule S18).

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use moorline_base::net;
use moorline_base::{CancellationToken, Clock};
use moorline_gateway::{Signer, SignerConfig, SignerMetrics, SignerParts, TicketSigner};
use moorline_kube::KubePlaces;
use moorline_store::S3Store;
use moorline_store::s3::TenantPuts;

use super::role::{LISTED, Role, address};
use super::stores::{Keys, Stores};
use crate::args::Global;

/// Runs until SIGTERM.
///
/// # Errors
/// A setting or a file is wrong, or the API server cannot be reached at all.
pub async fn run(global: &Global) -> anyhow::Result<()> {
    let mut role = Role::new(global, Duration::from_secs(5)).await?;
    role.watch_pods();
    let cluster = role.settings.cluster.clone();
    let clock = Arc::clone(&role.clock);
    let listener = net::listen(address("cluster.listen_signer", &cluster.listen_signer)?)?;
    let tickets = TicketSigner::load((&cluster.ticket_key).into(), Arc::clone(&clock))
        .context("cluster.ticket_key cannot be used: moorline keys init makes it")?;
    let stores = Stores::new(&role, Keys::Put, &cluster.store_put)?;
    let (keeping, stop) = (stores.clone(), role.doors.token());
    role.doors
        .spawn("tenants' stores", async move { keeping.run(stop).await });
    let (bucket, stop) = (stores.installation().clone(), role.doors.token());
    let probing = Arc::clone(&clock);
    role.doors.spawn("probe of the bucket", async move {
        probe(&bucket, &*probing, stop).await;
    });
    let Some(listed) = role.listed(true, LISTED).await else {
        return role.leave().await;
    };
    if !listed {
        tracing::warn!("the API server does not answer: pods are refused until it does");
    }
    let cache = role.directory.cache().clone();
    let identities = role.identities();
    let (following, stop) = (identities.clone(), role.doors.token());
    role.doors.spawn_vital("keys of tokens", async move {
        following.follow_issuer(stop).await
    });
    let places = KubePlaces::of_signer(cache.clone(), role.pods.clone());
    // Each tenant's recordings lie under its storage id (rule S26).
    let find = Arc::new(move |tenant: &moorline_core::TenantId| stores.find(tenant));
    let signer = Signer::new(
        SignerParts {
            clock,
            identities: Arc::new(identities),
            places: Arc::new(places.clone()),
            policy: Arc::new(places),
            puts: Arc::new(TenantPuts::new(find)),
            tickets: Arc::new(tickets),
            tls: role.tls()?,
            metrics: SignerMetrics::register(&mut role.metrics.registry),
        },
        SignerConfig::default(),
    );
    let stop = role.work.token();
    role.work
        .spawn_vital("signer", async move { signer.run(listener, stop).await });
    role.run().await
}

/// Finds out once what the installation's bucket does: until then an ETag is taken for an MD5, and puts of a store where it is none are not
/// confirmed and wait in their spools.
async fn probe(bucket: &S3Store, clock: &dyn Clock, stop: CancellationToken) {
    let mut backoff = moorline_base::Backoff::standard();
    loop {
        let probed = tokio::select! {
            () = stop.cancelled() => return,
            probed = bucket.probe_puts() => probed,
        };
        match probed {
            Ok(profile) => {
                for problem in profile.problems() {
                    tracing::warn!(?problem, "the bucket: {}", problem.explanation());
                }
                return;
            }
            Err(error) => {
                let retry_in = backoff.next_delay();
                tracing::warn!(%error, ?retry_in, "the bucket cannot be used");
                if moorline_base::clock::sleep(clock, retry_in, &stop)
                    .await
                    .is_cancelled()
                {
                    return;
                }
            }
        }
    }
}
