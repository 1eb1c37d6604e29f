use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use moorline_core::Timestamp;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Newer, OnDelete};

/// The greatest generation: object keys carry it with ten digits.
pub(crate) const GREATEST_GENERATION: u64 = 9_999_999_999;

/// A camera, as its owner describes it.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "moorline.dev",
    version = "v1alpha1",
    kind = "Camera",
    namespaced,
    shortname = "cam",
    category = "moorline",
    status = "CameraStatus",
    derive = "PartialEq",
    doc = "A camera behind a reverse tunnel, and what becomes of its pictures. Its namespace is t-<tenant>.",
    selectable = ".status.session.mon",
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "MON", type_ = "string", json_path = ".status.session.mon"),
    printcolumn(name = "ARCHIVING", type_ = "string", json_path = ".status.conditions[?(@.type==\"Archiving\")].status"),
    printcolumn(name = "SINCE", type_ = "date", json_path = ".status.session.since"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "GENERATION", type_ = "integer", json_path = ".status.session.generation", priority = 1),
    printcolumn(name = "ADDRESS", type_ = "string", json_path = ".status.session.address", priority = 1),
    printcolumn(name = "PEER", type_ = "string", json_path = ".status.session.peer", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')").message("a camera's name is a DNS label of at most 63 characters, without dots"),
    validation = Rule::new("!has(self.spec.sources.main.login) || self.spec.sources.main.login.passwordSecretRef.name == self.metadata.name + '-rtsp'").message("the password lies in the Secret <camera>-rtsp of the same namespace"),
    validation = Rule::new("!has(self.spec.sources.sub) || !has(self.spec.sources.sub.login) || self.spec.sources.sub.login.passwordSecretRef.name == self.metadata.name + '-rtsp'").message("the password lies in the Secret <camera>-rtsp of the same namespace"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.session) || (has(self.status) && has(self.status.session) && self.status.session.generation >= oldSelf.status.session.generation)").message("a camera's generation never falls, and its session is never removed"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.enrolledKey) || (has(self.status) && has(self.status.enrolledKey) && (self.status.enrolledKey.tokenHash == oldSelf.status.enrolledKey.tokenHash ? self.status.enrolledKey.key == oldSelf.status.enrolledKey.key : has(self.spec.enrolment) && self.spec.enrolment.tokenHash == self.status.enrolledKey.tokenHash && self.spec.enrolment.tokenHash != oldSelf.status.enrolledKey.tokenHash))").message("a token is spent once: enrolledKey changes with another token of spec.enrolment only"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.record != 'sub' || has(self.sources.sub)").message("record is sub, and the camera has no sub source"),
    validation = Rule::new("!has(self.recordBy) || self.recordBy != 'auto' || self.record == 'main'").message("recordBy auto goes with record main"),
    validation = Rule::new("!self.stolen || !self.enabled").message("a stolen camera is not enabled: set enabled to false too"),
    validation = Rule::new("!has(self.allowFrom) || self.allowFrom.all(one, isIP(one) || (isCIDR(one) && cidr(one) == cidr(one).masked()))").message("allowFrom lists networks such as 192.0.2.0/24 or 2001:db8::/32, without bits beyond the prefix, or addresses"),
)]
pub struct CameraSpec {
    /// Whether it may connect.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// It was reported stolen: refused, and every call of its key is logged as a warning. Goes with `enabled: false`.
    #[serde(default)]
    pub stolen: bool,
    /// What people call it: any text on one line. Its name, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub title: Option<String>,
    /// Where it hangs: cameras of one site that fail together make one alarm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub site: Option<String>,
    /// The IANA time zone in which its days are shown, such as Europe/Berlin.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub timezone: String,
    /// The CameraClass: image, resources and patience of its pods.
    #[serde(default = "class")]
    #[schemars(length(min = 1, max = 63))]
    pub class: String,
    /// The public keys that prove it, as `dropbearkey -y` prints them; the third word is a note.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 512)))]
    pub keys: Vec<String>,
    /// The token by which one device becomes this camera: one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<EnrolmentSpec>,
    /// Names of its second and further remote forwards, in order. The first is always rtsp.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 63)))]
    pub forwards: Vec<String>,
    /// Networks from which alone its tunnels are taken, such as 192.0.2.0/24, or single addresses; none: from anywhere. Counts from its next login on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 43)))]
    pub allow_from: Vec<String>,
    /// Another server that takes its stream, while its agent goes on reporting here. Without one it streams here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streampoint: Option<StreampointSpec>,
    /// Its streams.
    #[serde(default)]
    pub sources: Sources,
    /// What is recorded: the main stream, the sub stream, or nothing.
    #[serde(default = "main")]
    #[schemars(schema_with = "record_schema")]
    pub record: String,
    /// Who chose that: owner, or auto. With auto the sub stream is recorded while the uplink cannot carry the main one.
    // No default: it would be read into Cameras from before, and an upgrade would change what is recorded of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "record_by_schema")]
    pub record_by: Option<String>,
    /// How long recordings are kept: days from 1d to 999d, or keep.
    #[serde(default = "retention")]
    #[schemars(regex(pattern = r"^([1-9][0-9]{0,2}d|keep)$"))]
    pub retention: String,
    /// What becomes of its recordings when it is deleted: keep (they go by their age) or erase.
    #[serde(default)]
    #[schemars(schema_with = "super::on_delete_schema")]
    pub on_delete: OnDelete,
    /// Fields of a newer release.
    #[serde(flatten)]
    #[schemars(skip)]
    pub newer: Newer,
}

