//! The command line of `moorline bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

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
