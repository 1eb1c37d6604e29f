//! Where each tenant records to: the installation's bucket, or one of its own with keys from a Secret.
//!
//! **Owns** one client per tenant with a bucket of its own: made when the Tenant names it and its Secret is there, tried before it is used, made anew when
//! either changes, so that keys are rotated without a restart. While new keys of the same bucket do not work the old ones stay in use. **Does not
//! own** what is done with a store: signer, front door and sweeper have keys of their own for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use moorline_base::error::Hinted;
use moorline_base::{CancellationToken, Secret, SharedClock};
use moorline_core::TenantId;
use moorline_core::outside::Outside;
use moorline_core::port::{SegmentStore as _, StoreError};
use moorline_kube::resource::{Tenant, TenantStore as Wanted};
use moorline_kube::{Cache, Client, Credential, Credentials, KubeTenants};
use moorline_store::s3::TenantStore;
use moorline_store::{S3Config, S3Store};

use super::role::Role;
use crate::settings::Cluster;

/// A bucket that did not work is tried again after so long.
const AGAIN: Duration = Duration::from_secs(30);
/// One that works too, after so long: its key may be revoked where nobody here sees it.
const LOOK: Duration = Duration::from_secs(600);
/// How many buckets are tried at once.
const AT_ONCE: usize = 8;

/// What the keys of a role may, and who hears how it went.
#[derive(Clone)]
pub(super) enum Keys {
    /// The signer's: put, head, list. It says on the Tenant whether the bucket works.
    Put(KubeTenants),
    /// The sweeper's: list, delete. It says so too.
    Delete(KubeTenants),
    /// The front door's: get, list. It may write no Tenant: its log says so.
    Get,
}

impl Keys {
    /// The condition of the Tenant about these keys, and who writes it.
    fn condition(&self) -> Option<(&'static str, &KubeTenants)> {
        match self {
            Self::Put(tenants) => Some(("StoreReady", tenants)),
            Self::Delete(tenants) => Some(("StoreSweepable", tenants)),
            Self::Get => None,
        }
    }

    /// Tries what is needed; says what somebody must know although it works.
    async fn try_out(&self, store: &S3Store) -> Result<String, StoreError> {
        match self {
            Self::Put(_) => {
                let found = store.probe_puts().await?.problems();
                let told: Vec<&str> = found.iter().map(|problem| problem.explanation()).collect();
                Ok(told.join("; "))
            }
            Self::Delete(_) | Self::Get => store.list("v1/", "").await.map(|_| String::new()),
        }
    }
}

/// A tenant's own bucket.
struct Own {
    wanted: Wanted,
    version: String,
    /// One that worked.
    store: Option<S3Store>,
    /// Whether it worked when it was tried last.
    works: bool,
    /// When it is tried again.
    again: Instant,
}

/// The key of the installation's bucket, as it is mounted.
pub(super) struct Mounted {
    settings: crate::settings::S3,
    /// What is in use.
    seen: Mutex<Option<(String, Secret<String>)>>,
}

impl Mounted {
    /// `None`: the key stands in the settings themselves.
    pub(super) fn of(settings: &crate::settings::S3) -> Option<Self> {
        (!settings.key_dir.is_empty()).then(|| Self {
            settings: settings.clone(),
            seen: Mutex::new(crate::serve::parts::s3_key(settings).ok()),
        })
    }

