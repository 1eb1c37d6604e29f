//! A web server that remembers requests: for webhooks and heartbeats.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    Error,
    eventually::counted,
    serving::{Task, loopback, serve},
};

/// Longest body that is read.
const LONGEST_BODY: usize = 16 << 20;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Received {
    /// `POST`, …
    pub method: String,
    /// Path with query.
    pub target: String,
    /// Names in lower case, values as text, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Received {
    /// The first header of this (lower-case) name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }
}

/// What the receiver answers.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// `Location`, for tests that a redirect is not followed.
    pub location: Option<String>,
    /// How long the answer takes.
    pub delay: Duration,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            location: None,
            delay: Duration::ZERO,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    requests: watch::Sender<Vec<Received>>,
    answer: Mutex<Answer>,
}

/// The running server.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
    _serving: Task,
}

impl Receiver {
    /// Listens on 127.0.0.1:0 and answers 200 to everything.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn start() -> Result<Self, Error> {
        let (listener, address) = loopback().await?;
        Ok(Self::on(listener, address))
    }

    /// Answers on a socket that listens already, such as one in a network namespace.
    #[must_use]
    pub fn on(listener: TcpListener, address: SocketAddr) -> Self {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let serving = serve(listener, move |stream| {
            let state = Arc::clone(&shared);
            async move {
                let service = service_fn(move |request| receive(Arc::clone(&state), request));
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
        Self {
            address,
            state,
            _serving: serving,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port` + `path`, which begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers so from now on.
    pub fn answer(&self, answer: Answer) {
        *self
            .state
            .answer
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// What came so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.state.requests.borrow().clone()
    }

    /// Waits until `count` requests have come in all, and returns them.
    ///
    /// # Errors
    /// [`Error::Timeout`], with what came.
    pub async fn wait_for(&self, count: usize, deadline: Duration) -> Result<Vec<Received>, Error> {
        counted(&self.state.requests, "request", count, deadline).await
    }
}

async fn receive(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LONGEST_BODY)
        .collect()
        .await
        .map(|all| all.to_bytes())
        .unwrap_or_default();
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let received = Received {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers,
        body,
    };
    state.requests.send_modify(|all| all.push(received));
    let answer = state
        .answer
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    tokio::time::sleep(answer.delay).await;
    let mut response = Response::builder().status(answer.status);
    if let Some(location) = answer.location {
        response = response.header("location", location);
    }
    response.body(Full::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_call::call;
    use hyper::Method;

    const SOON: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn remembers_what_came_and_answers_as_told() {
        let receiver = Receiver::start().await.unwrap();
        let send = |body: &str| {
            call(
                "receiver",
                receiver.address(),
                Method::POST,
                "/hook?a=1",
                Some(body.to_owned()),
                SOON,
            )
        };
        assert_eq!(send(r#"{"camera":"yard"}"#).await.unwrap().0.as_u16(), 200);
        receiver.answer(Answer {
            status: 503,
            ..Answer::default()
        });
        assert_eq!(send("{}").await.unwrap().0.as_u16(), 503);
        let seen = receiver.wait_for(2, SOON).await.unwrap();
        assert_eq!(seen[0].json()["camera"], "yard");
        assert_eq!(
            (seen[0].method.as_str(), seen[0].target.as_str()),
            ("POST", "/hook?a=1")
        );
        assert!(seen[0].header("content-type").is_some());
    }
}
