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
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use moorline_base::SharedClock;
use moorline_core::port::{PodUid, ReaderRole};
use moorline_core::{CameraId, Generation, SourceName, Timestamp};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use crate::reread::{FileError, Reread};

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

/// The public half of a ticket key. Printed as base64url; its id is the first 8 hex digits of its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TicketPublic([u8; 32]);

impl TicketPublic {
    /// Its id.
    pub fn id(&self) -> String {
        let digest = Sha256::digest(self.0);
        hex::encode(digest.get(..4).unwrap_or_default())
    }

    /// Verifies a ticket's text and reads it. Nothing of the body is looked at before the signature is right.
    fn verify(&self, body: &[u8], signature: &[u8]) -> Result<(), TicketError> {
        let message = [CONTEXT, body].concat();
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        key.verify(&message, signature)
            .map_err(|_| TicketError::Signature)
    }
}

impl fmt::Display for TicketPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl FromStr for TicketPublic {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE64.decode(text).map_err(|_| TicketError::Malformed)?;
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| TicketError::Malformed)
    }
}

/// The public keys that are valid now: at most two.
pub(crate) fn parse_publics(text: &str) -> Result<Vec<TicketPublic>, TicketError> {
    let words = text.split([',', '\n', ' ']).filter(|word| !word.is_empty());
    let keys: Vec<TicketPublic> = words.map(str::parse).collect::<Result<_, _>>()?;
    if (1..=2).contains(&keys.len()) {
        Ok(keys)
    } else {
        Err(TicketError::Malformed)
    }
}

/// `key,key`, as it travels in headers.
pub(crate) fn print_publics(keys: &[TicketPublic]) -> String {
    let texts: Vec<String> = keys.iter().map(ToString::to_string).collect();
    texts.join(",")
}

/// The file of the valid public keys that a gateway hands to relays: one key in base64url a line, at most two; read again when it changes.
#[derive(Debug)]
pub struct TicketPublics(Reread<Vec<TicketPublic>>);

impl TicketPublics {
    /// Reads it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn load(path: PathBuf, clock: SharedClock) -> Result<Self, FileError> {
        let build = |paths: &[PathBuf], contents: &[Vec<u8>]| {
            let ([path], [content]) = (paths, contents) else {
                return Err(FileError::new(Path::new(""), "one file is needed"));
            };
            let text = String::from_utf8_lossy(content);
            parse_publics(&text).map_err(|_| {
                FileError::new(
                    path,
                    "it has to hold one or two public ticket keys, one a line",
                )
            })
        };
        Reread::new(clock, vec![path], build).map(Self)
    }

    pub(crate) fn get(&self) -> Vec<TicketPublic> {
        self.0.get().to_vec()
    }
}

/// The private half, with which the signer signs; read again when its file changes.
#[derive(Debug)]
pub struct TicketSigner(Reread<Signing>);

struct Signing {
    pair: Ed25519KeyPair,
    public: TicketPublic,
}

impl Signing {
    fn new(pair: Ed25519KeyPair) -> Result<Self, TicketError> {
        let public: [u8; 32] = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| TicketError::Malformed)?;
        Ok(Self {
            pair,
            public: TicketPublic(public),
        })
    }

    /// Of PKCS#8 in PEM. Where the file has a second key, to sign with later, the first one signs.
    fn from_pem(pem: &[u8]) -> Result<Self, TicketError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| TicketError::Malformed)?;
        let pair = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der())
            .map_err(|_| TicketError::Malformed)?;
        Self::new(pair)
    }
}

/// A new ticket key: PKCS#8 in PEM, for the signer alone, and its public half. For `moorline keys init`.
///
/// # Errors
/// The system has no randomness.
pub fn generate_key() -> Result<(String, TicketPublic), TicketError> {
    let pair = Ed25519KeyPair::generate().map_err(|_| TicketError::Malformed)?;
    let document = pair.to_pkcs8().map_err(|_| TicketError::Malformed)?;
    let encoded = base64::engine::general_purpose::STANDARD.encode(document.as_ref());
    let lines: Vec<&str> = encoded
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    );
    Ok((pem, Signing::new(pair)?.public))
}

/// The public half of a ticket key that [`generate_key`] made. For `moorline keys rotate`.
///
/// # Errors
/// [`TicketError::Malformed`]: it is no such key.
pub fn public_of(pem: &str) -> Result<TicketPublic, TicketError> {
    Ok(Signing::from_pem(pem.as_bytes())?.public)
}

