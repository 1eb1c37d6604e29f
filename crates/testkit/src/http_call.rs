//! One HTTP/1.1 request to a loopback peer: all that the browser driver needs.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{Error, serving::Task};

/// Sends `body` (JSON, or nothing) and returns status and body. One connection per call, closed after it.
pub(crate) async fn call(
    peer: &'static str,
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Option<String>,
    deadline: Duration,
) -> Result<(StatusCode, Bytes), Error> {
    let exchange = async {
        let refused = |message: String| Error::Refused { peer, message };
        let stream = TcpStream::connect(address)
            .await
            .map_err(|source| Error::io(format!("connect to {peer}"), source))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| refused(error.to_string()))?;
        let _driver = Task::spawn(async move {
            let _ = connection.await;
        });
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header("host", address.to_string())
            .header("content-type", "application/json; charset=utf-8")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| refused(error.to_string()))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| refused(error.to_string()))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| refused(error.to_string()))?
            .to_bytes();
        Ok((status, body))
    };
    tokio::time::timeout(deadline, exchange)
        .await
        .unwrap_or_else(|_| {
            Err(Error::Timeout {
                what: format!("an answer of {peer} to {method} {path}"),
                patience: deadline,
                detail: String::new(),
            })
        })
}
