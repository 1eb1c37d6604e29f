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

/// Where an archiver's pod looks for the authority of a store with one of its own: beside that of the inside.
const STORE_AUTHORITY: &str = "store-ca.crt";

/// What the ConfigMap of each tenant's namespace says: public host and host keys, the authority of the inside, and that of the store where it has one
/// of its own. The mounted files are read again.
fn told(settings: &Settings) -> anyhow::Result<BTreeMap<String, String>> {
    let authority = Path::new(&settings.cluster.tls).join("ca.crt");
    let authority = std::fs::read_to_string(&authority)
        .with_context(|| format!("cannot read {}", authority.display()))?;
    let mut config = super::api::tell(settings)?;
    config.insert("ca.crt".to_owned(), authority);
    if let Some(authority) = crate::serve::parts::s3_authority(&settings.s3)? {
        config.insert(STORE_AUTHORITY.to_owned(), authority);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use moorline_workload::args::{Cli, Command};

    use super::*;

    fn settings(place: &Path) -> Settings {
        let mut settings = Settings::default();
        let at = place.to_string_lossy().into_owned();
        settings.cluster.tls.clone_from(&at);
        settings.cluster.known_hosts = at;
        settings
    }

    fn certificate() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["store".to_owned()]).unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn an_archiver_finds_the_authority_of_a_store_with_one_of_its_own_where_it_looks() {
        let place = tempfile::tempdir().unwrap();
        for (file, text) in [("ca.crt", "inside"), ("keys", "")] {
            std::fs::write(place.path().join(file), text).unwrap();
        }
        let mut settings = settings(place.path());
        assert!(!told(&settings).unwrap().contains_key(STORE_AUTHORITY));

        let file = place.path().join("store.pem");
        settings.s3.authority = file.to_string_lossy().into_owned();
        let authority = certificate();
        std::fs::write(&file, &authority).unwrap();
        assert_eq!(told(&settings).unwrap()[STORE_AUTHORITY], authority);

        let typed = "moorline-workload archive --camera acme/yard --gateway mon.moorline:8443 --signer signer.moorline:8444";
        let Command::Archive(archiver) = Cli::parse_from(typed.split(' ')).command else {
            panic!("no archiver");
        };
        // Where the pod's template mounts the ConfigMap.
        let mounted = Path::new("/etc/moorline").join(STORE_AUTHORITY);
        assert_eq!(archiver.store_authority, mounted);
    }

    #[test]
    fn what_is_no_authority_is_refused_before_anything_is_told() {
        let place = tempfile::tempdir().unwrap();
        for (file, text) in [("ca.crt", "inside"), ("keys", "")] {
            std::fs::write(place.path().join(file), text).unwrap();
        }
        let mut settings = settings(place.path());
        let file = place.path().join("store.pem");
        settings.s3.authority = file.to_string_lossy().into_owned();
        let broken = certificate().replacen("MII", "AAA", 1);
        for text in ["", "no certificate", &broken] {
            std::fs::write(&file, text).unwrap();
            let told = format!("{:#}", told(&settings).unwrap_err());
            assert!(told.contains("s3.authority = "), "{text:?}: {told}");
        }
    }
}
