//! What the small servers of this crate share: one request a connection, a bounded head, a bounded body, an answer, the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::timeout;
use moorline_base::net::Acceptor;
use moorline_base::{CancellationToken, Clock, SharedClock};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::head::{self, Head, HeadError};

/// What a stranger costs at most (P9).
pub(crate) const STRANGER: Duration = Duration::from_secs(20);
/// For writing an answer.
pub(crate) const WRITE: Duration = Duration::from_secs(10);
/// What connections get at the end (P8).
const GOODBYE: Duration = Duration::from_secs(5);
/// A read of this size and more goes by the buffer of the head.
const BUFFER: usize = 2 * 1024;

/// Boxed: it travels in results.
pub(crate) type Tls = Box<BufReader<tokio_rustls::server::TlsStream<TcpStream>>>;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
    /// Whole header lines.
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn refusal(status: u16, reason: &'static str) -> Self {
        Self {
            status,
            reason,
            headers: String::new(),
            body: Vec::new(),
        }
    }
}

pub(crate) fn phrase(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        _ => "Service Unavailable",
    }
}

/// Accepts until cancelled, and waits for what runs then.
pub(crate) async fn accept<F>(
    name: &'static str,
    listener: TcpListener,
    clock: &SharedClock,
    cancel: CancellationToken,
    serve: impl Fn(TcpStream, SocketAddr) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let connections = TaskTracker::new();
    let mut acceptor = Acceptor::new(name, listener, clock.clone(), cancel);
    while let Some((stream, peer)) = acceptor.next().await {
        let span = tracing::info_span!("connection", listener = name, %peer);
        connections.spawn(serve(stream, peer).instrument(span));
    }
    connections.close();
    if timeout(&**clock, GOODBYE, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            listener = name,
            left = connections.len(),
            reason = "overdue",
            "connections did not end in time"
        );
    }
}

/// TLS and the head.
///
/// # Errors
/// The reason for which nothing can be answered, or the answer.
pub(crate) async fn greet(
    config: Arc<ServerConfig>,
    stream: TcpStream,
) -> Result<(Tls, Vec<u8>), (Option<Tls>, Answer)> {
    let gone = |reason| (None, Answer::refusal(0, reason));
    let stream = TlsAcceptor::from(config)
        .accept(stream)
        .await
        .map_err(|_| gone("tls"))?;
    let mut stream = Box::new(BufReader::with_capacity(BUFFER, stream));
    match head::read(&mut stream).await {
        Ok(head) => Ok((stream, head)),
        Err(HeadError::Closed | HeadError::Io(_)) => Err(gone("peer_closed")),
        Err(_) => Err((Some(stream), Answer::refusal(431, "head_too_large"))),
    }
}

/// Reads a request's body, whose length has to be said and within bounds.
pub(crate) async fn body(
    stream: &mut Tls,
    head: &Head<'_>,
    most: usize,
) -> Result<Vec<u8>, Answer> {
    let malformed = || Answer::refusal(400, "head_malformed");
    let length = head.header("Content-Length").map_err(|_| malformed())?;
    let length = length.ok_or_else(|| Answer::refusal(400, "no_length"))?;
    let length: usize = length.parse().map_err(|_| malformed())?;
    if length > most {
        return Err(Answer::refusal(413, "body_too_large"));
    }
    let mut body = vec![0; length];
    match stream.read_exact(&mut body).await {
        Ok(_) => Ok(body),
        Err(_) => Err(Answer::refusal(400, "body_short")),
    }
}

/// The head of an answer.
pub(crate) fn head_of(answer: &Answer) -> String {
    let Answer {
        status,
        reason,
        headers,
        body,
    } = answer;
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {}\r\nMoorline-Reason: {reason}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n",
        phrase(*status)
    )
}

/// Answers and closes.
pub(crate) async fn finish(clock: &dyn Clock, mut stream: Tls, answer: &Answer) {
    let mut bytes = head_of(answer).into_bytes();
    bytes.extend(&answer.body);
    let written = async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    };
    let _ = timeout(clock, WRITE, written).await;
}
