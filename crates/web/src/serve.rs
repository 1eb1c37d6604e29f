//! Serves the router on listeners that are handed in: HTTPS for people, a Unix socket for the command line.
//!
//! Owns the limits on strangers (P9, S9): each step of a connection has a deadline, each network its share of the places, and who has not
//! signed in makes room for others.
//!
//! How the tasks end: at cancellation they take no new connection; each connection gets 3 s for its request and closes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::connect_info::ConnectInfo;
use futures::stream;
use futures::stream::StreamExt as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use moorline_base::clock::{SharedClock, SystemClock, sleep, timeout};
use moorline_base::crowd::{Crowd, Place};
use moorline_base::impatient::{Impatient, Patience};
use moorline_base::net::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use crate::access::Local;

/// Connections at once.
const CONNECTIONS: usize = 4096;
/// Connections at once of one network (rule S9).
const PER_PREFIX: usize = 1024;
/// How long the command line's listener rests when the process has no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a peer may take (promise P9).
#[derive(Debug, Clone, Copy)]
struct Deadlines {
    /// From the accepted connection to the head of its first request, handshake included; for each later head; for a body. As long after its
    /// beginning, a connection over which nobody has signed in takes no further request.
    step: Duration,
    /// For taking a piece of an answer.
    stalled: Duration,
    /// In all, for a request that was made in time by somebody who has not signed in: it may have a body, and an answer to be taken.
    stranger: Duration,
    /// For the requests that are under way when the server stops.
    goodbye: Duration,
}

const DEADLINES: Deadlines = Deadlines {
    step: Duration::from_secs(20),
    stalled: Duration::from_secs(30),
    stranger: Duration::from_secs(60),
    goodbye: Duration::from_secs(3),
};

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(SocketAddr);

impl Peer {
    /// Its address.
    pub fn ip(self) -> IpAddr {
        self.0.ip()
    }
}

/// Serves HTTPS until cancelled; then requests that are under way get 3 s.
pub async fn https(
    listener: TcpListener,
    tls: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let clock = SystemClock::shared();
    let crowd = Crowd::new(CONNECTIONS, PER_PREFIX);
    let mut acceptor = Acceptor::new("https", listener, clock.clone(), stop.clone());
    while let Some((stream, peer)) = acceptor.next().await {
        let Some(place) = crowd.admit(peer.ip()) else {
            continue;
        };
        let guest = Guest {
            from: From {
                peer: Some(Peer(peer)),
                place: Some(place),
            },
            since: clock.monotonic(),
            router: router.clone(),
            clock: clock.clone(),
            deadlines: DEADLINES,
        };
        connections.spawn(shake_hands(stream, tls.clone(), guest, stop.clone()));
    }
    connections.close();
    connections.wait().await;
}

/// A TLS handshake, and what is asked behind it.
async fn shake_hands<S>(stream: S, tls: TlsAcceptor, guest: Guest, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let dismissed = guest.from.dismissed();
    let shaken = tokio::select! {
        shaken = timeout(&*guest.clock, guest.deadlines.step, tls.accept(stream)) => shaken,
        () = stop.cancelled() => return,
        () = dismissed.cancelled() => return,
    };
    if let Ok(Ok(stream)) = shaken {
        connection(stream, guest, stop).await;
    }
}

/// Serves the command line over a Unix socket until cancelled. Whoever can open the 0600 socket is the operator. No error ends it: without
/// it nobody could revoke a key or read what is wrong.
pub async fn local(listener: UnixListener, router: Router, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let router = local_router(router);
    let clock = SystemClock::shared();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the command line cannot connect: pausing until there is room");
                if sleep(&*clock, PAUSE, &stop).await.is_cancelled() {
                    break;
                }
                continue;
            }
        };
        let operator = Guest {
            from: From {
                peer: None,
                place: None,
            },
            since: clock.monotonic(),
            router: router.clone(),
            clock: clock.clone(),
            deadlines: DEADLINES,
        };
        connections.spawn(connection(stream, operator, stop.clone()));
    }
    connections.close();
    connections.wait().await;
}

/// The router as the operator sees it: for the Unix socket, and for a command that answers itself.
pub fn local_router(router: Router) -> Router {
    let here = Peer(SocketAddr::from(([127, 0, 0, 1], 0)));
    router
        .layer(axum::Extension(Local))
        .layer(axum::Extension(ConnectInfo(here)))
}

/// Whose connection it is; of the operator's nothing has to be known.
struct From {
    peer: Option<Peer>,
    place: Option<Place>,
}

impl From {
    /// Cancelled when the connection has to make room for another.
    fn dismissed(&self) -> CancellationToken {
        let place = self.place.as_ref();
        place.map_or_else(CancellationToken::new, |place| place.dismissed().clone())
    }

