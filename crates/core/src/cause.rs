//! Why a second of an enabled camera is missing: a closed list (promise P4).

use std::fmt;
use std::str::FromStr;

use crate::id::text_serde;

crate::words! {
    /// The cause of a gap. The monitor decides it, the archiver writes it; the text is part of stored object keys and never changes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Cause {
        /// No tunnel: the relay sees no landing.
        TunnelDown = "tunnel_down",
        /// Between a hang-up and the next start, by design.
        HungUp = "hung_up",
        /// Between an order of the operator (the tunnel ended, or settings that start the stream anew) and the next media: neither the camera's
        /// doing nor the server's.
        Operator = "operator",
        /// Camera or recording switched off.
        Disabled = "disabled",
        /// Node and spool disk vanished.
        NodeLost = "node_lost",
        /// The store acknowledged it and no longer has it; found by `segments verify`.
        StoreLost = "store_lost",
        /// A landing, but no PLAY: refused, unauthorised, not RTSP.
        RtspError = "rtsp_error",
        /// PLAY, but no media for 5 s.
        CameraSilent = "camera_silent",
        /// The archiver fell behind the relay's ring and was moved to the next key frame.
        Overrun = "overrun",
        /// Media, but no key frame to begin at.
        NoIdr = "no_idr",
        /// The archiver was restarted, or could not open its relay: neither the camera's doing nor the network's on its way.
        Restart = "restart",
        /// The spool's bound was reached.
        SpoolFull = "spool_full",
        /// A tail that recovery cut.
        CrashRecovered = "crash_recovered",
        /// The wall clock stepped by more than 1 s, or RTP and monotonic time parted by more than 5 s (rule S31).
        ClockStep = "clock_step",
    }
}

impl Cause {
    /// What a person reads on the page and in an alarm.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::TunnelDown => "the camera could not be reached",
            Self::HungUp => "the camera hung up on purpose",
            Self::Operator => "the operator ended its connection or changed its settings",
            Self::Disabled => "the camera or its recording was switched off",
            Self::NodeLost => "the machine and its disk were lost",
            Self::StoreLost => "the store lost it after acknowledging it",
            Self::RtspError => "the camera's RTSP server gave no stream",
            Self::CameraSilent => "the camera was connected but sent no pictures",
            Self::Overrun => "the recorder fell behind",
            Self::NoIdr => "the camera sent no key frame",
            Self::Restart => "Moorline or its recorder was restarted",
            Self::SpoolFull => "the disk for recordings was full",
            Self::CrashRecovered => "the end was cut off by a crash",
            Self::ClockStep => "a clock jumped",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is not in the closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a cause")]
pub struct UnknownCause(String);

impl FromStr for Cause {
    type Err = UnknownCause;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|cause| cause.as_str() == text);
        found.ok_or_else(|| UnknownCause(text.chars().take(40).collect()))
    }
}

text_serde!(Cause);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_found_by_its_text() {
        for cause in Cause::ALL {
            assert_eq!(cause.as_str().parse(), Ok(cause));
        }
        assert!("tunnel_up".parse::<Cause>().is_err());
    }

    /// A camera in the own network has none.
    #[test]
    fn no_explanation_speaks_of_a_tunnel() {
        for cause in Cause::ALL {
            let text = cause.explanation();
            assert!(!text.contains("tunnel"), "{cause}: {text}");
        }
    }
}
