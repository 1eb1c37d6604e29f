//! What the HTTP API speaks: requests and answers as JSON. The command line, the page and programs use the same.
//!
//! Paths begin with `/api/v1`. A camera is `/tenants/{tenant}/cameras/{camera}`. Errors are `application/problem+json` ([`Problem`]).

use std::net::IpAddr;

use moorline_core::camera::{Access, Enabled, Record, RecordBy};
use moorline_core::coverage::Row;
use moorline_core::network::Network;
use moorline_core::port::AuditEvent;
use moorline_core::segment::{Retention, Tier};
use moorline_core::status::CameraStatus;
use moorline_core::streampoint::Streampoint;
use moorline_core::user::{LoginName, Role};
use moorline_core::{Cause, PublicKey, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

/// An error (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable name of the kind, such as `unknown_camera`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is wrong, in one sentence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Which field of the request is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Finds the detail in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Of a list: what is wrong with which of its rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<RowProblem>,
}

/// `GET /server`: where things are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerView {
    /// The version of the program.
    pub version: String,
    /// The host name in printed commands and URLs.
    pub public_host: String,
    /// Nobody set it: it is an address of this machine, which cameras elsewhere may not reach.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public_host_guessed: bool,
    /// Ports as the outside sees them.
    pub ports: Ports,
    /// Lines for a camera's `known_hosts`, one per host key.
    pub known_hosts: Vec<String>,
    /// Host keys that this server will have next (`moorline host-key prepare`), as base64: pinned by agents ahead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_host_keys: Vec<String>,
    /// The disk with recordings.
    pub disk: Option<DiskView>,
    /// Whether recordings go to a bucket.
    pub store: String,
}

/// Ports as the outside sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// SSH, for cameras.
    pub ssh: u16,
    /// RTSP and RTSPS, for players.
    pub rtsp: u16,
    /// HTTPS, for people.
    pub https: u16,
}

/// The disk with recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskView {
    /// Its size in bytes.
    pub total: u64,
    /// What is free.
    pub free: u64,
    /// What recordings may use at most.
    pub bound: u64,
    /// What recordings use.
    pub used: u64,
}

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
    /// How many days the disk holds at the present bitrate of all cameras, once known.
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

/// What is wrong with one of several cameras.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowProblem {
    /// Its place in the request's list, from 0.
    pub row: usize,
    /// What is wrong, in one sentence.
    pub title: String,
    /// Which field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
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

/// `POST /agent-releases`: a signed build of the on-camera agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentReleaseAdd {
    /// The release file, in base64.
    pub release: String,
}

/// A release of the on-camera agent, and how far it is rolled out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReleaseView {
    /// The target triple that it was built for.
    pub target: String,
    /// Its version.
    pub version: String,
    /// Its size.
    pub bytes: u64,
    /// How far it goes: `off`, `one`, `1%` to `99%`, `all`.
    pub roll_out: String,
    /// Why it has stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// The cameras that were offered it.
    pub cameras: Vec<String>,
    /// Those of them whose agent is this one now.
    pub updated: Vec<String>,
    /// Those that took it back.
    pub failed: Vec<String>,
}

/// `PUT /agent-releases/{target}/{version}/roll-out`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentRollOut {
    /// How far it goes: `off`, `one`, `1%` to `99%`, `all`.
    pub to: String,
}

/// `POST /tenants/{tenant}/enrolments`: a token that makes cameras.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentAdd {
    /// The one camera that it makes, or to which it adds a key (with `again`); else a prefix is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// The one camera is there already, and another device may be it from now on.
    #[serde(default)]
    pub again: bool,
    /// The beginning of the names of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// How many cameras a batch makes, 1 to 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// How long it may be used, in seconds; default: 24 hours; at most a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// A note.
    #[serde(default)]
    pub comment: String,
    /// What people call the camera; default: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where its cameras hang.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// IANA time zone of its cameras; default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// What to record of them; default: `auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordAsked>,
    /// How many days to keep recordings, 1 to 999; 0: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u16>,
}

/// A token, without itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentView {
    /// Its number.
    pub id: i64,
    /// The one camera that it makes, as `tenant/name`.
    pub camera: Option<String>,
    /// The beginning of the names of a batch.
    pub prefix: Option<String>,
    /// How many cameras it makes in all.
    pub count: u32,
    /// How many it may still make.
    pub left: u32,
    /// The cameras that it made, as `tenant/name`, oldest first.
    pub cameras: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is not accepted.
    pub expires: Timestamp,
    /// Whether it was revoked.
    pub revoked: bool,
    /// The owner's note.
    pub comment: String,
    /// The last use by a key too many: somebody has a copy of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<ReuseView>,
}

/// A camera that a batch made and that nobody has claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockView {
    /// As `tenant/name`.
    pub camera: String,
    /// When it enrolled.
    pub enrolled: Timestamp,
    /// What its firmware said when it did: model and hardware address, foreign text.
    pub device: String,
}

/// `POST …/claim`: what its owner calls it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimAsked {
    /// What people call it.
    pub title: String,
    /// Where it hangs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
}

/// A use of a spent enrolment token by another key, refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReuseView {
    /// When, the last time.
    pub at: Timestamp,
    /// From where, the last time.
    pub from: IpAddr,
    /// The fingerprint of the key, the last time.
    pub key: String,
    /// How often in all.
    pub times: u32,
}

