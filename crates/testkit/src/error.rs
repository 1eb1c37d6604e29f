//! The one error type of this package.

use std::{io, process::ExitStatus, time::Duration};

/// Why a peer could not be used. The text is what a person reads in a failed test, so it carries the end of the peer's output.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A peer that every supported machine can install is not there.
    #[error(
        "{peer} is not installed\nhint: run `cargo xtask setup`, or `apt-get install {package}`"
    )]
    Missing {
        /// The peer's name.
        peer: &'static str,
        /// The Debian package that brings it.
        package: &'static str,
    },
    /// An optional peer cannot be had on this machine.
    #[error("{peer} cannot be had here: {reason}")]
    Unavailable {
        /// The peer's name.
        peer: &'static str,
        /// What was tried and what came of it.
        reason: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {patience:?}\n{detail}")]
    Timeout {
        /// What was awaited.
        what: String,
        /// For how long.
        patience: Duration,
        /// The end of the output, or the last state seen.
        detail: String,
    },
    /// A process ended while something was awaited of it.
    #[error("{name} ended ({}) before {what}\n{detail}", status.map_or_else(|| "output closed".to_owned(), |s| s.to_string()))]
    Ended {
        /// The process's name in the test.
        name: String,
        /// How it ended, where that is known.
        status: Option<ExitStatus>,
        /// What was awaited.
        what: String,
        /// The end of its output.
        detail: String,
    },
    /// A peer answered something else than was asked for.
    #[error("{peer}: {message}")]
    Refused {
        /// The peer's name.
        peer: &'static str,
        /// Its answer.
        message: String,
    },
    /// An operation on the system failed.
    #[error("cannot {operation}: {source}")]
    Io {
        /// The operation, as the end of "cannot …".
        operation: String,
        /// Its cause.
        source: io::Error,
    },
}

impl Error {
    /// An I/O error with the operation that met it.
    pub(crate) fn io(operation: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            operation: operation.into(),
            source,
        }
    }

    /// Whether a test may skip because of this error. Missing *required* peers and failures never may.
    #[must_use]
    pub fn may_skip(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
