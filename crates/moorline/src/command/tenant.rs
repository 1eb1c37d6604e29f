//! `moorline tenant …`: Tenant resources of a cluster, by the operator's own rights.

use std::time::Duration;

use anyhow::bail;
use moorline_base::clock::SystemClock;
use moorline_base::error::{Hinted, WithHint as _};
use moorline_core::TenantId;
use moorline_kube::resource::{self, OnDelete, TenantStore};
use moorline_kube::{KubeTenants, TenantAdminError, TenantChange, tenant_ready};
use serde::Serialize;
use serde_json::json;

use crate::args::Output;
use crate::cluster::choice::OnCluster;
use crate::cluster::tenant_args::{self, Tenant, TenantCommand, TenantSet};
use crate::command::confirmed;
use crate::output::{self, Table};

/// How long a new tenant's namespace is waited for.
const PATIENCE: Duration = Duration::from_secs(90);

/// A tenant as programs see it.
#[derive(Debug, Serialize)]
struct View {
    id: String,
    suspended: bool,
    cameras: u32,
    classes: Vec<String>,
    max_retention: String,
    store: Option<TenantStore>,
    on_delete: OnDelete,
    storage_id: Option<String>,
    /// Whether it is ready; nothing: nobody has looked at it yet.
    ready: Option<bool>,
    removed: bool,
    /// What is wrong, or to be waited for, in words.
    notes: Vec<String>,
}

impl View {
    fn of(tenant: &resource::Tenant) -> Self {
        let (spec, status) = (
            tenant.spec.clone(),
            tenant.status.clone().unwrap_or_default(),
        );
        let wrong = status
            .conditions
            .iter()
            .filter(|condition| condition.status != "True");
        Self {
            id: tenant.metadata.name.clone().unwrap_or_default(),
            suspended: spec.suspended,
            cameras: spec.cameras,
            classes: spec.classes,
            max_retention: spec.max_retention,
            store: spec.store,
            on_delete: spec.on_delete,
            storage_id: status.storage_id.clone(),
            ready: tenant_ready(tenant).map(|(ready, _)| ready),
            removed: tenant.metadata.deletion_timestamp.is_some(),
            notes: wrong
                .map(|condition| match condition.message.as_str() {
                    "" => format!("{}: {}", condition.type_, condition.reason),
                    message => format!("{} ({}): {message}", condition.type_, condition.reason),
                })
                .collect(),
        }
    }

    fn state(&self) -> &'static str {
        match (self.removed, self.suspended, self.ready) {
            (true, _, _) => "leaving",
            (_, true, _) => "suspended",
            (_, _, Some(true)) => "ready",
            (_, _, Some(false)) => "not ready",
            (_, _, None) => "new",
        }
    }

    fn records_to(&self) -> String {
        match &self.store {
            None => "the installation's bucket".to_owned(),
            Some(store) => match &store.endpoint {
                Some(endpoint) => format!("{} at {endpoint}", store.bucket),
                None => store.bucket.clone(),
            },
        }
    }

    fn show(&self) -> String {
        let mut table = Table::new(&[]);
        let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
        row("tenant", self.id.clone());
        row("state", self.state().to_owned());
        row("namespace", format!("t-{}", self.id));
        row("cameras", format!("at most {}", self.cameras));
        row("classes", self.classes.join(", "));
        row("kept", format!("at most {}", self.max_retention));
        row("records to", self.records_to());
        if let Some(store) = &self.store {
            row("keys", format!("Secret {}", store.secret));
        }
        row(
            "storage id",
            self.storage_id.clone().unwrap_or_else(|| "-".to_owned()),
        );
        row(
            "if removed",
            match self.on_delete {
                OnDelete::Keep => "recordings stay".to_owned(),
                OnDelete::Erase => "recordings are erased".to_owned(),
            },
        );
        for note in &self.notes {
            row("note", note.clone());
        }
        table.render().trim_start().to_owned()
    }
}

