//! What `moorline tenant` does: Tenant resources made and changed by the operator. Every change is a compare-and-swap.

use std::time::Duration;

use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::TenantId;

use crate::call::{CALL, Connection, Fault, call};
use crate::resource::{ConditionKind, OnDelete, Tenant, TenantSpec, TenantStore, set_condition};

/// A change that meets another one is tried again so often.
const CONFLICTS: usize = 16;
const POLL: Duration = Duration::from_millis(500);

/// Why a tenant was not changed. Nothing is half applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantAdminError {
    /// The name is taken.
    #[error("tenant {0} exists already")]
    Exists(TenantId),
    /// There is no such tenant.
    #[error("there is no tenant {0}")]
    Unknown(TenantId),
    /// The cluster does not have our resources.
    #[error("the cluster does not know Moorline's resources")]
    NotInstalled,
    /// A policy, a rule of the resource, or the caller's rights.
    #[error("{0}")]
    Refused(String),
    /// It may have been done or not.
    #[error("{0}")]
    Unavailable(String),
}

/// Fields of a tenant to be changed; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantChange {
    /// No camera of it may connect.
    pub suspended: Option<bool>,
    /// The greatest number of cameras.
    pub cameras: Option<u32>,
    /// The classes that its cameras may name.
    pub classes: Option<Vec<String>>,
    /// The greatest retention, `30d` or `keep`.
    pub max_retention: Option<String>,
    /// Its own bucket; `Some(None)`: the installation's.
    pub store: Option<Option<TenantStore>>,
    /// What becomes of its recordings when it is deleted.
    pub on_delete: Option<OnDelete>,
}

impl TenantChange {
    fn apply(&self, spec: &mut TenantSpec) {
        fn put<T: Clone>(field: &mut T, new: Option<&T>) {
            if let Some(new) = new {
                field.clone_from(new);
            }
        }
        put(&mut spec.suspended, self.suspended.as_ref());
        put(&mut spec.cameras, self.cameras.as_ref());
        put(&mut spec.classes, self.classes.as_ref());
        put(&mut spec.max_retention, self.max_retention.as_ref());
        put(&mut spec.store, self.store.as_ref());
        put(&mut spec.on_delete, self.on_delete.as_ref());
    }
}

/// The tenants of a cluster, for its operator.
#[derive(Debug, Clone)]
pub struct KubeTenants {
    client: Connection,
    clock: SharedClock,
}

impl KubeTenants {
    /// By this client.
    pub fn new(client: Client, clock: SharedClock) -> Self {
        Self {
            client: Connection(client),
            clock,
        }
    }

