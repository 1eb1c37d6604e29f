//! Why a take ended, or never began.

use std::io;

use moorline_core::port::RelayError;

/// Why there is no take any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// The relay could not be opened.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// No loopback pair.
    #[error("cannot open the way to the relay: {0}")]
    Bridge(io::Error),
    /// retina's: the relay answered with an error, or the connection ended.
    #[error("the relay's stream ended: {0}")]
    Stream(#[from] retina::Error),
    /// Nothing that can be recorded.
    #[error("the stream has no H.264 or H.265 picture")]
    NoVideo,
    /// More than rule S31 allows.
    #[error("the stream's description is larger than 16 KiB or 8 tracks")]
    TooLarge,
    /// Parameter sets or sound configuration that cannot be written.
    #[error("the stream's parameters cannot be recorded: {0}")]
    Parameters(String),
    /// The disk, for another reason than being full.
    #[error("the spool cannot be written: {0}")]
    Disk(#[from] io::Error),
}

moorline_core::words! {
    /// How a take ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Ended {
        /// The relay marked a boundary (APP `MOOR`).
        Boundary = "boundary",
        /// The connection ended.
        Closed = "closed",
        /// Our clock stepped.
        ClockStep = "clock_step",
        /// The camera's did: RTP time jumped, or parted from monotonic time (S31).
        Parted = "rtp_time_parted",
        /// An order: drain, or the token.
        Stopped = "stopped",
        /// An error; it is in the log.
        Failed = "failed",
    }
}
