//! What each fault does to a request, and how a request is passed on.

use std::net::SocketAddr;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    client::conn::http1 as client,
};
use hyper_util::rt::TokioIo;
use md5::{Digest as _, Md5};
use tokio::net::TcpStream;

use super::S3Fault;
use crate::serving::Task;

pub(super) type Body = BoxBody<Bytes, std::io::Error>;

pub(super) async fn misbehave(
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

pub(super) async fn collect(body: Incoming) -> Bytes {
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
