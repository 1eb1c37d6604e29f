//! The server of the tunnel gateway: who may, who holds the camera, and the stream.
//!
//! **Owns** the listener's connections from the first byte: TLS, one bounded head, the token, the answer. **Does not own** tunnels ([`Landings`]),
//! pods and claims ([`Identities`], [`Holders`]), or what workloads are told ([`Links`]).
//!
//! ```text
//! accept ─▶ admit ─▶ TLS ─▶ head ─▶ token ─┬─ CONNECT tenant/camera ─▶ 200 stream · 307 · held, 503 · 502 · 4xx
//!  (20 s in all until the token is good)   ├─ GET /v1/control/tenant/camera ─▶ 101 lines · 307 · held, 503 · 4xx
//!              a peer's certificate ───────┴─ GET /v1/holds/tenant/camera ─▶ 200 · 404
//! ```
//! How it ends: [`Gateway::run`] stops accepting when its token is cancelled, answers what is held with 503, closes streams and control
//! connections, and returns when all have ended, at the latest after 5 s (P8).
//!
//! Promises and rules: P2 (a stream is found by the camera that the token proves), P9, P10, S19, S24.

mod connect;
mod control;
mod links;
mod peers;
mod streams;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::{sleep, timeout};
use moorline_base::crowd::Crowd;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    Audience, Caller, Holders, Identities, KeyPin, Landings, LinkEvents, PodUid, RelayPlaces,
};
use moorline_core::{CameraId, Generation, Masked};
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::callers::Callers;
use crate::head::Head;
use crate::metrics::{self, GatewayMetrics, Reason};
use crate::serving::{self, Answer, STRANGER, Tls, phrase};
use crate::ticket::{TicketPublics, print_publics};
use crate::tls::{ServerTls, names};
pub use links::Links;
use streams::Streams;

/// How often streams of pods that are gone are looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// Peers that are asked at once, over all requests.
const QUESTIONS: usize = 32;

/// What the gateway needs of others.
pub struct GatewayParts {
    /// Time.
    pub clock: SharedClock,
    /// Who shows a token.
    pub identities: Arc<dyn Identities>,
    /// Who holds a camera.
    pub holders: Arc<dyn Holders>,
    /// This replica's own tunnels.
    pub landings: Arc<dyn Landings>,
    /// Learns the keys of relays.
    pub places: Arc<dyn RelayPlaces>,
    /// What workloads are told.
    pub links: Links,
    /// What workloads say.
    pub events: Arc<dyn LinkEvents>,
    /// The public ticket keys that relays get.
    pub tickets: Arc<TicketPublics>,
    /// Certificate, key and authority.
    pub tls: Arc<ServerTls>,
    /// Counters.
    pub metrics: GatewayMetrics,
}

/// Settings of the gateway.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The Service's name: what our certificate names, and a peer's too.
    pub service: String,
    /// Where peers are found while the API server is away: `host:port` of the headless Service; its addresses are asked all.
    pub peers: Vec<String>,
    /// How long a request waits for an absent camera.
    pub hold: Duration,
    /// Connections without a good token at once.
    pub strangers: usize,
}

impl GatewayConfig {
    /// The defaults: held for 30 s, 512 strangers, no peers.
    pub fn new(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            peers: Vec::new(),
            hold: Duration::from_secs(30),
            strangers: 512,
        }
    }
}

pub(crate) struct Shared {
    parts: GatewayParts,
    config: GatewayConfig,
    name: ServerName<'static>,
    strangers: Crowd,
    callers: Callers,
    streams: Streams,
    questions: Semaphore,
    announced: connect::Announced,
}

/// The tunnel gateway of one replica. Clones are the same.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

/// A service name that is no DNS name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("gateway.service = {0:?}: not a DNS name; write it like moorline-mon.moorline-system.svc")]
pub struct InvalidService(pub String);

pub(crate) fn server_name(service: &str) -> Result<ServerName<'static>, InvalidService> {
    ServerName::try_from(service.to_owned()).map_err(|_| InvalidService(service.to_owned()))
}

