//! The reconciler of Tenants: from a resource to a namespace with all that its cameras need, and back to nothing.
//!
//! ```text
//! made      → finalizer, storage id (once, by compare-and-swap), namespace and what it holds (applied whole) → its quota is counted → Ready
//! suspended → nothing here: every replica's watch disables its cameras; Ready says so
//! deleted   → its Cameras are deleted, each drains by itself → none left, and recordings erased or kept on purpose → namespace deleted
//!             → finalizer taken away
//! ```
//! A tenant that is made again gets another storage id: objects of the old one are nobody's to read (rule S26).
//! Only this part's account may make namespaces. By state, each minute and after each change; a failure is a condition and is tried again.

mod admin;
mod objects;
mod told;

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
    Preconditions,
};
use kube::core::PartialObjectMeta;
use kube::{Api, ResourceExt as _};
use moorline_base::{CancellationToken, SharedClock};
use rand::Rng as _;
use serde_json::json;
use tokio::sync::watch;

pub use admin::{KubeTenants, TenantAdminError, TenantChange, ready};
pub use objects::{CLASSES, MAX_RETENTION_DAYS, TenantSettings};

use crate::call::{CALL, Connection, Fault, call};
use crate::directory::KubeDirectory;
use crate::events::Events;
use crate::resource::{
    Camera, ConditionKind, OnDelete, RECORDINGS_FINALIZER, Tenant, TenantStatus, set_condition,
};
use objects::{Made, objects};
use told::{Told, advised};

/// The field manager of all that is applied here.
const MANAGER: &str = "moorline-tenants";
/// Who tells Events.
const PART: &str = "moorline.dev/tenants";
/// Between two passes over all tenants, whether they changed or not: 2,000 tenants are some 24,000 calls.
const EVERY: Duration = Duration::from_secs(600);
/// Between two looks at a tenant that is being removed, or that failed.
const AGAIN: Duration = Duration::from_secs(5);
/// Until the quota controller has looked at a quota that was made just now.
const SHORTLY: Duration = Duration::from_millis(500);
/// Cameras of a tenant that are listed at once.
const PAGE: u32 = 500;
/// The reason while it has not.
const QUOTA_PENDING: &str = "QuotaPending";
/// And while it does not count Cameras.
const QUOTA_UNKNOWN: &str = "QuotaUnknown";
/// The reasons while a tenant that is removed waits.
const WAITS_FOR_CAMERAS: &str = "Draining";
const ERASING: &str = "Erasing";
/// The reason while a tenant is to be erased and nothing can.
const NO_SWEEPER: &str = "NoSweeper";
/// Letters and digits of a storage id; 36^12 of them, so that two are never the same.
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// How far a tenant is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Done {
    Ready,
    /// It is there, and something that it says cannot be: somebody has to act.
    Wrong(&'static str, String),
    /// It is being removed, and waits for this.
    Waits(&'static str, String),
    Gone,
}

fn nobody_erases(name: &str) -> String {
    format!(
        "nothing here may delete recordings: name a Secret with a key that may in sweeper.secret of the chart, or keep them by \
         `moorline tenant set {name} --on-delete keep --cluster`"
    )
}

fn storage_id() -> String {
    let mut random = rand::rng();
    let letter = |_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]);
    (0..12).map(letter).collect()
}

/// The reconciler.
#[derive(Debug)]
pub struct Tenants {
    client: Connection,
    directory: KubeDirectory,
    settings: watch::Sender<TenantSettings>,
    clock: SharedClock,
}

impl Tenants {
    /// Over the watch of `directory`.
    pub fn new(directory: KubeDirectory, settings: TenantSettings, clock: SharedClock) -> Self {
        Self {
            client: Connection(directory.client().clone()),
            directory,
            settings: watch::Sender::new(settings),
            clock,
        }
    }

    /// What pods and people are told is this from now on: each tenant's namespace is brought up to it.
    pub fn tell(&self, config: std::collections::BTreeMap<String, String>) {
        self.settings.send_if_modified(|settings| {
            let news = settings.config != config;
            settings.config = config;
            news
        });
    }

