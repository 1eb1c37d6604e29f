//! The port `Relays` of archiver pods and of the front door: a ticket from the signer, then TLS to the relay by its key.
//!
//! ```text
//! POST /v1/ticket ─▶ address, key, ticket ─▶ TLS, pinned ─▶ CONNECT tenant/camera ─▶ RTSP, or frames
//!        ▲                                       │               │
//!        └──────── any miss: a new ticket ───────┘     for 10 s  │ an archiver's way to come again
//!        ▲                                                       ▼
//!        └─────────────── a miss ─────────────── TLS, pinned ─▶ CONNECT, Again
//! ```
//! An archiver is told by its relay how to come again (a `Way`), and tries that first: the end of a reading, such as a change of the tunnel, does not wait for
//! a signer then, which may be away.
//!
//! A relay that was restarted, replaced or moved is found with the next ticket; nothing is looked up in DNS or the API, and no relay is shown a token.
//!
//! Live pictures come as the relay's own fragments: its ring has the last key frame, so a browser starts at once, and the front door needs neither
//! ring nor muxer.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use moorline_base::SharedClock;
use moorline_base::clock::timeout;
use moorline_core::port::{
    ByteStream, KeyPin, LiveFeed, LiveItem, Poster, ReaderRole, RelayError, Relays,
};
use moorline_core::{CameraId, Generation, Masked, SourceName};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::{ClientStream, DialError, Dialer, Reply};
use crate::head::{self, Value};
use crate::relay::frame::{Frame, error_of};
use crate::signer::protocol::{TICKET, TicketBody, TicketReply};
use crate::tls::pinned;

/// How long a relay that is starting is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(250);
/// For TCP and TLS to a relay.
const DIAL: Duration = Duration::from_secs(3);
/// The same where a ticket is to be had if it does not come.
const DIAL_AGAIN: Duration = Duration::from_secs(1);
/// For a relay to open what is wanted: it waits for its camera.
const OPEN: Duration = Duration::from_secs(15);
/// Items of a feed that wait for a browser: the relay's ring keeps the others.
const FEED: usize = 4;
/// A poster is asked for again after this.
const POSTER: Duration = Duration::from_secs(10);
/// Posters that are kept, and that are fetched at once.
const POSTERS: usize = 1024;
const FETCHES: usize = 8;

type PosterKey = (CameraId, SourceName);

#[derive(Default)]
struct Posters {
    kept: HashMap<PosterKey, (Instant, Option<Poster>)>,
    fetching: HashSet<PosterKey>,
}

/// Where a relay is, and by which key it is known.
#[derive(Debug, Clone, Copy)]
struct Place {
    address: SocketAddr,
    key: KeyPin,
}

/// How an archiver comes again to the relay that it has read: with what that told it, which is good once.
#[derive(Debug, Clone)]
struct Way {
    place: Place,
    shown: Masked<String>,
}

#[derive(Clone)]
struct Inner {
    signer: Dialer,
    posters: Arc<Mutex<Posters>>,
    /// An archiver's own: one for each source that it reads.
    ways: Arc<Mutex<HashMap<(CameraId, SourceName), Way>>>,
    /// Of the camera whose archiver this is.
    newest: Arc<Mutex<Option<(CameraId, Generation)>>>,
}

/// Relays in other pods. Clones are the same.
#[derive(Clone)]
pub struct TicketRelays(Inner);

impl std::fmt::Debug for TicketRelays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketRelays")
            .field("signer", &self.0.signer)
            .finish_non_exhaustive()
    }
}

/// Why one try failed.
enum Miss {
    /// Another will not help.
    Final(RelayError),
    /// The next may succeed.
    Again(String),
}

impl From<DialError> for Miss {
    fn from(error: DialError) -> Self {
        Self::Again(error.to_string())
    }
}

impl TicketRelays {
    /// Relays by way of this signer.
    #[must_use]
    pub fn new(signer: Dialer) -> Self {
        Self(Inner {
            signer,
            posters: Arc::default(),
            ways: Arc::default(),
            newest: Arc::default(),
        })
    }

    pub(super) fn clock(&self) -> &SharedClock {
        self.0.signer.clock()
    }

    pub(super) async fn reach(
        &self,
        camera: &CameraId,
        source: SourceName,
        login: Option<&str>,
        want: &str,
    ) -> Result<(ClientStream, Generation), RelayError> {
        self.0.reach(camera, source, login, want).await
    }
}