    /// Whether nobody has signed in over the connection.
    fn is_stranger(&self) -> bool {
        self.place.as_ref().is_some_and(Place::is_strangers)
    }
}

/// One connection: whose, since when, and what serves it.
struct Guest {
    from: From,
    since: Instant,
    router: Router,
    clock: SharedClock,
    deadlines: Deadlines,
}

impl Guest {
    /// What is left of a time that began with the connection.
    fn left(&self, of: Duration) -> Duration {
        of.saturating_sub(self.clock.monotonic().saturating_duration_since(self.since))
    }

    /// Returns when so long after its beginning nobody has signed in over the connection.
    async fn is_strange_after(&self, limit: Duration) {
        let never = CancellationToken::new();
        let _ = sleep(&*self.clock, self.left(limit), &never).await;
        if !self.from.is_stranger() {
            std::future::pending::<()>().await;
        }
    }
}

/// Serves one connection until its peer, a deadline, somebody who needs its place, or the server's stop ends it.
async fn connection<S>(stream: S, guest: Guest, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (clock, deadlines) = (guest.clock.clone(), guest.deadlines);
    let dismissed = guest.from.dismissed();
    let patience = Patience::Step(deadlines.stalled);
    let stream = Impatient::new(stream, clock.clone(), patience).keeping(guest.from.place.clone());
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let (asked, clock, router) = (Arc::clone(&asked), clock.clone(), guest.router.clone());
        let (peer, place) = (guest.from.peer, guest.from.place.clone());
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let mut request = request.map(|body| punctual(Body::new(body), &clock, deadlines.step));
            if let Some(peer) = peer {
                request.extensions_mut().insert(ConnectInfo(peer));
            }
            if let Some(place) = &place {
                request.extensions_mut().insert(place.clone());
            }
            router.clone().call(request)
        })
    };
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(deadlines.step)
        .max_buf_size(64 << 10);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served.with_upgrades());
    let last = tokio::select! {
        _ = served.as_mut() => return,
        () = dismissed.cancelled() => return,
        () = stop.cancelled() => deadlines.goodbye,
        () = guest.is_strange_after(deadlines.step) => guest.left(deadlines.stranger),
    };
    // A browser opens connections in advance: one over which nothing was asked has no request under way.
    if asked.load(Ordering::Relaxed) {
        served.as_mut().graceful_shutdown();
        let over = async {
            // The server's stop does not wait for a stranger either.
            if sleep(&*clock, last, &stop).await.is_cancelled() {
                let _ = sleep(&*clock, last.min(deadlines.goodbye), &dismissed).await;
            }
        };
        tokio::select! {
            _ = served => {}
            () = dismissed.cancelled() => {}
            () = over => {}
        }
    }
}

