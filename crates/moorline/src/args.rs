//! The command line: one table makes parser, help, completions and the reference page.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use moorline_base::error::Hinted;

mod agents;
#[cfg(feature = "bench")]
mod bench;
mod config_role;
mod people;
mod reach_in;

pub use agents::{AgentRelease, CameraEnroll, CameraMove, CameraRefer};
#[cfg(all(feature = "bench", feature = "kube"))]
pub use bench::ClusterBench;
#[cfg(feature = "bench")]
pub use bench::{Bench, BenchOptions, RelayPart, SshPart};
pub use config_role::ConfigRole;
pub use people::{OfTenant, Role, User, UserCommand};
pub use reach_in::{CameraSnapshot, CameraWeb};

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
    #[command(subcommand)]
    AgentRelease(AgentRelease),
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
    /// else begins. Host keys are one step, and cameras that pin the old ones have to be told.
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

const ADD_EXAMPLES: &str = "Examples:
  moorline camera add yard --title \"Back yard\" --timezone Europe/Berlin
  moorline camera add gate --pending SHA256:…   # a stranger whose fingerprint you compared
  moorline camera add hall --rtsp rtsp://192.168.1.5/stream --login admin";

const EXPORT_EXAMPLES: &str = "Examples:
  moorline segments export yard --from 21:10 --to 21:20 -f clip.mp4
  moorline segments export yard --from \"2026-11-20 21:10\" --to \"2026-11-20 21:20\" -f clip.mp4
  moorline segments export yard --from 10m -f clip.mp4   # the last ten minutes";

/// `moorline camera`
#[derive(Debug, Args)]
pub struct CameraCommand {
    /// Which cluster, if any.
    #[cfg(feature = "kube")]
    #[command(flatten)]
    pub on: crate::cluster::choice::OnCluster,
    /// Which installation, for what its replicas alone know.
    #[cfg(feature = "kube")]
    #[command(flatten)]
    pub at: crate::cluster::choice::Installation,
    /// What to do.
    #[command(subcommand)]
    pub command: Camera,
}