/// A token that was made: it is shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentMade {
    /// The token.
    pub token: String,
    /// The rest.
    #[serde(flatten)]
    pub view: EnrolmentView,
}

/// A refused stranger (`GET /strangers`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrangerView {
    /// `SHA256:…`.
    pub fingerprint: String,
    /// The key that was offered.
    pub key: PublicKey,
    /// The user name that it used last, control characters escaped.
    pub name: String,
    /// The user names that it used, the last one first, at most eight, control characters escaped.
    #[serde(default)]
    pub names: Vec<String>,
    /// Its last address.
    pub peer: String,
    /// The SSH client's version line, control characters escaped.
    pub client: String,
    /// When it was seen first.
    pub first: Timestamp,
    /// When it was seen last.
    pub last: Timestamp,
    /// How often.
    pub tries: u64,
    /// Why it was refused.
    pub reason: String,
    /// For so many seconds more its network gets no connection, after too many tries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_off_seconds: Option<u64>,
}

/// `POST /session`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The login name.
    pub login: String,
    /// The web password.
    pub password: String,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// How they sign in.
    pub login: LoginName,
    /// Whose cameras they see.
    pub tenant: TenantId,
    /// What they may do.
    pub role: Role,
    /// When they were added.
    pub created: Timestamp,
}

/// `POST /tenants/{tenant}/users`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserAdd {
    /// The login name.
    pub login: String,
    /// What they may do.
    pub role: Role,
    /// The web password; `None`: one is made.
    #[serde(default)]
    pub password: Option<String>,
}

/// What a user signs in with. Shown once.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    /// The login name.
    pub login: LoginName,
    /// The web password, if the server made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The stream password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_password: Option<String>,
}

/// `PUT /tenants/{tenant}/users/{login}/password`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordSet {
    /// The new web password; `None`: one is made.
    #[serde(default)]
    pub password: Option<String>,
}

/// `GET …/coverage?from=…&to=…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoverageView {
    /// The rows, the open gap included.
    pub rows: Vec<Row>,
    /// Up to where everything is durable or explained.
    pub durable_until: Option<Timestamp>,
    /// The server's clock.
    pub now: Timestamp,
}

/// A stored object or a stretch in the spool (`GET …/segments`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentView {
    /// Its first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
    /// `recorded`, `gap`, `expired` or `unexplained`; in the command line's `--source` also `other`: only the other stream was recorded.
    pub kind: String,
    /// A gap's cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// `store`, `spool` or `open`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// The tier that was recorded: `full`, `low` or `idr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Its key, for `segments get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What an export left out, since it cannot be read: a list of these stands in the trailer [`UnreadView::TRAILER`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadView {
    /// Its first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
    /// The object.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

impl UnreadView {
    /// The trailer's name. It comes behind the body, to who says `TE: trailers`, and not at all if all could be read.
    pub const TRAILER: &str = "x-unread";
}

/// How an export that was named by `?receipt=` goes on (`GET …/exports/{receipt}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportView {
    /// Where it is.
    pub state: ExportState,
    /// What it left out, since it cannot be read: known when it has ended.
    pub unread: Vec<UnreadView>,
}

/// Where an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportState {
    /// The file is being sent.
    Running,
    /// All of it was sent.
    Ended,
    /// It was refused, or ended early: the file is not whole.
    Broken,
}

/// What `segments verify` found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VerifyView {
    /// Objects looked at.
    pub objects: u64,
    /// Of those, read and compared byte for byte with their digest or structure.
    pub read: u64,
    /// What is wrong, one line per finding.
    pub findings: Vec<VerifyFinding>,
}

/// One thing that is wrong in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyFinding {
    /// Whose recording it is: `tenant/camera`.
    pub camera: String,
    /// `lost` or `damaged`.
    pub kind: String,
    /// The object, or the take and the numbers in it that are missing; empty where neither is known.
    pub key: String,
    /// In words.
    pub why: String,
    /// From when on something is missing, if that is what was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

/// One entry of the audit: who did what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditView {
    /// When.
    pub at: Timestamp,
    /// Who: a login, `camera …`, or `command line` for the machine's own socket (`operator` in entries of versions before).
    pub actor: String,
    /// What.
    pub event: AuditEvent,
    /// On what: a camera, a user, a stretch.
    pub subject: String,
}

/// How one channel of `POST /alert/test` ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertResult {
    /// `webhook` or `email`.
    pub channel: String,
    /// Why it failed; `None`: it went out.
    pub error: Option<String>,
}

/// One finding of `GET /doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorFinding {
    /// `ok`, `warning` or `problem`.
    pub level: String,
    /// What was looked at.
    pub check: String,
    /// What was found.
    pub finding: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// `PUT /log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    /// A filter such as `info` or `info,moorline_tunnel=debug`.
    pub filter: String,
}

/// `GET /me`: who is signed in, and how to watch with a player.
#[derive(Clone, Serialize, Deserialize)]
pub struct Me {
    /// Who.
    pub user: UserView,
    /// The stream password, for the copy button (rule S12).
    pub stream_password: String,
    /// The host name in URLs.
    pub public_host: String,
    /// Ports as the outside sees them.
    pub ports: Ports,
}
