//! Tickets to relays (rules S22, S24): who may open which stream of which relay pod, signed by the signer, checked by the relay alone, once.
//!
//! A ticket is three words with dots between: `v1.<key id>.<base64url of body and signature>`. The signature (Ed25519, RFC 8032) is over the
//! context string and the body, and the body has one form only: fixed fields, lengths before texts, nothing behind the last field. So one ticket
//! has one text, and a signature made for another purpose is none here.
//!
//! ```text
//! id 16 · expires ms u64 · generation u64 · source u8 · role u8 · len u16 + camera · len u16 + pod uid · len u16 + login
//! ```
//! Owns: encoding, signing, verifying, the keys and the memory of used tickets. Does not own: who may have one (`signer`), or what it opens
//! (`relay`). Two keys are valid at once, by their ids: the new public key goes to every gateway before the signer signs with it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use moorline_core::port::{PodUid, ReaderRole};
use moorline_core::{CameraId, Generation, SourceName, Timestamp};

mod keys;
#[cfg(test)]
mod tests;

pub use keys::{TicketPublic, TicketPublics, TicketSigner, generate_key, public_of};
pub(crate) use keys::{parse_publics, print_publics};

/// How long a ticket is good.
pub const LIFETIME: Duration = Duration::from_secs(60);
/// How far apart the clocks of signer and relay may be.
const LEEWAY: Duration = Duration::from_secs(5);
/// What the signature is for. Another use of the key has another string.
const CONTEXT: &[u8] = b"moorline relay ticket v1\0";
const SIGNATURE: usize = 64;
/// A pod's uid is a UUID; a login has at most 64 letters; a camera two labels.
const LONGEST: usize = 200;
/// The longest text of a ticket.
pub(crate) const LONGEST_TICKET: usize = 1200;
/// Used tickets that are remembered. A camera has at most a few readers a second; beyond it nobody gets in until the oldest have expired.
const USED: usize = 4096;

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Random: what makes it single use.
    pub id: [u8; 16],
    /// From then on it is nothing.
    pub expires: Timestamp,
    /// The generation in force when it was made.
    pub generation: Generation,
    /// The camera.
    pub camera: CameraId,
    /// Which stream of it.
    pub source: SourceName,
    /// For whom.
    pub role: ReaderRole,
    /// At which pod.
    pub pod: PodUid,
}

/// Why a ticket opens nothing: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Not the one text of a ticket.
    #[error("not a ticket")]
    Malformed,
    /// Signed with a key that is not valid here (any more, or yet).
    #[error("signed with an unknown key")]
    UnknownKey,
    /// The signature is not that of its key.
    #[error("the signature is wrong")]
    Signature,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// It is valid for longer than any ticket is.
    #[error("it is valid for too long")]
    TooLong,
    /// It was used before.
    #[error("it was used before")]
    Used,
    /// It is for another camera.
    #[error("it is for another camera")]
    Camera,
    /// It is for another pod.
    #[error("it is for another pod")]
    Pod,
    /// So many were used within a minute that no more can be remembered.
    #[error("too many tickets")]
    TooMany,
}

impl TicketError {
    /// The reason in metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::TooLong => "too_long",
            Self::Used => "used",
            Self::Camera => "camera",
            Self::Pod => "pod",
            Self::TooMany => "too_many",
        }
    }
}

impl Ticket {
    fn body(&self) -> Vec<u8> {
        let (role, login) = match &self.role {
            ReaderRole::Archiver => (0, ""),
            ReaderRole::Viewer { login } => (1, login.as_str()),
        };
        let source = match self.source {
            SourceName::Main => 0,
            SourceName::Sub => 1,
        };
        let mut body = self.id.to_vec();
        body.extend(
            u64::try_from(self.expires.as_millis())
                .unwrap_or(0)
                .to_be_bytes(),
        );
        body.extend(self.generation.0.to_be_bytes());
        body.extend([source, role]);
        for text in [&self.camera.to_string(), &self.pod.0, login] {
            let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
            body.extend(length.to_be_bytes());
            body.extend(text.as_bytes());
        }
        body
    }