/// What to do with cameras.
#[derive(Debug, Subcommand)]
pub enum Camera {
    /// Add a camera and print what to type on it.
    ///
    /// Without --key, --pending or --rtsp a key pair is made, and the private key is written in Dropbear's format into a file that
    /// you copy to the camera.
    #[command(after_help = ADD_EXAMPLES)]
    Add(Box<CameraAdd>),
    /// Add many cameras from a CSV file, all or none; every wrong row is told with its line.
    ///
    /// The first line names the columns, in any order: name, and as camera add takes them title, site, timezone, key (a public key, a file with
    /// it, or the fingerprint of a pending one), rtsp, path, sub_path, login, password_file, allow_basic, record, keep, forward, allow_from.
    /// An empty cell is left out. Each camera needs a key or rtsp.
    ///
    /// On a cluster one after the other: what would be refused is asked first, and those that were made are taken back if one cannot be.
    Import(CameraImport),
    /// All cameras and what they do.
    List,
    /// One camera: how it is set, what it does, what to do about what is wrong.
    Show(CameraName),
    /// Walk the chain to a camera, link by link, and say which one is broken: what the server sees, then what its agent finds.
    ///
    /// On a cluster: what its Camera says; who was refused, and what its agent finds, is asked by kubectl exec, where you may enter the pods of mon.
    Diagnose(CameraName),
    /// Send a connected camera to another server: from now on its agent calls there first, and here only when it cannot.
    ///
    /// The camera's key must be known there: `camera key` on this server shows it.
    ///
    /// On a cluster by kubectl exec into the pod of mon that holds its tunnel.
    Move(CameraMove),
    /// Send a camera's stream to another server, while its agent goes on reporting here (REFER); --here takes it back.
    ///
    /// The camera's key must be known there. For good, and without this server, use `camera move`.
    ///
    /// Not on a cluster.
    Refer(CameraRefer),
    /// Let a connected camera's agent make another key and call with it; revoke the old one when it has.
    ///
    /// On a cluster by kubectl exec into the pod of mon that holds its tunnel.
    Rekey(CameraName),
    /// Let a connected camera's agent reboot it: when its sensor or its streamer hangs. In the first minute after its start it does not.
    ///
    /// On a cluster by kubectl exec into the pod of mon that holds its tunnel.
    Reboot(CameraName),
    /// Set a connected camera's agent: queue BYTES, watchdog on|off, source 127.0.0.1:PORT, reboot-after SECONDS, endpoint.N - (no server in place N any more).
    ///
    /// On a cluster by kubectl exec into the pod of mon that holds its tunnel.
    Agent {
        /// The camera.
        camera: String,
        /// What to set.
        key: String,
        /// The value.
        value: String,
    },
    /// Change a camera.
    Set(CameraSet),
    /// Refuse a camera from now on; its session ends at once.
    Disable {
        /// The camera.
        camera: String,
        /// It was stolen: every later call of its key is logged with the address it came from.
        #[arg(long)]
        stolen: bool,
    },
    /// Let a disabled camera in again.
    Enable(CameraName),
    /// End a camera's tunnel; it may come back.
    HangUp(CameraName),
    /// Look at a camera's own page: open a port of this machine's loopback that leads to the camera's web server, until Ctrl-C.
    ///
    /// Both sides have to allow it: here `camera set CAMERA --forward http`, and on the camera `http 80` in its local.conf, or a
    /// second -R of its dbclient. Whoever is on this machine meanwhile can use the port; from another machine go by ssh -L.
    ///
    /// On a cluster by kubectl exec into the pod of mon that holds its tunnel.
    Web(CameraWeb),
    /// Fetch one JPEG picture from a camera's own web server, by the way of `camera web`; at most 1 MiB.
    Snapshot(CameraSnapshot),
    /// Remove a camera; its recordings stay.
    Rm {
        /// The camera.
        camera: String,
        /// Delete its recordings too.
        #[arg(long)]
        erase: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Keys that prove a camera.
    #[command(subcommand)]
    Key(CameraKey),
    /// Who knocked and was refused: add one by its fingerprint with `camera add NAME --pending SHA256:…`.
    ///
    /// On a cluster all pods of mon are asked, by kubectl exec.
    Pending,
    /// Write the file by which a camera with moorline-agent enrols itself; the file goes onto its SD card.
    ///
    /// With --batch the file makes that many cameras, NAME-1, NAME-2, …; one card image serves them all.
    ///
    /// On a cluster the cameras are made with the file, without a key, and a camera has one token at a time.
    Enroll(Box<CameraEnroll>),
    /// Enrolment tokens, what they made and what is left of them.
    Enrolments,
    /// Take an enrolment token back; the cameras that it made stay.
    Unenroll {
        /// The token's number, as `camera enrolments` shows it.
        id: i64,
    },
}

impl Camera {
    /// Whether only a running server can do it: it holds the tunnels.
    pub fn needs_a_server(&self) -> bool {
        matches!(self, Self::Web(_) | Self::Snapshot(_))
    }
}

/// A camera by name.
#[derive(Debug, Args)]
pub struct CameraName {
    /// The camera.
    pub camera: String,
}

/// What can be set of a camera.
#[derive(Debug, Clone, Default, Args)]
pub struct CameraFields {
    /// What people call it: any text.
    #[arg(long)]
    pub title: Option<String>,
    /// Where it hangs: cameras of one site that fail together make one alarm.
    #[arg(long)]
    pub site: Option<String>,
    /// IANA time zone in which its days are shown, such as Europe/Berlin; a new camera has this machine's.
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// A camera in your own network, without a tunnel: rtsp://192.168.1.5/stream
    #[arg(long, value_name = "URL")]
    pub rtsp: Option<String>,
    /// Path of its main stream, such as /ch0; default: the known ones are tried.
    #[arg(long)]
    pub path: Option<String>,
    /// Path of its smaller second stream.
    #[arg(long, value_name = "PATH")]
    pub sub_path: Option<String>,
    /// User of the camera's own login; its password is asked for, or read from the file.
    #[arg(long, value_name = "USER")]
    pub login: Option<String>,
    /// File with the password of the camera's own login.
    #[arg(long, value_name = "FILE", requires = "login")]
    pub password_file: Option<PathBuf>,
    /// Let the camera ask for its password in clear text (Basic), which shows it to whoever listens there.
    #[arg(long, value_name = "true|false")]
    pub allow_basic: Option<bool>,
    /// What to record.
    #[arg(long, value_enum)]
    pub record: Option<Record>,
    /// How long to keep recordings, such as 14d; 0d keeps them until somebody deletes them.
    #[arg(long, value_name = "DAYS")]
    pub keep: Option<String>,
    /// Names of the second and further forwards that it asks for, such as http, or none.
    #[arg(long, value_name = "NAME|none")]
    pub forward: Vec<String>,
    /// Take its tunnel from these networks alone, such as 192.0.2.0/24, or from any; counts from its next login on. Not on a cluster.
    #[arg(long, value_name = "CIDR,…|any", value_delimiter = ',')]
    pub allow_from: Vec<String>,
}

/// What to record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Record {
    /// The full picture.
    Main,
    /// The smaller stream.
    Sub,
    /// Nothing.
    Off,
    /// The full picture, and the smaller stream while the uplink cannot carry it.
    Auto,
}

/// `moorline camera add`
#[derive(Debug, Args)]
pub struct CameraAdd {
    /// Its name, used in URLs and as SSH user: a-z, 0-9 and -. It never changes.
    pub name: String,
    /// A file with its public key (`dropbearkey -y -f KEY` prints it), or the line itself.
    #[arg(long, value_name = "FILE|LINE", conflicts_with = "pending")]
    pub key: Option<String>,
    /// The fingerprint of a refused stranger, as `camera pending` shows it.
    #[arg(long, value_name = "SHA256:…")]
    pub pending: Option<String>,
    /// Kind of key to make: ecdsa for dropbear before 2020.79.
    #[arg(long, value_enum, default_value_t = KeyKind::Ed25519)]
    pub key_kind: KeyKind,
    /// File for the private key that is made; default: NAME.key here.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// The rest.
    #[command(flatten)]
    pub fields: CameraFields,
}

