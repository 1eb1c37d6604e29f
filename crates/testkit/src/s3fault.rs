//! A proxy before an S3 server that misbehaves as S3 servers do, and counts requests.
//!
//! It speaks HTTP/1.1 without TLS and passes `Host` through, so that signatures made for *its* address hold at the server (path style).
//! Faults of the transport (reset in the middle of an upload, black hole, refused) come from a [`crate::fault::FaultProxy`] before or
//! behind it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;

use crate::{
    Error,
    serving::{Task, loopback, serve},
};

mod misbehave;

use misbehave::{Body, misbehave};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3Fault {
    /// 503 with code `SlowDown`.
    SlowDown,
    /// 500 with code `InternalError`.
    InternalError,
    /// 403 with code `RequestTimeTooSkewed`.
    ClockSkew,
    /// The lie: a PUT is read to its end and answered 200 with the right ETag, and nothing is kept.
    LoseObject,
    /// One bit of an uploaded body is turned on its way to the server.
    CorruptUpload,
    /// One bit of a downloaded body is turned on its way back.
    CorruptDownload,
    /// The answer's body stops half way and the connection breaks.
    TruncateDownload,
    /// The request waits this long and is then served.
    Stall(Duration),
}

/// A request that came, with what it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `PUT`, …
    pub method: Method,
    /// Path without query: `/bucket/key`.
    pub path: String,
    /// The query, empty if there is none.
    pub query: String,
    /// The answer's status; `None` while there is none yet.
    pub status: Option<StatusCode>,
}

#[derive(Debug)]
struct Rule {
    method: Option<Method>,
    path_part: String,
    fault: S3Fault,
    left: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
}

/// The running proxy.
#[derive(Debug)]
pub struct S3FaultProxy {
    address: SocketAddr,
    state: Arc<State>,
    _serving: Task,
}

impl S3FaultProxy {
    /// Listens on 127.0.0.1:0 for requests to `server`.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn start(server: SocketAddr) -> Result<Self, Error> {
        let (listener, address) = loopback().await?;
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let serving = serve(listener, move |stream| {
            let state = Arc::clone(&shared);
            async move {
                let service = service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { Ok::<_, Infallible>(answer(&state, server, request).await) }
                });
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
        Ok(Self {
            address,
            state,
            _serving: serving,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request meets `fault` until [`S3FaultProxy::clear`].
    pub fn set(&self, fault: S3Fault) {
        self.add(None, "", fault, None);
    }

    /// Requests of `method` (any, if `None`) whose path contains `path_part` meet `fault`, the next `times` of them (all, if `None`).
    /// Of several rules that fit, the newest counts.
    pub fn add(&self, method: Option<Method>, path_part: &str, fault: S3Fault, times: Option<u64>) {
        let rule = Rule {
            method,
            path_part: path_part.to_owned(),
            fault,
            left: times,
        };
        self.state
            .rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(rule);
    }

    /// No more faults.
    pub fn clear(&self) {
        self.state
            .rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// What came so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many requests of `method` came whose path contains `path_part`.
    #[must_use]
    pub fn count(&self, method: &Method, path_part: &str) -> usize {
        self.seen()
            .iter()
            .filter(|seen| seen.method == *method && seen.path.contains(path_part))
            .count()
    }

    /// Forgets what came: counts begin anew.
    pub fn forget(&self) {
        self.state
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl State {
    fn fault_for(&self, method: &Method, path: &str) -> Option<S3Fault> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = rules.iter_mut().rev().find(|rule| {
            rule.left != Some(0)
                && rule.method.as_ref().is_none_or(|wanted| wanted == method)
                && path.contains(&rule.path_part)
        })?;
        if let Some(left) = rule.left.as_mut() {
            *left -= 1;
        }
        Some(rule.fault)
    }

    fn note(&self, seen: Seen) -> usize {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(seen);
        all.len() - 1
    }

    fn answered(&self, index: usize, status: StatusCode) {
        if let Some(seen) = self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(index)
        {
            seen.status = Some(status);
        }
    }
}

async fn answer(state: &State, server: SocketAddr, request: Request<Incoming>) -> Response<Body> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let fault = state.fault_for(&method, &path);
    let query = request.uri().query().unwrap_or_default().to_owned();
    let index = state.note(Seen {
        method,
        path,
        query,
        status: None,
    });
    let response = misbehave(fault, server, request).await;
    state.answered(index, response.status());
    response
}

#[cfg(test)]
mod tests;