    /// Reconciles until `cancel`.
    pub async fn run(&self, cancel: CancellationToken) {
        let mut changes = self.directory.cache().tenant_changes();
        // Which version of each tenant is as it should be.
        let mut settled: HashMap<String, Option<i64>> = HashMap::new();
        let mut full = self.clock.monotonic() + EVERY;
        let mut told = self.settings.subscribe();
        let client = self.client.0.clone();
        let events = Events::new(client, self.clock.clone(), PART, MANAGER.to_owned());
        let mut news = Told::new(events);
        loop {
            changes.borrow_and_update();
            if told.has_changed().unwrap_or(false) {
                told.borrow_and_update();
                settled.clear();
            }
            if self.clock.monotonic() >= full {
                settled.clear();
                full = self.clock.monotonic() + EVERY;
            }
            let mut wait = EVERY;
            let tenants = self.directory.cache().tenants();
            news.keep(tenants.iter().map(|tenant| &**tenant));
            for tenant in tenants {
                news.look(&tenant);
                let (name, version) = (tenant.name_any(), tenant.metadata.generation);
                let leaving = tenant.metadata.deletion_timestamp.is_some();
                if !leaving && settled.get(&name) == Some(&version) {
                    continue;
                }
                match self.reconcile(&tenant).await {
                    Ok(Done::Ready | Done::Wrong(..)) => {
                        settled.insert(name, version);
                    }
                    Ok(Done::Gone) => {
                        settled.remove(&name);
                    }
                    Ok(Done::Waits(QUOTA_PENDING, _)) => wait = wait.min(SHORTLY),
                    Ok(Done::Waits(..)) => wait = wait.min(AGAIN),
                    // Somebody else has written its status: the watch tells how it is now.
                    Err(Fault::Conflict) => wait = wait.min(AGAIN),
                    Err(fault) => {
                        tracing::warn!(tenant = %name, %fault, "a tenant is not as it should be");
                        wait = wait.min(AGAIN);
                    }
                }
                if cancel.is_cancelled() {
                    return;
                }
            }
            tokio::select! {
                slept = moorline_base::clock::sleep(&*self.clock, wait, &cancel) => if slept.is_cancelled() { return },
                Ok(()) = changes.changed() => {}
                Ok(()) = told.changed() => settled.clear(),
            }
        }
    }

    async fn reconcile(&self, tenant: &Tenant) -> Result<Done, Fault> {
        let name = tenant.name_any();
        let leaving = tenant.metadata.deletion_timestamp.is_some();
        let ours = tenant
            .finalizers()
            .iter()
            .any(|name| name == RECORDINGS_FINALIZER);
        if leaving && !ours {
            return Ok(Done::Gone);
        }
        let tenant = if ours {
            tenant.clone()
        } else {
            self.mark(tenant).await?
        };
        let tenant = self.with_storage_id(tenant).await?;
        let done = if leaving {
            self.remove(&tenant, &name).await
        } else {
            match self.make(&tenant, &name).await {
                Ok(Done::Ready) => Ok(self.wrong(&tenant).unwrap_or(Done::Ready)),
                other => other,
            }
        };
        if done != Ok(Done::Gone) {
            self.say(&tenant, &done).await?;
        }
        done
    }

    /// What the tenant asks for and does not get (rule S17): its cameras would record to nowhere.
    fn wrong(&self, tenant: &Tenant) -> Option<Done> {
        let endpoint = tenant.spec.store.as_ref()?.endpoint.as_ref()?;
        let right = self.settings.borrow().outside.check(endpoint).err()?;
        let message = format!("spec.store.endpoint = {endpoint:?}: {right}");
        Some(Done::Wrong("StoreRefused", message))
    }

    fn api(&self) -> Api<Tenant> {
        Api::all(self.client.0.clone())
    }

    async fn mark(&self, tenant: &Tenant) -> Result<Tenant, Fault> {
        let mut finalizers = tenant.finalizers().to_vec();
        finalizers.push(RECORDINGS_FINALIZER.into());
        self.set_finalizers(tenant, finalizers).await
    }

    async fn set_finalizers(
        &self,
        tenant: &Tenant,
        finalizers: Vec<String>,
    ) -> Result<Tenant, Fault> {
        let patch = json!({"metadata": {"resourceVersion": tenant.resource_version(), "finalizers": finalizers}});
        let (api, name) = (self.api(), tenant.name_any());
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        call(&*self.clock, CALL, api.patch(&name, &parameters, &patch)).await
    }

    async fn with_storage_id(&self, tenant: Tenant) -> Result<Tenant, Fault> {
        let has = tenant
            .status
            .as_ref()
            .is_some_and(|status| status.storage_id.is_some());
        if has || tenant.metadata.deletion_timestamp.is_some() {
            return Ok(tenant);
        }
        let id = storage_id();
        self.put_status(&tenant, |status| status.storage_id = Some(id.clone()))
            .await
    }

    async fn put_status(
        &self,
        tenant: &Tenant,
        change: impl FnOnce(&mut TenantStatus),
    ) -> Result<Tenant, Fault> {
        let mut next = tenant.clone();
        let generation = next.metadata.generation;
        let status = next.status.get_or_insert_default();
        change(status);
        status.observed_generation = generation;
        if next.status == tenant.status {
            return Ok(next);
        }
        let (api, name, parameters) = (self.api(), tenant.name_any(), PostParams::default());
        let put = call(
            &*self.clock,
            CALL,
            api.replace_status(&name, &parameters, &next),
        )
        .await?;
        self.directory.cache().saw_tenant(put.clone());
        Ok(put)
    }

    async fn say(&self, tenant: &Tenant, done: &Result<Done, Fault>) -> Result<(), Fault> {
        let (ready, reason, message) = match done {
            Ok(Done::Ready) if tenant.spec.suspended => {
                (false, "Suspended", "no camera of it may connect".to_owned())
            }
            Ok(Done::Ready | Done::Gone) => (true, "Ready", String::new()),
            Ok(Done::Wrong(reason, message) | Done::Waits(reason, message)) => {
                (false, *reason, message.clone())
            }
            Err(fault) => (false, fault.reason(), advised(fault)),
        };
        let now = jiff::Timestamp::from_millisecond(self.clock.wall_ms()).unwrap_or_default();
        let kind = ConditionKind::Ready.as_str();
        self.put_status(tenant, |status| {
            set_condition(&mut status.conditions, kind, ready, reason, &message, now);
        })
        .await
        .map(|_| ())
    }