/// `moorline camera import`
#[derive(Debug, Args)]
pub struct CameraImport {
    /// The CSV file; at most 1,000 cameras.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Look for what is wrong, and add nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Kind of key to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeyKind {
    /// For dropbear from 2020.79 on.
    Ed25519,
    /// For older ones.
    Ecdsa,
}

/// `moorline camera set`
#[derive(Debug, Args)]
pub struct CameraSet {
    /// The camera.
    pub camera: String,
    /// What to change.
    #[command(flatten)]
    pub fields: CameraFields,
}

/// `moorline camera key`
#[derive(Debug, Subcommand)]
pub enum CameraKey {
    /// Add a key.
    Add {
        /// The camera.
        camera: String,
        /// A file with the public key, the line itself, or the fingerprint of a pending stranger.
        key: String,
        /// A note.
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Take a key away; sessions that it opened end at once.
    Revoke {
        /// The camera.
        camera: String,
        /// Its fingerprint, SHA256:…
        fingerprint: String,
    },
}

/// A stretch of time.
#[derive(Debug, Clone, Args)]
pub struct Stretch {
    /// Its first instant: 2026-11-20T21:10:05Z, "2026-11-20 21:10" in the camera's time zone, the last 21:10, or an age such as 2h.
    #[arg(long)]
    pub from: String,
    /// Its end, written likewise (21:10: the first one after the beginning); default: now.
    #[arg(long)]
    pub to: Option<String>,
}

/// Which of a camera's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// The full picture.
    Main,
    /// The smaller stream.
    Sub,
}

/// `moorline segments`
#[derive(Debug, Subcommand)]
pub enum Segments {
    /// What is recorded, and why what is missing is missing.
    List {
        /// The camera.
        camera: String,
        /// Its beginning: an age such as 2h, 21:10, "2026-11-20 21:10", or 2026-11-20T21:10:05Z.
        #[arg(long, default_value = "24h")]
        from: String,
        /// Its end; default: now.
        #[arg(long)]
        to: Option<String>,
        /// Recordings of one stream alone, main or sub; default: the best at each instant.
        #[arg(long, value_enum)]
        source: Option<Source>,
    },
    /// Fetch one stored segment by its key.
    Get {
        /// The key, as `segments list --output json` shows it.
        key: String,
        /// Where it goes.
        #[command(flatten)]
        target: Target,
    },
    /// Make one MP4 of a stretch of at most 25 hours, without re-encoding.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export {
        /// The camera.
        camera: String,
        /// The stretch.
        #[command(flatten)]
        stretch: Stretch,
        /// Recordings of one stream alone, main or sub; default: the best at each instant.
        #[arg(long, value_enum)]
        source: Option<Source>,
        /// Where it goes.
        #[command(flatten)]
        target: Target,
    },
    /// Find what the store lost or spoiled.
    Verify {
        /// The camera; default: all.
        camera: Option<String>,
        /// Its beginning, as in `segments list`; default: everything kept.
        #[arg(long)]
        from: Option<String>,
        /// Its end; default: now.
        #[arg(long)]
        to: Option<String>,
        /// Read every object instead of a sample.
        #[arg(long)]
        full: bool,
        /// Recordings of one stream alone, main or sub; default: of both.
        #[arg(long, value_enum)]
        source: Option<Source>,
    },
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

/// A file to be written, which nobody's other file gives way to unasked.
#[derive(Debug, Args)]
pub struct NewFile {
    /// File to write to.
    #[arg(long, short = 'f', value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it is there already.
    #[arg(long)]
    force: bool,
}

impl NewFile {
    /// The file.
    ///
    /// # Errors
    /// It is there already.
    pub fn path(&self) -> anyhow::Result<&Path> {
        free(&self.file, self.force)
    }
}

/// A file to be written, or standard output.
#[derive(Debug, Args)]
pub struct Target {
    /// File to write to; - for standard output.
    #[arg(long, short = 'f', value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it is there already.
    #[arg(long)]
    force: bool,
}

impl Target {
    /// The file.
    ///
    /// # Errors
    /// It is there already.
    pub fn path(&self) -> anyhow::Result<&Path> {
        match self.file == Path::new("-") {
            true => Ok(&self.file),
            false => free(&self.file, self.force),
        }
    }
}

fn free(file: &Path, force: bool) -> anyhow::Result<&Path> {
    if !force && file.symlink_metadata().is_ok() {
        anyhow::bail!(Hinted::new(
            format!("{} is there already", file.display()),
            "name another file, or add --force to replace it",
        ));
    }
    Ok(file)
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
