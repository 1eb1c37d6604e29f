//! OpenSSH's format of private keys (its PROTOCOL.key), of the keys that the library does not read.
//!
//! `ssh-keygen` leaves out the zeros that a scalar begins with, which is one key of ecdsa-p256 in 256; the library wants all 32 bytes.
//!
//! ```text
//! "openssh-key-v1" 0, string cipher, string kdf, string options, uint32 1, string public key, string private part
//! private part: uint32 check, uint32 check, string algorithm, string curve, string point, mpint scalar, string comment, padding
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moorline_base::Secret;
use russh::keys::PrivateKey;
use russh::keys::ssh_encoding::Decode as _;
use russh::keys::ssh_key::private::KeypairData;

use super::dropbear::{ECDSA_P256, put, take};

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Of a scalar of P-256, in bytes.
const SCALAR: usize = 32;
/// The two check numbers, in bytes.
const CHECKS: usize = 8;

/// A key of ecdsa-p256 without passphrase, its scalar of any length.
pub(super) fn ecdsa_p256(text: &str) -> Option<PrivateKey> {
    let body = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let body = Secret::new(body.split_ascii_whitespace().collect::<String>());
    let file = Secret::new(STANDARD.decode(body.expose()).ok()?);
    let mut rest = file.expose().as_slice().strip_prefix(MAGIC)?;
    let cipher = take(&mut rest)?;
    let (_kdf, _options) = (take(&mut rest)?, take(&mut rest)?);
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let _public = take(&mut rest)?;
    let mut private = take(&mut rest)?.get(CHECKS..)?;
    let algorithm = take(&mut private)?;
    if cipher != b"none" || *count != [0, 0, 0, 1] || algorithm != ECDSA_P256 {
        return None;
    }
    let (curve, point) = (take(&mut private)?, take(&mut private)?);
    let scalar = take(&mut private)?;
    let zeros = scalar.iter().take_while(|byte| **byte == 0).count();
    let digits = scalar.get(zeros..)?;
    let zeros = [0; SCALAR];
    let whole = Secret::new([zeros.get(digits.len()..)?, digits].concat());
    let mut pair = Vec::with_capacity(256);
    for field in [algorithm, curve, point, whole.expose().as_slice()] {
        put(&mut pair, field);
    }
    let pair = Secret::new(pair);
    let mut reader = pair.expose().as_slice();
    let data = KeypairData::decode(&mut reader).ok()?;
    PrivateKey::new(data, "").ok()
}

#[cfg(test)]
mod tests {
    use super::super::PrivateKey;
    use super::*;

    /// What `ssh-keygen` writes of this scalar.
    fn file_of(point: &[u8], scalar: &[u8]) -> Secret<String> {
        let public = joined(&[ECDSA_P256, b"nistp256", point]);
        let own = joined(&[ECDSA_P256, b"nistp256", point, scalar, b"root@camera"]);
        let mut private = [&[7; CHECKS][..], &own[..]].concat();
        private.extend((1..).take(private.len().next_multiple_of(8) - private.len()));
        let head = joined(&[b"none", b"none", b""]);
        let tail = joined(&[&public[..], &private[..]]);
        let file = [MAGIC, &head[..], &[0, 0, 0, 1][..], &tail[..]].concat();
        let encoded = STANDARD.encode(file);
        let lines = encoded.as_bytes().chunks(70);
        let lines: Vec<_> = lines.map(String::from_utf8_lossy).collect();
        Secret::new(format!("{BEGIN}\n{}\n{END}\n", lines.join("\n")))
    }

    fn joined(fields: &[&[u8]]) -> Vec<u8> {
        let mut all = Vec::new();
        for field in fields {
            put(&mut all, field);
        }
        all
    }

    #[test]
    fn a_key_of_ssh_keygen_whose_scalar_is_short_is_read() {
        // The scalar 1, whose point is the generator of P-256 (SEC 2, section 2.4.2).
        let point = b"\x04\
            \x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\
            \x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96\
            \x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\
            \x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5";
        let key = PrivateKey::from_openssh(&file_of(point, &[1])).unwrap();
        let blob = joined(&[ECDSA_P256, b"nistp256", point]);
        assert_eq!(key.public().blob(), blob);
        let dropbear = key.to_dropbear().unwrap();
        assert_eq!(dropbear.expose()[blob.len()..], [0, 0, 0, 1, 1]);
        // And what is written of it is read again.
        let again = PrivateKey::from_openssh(&key.to_openssh().unwrap()).unwrap();
        assert_eq!(again.public(), key.public());
        let long = file_of(point, &[1; SCALAR + 1]);
        assert!(PrivateKey::from_openssh(&long).is_err());
    }
}
