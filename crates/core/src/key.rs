//! SSH public keys as blobs: what proves a camera (rule S1), compared as bytes (rule S2).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::id::text_serde;

/// What a camera may prove itself with. No RSA: dropbear before 2020.79 signs it with SHA-1 only, and its ECDSA serves those cameras.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyAlgorithm {
    /// `ssh-ed25519` (RFC 8709); dropbear from 2020.79 on.
    Ed25519,
    /// `ecdsa-sha2-nistp256` (RFC 5656); older dropbear: `dropbearkey -t ecdsa -s 256`.
    EcdsaP256,
}

impl KeyAlgorithm {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
        }
    }
}

/// An SSH public key. Printed as `ssh-ed25519 AAAA…`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    blob: Arc<[u8]>,
}

/// Why a text or blob is not a key that Moorline takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// A key, but of another kind.
    #[error(
        "key algorithm {found:?} is not accepted: use ssh-ed25519, or ecdsa-sha2-nistp256 on old cameras (dropbearkey -t ecdsa -s 256)"
    )]
    Algorithm {
        /// What it is, shortened.
        found: String,
    },
    /// Not a public key at all.
    #[error(
        "not a public key: expected a line like \"ssh-ed25519 AAAA…\", as `dropbearkey -y -f KEY` prints it"
    )]
    Malformed,
    /// A private key was pasted.
    #[error(
        "this is a private key: give the public one, which `dropbearkey -y -f KEY` or `ssh-keygen -y -f KEY` prints"
    )]
    Private,
}

impl PublicKey {
    /// From the wire encoding (RFC 4253, section 6.6).
    ///
    /// # Errors
    /// [`InvalidKey`] if the blob is no whole ed25519 or ecdsa-p256 key.
    pub fn from_blob(blob: &[u8]) -> Result<Self, InvalidKey> {
        let (name, rest) = take_string(blob).ok_or(InvalidKey::Malformed)?;
        let (algorithm, whole) = match name {
            b"ssh-ed25519" => {
                let (point, rest) = take_string(rest).ok_or(InvalidKey::Malformed)?;
                (KeyAlgorithm::Ed25519, point.len() == 32 && rest.is_empty())
            }
            b"ecdsa-sha2-nistp256" => {
                let (curve, rest) = take_string(rest).ok_or(InvalidKey::Malformed)?;
                let (point, rest) = take_string(rest).ok_or(InvalidKey::Malformed)?;
                let uncompressed = point.len() == 65 && point.first() == Some(&4);
                (
                    KeyAlgorithm::EcdsaP256,
                    curve == b"nistp256" && uncompressed && rest.is_empty(),
                )
            }
            other => {
                let found = String::from_utf8_lossy(other).chars().take(40).collect();
                return Err(InvalidKey::Algorithm { found });
            }
        };
        if whole {
            Ok(Self {
                algorithm,
                blob: blob.into(),
            })
        } else {
            Err(InvalidKey::Malformed)
        }
    }

    /// The wire encoding.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Its kind.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// `SHA256:…` as `ssh-keygen -l` and new dropbears print it.
    pub fn fingerprint(&self) -> String {
        format!(
            "SHA256:{}",
            STANDARD_NO_PAD.encode(Sha256::digest(&self.blob))
        )
    }
}

fn take_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    /// Takes a line of `authorized_keys` without options, as `dropbearkey -y` and `ssh-keygen` print it; the comment is ignored.
    fn from_str(line: &str) -> Result<Self, Self::Err> {
        if line.contains("PRIVATE KEY") {
            return Err(InvalidKey::Private);
        }
        let mut words = line.split_ascii_whitespace();
        let name = words.next().ok_or(InvalidKey::Malformed)?;
        let encoded = words.next().ok_or(InvalidKey::Malformed)?;
        let blob = STANDARD
            .decode(encoded)
            .map_err(|_| InvalidKey::Malformed)?;
        let key = Self::from_blob(&blob)?;
        if key.algorithm.as_str() == name {
            Ok(key)
        } else {
            Err(InvalidKey::Malformed)
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            self.algorithm.as_str(),
            STANDARD.encode(&self.blob)
        )
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

text_serde!(PublicKey);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT camera";

    #[test]
    fn a_line_of_dropbearkey_is_a_key() {
        let key: PublicKey = ED25519.parse().unwrap();
        assert_eq!(key.algorithm(), KeyAlgorithm::Ed25519);
        assert_eq!(key.to_string(), ED25519.trim_end_matches(" camera"));
        assert_eq!(key.fingerprint().len(), "SHA256:".len() + 43);
    }

    #[test]
    fn other_kinds_and_private_keys_are_told_apart() {
        let rsa = format!(
            "ssh-rsa {}",
            STANDARD.encode(b"\0\0\0\x07ssh-rsa\0\0\0\x01\x03")
        );
        assert!(
            matches!(rsa.parse::<PublicKey>(), Err(InvalidKey::Algorithm { found }) if found == "ssh-rsa")
        );
        assert_eq!(
            "-----BEGIN OPENSSH PRIVATE KEY-----".parse::<PublicKey>(),
            Err(InvalidKey::Private)
        );
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 !!!",
            "ecdsa-sha2-nistp256 AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT",
        ] {
            assert_eq!(
                bad.parse::<PublicKey>(),
                Err(InvalidKey::Malformed),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn strangers_bytes_never_panic(blob in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = PublicKey::from_blob(&blob);
        }
    }
}
