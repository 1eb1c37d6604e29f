//! Dropbear's format of private keys: strings and integers as on the wire (RFC 4251, section 5), no envelope.
//!
//! ```text
//! ed25519: string "ssh-ed25519", string (32 bytes seed, 32 bytes public key)
//! ecdsa:   string "ecdsa-sha2-nistp256", string "nistp256", string point, mpint scalar
//! ```

use moorline_base::Secret;
use moorline_core::PublicKey;

use super::KeyError;

const ED25519: &[u8] = b"ssh-ed25519";
pub(super) const ECDSA_P256: &[u8] = b"ecdsa-sha2-nistp256";

/// The longest field of a file: a foreign one may say anything.
const FIELD: usize = 1024;

pub(super) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// `pair` is seed and public key.
pub(super) fn ed25519(pair: &[u8; 64]) -> Secret<Vec<u8>> {
    let mut file = Vec::with_capacity(128);
    put(&mut file, ED25519);
    put(&mut file, pair);
    Secret::new(file)
}

/// `blob` is the public key on the wire, `scalar` big-endian.
pub(super) fn ecdsa_p256(blob: &[u8], scalar: &[u8]) -> Secret<Vec<u8>> {
    let mut file = Vec::with_capacity(256);
    file.extend_from_slice(blob);
    let zeros = scalar.iter().take_while(|byte| **byte == 0).count();
    let digits = scalar.get(zeros..).unwrap_or_default();
    // An mpint whose first bit is set would be negative.
    let negative = digits.first().is_some_and(|byte| byte & 0x80 != 0);
    let sign: &[u8] = if negative { &[0] } else { &[] };
    let mpint = Secret::new([sign, digits].concat());
    put(&mut file, mpint.expose());
    Secret::new(file)
}

pub(super) fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    let (field, rest) = (length <= FIELD).then(|| rest.split_at_checked(length))??;
    *bytes = rest;
    Some(field)
}

/// The public key of a private key in Dropbear's format: what `dropbearkey -y` prints.
///
/// # Errors
/// [`KeyError::Unknown`] if the file is something else, or is cut.
pub fn public_key_of_dropbear(file: &[u8]) -> Result<PublicKey, KeyError> {
    parse(file).ok_or(KeyError::Unknown)
}

fn parse(file: &[u8]) -> Option<PublicKey> {
    let mut rest = file;
    let algorithm = take(&mut rest)?;
    let mut blob = Vec::new();
    put(&mut blob, algorithm);
    if algorithm == ED25519 {
        let pair = take(&mut rest)?;
        let (_, public) = pair.split_at_checked(32)?;
        put(&mut blob, public);
    } else if algorithm == ECDSA_P256 {
        put(&mut blob, take(&mut rest)?);
        put(&mut blob, take(&mut rest)?);
        take(&mut rest)?;
    } else {
        return None;
    }
    PublicKey::from_blob(&blob).ok().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::PrivateKey;
    use super::*;
    use moorline_core::key::KeyAlgorithm;

    #[test]
    fn the_public_key_is_found_in_the_file_and_a_cut_file_is_refused() {
        for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::EcdsaP256] {
            let key = PrivateKey::generate(algorithm).unwrap();
            let file = key.to_dropbear().unwrap();
            assert_eq!(
                public_key_of_dropbear(file.expose()).unwrap(),
                *key.public()
            );
            for length in 0..file.expose().len() {
                assert!(public_key_of_dropbear(&file.expose()[..length]).is_err());
            }
        }
        assert!(public_key_of_dropbear(b"-----BEGIN OPENSSH PRIVATE KEY-----").is_err());
    }

    #[test]
    fn a_scalar_is_a_positive_integer_without_leading_zeros() {
        let tail = |scalar: &[u8]| ecdsa_p256(b"", scalar).expose().clone();
        assert_eq!(tail(&[0, 0, 0x7f, 1]), [0, 0, 0, 2, 0x7f, 1]);
        assert_eq!(tail(&[0, 0x80]), [0, 0, 0, 2, 0, 0x80]);
    }
}
