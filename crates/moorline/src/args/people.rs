//! The arguments of `moorline user`, and whose people a command is about.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use moorline_core::TenantId;

/// `moorline user`
#[derive(Debug, Args)]
pub struct UserCommand {
    /// Which cluster, if any.
    #[cfg(feature = "kube")]
    #[command(flatten)]
    pub on: crate::cluster::choice::OnFrontDoor,
    /// What to do.
    #[command(subcommand)]
    pub command: User,
}

/// What to do with people.
#[derive(Debug, Subcommand)]
pub enum User {
    /// Add a person; prints the passwords once.
    Add {
        /// Whose tenant they belong to, where there are several.
        #[command(flatten)]
        of: OfTenant,
        /// How they sign in.
        login: String,
        /// What they may do.
        #[arg(long, value_enum, default_value_t = Role::Viewer)]
        role: Role,
        /// File with the web password; without it one is made.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// All people.
    List {
        /// Of which tenant.
        #[command(flatten)]
        of: OfTenant,
    },
    /// Remove a person; their streams end at once.
    Rm {
        /// Of which tenant.
        #[command(flatten)]
        of: OfTenant,
        /// Their login.
        login: String,
    },
    /// Change a web password, or make a new stream password.
    Passwd {
        /// Of which tenant.
        #[command(flatten)]
        of: OfTenant,
        /// Their login.
        login: String,
        /// Make a new stream password instead; streams with the old one end.
        #[arg(long)]
        stream: bool,
        /// File with the new web password; without it one is made.
        #[arg(long, value_name = "FILE", conflicts_with = "stream")]
        password_file: Option<PathBuf>,
    },
}

/// Which tenant's people.
#[derive(Debug, Clone, Args)]
pub struct OfTenant {
    /// The tenant, where there are several: on a cluster's front door.
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<TenantId>,
}

impl OfTenant {
    /// The one that was named, else that of an embedded installation.
    pub fn tenant(&self) -> TenantId {
        self.tenant.clone().unwrap_or_else(TenantId::home)
    }
}

/// What a person may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Watch and browse.
    Viewer,
    /// Also add and change cameras.
    Operator,
    /// Everything.
    Admin,
}