/// Runs a tenant command.
///
/// # Errors
/// What the cluster refuses, in words.
pub async fn run(command: TenantCommand, format: Output) -> anyhow::Result<()> {
    let TenantCommand { on, command } = command;
    if !on.which.is_chosen() {
        bail!(Hinted::new(
            "moorline serve has one tenant, home; others are a cluster's",
            "choose a cluster with --cluster, or with --kubeconfig FILE and --context NAME"
        ));
    }
    let tenants = KubeTenants::new(on.which.connect().await?.client, SystemClock::shared());
    match command {
        Tenant::Add(set) => add(&tenants, &on, set, format).await,
        Tenant::List => {
            let all = told(tenants.list().await)?;
            let views: Vec<View> = all.iter().map(View::of).collect();
            output::print(format, &views, || list(&views, &on))
        }
        Tenant::Show(name) => {
            let view = View::of(&told(tenants.get(&name.name).await)?);
            output::print(format, &view, || view.show())
        }
        Tenant::Set(set) => {
            let present = told(tenants.get(&set.name).await)?;
            let change = change(&set, present.spec.store.as_ref())?;
            if change == TenantChange::default() {
                bail!(Hinted::new(
                    "nothing to change",
                    "moorline tenant set --help lists what can be set"
                ));
            }
            let view = View::of(&told(tenants.set(&set.name, &change).await)?);
            output::print(format, &view, || format!("tenant {} changed", view.id))
        }
        Tenant::Suspend(name) => {
            let told = "suspended: its cameras' sessions end, and none may connect";
            suspend(&tenants, &name.name, true, told, format).await
        }
        Tenant::Resume(name) => suspend(&tenants, &name.name, false, "resumed", format).await,
        Tenant::Rm { name, erase, yes } => remove(&tenants, &name, erase, yes, format).await,
    }
}

async fn add(
    tenants: &KubeTenants,
    on: &OnCluster,
    set: TenantSet,
    format: Output,
) -> anyhow::Result<()> {
    let change = change(&set, None)?;
    let made = told(tenants.add(&set.name, &change).await)?;
    let settled = told(tenants.settled(&set.name, PATIENCE).await)?;
    let mut view = View::of(settled.as_ref().unwrap_or(&made));
    if settled.is_none() {
        view.notes
            .push("nobody has made its namespace yet: is moorline tenants running?".to_owned());
    }
    let typed = on.which.typed();
    output::print(format, &view, || {
        let mut text = format!("tenant {} added\n", view.id);
        for note in &view.notes {
            text.push_str(&format!("\nnote: {note}\n"));
        }
        text + &format!(
            "\nSee it:        moorline tenant show {0}{typed}\nAdd a camera:  moorline camera add {0}/NAME{typed}\n",
            view.id
        )
    })
}

async fn suspend(
    tenants: &KubeTenants,
    name: &TenantId,
    suspended: bool,
    words: &str,
    format: Output,
) -> anyhow::Result<()> {
    let change = TenantChange {
        suspended: Some(suspended),
        ..TenantChange::default()
    };
    let view = View::of(&told(tenants.set(name, &change).await)?);
    output::print(format, &view, || format!("tenant {name} {words}"))
}

async fn remove(
    tenants: &KubeTenants,
    name: &TenantId,
    erase: bool,
    yes: bool,
    format: Output,
) -> anyhow::Result<()> {
    let present = told(tenants.get(name).await)?;
    let erase = erase || present.spec.on_delete == OnDelete::Erase;
    let what = if erase {
        format!("delete tenant {name}, its cameras and all its recordings")
    } else {
        format!("delete tenant {name} and its cameras")
    };
    if !yes && !confirmed(&what)? {
        bail!("nothing was removed");
    }
    if erase {
        let change = TenantChange {
            on_delete: Some(OnDelete::Erase),
            ..TenantChange::default()
        };
        told(tenants.set(name, &change).await)?;
    }
    told(tenants.remove(name).await)?;
    output::print(format, &json!({"id": name, "erased": erase}), || {
        let recordings = if erase {
            "the sweeper erases its recordings"
        } else {
            "its recordings stay in the bucket"
        };
        format!(
            "tenant {name} is being removed: its cameras drain, {recordings}, then its namespace goes"
        )
    })
}

/// What the fields ask to change. A field of the bucket changes that bucket; an empty bucket is the installation's.
fn change(set: &TenantSet, present: Option<&TenantStore>) -> anyhow::Result<TenantChange> {
    let of_bucket = set.endpoint.is_some() || set.region.is_some() || set.secret.is_some();
    let store = match (&set.bucket, present) {
        (Some(bucket), _) if bucket.is_empty() => Some(None),
        (None, None) if of_bucket => bail!(Hinted::new(
            format!("tenant {} records to the installation's bucket", set.name),
            "name its own with --bucket NAME"
        )),
        (None, _) if !of_bucket => None,
        (bucket, present) => {
            let optional = |given: &Option<String>, before: Option<&String>| match given {
                Some(text) => Some(text.clone()).filter(|text| !text.is_empty()),
                None => before.cloned(),
            };
            Some(Some(TenantStore {
                bucket: match (bucket, present) {
                    (Some(bucket), _) => bucket.clone(),
                    (None, Some(present)) => present.bucket.clone(),
                    (None, None) => String::new(),
                },
                endpoint: optional(
                    &set.endpoint,
                    present.and_then(|store| store.endpoint.as_ref()),
                ),
                region: optional(&set.region, present.and_then(|store| store.region.as_ref())),
                secret: optional(&set.secret, present.map(|store| &store.secret))
                    .unwrap_or_else(|| set.name.to_string()),
            }))
        }
    };
    Ok(TenantChange {
        suspended: None,
        cameras: set.cameras,
        classes: (!set.class.is_empty()).then(|| set.class.clone()),
        max_retention: set.max_keep.as_deref().map(max_keep).transpose()?,
        store,
        on_delete: set.on_delete.map(|on_delete| match on_delete {
            tenant_args::OnDelete::Keep => OnDelete::Keep,
            tenant_args::OnDelete::Erase => OnDelete::Erase,
        }),
    })
}

