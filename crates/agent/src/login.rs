//! Answering a streamer's 401 with the login of `local.conf`: Digest with MD5 (RFC 2617, 7616), else Basic. The login never travels
//! further than the camera's loopback (P10).

use crate::head::{Head, parameter};
use crate::local::Login;
use crate::md5;

/// What a streamer asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// `Digest`, of MD5.
    Digest {
        /// Its realm.
        realm: String,
        /// Its nonce.
        nonce: String,
        /// To be sent back.
        opaque: Option<String>,
        /// Whether `qop=auth` is offered.
        qop: bool,
        /// How often the nonce was used.
        count: u32,
    },
    /// `Basic`.
    Basic,
}

impl Challenge {
    /// The best challenge of a 401 that we can answer.
    #[must_use]
    pub fn of(head: &Head<'_>) -> Option<Self> {
        let all: Vec<&str> = head.values("WWW-Authenticate").collect();
        let scheme = |value: &str, name: &str| {
            let word = value.split_ascii_whitespace().next();
            word.is_some_and(|word| word.eq_ignore_ascii_case(name))
        };
        let digest = all.iter().find(|value| {
            let algorithm = parameter(value, "algorithm");
            scheme(value, "Digest") && algorithm.is_none_or(|name| name.eq_ignore_ascii_case("MD5"))
        });
        if let Some(value) = digest {
            let qop = parameter(value, "qop");
            return Some(Challenge::Digest {
                realm: parameter(value, "realm")?,
                nonce: parameter(value, "nonce")?,
                opaque: parameter(value, "opaque"),
                qop: qop.is_some_and(|qop| qop.split(',').any(|word| word.trim_ascii() == "auth")),
                count: 0,
            });
        }
        let basic = all.iter().any(|value| scheme(value, "Basic"));
        basic.then_some(Challenge::Basic)
    }

    /// The value of `Authorization` for a request.
    pub fn answer(&mut self, login: &Login, method: &str, url: &str) -> String {
        match self {
            Challenge::Basic => {
                let pair = format!("{}:{}", login.user, login.password);
                format!("Basic {}", moorline_control::base64_of(pair.as_bytes()))
            }
            Challenge::Digest {
                realm,
                nonce,
                opaque,
                qop,
                count,
            } => {
                *count = count.wrapping_add(1);
                let user = &login.user;
                let secret = md5::hex(format!("{user}:{realm}:{}", login.password).as_bytes());
                let asked = md5::hex(format!("{method}:{url}").as_bytes());
                let opaque = opaque.as_ref();
                let opaque =
                    opaque.map_or(String::new(), |opaque| format!(", opaque=\"{opaque}\""));
                let begin = format!(
                    "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{url}\""
                );
                if *qop {
                    // The client's nonce guards against a chosen server nonce; both ends are this camera.
                    let (nc, cnonce) = (format!("{count:08x}"), md5::hex(nonce.as_bytes()));
                    let all = format!("{secret}:{nonce}:{nc}:{cnonce}:auth:{asked}");
                    let response = md5::hex(all.as_bytes());
                    format!(
                        "{begin}, response=\"{response}\", qop=auth, nc={nc}, cnonce=\"{cnonce}\"{opaque}"
                    )
                } else {
                    let response = md5::hex(format!("{secret}:{nonce}:{asked}").as_bytes());
                    format!("{begin}, response=\"{response}\"{opaque}")
                }
            }
        }
    }
}

/// The request with this `Authorization`, in the place of one that it has.
#[must_use]
pub fn authorized(request: &[u8], authorization: &str) -> Vec<u8> {
    let (head, body) = crate::head::split(request);
    let mut out = Vec::with_capacity(request.len() + authorization.len() + 32);
    let mut lines = head.split_inclusive(|byte| *byte == b'\n');
    out.extend_from_slice(lines.next().unwrap_or_default());
    out.extend_from_slice(format!("Authorization: {authorization}\r\n").as_bytes());
    for line in lines {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if !name.trim_ascii().eq_ignore_ascii_case(b"Authorization") {
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login {
            user: "Mufasa".into(),
            password: "Circle Of Life".into(),
        }
    }

    #[test]
    fn a_digest_is_answered_as_in_the_rfc() {
        // RFC 2617, section 3.5, without qop (RFC 2069's form), computed with the same secret.
        let head = Head::of(b"RTSP/1.0 401 x\r\nWWW-Authenticate: Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"\r\n\r\n");
        let mut challenge = Challenge::of(&head).unwrap();
        let answer = challenge.answer(&login(), "GET", "/dir/index.html");
        assert_eq!(
            parameter(&answer, "response").as_deref(),
            Some("670fd8c2df070c60b045671b8b24ff02")
        );
    }

    #[test]
    fn digest_goes_before_basic_and_another_algorithm_is_passed_over() {
        let head = Head::of(b"RTSP/1.0 401 x\r\nWWW-Authenticate: Basic realm=\"x\"\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"1\", algorithm=SHA-256\r\n\r\n");
        assert_eq!(Challenge::of(&head), Some(Challenge::Basic));
        let answer = Challenge::Basic.answer(&login(), "PLAY", "*");
        assert_eq!(answer, "Basic TXVmYXNhOkNpcmNsZSBPZiBMaWZl");
    }

    #[test]
    fn a_request_gets_one_authorization() {
        let request = b"PLAY rtsp://a RTSP/1.0\r\nCSeq: 1\r\nauthorization: old\r\n\r\n";
        let with = authorized(request, "Basic x");
        assert_eq!(
            with,
            b"PLAY rtsp://a RTSP/1.0\r\nAuthorization: Basic x\r\nCSeq: 1\r\n\r\n"
        );
    }
}
