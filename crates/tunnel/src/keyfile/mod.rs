//! Keys of hosts and cameras, in the formats of OpenSSH and Dropbear.
//!
//! Owns: making private keys, reading and writing their files (0600: rule S36), the lines that a client pins. Does not own: who may use a
//! key. Everything here blocks for a moment: call it at start, or from a blocking task.

mod dropbear;
mod host;
pub mod next;
mod openssh;

pub use dropbear::public_key_of_dropbear;
pub use host::{HostKeyError, HostKeys, at_this_moment};

use moorline_base::Secret;
use moorline_core::PublicKey;
use moorline_core::key::KeyAlgorithm;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Algorithm, EcdsaCurve, PrivateKey as SshKey};

/// Why a key could not be made, written or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key library failed; it does not on working systems.
    #[error("cannot make the key: {0}")]
    Library(String),
    /// The text or bytes are no private key that we know.
    #[error("not a private key of ed25519 or ecdsa-p256")]
    Unknown,
}

/// A private key. Never printed.
pub struct PrivateKey {
    key: SshKey,
    public: PublicKey,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({})", self.public.fingerprint())
    }
}

impl PrivateKey {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        let algorithm = match algorithm {
            KeyAlgorithm::Ed25519 => Algorithm::Ed25519,
            KeyAlgorithm::EcdsaP256 => Algorithm::Ecdsa {
                curve: EcdsaCurve::NistP256,
            },
        };
        let mut random = russh::keys::key::safe_rng();
        let key = SshKey::random(&mut random, algorithm)
            .map_err(|error| KeyError::Library(error.to_string()))?;
        Self::of(key)
    }

    /// From the text of an OpenSSH private key without passphrase.
    ///
    /// # Errors
    /// [`KeyError::Unknown`].
    pub fn from_openssh(text: &Secret<String>) -> Result<Self, KeyError> {
        let text = text.expose().as_str();
        let key = SshKey::from_openssh(text).ok();
        let key = key.or_else(|| openssh::ecdsa_p256(text));
        Self::of(key.ok_or(KeyError::Unknown)?)
    }

    fn of(key: SshKey) -> Result<Self, KeyError> {
        let blob = key
            .public_key()
            .to_bytes()
            .map_err(|error| KeyError::Library(error.to_string()))?;
        let public = PublicKey::from_blob(&blob).map_err(|_| KeyError::Unknown)?;
        Ok(PrivateKey { key, public })
    }

    /// The public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// OpenSSH's format, without passphrase: for `ssh -i`. dbclient refuses it ("String too long").
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn to_openssh(&self) -> Result<Secret<String>, KeyError> {
        let text = self
            .key
            .to_openssh(LineEnding::LF)
            .map_err(|error| KeyError::Library(error.to_string()))?;
        Ok(Secret::new(text.to_string()))
    }

    /// Dropbear's own format, as `dropbearkey` writes it: for `dbclient -i`. The file is binary.
    ///
    /// # Errors
    /// [`KeyError::Unknown`] never happens to a key that was made here.
    pub fn to_dropbear(&self) -> Result<Secret<Vec<u8>>, KeyError> {
        match self.key.key_data() {
            KeypairData::Ed25519(pair) => Ok(dropbear::ed25519(&pair.to_bytes())),
            KeypairData::Ecdsa(pair) => Ok(dropbear::ecdsa_p256(
                self.public.blob(),
                pair.private_key_bytes(),
            )),
            _ => Err(KeyError::Unknown),
        }
    }

    pub(crate) fn ssh(&self) -> SshKey {
        self.key.clone()
    }
}
