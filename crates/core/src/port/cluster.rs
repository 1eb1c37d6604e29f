//! Ports of a cluster: what the tunnel gateway, the signer and the pods' adapter need of each other. `kube` knows pods and resources,
//! `gateway` speaks with them, `store` signs; none of them imports another.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;

use super::{PortError, WorkloadOrder, WorkloadReport, WorkloadSpec};
use crate::id::{CameraId, Generation, InstanceId};
use crate::lifecycle::Role;
use crate::masked::Masked;
use crate::segment::{ObjectKey, Retention, Tier};
use crate::time::Timestamp;

/// A pod, by the identity that the API server gave it: never used again, unlike its name and address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodUid(pub String);

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 over the SubjectPublicKeyInfo of a relay's own TLS key (rule S22), printed `sha256:` and 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyPin(pub [u8; 32]);

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a text is no [`KeyPin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key pin: it is sha256: and 64 lower-case hex digits")]
pub struct InvalidKeyPin;

impl std::str::FromStr for KeyPin {
    type Err = InvalidKeyPin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("sha256:").ok_or(InvalidKeyPin)?;
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() != 64 || !digits.bytes().all(lower) {
            return Err(InvalidKeyPin);
        }
        let mut pin = [0; 32];
        for (byte, pair) in pin.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| InvalidKeyPin)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| InvalidKeyPin)?;
        }
        Ok(Self(pin))
    }
}

/// For whom a pod's token was made: a token for one receiver is worth nothing at the other (rule S19).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audience {
    /// The tunnel gateway of `moorline mon`.
    Gateway,
    /// `moorline signer`.
    Signer,
}

/// Who shows a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A relay or an archiver: role and camera come from the watch of pods, never from what the pod says (rule S19).
    Workload {
        /// The camera whose resource owns the pod.
        camera: CameraId,
        /// Which of its workloads.
        role: Role,
        /// The pod.
        pod: PodUid,
    },
    /// The front door, which has authenticated its viewers and may ask for any camera that it shows.
    FrontDoor {
        /// The pod.
        pod: PodUid,
    },
}

/// Why a token names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The token is not good, or not for this receiver. The reason is from a closed set, for counters: `token`, `audience`, `expired`.
    #[error("the token is refused ({0})")]
    Refused(&'static str),
    /// The token is good and its pod is not one of ours, or is gone: `pod`, `role`, `owner`.
    #[error("the pod may not ask ({0})")]
    Forbidden(&'static str),
    /// The cluster does not answer and nothing is cached. Trying again may help.
    #[error("the cluster does not answer: {0}")]
    Unavailable(String),
}

/// Tells who shows a token. Answers from a cache keyed by the token's digest, never by the token (P10).
#[async_trait]
pub trait Identities: Send + Sync {
    /// Who shows `token`. Ends within 5 s.
    ///
    /// # Errors
    /// [`IdentityError`].
    async fn caller(
        &self,
        token: &Masked<String>,
        audience: Audience,
    ) -> Result<Caller, IdentityError>;

    /// Whether a pod that was a caller may still be one: not once it is gone. Answers from memory.
    fn is_alive(&self, pod: &PodUid) -> bool;

    /// When the API server made this pod, from memory: of two pods of one role the one made later is the newer. `None` where that is not known,
    /// and then whoever asks last counts as the newer.
    fn created(&self, _pod: &PodUid) -> Option<Timestamp> {
        None
    }
}

/// Who holds a camera's tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// There is no such camera.
    Unknown,
    /// Nobody does at the moment.
    Nobody,
    /// This replica, under this generation; the claim is acknowledged (or queued, while the API server is away).
    Here(Generation),
    /// Another replica.
    There {
        /// Its gateway.
        address: SocketAddr,
        /// Its generation.
        generation: Generation,
    },
}

/// Finds the holder of a camera, from memory (P7).
#[async_trait]
pub trait Holders: Send + Sync {
    /// Who holds it now.
    fn holder(&self, camera: &CameraId) -> Holder;

    /// Returns once the holder differs from `seen`. Cancel-safe; never returns for a camera that stays as it is.
    async fn changed(&self, camera: &CameraId, seen: &Holder) -> Holder;

    /// Who looks after the camera's pods: its holder, and while nobody holds it the janitor, under the generation that was in force last. The
    /// pods' control connections go there.
    fn keeper(&self, camera: &CameraId) -> Holder {
        self.holder(camera)
    }

    /// Since when this replica holds it, where it does: of two replicas that claim the same generation the later one has the camera.
    fn since(&self, _camera: &CameraId) -> Option<Timestamp> {
        None
    }

    /// Whether what is told is fresh: not while the API server is away. Then the gateway asks the other replicas too.
    fn is_current(&self) -> bool {
        true
    }
}

/// Where a camera's relay is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayPlace {
    /// The newest ready relay pod that is not being deleted.
    pub pod: PodUid,
    /// Its address.
    pub address: SocketAddr,
    /// Its key (rule S22).
    pub key: KeyPin,
    /// The generation in force.
    pub generation: Generation,
}

/// Finds relay pods, and learns their keys.
#[async_trait]
pub trait RelayPlaces: Send + Sync {
    /// Where the camera's relay is, from memory. `None` while there is none that is ready.
    fn place(&self, camera: &CameraId) -> Option<RelayPlace>;

    /// The relay pod of this camera has this key, as it said at its CONNECT. Idempotent; returns once it is written where
    /// [`RelayPlaces::place`] of every replica finds it.
    ///
    /// # Errors
    /// The cluster refused or does not answer.
    async fn announce(&self, camera: &CameraId, pod: &PodUid, key: KeyPin)
    -> Result<(), PortError>;
}

/// The control connections that workload pods hold to their camera's holder. Nothing blocks; orders to a pod that is not connected wait for
/// it (of one kind the newest only; a drain is never lost).
pub trait WorkloadLinks: Send + Sync {
    /// From now on the camera's pods serve this instance. A pod that connects (again) is told the spec first. Idempotent by instance; a newer
    /// instance replaces an older one for pods that connect from now on.
    fn assign(&self, spec: WorkloadSpec, pods: &[(Role, PodUid)]);

    /// An order to the pods of this instance.
    fn order(&self, camera: &CameraId, instance: InstanceId, order: WorkloadOrder);

    /// The instance is over: its connections are closed.
    fn forget(&self, camera: &CameraId, instance: InstanceId);
}

/// What a workload pod says over its control connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// Its connection stands. May be said again.
    Connected {
        /// Which of its connections: a later one has a greater number.
        connection: u64,
    },
    /// Its connection is gone; the workload goes on and redials.
    Disconnected {
        /// Which one. It may have a successor already, whose `Connected` was said before.
        connection: u64,
    },
    /// A report.
    Report(WorkloadReport),
    /// It has nothing left to do after an order to drain: its pod may be deleted.
    Drained,
}

/// Takes what pods say. No call blocks; reports replace unread ones of the same pod.
pub trait LinkEvents: Send + Sync {
    /// A pod of this camera said something. `role` and `pod` are proven by its token.
    fn said(&self, camera: &CameraId, role: Role, pod: &PodUid, event: LinkEvent);
}

/// A put that the signer may allow (rule S20).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutRequest {
    /// The one key.
    pub key: ObjectKey,
    /// The exact length.
    pub bytes: u64,
    /// The MD5 digest of the body; one per key for ever.
    pub md5: [u8; 16],
}

/// A signed put: an HTTP request that only its holder can make, once per key, length, digest and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPut {
    /// Where to send it; the query holds the signature, so it is a secret (P10).
    pub url: Masked<String>,
    /// Headers that were signed and must be sent as they are.
    pub headers: Vec<(String, String)>,
    /// How long it is good, from now on.
    pub expires_in: Duration,
}

/// Signs puts to the tenants' stores, and looks into them. Keys name the tenant by its id; the adapter finds the tenant's bucket by it, and puts
/// the tenant's storage id (rule S26) in its place. Every call has a deadline of 30 s.
#[async_trait]
pub trait PutSigner: Send + Sync {
    /// Signs. Whether the caller may put is the signer's business, not this port's.
    ///
    /// # Errors
    /// The tenant has no store, or its credentials are not to be had.
    async fn sign_put(&self, request: &PutRequest) -> Result<SignedPut, PortError>;

    /// MD5 of the object of that key, if there is one.
    ///
    /// # Errors
    /// The store does not answer.
    async fn digest(&self, key: &ObjectKey) -> Result<Option<[u8; 16]>, PortError>;

    /// The end of the newest object of a camera, over these retention classes; `None` if there is none.
    ///
    /// # Errors
    /// The store does not answer.
    async fn last_end(
        &self,
        camera: &CameraId,
        classes: &[Retention],
        tier: Tier,
    ) -> Result<Option<Timestamp>, PortError>;
}

/// Limits of a camera that the signer judges puts by (rule S20).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutLimits {
    /// The retention class of the camera.
    pub retention: Retention,
    /// Classes that it had before: what still lies in a spool carries them.
    pub earlier: Vec<Retention>,
    /// The generation in force, and since when.
    pub generation: Generation,
    /// When that generation was claimed: an earlier generation may only put what began before.
    pub since: Timestamp,
    /// The bytes that it may put per hour.
    pub bytes_per_hour: u64,
}

/// Tells the limits of a camera, from memory. `None`: there is no such camera.
pub trait PutPolicy: Send + Sync {
    /// The limits now.
    fn limits(&self, camera: &CameraId) -> Option<PutLimits>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_pin_reads_what_it_prints() {
        let pin = KeyPin([0xa7; 32]);
        assert_eq!(pin.to_string().parse(), Ok(pin));
        for bad in [
            "",
            "sha256:",
            "sha256:zz",
            &pin.to_string().to_uppercase(),
            &pin.to_string()[1..],
        ] {
            assert_eq!(bad.parse::<KeyPin>(), Err(InvalidKeyPin), "{bad}");
        }
    }
}
