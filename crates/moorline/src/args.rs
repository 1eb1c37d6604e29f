//! The command line: one table makes parser, help, completions and the reference page.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

mod agents;
#[cfg(feature = "bench")]
mod bench;
mod camera;
mod config_role;
mod file;
mod people;
mod reach_in;
mod segments;

pub use agents::{AgentRelease, AgentReleaseCommand, CameraEnroll, CameraMove, CameraRefer};
#[cfg(all(feature = "bench", feature = "kube"))]
pub use bench::ClusterBench;
#[cfg(feature = "bench")]
pub use bench::{Bench, BenchOptions, RelayPart, SshPart};
#[cfg(feature = "kube")]
pub use camera::CameraName;
pub use camera::{
    Camera, CameraAdd, CameraCommand, CameraFields, CameraImport, CameraKey, KeyKind, Record,
};
pub use config_role::ConfigRole;
pub use file::{NewFile, Target};
pub use people::{OfTenant, Role, User, UserCommand};
pub use reach_in::{CameraSnapshot, CameraWeb};
pub use segments::{Segments, Source};

/// IP cameras behind NAT: tunnel in, watch, record, browse.
///
/// Start with `moorline demo` to see live video and an archive from two simulated cameras, or with `moorline serve` and
/// `moorline camera add NAME` for your own.
#[derive(Debug, Parser)]
#[command(
    name = "moorline",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What all commands take.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The same refusal without the environment: its usage would name options that come from there as if they had been typed.
pub fn as_typed(error: clap::Error) -> clap::Error {
    // Help does tell of the environment.
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return error;
    }
    let global = ["data", "config"];
    let bare = global.into_iter().fold(Cli::command(), |command, name| {
        command.mut_arg(name, |option| option.env(None::<&'static str>))
    });
    bare.try_get_matches().err().unwrap_or(error)
}

/// What all commands take.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Directory with all state; one process serves it.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "./moorline-data",
        env = "MOORLINE_DATA",
        display_order = 900
    )]
    pub data: PathBuf,
    /// Configuration file; without it, DIR/moorline.toml if it exists.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "MOORLINE_CONFIG",
        display_order = 901
    )]
    pub config: Option<PathBuf>,
    /// How results are printed.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = Output::Text,
        display_order = 902
    )]
    pub output: Output,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: tables and sentences.
    Text,
    /// For programs: JSON, one document on standard output.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server: tunnels, relays, archive, web page.
    Serve(Listen),
    /// Run the server with two simulated cameras, to look around; Ctrl-C leaves nothing behind.
    ///
    /// All of it lies in a temporary directory with settings of its own: --data counts with --keep alone, and --config not at all.
    Demo(Demo),
    /// Add, list and change cameras.
    Camera(CameraCommand),
    /// Add, list and change the tenants of a cluster.
    #[cfg(feature = "kube")]
    Tenant(crate::cluster::tenant_args::TenantCommand),
    /// New agents for cameras: sign them, bring them to the server, roll them out in stages.
    AgentRelease(AgentReleaseCommand),
    /// Add, list and change the people who watch.
    User(UserCommand),
    /// List, fetch, export and verify recordings.
    #[command(subcommand)]
    Segments(Segments),
    /// Alarms: who is told when recording stops.
    #[command(subcommand)]
    Alert(Alert),
    /// Who did what: sign-ins, views, exports, changes, enrolments, takeovers; newest first.
    Audit(Audit),
    /// Save host keys, registry and certificate into one encrypted file.
    Backup(Backup),
    /// Bring a backup back into an empty data directory.
    Restore(Restore),
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(Config),
    /// The server's SSH host keys: what cameras pin, and rotating it without a visit.
    #[command(subcommand)]
    HostKey(HostKey),
    /// Look for what is wrong, and say what to do about it.
    Doctor,
    /// Change what the running server logs, until it is restarted or reloaded.
    Log(Log),
    /// In a cluster: the SSH server, which makes a camera's pods when its tunnel comes up.
    #[cfg(feature = "kube")]
    Mon,
    /// In a cluster: signs puts and tickets for pods.
    #[cfg(feature = "kube")]
    Signer,
    /// In a cluster: makes a namespace with all that it needs of each Tenant.
    #[cfg(feature = "kube")]
    Tenants,
    /// In a cluster: deletes what has outlived its retention, and what is to be erased.
    #[cfg(feature = "kube")]
    Sweeper,
    /// Try the whole way of a cluster's installation with a simulated camera.
    #[cfg(feature = "kube")]
    ClusterCheck(Box<crate::cluster::check::ClusterCheck>),
    /// In a cluster: the viewers' side, for all tenants: RTSP, RTSPS, the page and its API.
    #[cfg(feature = "kube")]
    Frontdoor,
    /// Keys of a cluster's installation.
    #[cfg(feature = "kube")]
    #[command(subcommand)]
    Keys(Keys),
    /// Measure this machine: the server, and the real peers beside it.
    #[cfg(feature = "bench")]
    #[command(subcommand)]
    Bench(Bench),
    /// Join standard input and output with the running server's socket: what `user … --cluster` runs in a front door.
    #[cfg(feature = "kube")]
    #[command(hide = true)]
    Attach,
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the generated pages of the documentation.
    #[command(subcommand, hide = true)]
    Generate(Generate),
}