    /// Uses a key that was exchanged, once it works: until then it is tried again with each look.
    async fn look(&self, bucket: &S3Store) {
        let (access, secret) = match crate::serve::parts::s3_key(&self.settings) {
            Ok(key) => key,
            Err(error) => {
                return tracing::warn!(%error, "the key of the bucket cannot be read: the old one stays in use");
            }
        };
        let same = |seen: &(String, Secret<String>)| seen.0 == access && seen.1 == secret;
        if self.seen().as_ref().is_some_and(same) {
            return;
        }
        match bucket.change_key(&access, &secret).await {
            Ok(()) => {
                tracing::info!(access, "the bucket has a new key");
                *self.seen() = Some((access, secret));
            }
            Err(error) => {
                tracing::warn!(access, %error, "the new key of the bucket does not work: the old one stays in use");
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Option<(String, Secret<String>)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stores of all tenants. Clones are the same.
#[derive(Clone)]
pub(super) struct Stores(Arc<Inner>);

struct Inner {
    cache: Cache,
    credentials: Credentials,
    installation: S3Store,
    /// Where the key of the installation's bucket is read again.
    key: Option<Mounted>,
    outside: Outside,
    keys: Keys,
    clock: SharedClock,
    own: RwLock<HashMap<TenantId, Own>>,
}

/// Where tenants' own buckets may lie.
///
/// # Errors
/// A setting is no network.
pub(super) fn outside(cluster: &Cluster) -> anyhow::Result<Outside> {
    Outside::new(&cluster.store_private, cluster.store_http).map_err(|text| {
        let field = format!("cluster.store_private = {text:?}: no network");
        Hinted::new(field, "write it like 10.0.0.0/8").into()
    })
}

impl Stores {
    /// Over the tenants of a role, with the keys of `namespace`. Nothing is tried until [`Stores::run`] is running.
    pub(super) fn new(
        role: &Role,
        keys: impl FnOnce(KubeTenants) -> Keys,
        namespace: &str,
    ) -> anyhow::Result<Self> {
        let installation = crate::serve::parts::s3_store(&role.settings, &role.clock)?;
        let parts = (role.client.clone(), role.directory.cache().clone());
        let outside = outside(&role.settings.cluster)?;
        Ok(Self::with(
            parts,
            keys,
            namespace,
            (installation, Mounted::of(&role.settings.s3)),
            outside,
            Arc::clone(&role.clock),
        ))
    }

    pub(super) fn with(
        (client, cache): (Client, Cache),
        keys: impl FnOnce(KubeTenants) -> Keys,
        namespace: &str,
        (installation, key): (S3Store, Option<Mounted>),
        outside: Outside,
        clock: SharedClock,
    ) -> Self {
        let tenants = KubeTenants::new(client.clone(), Arc::clone(&clock));
        Self(Arc::new(Inner {
            cache,
            credentials: Credentials::new(client, namespace),
            installation,
            key,
            outside,
            keys: keys(tenants),
            clock,
            own: RwLock::default(),
        }))
    }

    /// The installation's bucket.
    pub(super) fn installation(&self) -> &S3Store {
        &self.0.installation
    }

    /// Where that tenant records to, from memory. `None`: it is unknown, has no storage id yet, or its own bucket has never worked.
    pub(super) fn find(&self, tenant: &TenantId) -> Option<TenantStore> {
        let known = self.0.cache.tenant(tenant)?;
        let storage_id = known.status.as_ref()?.storage_id.as_deref()?.parse().ok()?;
        let store = match &known.spec.store {
            None => self.0.installation.clone(),
            Some(wanted) if self.is_installations(wanted) => self.0.installation.clone(),
            Some(wanted) => self.own(|own| {
                let own = own.get(tenant)?;
                own.store.clone().filter(|_| own.wanted == *wanted)
            })?,
        };
        Some(TenantStore { store, storage_id })
    }

    /// Before a Tenant could leave it out, `store` named the installation's bucket and nothing else; so it still does.
    fn is_installations(&self, wanted: &Wanted) -> bool {
        wanted.endpoint.is_none() && wanted.bucket == self.0.installation.bucket()
    }

    /// All buckets that work, each once: the installation's, and those of tenants of their own.
    pub(super) fn all(&self) -> Vec<S3Store> {
        let own = self.own(|own| -> Vec<(String, S3Store)> {
            let working = own.values().filter_map(|own| {
                let place = format!("{:?} {}", own.wanted.endpoint, own.wanted.bucket);
                Some((place, own.store.clone()?))
            });
            working.collect()
        });
        let unique: HashMap<String, S3Store> = own.into_iter().collect();
        std::iter::once(self.0.installation.clone())
            .chain(unique.into_values())
            .collect()
    }

    fn own<T>(&self, change: impl FnOnce(&mut HashMap<TenantId, Own>) -> T) -> T {
        change(&mut self.0.own.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns once the keys are known. Cancel-safe; no deadline.
    pub(super) async fn listed(&self) {
        self.0.credentials.listed().await;
    }

    /// Watches keys and tenants and keeps the clients right, until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let watching = self.0.credentials.run(stop.clone());
        let keeping = async {
            self.listed().await;
            let mut keys = self.0.credentials.changes();
            let mut tenants = self.0.cache.tenant_changes();
            loop {
                keys.borrow_and_update();
                tenants.borrow_and_update();
                self.pass().await;
                tokio::select! {
                    slept = moorline_base::clock::sleep(&*self.0.clock, AGAIN, &stop) => if slept.is_cancelled() { return },
                    Ok(()) = keys.changed() => {}
                    Ok(()) = tenants.changed() => {}
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = watching => {}
            () = keeping => {}
        }
    }

    /// Tries every bucket that is new, was changed, or is due again.
    pub(super) async fn pass(&self) {
        if let Some(key) = &self.0.key {
            key.look(&self.0.installation).await;
        }
        let tenants = self.0.cache.tenants();
        self.own(|own| {
            own.retain(|id, _| {
                tenants.iter().any(|tenant| {
                    tenant.metadata.name.as_deref() == Some(id.as_str())
                        && tenant.spec.store.is_some()
                })
            });
        });
        let mut work = Vec::new();
        for tenant in tenants {
            let id = tenant.metadata.name.as_deref().map(str::parse::<TenantId>);
            let (Some(Ok(id)), Some(wanted)) = (id, tenant.spec.store.clone()) else {
                continue;
            };
            if self.is_installations(&wanted) {
                continue;
            }
            let credential = self.0.credentials.get(&wanted.secret);
            if self.is_due(&id, &wanted, credential.as_ref().ok()) {
                work.push(self.take(id, tenant, wanted, credential));
            }
        }
        futures::stream::iter(work)
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<()>>()
            .await;
    }

    fn is_due(&self, id: &TenantId, wanted: &Wanted, credential: Option<&Credential>) -> bool {
        let now = self.0.clock.monotonic();
        let version = credential.map_or("", |credential| &credential.version);
        self.own(|own| {
            own.get(id).is_none_or(|own| {
                own.wanted != *wanted || own.version != version || own.again <= now
            })
        })
    }

    async fn take(
        &self,
        id: TenantId,
        tenant: Arc<Tenant>,
        wanted: Wanted,
        credential: Result<Credential, String>,
    ) {
        let version = credential
            .as_ref()
            .map_or_else(|_| String::new(), |credential| credential.version.clone());
        let tried = self.try_out(&wanted, credential).await;
        let (holds, reason, message) = match &tried {
            Ok((_, told)) if told.is_empty() => (true, "Works", String::new()),
            Ok((_, told)) => (true, "WorksBut", told.clone()),
            Err((reason, message)) => (false, *reason, message.clone()),
        };
        let again = self.0.clock.monotonic() + if holds { LOOK } else { AGAIN };
        let worked = self.own(|own| {
            let before = own.remove(&id).filter(|before| before.wanted == wanted);
            let worked = before.as_ref().is_some_and(|before| before.works);
            let store = match tried {
                Ok((store, _)) => Some(store),
                // Its old keys may still work; other buckets' do not.
                Err(_) => before.and_then(|before| before.store),
            };
            let now = Own {
                wanted,
                version,
                store,
                works: holds,
                again,
            };
            own.insert(id.clone(), now);
            worked
        });
        if holds && !worked {
            tracing::info!(tenant = %id, "its own bucket works");
        } else if !holds {
            tracing::warn!(tenant = %id, reason, message, "its own bucket does not work");
        }
        let Some((kind, tenants)) = self.0.keys.condition() else {
            return;
        };
        if says(&tenant, kind, holds, reason, &message) {
            return;
        }
        let said = tenants.say(&id, kind, holds, reason, &message).await;
        if let Err(fault) = said {
            tracing::warn!(tenant = %id, %fault, "the state of its bucket was not told");
        }
    }

    async fn try_out(
        &self,
        wanted: &Wanted,
        credential: Result<Credential, String>,
    ) -> Result<(S3Store, String), (&'static str, String)> {
        let credential = credential.map_err(|message| ("SecretMissing", message))?;
        let config = S3Config {
            endpoint: wanted.endpoint.clone(),
            region: wanted
                .region
                .clone()
                .unwrap_or_else(|| "us-east-1".to_owned()),
            bucket: wanted.bucket.clone(),
            access_key: credential.access_key.clone(),
            secret_key: Secret::new(credential.secret_key.reveal().clone()),
            path_style: None,
            digest: moorline_store::s3::Digest::Md5,
            verify: moorline_store::s3::Verify::Head,
            authority: self.0.installation.authority().map(str::to_owned),
        };
        let store = S3Store::of_tenant(config, &self.0.outside, Arc::clone(&self.0.clock));
        let store = store.map_err(|error| ("StoreRefused", format!("spec.store.{error}")))?;
        match self.0.keys.try_out(&store).await {
            Ok(told) => Ok((store, told)),
            Err(error @ StoreError::Unavailable(_)) => Err((
                "StoreUnavailable",
                format!("check spec.store.endpoint: {error}"),
            )),
            Err(error) => Err((
                "StoreRefused",
                format!(
                    "check bucket, region and policy, and the Secret {} in namespace {}: {error}",
                    wanted.secret,
                    self.0.credentials.namespace()
                ),
            )),
        }
    }
}

/// Whether its status says that already.
fn says(tenant: &Tenant, kind: &str, holds: bool, reason: &str, message: &str) -> bool {
    let conditions = tenant.status.iter().flat_map(|status| &status.conditions);
    let said = conditions
        .into_iter()
        .find(|condition| condition.type_ == kind);
    said.is_some_and(|said| {
        (said.status == "True") == holds && said.reason == reason && said.message == message
    })
}

#[cfg(test)]
mod tests;
