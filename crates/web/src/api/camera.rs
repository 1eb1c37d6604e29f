//! Cameras: how they are set, what they do, and what their agents are told.

use moorline_core::camera::{Access, Enabled, Record, RecordBy};
use moorline_core::network::Network;
use moorline_core::segment::{Retention, Tier};
use moorline_core::status::CameraStatus;
use moorline_core::streampoint::Streampoint;
use moorline_core::{PublicKey, Timestamp};
use serde::{Deserialize, Serialize};

/// What most cameras send, in bits per second: for an estimate where nothing is measured.
pub const USUAL_BITRATE: u64 = 2_000_000;

/// One camera, as it is set and what it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraView {
    /// `tenant/camera`.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// Where it hangs.
    pub site: Option<String>,
    /// IANA time zone.
    pub timezone: String,
    /// When it was added.
    pub created: Timestamp,
    /// Its keys.
    pub keys: Vec<KeyView>,
    /// How it is reached.
    pub access: Access,
    /// The full picture.
    pub main: SourceView,
    /// The smaller stream.
    pub sub: Option<SourceView>,
    /// What is recorded.
    pub record: Record,
    /// Who chose that.
    pub record_by: RecordBy,
    /// The server to which its agent takes its stream, if not this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streampoint: Option<Streampoint>,
    /// Networks from which alone its tunnels are taken; left out: from anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_from: Vec<Network>,
    /// The tier into which it is recorded.
    pub tier: Option<Tier>,
    /// How long.
    pub retention: Retention,
    /// Whether it may connect.
    pub enabled: Enabled,
    /// Recorded bytes per day at the present bitrate, once known.
    pub bytes_per_day: Option<u64>,
    /// How many days of all cameras the disk holds, once known: at their present bitrates, and at [`USUAL_BITRATE`] of those that are away.
    pub disk_days: Option<u32>,
    /// What it does (shape: [`CameraStatus`]).
    pub status: serde_json::Value,
    /// The stream's address for players, without a password.
    pub rtsp_url: String,
    /// In words, what is wrong and what to do about it, most important first.
    pub notes: Vec<String>,
}

impl CameraView {
    /// The status as the value that a view carries.
    pub fn status_value(status: Option<&CameraStatus>) -> serde_json::Value {
        status
            .and_then(|status| serde_json::to_value(status).ok())
            .unwrap_or_default()
    }
}

/// A key of a camera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// `SHA256:…`.
    pub fingerprint: String,
    /// The whole public key.
    pub key: PublicKey,
    /// When it was added.
    pub added: Timestamp,
    /// The owner's note.
    pub comment: String,
}

/// A source, without its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// Path of the RTSP URL; `None`: probed.
    pub path: Option<String>,
    /// The user of its login.
    pub user: Option<String>,
    /// Whether Basic may be answered.
    pub allow_basic: bool,
}

/// `POST /tenants/{tenant}/cameras`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraAdd {
    /// Its name: a DNS label.
    pub name: String,
    /// Public keys, as `authorized_keys` lines; may be empty only for a LAN camera.
    #[serde(default)]
    pub keys: Vec<String>,
    /// What people call it; default: the name.
    #[serde(default)]
    pub title: Option<String>,
    /// The rest.
    #[serde(flatten)]
    pub change: CameraPatch,
}

/// `PATCH /tenants/{tenant}/cameras/{camera}`: only the fields that are given change.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraPatch {
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_title: Option<String>,
    /// Where it hangs; an empty text clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// IANA time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// `rtsp://host[:port]/path` of a camera in our own network, without login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtsp: Option<String>,
    /// Path of the main stream; an empty text means: probe the known ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Path of the sub stream; an empty text clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    /// The camera's own login, for both streams; an empty text clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Whether Basic may be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_basic: Option<bool>,
    /// What to record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordAsked>,
    /// How many days to keep recordings, 1 to 999; 0: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u16>,
    /// Whether it may connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<Enabled>,
    /// Names of the second and further forwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwards: Option<Vec<String>>,
    /// Networks from which alone its tunnels are taken, such as `192.0.2.0/24`; an empty list: from anywhere. It counts from the next login on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_from: Option<Vec<String>>,
}

/// `POST /tenants/{tenant}/camera-import`: all of these cameras are added, or none.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CamerasImport {
    /// The cameras, at most [`CamerasImport::MOST`].
    pub cameras: Vec<CameraAdd>,
    /// Nothing is added; what would refuse them is told all the same.
    #[serde(default)]
    pub dry_run: bool,
}

impl CamerasImport {
    /// How many cameras one import may hold: some 300 ms of the registry's one writer, for which claims wait.
    pub const MOST: usize = 1_000;
}

/// What `POST /tenants/{tenant}/camera-import` added, or would have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CamerasImported {
    /// The cameras, as `tenant/camera`.
    pub cameras: Vec<String>,
    /// Nothing was added.
    pub dry_run: bool,
}

/// What is to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordAsked {
    /// The main stream, whatever the uplink drops.
    Main,
    /// The sub-stream.
    Sub,
    /// Nothing.
    Off,
    /// The main stream, and the sub-stream while the uplink cannot carry it.
    Auto,
}

impl From<Record> for RecordAsked {
    fn from(record: Record) -> Self {
        match record {
            Record::Main => Self::Main,
            Record::Sub => Self::Sub,
            Record::Off => Self::Off,
        }
    }
}

impl RecordAsked {
    /// What a record holds of it.
    pub fn chosen(self) -> (Record, RecordBy) {
        match self {
            Self::Main => (Record::Main, RecordBy::Owner),
            Self::Sub => (Record::Sub, RecordBy::Owner),
            Self::Off => (Record::Off, RecordBy::Owner),
            Self::Auto => (Record::Main, RecordBy::Auto),
        }
    }
}

/// `PUT …/streampoint`: the server to which the camera's agent takes its stream, while it goes on reporting here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreampointSet {
    /// Its host name or address.
    pub host: String,
    /// Its SSH port.
    pub port: u16,
    /// Its host keys, as base64 of the blob: one or two.
    pub keys: Vec<String>,
    /// What the camera is called there; default: as here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How long it may be used while this server is away, in seconds, at most 604,800; default: that long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
}

/// `POST …/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyAdd {
    /// A public key as an `authorized_keys` line, or the fingerprint of a pending stranger.
    pub key: String,
    /// A note.
    #[serde(default)]
    pub comment: String,
}

/// `POST …/agent`: a line for the camera's agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentTold {
    /// `CONFIG …`, `REFER …` or `REBOOT` of MOORLINE/1.
    pub line: String,
}
