//! What is recorded, what is missing, and what goes out as a file.

use moorline_core::coverage::Row;
use moorline_core::segment::Tier;
use moorline_core::{Cause, Timestamp};
use serde::{Deserialize, Serialize};

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
    /// Whether the gap goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
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
