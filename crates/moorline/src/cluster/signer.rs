//! `moorline signer`: signs puts and tickets for pods. It has no way in from outside, and holds what `mon` must not: the store's key that may put,
//! and the ticket key (rule S18).

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use moorline_base::net;
use moorline_gateway::{Signer, SignerConfig, SignerMetrics, SignerParts, TicketSigner};
use moorline_kube::KubePlaces;
use moorline_store::s3::{TenantPuts, TenantStore};

use super::role::{Role, address};
use crate::args::Global;
use crate::serve::parts;

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
    let bucket = parts::s3_store(&role.settings, &clock)?;
    if !role.listed(true).await {
        tracing::warn!("the API server does not answer: pods are refused until it does");
    }
    let cache = role.directory.cache().clone();
    let identities = role.identities();
    let places = KubePlaces::of_signer(cache.clone(), role.pods.clone());
    // Every tenant's recordings lie in the installation's bucket, under its storage id (rule S26).
    let find = Arc::new(move |tenant: &moorline_core::TenantId| {
        let known = cache.tenant(tenant)?;
        let storage_id = known.status.as_ref()?.storage_id.as_deref()?.parse().ok()?;
        Some(TenantStore {
            store: bucket.clone(),
            storage_id,
        })
    });
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
        .spawn("signer", async move { signer.run(listener, stop).await });
    role.run().await
}
