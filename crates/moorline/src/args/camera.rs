//! The arguments of `moorline camera`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{CameraEnroll, CameraMove, CameraRefer, CameraSnapshot, CameraWeb};

const ADD_EXAMPLES: &str = "Examples:
  moorline camera add yard --title \"Back yard\" --timezone Europe/Berlin
  moorline camera add gate --pending SHA256:…   # a stranger whose fingerprint you compared
  moorline camera add hall --rtsp rtsp://192.168.1.5/stream --login admin";

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
    /// Take its tunnel from these networks alone, such as 192.0.2.0/24, or from any; counts from its next login on.
    ///
    /// On a cluster where its load balancer shows from where a camera calls: kubectl get cam -o wide has the address as PEER.
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
