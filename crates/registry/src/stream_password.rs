//! Stream passwords (rule S12): generated, typed into players, verified by RTSP's Digest.

use md5::{Digest, Md5};
use moorline_core::Masked;
use moorline_core::user::{LoginName, REALM};

/// 32 signs, so that a byte gives one without bias; none that is read as another (no `l`, `o`, `0`, `1`), none that a URL escapes.
const SIGNS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// 20 signs of 5 bits: 100 bits.
const LENGTH: usize = 20;

/// A stream password and what Digest needs of it.
#[derive(Debug, Clone)]
pub(crate) struct StreamPassword {
    pub(crate) password: Masked<String>,
    /// `MD5(login:realm:password)` (RFC 2617, section 3.2.2.2).
    pub(crate) ha1: Masked<String>,
}

impl StreamPassword {
    /// A new one, at random.
    pub(crate) fn generate(login: &LoginName) -> Self {
        let sign = |byte: u8| char::from(SIGNS[usize::from(byte % 32)]);
        Self::of(
            login,
            rand::random::<[u8; LENGTH]>()
                .into_iter()
                .map(sign)
                .collect(),
        )
    }

    pub(crate) fn of(login: &LoginName, password: String) -> Self {
        let ha1 = hex::encode(Md5::digest(format!("{login}:{REALM}:{password}")));
        Self {
            password: Masked::new(password),
            ha1: Masked::new(ha1),
        }
    }
}

/// The row's name for the envelope.
pub(crate) fn context(login: &LoginName) -> String {
    format!("moorline stream password 1 {login}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_password_can_be_typed_and_does_not_repeat() {
        let login: LoginName = "anna".parse().unwrap();
        let passwords: std::collections::HashSet<_> = (0..1000)
            .map(|_| StreamPassword::generate(&login).password.reveal().clone())
            .collect();
        assert_eq!(passwords.len(), 1000);
        for password in &passwords {
            assert_eq!(password.len(), LENGTH);
            assert!(
                password
                    .chars()
                    .all(|sign| sign.is_ascii_alphanumeric() && !"lo01".contains(sign)),
                "{password}"
            );
        }
    }

    #[test]
    fn ha1_is_that_of_rfc_2617() {
        let login: LoginName = "mufasa".parse().unwrap();
        let stream = StreamPassword::of(&login, "Circle Of Life".into());
        // printf 'mufasa:Moorline:Circle Of Life' | md5sum
        assert_eq!(stream.ha1.reveal(), "3780c834a0549fdf6ad194d1770b9f34");
    }
}