impl Gateway {
    /// A gateway; it serves once [`Gateway::run`] gets a listener.
    ///
    /// # Errors
    /// [`InvalidService`].
    pub fn new(parts: GatewayParts, config: GatewayConfig) -> Result<Self, InvalidService> {
        let name = server_name(&config.service)?;
        Ok(Self(Arc::new(Shared {
            strangers: Crowd::of_nodes(config.strangers, parts.metrics.evicted.clone()),
            callers: Callers::new(
                Arc::clone(&parts.identities),
                Arc::clone(&parts.clock),
                Audience::Gateway,
            ),
            streams: Streams::default(),
            questions: Semaphore::new(QUESTIONS),
            announced: connect::Announced::default(),
            name,
            config,
            parts,
        })))
    }

    /// Serves until `cancel` is cancelled.
    pub async fn run(&self, listener: TcpListener, cancel: CancellationToken) {
        let shared = &self.0;
        let clock = &shared.parts.clock;
        let stop = cancel.clone();
        let serve = |stream, peer| connection(Arc::clone(shared), stream, peer, stop.clone());
        let accepting = serving::accept("gateway", listener, clock, cancel.clone(), serve);
        let sweeping = async {
            while !sleep(&**clock, SWEEP, &cancel).await.is_cancelled() {
                shared.streams.sweep(&*shared.parts.identities);
                shared.announced.sweep(&*shared.parts.identities);
            }
        };
        tokio::join!(accepting, sweeping);
    }
}

pub(crate) fn refuse(status: u16, reason: &'static str) -> Answer {
    Answer::refusal(status, reason)
}

/// What is asked, by whom: after the token was found good.
struct Request {
    camera: CameraId,
    ask: Ask,
}

enum Ask {
    Connect {
        pod: PodUid,
        least: Generation,
        key: Option<KeyPin>,
    },
    Control {
        role: Role,
        pod: PodUid,
        key: Option<KeyPin>,
    },
    Holds,
}

/// A connection from its first byte to its last.
async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    cancel: CancellationToken,
) {
    let clock = Arc::clone(&shared.parts.clock);
    let introduced = {
        let Some(place) = shared.strangers.admit(peer.ip()) else {
            return;
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err("stopping"),
            () = place.dismissed().cancelled() => Err("evicted"),
            introduced = timeout(&*clock, STRANGER, introduce(&shared, stream, peer.ip())) => introduced.unwrap_or(Err("too_slow")),
        }
    };
    let (stream, request) = match introduced {
        Ok(introduced) => introduced,
        Err(reason) => {
            shared
                .parts
                .metrics
                .closed
                .get_or_create(&Reason { reason })
                .inc();
            tracing::debug!(reason, "closed before an answer");
            return;
        }
    };
    let camera = request.camera;
    let span = tracing::info_span!("request", %camera);
    let served = async {
        match request.ask {
            Ask::Connect { pod, least, key } => {
                connect::serve(&shared, stream, camera, pod, least, key, &cancel).await;
            }
            Ask::Control { role, pod, key } => {
                control::serve(&shared, stream, camera, role, pod, key, &cancel).await;
            }
            Ask::Holds => peers::answer_peer(&shared, stream, &camera).await,
        }
    };
    served.instrument(span).await;
}

/// TLS, the head, the token. An answer that refuses is written here.
async fn introduce(
    shared: &Shared,
    stream: TcpStream,
    address: IpAddr,
) -> Result<(Tls, Request), &'static str> {
    let (stream, head) = match serving::greet(shared.parts.tls.server(), stream).await {
        Ok(greeted) => greeted,
        Err((Some(stream), refusal)) => return refused(shared, stream, refusal).await,
        Err((None, gone)) => return Err(gone.reason),
    };
    let asked = match Head::parse(&head) {
        Ok(head) => understand(shared, &stream, address, &head).await,
        Err(_) => Err(refuse(400, "head_malformed")),
    };
    match asked {
        Ok(request) => Ok((stream, request)),
        Err(refusal) => refused(shared, stream, refusal).await,
    }
}

async fn refused<T>(shared: &Shared, stream: Tls, refusal: Answer) -> Result<T, &'static str> {
    answer(shared, stream, &refusal).await;
    Err("refused")
}