    async fn make(&self, tenant: &Tenant, name: &str) -> Result<Done, Fault> {
        let all = objects(tenant, name, &self.settings.borrow());
        for made in &all {
            self.apply(made).await?;
        }
        self.counted(name, &all).await
    }

    /// Whether the cluster counts what the quota bounds. A quota that was made before the quota controller knew of Cameras (it looks for new resources
    /// each 30 s) stays unknown, and every Camera is refused, until its spec changes or five minutes are over: it is made again instead.
    async fn counted(&self, name: &str, all: &[Made]) -> Result<Done, Fault> {
        let quotas: Api<ResourceQuota> =
            Api::namespaced(self.client.0.clone(), &format!("t-{name}"));
        let quota = call(&*self.clock, CALL, quotas.get(objects::QUOTA)).await?;
        let Some(used) = quota.status.and_then(|status| status.used) else {
            let message = "the quota controller has not looked at its quota yet";
            return Ok(Done::Waits(QUOTA_PENDING, message.into()));
        };
        if used.contains_key(objects::COUNTED) {
            return Ok(Done::Ready);
        }
        let parameters = DeleteParams::default().preconditions(Preconditions {
            uid: quota.metadata.uid,
            resource_version: None,
        });
        match call(
            &*self.clock,
            CALL,
            quotas.delete(objects::QUOTA, &parameters),
        )
        .await
        {
            Ok(_) | Err(Fault::Missing) => {}
            Err(fault) => return Err(fault),
        }
        for made in all.iter().filter(|made| made.plural == "resourcequotas") {
            self.apply(made).await?;
        }
        let message = "the quota controller does not count Cameras yet: it looks for new resources every 30 s";
        Ok(Done::Waits(QUOTA_UNKNOWN, message.into()))
    }

    async fn apply(&self, made: &Made) -> Result<(), Fault> {
        let text = |pointer: &str| {
            made.object
                .pointer(pointer)
                .and_then(|text| text.as_str())
                .unwrap_or_default()
        };
        let api_version = text("/apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.to_owned(),
            kind: text("/kind").to_owned(),
            plural: made.plural.to_owned(),
        };
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let api: Api<DynamicObject> = if namespace.is_empty() {
            Api::all_with(self.client.0.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.0.clone(), namespace, &resource)
        };
        // By force: what stands in these fields is ours, whoever wrote there.
        let parameters = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&made.object);
        let applied = api.patch(name, &parameters, &patch);
        call(&*self.clock, CALL, applied).await.map(|_| ())
    }

    /// One step of the removal.
    async fn remove(&self, tenant: &Tenant, name: &str) -> Result<Done, Fault> {
        let namespace = format!("t-{name}");
        // Of each its name alone: one that cannot be read goes too.
        let cameras: Api<PartialObjectMeta<Camera>> =
            Api::namespaced(self.client.0.clone(), &namespace);
        let (mut page, mut left) = (ListParams::default().limit(PAGE), Vec::new());
        loop {
            let list = call(&*self.clock, CALL, cameras.list(&page)).await?;
            left.extend(list.items);
            match list.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => page = page.continue_token(&next),
                None => break,
            }
        }
        for camera in left
            .iter()
            .filter(|camera| camera.metadata.deletion_timestamp.is_none())
        {
            let (name, parameters) = (camera.name_any(), DeleteParams::background());
            match call(&*self.clock, CALL, cameras.delete(&name, &parameters)).await {
                Ok(_) | Err(Fault::Missing) => {}
                Err(fault) => return Err(fault),
            }
        }
        if !left.is_empty() {
            return Ok(Done::Waits(
                WAITS_FOR_CAMERAS,
                format!("{} cameras still drain", left.len()),
            ));
        }
        let erased = tenant.status.as_ref().is_some_and(|status| status.erased);
        if tenant.spec.on_delete == OnDelete::Erase && !erased {
            return Ok(match self.settings.borrow().sweeper {
                true => Done::Waits(ERASING, "the sweeper erases its recordings".into()),
                false => Done::Waits(NO_SWEEPER, nobody_erases(name)),
            });
        }
        let namespaces: Api<Namespace> = Api::all(self.client.0.clone());
        let parameters = DeleteParams::background();
        match call(
            &*self.clock,
            CALL,
            namespaces.delete(&namespace, &parameters),
        )
        .await
        {
            Ok(_) | Err(Fault::Missing) => {}
            Err(fault) => return Err(fault),
        }
        let others = tenant
            .finalizers()
            .iter()
            .filter(|name| *name != RECORDINGS_FINALIZER);
        match self.set_finalizers(tenant, others.cloned().collect()).await {
            Ok(_) | Err(Fault::Missing) => Ok(Done::Gone),
            Err(fault) => Err(fault),
        }
    }
}
