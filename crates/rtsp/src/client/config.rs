//! What a client session is told.

use std::str::FromStr;
use std::time::Duration;

use crate::auth::Credentials;
use crate::interleaved::ResyncLimits;

/// How to keep an RTSP session alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepalivePolicy {
    /// GET_PARAMETER if the camera's `Public` lists it, else OPTIONS. Never SET_PARAMETER: Tapo answers 400.
    #[default]
    Auto,
    /// OPTIONS always: GET_PARAMETER "crashes some camera servers" (live555ProxyServer compiled it out).
    Options,
    /// GET_PARAMETER always.
    GetParameter,
}

impl FromStr for KeepalivePolicy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "options" => Ok(Self::Options),
            "get-parameter" => Ok(Self::GetParameter),
            _ => Err("auto, options or get-parameter"),
        }
    }
}

/// What to read, and how.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Host and port as they stand in request lines: the camera's own view (`127.0.0.1:554` behind a tunnel).
    pub authority: String,
    /// Paths with a leading slash, tried by DESCRIBE in this order. One if it is known. Never with user and password.
    pub paths: Vec<String>,
    /// The first of `paths` to try: a camera that closes after a 404 is connected again and goes on from here.
    pub first_path: usize,
    /// User and password.
    pub credentials: Option<Credentials>,
    /// Basic may be used (S23: the owner opts in).
    pub allow_basic: bool,
    /// Keepalives.
    pub keepalive: KeepalivePolicy,
    /// `User-Agent`.
    pub user_agent: String,
    /// Random bytes, new for each session: client nonces and our SSRC come from it.
    pub seed: [u8; 16],
    /// Longest wait for a reply.
    pub request_timeout: Duration,
    /// Longest wait for the reply to TEARDOWN.
    pub teardown_timeout: Duration,
    /// When framing is given up.
    pub resync: ResyncLimits,
}

impl ClientConfig {
    /// The usual: no credentials, 10 s for a reply, 2 s for TEARDOWN.
    #[must_use]
    pub fn new(authority: impl Into<String>, paths: Vec<String>, seed: [u8; 16]) -> Self {
        Self {
            authority: authority.into(),
            paths,
            first_path: 0,
            credentials: None,
            allow_basic: false,
            keepalive: KeepalivePolicy::Auto,
            user_agent: "Moorline".to_owned(),
            seed,
            request_timeout: Duration::from_secs(10),
            teardown_timeout: Duration::from_secs(2),
            resync: ResyncLimits::default(),
        }
    }
}
