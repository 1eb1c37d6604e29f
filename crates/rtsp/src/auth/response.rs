//! The digests themselves.

use md5::{Digest as _, Md5};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// The hash of a Digest challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// MD5 (also when no algorithm is named).
    Md5,
    /// SHA-256 (RFC 7616).
    Sha256,
}

impl Algorithm {
    /// By the name in a challenge; `None` for what we do not do (`-sess`, SHA-512-256).
    #[must_use]
    pub fn from_name(name: Option<&str>) -> Option<Self> {
        match name.map(str::trim) {
            None | Some("") => Some(Self::Md5),
            Some(name) if name.eq_ignore_ascii_case("MD5") => Some(Self::Md5),
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Some(Self::Sha256),
            Some(_) => None,
        }
    }

    /// Lower-case hexadecimal digest.
    pub(super) fn hex(self, text: &str) -> String {
        match self {
            Self::Md5 => hex::encode(Md5::digest(text.as_bytes())),
            Self::Sha256 => hex::encode(Sha256::digest(text.as_bytes())),
        }
    }
}

/// `MD5(user:realm:password)`: as good as the password, so it is not printed and compared in constant time.
#[derive(Clone, Copy)]
pub struct Ha1([u8; 16]);

impl std::fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ha1(…)")
    }
}

impl Ha1 {
    /// From what the registry keeps.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// From a password.
    #[must_use]
    pub fn new(user: &str, realm: &str, password: &str) -> Self {
        Self(Md5::digest(format!("{user}:{realm}:{password}").as_bytes()).into())
    }

    /// What the registry keeps.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    pub(super) fn hex(self) -> String {
        hex::encode(self.0)
    }

    /// Whether both are the same, in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// `qop`, `nc` and `cnonce` of a digest with quality of protection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Protection<'a> {
    pub(super) qop: &'a str,
    pub(super) nc: &'a str,
    pub(super) cnonce: &'a str,
}

/// The `response` of RFC 2617 §3.2.2.1 for a given HA1.
pub(super) fn respond(
    algorithm: Algorithm,
    ha1: &str,
    method: &str,
    uri: &str,
    nonce: &str,
    protection: Option<Protection<'_>>,
) -> String {
    let ha2 = algorithm.hex(&format!("{method}:{uri}"));
    match protection {
        None => algorithm.hex(&format!("{ha1}:{nonce}:{ha2}")),
        Some(Protection { qop, nc, cnonce }) => {
            algorithm.hex(&format!("{ha1}:{nonce}:{nc}:{cnonce}:{qop}:{ha2}"))
        }
    }
}

/// Equal texts, in constant time for equal lengths, letters without regard to case.
pub(super) fn same_hex(a: &str, b: &str) -> bool {
    a.to_ascii_lowercase()
        .as_bytes()
        .ct_eq(b.to_ascii_lowercase().as_bytes())
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standards() {
        // RFC 2617 §3.5 and RFC 7616 §3.9.1.
        let protection = Protection {
            qop: "auth",
            nc: "00000001",
            cnonce: "0a4f113b",
        };
        let ha1 = Ha1::new("Mufasa", "testrealm@host.com", "Circle Of Life").hex();
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let md5 = respond(
            Algorithm::Md5,
            &ha1,
            "GET",
            "/dir/index.html",
            nonce,
            Some(protection),
        );
        assert_eq!(md5, "6629fae49393a05397450978507c4ef1");

        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let ha1 = Algorithm::Sha256.hex("Mufasa:http-auth@example.org:Circle of Life");
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let protection = Protection {
            qop: "auth",
            nc: "00000001",
            cnonce,
        };
        let sha = respond(
            Algorithm::Sha256,
            &ha1,
            "GET",
            "/dir/index.html",
            nonce,
            Some(protection),
        );
        assert_eq!(
            sha,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Ha1::new("u", "r", "p")), "Ha1(…)");
    }
}
