//! The ticket door of a relay pod: RTSP and pictures for whoever has a ticket (rule S22).
//!
//! ```text
//! accept ─▶ TLS (the relay's own key) ─▶ CONNECT tenant/camera, Ticket … ─▶ 200 ─┬─ RTSP without authentication
//!                                           (an archiver's next: Again …)        ├─ pictures for a browser, in frames
//!                                                                               └─ the last key frame
//! ```
//! **Owns** the listener's connections, the single use of tickets, and the ways on which archivers come again. **Does not own** the relay: what is opened
//! is its port [`Relays`]. Any camera but the pod's own is 404: a reused address shows nobody another camera (P2). No other path exists, and no token is
//! taken here.
//!
//! How it ends: [`TicketDoor::run`] stops accepting when its token is cancelled, ends streams, and returns within 5 s (P8).

mod again;
pub(crate) mod frame;
mod key;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::timeout;
use moorline_base::crowd::Crowd;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::port::{LiveFeed, Poster, ReaderRole, RelayError, Relays};
use moorline_core::{Generation, Masked, SourceName, Timestamp};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};

use crate::head::Head;
use crate::metrics::{Reason, TicketMetrics};
use crate::server::{bearer, camera_of};
use crate::serving::{self, Answer, STRANGER, Tls, WRITE};
use crate::ticket::TicketCheck;
use again::Ways;
use frame::Frame;
pub use key::RelayKey;

/// Connections without a good ticket at once.
const STRANGERS: usize = 64;
/// For the relay to open what is wanted: it waits up to 10 s for a camera itself.
const OPEN: Duration = Duration::from_secs(15);
/// A reader that takes nothing for so long is closed (P5).
const STALLED: Duration = Duration::from_secs(10);
const DOWN: usize = 16 * 1024;
const UP: usize = 1024;

struct Shared {
    clock: SharedClock,
    key: RelayKey,
    check: Arc<TicketCheck>,
    ways: Ways,
    relays: Arc<dyn Relays>,
    strangers: Crowd,
    metrics: TicketMetrics,
}

/// The ticket door of one relay pod. Clones are the same.
#[derive(Clone)]
pub struct TicketDoor(Arc<Shared>);

impl fmt::Debug for TicketDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketDoor")
            .field("camera", self.0.check.camera())
            .finish_non_exhaustive()
    }
}

impl TicketDoor {
    /// A door to `relays`, the relays of this process.
    #[must_use]
    pub fn new(
        clock: SharedClock,
        key: RelayKey,
        check: Arc<TicketCheck>,
        relays: Arc<dyn Relays>,
        metrics: TicketMetrics,
    ) -> Self {
        Self(Arc::new(Shared {
            strangers: Crowd::of_nodes(STRANGERS, metrics.evicted.clone()),
            ways: Ways::new(Arc::clone(&clock)),
            clock,
            key,
            check,
            relays,
            metrics,
        }))
    }

    /// Serves until `cancel` is cancelled.
    pub async fn run(&self, listener: TcpListener, cancel: CancellationToken) {
        let stop = cancel.clone();
        let serve = move |stream, peer| connection(Arc::clone(&self.0), stream, peer, stop.clone());
        serving::accept("tickets", listener, &self.0.clock, cancel, serve).await;
    }
}

/// What a ticket is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Rtsp,
    Live,
    Poster,
}

/// Who was let in, and to what.
struct Admitted {
    source: SourceName,
    role: ReaderRole,
    want: Want,
}

async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    cancel: CancellationToken,
) {
    let clock = Arc::clone(&shared.clock);
    let introduced = {
        let Some(place) = shared.strangers.admit(peer.ip()) else {
            return;
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err((None, Answer::refusal(0, "stopping"))),
            () = place.dismissed().cancelled() => Err((None, Answer::refusal(0, "evicted"))),
            introduced = timeout(&*clock, STRANGER, introduce(&shared, stream)) => {
                introduced.unwrap_or_else(|_| Err((None, Answer::refusal(0, "too_slow"))))
            }
        }
    };
    let refused = match introduced {
        Ok((stream, admitted)) => {
            shared.metrics.streams.inc();
            let refused = tokio::select! {
                biased;
                () = cancel.cancelled() => None,
                refused = serve(&shared, stream, admitted) => refused,
            };
            shared.metrics.streams.dec();
            refused
        }
        Err((stream, answer)) => Some((stream, answer)),
    };
    let reason = refused.as_ref().map_or("ok", |(_, answer)| answer.reason);
    shared
        .metrics
        .answers
        .get_or_create(&Reason { reason })
        .inc();
    if let Some((stream, answer)) = refused {
        tracing::info!(status = answer.status, reason, "refused");
        if let Some(stream) = stream {
            serving::finish(&*clock, stream, &answer).await;
        }
    }
}

async fn introduce(
    shared: &Shared,
    stream: TcpStream,
) -> Result<(Tls, Admitted), (Option<Tls>, Answer)> {
    let (stream, head) = serving::greet(shared.key.server(), stream).await?;
    match understand(shared, &head) {
        Ok(admitted) => Ok((stream, admitted)),
        Err(answer) => Err((Some(stream), answer)),
    }
}

