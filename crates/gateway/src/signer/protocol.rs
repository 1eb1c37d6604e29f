//! The bodies of the signer's requests and answers, as JSON. Digests are hex; keys are the archive's.

use std::net::SocketAddr;

use moorline_core::segment::{ObjectKey, Retention, Tier};
use moorline_core::{CameraId, Generation, SourceName, Timestamp};
use serde::{Deserialize, Serialize};

pub(crate) const PRESIGN: &str = "/v1/presign";
pub(crate) const CONFIRM: &str = "/v1/confirm";
pub(crate) const LAST_END: &str = "/v1/last-end";
pub(crate) const TICKET: &str = "/v1/ticket";

/// The greatest body.
pub(crate) const LARGEST: usize = 8 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PresignBody {
    pub(crate) key: ObjectKey,
    pub(crate) bytes: u64,
    pub(crate) md5: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct PresignReply {
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) expires_in_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmBody {
    pub(crate) key: ObjectKey,
    pub(crate) md5: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LastEndBody {
    pub(crate) classes: Vec<Retention>,
    pub(crate) tier: Tier,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LastEndReply {
    pub(crate) last_end: Option<Timestamp>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TicketBody {
    pub(crate) camera: CameraId,
    pub(crate) source: SourceName,
    /// Of a viewer; an archiver has none.
    pub(crate) login: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct TicketReply {
    pub(crate) ticket: String,
    pub(crate) address: SocketAddr,
    /// The relay's key.
    pub(crate) key: String,
    pub(crate) generation: Generation,
}

pub(crate) fn md5_of(text: &str) -> Option<[u8; 16]> {
    let mut md5 = [0; 16];
    hex::decode_to_slice(text, &mut md5).ok()?;
    Some(md5)
}
