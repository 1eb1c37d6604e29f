//! Answering a camera's challenge.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use thiserror::Error;

use super::parameters::{Challenge, Scheme, quote};
use super::response::{Algorithm, Protection, respond};

/// User and password of a camera. Neither is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Why a challenge cannot be answered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AuthError {
    /// We have no user and password.
    #[error("the camera asks for a user and a password")]
    NoCredentials,
    /// The same nonce was answered already, or a fresh one at once refused.
    #[error("the camera refuses this user and password")]
    Rejected,
    /// Only Basic is offered, and the owner has not allowed it.
    #[error("the camera offers only Basic authentication")]
    BasicNotAllowed,
    /// No scheme or algorithm that we speak.
    #[error("the camera offers no authentication that is known (Digest MD5, Digest SHA-256)")]
    Unsupported,
}

/// The state of authentication towards one camera: keep it for the life of a connection.
#[derive(Clone, Debug)]
pub struct ClientAuth {
    credentials: Option<Credentials>,
    allow_basic: bool,
    /// Secret start of the client nonces, from the caller's random source.
    seed: [u8; 16],
    mode: Mode,
}

#[derive(Clone, Debug)]
enum Mode {
    None,
    Basic,
    Digest(DigestState),
}

#[derive(Clone, Debug)]
struct DigestState {
    realm: String,
    nonce: String,
    algorithm: Algorithm,
    /// The name as it was offered, echoed whenever there was one.
    algorithm_name: Option<String>,
    opaque: Option<String>,
    qop: bool,
    count: u32,
}

impl ClientAuth {
    /// Without credentials every challenge is an error. `seed` must be random where the camera asks for `qop`.
    #[must_use]
    pub fn new(credentials: Option<Credentials>, allow_basic: bool, seed: [u8; 16]) -> Self {
        Self {
            credentials,
            allow_basic,
            seed,
            mode: Mode::None,
        }
    }

    /// Takes the `WWW-Authenticate` values of a 401. Afterwards the request is sent again, once: a nonce is answered once only, and
    /// the caller bounds the repeats of one request.
    ///
    /// # Errors
    /// When there is nothing to answer with.
    pub fn challenge<'a>(
        &mut self,
        values: impl Iterator<Item = &'a str>,
    ) -> Result<(), AuthError> {
        if self.credentials.is_none() {
            return Err(AuthError::NoCredentials);
        }
        let challenges: Vec<Challenge> = values.take(8).flat_map(Challenge::parse_list).collect();
        let best = challenges
            .iter()
            .filter(|challenge| challenge.scheme == Scheme::Digest)
            .filter_map(|challenge| {
                Some((Algorithm::from_name(challenge.get("algorithm"))?, challenge))
            })
            .filter(|(_, challenge)| challenge.get("nonce").is_some())
            .max_by_key(|(algorithm, _)| *algorithm);
        if let Some((algorithm, challenge)) = best {
            return self.digest(algorithm, challenge);
        }
        if !challenges
            .iter()
            .any(|challenge| challenge.scheme == Scheme::Basic)
        {
            return Err(AuthError::Unsupported);
        }
        match (self.allow_basic, &self.mode) {
            (false, _) => Err(AuthError::BasicNotAllowed),
            (true, Mode::Basic) => Err(AuthError::Rejected),
            (true, _) => {
                self.mode = Mode::Basic;
                Ok(())
            }
        }
    }

    fn digest(&mut self, algorithm: Algorithm, challenge: &Challenge) -> Result<(), AuthError> {
        let nonce = challenge.get("nonce").unwrap_or_default();
        if let Mode::Digest(state) = &self.mode
            && state.nonce == nonce
            && state.algorithm == algorithm
        {
            return Err(AuthError::Rejected);
        }
        self.mode = Mode::Digest(DigestState {
            realm: challenge.get("realm").unwrap_or_default().to_owned(),
            nonce: nonce.to_owned(),
            algorithm,
            algorithm_name: challenge
                .get("algorithm")
                .map(|name| name.trim().to_owned()),
            opaque: challenge.get("opaque").map(str::to_owned),
            qop: challenge
                .get("qop")
                .is_some_and(|q| q.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth"))),
            count: 0,
        });
        Ok(())
    }

    /// The `Authorization` value for a request; `None` before the first challenge.
    pub fn authorize(&mut self, method: &str, uri: &str) -> Option<String> {
        let credentials = self.credentials.as_ref()?;
        let state = match &mut self.mode {
            Mode::None => return None,
            Mode::Basic => {
                let pair = format!("{}:{}", credentials.user, credentials.password);
                return Some(format!("Basic {}", BASE64_STANDARD.encode(pair)));
            }
            Mode::Digest(state) => state,
        };
        state.count = state.count.wrapping_add(1);
        let nc = format!("{:08x}", state.count);
        let cnonce = Algorithm::Sha256.hex(&format!(
            "{}:{}:{}",
            hex::encode(self.seed),
            state.nonce,
            state.count
        ));
        let cnonce = cnonce.get(..16).unwrap_or_default();
        let protection = state.qop.then_some(Protection {
            qop: "auth",
            nc: &nc,
            cnonce,
        });
        let secret = format!(
            "{}:{}:{}",
            credentials.user, state.realm, credentials.password
        );
        let ha1 = state.algorithm.hex(&secret);
        let response = respond(state.algorithm, &ha1, method, uri, &state.nonce, protection);
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\"",
            quote(&credentials.user),
            quote(&state.realm),
            quote(&state.nonce),
            quote(uri),
        );
        if let Some(name) = &state.algorithm_name {
            value.push_str(&format!(", algorithm={}", crate::octets::clean(name)));
        }
        if let Some(opaque) = &state.opaque {
            value.push_str(&format!(", opaque={}", quote(opaque)));
        }
        if state.qop {
            value.push_str(&format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
        }
        Some(value)
    }
}
