//! Why a session ended, as a closed set: the label of a metric and the word in the log.

use moorline_core::lifecycle::EndReason;
use russh::Error;

moorline_core::words! {
    /// Why a session ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub(crate) enum Closed {
        /// The peer closed the connection, or the network did.
        ByPeer = "peer_closed",
        /// The peer sent `SSH_MSG_DISCONNECT`.
        Disconnected = "disconnected",
        /// The peer was silent for too long.
        Silent = "silent",
        /// The peer took nothing that we wrote.
        WriteTimeout = "write_timeout",
        /// The peer broke the protocol, or we have no algorithm in common.
        Protocol = "protocol",
        /// No proven key within the login grace.
        LoginGrace = "login_grace",
        /// Made room for another stranger (S9).
        CrowdedOut = "crowded_out",
        /// A newer tunnel of the camera serves.
        Superseded = "superseded",
        /// HUP, or the monitor's channel was closed, or the monitor heard BYE.
        HungUp = "hung_up",
        /// The camera was disabled.
        Disabled = "disabled",
        /// The camera was removed, or its key was.
        Removed = "removed",
        /// The claim failed.
        ClaimLost = "claim_lost",
        /// Too many sessions of the camera that do not serve.
        TooManyIdle = "too_many_idle",
        /// The monitor's mailbox is full.
        MonitorBusy = "monitor_busy",
        /// It is a camera now, and calls again as one; or it could not be decided whether it is.
        Enrolled = "enrolled",
        /// Its token was not accepted.
        EnrolmentRefused = "enrolment_refused",
        /// The server stops.
        Shutdown = "shutdown",
    }
}

impl Closed {
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
