use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;

use super::{CameraAdminError, PortError};
use crate::camera::{Camera, CameraKey, Record, RecordBy};
use crate::id::{CameraId, Label, TenantId};
use crate::key::PublicKey;
use crate::masked::Masked;
use crate::segment::Retention;
use crate::time::Timestamp;

/// A stranger that proved a key as user `enroll` and said its `ENROLL` (rule S3).
#[derive(Debug, Clone)]
pub struct EnrollAsked {
    /// What it holds up.
    pub token: Masked<String>,
    /// The key that it proved.
    pub key: PublicKey,
    /// Its model, foreign; at most 64 of `[A-Za-z0-9._-]`.
    pub model: String,
    /// Its hardware address, foreign.
    pub mac: String,
    /// Where it comes from.
    pub peer: SocketAddr,
}

/// Turning strangers into cameras.
#[async_trait]
pub trait Enrolment: Send + Sync {
    /// Spends a token for a key, atomically, and gives the camera that the key is now. Idempotent: the same key and token give the same
    /// camera, also after the token expired or was revoked. Deadline: 10 s.
    ///
    /// # Errors
    /// [`EnrollError`]; nothing is spent then.
    async fn enroll(&self, asked: EnrollAsked) -> Result<CameraId, EnrollError>;
}

/// Why a stranger is no camera.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// There is no such token, or it is expired or revoked, or its camera is gone or disabled.
    #[error("the token is not accepted: {0}")]
    Refused(&'static str),
    /// Another key spent it: told as an alarm, since a token was read by somebody who should not have it, and written down with the token
    /// ([`TokenInfo::reused`]).
    #[error("the token was spent by another key")]
    Spent {
        /// The newest of the cameras that the token made and that are still there: whose owner is told.
        camera: Option<CameraId>,
    },
    /// The key is another camera's already.
    #[error(transparent)]
    Camera(#[from] CameraAdminError),
    /// The adapter failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Whose cameras it makes.
    pub tenant: TenantId,
    /// What it makes.
    pub makes: TokenMakes,
    /// What the cameras that it makes are like.
    pub like: CameraLike,
    /// From when on it is not accepted.
    pub expires: Timestamp,
    /// The owner's note.
    pub comment: String,
}

/// The longest beginning of a name: `-` and ten digits follow.
const PREFIX: usize = 50;

impl NewToken {
    /// Whether it can be made where a batch has at most `most` cameras, which `counts` says in words.
    ///
    /// # Errors
    /// [`CameraAdminError::Invalid`]: the first field that is wrong.
    pub fn check(
        &self,
        now: Timestamp,
        most: u32,
        counts: &'static str,
    ) -> Result<(), CameraAdminError> {
        let invalid = |field, value: &dyn std::fmt::Display, expected| {
            let value = value.to_string();
            Err(CameraAdminError::Invalid {
                field,
                value,
                expected,
            })
        };
        if self.expires <= now {
            return invalid("expires", &self.expires, "an instant to come");
        }
        if self.comment.chars().count() > 200 || self.comment.contains(char::is_control) {
            let expected = "use at most 200 characters on one line";
            return invalid("comment", &self.comment, expected);
        }
        match &self.makes {
            TokenMakes::Camera(id) if *id.tenant() != self.tenant => {
                invalid("camera", id, "a camera of the token's tenant")
            }
            TokenMakes::Batch { count, .. } if !(1..=most).contains(count) => {
                invalid("count", count, counts)
            }
            TokenMakes::Batch { prefix, .. }
                if prefix.len() > PREFIX || prefix.parse::<Label>().is_err() =>
            {
                invalid("prefix", prefix, "a-z, 0-9 and -, at most 50 characters")
            }
            TokenMakes::Camera(_) | TokenMakes::Batch { .. } => Ok(()),
        }
    }
}

/// What a token makes of a stranger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenMakes {
    /// This camera: made if it is not there, else the key is added to it. Spent by the first key.
    Camera(CameraId),
    /// New cameras named `<prefix>-<n>`, at most so many.
    Batch {
        /// The beginning of their names: a DNS label of at most 50 characters.
        prefix: String,
        /// How many, from 1 to 10,000.
        count: u32,
    },
}