/// A token by which whoever holds it becomes the camera, with a key of its own, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrolmentSpec {
    /// The SHA-256 of the token, as sha256: and 64 hex digits. The token itself stands in the file for the camera alone.
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub token_hash: String,
    /// From when on it is not accepted.
    #[schemars(schema_with = "instant_schema")]
    pub expires: Timestamp,
    /// It was taken back: it is not accepted, and a key that came by it counts only if it stands in keys.
    #[serde(default)]
    pub revoked: bool,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "instant_schema")]
    pub created: Option<Timestamp>,
    /// Of a batch the beginning of its names. Cameras of a tenant that have one token share it, each for one device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    pub batch: Option<String>,
    /// Of a batch: somebody has recognized this camera and given it a name.
    #[serde(default)]
    pub claimed: bool,
    /// The owner's note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub comment: Option<String>,
}

/// Another server for a camera's stream, as its agent is told by REFER of MOORLINE/1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreampointSpec {
    /// What the camera is called there: tenant/camera.
    #[schemars(length(min = 1, max = 127), regex(pattern = r"^[a-z0-9/][a-z0-9/-]*$"))]
    pub user: String,
    /// Its host name or address, without brackets.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[A-Za-z0-9.:][A-Za-z0-9.:-]*$")
    )]
    pub host: String,
    /// Its SSH port.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
    /// Its host keys, each as algorithm and base64: one, or two different ones.
    #[schemars(length(min = 1, max = 2), inner(length(min = 1, max = 512)))]
    pub keys: Vec<String>,
    /// How long it may be used while this installation is away, in seconds; without it as long as the greatest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 604_800))]
    pub ttl: Option<u32>,
}

/// A camera's streams.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sources {
    /// The full picture.
    #[serde(default)]
    pub main: SourceSpec,
    /// The camera's smaller second stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<SourceSpec>,
}

/// One stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceSpec {
    /// Path and query of its RTSP URL, from the first / on. Without one it is what the camera's agent finds; without an agent the known paths are tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
    /// The camera's own login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginSpec>,
    /// Whether Basic may be answered, which shows the password to whoever listens. Digest always may.
    #[serde(default)]
    pub allow_basic: bool,
}

/// A camera's own login.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoginSpec {
    /// The user.
    #[schemars(length(min = 1, max = 200))]
    pub user: String,
    /// Where the password lies. The relay's pod mounts it; nothing else reads it.
    pub password_secret_ref: PasswordReference,
}

/// A key of a Secret in the Camera's namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordReference {
    /// The Secret: `<camera>-rtsp`, no other.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its key.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// What Moorline knows of a camera. Written with the resource version that was read, always.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CameraStatus {
    /// The metadata.generation that this status belongs to. Has nothing to do with session.generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The newest claim. Without a holder it keeps its generation and loses mon, address and peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// Since when, and why, no tunnel is held; absent while one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away: Option<Away>,
    /// The relay pod and its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayStatus>,
    /// What the camera's agent says of its streams. It fills in what spec.sources leaves open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    /// That the sub stream is recorded, since the uplink cannot carry the main one; absent while it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<UplinkStatus>,
    /// The release of the agent that it was offered last, and what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<AgentUpgrade>,
    /// Who spent the token of spec.enrolment. The key counts as one of spec.keys while that token stands there and is not revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled_key: Option<EnrolledKey>,
    /// The retention classes under which it has recorded, the newest last: what waits in a spool carries the class of its day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 4)))]
    pub classes: Vec<String>,
    /// Connected, WorkloadsReady, RelayReady, Archiving, Ready; DuplicateKey where a key belongs to an older camera; UplinkSlow where the uplink has chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Fields of a newer release.
    #[serde(flatten)]
    #[schemars(skip)]
    pub newer: Newer,
}

impl CameraStatus {
    /// Most classes that are kept; the oldest leaves first.
    const CLASSES: usize = 16;

    /// A claim replaces the one before it. What a newer release keeps beside that stays: it may have a rule that it is never removed, and no replica
    /// could take the camera then.
    pub(crate) fn claimed(&mut self, mut session: Session) {
        session.newer = self.session.take().unwrap_or_default().newer;
        self.session = Some(session);
    }

