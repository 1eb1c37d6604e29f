//! Why a camera is not read, in the closed list that page, alarms and causes know.

use moorline_core::status::RtspFault;
use moorline_rtsp::client::ClientError;

/// The fault of a client session's end.
pub(crate) fn fault(error: &ClientError) -> RtspFault {
    match error {
        ClientError::Unauthorized(_)
        | ClientError::Status {
            status: 401 | 403, ..
        } => RtspFault::Unauthorized,
        ClientError::NotFound { .. } => RtspFault::NotFound,
        ClientError::NotRtsp(_) => RtspFault::NotRtsp,
        ClientError::Sdp(_) | ClientError::NoTracks | ClientError::NoControl => RtspFault::NoMedia,
        ClientError::TransportRefused | ClientError::Status { .. } | ClientError::Redirected(_) => {
            RtspFault::Status
        }
        ClientError::Timeout(_) => RtspFault::Timeout,
        ClientError::FramingLost(_) => RtspFault::FramingLost,
        ClientError::Ended { .. } => RtspFault::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_stream_asks_for_a_login() {
        let status = |status| ClientError::Status {
            method: "DESCRIBE".into(),
            status,
        };
        assert_eq!(fault(&status(403)), RtspFault::Unauthorized);
        assert_eq!(fault(&status(500)), RtspFault::Status);
        assert_eq!(fault(&ClientError::NoControl), RtspFault::NoMedia);
    }
}
