//! The host keys that this server has and will have, pinned ahead by every camera with an agent (rule S25), so that they can be rotated without a
//! visit.
//!
//! Where the next keys were made, each agent is told `CONFIG endpoint.15` with the present key and the next one of the algorithm that its dbclient
//! negotiates; after a rotation the new one alone. The agent keeps them, and writes to its flash only what changed. A line of the other
//! algorithm would be a server that cannot be reached: dbclient takes the first algorithm that both sides have, whatever is pinned.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::sleep;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::key::KeyAlgorithm;
use moorline_core::port::{CameraDirectory, Statuses};
use moorline_core::status::{CameraStatus, LinkStatus};
use moorline_core::{CameraId, Generation, PublicKey};
use moorline_tunnel::keyfile::{HostKeyError, next};

/// A rotation is a matter of days; cameras call again within a minute.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where an agent keeps them: the last place of its list but the server that enrolled it.
const PLACE: u8 = 15;

/// Dropbear has ed25519 from this version on; its client then asks for it first.
const ED25519_SINCE: (u32, u32) = (2020, 79);

/// A host key as base64 of its blob.
pub fn base64(key: &PublicKey) -> String {
    // Printed as algorithm and base64.
    key.to_string()
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .to_owned()
}

/// The host keys that cameras are to pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToPin {
    /// Those in force.
    pub present: Vec<PublicKey>,
    /// Those that come next; empty where there are none.
    pub next: Vec<PublicKey>,
}

/// Where they are looked up.
pub trait HostKeySource: Send {
    /// What agents are told now. `None`: nothing, they have it from their enrolment.
    ///
    /// # Errors
    /// [`HostKeyError`]; agents keep what they were told before.
    fn look(&mut self) -> Result<Option<ToPin>, HostKeyError>;
}

/// A server's own.
#[derive(Debug, Clone)]
pub struct Own {
    /// The data directory.
    pub data: PathBuf,
    /// The keys in force.
    pub present: Vec<PublicKey>,
}

impl HostKeySource for Own {
    fn look(&mut self) -> Result<Option<ToPin>, HostKeyError> {
        let next = next::next(&self.data)?;
        let is_told = !next.is_empty() || next::was_rotated(&self.data);
        let present = self.present.clone();
        Ok(is_told.then_some(ToPin { present, next }))
    }
}

/// Tells agents.
#[derive(Clone)]
pub struct Pins<K> {
    pub cameras: Arc<dyn CameraDirectory>,
    pub statuses: Arc<dyn Statuses>,
    pub clock: SharedClock,
    pub keys: K,
    /// Host and port as cameras reach them; `None`: nobody said, and a guess is not told to cameras.
    pub place: Option<(String, u16)>,
}

/// What a camera was told, and in which session.
type Told = HashMap<CameraId, (Option<Generation>, ToPin)>;

impl<K: HostKeySource> Pins<K> {
    /// Tells agents, until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut told = Told::new();
        while !sleep(&*self.clock, LOOK_EVERY, &stop).await.is_cancelled() {
            self.look(&mut told);
        }
    }

    fn look(&mut self, told: &mut Told) {
        let keys = match self.keys.look() {
            Ok(Some(keys)) => keys,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "cameras are not told of the next host keys");
                return;
            }
        };
        let Some((host, port)) = &self.place else {
            if told.is_empty() && !keys.next.is_empty() {
                tracing::warn!(
                    "cameras are not told of the next host keys: set server.public_host"
                );
            }
            return;
        };
        let cameras = self.cameras.snapshot();
        told.retain(|id, _| cameras.get(id).is_some());
        for camera in cameras.iter() {
            let Some(status) = self.statuses.get(&camera.id) else {
                continue;
            };
            let session = (generation(&status), keys.clone());
            if !speaks(&status) || told.get(&camera.id) == Some(&session) {
                continue;
            }
            let algorithm = negotiated(&status);
            let all = keys.present.iter().chain(&keys.next);
            let pinned = all.filter(|key| key.algorithm() == algorithm);
            let pinned: Vec<String> = pinned.map(base64).collect();
            let pinned = pinned.join(",");
            let line = format!(
                "CONFIG endpoint.{PLACE} {} {host} {port} {pinned}",
                camera.id
            );
            match self.statuses.tell_agent(&camera.id, &line) {
                Ok(()) => {
                    tracing::info!(camera = %camera.id, next = keys.next.len(), "the camera is told of this server's host keys");
                    told.insert(camera.id.clone(), session);
                }
                Err(error) => {
                    tracing::debug!(camera = %camera.id, %error, "not told of this server's host keys");
                }
            }
        }
    }
}

fn generation(status: &CameraStatus) -> Option<Generation> {
    match status.link {
        LinkStatus::Up { generation, .. } => Some(generation),
        _ => None,
    }
}

fn speaks(status: &CameraStatus) -> bool {
    status.said.iter().any(|(key, _)| key == "agent")
}

/// The algorithm that the agent's dbclient takes, by the version that the agent says.
fn negotiated(status: &CameraStatus) -> KeyAlgorithm {
    let said = status.said.iter().find(|(key, _)| key == "dbclient");
    let version = said.and_then(|(_, version)| {
        let (year, number) = version.split_once('.')?;
        Some((year.parse().ok()?, number.parse().ok()?))
    });
    match version {
        Some(version) if version < ED25519_SINCE => KeyAlgorithm::EcdsaP256,
        _ => KeyAlgorithm::Ed25519,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_dbclient_is_told_the_key_that_it_can_read() {
        let status = |version: &str| CameraStatus {
            said: vec![("dbclient".to_owned(), version.to_owned())],
            ..CameraStatus::new(
                "yard".parse().unwrap(),
                LinkStatus::Absent,
                moorline_core::Timestamp::default(),
            )
        };
        for (version, expected) in [
            ("2019.78", KeyAlgorithm::EcdsaP256),
            ("2020.78", KeyAlgorithm::EcdsaP256),
            ("2020.79", KeyAlgorithm::Ed25519),
            ("2026.94", KeyAlgorithm::Ed25519),
            ("what", KeyAlgorithm::Ed25519),
        ] {
            assert_eq!(negotiated(&status(version)), expected, "{version}");
        }
    }
}
