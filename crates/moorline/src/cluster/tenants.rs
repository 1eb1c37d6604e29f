//! `moorline tenants`: makes a namespace with all that it needs of each Tenant. Its account alone may make namespaces.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use moorline_kube::{TenantSettings, Tenants};

use super::role::Role;
use crate::args::Global;

/// Runs until SIGTERM.
///
/// # Errors
/// A setting or a file is wrong, or the API server cannot be reached at all.
pub async fn run(global: &Global) -> anyhow::Result<()> {
    let role = Role::new(global, Duration::from_secs(5)).await?;
    let cluster = &role.settings.cluster;
    let authority = Path::new(&cluster.tls).join("ca.crt");
    let authority = std::fs::read_to_string(&authority)
        .with_context(|| format!("cannot read {}", authority.display()))?;
    let mut config = super::api::tell(&role.settings)?;
    config.insert("ca.crt".to_owned(), authority);
    let settings = TenantSettings {
        namespace: cluster.namespace.clone(),
        mon_account: format!("{}-mon", cluster.release),
        mon_role: format!("{}-mon-workloads", cluster.release),
        owner_role: format!("{}-tenant", cluster.release),
        config,
        outside: super::stores::outside(cluster)?,
        store_endpoint: Some(role.settings.s3.endpoint.clone())
            .filter(|endpoint| !endpoint.is_empty()),
    };
    let tenants = Tenants::new(role.directory.clone(), settings, Arc::clone(&role.clock));
    let stop = role.work.token();
    role.work
        .spawn("tenants", async move { tenants.run(stop).await });
    role.run().await
}
