//! The file `enroll`: where to enrol, whose key to trust, and the token. It comes by SD card, in an overlay, or from a portal.
//!
//! ```text
//! host cctv.example.com
//! port 2222
//! port 443
//! key AAAAC3NzaC1lZDI1NTE5AAAAI…
//! token …
//! ```

use moorline_control::{Host, HostKey, Id, SshUser, Token};

use crate::endpoint::Endpoint;
use crate::settings::Trust;
use crate::words::{Wrong, need, number, read};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enroll {
    /// The server's host.
    pub host: Host,
    /// Its ports, in the order in which they are tried.
    pub ports: Vec<u16>,
    /// Its pinned keys.
    pub keys: Vec<HostKey>,
    /// What proves that this camera may be enrolled.
    pub token: Token,
}

const MAX_KEYS: usize = 8;
const MAX_PORTS: usize = 4;

impl Enroll {
    /// Reads the file.
    ///
    /// # Errors
    /// Every line that is wrong, and every one that is missing.
    pub fn parse(text: &str) -> Result<Self, Vec<Wrong>> {
        let (mut host, mut token) = (None, None);
        let (mut ports, mut keys) = (Vec::new(), Vec::new());
        let mut wrong = read(text, &mut |key, value| match key {
            "host" => {
                let what = "a host name or an address, without a port";
                host = Some(need(key, Host::new(value), what)?);
                Ok(())
            }
            "port" => {
                let port = number(value).filter(|port| *port > 0);
                ports.push(need(key, port, "a number from 1 to 65535")?);
                need(key, (ports.len() <= MAX_PORTS).then_some(()), "at most 4")
            }
            "key" => {
                let what = "the base64 of an ed25519 or ecdsa-p256 public key";
                keys.push(need(key, HostKey::new(value), what)?);
                need(key, (keys.len() <= MAX_KEYS).then_some(()), "at most 8")
            }
            "token" => {
                token = Some(need(
                    key,
                    Token::new(value),
                    "22 to 256 characters of base64",
                )?);
                Ok(())
            }
            _ => Err("unknown key: host, port, key or token are known".to_owned()),
        });
        if ports.is_empty() {
            ports.push(2222);
        }
        let mut missing = |key: &str| {
            let what = format!("{key} is missing");
            wrong.push(Wrong { line: 0, what });
        };
        if keys.is_empty() {
            missing("key");
        }
        if host.is_none() {
            missing("host");
        }
        if token.is_none() {
            missing("token");
        }
        match (host, token) {
            (Some(host), Some(token)) if wrong.is_empty() => Ok(Enroll {
                host,
                ports,
                keys,
                token,
            }),
            _ => Err(wrong),
        }
    }

    /// Where to call to be enrolled.
    #[must_use]
    pub fn calls(&self) -> Vec<Endpoint> {
        SshUser::new("enroll").map_or_else(Vec::new, |user| self.as_user(&user))
    }

    /// Where to call once it is this camera.
    #[must_use]
    pub fn as_camera(&self, camera: &Id) -> Vec<Endpoint> {
        SshUser::new(camera.as_str()).map_or_else(Vec::new, |user| self.as_user(&user))
    }

    fn as_user(&self, user: &SshUser) -> Vec<Endpoint> {
        let ports = self.ports.iter();
        ports
            .map(|port| Endpoint {
                user: user.clone(),
                host: self.host.clone(),
                port: *port,
                keys: self.keys.clone(),
            })
            .collect()
    }
}

/// Where to call for all of these, in their order.
pub(crate) fn calls(all: &[Enroll]) -> Vec<(Endpoint, Trust)> {
    let mut calls = Vec::new();
    for enroll in all {
        for call in enroll.calls() {
            calls.push((call, Trust::Owner));
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn a_card_from_windows_is_read() {
        let text = format!(
            "\u{feff}# Moorline\r\nhost  cctv.example.com\r\nport 2222\r\nport 443\r\nkey {KEY}\r\ntoken abcdefghijklmnopqrstuv\r\n"
        );
        let enroll = Enroll::parse(&text).unwrap();
        let calls = enroll.calls();
        let calls: Vec<_> = calls
            .iter()
            .map(|call| (call.user.as_str(), call.host.as_str(), call.port))
            .collect();
        assert_eq!(
            calls,
            [
                ("enroll", "cctv.example.com", 2222),
                ("enroll", "cctv.example.com", 443)
            ]
        );
    }

    #[test]
    fn what_is_wrong_or_missing_is_named_without_its_value() {
        let wrong =
            Enroll::parse("host -oProxyCommand=x\nport 0\nkey ssh-dss\ntoken hunter2\nwifi x\n");
        let told: Vec<String> = wrong.unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 8, "{told:?}");
        for (told, begins) in told.iter().zip([
            "line 1: host: ",
            "line 2: port: ",
            "line 3: key: ",
            "line 4: token: ",
            "line 5: unknown key",
            "line 0: key is missing",
            "line 0: host",
            "line 0: token",
        ]) {
            assert!(told.starts_with(begins), "{told}");
            assert!(!told.contains("hunter2"));
        }
    }
}
