//! Challenging a reader and checking its answer.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::parameters::{Challenge, Scheme, quote};
use super::response::{Algorithm, Ha1, Protection, respond, same_hex};
use crate::url::path_and_query;

/// What a server asks of one connection: one nonce, good until the connection closes and never stale (retina takes a second 401 for the end).
#[derive(Clone, Debug)]
pub struct ServerAuth {
    realm: String,
    nonce: String,
    basic: bool,
}

/// What a client sent in `Authorization`, with the request that it belongs to.
#[derive(Clone)]
pub struct AuthAttempt {
    user: String,
    realm: String,
    proof: Proof,
}

#[derive(Clone)]
enum Proof {
    Password(String),
    Digest {
        method: String,
        uri: String,
        nonce: String,
        response: String,
        protection: Option<(String, String, String)>,
    },
}

impl std::fmt::Debug for AuthAttempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthAttempt")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl ServerAuth {
    /// `nonce`: random and new for each connection. `basic`: only under TLS (S12).
    #[must_use]
    pub fn new(realm: impl Into<String>, nonce: impl Into<String>, basic: bool) -> Self {
        Self {
            realm: realm.into(),
            nonce: nonce.into(),
            basic,
        }
    }

    /// The `WWW-Authenticate` values of a 401, Digest first. No `algorithm` and no `qop`: what every client was measured with.
    #[must_use]
    pub fn challenges(&self) -> Vec<String> {
        let mut list = vec![format!(
            "Digest realm={}, nonce={}",
            quote(&self.realm),
            quote(&self.nonce)
        )];
        if self.basic {
            list.push(format!("Basic realm={}", quote(&self.realm)));
        }
        list
    }

    /// Reads an `Authorization` value. `None` for what cannot be right whatever the password: another nonce, realm or algorithm, a `uri` of another
    /// request, Basic without TLS, control characters in the name (base64 carries any, and the name is logged).
    #[must_use]
    pub fn attempt(
        &self,
        authorization: &str,
        method: &str,
        request_uri: &str,
    ) -> Option<AuthAttempt> {
        let text = authorization.trim();
        if text
            .get(..6)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic "))
        {
            return self.basic_attempt(text.get(6..)?.trim());
        }
        let credentials = Challenge::parse_list(text)
            .into_iter()
            .next()
            .filter(|c| c.scheme == Scheme::Digest)?;
        let uri = credentials.get("uri")?;
        let same_algorithm =
            Algorithm::from_name(credentials.get("algorithm")) == Some(Algorithm::Md5);
        if credentials.get("nonce")? != self.nonce
            || credentials.get("realm")? != self.realm
            || !same_algorithm
        {
            return None;
        }
        if !uri_belongs(uri, request_uri) {
            return None;
        }
        let part = |name| credentials.get(name).map(str::to_owned);
        let protection = match credentials.get("qop") {
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                Some((qop.to_owned(), part("nc")?, part("cnonce")?))
            }
            Some(_) => return None,
            None => None,
        };
        Some(AuthAttempt {
            user: plain(credentials.get("username")?)?,
            realm: self.realm.clone(),
            proof: Proof::Digest {
                method: method.to_owned(),
                uri: uri.to_owned(),
                nonce: self.nonce.clone(),
                response: credentials.get("response")?.to_owned(),
                protection,
            },
        })
    }

    fn basic_attempt(&self, encoded: &str) -> Option<AuthAttempt> {
        if !self.basic {
            return None;
        }
        let pair = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
        let (user, password) = pair.split_once(':')?;
        Some(AuthAttempt {
            user: plain(user)?,
            realm: self.realm.clone(),
            proof: Proof::Password(password.to_owned()),
        })
    }
}

/// A name as it may be logged: no login has a control character.
fn plain(user: &str) -> Option<String> {
    let is_plain = !user.chars().any(char::is_control);
    is_plain.then(|| user.to_owned())
}

impl AuthAttempt {
    /// Who it says it is.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether it knows the password of this HA1, in constant time. For a user that does not exist the caller passes any HA1 and
    /// refuses whatever comes back, so that both cost the same (S11).
    #[must_use]
    pub fn verify(&self, ha1: &Ha1) -> bool {
        match &self.proof {
            Proof::Password(password) => Ha1::new(&self.user, &self.realm, password).matches(ha1),
            Proof::Digest {
                method,
                uri,
                nonce,
                response,
                protection,
            } => {
                let protection =
                    protection
                        .as_ref()
                        .map(|(qop, nc, cnonce)| Protection { qop, nc, cnonce });
                same_hex(
                    &respond(Algorithm::Md5, &ha1.hex(), method, uri, nonce, protection),
                    response,
                )
            }
        }
    }
}