impl TicketSigner {
    /// Reads the private key (PKCS#8 in PEM). A second one in the file is kept there for later, and signs nothing.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn load(path: PathBuf, clock: SharedClock) -> Result<Self, FileError> {
        let build = |paths: &[PathBuf], contents: &[Vec<u8>]| {
            let ([path], [content]) = (paths, contents) else {
                return Err(FileError::new(Path::new(""), "one file is needed"));
            };
            Signing::from_pem(content).map_err(|_| {
                FileError::new(
                    path,
                    "it is no Ed25519 key in PEM (PKCS#8): moorline keys init makes one",
                )
            })
        };
        Reread::new(clock, vec![path], build).map(Self)
    }

    /// Signs a ticket.
    ///
    /// # Errors
    /// [`TicketError::Malformed`]: a text in it is longer than any pod's uid or login.
    pub fn sign(&self, ticket: &Ticket) -> Result<String, TicketError> {
        if !ticket.fits() {
            return Err(TicketError::Malformed);
        }
        Ok(sign(&self.0.get(), &ticket.body(), CONTEXT))
    }
}

fn sign(key: &Signing, body: &[u8], context: &[u8]) -> String {
    let signature = key.pair.sign(&[context, body].concat());
    let encoded = BASE64.encode([body, signature.as_ref()].concat());
    format!("v1.{}.{encoded}", key.public.id())
}

/// What a relay checks tickets with: the keys that came with its last answer of the gateway, and what it has seen.
#[derive(Debug)]
pub struct TicketCheck {
    camera: CameraId,
    pod: PodUid,
    keys: Mutex<Vec<TicketPublic>>,
    used: Mutex<BTreeSet<(Timestamp, [u8; 16])>>,
}