/// `moorline keys`
#[cfg(feature = "kube")]
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make the Secrets that the chart asks for: SSH host keys, authority and certificates of the inside, ticket key.
    Init(crate::cluster::keys::KeysInit),
    /// Renew them without a gap, in steps: authority and certificates of the inside, ticket key, and if asked for the SSH host keys.
    ///
    /// Each run makes the next step in the file of the Secrets and says what to type then. What is under way comes to its end before anything
    /// else begins. Host keys are two steps: cameras with an agent are told of the next ones by the first, and the second puts them into force.
    Rotate(crate::cluster::keys::KeysRotate),
}

/// `moorline host-key`
#[derive(Debug, Subcommand)]
pub enum HostKey {
    /// The keys in force, and those that cameras were told of for later.
    Show,
    /// Make the next keys into a directory that you then keep offline; cameras with an agent are told of them while they are connected.
    Prepare {
        /// Where the private keys go: an empty directory, on a medium of its own.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Put the next keys into force; the server must not run. Also the way back when the present ones were lost or stolen.
    Rotate {
        /// The directory that `host-key prepare` filled.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
}

/// `moorline generate`
#[derive(Debug, Subcommand)]
pub enum Generate {
    /// The pages of docs/reference.
    Reference {
        /// Directory to write to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// The definitions of the cluster's resources.
    #[cfg(feature = "kube")]
    Resources {
        /// Directory to write to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// Where to listen. Each overrides the configuration; port 0 takes a free one.
#[derive(Debug, Clone, Default, Args)]
pub struct Listen {
    /// SSH, for cameras.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen_ssh: Option<SocketAddr>,
    /// RTSP and RTSPS, for players.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen_rtsp: Option<SocketAddr>,
    /// HTTPS, for people.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen_https: Option<SocketAddr>,
    /// Plain HTTP with metrics and health; keep it on loopback.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen_admin: Option<SocketAddr>,
    /// Host name or address in every printed command and URL.
    #[arg(long, value_name = "HOST", value_parser = crate::serve::place::host_argument)]
    pub public_host: Option<String>,
}

/// `moorline demo`
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// Where to listen; default: free ports on loopback.
    #[command(flatten)]
    pub listen: Listen,
    /// Keep the data directory given by --data instead of a temporary one.
    #[arg(long)]
    pub keep: bool,
    /// Use the real `dbclient` (Debian: dropbear-bin) for the second camera's tunnel instead of our own SSH client.
    #[arg(long)]
    pub dbclient: bool,
    /// Leave after this long, such as 30s; default: on Ctrl-C.
    #[arg(long, value_name = "DURATION", hide = true)]
    pub leave_after: Option<String>,
}

/// `moorline alert`
#[derive(Debug, Subcommand)]
pub enum Alert {
    /// Send a test message by every configured channel.
    Test,
}

/// `moorline audit`
#[derive(Debug, Args)]
pub struct Audit {
    /// Which cluster, if any.
    #[cfg(feature = "kube")]
    #[command(flatten)]
    pub on: crate::cluster::choice::OnFrontDoor,
    /// From when on: 2026-11-20T21:10, 21:10, or 2h for two hours ago. Without it: all that is kept.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Until when. Without it: now.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// What was done to this camera, or by it.
    #[arg(long, value_name = "CAMERA")]
    pub camera: Option<String>,
    /// What this user did, or what was done to them; "command line" is whoever had the server's own socket.
    #[arg(long, value_name = "LOGIN")]
    pub user: Option<String>,
    /// Whose tenant.
    #[command(flatten)]
    pub of: OfTenant,
}

/// `moorline backup`
#[derive(Debug, Args)]
pub struct Backup {
    /// Where it goes.
    #[command(flatten)]
    pub file: NewFile,
    /// File with the passphrase; without it, it is asked for.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// `moorline restore`
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup.
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: PathBuf,
    /// File with the passphrase; without it, it is asked for.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// `moorline config`
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Say everything that is wrong, each with its field.
    Check,
    /// Print file and defaults, secrets masked; options of `serve` come on top.
    Show {
        /// Whose part of the configuration is printed.
        #[arg(long, value_enum, default_value_t)]
        role: ConfigRole,
    },
}

/// `moorline log`
#[derive(Debug, Args)]
pub struct Log {
    /// A filter such as info, or info,moorline_tunnel=debug
    pub filter: String,
}