/// `30d` as the resource writes it; `0d` is `keep`.
fn max_keep(text: &str) -> anyhow::Result<String> {
    match text
        .strip_suffix('d')
        .and_then(|days| days.parse::<u16>().ok())
    {
        Some(0) => Ok("keep".to_owned()),
        Some(days) if days <= 999 => Ok(format!("{days}d")),
        _ => bail!(Hinted::new(
            format!("--max-keep {text:?} is no number of days"),
            "write 1d to 999d, or 0d for ever"
        )),
    }
}

fn list(tenants: &[View], on: &OnCluster) -> String {
    if tenants.is_empty() {
        return format!(
            "no tenants yet\nAdd one: moorline tenant add NAME{}\n",
            on.which.typed()
        );
    }
    let mut table = Table::new(&[
        "TENANT",
        "STATE",
        "CAMERAS",
        "KEPT",
        "RECORDS TO",
        "STORAGE",
    ]);
    for tenant in tenants {
        table.row([
            tenant.id.clone(),
            tenant.state().to_owned(),
            tenant.cameras.to_string(),
            tenant.max_retention.clone(),
            tenant.records_to(),
            tenant.storage_id.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.render()
}

/// An answer about tenants, with what to do where it is a refusal.
///
/// # Errors
/// The refusal.
pub fn told<T>(result: Result<T, TenantAdminError>) -> anyhow::Result<T> {
    let hint = match &result {
        Err(TenantAdminError::Exists(_)) => {
            "choose another name, or change that tenant: moorline tenant set"
        }
        Err(TenantAdminError::Unknown(_)) => "moorline tenant list shows all",
        Err(TenantAdminError::NotInstalled) => {
            "install them first: helm install moorline-crds (docs/guide/kubernetes.md)"
        }
        Err(TenantAdminError::Refused(_)) => {
            "tenants are the operator's: the context's user needs rights on tenants.moorline.dev"
        }
        _ => "it may have been done: look with moorline tenant list, and try again",
    };
    Ok(result.hint(|| hint)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(fields: impl FnOnce(&mut TenantSet)) -> TenantSet {
        let mut set = TenantSet {
            name: "acme".parse().unwrap(),
            cameras: None,
            class: Vec::new(),
            max_keep: None,
            bucket: None,
            endpoint: None,
            region: None,
            secret: None,
            on_delete: None,
        };
        fields(&mut set);
        set
    }

    #[test]
    fn a_field_of_the_bucket_changes_that_bucket_alone() {
        let own = change(&set(|set| set.bucket = Some("acme-video".to_owned())), None).unwrap();
        let store = own.store.unwrap().unwrap();
        assert_eq!(
            (store.bucket.as_str(), store.secret.as_str()),
            ("acme-video", "acme")
        );
        let moved = change(
            &set(|set| set.endpoint = Some("https://s3.example.com".to_owned())),
            Some(&store),
        )
        .unwrap();
        let moved = moved.store.unwrap().unwrap();
        assert_eq!(moved.endpoint.as_deref(), Some("https://s3.example.com"));
        assert_eq!(moved.bucket, "acme-video");
        let back = change(&set(|set| set.bucket = Some(String::new())), Some(&store)).unwrap();
        assert_eq!(back.store, Some(None));
        let none = change(&set(|set| set.region = Some("eu".to_owned())), None);
        assert!(
            none.unwrap_err()
                .to_string()
                .contains("the installation's bucket")
        );
        assert_eq!(
            change(&set(|_| ()), Some(&store)).unwrap(),
            TenantChange::default()
        );
    }

    #[test]
    fn a_retention_is_told_as_the_resource_has_it() {
        assert_eq!(max_keep("30d").unwrap(), "30d");
        assert_eq!(max_keep("0d").unwrap(), "keep");
        assert!(max_keep("30").is_err() && max_keep("1000d").is_err());
    }
}