/// What a camera that is made by a token begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraLike {
    /// Its title; its name where there is none.
    pub title: Option<String>,
    /// Where it hangs.
    pub site: Option<String>,
    /// The zone in which its days are shown.
    pub timezone: String,
    /// What is recorded.
    pub record: Record,
    /// Who chose that: the owner, or nobody.
    pub record_by: RecordBy,
    /// How long.
    pub retention: Retention,
}

impl CameraLike {
    /// The camera that it makes, with its key.
    #[must_use]
    pub fn make(&self, id: CameraId, key: CameraKey) -> Camera {
        let mut camera = self.bare(id, key.added);
        camera.keys.push(key);
        camera
    }

    /// The camera before its device has called: without a key.
    #[must_use]
    pub fn bare(&self, id: CameraId, created: Timestamp) -> Camera {
        Camera {
            title: self.title.clone().unwrap_or_else(|| id.name().to_owned()),
            site: self.site.clone(),
            timezone: self.timezone.clone(),
            record: self.record,
            record_by: self.record_by,
            ..Camera::new(id, created, self.retention)
        }
    }
}

/// A token, without itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its number.
    pub id: i64,
    /// What was asked for.
    pub token: NewToken,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it was revoked.
    pub revoked: bool,
    /// The cameras that it made, oldest first.
    pub cameras: Vec<CameraId>,
    /// The last use by a key too many, refused.
    pub reused: Option<Reuse>,
}

/// A use of a spent token by another key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reuse {
    /// When, the last time.
    pub at: Timestamp,
    /// From where, the last time.
    pub from: IpAddr,
    /// The key that was proved, the last time: its fingerprint.
    pub key: String,
    /// How often in all.
    pub times: u32,
}

impl TokenInfo {
    /// How many cameras it may still make at this instant: the unclaimed stock.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> u32 {
        if self.revoked || now >= self.token.expires {
            return 0;
        }
        self.unused()
    }

    /// Whether it has made all that it could: whoever uses it now has a copy of it, however old it is.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.unused() == 0
    }

    fn unused(&self) -> u32 {
        let made = u32::try_from(self.cameras.len()).unwrap_or(u32::MAX);
        let most = match &self.token.makes {
            TokenMakes::Camera(_) => 1,
            TokenMakes::Batch { count, .. } => *count,
        };
        most.saturating_sub(made)
    }
}

/// A camera that a batch made and that nobody has claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stocked {
    /// Which.
    pub camera: CameraId,
    /// When it enrolled.
    pub enrolled: Timestamp,
}

/// Making, listing and revoking tokens, and the cameras that batches made. Deadline: 5 s; on a cluster 5 s for each call to the API server, of which making
/// a token and taking it back cost some for each camera that it is for: minutes for a batch of a thousand. Cancelling leaves the cameras that were made by then.
#[async_trait]
pub trait EnrollTokens: Send + Sync {
    /// Whether tokens are kept here. Where they are not, at a part of a cluster that changes no cameras, every other verb fails.
    fn are_kept(&self) -> bool {
        true
    }

    /// Makes a token of at least 128 bits. It is given once: only its hash is stored.
    ///
    /// # Errors
    /// [`CameraAdminError::Invalid`].
    async fn issue(&self, new: NewToken) -> Result<(Masked<String>, TokenInfo), CameraAdminError>;

    /// The tokens of a tenant, newest first, at most 1,000.
    ///
    /// # Errors
    /// [`PortError`].
    async fn list(&self, tenant: &TenantId) -> Result<Vec<TokenInfo>, PortError>;

    /// The stock of a tenant: cameras that batches made and that nobody has claimed, newest first, at most 1,000. They are recorded as any
    /// other.
    ///
    /// # Errors
    /// [`PortError`].
    async fn stock(&self, tenant: &TenantId) -> Result<Vec<Stocked>, PortError>;

    /// Somebody claims a camera of the stock, at once for good. `false`: it is none, or was claimed before.
    ///
    /// # Errors
    /// [`CameraAdminError`].
    async fn claim(&self, camera: &CameraId) -> Result<bool, CameraAdminError>;

    /// Takes a token back. Idempotent. `false`: this tenant has no such token.
    ///
    /// # Errors
    /// [`CameraAdminError`]: it may be taken back in part.
    async fn revoke(&self, tenant: &TenantId, id: i64) -> Result<bool, CameraAdminError>;
}