    /// The camera records under this class from now on.
    pub(crate) fn records_under(&mut self, retention: &str) {
        if self.classes.last().is_some_and(|last| last == retention) {
            return;
        }
        self.classes.retain(|class| class != retention);
        self.classes.push(retention.to_owned());
        let surplus = self.classes.len().saturating_sub(Self::CLASSES);
        self.classes.drain(..surplus);
    }
}

/// A claim.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Counts claims; never falls.
    #[schemars(range(min = 0, max = 9_999_999_999_u64))]
    pub generation: u64,
    /// The replica that holds the tunnel, by its pod's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mon: Option<String>,
    /// The tunnel gateway of that replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// When it was claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "instant_schema")]
    pub since: Option<Timestamp>,
    /// Where the camera calls from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Fields of a newer release.
    #[serde(flatten)]
    #[schemars(skip)]
    pub newer: Newer,
}

/// Why there is no tunnel: what a replica that starts anew tells the next archiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Away {
    /// The first instant without media.
    #[schemars(schema_with = "instant_schema")]
    pub since: Timestamp,
    /// The cause, from the closed list of gaps.
    pub cause: String,
    /// The instant up to which everything was durable or explained when the archiver had drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "instant_schema")]
    pub durable_until: Option<Timestamp>,
    /// The end of the newest recording that was durable by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "instant_schema")]
    pub recorded_until: Option<Timestamp>,
    /// Since when recording stands still, as somebody was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "instant_schema")]
    pub alarmed_since: Option<Timestamp>,
    /// Fields of a newer release.
    #[serde(flatten)]
    #[schemars(skip)]
    pub newer: Newer,
}

/// The relay in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayStatus {
    /// The uid of its pod.
    pub uid: String,
    /// The SHA-256 of its own TLS key, as sha256: and 64 hex digits.
    pub spki: String,
    /// Fields of a newer release.
    #[serde(flatten)]
    #[schemars(skip)]
    pub newer: Newer,
}

/// What the camera's agent says of its streams.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The full picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<FoundSource>,
    /// The smaller second stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<FoundSource>,
    /// Fields of a newer release.
    #[serde(flatten)]
    #[schemars(skip)]
    pub newer: Newer,
}

/// One stream, as the camera's agent says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundSource {
    /// Path and query of its RTSP URL.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    /// Its codec, such as h264.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub codec: Option<String>,
    /// Its size, such as 1920x1080.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub size: Option<String>,
    /// Fields of a newer release.
    #[serde(flatten)]
    #[schemars(skip)]
    pub newer: Newer,
}

/// That the uplink cannot carry the main stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UplinkStatus {
    /// Since when the sub stream is recorded.
    #[schemars(schema_with = "instant_schema")]
    pub since: Timestamp,
    /// Fields of a newer release.
    #[serde(flatten)]
    #[schemars(skip)]
    pub newer: Newer,
}

/// A release of the on-camera agent that a camera was offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentUpgrade {
    /// The target triple that it was built for.
    #[schemars(length(min = 1, max = 64))]
    pub target: String,
    /// Its version.
    #[schemars(length(min = 5, max = 17))]
    pub version: String,
    /// What became of it: offered, updated, rolledBack or refused.
    // No enum: a word of a newer release must not make the Camera unreadable.
    #[schemars(length(min = 1, max = 20))]
    pub state: String,
    /// Fields of a newer release.
    #[serde(flatten)]
    #[schemars(skip)]
    pub newer: Newer,
}

/// The key of a device that enrolled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrolledKey {
    /// The key, as a line of spec.keys.
    #[schemars(length(min = 1, max = 512))]
    pub key: String,
    /// The token that it spent, as spec.enrolment has it.
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub token_hash: String,
    /// When.
    #[schemars(schema_with = "instant_schema")]
    pub since: Timestamp,
    /// The last use of the token by another key, which was refused: somebody has a copy of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<ReusedToken>,
    /// Fields of a newer release.
    #[serde(flatten)]
    #[schemars(skip)]
    pub newer: Newer,
}

/// A use of a spent token by another key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReusedToken {
    /// When. The same key is noted once a minute at most.
    #[schemars(schema_with = "instant_schema")]
    pub at: Timestamp,
    /// From which address.
    pub from: String,
    /// The fingerprint of the key.
    pub key: String,
    /// How often it was noted.
    #[schemars(range(min = 1, max = 1_000_000_000_u32))]
    pub times: u32,
    /// Fields of a newer release.
    #[serde(flatten)]
    #[schemars(skip)]
    pub newer: Newer,
}

fn yes() -> bool {
    true
}

fn utc() -> String {
    "UTC".into()
}

fn class() -> String {
    super::DEFAULT_CLASS.into()
}

fn main() -> String {
    "main".into()
}

fn retention() -> String {
    "14d".into()
}

fn record_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["main", "sub", "off"]})
}

fn record_by_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["owner", "auto"]})
}

fn instant_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}