async fn understand(
    shared: &Shared,
    stream: &Tls,
    address: IpAddr,
    head: &Head<'_>,
) -> Result<Request, Answer> {
    let malformed = |_| refuse(400, "head_malformed");
    let [method, target, version] = head.first;
    if version != "HTTP/1.1" {
        return Err(refuse(400, "version"));
    }
    let path = |prefix: &str| target.strip_prefix(prefix).and_then(camera_of);
    let key = || -> Result<Option<KeyPin>, Answer> {
        let text = head.header("Moorline-Relay-Key").map_err(malformed)?;
        text.map(|text| text.parse().map_err(|_| refuse(400, "relay_key")))
            .transpose()
    };
    if method == "CONNECT" {
        let camera = camera_of(target).ok_or(refuse(400, "target"))?;
        let least = match head.header("Moorline-Generation").map_err(malformed)? {
            Some(text) => text.parse().map_err(|_| refuse(400, "generation"))?,
            None => 0,
        };
        let key = key()?;
        let (role, pod) = workload(shared, address, head, &camera).await?;
        if role != Role::Relay {
            return Err(refuse(403, "role"));
        }
        let ask = Ask::Connect {
            pod,
            least: Generation(least),
            key,
        };
        return Ok(Request { camera, ask });
    }
    if method != "GET" {
        return Err(refuse(405, "method"));
    }
    if let Some(camera) = path("/v1/control/") {
        if head.header("Upgrade").map_err(malformed)? != Some(crate::wire::PROTOCOL) {
            return Err(refuse(426, "protocol"));
        }
        let key = key()?;
        let (role, pod) = workload(shared, address, head, &camera).await?;
        let ask = Ask::Control { role, pod, key };
        return Ok(Request { camera, ask });
    }
    if let Some(camera) = path("/v1/holds/") {
        let (_, tls) = stream.get_ref().get_ref();
        let shown = tls.peer_certificates().and_then(<[_]>::first);
        if !shown.is_some_and(|certificate| names(certificate, &shared.name)) {
            return Err(refuse(403, "peer"));
        }
        return Ok(Request {
            camera,
            ask: Ask::Holds,
        });
    }
    Err(refuse(404, "path"))
}

/// `tenant/camera`, both said.
pub(crate) fn camera_of(text: &str) -> Option<CameraId> {
    text.parse().ok().filter(|_| text.contains('/'))
}

/// The token of a head; empty where there is none.
pub(crate) fn bearer(head: &Head<'_>, scheme: &str) -> Result<Masked<String>, Answer> {
    let value = head
        .header("Authorization")
        .map_err(|_| refuse(400, "head_malformed"))?;
    let (found, token) = value
        .and_then(|value| value.split_once(' '))
        .ok_or(refuse(401, "no_token"))?;
    if found.eq_ignore_ascii_case(scheme) && !token.is_empty() {
        Ok(Masked::new(token.to_owned()))
    } else {
        Err(refuse(401, "no_token"))
    }
}

/// Who asks: a workload of this camera (rule S19).
async fn workload(
    shared: &Shared,
    address: IpAddr,
    head: &Head<'_>,
    camera: &CameraId,
) -> Result<(Role, PodUid), Answer> {
    let token = bearer(head, "Bearer")?;
    match shared.callers.of(address, &token).await? {
        Caller::Workload {
            camera: own,
            role,
            pod,
        } if own == *camera => Ok((role, pod)),
        Caller::Workload { .. } => Err(refuse(403, "camera")),
        Caller::FrontDoor { .. } => Err(refuse(403, "role")),
    }
}

/// Answers and closes.
async fn answer(shared: &Shared, stream: Tls, answer: &Answer) {
    count(shared, answer.status, answer.reason);
    tracing::debug!(status = answer.status, reason = answer.reason, "answered");
    serving::finish(&*shared.parts.clock, stream, answer).await;
}

fn count(shared: &Shared, status: u16, reason: &'static str) {
    shared
        .parts
        .metrics
        .answers
        .get_or_create(&metrics::Answer { status, reason })
        .inc();
}

/// The head of an answer that opens something, with the ticket keys for relays.
fn opening(shared: &Shared, status: u16, headers: &str) -> String {
    let keys = print_publics(&shared.parts.tickets.get());
    format!(
        "HTTP/1.1 {status} {}\r\n{headers}Moorline-Ticket-Keys: {keys}\r\n\r\n",
        phrase(status)
    )
}
