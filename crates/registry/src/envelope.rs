//! The envelope of every secret at rest (rule S25): XChaCha20-Poly1305, a key id, and the row as associated data.
//!
//! ```text
//! sealed = version 1 (1 byte) | key id (8 bytes) | nonce (24 bytes, random) | ciphertext | tag (16 bytes)
//! ```
//!
//! Owns: the key file (0600, made at the first start) and the two operations. The first key of the file seals; all of them open, so that
//! a key can be replaced while old rows remain. Does not own: which rows there are.

use std::path::Path;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use moorline_base::Secret;
use moorline_base::files::{Access, write_atomic};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::OpenError;

const VERSION: u8 = 1;
const LINE: &str = "moorline-key-1";
const ID: usize = 8;
const NONCE: usize = 24;

/// Names a key without telling it: the first 8 bytes of a hash.
type KeyId = [u8; ID];

/// The keys of one registry.
pub(crate) struct Envelope {
    first: (KeyId, XChaCha20Poly1305),
    others: Vec<(KeyId, XChaCha20Poly1305)>,
}

/// A sealed value that does not open: another key, another row, or a changed byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored secret does not open with this key")]
pub(crate) struct Unsealed;

impl Envelope {
    /// Makes a key file with one random key.
    pub(crate) fn create(key_file: &Path) -> Result<(), OpenError> {
        write_atomic(key_file, new_key().as_bytes(), Access::Private)
            .map_err(|source| OpenError::io("write the key file", key_file, source))
    }

    /// Reads the key file; its mode must be 0600 or less.
    pub(crate) fn read(key_file: &Path) -> Result<Self, OpenError> {
        Self::parse(&Secret::from_private_file(key_file)?, key_file)
    }

    /// Reads a key file that is a mounted Secret, of any mode.
    #[cfg(feature = "postgres")]
    pub(crate) fn read_mounted(key_file: &Path) -> Result<Self, OpenError> {
        Self::parse(&Secret::from_file(key_file)?, key_file)
    }

    fn parse(text: &Secret<String>, key_file: &Path) -> Result<Self, OpenError> {
        let mut keys = Vec::new();
        for (index, line) in text.expose().lines().enumerate() {
            let key = parse(line).ok_or_else(|| OpenError::KeyMalformed {
                path: key_file.into(),
                line: index + 1,
            })?;
            keys.push((id_of(&key), XChaCha20Poly1305::new((&*key).into())));
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or_else(|| OpenError::KeyMalformed {
            path: key_file.into(),
            line: 1,
        })?;
        Ok(Self {
            first,
            others: keys.collect(),
        })
    }

    /// The id of the key that seals, in hex.
    pub(crate) fn id(&self) -> String {
        hex::encode(self.first.0)
    }

    /// Whether a key of that id (in hex) is there.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.keys().any(|(known, _)| hex::encode(known) == id)
    }

    fn keys(&self) -> impl Iterator<Item = &(KeyId, XChaCha20Poly1305)> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Seals a secret of the row that `context` names.
    pub(crate) fn seal(&self, context: &str, plain: &str) -> Result<Vec<u8>, Unsealed> {
        let (id, cipher) = &self.first;
        let nonce = rand::random::<[u8; NONCE]>();
        let payload = Payload {
            msg: plain.as_bytes(),
            aad: context.as_bytes(),
        };
        let sealed = cipher
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| Unsealed)?;
        Ok([&[VERSION], id.as_slice(), &nonce, &sealed].concat())
    }

    /// Opens what was sealed for the same row.
    pub(crate) fn open(&self, context: &str, sealed: &[u8]) -> Result<String, Unsealed> {
        let rest = sealed.strip_prefix(&[VERSION]).ok_or(Unsealed)?;
        let (id, rest) = rest.split_first_chunk::<ID>().ok_or(Unsealed)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or(Unsealed)?;
        let (_, cipher) = self.keys().find(|(known, _)| known == id).ok_or(Unsealed)?;
        let payload = Payload {
            msg: sealed,
            aad: context.as_bytes(),
        };
        let plain = cipher
            .decrypt(XNonce::from_slice(nonce), payload)
            .map_err(|_| Unsealed)?;
        String::from_utf8(plain).map_err(|_| Unsealed)
    }
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Envelope")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// The text of a key file with one random key, for whoever keeps it elsewhere (a Secret). Never printed unless asked (rule S36).
pub fn new_key() -> Zeroizing<String> {
    let key = Zeroizing::new(rand::random::<[u8; 32]>());
    Zeroizing::new(format!("{LINE} {}\n", hex::encode(key.as_slice())))
}

fn parse(line: &str) -> Option<Zeroizing<[u8; 32]>> {
    let digits = line.strip_prefix(LINE)?.strip_prefix(' ')?;
    let mut key = Zeroizing::new([0; 32]);
    hex::decode_to_slice(digits, key.as_mut_slice()).ok()?;
    Some(key)
}

fn id_of(key: &[u8; 32]) -> KeyId {
    let digest = Sha256::new()
        .chain_update(b"moorline key id 1")
        .chain_update(key)
        .finalize();
    let mut id = [0; ID];
    id.copy_from_slice(&digest[..ID]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(lines: &[[u8; 32]]) -> Envelope {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: String = lines
            .iter()
            .map(|key| format!("{LINE} {}\n", hex::encode(key)))
            .collect();
        write_atomic(file.path(), text.as_bytes(), Access::Private).unwrap();
        Envelope::read(file.path()).unwrap()
    }

    /// S25.
    #[test]
    fn a_secret_opens_for_its_own_row_alone() {
        let envelope = envelope(&[[7; 32]]);
        let sealed = envelope.seal("camera home/yard main", "hunter2").unwrap();
        assert_eq!(
            envelope.open("camera home/yard main", &sealed).as_deref(),
            Ok("hunter2")
        );
        assert_eq!(
            envelope.open("camera home/gate main", &sealed),
            Err(Unsealed),
            "a row moved to another"
        );
        let twice = envelope.seal("camera home/yard main", "hunter2").unwrap();
        assert_ne!(sealed, twice, "a nonce is never used twice");
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(
                envelope.open("camera home/yard main", &changed),
                Err(Unsealed),
                "byte {index}"
            );
        }
    }

    #[test]
    fn an_older_key_still_opens() {
        let sealed = envelope(&[[7; 32]]).seal("row", "hunter2").unwrap();
        let both = envelope(&[[8; 32], [7; 32]]);
        assert_eq!(both.open("row", &sealed).as_deref(), Ok("hunter2"));
        let new = both.seal("row", "hunter2").unwrap();
        assert_eq!(
            envelope(&[[8; 32]]).open("row", &new).as_deref(),
            Ok("hunter2")
        );
        assert_eq!(envelope(&[[8; 32]]).open("row", &sealed), Err(Unsealed));
    }

    #[test]
    fn a_file_that_is_no_key_names_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, line) in [("hello\n", 1), ("moorline-key-1 00\n", 1), ("\n\n", 1)] {
            write_atomic(file.path(), text.as_bytes(), Access::Private).unwrap();
            match Envelope::read(file.path()) {
                Err(OpenError::KeyMalformed { line: found, .. }) => {
                    assert_eq!(found, line, "{text:?}")
                }
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }
}
