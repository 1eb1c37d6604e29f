//! The keys of tickets: the private one with which the signer signs, and the public ones by which relays check. Each is read again when its file changes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use moorline_base::SharedClock;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use super::{BASE64, CONTEXT, Ticket, TicketError};
use crate::reread::{FileError, Reread};

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
    pub(super) fn verify(&self, body: &[u8], signature: &[u8]) -> Result<(), TicketError> {
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

pub(super) struct Signing {
    pair: Ed25519KeyPair,
    pub(super) public: TicketPublic,
}

impl Signing {
    pub(super) fn new(pair: Ed25519KeyPair) -> Result<Self, TicketError> {
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

pub(super) fn sign(key: &Signing, body: &[u8], context: &[u8]) -> String {
    let signature = key.pair.sign(&[context, body].concat());
    let encoded = BASE64.encode([body, signature.as_ref()].concat());
    format!("v1.{}.{encoded}", key.public.id())
}
