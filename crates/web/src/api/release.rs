//! Builds of the on-camera agent, and how far they are rolled out.

use serde::{Deserialize, Serialize};

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
    /// Why it has stopped: for all cameras, or, in a cluster, for those of one tenant alone, which it then names.
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