/// Whether the Digest `uri` belongs to the request: it is the same, or a part of it that ends at a path's or query's border. live555 sends the base URL
/// with `/` at SETUP, HappyTime NVR leaves the last `/` out, Bosch BVMS sends the path only.
fn uri_belongs(uri: &str, request_uri: &str) -> bool {
    if uri == request_uri {
        return true;
    }
    let uri = path_and_query(uri).trim_end_matches('/');
    let request = path_and_query(request_uri).trim_end_matches('/');
    if uri.is_empty() {
        return request.is_empty();
    }
    request
        .strip_prefix(uri)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

#[cfg(test)]
mod tests {
    use super::super::{ClientAuth, Credentials};
    use super::*;

    #[test]
    fn uri_rule() {
        let request = "rtsp://h/camera-1/trackID=0";
        for (uri, good) in [
            (request, true),
            ("rtsp://h/camera-1/", true),
            ("rtsp://h/camera-1", true),
            ("/camera-1/trackID=0", true),
            ("/camera-1", true),
            ("rtsp://h/camera-2/trackID=0", false),
            ("rtsp://h/camera-", false),
            ("rtsp://h/cam", false),
            ("rtsp://h/", false),
            ("rtsp://h", false),
            ("/", false),
            ("", false),
            ("*", false),
        ] {
            assert_eq!(uri_belongs(uri, request), good, "{uri}");
        }
        assert!(uri_belongs("rtsp://h/camera-1/", "rtsp://h/camera-1"));
        assert!(uri_belongs(
            "rtsp://h/camera-1",
            "rtsp://h/camera-1?start=gop"
        ));
    }

    /// Found by the fuzz target `digest`.
    #[test]
    fn a_name_with_control_characters_is_no_attempt() {
        let server = ServerAuth::new("realm", "nonce", true);
        let digest = |name: &str| {
            format!(
                "Digest username=\"{name}\", realm=\"realm\", nonce=\"nonce\", uri=\"rtsp://h/p\", response=\"0\""
            )
        };
        let basic = |name: &str| format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:x")));
        let attempt = |text: String| server.attempt(&text, "PLAY", "rtsp://h/p").is_some();
        assert!(attempt(digest("anna")) && attempt(basic("anna")));
        for name in ["\0anna", "anna\r\nnobody", "\u{1b}[31manna", "anna\u{85}"] {
            assert!(!attempt(digest(name)), "{name:?}");
            assert!(!attempt(basic(name)), "{name:?}");
        }
    }

    #[test]
    fn our_client_passes_our_server_and_a_wrong_password_does_not() {
        let server = ServerAuth::new("Moorline", "abc", true);
        let ha1 = Ha1::new("ann", "Moorline", "se:cret\"");
        for (password, right) in [("se:cret\"", true), ("secret", false)] {
            for only_basic in [false, true] {
                let credentials = Credentials {
                    user: "ann".into(),
                    password: password.into(),
                };
                let mut client = ClientAuth::new(Some(credentials), true, [1; 16]);
                let challenges = server.challenges();
                let offered = challenges
                    .iter()
                    .map(String::as_str)
                    .skip(usize::from(only_basic));
                client.challenge(offered).unwrap();
                let value = client.authorize("DESCRIBE", "rtsp://h/cam").unwrap();
                let attempt = server.attempt(&value, "DESCRIBE", "rtsp://h/cam").unwrap();
                assert_eq!(attempt.user(), "ann");
                assert_eq!(attempt.verify(&ha1), right);
                assert!(!format!("{attempt:?} {client:?}").contains(password));
            }
        }
    }

    #[test]
    fn another_nonce_realm_method_or_plain_basic_is_nothing() {
        let server = ServerAuth::new("Moorline", "abc", false);
        let other = ServerAuth::new("Moorline", "abd", false);
        let credentials = Credentials {
            user: "ann".into(),
            password: "p".into(),
        };
        let mut client = ClientAuth::new(Some(credentials), true, [1; 16]);
        client
            .challenge(server.challenges().iter().map(String::as_str))
            .unwrap();
        let value = client.authorize("PLAY", "rtsp://h/cam").unwrap();
        assert!(other.attempt(&value, "PLAY", "rtsp://h/cam").is_none());
        let ha1 = Ha1::new("ann", "Moorline", "p");
        assert!(
            !server
                .attempt(&value, "SETUP", "rtsp://h/cam")
                .unwrap()
                .verify(&ha1)
        );
        assert!(
            server
                .attempt(&value, "PLAY", "rtsp://h/cam")
                .unwrap()
                .verify(&ha1)
        );
        assert!(
            server
                .attempt("Basic YW5uOnA=", "PLAY", "rtsp://h/cam")
                .is_none()
        );
        assert_eq!(server.challenges().len(), 1);
    }
}
