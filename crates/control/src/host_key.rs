//! The pins: SSH public keys of servers.

use std::fmt::{self, Display};

use crate::base64;

/// The algorithms that a pin may have. Two, because dropbear before 2020.79 negotiates ecdsa-p256 and would find an ed25519 pin "unknown".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostKeyAlgorithm {
    /// `ssh-ed25519`: 68 characters.
    Ed25519,
    /// `ecdsa-sha2-nistp256`: 140 characters.
    EcdsaP256,
}

impl HostKeyAlgorithm {
    /// The algorithm's name, as it stands in `known_hosts`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            HostKeyAlgorithm::Ed25519 => "ssh-ed25519",
            HostKeyAlgorithm::EcdsaP256 => "ecdsa-sha2-nistp256",
        }
    }
}

/// What stands before the 32 bytes of an ed25519 key (RFC 8709, section 4).
const ED25519: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20";

/// What stands before the 64 bytes of a point on P-256 (RFC 5656, section 3.1): the last byte says that it is uncompressed.
const ECDSA_P256: &[u8] = b"\0\0\0\x13ecdsa-sha2-nistp256\0\0\0\x08nistp256\0\0\0\x41\x04";

/// A server's public key, as base64 of its SSH blob; it names its own algorithm. That the point lies on the curve is not checked here:
/// it is only compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostKey {
    algorithm: HostKeyAlgorithm,
    text: String,
}

impl HostKey {
    /// `None` when the text is not the base64 of an ed25519 or ecdsa-p256 key.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::of(text.as_bytes())
    }

    /// The key of an SSH public key blob.
    #[must_use]
    pub fn of_blob(blob: &[u8]) -> Option<Self> {
        let known = [
            (HostKeyAlgorithm::Ed25519, ED25519, 32),
            (HostKeyAlgorithm::EcdsaP256, ECDSA_P256, 64),
        ];
        let (algorithm, ..) = known
            .into_iter()
            .find(|(_, start, key)| blob.len() == start.len() + key && blob.starts_with(start))?;
        let text = base64::encode(blob);
        Some(HostKey { algorithm, text })
    }

    pub(crate) fn of(word: &[u8]) -> Option<Self> {
        // Longer than both is neither: a line's worth of base64 need not be decoded to know.
        if word.len() > 140 {
            return None;
        }
        Self::of_blob(&base64::decode(word)?)
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> HostKeyAlgorithm {
        self.algorithm
    }

    /// The base64 text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
