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

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    client::conn::http1 as client,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use md5::{Digest as _, Md5};
use tokio::net::TcpStream;

use crate::{
    Error,
    serving::{Task, loopback, serve},
};

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

type Body = BoxBody<Bytes, std::io::Error>;

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

async fn misbehave(
    fault: Option<S3Fault>,
    server: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let is_put = request.method() == Method::PUT;
    match fault {
        Some(S3Fault::SlowDown) => {
            refuse(request, StatusCode::SERVICE_UNAVAILABLE, "SlowDown").await
        }
        Some(S3Fault::InternalError) => {
            refuse(request, StatusCode::INTERNAL_SERVER_ERROR, "InternalError").await
        }
        Some(S3Fault::ClockSkew) => {
            refuse(request, StatusCode::FORBIDDEN, "RequestTimeTooSkewed").await
        }
        Some(S3Fault::LoseObject) if is_put => lose(request).await,
        Some(S3Fault::CorruptUpload) if is_put => {
            let (head, body) = request.into_parts();
            let body = turn_a_bit(collect(body).await);
            forward(server, Request::from_parts(head, whole(body))).await
        }
        Some(S3Fault::CorruptDownload) => {
            let (head, body) = forward(server, stream_through(request)).await.into_parts();
            let body = body
                .collect()
                .await
                .map(|all| all.to_bytes())
                .unwrap_or_default();
            Response::from_parts(head, whole(turn_a_bit(body)))
        }
        Some(S3Fault::TruncateDownload) => {
            let (head, body) = forward(server, stream_through(request)).await.into_parts();
            let body = body
                .collect()
                .await
                .map(|all| all.to_bytes())
                .unwrap_or_default();
            let half = body.slice(..body.len() / 2);
            let broken = stream::iter([
                Ok(Frame::data(half)),
                Err(std::io::Error::other("truncated by order")),
            ]);
            Response::from_parts(head, BodyExt::boxed(StreamBody::new(broken)))
        }
        Some(S3Fault::Stall(time)) => {
            tokio::time::sleep(time).await;
            forward(server, stream_through(request)).await
        }
        Some(S3Fault::LoseObject | S3Fault::CorruptUpload) | None => {
            forward(server, stream_through(request)).await
        }
    }
}

async fn collect(body: Incoming) -> Bytes {
    body.collect()
        .await
        .map(|all| all.to_bytes())
        .unwrap_or_default()
}

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed()
}

fn stream_through(request: Request<Incoming>) -> Request<Body> {
    request.map(|body| body.map_err(std::io::Error::other).boxed())
}

/// Turns the lowest bit of the middle byte.
fn turn_a_bit(body: Bytes) -> Bytes {
    let mut body = body.to_vec();
    let middle = body.len() / 2;
    if let Some(byte) = body.get_mut(middle) {
        *byte ^= 1;
    }
    body.into()
}

/// Reads the body, as servers do before they answer an error, and refuses.
async fn refuse(request: Request<Incoming>, status: StatusCode, code: &str) -> Response<Body> {
    let bodiless = request.method() == Method::HEAD;
    collect(request.into_body()).await;
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>by order of the test</Message></Error>"
    );
    let mut response = Response::new(whole(if bodiless { Bytes::new() } else { text.into() }));
    *response.status_mut() = status;
    response.headers_mut().insert(
        "content-type",
        hyper::header::HeaderValue::from_static("application/xml"),
    );
    response
}

async fn lose(request: Request<Incoming>) -> Response<Body> {
    let digest = hex::encode(Md5::digest(collect(request.into_body()).await));
    let mut response = Response::new(whole(Bytes::new()));
    if let Ok(etag) = hyper::header::HeaderValue::from_str(&format!("\"{digest}\"")) {
        response.headers_mut().insert("etag", etag);
    }
    response
}

/// Sends the request on, over a connection of its own, and hands the answer's body through as it comes.
async fn forward(server: SocketAddr, request: Request<Body>) -> Response<Body> {
    let exchange = async {
        let stream = TcpStream::connect(server).await?;
        let (mut sender, connection) = client::handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        let driver = Task::spawn(async move {
            let _ = connection.await;
        });
        let response = sender
            .send_request(request)
            .await
            .map_err(std::io::Error::other)?;
        // The connection has to live as long as the body that comes over it.
        Ok::<_, std::io::Error>(response.map(|body| {
            body.map_err(move |error| {
                let _keep = &driver;
                std::io::Error::other(error)
            })
            .boxed()
        }))
    };
    exchange.await.unwrap_or_else(|error| {
        let mut response = Response::new(whole(format!("fault proxy: {error}").into()));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    })
}

#[cfg(test)]
mod tests;
