//! What a server session is told, and what it tells.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::interleaved::StrictError;
use crate::url::Target;

/// How to serve one connection.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Whoever reads is authenticated already (the archiver's stream, a ticket): nothing is asked.
    pub trusted: bool,
    /// The one realm of the front door.
    pub realm: String,
    /// Digest nonce: random, new for each connection.
    pub nonce: String,
    /// Offer Basic too: under TLS only (S12).
    pub basic: bool,
    /// RTSP session id: random, letters and digits (dashes confuse some clients).
    pub session_id: String,
    /// `Server`.
    pub server: String,
    /// `rtsp://host:port` for clients that send only a path (Bosch BVMS).
    pub fallback_base: String,
    /// The session's timeout, as told to the client.
    pub timeout: Duration,
    /// Longest time without having authenticated (P9).
    pub login_timeout: Duration,
}

impl ServerConfig {
    /// A public connection: 60 s timeout, 20 s to authenticate.
    #[must_use]
    pub fn new(realm: &str, nonce: impl Into<String>, session_id: impl Into<String>) -> Self {
        Self {
            trusted: false,
            realm: realm.to_owned(),
            nonce: nonce.into(),
            basic: false,
            session_id: session_id.into(),
            server: "Moorline".to_owned(),
            fallback_base: "rtsp://localhost".to_owned(),
            timeout: Duration::from_secs(60),
            login_timeout: Duration::from_secs(20),
        }
    }
}

/// A reader wants to know a camera, by DESCRIBE or by a SETUP without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeRequest {
    /// Path and query.
    pub target: Target,
    /// `scheme://host/path` as typed, without query: for the control URLs.
    pub base: String,
    /// Who asks; `None` on a trusted connection.
    pub user: Option<String>,
    /// `User-Agent`: untrusted text.
    pub user_agent: Option<String>,
}

/// The answer to a [`DescribeRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The rewritten SDP. Not sent if a SETUP asked.
    pub sdp: String,
    /// One entry per `m=` of it: the relay's SSRC, if known.
    pub tracks: Vec<Option<u32>>,
}

/// A track that the reader has set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetUpTrack {
    /// Index in the description.
    pub track: usize,
    /// Channel of its RTP.
    pub rtp: u8,
    /// Channel of its RTCP.
    pub rtcp: u8,
}

/// The first packet of a track that this reader will get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayInfo {
    /// Index in the description.
    pub track: usize,
    /// Its sequence number.
    pub sequence: u16,
    /// Its timestamp.
    pub rtptime: u32,
}

/// What a reader does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerEvent {
    /// Somebody says who they are: answer with [`super::ServerSession::secret`].
    Authenticate {
        /// The login name: untrusted text.
        user: String,
    },
    /// The password was wrong or the user unknown; the client has its 401.
    LoginFailed {
        /// The login name: untrusted text.
        user: String,
    },
    /// Answer with [`super::ServerSession::describe`] or [`super::ServerSession::reject`].
    Describe(DescribeRequest),
    /// Answer with [`super::ServerSession::play`] or [`super::ServerSession::reject`].
    Play {
        /// What is to be sent, and on which channels.
        tracks: Vec<SetUpTrack>,
    },
    /// Send nothing more until the next [`ServerEvent::Play`]; the camera is never paused.
    Pause,
    /// The RTSP session is over, the connection may go on.
    Teardown,
    /// RTCP of the reader.
    Rtcp {
        /// Index in the description.
        track: usize,
        /// A compound packet.
        packet: Bytes,
    },
    /// The end.
    Closed(ServerEnd),
}

/// How a server session ended.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ServerEnd {
    /// The peer closed.
    #[error("the reader closed the connection")]
    PeerClosed,
    /// What came is no RTSP. An error response is in the output.
    #[error("the reader sent {0}")]
    Garbage(#[from] StrictError),
    /// Nobody authenticated in time.
    #[error("no authentication in time")]
    LoginTimeout,
    /// Too many wrong passwords.
    #[error("too many wrong passwords")]
    TooManyFailures,
    /// The user has too many connections already.
    #[error("too many connections of one user")]
    TooManyConnections,
    /// Neither a request nor a receiver report within the timeout, although media was sent.
    #[error("no sign of life from the reader")]
    Idle,
}
