//! What the HTTP API speaks: requests and answers as JSON. The command line, the page and programs use the same.
//!
//! Paths begin with `/api/v1`. A camera is `/tenants/{tenant}/cameras/{camera}`. Errors are `application/problem+json` ([`Problem`]).

mod camera;
mod enrolment;
mod people;
mod recordings;
mod release;

use serde::{Deserialize, Serialize};

pub use camera::*;
pub use enrolment::*;
pub use people::*;
pub use recordings::*;
pub use release::*;

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
    /// The host name in printed commands, which cameras know.
    pub public_host: String,
    /// Nobody set it: it is an address of this machine, which cameras elsewhere may not reach.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public_host_guessed: bool,
    /// The host name in the URLs of page and streams, which viewers know.
    pub viewer_host: String,
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
