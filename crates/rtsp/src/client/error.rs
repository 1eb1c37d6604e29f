//! Why a camera is not read, told apart so that each can be mended.

use thiserror::Error;

use crate::auth::AuthError;
use crate::interleaved::FramingLost;
use crate::sdp::SdpError;

/// How a client session ended against our will.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ClientError {
    /// 401 that we cannot answer.
    #[error("{0}")]
    Unauthorized(#[from] AuthError),
    /// 404, or whatever refusal, for every path that was tried.
    #[error("the camera has no stream at {}", tried.join(", "))]
    NotFound {
        /// The paths, in the order tried.
        tried: Vec<String>,
    },
    /// What stands behind the port does not speak RTSP.
    #[error("what answers is no RTSP server: {0}")]
    NotRtsp(String),
    /// The SDP cannot be read.
    #[error("the camera's stream description cannot be used: {0}")]
    Sdp(#[from] SdpError),
    /// Neither video nor audio that the camera sends.
    #[error("the camera's stream description has neither video nor audio")]
    NoTracks,
    /// Several tracks and no `a=control`: they cannot be told apart.
    #[error("the camera's stream description has several tracks without control attributes")]
    NoControl,
    /// 461, or another transport than asked for.
    #[error("the camera refuses RTP over the RTSP connection (TCP)")]
    TransportRefused,
    /// Any other refusal.
    #[error("the camera answers {status} to {method}")]
    Status {
        /// The request.
        method: String,
        /// The status.
        status: u16,
    },
    /// A redirection to another port, or in a circle.
    #[error("the camera redirects to {0}")]
    Redirected(String),
    /// No reply in time.
    #[error("no reply to {0} in time")]
    Timeout(String),
    /// Interleaved framing is lost.
    #[error(transparent)]
    FramingLost(#[from] FramingLost),
    /// The camera closed the connection.
    #[error("the camera closed the connection")]
    Ended {
        /// A candidate path was being tried: connect again with this `first_path`.
        next_path: Option<usize>,
    },
}

impl ClientError {
    /// A label from a closed set, for metrics and logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unauthorized(_) => "unauthorized",
            Self::NotFound { .. } => "not_found",
            Self::NotRtsp(_) => "not_rtsp",
            Self::Sdp(_) => "bad_sdp",
            Self::NoTracks => "no_tracks",
            Self::NoControl => "no_control",
            Self::TransportRefused => "transport_refused",
            Self::Status { .. } => "refused",
            Self::Redirected(_) => "redirected",
            Self::Timeout(_) => "timeout",
            Self::FramingLost(_) => "framing_lost",
            Self::Ended { .. } => "ended",
        }
    }

    /// What the owner can do, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unauthorized(AuthError::NoCredentials) => {
                "set the RTSP user and password of this camera"
            }
            Self::Unauthorized(AuthError::Rejected) => {
                "check the RTSP user and password of this camera"
            }
            Self::Unauthorized(AuthError::BasicNotAllowed) => {
                "allow Basic for this camera if you accept that its password travels readable up to the tunnel"
            }
            Self::Unauthorized(AuthError::Unsupported) => {
                "choose Digest authentication on the camera"
            }
            Self::NotFound { .. } => "set the path of the stream, as the camera's manual names it",
            Self::NotRtsp(_) => {
                "check that the forwarded port is the camera's RTSP port (often 554 or 8554)"
            }
            Self::NoTracks | Self::Sdp(_) => "check the path, and that the camera's encoder runs",
            Self::NoControl => "switch audio off on the camera, so that one track is left",
            Self::TransportRefused => "allow RTSP over TCP on the camera",
            Self::Redirected(_) => "set the path that the camera redirects to",
            Self::FramingLost(_) => {
                "lower the camera's bitrate or its distance to the uplink's limit"
            }
            Self::Status { .. } | Self::Timeout(_) | Self::Ended { .. } => return None,
        })
    }
}
