//! The arguments of `moorline tenant`.

use clap::{Args, Subcommand, ValueEnum};
use moorline_core::TenantId;

use super::choice::OnCluster;

/// `moorline tenant`
#[derive(Debug, Args)]
pub struct TenantCommand {
    /// Which cluster.
    #[command(flatten)]
    pub on: OnCluster,
    /// What to do.
    #[command(subcommand)]
    pub command: Tenant,
}

/// What to do with tenants.
#[derive(Debug, Subcommand)]
pub enum Tenant {
    /// Add a tenant, and wait until its namespace is made.
    Add(TenantSet),
    /// All tenants.
    List,
    /// One tenant: what it may, where it records to, what is wrong.
    Show(TenantName),
    /// Change a tenant.
    Set(TenantSet),
    /// Let no camera of it connect; nothing is deleted.
    Suspend(TenantName),
    /// Let its cameras connect again.
    Resume(TenantName),
    /// Remove a tenant with all its cameras; its recordings stay, unless it says otherwise.
    Rm {
        /// The tenant.
        name: TenantId,
        /// Delete its recordings too.
        #[arg(long)]
        erase: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// A tenant by name.
#[derive(Debug, Args)]
pub struct TenantName {
    /// The tenant.
    pub name: TenantId,
}

/// What can be set of a tenant.
#[derive(Debug, Args)]
pub struct TenantSet {
    /// Its name: a-z, 0-9 and -, at most 61 characters. It never changes.
    pub name: TenantId,
    /// The greatest number of cameras, at most 3000.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(0..=3000))]
    pub cameras: Option<u32>,
    /// A CameraClass that its cameras may name; may be given several times.
    #[arg(long, value_name = "CLASS")]
    pub class: Vec<String>,
    /// The longest retention that its cameras may have, such as 30d; 0d: for ever.
    #[arg(long, value_name = "DAYS")]
    pub max_keep: Option<String>,
    /// A bucket of its own; without one it records to the installation's. Empty: the installation's again.
    #[arg(long, value_name = "NAME")]
    pub bucket: Option<String>,
    /// The S3 endpoint of its bucket, an https URL; without one Amazon's, by region.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The region of its bucket.
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// The Secrets with the keys of its bucket, one of this name in each of the namespaces moorline-store-put, -get and -delete; default: the
    /// tenant's name.
    #[arg(long, value_name = "NAME")]
    pub secret: Option<String>,
    /// What becomes of its recordings when it is removed.
    #[arg(long, value_enum)]
    pub on_delete: Option<OnDelete>,
}

/// What becomes of a removed tenant's recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnDelete {
    /// They stay in the bucket.
    Keep,
    /// They are deleted.
    Erase,
}
