//! Why a session ended, as a closed set: the label of a metric and the word in the log.

use moorline_core::lifecycle::EndReason;
use russh::Error;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Closed {
    /// The peer closed the connection, or the network did.
    ByPeer,
    /// The peer sent `SSH_MSG_DISCONNECT`.
    Disconnected,
    /// The peer was silent for too long.
    Silent,
    /// The peer took nothing that we wrote.
    WriteTimeout,
    /// The peer broke the protocol, or we have no algorithm in common.
    Protocol,
    /// No proven key within the login grace.
    LoginGrace,
    /// Made room for another stranger (S9).
    CrowdedOut,
    /// A newer tunnel of the camera serves.
    Superseded,
    /// HUP, or the monitor's channel was closed, or the monitor heard BYE.
    HungUp,
    /// The camera was disabled.
    Disabled,
    /// The camera was removed, or its key was.
    Removed,
    /// The claim failed.
    ClaimLost,
    /// Too many sessions of the camera that do not serve.
    TooManyIdle,
    /// The monitor's mailbox is full.
    MonitorBusy,
    /// It is a camera now, and calls again as one; or it could not be decided whether it is.
    Enrolled,
    /// Its token was not accepted.
    EnrolmentRefused,
    /// The server stops.
    Shutdown,
}

impl Closed {
    /// All of them.
    pub(crate) const ALL: [Closed; 17] = [
        Closed::ByPeer,
        Closed::Disconnected,
        Closed::Silent,
        Closed::WriteTimeout,
        Closed::Protocol,
        Closed::LoginGrace,
        Closed::CrowdedOut,
        Closed::Superseded,
        Closed::HungUp,
        Closed::Disabled,
        Closed::Removed,
        Closed::ClaimLost,
        Closed::TooManyIdle,
        Closed::MonitorBusy,
        Closed::Enrolled,
        Closed::EnrolmentRefused,
        Closed::Shutdown,
    ];

    /// The word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Closed::ByPeer => "peer_closed",
            Closed::Disconnected => "disconnected",
            Closed::Silent => "silent",
            Closed::WriteTimeout => "write_timeout",
            Closed::Protocol => "protocol",
            Closed::LoginGrace => "login_grace",
            Closed::CrowdedOut => "crowded_out",
            Closed::Superseded => "superseded",
            Closed::HungUp => "hung_up",
            Closed::Disabled => "disabled",
            Closed::Removed => "removed",
            Closed::ClaimLost => "claim_lost",
            Closed::TooManyIdle => "too_many_idle",
            Closed::MonitorBusy => "monitor_busy",
            Closed::Enrolled => "enrolled",
            Closed::EnrolmentRefused => "enrolment_refused",
            Closed::Shutdown => "shutdown",
        }
    }

    /// From what the session's future said, where we did not end it ourselves.
    pub(crate) fn of(result: &Result<(), Error>) -> Self {
        match result {
            Ok(()) => Closed::Disconnected,
            Err(Error::IO(_) | Error::HUP | Error::Disconnect) => Closed::ByPeer,
            Err(Error::KeepaliveTimeout | Error::ConnectionTimeout | Error::Elapsed(_)) => {
                Closed::Silent
            }
            Err(Error::InactivityTimeout) => Closed::WriteTimeout,
            Err(_) => Closed::Protocol,
        }
    }
}

impl From<EndReason> for Closed {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Superseded => Closed::Superseded,
            EndReason::HungUp => Closed::HungUp,
            EndReason::Disabled => Closed::Disabled,
            EndReason::Removed => Closed::Removed,
            EndReason::ClaimLost => Closed::ClaimLost,
            EndReason::Silent => Closed::Silent,
            EndReason::Shutdown => Closed::Shutdown,
        }
    }
}
