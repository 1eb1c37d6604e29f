//! How cameras come in: tokens, batches and their stock, strangers.

use std::net::IpAddr;

use moorline_core::{PublicKey, Timestamp};
use serde::{Deserialize, Serialize};

use super::RecordAsked;

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
