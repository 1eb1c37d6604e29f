//! Which cluster a command speaks with, and what in it: `--kubeconfig`, `--context`, `--cluster`; `--tenant`; `--namespace` and `--release`.

use std::path::PathBuf;

use anyhow::bail;
use moorline_base::error::{Hinted, WithHint as _};
use moorline_core::{CameraId, TenantId};
use moorline_kube::connect::{Chosen, chosen};

/// Which cluster; none of them: the server of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Which {
    /// Speak with the cluster of this kubeconfig file instead of with a server of this machine.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        display_order = 800,
        help_heading = "On a cluster"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// Its context; default: the current one.
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        display_order = 801,
        help_heading = "On a cluster"
    )]
    pub context: Option<String>,
    /// Speak with the cluster that kubectl would: KUBECONFIG, the user's own file, or the cluster in which this runs.
    #[arg(
        long,
        global = true,
        display_order = 802,
        help_heading = "On a cluster"
    )]
    pub cluster: bool,
}

/// Which cluster, and which of its tenants.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct OnCluster {
    /// Which cluster.
    #[command(flatten)]
    pub which: Which,
    /// The tenant of cameras that are named without one; default: that of the context's namespace t-TENANT.
    #[arg(
        long,
        global = true,
        value_name = "TENANT",
        display_order = 803,
        help_heading = "On a cluster"
    )]
    pub tenant: Option<TenantId>,
}

/// Which cluster, and which installation in it.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct OnFrontDoor {
    /// Which cluster.
    #[command(flatten)]
    pub which: Which,
    /// Where in it the front door is.
    #[command(flatten)]
    pub at: Installation,
}

/// Which installation of a cluster: its pods are entered for what no resource tells.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Installation {
    /// Namespace of the installation.
    #[arg(
        long,
        global = true,
        value_name = "NAMESPACE",
        default_value = "moorline-system",
        display_order = 804,
        help_heading = "On a cluster"
    )]
    pub namespace: String,
    /// Name of the installation's release.
    #[arg(
        long,
        global = true,
        value_name = "RELEASE",
        default_value = "moorline",
        display_order = 805,
        help_heading = "On a cluster"
    )]
    pub release: String,
}

impl Which {
    /// Whether a cluster was chosen at all.
    pub fn is_chosen(&self) -> bool {
        self.cluster || self.kubeconfig.is_some() || self.context.is_some()
    }

    /// The options as they were typed, for a command that is printed: ` --cluster`.
    pub fn typed(&self) -> String {
        let mut text = String::new();
        if let Some(file) = &self.kubeconfig {
            text.push_str(&format!(" --kubeconfig {}", file.display()));
        }
        if let Some(context) = &self.context {
            text.push_str(&format!(" --context {context}"));
        }
        if self.cluster {
            text.push_str(" --cluster");
        }
        text
    }

    /// Connects.
    ///
    /// # Errors
    /// No such file, context or cluster.
    pub async fn connect(&self) -> anyhow::Result<Chosen> {
        let (file, context) = (self.kubeconfig.as_deref(), self.context.as_deref());
        Ok(chosen(file, context).await.hint(|| {
            "name a kubeconfig file with --kubeconfig FILE and one of its contexts with --context NAME"
        })?)
    }
}

impl OnCluster {
    /// The tenant that was named, else that of the context's namespace.
    pub fn tenant_of(&self, chosen: &Chosen) -> Option<TenantId> {
        self.tenant.clone().or_else(|| of_context(chosen))
    }
}

/// The tenant of the context's namespace.
fn of_context(chosen: &Chosen) -> Option<TenantId> {
    moorline_kube::names::tenant(&chosen.namespace)
}

/// The tenant of the context's namespace, where a command names none and needs one.
///
/// # Errors
/// It is no tenant's namespace.
pub fn needed_of_context(chosen: &Chosen) -> anyhow::Result<TenantId> {
    needed(of_context(chosen))
}

/// The tenant, where a command needs one.
///
/// # Errors
/// None is known.
pub fn needed(tenant: Option<TenantId>) -> anyhow::Result<TenantId> {
    tenant.ok_or_else(|| {
        let what = "a cluster has many tenants, and none is named";
        Hinted::new(what, "add --tenant TENANT").into()
    })
}

/// The camera's whole name: with the tenant, if it was typed without one.
///
/// # Errors
/// It is no name, or no tenant is known.
pub fn whole(camera: &str, tenant: Option<&TenantId>) -> anyhow::Result<String> {
    let Some(tenant) = tenant.filter(|_| !camera.contains('/')) else {
        if !camera.contains('/') {
            bail!(Hinted::new(
                format!("camera {camera:?}: a cluster has many tenants, and none is named"),
                format!("write TENANT/{camera}, or add --tenant TENANT")
            ));
        }
        return Ok(camera.parse::<CameraId>()?.to_string());
    };
    Ok(format!("{tenant}/{camera}")
        .parse::<CameraId>()?
        .to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_of_a_cluster_has_a_tenant() {
        let acme: TenantId = "acme".parse().unwrap();
        assert_eq!(whole("yard", Some(&acme)).unwrap(), "acme/yard");
        assert_eq!(whole("other/yard", Some(&acme)).unwrap(), "other/yard");
        assert_eq!(whole("other/yard", None).unwrap(), "other/yard");
        let told = moorline_base::error::report(whole("yard", None).unwrap_err().as_ref());
        assert!(
            told.contains("hint: write TENANT/yard, or add --tenant"),
            "{told}"
        );
        assert!(whole("Yard", Some(&acme)).is_err());
    }

    #[test]
    fn what_was_chosen_is_typed_again() {
        let which = Which {
            kubeconfig: Some("k".into()),
            context: Some("lab".to_owned()),
            ..Which::default()
        };
        assert_eq!(which.typed(), " --kubeconfig k --context lab");
        assert!(which.is_chosen() && !Which::default().is_chosen());
    }
}