impl TicketCheck {
    /// For this camera's relay in this pod. Without keys nobody gets in.
    pub fn new(camera: CameraId, pod: PodUid) -> Self {
        Self {
            camera,
            pod,
            keys: Mutex::default(),
            used: Mutex::default(),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn key() -> Signing {
        Signing::new(Ed25519KeyPair::generate().unwrap()).unwrap()
    }

    fn ticket() -> Ticket {
        Ticket {
            id: [7; 16],
            expires: NOW + LIFETIME,
            generation: Generation(3),
            camera: "acme/yard".parse().unwrap(),
            source: SourceName::Sub,
            role: ReaderRole::Viewer {
                login: "ann".to_owned(),
            },
            pod: PodUid("uid-1".to_owned()),
        }
    }

    fn check(keys: &[&Signing]) -> TicketCheck {
        let check = TicketCheck::new("acme/yard".parse().unwrap(), PodUid("uid-1".to_owned()));
        check.set_keys(keys.iter().map(|key| key.public).collect());
        check
    }

    fn signed(key: &Signing, ticket: &Ticket) -> String {
        sign(key, &ticket.body(), CONTEXT)
    }

    #[test]
    fn a_ticket_opens_once() {
        let key = key();
        let check = check(&[&key]);
        let text = signed(&key, &ticket());
        assert_eq!(check.take(&text, NOW), Ok(ticket()));
        assert_eq!(check.take(&text, NOW), Err(TicketError::Used));
        let last = NOW + LIFETIME + LEEWAY;
        assert_eq!(
            check.take(&text, last),
            Err(TicketError::Expired),
            "remembered for as long as it counts"
        );
        let second = Ticket {
            id: [8; 16],
            ..ticket()
        };
        assert_eq!(check.take(&signed(&key, &second), NOW), Ok(second));
    }

    #[test]
    fn another_camera_pod_time_key_or_purpose_opens_nothing() {
        let (key, other) = (key(), key());
        let check = check(&[&key]);
        let take = |ticket: Ticket| check.take(&signed(&key, &ticket), NOW);
        let camera = "acme/gate".parse().unwrap();
        assert_eq!(
            take(Ticket { camera, ..ticket() }),
            Err(TicketError::Camera)
        );
        let pod = PodUid("uid-2".to_owned());
        assert_eq!(take(Ticket { pod, ..ticket() }), Err(TicketError::Pod));
        assert_eq!(
            take(Ticket {
                expires: NOW - LEEWAY,
                ..ticket()
            }),
            Err(TicketError::Expired)
        );
        let expires = NOW + LIFETIME + LIFETIME;
        assert_eq!(
            take(Ticket {
                expires,
                ..ticket()
            }),
            Err(TicketError::TooLong)
        );
        assert_eq!(
            check.take(&signed(&other, &ticket()), NOW),
            Err(TicketError::UnknownKey)
        );
        let forged = signed(&other, &ticket()).replace(&other.public.id(), &key.public.id());
        assert_eq!(check.take(&forged, NOW), Err(TicketError::Signature));
        let purpose = sign(&key, &ticket().body(), b"moorline day head v1\0");
        assert_eq!(check.take(&purpose, NOW), Err(TicketError::Signature));
        let none = TicketCheck::new(ticket().camera, ticket().pod);
        assert_eq!(
            none.take(&signed(&key, &ticket()), NOW),
            Err(TicketError::UnknownKey)
        );
        assert_eq!(
            check.take(&signed(&key, &ticket()), NOW),
            Ok(ticket()),
            "the ticket itself is good"
        );
    }

    #[test]
    fn two_keys_are_valid_while_they_are_exchanged() {
        let (old, new) = (key(), key());
        let check = check(&[&old, &new]);
        assert!(check.take(&signed(&old, &ticket()), NOW).is_ok());
        assert!(
            check
                .take(
                    &signed(
                        &new,
                        &Ticket {
                            id: [8; 16],
                            ..ticket()
                        }
                    ),
                    NOW
                )
                .is_ok()
        );
        check.set_keys(vec![new.public]);
        let late = signed(
            &old,
            &Ticket {
                id: [9; 16],
                ..ticket()
            },
        );
        assert_eq!(check.take(&late, NOW), Err(TicketError::UnknownKey));
    }

    /// S24: what `moorline keys rotate` counts on between its steps.
    #[test]
    fn of_two_private_keys_in_the_file_the_first_one_signs() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key.pem");
        let ((old, old_public), (new, new_public)) =
            (generate_key().unwrap(), generate_key().unwrap());
        assert_eq!(public_of(&old), Ok(old_public));
        assert_eq!(public_of("no key"), Err(TicketError::Malformed));
        let clock = moorline_base::SimulatedClock::new(0);
        let shared: SharedClock = std::sync::Arc::new(clock.clone());
        std::fs::write(&file, format!("{old}{new}")).unwrap();
        let signer = TicketSigner::load(file.clone(), shared).unwrap();
        let check = check(&[]);
        let takes = |public: TicketPublic, id: u8| {
            check.set_keys(vec![public]);
            let ticket = Ticket {
                id: [id; 16],
                ..ticket()
            };
            check.take(&signer.sign(&ticket).unwrap(), NOW).is_ok()
        };
        assert!(takes(old_public, 1) && !takes(new_public, 2));
        std::fs::write(&file, new).unwrap();
        clock.advance(Duration::from_secs(1));
        assert!(!takes(old_public, 3) && takes(new_public, 4));
    }

    #[test]
    fn keys_are_read_from_their_files() {
        let directory = tempfile::tempdir().unwrap();
        let (pem, public) = generate_key().unwrap();
        let (private_file, public_file) =
            (directory.path().join("key"), directory.path().join("pub"));
        std::fs::write(&private_file, &pem).unwrap();
        std::fs::write(&public_file, format!("{public}\n")).unwrap();
        let clock = moorline_base::SystemClock::shared();
        let signer = TicketSigner::load(private_file.clone(), clock.clone()).unwrap();
        let publics = TicketPublics::load(public_file.clone(), clock.clone()).unwrap();
        assert_eq!(publics.get(), [public]);
        let check = check(&[]);
        check.set_keys(publics.get());
        assert_eq!(
            check.take(&signer.sign(&ticket()).unwrap(), NOW),
            Ok(ticket())
        );
        let login = "x".repeat(LONGEST + 1);
        let long = Ticket {
            role: ReaderRole::Viewer { login },
            ..ticket()
        };
        assert_eq!(signer.sign(&long), Err(TicketError::Malformed));
        assert!(TicketSigner::load(public_file, clock.clone()).is_err());
        assert!(TicketPublics::load(private_file, clock).is_err());
    }

    proptest! {
        #[test]
        fn a_ticket_has_one_text(
            id: [u8; 16], expires in 0_i64..4_102_444_800_000, generation: u64, main: bool, viewer: bool,
            login in "[a-z0-9é]{0,60}", pod in "[a-f0-9-]{0,36}",
        ) {
            let role = if viewer { ReaderRole::Viewer { login } } else { ReaderRole::Archiver };
            let source = if main { SourceName::Main } else { SourceName::Sub };
            let ticket = Ticket {
                id, expires: Timestamp::from_millis(expires), generation: Generation(generation), source, role,
                camera: "acme/yard".parse().unwrap(), pod: PodUid(pod),
            };
            let body = ticket.body();
            prop_assert_eq!(Ticket::read(&body), Some(ticket));
            prop_assert_eq!(Ticket::read(&[body.as_slice(), b"x"].concat()), None);
            prop_assert_eq!(Ticket::read(&body[..body.len() - 1]), None);
        }

        #[test]
        fn what_reads_is_what_would_be_written(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Some(ticket) = Ticket::read(&bytes) {
                prop_assert_eq!(ticket.body(), bytes);
            }
        }

        #[test]
        fn strangers_tickets_never_panic(text in "(v1\\.)?[0-9a-f]{0,8}\\.?[A-Za-z0-9_-]{0,200}") {
            prop_assert!(check(&[]).take(&text, NOW).is_err());
        }
    }
}