impl Inner {
    fn posters<T>(&self, change: impl FnOnce(&mut Posters) -> T) -> T {
        change(&mut self.posters.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ways(&self) -> MutexGuard<'_, HashMap<(CameraId, SourceName), Way>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest(&self) -> MutexGuard<'_, Option<(CameraId, Generation)>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream; tries again for [`PATIENCE`].
    async fn reach(
        &self,
        camera: &CameraId,
        source: SourceName,
        login: Option<&str>,
        want: &str,
    ) -> Result<(ClientStream, Generation), RelayError> {
        let clock = self.signer.clock();
        let deadline = clock.monotonic() + PATIENCE;
        loop {
            let why = match self.once(camera, source, login, want).await {
                Ok(reached) => return Ok(reached),
                Err(Miss::Final(error)) => return Err(error),
                Err(Miss::Again(why)) => why,
            };
            let now = clock.monotonic();
            if now >= deadline {
                tracing::info!(%camera, reason = why, "the relay is not to be had");
                return Err(RelayError::Away);
            }
            tracing::debug!(%camera, reason = why, "asking for another ticket");
            clock.sleep_until(deadline.min(now + AGAIN)).await;
        }
    }

    async fn once(
        &self,
        camera: &CameraId,
        source: SourceName,
        login: Option<&str>,
        want: &str,
    ) -> Result<(ClientStream, Generation), Miss> {
        let body = TicketBody {
            camera: camera.clone(),
            source,
            login: login.map(str::to_owned),
        };
        let body = serde_json::to_vec(&body).map_err(|error| Miss::Again(error.to_string()))?;
        let (reply, body) = self.signer.post(TICKET, &body).await?;
        if reply.status != 200 {
            return Err(refused(&reply));
        }
        let unreadable = || Miss::Again("the signer's answer cannot be read".to_owned());
        let ticket: TicketReply = serde_json::from_slice(&body).map_err(|_| unreadable())?;
        let place = Place {
            address: ticket.address,
            key: ticket.key.parse().map_err(|_| unreadable())?,
        };
        let stream = self.dial(place, DIAL).await?;
        let shown = format!("Ticket {}", ticket.ticket);
        let (stream, reply) = self.ask(stream, camera, &shown, want).await?;
        let mut newest = ticket.generation;
        // Of a relay that a viewer reads nothing is kept.
        if login.is_none() {
            let told = self.came(camera, source, place, reply);
            newest = newest.max(told.unwrap_or_default());
        }
        Ok((stream, newest))
    }

    async fn dial(&self, place: Place, patience: Duration) -> Result<ClientStream, Miss> {
        let config = pinned(place.key).map_err(|error| Miss::Again(error.to_string()))?;
        let dialled = async {
            let stream = TcpStream::connect(place.address).await?;
            stream.set_nodelay(true)?;
            // Its key is verified, not its name.
            let name = ServerName::IpAddress(place.address.ip().into());
            TlsConnector::from(config).connect(name, stream).await
        };
        let stream = timeout(&**self.signer.clock(), patience, dialled)
            .await
            .map_err(DialError::from)?;
        let stream = stream.map_err(DialError::from)?;
        Ok(BufReader::with_capacity(2 * 1024, stream))
    }

    /// Asks a relay for a stream, and shows it this.
    async fn ask(
        &self,
        mut stream: ClientStream,
        camera: &CameraId,
        shown: &str,
        want: &str,
    ) -> Result<(ClientStream, Reply), Miss> {
        let clock = self.signer.clock();
        let text = format!(
            "CONNECT {camera} HTTP/1.1\r\nHost: relay\r\nAuthorization: {}\r\nMoorline-Want: {want}\r\n\r\n",
            Value(shown)
        );
        let asked = async {
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await?;
            let bytes = head::read(&mut stream).await?;
            Ok::<_, DialError>(Reply::parse(&bytes)?)
        };
        let reply = timeout(&**clock, OPEN, asked)
            .await
            .map_err(DialError::from)??;
        match reply.status {
            200 => Ok((stream, reply)),
            415 => {
                let mut codec = String::new();
                let mut rest = (&mut stream).take(200);
                let read = rest.read_to_string(&mut codec);
                let _ = timeout(&**clock, DIAL, read).await;
                let codec = codec
                    .chars()
                    .filter(|letter| !letter.is_control())
                    .collect();
                Err(Miss::Final(RelayError::NotPlayable(codec)))
            }
            429 => Err(Miss::Final(RelayError::TooMany)),
            _ => Err(match error_of(&reply.reason) {
                // The relay has waited for its camera already.
                Some(RelayError::Away) => Miss::Final(RelayError::Away),
                Some(RelayError::Unknown) => Miss::Final(RelayError::Unknown),
                // A relay that ends, another's ticket, a reused address: the next ticket tells.
                _ => Miss::Again(format!("{} {}", reply.status, reply.reason)),
            }),
        }
    }

    /// A relay was opened for its archiver: keeps how to come again. Returns the tunnel that it reads through, if it says so.
    fn came(
        &self,
        camera: &CameraId,
        source: SourceName,
        place: Place,
        reply: Reply,
    ) -> Option<Generation> {
        if let Some(shown) = reply.again {
            let way = Way { place, shown };
            self.ways().insert((camera.clone(), source), way);
        }
        reply.generation.map(Generation)
    }

    /// Comes again without a signer, where the relay has told how.
    async fn again(
        &self,
        camera: &CameraId,
        source: SourceName,
    ) -> Option<(ClientStream, Option<Generation>)> {
        let key = (camera.clone(), source);
        let way = self.ways().get(&key).cloned()?;
        let came = async {
            // Until it is shown it stays good.
            let stream = self.dial(way.place, DIAL_AGAIN).await?;
            self.ways().remove(&key);
            let shown = format!("Again {}", way.shown.reveal());
            self.ask(stream, camera, &shown, "rtsp").await
        };
        match came.await {
            Ok((stream, reply)) => Some((stream, self.came(camera, source, way.place, reply))),
            Err(Miss::Again(reason)) => {
                tracing::debug!(%camera, reason, "not to be had again without a ticket");
                None
            }
            Err(Miss::Final(_)) => None,
        }
    }

    async fn fetch_poster(&self, key: &PosterKey) -> Option<Poster> {
        let reached = self.reach(&key.0, key.1, Some(POSTER_LOGIN), "poster");
        let (mut stream, _) = reached.await.ok()?;
        let clock = self.signer.clock();
        match timeout(&**clock, OPEN, Frame::read(&mut stream)).await {
            Ok(Some(Frame::Poster(poster))) => Some(poster),
            _ => None,
        }
    }
}

/// A still picture is shown to whoever may see the camera: it is nobody's in particular.
const POSTER_LOGIN: &str = "poster";

/// What the signer's refusal means.
fn refused(reply: &Reply) -> Miss {
    match (reply.status, reply.reason.as_str()) {
        (403 | 404, "unknown" | "camera" | "role") => Miss::Final(RelayError::Unknown),
        (status, reason) => Miss::Again(format!("the signer: {status} {reason}")),
    }
}

#[async_trait]
impl Relays for TicketRelays {
    async fn open(
        &self,
        camera: &CameraId,
        source: SourceName,
        role: ReaderRole,
    ) -> Result<ByteStream, RelayError> {
        if let ReaderRole::Viewer { login } = &role {
            let (stream, _) = self.0.reach(camera, source, Some(login), "rtsp").await?;
            return Ok(Box::new(stream));
        }
        let (stream, told) = match self.0.again(camera, source).await {
            Some(came) => came,
            None => {
                let (stream, told) = self.0.reach(camera, source, None, "rtsp").await?;
                (stream, Some(told))
            }
        };
        // Whoever tells may have heard less than who told before.
        let newest = self.generation(camera).max(told);
        *self.0.newest() = newest.map(|newest| (camera.clone(), newest));
        Ok(Box::new(stream))
    }

    fn generation(&self, camera: &CameraId) -> Option<Generation> {
        let newest = self.0.newest();
        newest
            .as_ref()
            .filter(|(of, _)| of == camera)
            .map(|(_, generation)| *generation)
    }

    async fn live(
        &self,
        camera: &CameraId,
        source: SourceName,
        login: &str,
    ) -> Result<Box<dyn LiveFeed>, RelayError> {
        let (mut stream, _) = self.0.reach(camera, source, Some(login), "live").await?;
        let (items, received) = mpsc::channel(FEED);
        // A read of a frame cannot be cancelled in its middle, and `next` can: so a task reads, and ends with the feed.
        tokio::spawn(async move {
            loop {
                let frame = tokio::select! {
                    () = items.closed() => return,
                    frame = Frame::read(&mut stream) => frame,
                };
                let (item, last) = match frame {
                    Some(Frame::Item(item)) => (Ok(item), false),
                    Some(Frame::End(error)) => (Err(error), true),
                    _ => (Err(RelayError::Ended), true),
                };
                if items.send(item).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(Box::new(Feed {
            received,
            over: RelayError::Ended,
        }))
    }

    /// The last one that was fetched; a newer one is fetched meanwhile, for the next time that somebody looks.
    fn poster(&self, camera: &CameraId, source: SourceName) -> Option<Poster> {
        let key = (camera.clone(), source);
        let now = self.0.signer.clock().monotonic();
        let (kept, fetch) = self.0.posters(|posters| {
            let kept = posters.kept.get(&key);
            let fresh = kept.is_some_and(|(at, _)| now.saturating_duration_since(*at) < POSTER);
            let poster = kept.and_then(|(_, poster)| poster.clone());
            let fetch =
                !fresh && posters.fetching.len() < FETCHES && posters.fetching.insert(key.clone());
            (poster, fetch)
        });
        if fetch {
            let inner = self.0.clone();
            tokio::spawn(async move {
                let poster = inner.fetch_poster(&key).await;
                let now = inner.signer.clock().monotonic();
                inner.posters(|posters| {
                    posters.fetching.remove(&key);
                    if posters.kept.len() >= POSTERS && !posters.kept.contains_key(&key) {
                        let oldest = posters.kept.iter().min_by_key(|(_, (at, _))| *at);
                        if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                            posters.kept.remove(&oldest);
                        }
                    }
                    posters.kept.insert(key, (now, poster));
                });
            });
        }
        kept
    }
}

struct Feed {
    received: mpsc::Receiver<Result<LiveItem, RelayError>>,
    over: RelayError,
}

#[async_trait]
impl LiveFeed for Feed {
    async fn next(&mut self) -> Result<LiveItem, RelayError> {
        match self.received.recv().await {
            Some(Ok(item)) => Ok(item),
            Some(Err(error)) => {
                self.over = error.clone();
                Err(error)
            }
            None => Err(self.over.clone()),
        }
    }
}