fn understand(shared: &Shared, head: &[u8]) -> Result<Admitted, Answer> {
    let malformed = |_| Answer::refusal(400, "head_malformed");
    let head = Head::parse(head).map_err(malformed)?;
    let [method, target, version] = head.first;
    if version != "HTTP/1.1" {
        return Err(Answer::refusal(400, "version"));
    }
    if method != "CONNECT" || camera_of(target).as_ref() != Some(shared.check.camera()) {
        return Err(Answer::refusal(404, "path"));
    }
    let want = match head.header("Moorline-Want").map_err(malformed)? {
        None | Some("rtsp") => Want::Rtsp,
        Some("live") => Want::Live,
        Some("poster") => Want::Poster,
        Some(_) => return Err(Answer::refusal(400, "want")),
    };
    let (source, role) = prove(shared, &head)?;
    if want != Want::Rtsp && role == ReaderRole::Archiver {
        return Err(Answer::refusal(403, "role"));
    }
    Ok(Admitted { source, role, want })
}

/// What the caller may read: it has a ticket, or comes again.
fn prove(shared: &Shared, head: &Head<'_>) -> Result<(SourceName, ReaderRole), Answer> {
    if let Ok(way) = bearer(head, "Again") {
        let source = shared.ways.take(way.reveal());
        let source = source.ok_or_else(|| Answer::refusal(401, "again"))?;
        return Ok((source, ReaderRole::Archiver));
    }
    let text = bearer(head, "Ticket").map_err(|no| Answer::refusal(no.status, no.reason))?;
    let now = Timestamp::from_millis(shared.clock.wall_ms());
    let ticket = shared.check.take(text.reveal(), now);
    let ticket = ticket.map_err(|error| Answer::refusal(401, error.reason()))?;
    Ok((ticket.source, ticket.role))
}

type Refused = Option<(Option<Tls>, Answer)>;

async fn serve(shared: &Shared, mut stream: Tls, admitted: Admitted) -> Refused {
    let clock = &*shared.clock;
    let Admitted { source, role, want } = admitted;
    let camera = shared.check.camera();
    let is_archiver = role == ReaderRole::Archiver;
    let opening = async {
        match want {
            Want::Rtsp => shared
                .relays
                .open(camera, source, role)
                .await
                .map(Opened::Rtsp),
            Want::Live => {
                let login = match &role {
                    ReaderRole::Viewer { login } => login.as_str(),
                    ReaderRole::Archiver => "",
                };
                shared
                    .relays
                    .live(camera, source, login)
                    .await
                    .map(Opened::Live)
            }
            Want::Poster => Ok(Opened::Poster(shared.relays.poster(camera, source))),
        }
    };
    let opened = tokio::select! {
        opened = timeout(clock, OPEN, opening) => opened.unwrap_or(Err(RelayError::Away)),
        early = stream.fill_buf() => match early {
            Ok(bytes) if !bytes.is_empty() => return Some((Some(stream), Answer::refusal(400, "early"))),
            _ => return Some((None, Answer::refusal(0, "peer_closed"))),
        },
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => return Some((Some(stream), frame::refusal(&error))),
    };
    let (way, _reading) = is_archiver.then(|| shared.ways.tell(source)).unzip();
    let head = granted(way.as_ref(), shared.check.through());
    let written = async {
        stream.write_all(head.as_bytes()).await?;
        stream.flush().await
    };
    if !matches!(timeout(clock, WRITE, written).await, Ok(Ok(()))) {
        return None;
    }
    match opened {
        Opened::Rtsp(mut rtsp) => {
            let _ = copy_bidirectional_with_sizes(&mut stream, &mut rtsp, UP, DOWN).await;
        }
        Opened::Live(feed) => live(shared, stream, feed).await,
        Opened::Poster(poster) => {
            let frame = poster.map_or(Frame::None, Frame::Poster);
            let _ = write(shared, &mut stream, &frame).await;
            let _ = timeout(clock, WRITE, stream.shutdown()).await;
        }
    }
    None
}

/// The head before the stream. Viewers come again with a new ticket, and hear of no tunnel.
fn granted(way: Option<&Masked<String>>, through: Option<Generation>) -> String {
    let mut head = "HTTP/1.1 200 OK\r\n".to_owned();
    if let Some(way) = way {
        head.push_str(&format!("Moorline-Again: {}\r\n", way.reveal()));
        if let Some(through) = through {
            head.push_str(&format!("Moorline-Generation: {through}\r\n"));
        }
    }
    head.push_str("\r\n");
    head
}

enum Opened {
    Rtsp(moorline_core::port::ByteStream),
    Live(Box<dyn LiveFeed>),
    Poster(Option<Poster>),
}

/// Writes a feed until it, or its reader, ends. The feed is pulled as fast as the reader takes it: what it does not fetch is forgotten (P5).
async fn live(shared: &Shared, stream: Tls, mut feed: Box<dyn LiveFeed>) {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut ignored = [0; 16];
    loop {
        let item = tokio::select! {
            item = feed.next() => item,
            // A reader says nothing any more: what comes is its end.
            _ = tokio::io::AsyncReadExt::read(&mut reading, &mut ignored) => return,
        };
        let (frame, last) = match item {
            Ok(item) => (Frame::Item(item), false),
            Err(error) => (Frame::End(error), true),
        };
        if write(shared, &mut writing, &frame).await.is_err() || last {
            let _ = timeout(&*shared.clock, WRITE, writing.shutdown()).await;
            return;
        }
    }
}

async fn write<W: tokio::io::AsyncWrite + Unpin>(
    shared: &Shared,
    stream: &mut W,
    frame: &Frame,
) -> Result<(), ()> {
    let written = async {
        for part in frame.parts() {
            stream.write_all(&part).await?;
        }
        stream.flush().await
    };
    match timeout(&*shared.clock, STALLED, written).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(()),
    }
}
