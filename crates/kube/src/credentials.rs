//! Keys of tenants' own buckets, from the Secrets of one namespace, in memory; a rotation is seen by the watch.
//!
//! Owns: the watch and the reading of `access-key` and `secret-key`. Does not own: which tenant names which Secret, and what a key may.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use moorline_base::CancellationToken;
use moorline_core::Masked;
use tokio::sync::watch;

use crate::call::Connection;
use crate::directory::{Change, feed_in};

/// The key of a Secret with the id of an access key.
const ACCESS: &str = "access-key";
/// The key of a Secret with its secret.
const SECRET: &str = "secret-key";

/// An access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Masked<String>,
    /// Which version of the Secret it stands in.
    pub version: String,
}

/// The keys of one namespace. Clones are the same.
#[derive(Debug, Clone)]
pub struct Credentials(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Connection,
    namespace: String,
    known: RwLock<BTreeMap<String, Option<Credential>>>,
    listed: watch::Sender<bool>,
    changes: watch::Sender<u64>,
}

impl Credentials {
    /// Those of that namespace, or none if it is empty; nothing until [`Credentials::run`] is running.
    pub fn new(client: Client, namespace: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            client: Connection(client),
            namespace: namespace.into(),
            known: RwLock::default(),
            listed: watch::Sender::new(false),
            changes: watch::Sender::new(1),
        }))
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// Watches until `cancel`.
    pub async fn run(&self, cancel: CancellationToken) {
        if self.0.namespace.is_empty() {
            self.0.listed.send_replace(true);
            return cancel.cancelled().await;
        }
        let watching = feed_in::<Secret>(
            self.0.client.0.clone(),
            &self.0.namespace,
            watcher::Config::default(),
            &self.0.listed,
            // Who reads credentials renews no Lease, and hears of no outage.
            watch::channel(0).1,
            |change| self.saw(change),
        );
        tokio::select! {
            () = cancel.cancelled() => {}
            () = watching => {}
        }
    }

    fn saw(&self, change: Change<Secret>) {
        {
            let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
            match change {
                Change::All(all) => {
                    *known = all
                        .iter()
                        .map(|secret| (secret.name_any(), read(secret)))
                        .collect();
                }
                Change::Now(secret) => {
                    known.insert(secret.name_any(), read(&secret));
                }
                Change::Gone(metadata) | Change::Unreadable(metadata) => {
                    known.remove(metadata.name.as_deref().unwrap_or_default());
                }
                Change::Broke => {}
            }
        }
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// The key in the Secret of that name.
    ///
    /// # Errors
    /// What somebody has to do.
    pub fn get(&self, name: &str) -> Result<Credential, String> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        let namespace = &self.0.namespace;
        if namespace.is_empty() {
            return Err(
                "this installation has no buckets of tenants' own: its chart says so".to_owned(),
            );
        }
        match known.get(name) {
            Some(Some(credential)) => Ok(credential.clone()),
            Some(None) => Err(format!(
                "the Secret {name} in namespace {namespace} needs the keys {ACCESS} and {SECRET}"
            )),
            None => Err(format!(
                "there is no Secret {name} in namespace {namespace}: kubectl -n {namespace} create secret generic {name} --from-literal={ACCESS}=… --from-literal={SECRET}=…"
            )),
        }
    }

    /// Returns once they were listed. Cancel-safe; no deadline.
    pub async fn listed(&self) {
        let _ = self.0.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// Counts changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }
}

fn read(secret: &Secret) -> Option<Credential> {
    let text = |key: &str| {
        let bytes = &secret.data.as_ref()?.get(key)?.0;
        let text = std::str::from_utf8(bytes).ok()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    Some(Credential {
        access_key: text(ACCESS)?,
        secret_key: Masked::new(text(SECRET)?),
        version: secret.resource_version().unwrap_or_default(),
    })
}
