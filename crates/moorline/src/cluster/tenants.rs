//! `moorline tenants`: makes a namespace with all that it needs of each Tenant. Its account alone may make namespaces.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use moorline_kube::{TenantSettings, Tenants};

use super::role::Role;
use crate::args::Global;
use crate::settings::Settings;

/// How often the mounted files are looked at.
const LOOK: Duration = Duration::from_secs(30);

/// Runs until SIGTERM.
///
/// # Errors
/// A setting or a file is wrong, or the API server cannot be reached at all.
pub async fn run(global: &Global) -> anyhow::Result<()> {
    let role = Role::new(global, Duration::from_secs(5)).await?;
    let cluster = &role.settings.cluster;
    let config = told(&role.settings)?;
    let settings = TenantSettings {
        namespace: cluster.namespace.clone(),
        mon_account: format!("{}-mon", cluster.release),
        mon_role: format!("{}-mon-workloads", cluster.release),
        owner_role: format!("{}-tenant", cluster.release),
        config,
        outside: super::stores::outside(cluster)?,
        sweeper: cluster.sweeper,
        dns: match cluster.dns.as_str() {
            "" => Vec::new(),
            rules => serde_json::from_str(rules).context("cluster.dns")?,
        },
        store_endpoint: Some(role.settings.s3.endpoint.clone())
            .filter(|endpoint| !endpoint.is_empty()),
    };
    let tenants = Tenants::new(role.directory.clone(), settings, Arc::clone(&role.clock));
    let tenants = Arc::new(tenants);
    let (stop, making) = (role.work.token(), Arc::clone(&tenants));
    role.work
        .spawn_vital("tenants", async move { making.run(stop).await });
    let (stop, clock) = (role.work.token(), Arc::clone(&role.clock));
    let settings = role.settings.clone();
    role.work.spawn("what tenants are told", async move {
        while !moorline_base::clock::sleep(&*clock, LOOK, &stop)
            .await
            .is_cancelled()
        {
            match told(&settings) {
                Ok(config) => tenants.tell(config),
                Err(error) => {
                    tracing::warn!(%error, "tenants are told what they were told before");
                }
            }
        }
    });
    role.run().await
}

/// What the ConfigMap of each tenant's namespace says: public host and host keys, and the inside's authority. The mounted files are read again.
fn told(settings: &Settings) -> anyhow::Result<BTreeMap<String, String>> {
    let authority = Path::new(&settings.cluster.tls).join("ca.crt");
    let authority = std::fs::read_to_string(&authority)
        .with_context(|| format!("cannot read {}", authority.display()))?;
    let mut config = super::api::tell(settings)?;
    config.insert("ca.crt".to_owned(), authority);
    Ok(config)
}