    fn api(&self) -> Api<Tenant> {
        Api::all(self.client.0.clone())
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// [`TenantAdminError`].
    pub async fn list(&self) -> Result<Vec<Tenant>, TenantAdminError> {
        let (api, mut parameters) = (self.api(), ListParams::default().limit(500));
        let mut found = Vec::new();
        loop {
            let page = call(&*self.clock, CALL, api.list(&parameters)).await;
            let page = page.map_err(|fault| told(fault, TenantAdminError::NotInstalled))?;
            found.extend(page.items);
            match page.metadata.continue_.filter(|text| !text.is_empty()) {
                Some(next) => parameters = parameters.continue_token(&next),
                None => break,
            }
        }
        found.sort_by_key(ResourceExt::name_any);
        Ok(found)
    }

    /// One.
    ///
    /// # Errors
    /// [`TenantAdminError`].
    pub async fn get(&self, id: &TenantId) -> Result<Tenant, TenantAdminError> {
        let got = call(&*self.clock, CALL, self.api().get(id.as_str())).await;
        match got {
            // The tenant is missing, or the kind: a list tells.
            Err(Fault::Missing) => {
                self.list().await?;
                Err(TenantAdminError::Unknown(id.clone()))
            }
            got => got.map_err(|fault| told(fault, TenantAdminError::NotInstalled)),
        }
    }

    /// Makes one with these fields, the others as the resource's defaults are.
    ///
    /// # Errors
    /// [`TenantAdminError::Exists`] and the others.
    pub async fn add(
        &self,
        id: &TenantId,
        fields: &TenantChange,
    ) -> Result<Tenant, TenantAdminError> {
        let mut spec = TenantSpec::default();
        fields.apply(&mut spec);
        let made = Tenant::new(id.as_str(), spec);
        let (api, parameters) = (self.api(), PostParams::default());
        match call(&*self.clock, CALL, api.create(&parameters, &made)).await {
            Ok(made) => Ok(made),
            Err(Fault::Exists) => Err(TenantAdminError::Exists(id.clone())),
            Err(fault) => Err(told(fault, TenantAdminError::NotInstalled)),
        }
    }

    /// Changes the fields that are given, all or none, and returns it as it is now.
    ///
    /// # Errors
    /// [`TenantAdminError`].
    pub async fn set(
        &self,
        id: &TenantId,
        change: &TenantChange,
    ) -> Result<Tenant, TenantAdminError> {
        for _ in 0..CONFLICTS {
            let present = self.get(id).await?;
            let mut next = present.clone();
            change.apply(&mut next.spec);
            if next.spec == present.spec {
                return Ok(present);
            }
            let (api, parameters) = (self.api(), PostParams::default());
            let replaced = api.replace(id.as_str(), &parameters, &next);
            match call(&*self.clock, CALL, replaced).await {
                Ok(next) => return Ok(next),
                Err(Fault::Conflict) => {}
                Err(fault) => return Err(told(fault, TenantAdminError::Unknown(id.clone()))),
            }
        }
        Err(TenantAdminError::Unavailable(
            "others change this tenant all the time".to_owned(),
        ))
    }

    /// Says a condition of it, if it is not said yet. Nothing else of its status is touched.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn say(
        &self,
        id: &TenantId,
        kind: &str,
        holds: bool,
        reason: &str,
        message: &str,
    ) -> Result<(), Fault> {
        for _ in 0..CONFLICTS {
            let api = self.api();
            let mut tenant = call(&*self.clock, CALL, api.get(id.as_str())).await?;
            let now = jiff::Timestamp::from_millisecond(self.clock.wall_ms()).unwrap_or_default();
            let conditions = &mut tenant.status.get_or_insert_default().conditions;
            if !set_condition(conditions, kind, holds, reason, message, now) {
                return Ok(());
            }
            let parameters = PostParams::default();
            let put = api.replace_status(id.as_str(), &parameters, &tenant);
            match call(&*self.clock, CALL, put).await {
                Ok(_) => return Ok(()),
                Err(Fault::Conflict) => {}
                Err(fault) => return Err(fault),
            }
        }
        Err(Fault::Busy("others write its status all the time".into()))
    }

    /// Deletes it: its cameras drain, its recordings go or stay as it says, then its namespace and itself go. Returns before that.
    ///
    /// # Errors
    /// [`TenantAdminError`].
    pub async fn remove(&self, id: &TenantId) -> Result<(), TenantAdminError> {
        self.get(id).await?;
        let (api, parameters) = (self.api(), DeleteParams::background());
        let deleted = call(&*self.clock, CALL, api.delete(id.as_str(), &parameters)).await;
        match deleted {
            Ok(_) => Ok(()),
            Err(fault) => Err(told(fault, TenantAdminError::Unknown(id.clone()))),
        }
    }

    /// Waits until the reconciler has said something of this generation, at most `patience`: whether it is ready, or why not. `None`: nobody has.
    ///
    /// # Errors
    /// [`TenantAdminError`].
    pub async fn settled(
        &self,
        id: &TenantId,
        patience: Duration,
    ) -> Result<Option<Tenant>, TenantAdminError> {
        let until = self.clock.monotonic() + patience;
        loop {
            let tenant = self.get(id).await?;
            let observed = tenant
                .status
                .as_ref()
                .and_then(|status| status.observed_generation);
            let is_ready = ready(&tenant).is_some_and(|(ready, _)| ready);
            let is_said = observed == tenant.metadata.generation && ready(&tenant).is_some();
            // A namespace that is not there yet is no last word.
            if is_said && (is_ready || self.clock.monotonic() >= until) {
                return Ok(Some(tenant));
            }
            if self.clock.monotonic() >= until {
                return Ok(None);
            }
            let never = CancellationToken::new();
            let _ = moorline_base::clock::sleep(&*self.clock, POLL, &never).await;
        }
    }
}

/// Whether the reconciler says that the tenant is ready, and its words; `None`: it has said nothing.
pub fn ready(tenant: &Tenant) -> Option<(bool, String)> {
    let conditions = &tenant.status.as_ref()?.conditions;
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == ConditionKind::Ready.as_str())?;
    let words = match ready.message.as_str() {
        "" => ready.reason.clone(),
        message => format!("{}: {message}", ready.reason),
    };
    Some((ready.status == "True", words))
}

fn told(fault: Fault, missing: TenantAdminError) -> TenantAdminError {
    match fault {
        Fault::Missing => missing,
        fault @ (Fault::Busy(_) | Fault::Unknown(_)) => {
            TenantAdminError::Unavailable(fault.to_string())
        }
        fault => TenantAdminError::Refused(fault.to_string()),
    }
}
