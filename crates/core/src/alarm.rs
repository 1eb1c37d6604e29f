//! What somebody is told.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize, Serializer};

use crate::cause::Cause;
use crate::id::{CameraId, TenantId};
use crate::time::Timestamp;

/// A camera in an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlarmCamera {
    /// Which.
    pub id: CameraId,
    /// What people call it.
    pub title: String,
    /// IANA name of the camera's time zone: people read its instants in it.
    pub timezone: String,
    /// Since when recording stands still (or stood still, in an all-clear).
    pub since: Timestamp,
    /// Until when it stood still, where that is not the instant of the message: it is told late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why.
    pub cause: AlarmCause,
    /// What the store said last, where it is the store; foreign text, at most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Why nothing new of a camera is durable: mostly the cause of a gap, but pictures may also be taken and not be stored, which is no gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmCause {
    /// There are no pictures.
    Gap(Cause),
    /// Pictures are taken and wait in the spool: the store takes nothing.
    StoreWaits,
}

impl AlarmCause {
    /// The text in the webhook: that of the cause, or `store_waits`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gap(cause) => cause.as_str(),
            Self::StoreWaits => "store_waits",
        }
    }

    /// What a person reads.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Gap(cause) => cause.explanation(),
            Self::StoreWaits => {
                "the camera is fine, but the store takes nothing: its recordings wait on the server's disk"
            }
        }
    }
}

impl fmt::Display for AlarmCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for AlarmCause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What is new about a camera's connections (rule S4): nothing is wrong yet, but its owner may know better.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: NoticeKind,
    /// From where; `None` where the address is not known.
    pub peer: Option<SocketAddr>,
    /// The SSH client's version line, untrusted, at most 255 bytes.
    pub client: String,
}

crate::words! {
    /// What is new.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum NoticeKind {
        /// The camera connects from a network that is none of those that it last came from.
        NewNetwork = "new_network",
        /// Its SSH client has another version.
        NewClient = "new_client",
        /// The key of a camera that was reported stolen was offered, and refused.
        StolenKey = "stolen_key",
        /// The key connects from two places again and again; told as [`AlarmKind::KeyInTwoPlaces`], which has both.
        KeyInTwoPlaces = "key_in_two_places",
        /// The uplink could not carry the main stream: the sub-stream is recorded.
        MovedToSub = "moved_to_sub",
        /// The main stream is recorded again.
        MovedToMain = "moved_to_main",
        /// A second key used the enrolment token that made the camera, and was refused (rule S3).
        SpentToken = "spent_token",
    }
}

impl NoticeKind {
    /// What a person reads.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::NewNetwork => "connected from a new network",
            Self::NewClient => "connected with a new SSH client",
            Self::StolenKey => "reported stolen, and its key called",
            Self::KeyInTwoPlaces => "connects from two places at once",
            Self::MovedToSub => {
                "records the sub-stream, since the uplink dropped pictures of the main one"
            }
            Self::MovedToMain => "records the main stream again",
            Self::SpentToken => "was enrolled, and its token was used by a second key",
        }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// Whose cameras.
    pub tenant: TenantId,
    /// When it was raised.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: AlarmKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "alarm")]
pub enum AlarmKind {
    /// `durable until` stands still although the cameras are enabled.
    RecordingStopped {
        /// The site whose cameras failed together; `None` for a camera without one.
        site: Option<String>,
        /// The cameras, at least one.
        cameras: Vec<AlarmCamera>,
    },
    /// The all-clear of an earlier [`AlarmKind::RecordingStopped`].
    RecordingResumed {
        /// The site.
        site: Option<String>,
        /// The cameras, at least one.
        cameras: Vec<AlarmCamera>,
    },
    /// What could not be told when it happened, since the channel got nothing out: one message for all cameras, each with what became of it.
    ToldLate {
        /// Cameras whose recording still stands still.
        stopped: Vec<AlarmCamera>,
        /// Cameras that record again; each has [`AlarmCamera::until`].
        resumed: Vec<AlarmCamera>,
    },
    /// The store has lost or spoiled what it had acknowledged, as the daily look at it has found.
    RecordingsDamaged {
        /// Stretches and objects that are gone.
        lost: usize,
        /// Objects whose bytes are not those that were stored.
        damaged: usize,
        /// The cameras, at least one, by id.
        cameras: Vec<CameraId>,
        /// What is wrong with the first few, one line each.
        findings: Vec<String>,
    },
    /// One key connects from two places again and again.
    KeyInTwoPlaces {
        /// Which camera.
        camera: CameraId,
        /// Both addresses, untrusted only in that NAT may stand before them.
        peers: Vec<String>,
    },
    /// A camera took back a new agent that failed there: the roll-out of this version has stopped.
    AgentRolledBack {
        /// Which camera.
        camera: CameraId,
        /// The agent's version, `a.b.c`.
        version: String,
    },
    /// Something about a camera's connections is new (rule S4).
    Notice {
        /// Which camera.
        camera: CameraId,
        /// What people call it.
        title: String,
        /// IANA name of its time zone.
        timezone: String,
        /// What.
        what: NoticeKind,
        /// From where; `None` where the address is not known.
        peer: Option<SocketAddr>,
        /// The SSH client's version line, untrusted, at most 255 bytes.
        client: String,
    },
    /// `moorline alert test`.
    Test,
}

/// What a channel has not told yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// `webhook`, `email`.
    pub channel: &'static str,
    /// Cameras of whose stop or return nobody was told by it.
    pub cameras: usize,
    /// Since when nothing got out, as far as something was tried; `None`: the last message got out.
    pub failing_since: Option<Timestamp>,
    /// Why, in words; no secrets.
    pub why: Option<String>,
}
