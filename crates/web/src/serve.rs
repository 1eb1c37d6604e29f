//! Serves the router on listeners that are handed in: HTTPS for people, a Unix socket for the command line.
//!
//! How the tasks end: at cancellation they take no new connection; each connection finishes its request and closes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use hyper_util::rt::{TokioIo, TokioTimer};
use moorline_base::clock::SystemClock;
use moorline_base::net::Acceptor;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use crate::access::Local;

/// Connections at once; more wait in the listener's backlog.
const CONNECTIONS: usize = 4096;
/// How long a TLS handshake and a request's head may take (promise P9).
const HANDSHAKE: Duration = Duration::from_secs(20);

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(SocketAddr);

impl Peer {
    /// Its address.
    pub fn ip(self) -> IpAddr {
        self.0.ip()
    }
}

/// Serves HTTPS until cancelled, then waits for requests that are under way.
pub async fn https(
    listener: TcpListener,
    tls: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut acceptor = Acceptor::new("https", listener, SystemClock::shared(), stop.clone());
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            break;
        };
        let Some((stream, peer)) = acceptor.next().await else {
            break;
        };
        let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            let _permit = permit;
            let _ = stream.set_nodelay(true);
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                connection(TokioIo::new(stream), router, Some(Peer(peer)), stop).await;
            }
        });
    }
    connections.close();
    connections.wait().await;
}

/// Serves the command line over a Unix socket until cancelled. Whoever can open the 0600 socket is the operator.
///
/// # Errors
/// The socket fails for good.
pub async fn local(
    listener: UnixListener,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let connections = TaskTracker::new();
    let router = local_router(router);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, _) = accepted?;
        connections.spawn(connection(
            TokioIo::new(stream),
            router.clone(),
            None,
            stop.clone(),
        ));
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

/// The router as the operator sees it: for the Unix socket, and for a command that answers itself.
pub fn local_router(router: Router) -> Router {
    let here = Peer(SocketAddr::from(([127, 0, 0, 1], 0)));
    router
        .layer(axum::Extension(Local))
        .layer(axum::Extension(ConnectInfo(here)))
}

/// Serves one connection. `peer` is set for people; the operator's requests carry theirs already.
async fn connection<I>(io: I, router: Router, peer: Option<Peer>, stop: CancellationToken)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service =
        hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(ConnectInfo(peer));
            }
            router.clone().call(request)
        });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE)
        .max_buf_size(64 << 10);
    let mut served = std::pin::pin!(builder.serve_connection(io, service).with_upgrades());
    tokio::select! {
        _ = served.as_mut() => return,
        () = stop.cancelled() => served.as_mut().graceful_shutdown(),
    }
    let _ = served.await;
}
