//! The command line of `moorline bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
#[cfg(feature = "kube")]
use moorline_base::config::HumanDuration;
#[cfg(feature = "kube")]
use moorline_core::TenantId;

#[cfg(feature = "kube")]
use crate::cluster::choice::Which;

/// `moorline bench`
#[derive(Debug, Clone, Subcommand)]
pub enum Bench {
    /// CPU and memory of the SSH server against sshd, 1,000 cameras at once, takeover. About five minutes.
    Ssh {
        /// What all take.
        #[command(flatten)]
        options: BenchOptions,
        /// Only these parts.
        #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
        only: Vec<SshPart>,
    },
    /// Added latency, first picture, stalled viewers, 60 viewers, against live555ProxyServer. About three minutes.
    Relay {
        /// What all take.
        #[command(flatten)]
        options: BenchOptions,
        /// Only these parts.
        #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
        only: Vec<RelayPart>,
    },
    /// Cameras recorded without a lost picture, against ffmpeg; how soon the first fragment is safe. About six minutes.
    Archive {
        /// What all take.
        #[command(flatten)]
        options: BenchOptions,
        /// Numbers of cameras to record, one after another, until pictures are lost. 15 MB per camera and minute are written.
        #[arg(long, value_delimiter = ',', default_value = "200,300")]
        cameras: Vec<usize>,
        /// Leave out first pictures, first fragments and ffmpeg.
        #[arg(long)]
        only_recording: bool,
    },
    /// An installation on Kubernetes that is there already: what a camera waits for, and what it costs. Half a minute and more for each camera.
    ///
    /// Simulated cameras call the installation's SSH service from this machine, one after another: each connects, loses its network for a moment, is
    /// taken over and hangs up. They belong to a tenant that the bench makes and removes, also when it is interrupted; their recordings go after a day.
    /// It takes the rights of the operator, who makes tenants. Takeover is measured where --ssh names two replicas or more.
    ///
    /// Where this machine reaches both replicas: moorline bench cluster --tenant bench --ssh 192.0.2.11:2222 --ssh 192.0.2.12:2222
    #[cfg(feature = "kube")]
    Cluster(Box<ClusterBench>),
    /// A process of `bench ssh`: the SSH server with readers that count.
    #[command(hide = true)]
    Alone {
        /// Public keys, one a line.
        #[arg(long)]
        keys: PathBuf,
    },
    /// A child of any bench: becomes the command, and is killed when its parent ends.
    #[command(hide = true)]
    Leash {
        /// The parent's process id.
        #[arg(long)]
        parent: u32,
        /// What to become.
        #[arg(last = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
}

/// `moorline bench cluster`
#[cfg(feature = "kube")]
#[derive(Debug, Clone, Args)]
pub struct ClusterBench {
    /// Which cluster; without any of these the one that kubectl would take.
    #[command(flatten)]
    pub which: Which,
    /// A tenant that does not exist yet: it is made, and removed at the end with its cameras.
    #[arg(long, value_name = "NAME")]
    pub tenant: TenantId,
    /// Number of cameras, one after another.
    #[arg(long, value_name = "NUMBER", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3000))]
    pub cameras: u32,
    /// Where cameras call; default: where the installation says. Given for each replica of mon, every call goes to the next one.
    #[arg(long, value_name = "HOST:PORT")]
    pub ssh: Vec<String>,
    /// Seconds that a camera films after each step, 3 to 600: what is written meanwhile counts for the step.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(3..=600))]
    pub seconds: u64,
    /// How long each step may take.
    #[arg(long, value_name = "DURATION", default_value = "120s")]
    pub patience: HumanDuration,
    /// Namespace of the installation: there the metrics server is asked for mon's memory.
    #[arg(long, value_name = "NAMESPACE", default_value = "moorline-system")]
    pub namespace: String,
}

/// A part of `moorline bench relay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RelayPart {
    /// Latency that the relay adds.
    Latency,
    /// First picture of a new viewer.
    First,
    /// What a stalled viewer does to others.
    Freeze,
    /// CPU of 60 viewers.
    Readers,
}

/// A part of `moorline bench ssh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SshPart {
    /// Memory of idle sessions.
    Idle,
    /// 1,000 cameras at once.
    Storm,
    /// Takeover from a hanging session.
    Takeover,
    /// The SSH server alone against sshd.
    Alone,
    /// SSH, relay and viewer beside sshd's bare forwarding.
    Path,
}

/// What all benches take.
#[derive(Debug, Clone, Args)]
pub struct BenchOptions {
    /// Seconds of each single measurement, 1 to 600.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Directory for temporary data; default: the system's. Its disk is part of what is measured.
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
}
