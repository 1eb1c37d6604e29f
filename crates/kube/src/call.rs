//! One call to the API server: with a deadline, and with an outcome that says what may have happened.
//!
//! kube has no deadline of its own (kube#1945): a server that swallows packets would hold a claim for ever. A call that timed out, or whose
//! connection broke, has an *unknown* outcome: whoever made it reads again.

use std::time::Duration;

use moorline_base::Clock;
use moorline_base::clock::timeout;
use moorline_core::port::PortError;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long any call may take.
pub(crate) const CALL: Duration = Duration::from_secs(5);

/// Why a call did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no such object.
    #[error("there is no such object")]
    Missing,
    /// The object is another one by now: resource version or uid differ.
    #[error("it was changed meanwhile")]
    Conflict,
    /// An object of that name exists.
    #[error("it exists already")]
    Exists,
    /// A quota of the namespace is used up.
    #[error("{0}")]
    Quota(String),
    /// The account may not, or a policy refused it.
    #[error("{0}")]
    Forbidden(String),
    /// The object is not accepted.
    #[error("{0}")]
    Invalid(String),
    /// It was not done: the server is overloaded, or a webhook away.
    #[error("the API server is busy: {0}")]
    Busy(String),
    /// It may have been done or not: no answer in time, or the connection broke.
    #[error("the API server does not answer: {0}")]
    Unknown(String),
}

impl Fault {
    /// A closed set, for metrics, conditions and events.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "Missing",
            Self::Conflict => "Conflict",
            Self::Exists => "Exists",
            Self::Quota(_) => "QuotaExceeded",
            Self::Forbidden(_) => "Forbidden",
            Self::Invalid(_) => "Invalid",
            Self::Busy(_) => "Busy",
            Self::Unknown(_) => "Unreachable",
        }
    }

    /// As the error of a port.
    pub(crate) fn port(self, operation: &'static str) -> PortError {
        PortError::new(operation, self)
    }
}

impl From<kube::Error> for Fault {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Unknown(chain(&error));
        };
        let message = status.message.clone();
        match (status.code, status.reason.as_str()) {
            (404 | 410, _) => Self::Missing,
            (409, "AlreadyExists") => Self::Exists,
            (409, _) => Self::Conflict,
            (403, _) if message.contains("exceeded quota") => Self::Quota(message),
            (401 | 403, _) => Self::Forbidden(message),
            (400 | 405 | 413 | 415 | 422, _) => Self::Invalid(message),
            (429 | 503, _) => Self::Busy(message),
            // 500 and 504 too: etcd may have taken it.
            _ => Self::Unknown(message),
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}

/// A client that can stand in what prints itself.
#[derive(Clone)]
pub(crate) struct Connection(pub(crate) kube::Client);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// Makes one call with a deadline.
///
/// # Errors
/// [`Fault`].
pub(crate) async fn call<T>(
    clock: &dyn Clock,
    limit: Duration,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Fault> {
    match timeout(clock, limit, call).await {
        Ok(result) => result.map_err(Fault::from),
        Err(late) => Err(Fault::Unknown(late.to_string())),
    }
}

/// Room for calls of one kind: what happens to all cameras at once does not become as many calls at once. kube opens a connection for each.
#[derive(Debug)]
pub(crate) struct Room(Semaphore);

impl Room {
    /// For so many calls under way.
    pub(crate) fn of(calls: usize) -> Self {
        Self(Semaphore::new(calls))
    }

    /// Waits for a place, as long as a call may take.
    ///
    /// # Errors
    /// [`Fault::Busy`]: there was none in that time.
    pub(crate) async fn place(&self, clock: &dyn Clock) -> Result<SemaphorePermit<'_>, Fault> {
        match timeout(clock, CALL, self.0.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            // Nobody closes it.
            Ok(Err(_)) | Err(_) => Err(Fault::Busy("too many calls wait for it here".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_a_silence() {
        let api = |code, reason: &str, message: &str| {
            let mut status = kube::core::Status::failure(message, reason);
            status.code = code;
            Fault::from(kube::Error::Api(Box::new(status)))
        };
        assert_eq!(api(409, "Conflict", ""), Fault::Conflict);
        assert_eq!(api(409, "AlreadyExists", ""), Fault::Exists);
        let quota = "pods \"x\" is forbidden: exceeded quota: moorline, requested: pods=1";
        assert_eq!(api(403, "Forbidden", quota).reason(), "QuotaExceeded");
        assert_eq!(api(403, "Forbidden", "no").reason(), "Forbidden");
        assert!(matches!(api(504, "Timeout", "etcd"), Fault::Unknown(_)));
        assert!(matches!(api(429, "TooManyRequests", ""), Fault::Busy(_)));
    }
}