    fn read(body: &[u8]) -> Option<Self> {
        let (id, rest) = body.split_first_chunk::<16>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        let ([source, role], mut rest) = rest.split_first_chunk::<2>()?;
        let mut text = || {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (text, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            rest = after;
            std::str::from_utf8(text)
                .ok()
                .filter(|text| text.len() <= LONGEST)
        };
        let (camera, pod, login) = (text()?, text()?, text()?);
        let ticket = Self {
            id: *id,
            expires: Timestamp::from_millis(i64::try_from(u64::from_be_bytes(*expires)).ok()?),
            generation: Generation(u64::from_be_bytes(*generation)),
            camera: camera.parse().ok()?,
            source: match source {
                0 => SourceName::Main,
                1 => SourceName::Sub,
                _ => return None,
            },
            role: match role {
                0 => ReaderRole::Archiver,
                1 => ReaderRole::Viewer {
                    login: login.to_owned(),
                },
                _ => return None,
            },
            pod: PodUid(pod.to_owned()),
        };
        // One ticket, one text: a camera of `home` has two names, and an archiver no login.
        (rest.is_empty() && ticket.body() == body).then_some(ticket)
    }

    /// Whether it can be written at all: texts within their bounds.
    fn fits(&self) -> bool {
        let login = match &self.role {
            ReaderRole::Archiver => 0,
            ReaderRole::Viewer { login } => login.len(),
        };
        self.pod.0.len() <= LONGEST && login <= LONGEST
    }
}

/// What a relay checks tickets with: the keys that came with its last answer of the gateway, and what it has seen. Also the tunnel that such answers named.
#[derive(Debug)]
pub struct TicketCheck {
    camera: CameraId,
    pod: PodUid,
    keys: Mutex<Vec<TicketPublic>>,
    used: Mutex<BTreeSet<(Timestamp, [u8; 16])>>,
    /// 0: none yet.
    through: AtomicU64,
}

impl TicketCheck {
    /// For this camera's relay in this pod. Without keys nobody gets in.
    pub fn new(camera: CameraId, pod: PodUid) -> Self {
        Self {
            camera,
            pod,
            keys: Mutex::default(),
            used: Mutex::default(),
            through: AtomicU64::new(0),
        }
    }

    /// The camera whose tickets count.
    pub fn camera(&self) -> &CameraId {
        &self.camera
    }

    /// From now on tickets of these keys count, and of no others.
    pub fn set_keys(&self, keys: Vec<TicketPublic>) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// The relay reads its camera through this tunnel from now on. An older one than was told is no news.
    pub fn set_through(&self, generation: Generation) {
        self.through.fetch_max(generation.0, Ordering::Relaxed);
    }

    /// The newest tunnel through which the relay has read its camera, if it has.
    pub fn through(&self) -> Option<Generation> {
        let through = self.through.load(Ordering::Relaxed);
        (through > 0).then_some(Generation(through))
    }

    /// Takes a ticket: once.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn take(&self, text: &str, now: Timestamp) -> Result<Ticket, TicketError> {
        let ticket = self.read(text)?;
        if ticket.camera != self.camera {
            return Err(TicketError::Camera);
        }
        if ticket.pod != self.pod {
            return Err(TicketError::Pod);
        }
        if ticket.expires + LEEWAY <= now {
            return Err(TicketError::Expired);
        }
        if ticket.expires > now + LIFETIME + LEEWAY {
            return Err(TicketError::TooLong);
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(first) = used.first().copied()
            && first.0 + LEEWAY <= now
        {
            used.remove(&first);
        }
        if used.len() >= USED {
            return Err(TicketError::TooMany);
        }
        if used.insert((ticket.expires, ticket.id)) {
            Ok(ticket)
        } else {
            Err(TicketError::Used)
        }
    }

    fn read(&self, text: &str) -> Result<Ticket, TicketError> {
        if text.len() > LONGEST_TICKET {
            return Err(TicketError::Malformed);
        }
        let rest = text.strip_prefix("v1.").ok_or(TicketError::Malformed)?;
        let (id, encoded) = rest.split_once('.').ok_or(TicketError::Malformed)?;
        let bytes = BASE64.decode(encoded).map_err(|_| TicketError::Malformed)?;
        let at = bytes
            .len()
            .checked_sub(SIGNATURE)
            .ok_or(TicketError::Malformed)?;
        let (body, signature) = bytes.split_at_checked(at).ok_or(TicketError::Malformed)?;
        let keys = self
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let key = keys
            .iter()
            .find(|key| key.id() == id)
            .ok_or(TicketError::UnknownKey)?;
        key.verify(body, signature)?;
        Ticket::read(body).ok_or(TicketError::Malformed)
    }
}
