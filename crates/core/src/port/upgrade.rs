//! Upgrades of the agents on cameras.

use std::fmt;
use std::sync::Arc;

use super::TellError;
use crate::id::CameraId;

/// A signed build of the on-camera agent. The server keeps and passes it on; whether it is good is the camera's to say, by a key that the server
/// does not need (rule S8).
#[derive(Clone, PartialEq, Eq)]
pub struct AgentRelease {
    /// The target triple that it was built for: 1 to 64 of `[A-Za-z0-9._-]`.
    pub target: String,
    /// Its version, `a.b.c`.
    pub version: String,
    /// The SHA-512 of its file.
    pub sha512: [u8; 64],
    /// The Ed25519 signature.
    pub signature: [u8; 64],
    /// The program, at most 4,000,000 bytes.
    pub file: Arc<[u8]>,
}

impl fmt::Debug for AgentRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, version, bytes) = (&self.target, &self.version, self.file.len());
        write!(f, "AgentRelease({target} {version}, {bytes} bytes)")
    }
}

/// Offering releases to connected agents.
pub trait AgentUpgrades: Send + Sync {
    /// Offers a release to a camera's agent and sends its parts as the agent asks for them, while its session lasts. What became of it stands in
    /// the camera's status, in what it says of itself: `offered` names the version, `upgrade` the bytes that are there, `bad=UPGRADE.<field>` a
    /// refusal, `rolled-back` a version that failed; at last `agent` is the new version. Idempotent within a session. Does not block.
    ///
    /// # Errors
    /// No agent of the camera speaks, or the release does not fit into a line.
    fn offer(&self, camera: &CameraId, release: &Arc<AgentRelease>) -> Result<(), TellError>;
}
