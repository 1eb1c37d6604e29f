//! The command line of what cameras with an agent can: enrol themselves, go to another server, run a newer agent.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Record;

/// `moorline agent-release`
#[derive(Debug, Args)]
pub struct AgentReleaseCommand {
    /// Which cluster, if any.
    #[cfg(feature = "kube")]
    #[command(flatten)]
    pub which: crate::cluster::choice::Which,
    /// Which installation in it.
    #[cfg(feature = "kube")]
    #[command(flatten)]
    pub at: crate::cluster::choice::Installation,
    /// What to do.
    #[command(subcommand)]
    pub command: AgentRelease,
}

/// What to do with releases of the agent.
#[derive(Debug, Subcommand)]
pub enum AgentRelease {
    /// Make a key that signs releases, and print the line that cameras need in /etc/moorline/release-keys.
    Keygen {
        /// Where the private key goes: a 0600 file.
        #[arg(long, value_name = "FILE", default_value = "agent-release.key")]
        file: PathBuf,
    },
    /// Sign a built moorline-agent; its version and target are read from it.
    Sign {
        /// The agent.
        file: PathBuf,
        /// The private key, as `keygen` made it.
        #[arg(long, value_name = "FILE", default_value = "agent-release.key")]
        key: PathBuf,
        /// Where the release goes; default: moorline-agent-VERSION-TARGET.release here.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Bring a signed release to the server or the cluster. No camera gets it yet.
    Add {
        /// The release.
        file: PathBuf,
    },
    /// Releases that are there, and how far each is.
    List,
    /// Let cameras have a release: one of them, a share, all. A camera that takes it back stops it; this goes on. On a cluster a share is drawn by lot.
    RollOut {
        /// The version.
        version: String,
        /// How far: one, 1% to 99%, all; off stops it.
        #[arg(long, value_name = "STAGE")]
        to: String,
        /// For which target, where the version is there for several.
        #[arg(long, value_name = "TRIPLE")]
        target: Option<String>,
    },
}

/// `moorline camera move`
#[derive(Debug, Args)]
pub struct CameraMove {
    /// The camera.
    pub camera: String,
    /// The other server: a host, and its SSH port unless it is 2222.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub to: String,
    /// Its host keys, one or two, as base64 of ed25519 or ecdsa-p256: the third word of its known_hosts lines.
    #[arg(long, value_name = "KEY", required = true)]
    pub key: Vec<String>,
    /// What the camera is called there, as tenant/name; default: as here.
    #[arg(long, value_name = "TENANT/NAME")]
    pub named: Option<String>,
    /// Which place in the list of its servers, 0 the first, 15 the last but the one that enrolled it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub place: u8,
}

/// `moorline camera refer`
#[derive(Debug, Args)]
pub struct CameraRefer {
    /// The camera.
    pub camera: String,
    /// The other server: a host, and its SSH port unless it is 2222.
    #[arg(
        long,
        value_name = "HOST[:PORT]",
        requires = "key",
        required_unless_present = "here",
        conflicts_with = "here"
    )]
    pub to: Option<String>,
    /// Take the stream here again.
    #[arg(long)]
    pub here: bool,
    /// Its host keys, one or two, as base64 of ed25519 or ecdsa-p256: the third word of its known_hosts lines.
    #[arg(long, value_name = "KEY", requires = "to")]
    pub key: Vec<String>,
    /// What the camera is called there, as tenant/name; default: as here.
    #[arg(long, value_name = "TENANT/NAME", requires = "to")]
    pub named: Option<String>,
    /// How long the camera may stay there while this server is away, at most 7d; default: 7d.
    #[arg(long, value_name = "DURATION", requires = "to")]
    pub ttl: Option<String>,
}

/// `moorline camera enroll`
#[derive(Debug, Args)]
pub struct CameraEnroll {
    /// The camera's name, or with --batch the beginning of its cameras' names: a-z, 0-9 and -.
    pub name: String,
    /// How many cameras it makes, at most 10000; on a cluster 1000.
    #[arg(long, value_name = "COUNT")]
    pub batch: Option<u32>,
    /// The camera is there already, and another device is to be it: one in its place, or the same one after it was reset.
    #[arg(long, conflicts_with = "batch")]
    pub again: bool,
    /// How long the file may be used, such as 24h or 30d.
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub expires: String,
    /// Where to write it; default: enroll here.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Write the code of the link, which leads to the camera or the batch on the page, into this file too: for a leaflet.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// The name or address under which cameras reach this server; default: server.public_host.
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Further ports on which cameras reach this server, such as 443.
    #[arg(long, value_name = "PORT")]
    pub port: Vec<u16>,
    /// A note for `camera enrolments`.
    #[arg(long)]
    pub comment: Option<String>,
    /// What people call it: any text; default: its name.
    #[arg(long, conflicts_with = "batch")]
    pub title: Option<String>,
    /// Where its cameras hang.
    #[arg(long)]
    pub site: Option<String>,
    /// IANA time zone in which its days are shown; default: this machine's.
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// What to record.
    #[arg(long, value_enum)]
    pub record: Option<Record>,
    /// How long to keep recordings, such as 14d; 0d keeps them until somebody deletes them.
    #[arg(long, value_name = "DAYS")]
    pub keep: Option<String>,
}
