//! The camera's private key, and the host keys that it pins.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::keys::ssh_encoding::{Decode as _, Encode as _};
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{Algorithm, PrivateKey, PublicKey};

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key library failed.
    #[error("cannot make a key: {0}")]
    Library(String),
    /// The text or bytes are no private key that we know.
    #[error("not a private key of ed25519 or ecdsa-p256 in the format of OpenSSH or Dropbear")]
    Unknown,
    /// A line to pin is not `host algorithm base64`.
    #[error("not a line of known_hosts: {0:?}")]
    KnownHosts(String),
}

/// A camera's private key. Never printed.
#[derive(Clone)]
pub struct Key(PrivateKey);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.algorithm())
    }
}

impl Key {
    /// A new ed25519 key.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut random = russh::keys::key::safe_rng();
        let key = PrivateKey::random(&mut random, Algorithm::Ed25519);
        key.map(Self)
            .map_err(|error| KeyError::Library(error.to_string()))
    }

    /// From the text of an OpenSSH private key without passphrase.
    ///
    /// # Errors
    /// [`KeyError::Unknown`].
    pub fn from_openssh(text: &str) -> Result<Self, KeyError> {
        PrivateKey::from_openssh(text)
            .map(Self)
            .map_err(|_| KeyError::Unknown)
    }

    /// From a file of `dropbearkey` or `moorline camera add`.
    ///
    /// # Errors
    /// [`KeyError::Unknown`].
    pub fn from_dropbear(file: &[u8]) -> Result<Self, KeyError> {
        parse_dropbear(file).map(Self).ok_or(KeyError::Unknown)
    }

    /// Dropbear's format, for `dbclient -i`.
    ///
    /// # Errors
    /// [`KeyError::Unknown`] for other algorithms than ed25519 and ecdsa.
    pub fn to_dropbear(&self) -> Result<Vec<u8>, KeyError> {
        match self.0.key_data() {
            KeypairData::Ed25519(pair) => Ok(joined(&[ED25519, &pair.to_bytes()])),
            // Dropbear writes ecdsa as OpenSSH's agent does, but for the zeros that the library writes before a scalar.
            pair @ KeypairData::Ecdsa(_) => {
                let mut file = Vec::new();
                pair.encode(&mut file).map_err(|_| KeyError::Unknown)?;
                let [algorithm, curve, point, scalar] = ecdsa(&file).ok_or(KeyError::Unknown)?;
                let digits = digits(scalar);
                // An integer whose first bit is set would be negative.
                let negative = digits.first().is_some_and(|byte| byte & 0x80 != 0);
                let sign: &[u8] = if negative { &[0] } else { &[] };
                let scalar = [sign, digits].concat();
                Ok(joined(&[algorithm, curve, point, &scalar]))
            }
            _ => Err(KeyError::Unknown),
        }
    }

    /// `algorithm base64`, as the server is told.
    #[must_use]
    pub fn public_line(&self) -> String {
        let key = self.0.public_key();
        let blob = key.to_bytes().unwrap_or_default();
        format!("{} {}", key.algorithm(), STANDARD.encode(blob))
    }

    pub(super) fn private(&self) -> PrivateKey {
        self.0.clone()
    }
}

const ED25519: &[u8] = b"ssh-ed25519";
/// Of a scalar of P-256, in bytes.
const SCALAR: usize = 32;

fn parse_dropbear(file: &[u8]) -> Option<PrivateKey> {
    let mut rest = file;
    if take(&mut rest)? == ED25519 {
        let pair: &[u8; 64] = take(&mut rest)?.try_into().ok()?;
        let pair = Ed25519Keypair::from_bytes(pair).ok()?;
        return rest.is_empty().then(|| PrivateKey::from(pair));
    }
    // One key in 256 has a scalar that begins with zeros. The file leaves them out, the library wants them.
    let [algorithm, curve, point, scalar] = ecdsa(file)?;
    let digits = digits(scalar);
    let mut whole = [0_u8; SCALAR];
    let zeros = SCALAR.checked_sub(digits.len())?;
    whole.get_mut(zeros..)?.copy_from_slice(digits);
    let file = joined(&[algorithm, curve, point, &whole]);
    let mut reader = file.as_slice();
    let data = KeypairData::decode(&mut reader).ok()?;
    PrivateKey::new(data, "").ok().filter(|_| reader.is_empty())
}

