//! Another server that takes a camera's stream: what `REFER` of MOORLINE/1 says, as the owner set it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::key::PublicKey;
use crate::port::CameraAdminError;

/// The longest that a camera may use it while this server is away, in seconds: 7 days (rule S7).
pub const MAX_TTL_SECONDS: u32 = 604_800;

/// Where a camera's agent takes its stream, while it reports here. Printed as the fields of a `REFER` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Streampoint {
    /// What the camera is called there: 1 to 127 of `[a-z0-9/-]`, no leading `-`.
    pub user: String,
    /// Its host name or address: 1 to 253 of `[A-Za-z0-9.:-]`, no leading `-`.
    pub host: String,
    /// Its SSH port, not 0.
    pub port: u16,
    /// Its host keys: one, or two (of both algorithms, or of one while it is being rotated).
    pub keys: Vec<PublicKey>,
    /// How long it may be used while this server is away, in seconds, at most [`MAX_TTL_SECONDS`]; `None`: as long as it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
}

impl Streampoint {
    /// Checks its fields (rule S7, promise P11): they become arguments of dbclient on the camera.
    ///
    /// # Errors
    /// [`CameraAdminError::Invalid`] for the first field that is wrong.
    pub fn check(&self) -> Result<(), CameraAdminError> {
        let invalid = |field, value: &str, expected| {
            let value = value.chars().take(200).collect();
            Err(CameraAdminError::Invalid {
                field,
                value,
                expected,
            })
        };
        let made_of = |text: &str, most: usize, allowed: fn(u8) -> bool| {
            (1..=most).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(allowed)
        };
        let user =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/-".contains(&byte);
        if !made_of(&self.user, 127, user) {
            return invalid(
                "streampoint.user",
                &self.user,
                "tenant/camera, as the camera is called there",
            );
        }
        let host = |byte: u8| byte.is_ascii_alphanumeric() || b".:-".contains(&byte);
        if !made_of(&self.host, 253, host) {
            return invalid(
                "streampoint.host",
                &self.host,
                "a host name or an address, without brackets",
            );
        }
        if self.port == 0 {
            return invalid("streampoint.port", "0", "use 1 to 65535");
        }
        let twice = match &self.keys[..] {
            [_] => false,
            [one, other] => one == other,
            _ => true,
        };
        if twice {
            return invalid(
                "streampoint.keys",
                &format!("{} keys", self.keys.len()),
                "one host key, or two different ones",
            );
        }
        match self.ttl {
            Some(ttl) if ttl > MAX_TTL_SECONDS => invalid(
                "streampoint.ttl",
                &ttl.to_string(),
                "at most 604800 seconds: 7 days",
            ),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Streampoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.user, self.host, self.port)?;
        for (nth, key) in self.keys.iter().enumerate() {
            let before = if nth == 0 { ' ' } else { ',' };
            write!(f, "{before}{}", STANDARD.encode(key.blob()))?;
        }
        match self.ttl {
            Some(ttl) => write!(f, " {ttl}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: u8) -> PublicKey {
        let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        blob.extend([kind; 32]);
        PublicKey::from_blob(&blob).unwrap()
    }

    fn right() -> Streampoint {
        Streampoint {
            user: "home/yard".into(),
            host: "b.example.com".into(),
            port: 2222,
            keys: vec![key(1)],
            ttl: Some(3_600),
        }
    }

    #[test]
    fn it_prints_the_fields_of_refer() {
        let text = right().to_string();
        let fields: Vec<&str> = text.split(' ').collect();
        assert_eq!(fields[..3], ["home/yard", "b.example.com", "2222"]);
        assert_eq!((fields[3].len(), fields[4]), (68, "3600"));
        right().check().unwrap();
    }

    #[test]
    fn each_wrong_field_is_named() {
        type Spoil = fn(&mut Streampoint);
        let cases: [(&str, Spoil); 9] = [
            ("streampoint.user", |it| it.user = "-oProxy".into()),
            ("streampoint.user", |it| it.user = "a b".into()),
            ("streampoint.host", |it| it.host = "-oProxyCommand".into()),
            ("streampoint.host", |it| it.host = "a,b".into()),
            ("streampoint.host", |it| it.host = "$(x)".into()),
            ("streampoint.port", |it| it.port = 0),
            ("streampoint.keys", |it| it.keys.clear()),
            ("streampoint.keys", |it| it.keys.push(key(1))),
            ("streampoint.ttl", |it| it.ttl = Some(604_801)),
        ];
        for (expected, spoil) in cases {
            let mut wrong = right();
            spoil(&mut wrong);
            match wrong.check() {
                Err(CameraAdminError::Invalid { field, .. }) => assert_eq!(field, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
}