/// A body that has to arrive whole within `limit`; then reading it fails.
fn punctual(body: Body, clock: &SharedClock, limit: Duration) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let (clock, until) = (clock.clone(), clock.monotonic() + limit);
    let pieces = stream::unfold(body.into_data_stream(), move |mut pieces| {
        let clock = clock.clone();
        async move {
            let left = until.saturating_duration_since(clock.monotonic());
            let piece = match timeout(&*clock, left, pieces.next()).await {
                Ok(piece) => piece?.map_err(io::Error::other),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            Some((piece, pieces))
        }
    });
    Body::from_stream(pieces)
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use moorline_base::clock::{Clock as _, SimulatedClock};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// A head that was sent at once is read within it on a busy machine too.
    const SHORT: Duration = Duration::from_millis(500);
    const LONG: Duration = Duration::from_secs(3600);
    const PATIENT: Duration = Duration::from_secs(60);

    const NONE: Deadlines = Deadlines {
        step: LONG,
        stalled: LONG,
        stranger: LONG,
        goodbye: LONG,
    };

    struct Served {
        peer: DuplexStream,
        crowd: Crowd,
        place: Place,
        stop: CancellationToken,
        ended: tokio::task::JoinHandle<()>,
    }

    fn serve(deadlines: Deadlines) -> Served {
        let (peer, ours) = duplex(1024);
        let router = Router::new()
            .route("/", post(|body: String| async move { body }))
            .route("/large", post(|| async { vec![0_u8; 1 << 20] }));
        let crowd = Crowd::new(8, 8);
        let place = crowd.admit(IpAddr::from([192, 0, 2, 1])).unwrap();
        let from = From {
            peer: None,
            place: Some(place.clone()),
        };
        let (clock, stop) = (SystemClock::shared(), CancellationToken::new());
        let guest = Guest {
            from,
            since: clock.monotonic(),
            router,
            clock,
            deadlines,
        };
        let ended = connection(ours, guest, stop.clone());
        Served {
            peer,
            crowd,
            place,
            stop,
            ended: tokio::spawn(ended),
        }
    }

    async fn ends(served: Served) {
        let ended = tokio::time::timeout(PATIENT, served.ended).await;
        ended.expect("the connection has ended").unwrap();
    }

    async fn answer(served: &mut Served) -> String {
        let mut buffer = vec![0; 512];
        let read = tokio::time::timeout(PATIENT, served.peer.read(&mut buffer)).await;
        let length = read.expect("an answer").unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[tokio::test]
    async fn a_body_that_drips_is_given_up() {
        let mut served = serve(Deadlines {
            step: SHORT,
            ..NONE
        });
        let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc";
        served.peer.write_all(head).await.unwrap();
        let told = answer(&mut served).await;
        assert!(told.starts_with("HTTP/1.1 400"), "{told}");
        ends(served).await;
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_ends_the_connection() {
        let mut served = serve(Deadlines {
            stalled: SHORT,
            ..NONE
        });
        let head = b"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        served.peer.write_all(head).await.unwrap();
        ends(served).await;
    }

    #[tokio::test]
    async fn a_stranger_goes_after_a_while_and_a_guest_stays() {
        let deadlines = Deadlines {
            step: SHORT,
            ..NONE
        };
        ends(serve(deadlines)).await;
        let mut served = serve(Deadlines {
            step: PATIENT,
            ..NONE
        });
        served.place.welcome();
        let left = tokio::time::timeout(3 * SHORT, &mut served.ended).await;
        assert!(left.is_err(), "a guest stays");
        let request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
        served.peer.write_all(request).await.unwrap();
        assert!(answer(&mut served).await.ends_with("hi"));
    }

    /// P9: the handshake and the head of a request have 20 s together, however they drip.
    #[tokio::test]
    async fn a_stranger_has_20_s_until_the_head_of_its_request_is_complete() {
        assert_eq!(DEADLINES.step, Duration::from_secs(20));
        let clock = SimulatedClock::new(0);
        let (mut peer, ours) = duplex(1024);
        let crowd = Crowd::new(8, 8);
        let guest = Guest {
            from: From {
                peer: None,
                place: crowd.admit(IpAddr::from([192, 0, 2, 1])),
            },
            // The handshake took 15 s.
            since: clock.monotonic(),
            router: Router::new(),
            clock: Arc::new(clock.clone()),
            deadlines: DEADLINES,
        };
        clock.advance(Duration::from_secs(15));
        let ended = tokio::spawn(connection(ours, guest, CancellationToken::new()));
        clock.sleepers(1).await;
        peer.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        clock.advance(Duration::from_millis(4_999));
        tokio::task::yield_now().await;
        assert!(!ended.is_finished());
        clock.advance(Duration::from_millis(1));
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn a_strangers_request_is_answered_to_its_end_and_no_other_is_taken() {
        let mut served = serve(Deadlines {
            step: 2 * SHORT,
            ..NONE
        });
        let head = b"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        served.peer.write_all(head).await.unwrap();
        answer(&mut served).await;
        // The time for another head is over while the answer is taken.
        let over = tokio::time::timeout(4 * SHORT, &mut served.ended).await;
        assert!(over.is_err(), "the answer is cut off");
        let mut rest = Vec::new();
        let read = served.peer.read_to_end(&mut rest);
        let read = tokio::time::timeout(PATIENT, read).await;
        let read = read
            .expect("the connection ends behind the answer")
            .unwrap();
        assert!(read > (1 << 20) - 1024, "{read}");
    }

    #[tokio::test]
    async fn a_stranger_who_does_not_take_its_answer_is_cut_off() {
        let mut served = serve(Deadlines {
            step: SHORT,
            stranger: 2 * SHORT,
            ..NONE
        });
        let head = b"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        served.peer.write_all(head).await.unwrap();
        answer(&mut served).await;
        ends(served).await;
    }

    #[tokio::test]
    async fn a_connection_over_which_nothing_was_asked_does_not_hold_up_the_stop() {
        let served = serve(NONE);
        served.stop.cancel();
        ends(served).await;
    }

    #[tokio::test]
    async fn a_request_under_way_holds_up_the_stop_for_a_moment_only() {
        let mut served = serve(Deadlines {
            goodbye: SHORT,
            ..NONE
        });
        let head = b"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        served.peer.write_all(head).await.unwrap();
        answer(&mut served).await;
        served.stop.cancel();
        ends(served).await;
    }

    #[tokio::test]
    async fn whoever_needs_the_place_ends_a_stranger() {
        let served = serve(NONE);
        let room: Vec<_> = (0..8)
            .map(|_| served.crowd.admit(IpAddr::from([192, 0, 2, 9])))
            .collect();
        assert!(room.iter().all(Option::is_some));
        ends(served).await;
    }
}