/// The fields of an ecdsa key: algorithm, curve, point and scalar.
fn ecdsa(file: &[u8]) -> Option<[&[u8]; 4]> {
    let mut rest = file;
    let fields = [
        take(&mut rest)?,
        take(&mut rest)?,
        take(&mut rest)?,
        take(&mut rest)?,
    ];
    rest.is_empty().then_some(fields)
}

/// An integer without the zeros that it begins with.
fn digits(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|byte| **byte == 0).count();
    integer.get(zeros..).unwrap_or_default()
}

/// Fields behind their lengths.
fn joined(fields: &[&[u8]]) -> Vec<u8> {
    let mut file = Vec::new();
    for field in fields {
        file.extend((field.len() as u32).to_be_bytes());
        file.extend_from_slice(field);
    }
    file
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (field, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *bytes = rest;
    Some(field)
}

/// Pinned host keys: whatever server holds one of them is the right one. No line: any server is.
#[derive(Debug, Clone, Default)]
pub struct KnownHosts(Vec<PublicKey>);

impl KnownHosts {
    /// From lines `host algorithm base64`; the host is not looked at, as all lines are of the one server that is called.
    ///
    /// # Errors
    /// [`KeyError::KnownHosts`] names the line.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, KeyError> {
        let key = |line: &str| {
            let encoded = line.split_whitespace().nth(2);
            let key =
                encoded.and_then(|encoded| russh::keys::parse_public_key_base64(encoded).ok());
            key.ok_or_else(|| KeyError::KnownHosts(line.to_owned()))
        };
        lines
            .into_iter()
            .map(key)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn accepts(&self, key: &PublicKey) -> bool {
        self.0.is_empty()
            || self
                .0
                .iter()
                .any(|known| known.key_data() == key.key_data())
    }

    /// Lines for dbclient, which compares the address that it was given, without its port.
    pub(crate) fn lines(&self, host: IpAddr) -> String {
        let line = |key: &PublicKey| {
            format!(
                "{host} {} {}\n",
                key.algorithm(),
                STANDARD.encode(key.to_bytes().unwrap_or_default())
            )
        };
        self.0.iter().map(line).collect()
    }
}

impl FromStr for KnownHosts {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text.lines().filter(|line| !line.trim().is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_tunnel::keyfile::PrivateKey as ServerKey;

    #[test]
    fn files_of_camera_add_are_read_and_written_back() {
        for algorithm in [
            moorline_core::key::KeyAlgorithm::Ed25519,
            moorline_core::key::KeyAlgorithm::EcdsaP256,
        ] {
            let made = ServerKey::generate(algorithm).unwrap();
            let file = made.to_dropbear().unwrap();
            let key = Key::from_dropbear(file.expose()).unwrap();
            assert!(
                made.public().to_string().starts_with(&key.public_line()),
                "{}",
                made.public()
            );
            assert_eq!(&key.to_dropbear().unwrap(), file.expose());
            let text = made.to_openssh().unwrap();
            assert_eq!(
                Key::from_openssh(text.expose()).unwrap().public_line(),
                key.public_line()
            );
        }
    }

    #[test]
    fn a_scalar_that_begins_with_zeros_is_read_and_written_back() {
        // The scalar 1, whose point is the generator of P-256 (SEC 2, section 2.4.2).
        let point = b"\x04\
            \x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\
            \x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96\
            \x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\
            \x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5";
        let file = joined(&[b"ecdsa-sha2-nistp256", b"nistp256", point, &[1]]);
        let key = Key::from_dropbear(&file).unwrap();
        assert_eq!(key.to_dropbear().unwrap(), file);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(
            Key::from_dropbear(b"nothing").unwrap_err(),
            KeyError::Unknown
        );
        assert_eq!(Key::from_openssh("nothing").unwrap_err(), KeyError::Unknown);
        assert!("localhost ssh-ed25519".parse::<KnownHosts>().is_err());
    }
}
