//! The signer: the only part of a cluster that holds the key that may put, and the ticket key (rule S18).
//!
//! **Owns** who gets what: `POST /v1/presign` (rule S20), `/v1/confirm`, `/v1/last-end`, `/v1/ticket` (rule S22). **Does not own** the store's
//! credentials ([`PutSigner`]), pods ([`Identities`], [`RelayPlaces`]) or limits ([`PutPolicy`]).
//!
//! | request | who | answer |
//! |---|---|---|
//! | presign | an archiver, keys of its own camera | a URL for one key, length, digest and type |
//! | confirm | the same | whether the store has it with that digest |
//! | last-end | the same | the end of the camera's newest object |
//! | ticket | an archiver to its own relay; the front door to any | address, key and ticket of the relay |
//!
//! What is remembered (digests, quotas) is this replica's: with two replicas a camera may put twice its quota, and a key's first digest is what the
//! store has. How it ends: [`Signer::run`] stops accepting when its token is cancelled and answers what is under way, at most 5 s (P8).

pub(crate) mod protocol;
mod rules;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moorline_base::clock::timeout;
use moorline_base::crowd::Crowd;
use moorline_base::rate::Limiter;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    Audience, Caller, Identities, PutPolicy, PutRequest, PutSigner, ReaderRole, RelayPlaces,
};
use moorline_core::segment::ObjectKey;
use moorline_core::{CameraId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream};

use crate::callers::Callers;
use crate::head::Head;
use crate::metrics::{SignerAnswer, SignerMetrics};
use crate::server::bearer;
use crate::serving::{self, Answer, STRANGER, Tls};
use crate::ticket::{LIFETIME, Ticket, TicketSigner};
use crate::tls::ServerTls;
use protocol::{
    CONFIRM, ConfirmBody, LARGEST, LAST_END, LastEndBody, LastEndReply, PRESIGN, PresignBody,
    PresignReply, TICKET, TicketBody, TicketReply, md5_of,
};
use rules::{Digests, PutRefusal, Quotas, judge};

/// For an answer, the store's included.
const SERVE: Duration = Duration::from_secs(40);
/// Requests of one camera's pods at once.
const REQUESTS: u32 = 240;
/// And then per second: an archiver that empties its spool stores two segments in it.
const REQUESTS_PER_SECOND: f64 = 4.0;
/// Cameras whose requests are counted; beyond, those that ask for nothing are forgotten.
const CAMERAS: usize = 65_536;
/// Classes that a camera has ever had.
const CLASSES: usize = 16;

/// What the signer needs of others.
pub struct SignerParts {
    /// Time.
    pub clock: SharedClock,
    /// Who shows a token.
    pub identities: Arc<dyn Identities>,
    /// Where relays are.
    pub places: Arc<dyn RelayPlaces>,
    /// What cameras may put.
    pub policy: Arc<dyn PutPolicy>,
    /// Signs for the tenants' stores.
    pub puts: Arc<dyn PutSigner>,
    /// Signs tickets.
    pub tickets: Arc<TicketSigner>,
    /// Certificate, key and authority.
    pub tls: Arc<ServerTls>,
    /// Counters.
    pub metrics: SignerMetrics,
}

/// Settings of the signer.
#[derive(Debug, Clone)]
pub struct SignerConfig {
    /// The greatest age of what lies in a spool: what begins before is not signed, ever. It is to be longer than any outage of a store that a spool
    /// outlives: what is refused for its age stays in the spool, and nothing after it is durable.
    pub spool_age: Duration,
    /// Connections without a good token at once.
    pub strangers: usize,
}

impl Default for SignerConfig {
    /// Sixty days, in which a camera of 65 kbit/s fills 40 GiB; and 512 strangers.
    fn default() -> Self {
        Self {
            spool_age: Duration::from_secs(60 * 86_400),
            strangers: 512,
        }
    }
}

struct Shared {
    parts: SignerParts,
    config: SignerConfig,
    strangers: Crowd,
    callers: Callers,
    requests: Mutex<Limiter<CameraId>>,
    digests: Digests,
    quotas: Quotas,
}

/// The signer. Clones are the same.
#[derive(Clone)]
pub struct Signer(Arc<Shared>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer; it serves once [`Signer::run`] gets a listener.
    #[must_use]
    pub fn new(parts: SignerParts, config: SignerConfig) -> Self {
        Self(Arc::new(Shared {
            strangers: Crowd::of_nodes(config.strangers, parts.metrics.evicted.clone()),
            callers: Callers::new(
                Arc::clone(&parts.identities),
                Arc::clone(&parts.clock),
                Audience::Signer,
            ),
            requests: Mutex::new(Limiter::new(REQUESTS, REQUESTS_PER_SECOND, CAMERAS)),
            digests: Digests::default(),
            quotas: Quotas::default(),
            config,
            parts,
        }))
    }

    /// Serves until `cancel` is cancelled.
    pub async fn run(&self, listener: TcpListener, cancel: CancellationToken) {
        let clock = &self.0.parts.clock;
        let serve = |stream, peer| connection(Arc::clone(&self.0), stream, peer);
        serving::accept("signer", listener, clock, cancel, serve).await;
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let clock = Arc::clone(&shared.parts.clock);
    let introduced = {
        let Some(place) = shared.strangers.admit(peer.ip()) else {
            return;
        };
        tokio::select! {
            biased;
            () = place.dismissed().cancelled() => Err((None, Answer::refusal(0, "evicted"))),
            introduced = timeout(&*clock, STRANGER, introduce(&shared, stream, peer.ip())) => {
                introduced.unwrap_or_else(|_| Err((None, Answer::refusal(0, "too_slow"))))
            }
        }
    };
    let (stream, request, answer) = match introduced {
        Ok((stream, request)) => {
            let name = request.name();
            let served = timeout(&*clock, SERVE, serve(&shared, request)).await;
            let answer = served.unwrap_or_else(|_| Err(Answer::refusal(503, "late")));
            (Some(stream), name, answer.unwrap_or_else(|refusal| refusal))
        }
        Err((stream, refusal)) => (stream, "none", refusal),
    };
    let label = SignerAnswer {
        request,
        reason: answer.reason,
    };
    shared.parts.metrics.answers.get_or_create(&label).inc();
    if answer.status != 200 {
        tracing::info!(
            request,
            status = answer.status,
            reason = answer.reason,
            "refused"
        );
    }
    if let Some(stream) = stream {
        serving::finish(&*clock, stream, &answer).await;
    }
}

/// What is asked, by whom.
enum Request {
    Presign(CameraId, PresignBody),
    Confirm(CameraId, ConfirmBody),
    LastEnd(CameraId, LastEndBody),
    Ticket(Caller, TicketBody),
}

impl Request {
    fn name(&self) -> &'static str {
        match self {
            Self::Presign(..) => "presign",
            Self::Confirm(..) => "confirm",
            Self::LastEnd(..) => "last_end",
            Self::Ticket(..) => "ticket",
        }
    }
}

async fn introduce(
    shared: &Shared,
    stream: TcpStream,
    address: IpAddr,
) -> Result<(Tls, Request), (Option<Tls>, Answer)> {
    let (mut stream, head) = serving::greet(shared.parts.tls.server(), stream).await?;
    match understand(shared, &mut stream, address, &head).await {
        Ok(request) => Ok((stream, request)),
        Err(answer) => Err((Some(stream), answer)),
    }
}

async fn understand(
    shared: &Shared,
    stream: &mut Tls,
    address: IpAddr,
    head: &[u8],
) -> Result<Request, Answer> {
    let head = Head::parse(head).map_err(|_| Answer::refusal(400, "head_malformed"))?;
    let [method, target, version] = head.first;
    if version != "HTTP/1.1" {
        return Err(Answer::refusal(400, "version"));
    }
    if ![PRESIGN, CONFIRM, LAST_END, TICKET].contains(&target) {
        return Err(Answer::refusal(404, "path"));
    }
    if method != "POST" {
        return Err(Answer::refusal(405, "method"));
    }
    let token = bearer(&head, "Bearer").map_err(|no| Answer::refusal(no.status, no.reason))?;
    let caller = shared.callers.of(address, &token).await?;
    if let Caller::Workload { camera, .. } = &caller {
        paced(shared, camera)?;
    }
    let body = serving::body(stream, &head, LARGEST).await?;
    match target {
        TICKET => Ok(Request::Ticket(caller, parse(&body)?)),
        PRESIGN => Ok(Request::Presign(archiver(caller)?, parse(&body)?)),
        CONFIRM => Ok(Request::Confirm(archiver(caller)?, parse(&body)?)),
        _ => Ok(Request::LastEnd(archiver(caller)?, parse(&body)?)),
    }
}

/// Each request may cost the store one: a pod that was taken over asks for no more of them than an archiver that empties its spool.
fn paced(shared: &Shared, camera: &CameraId) -> Result<(), Answer> {
    let now = shared.parts.clock.monotonic();
    let mut requests = shared
        .requests
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    requests.try_take(camera.clone(), now).map_err(|wait| {
        let mut answer = Answer::refusal(429, "requests");
        answer.headers = format!("Retry-After: {}\r\n", wait.as_secs().clamp(1, 60));
        answer
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Answer> {
    serde_json::from_slice(body).map_err(|_| Answer::refusal(400, "body"))
}

/// The camera of an archiver: nobody else puts (rule S19).
fn archiver(caller: Caller) -> Result<CameraId, Answer> {
    match caller {
        Caller::Workload {
            camera,
            role: Role::Archiver,
            ..
        } => Ok(camera),
        Caller::Workload { .. } | Caller::FrontDoor { .. } => Err(Answer::refusal(403, "role")),
    }
}

fn ok<T: Serialize>(reply: &T) -> Result<Answer, Answer> {
    let body = serde_json::to_vec(reply).map_err(|_| Answer::refusal(503, "internal"))?;
    Ok(Answer {
        body,
        headers: "Content-Type: application/json\r\nCache-Control: no-store\r\n".to_owned(),
        ..Answer::refusal(200, "ok")
    })
}

async fn serve(shared: &Shared, request: Request) -> Result<Answer, Answer> {
    match request {
        Request::Presign(camera, body) => presign(shared, &camera, body).await,
        Request::Confirm(camera, body) => confirm(shared, &camera, body).await,
        Request::LastEnd(camera, body) => last_end(shared, &camera, body).await,
        Request::Ticket(caller, body) => ticket(shared, caller, body),
    }
}

fn away(error: &moorline_core::port::PortError) -> Answer {
    tracing::warn!(%error, "the store cannot be asked");
    Answer::refusal(503, "store")
}

async fn presign(shared: &Shared, camera: &CameraId, body: PresignBody) -> Result<Answer, Answer> {
    let parts = &shared.parts;
    let md5 = md5_of(&body.md5).ok_or_else(|| Answer::refusal(400, "md5"))?;
    let request = PutRequest {
        key: body.key,
        bytes: body.bytes,
        md5,
    };
    let limits = parts
        .policy
        .limits(camera)
        .ok_or_else(|| Answer::refusal(403, "unknown"))?;
    let refused = |refusal: PutRefusal| {
        let (status, reason) = refusal.answer();
        Answer::refusal(status, reason)
    };
    let now = Timestamp::from_millis(parts.clock.wall_ms());
    judge(camera, &request, &limits, now, shared.config.spool_age).map_err(refused)?;
    let known = shared.digests.get(&request.key);
    if known.is_some_and(|known| known != md5) {
        return Err(refused(PutRefusal::Digest));
    }
    // A repeat of what was signed costs nothing.
    if known.is_none() {
        let monotonic = parts.clock.monotonic();
        let taken = shared
            .quotas
            .take(camera, request.bytes, limits.bytes_per_hour, monotonic);
        if let Err(wait) = taken {
            let mut answer = refused(PutRefusal::Quota);
            answer.headers = format!("Retry-After: {}\r\n", wait.as_secs().clamp(1, 3600));
            return Err(answer);
        }
        let stored = parts
            .puts
            .digest(&request.key)
            .await
            .map_err(|error| away(&error))?;
        if shared.digests.fix(&request.key, stored.unwrap_or(md5)) != md5 {
            return Err(refused(PutRefusal::Digest));
        }
    }
    let signed = parts
        .puts
        .sign_put(&request)
        .await
        .map_err(|error| away(&error))?;
    parts.metrics.signed_bytes.inc_by(request.bytes);
    ok(&PresignReply {
        url: signed.url.reveal().clone(),
        headers: signed.headers,
        expires_in_ms: u64::try_from(signed.expires_in.as_millis()).unwrap_or(u64::MAX),
    })
}

async fn confirm(shared: &Shared, camera: &CameraId, body: ConfirmBody) -> Result<Answer, Answer> {
    let md5 = md5_of(&body.md5).ok_or_else(|| Answer::refusal(400, "md5"))?;
    let key: ObjectKey = body.key;
    if key.place().camera != *camera {
        return Err(Answer::refusal(403, "camera"));
    }
    match shared
        .parts
        .puts
        .digest(&key)
        .await
        .map_err(|error| away(&error))?
    {
        Some(stored) if stored == md5 => Ok(Answer::refusal(200, "ok")),
        Some(_) => Err(Answer::refusal(409, "digest")),
        None => Err(Answer::refusal(404, "missing")),
    }
}

async fn last_end(shared: &Shared, camera: &CameraId, body: LastEndBody) -> Result<Answer, Answer> {
    if body.classes.len() > CLASSES {
        return Err(Answer::refusal(413, "classes"));
    }
    let found = shared
        .parts
        .puts
        .last_end(camera, &body.classes, body.tier)
        .await;
    let last_end = found.map_err(|error| away(&error))?;
    ok(&LastEndReply { last_end })
}

fn ticket(shared: &Shared, caller: Caller, body: TicketBody) -> Result<Answer, Answer> {
    let parts = &shared.parts;
    let role = match (caller, body.login) {
        (
            Caller::Workload {
                camera,
                role: Role::Archiver,
                ..
            },
            None,
        ) if camera == body.camera => ReaderRole::Archiver,
        (
            Caller::Workload {
                role: Role::Archiver,
                ..
            },
            None,
        ) => return Err(Answer::refusal(403, "camera")),
        (Caller::FrontDoor { .. }, Some(login)) => ReaderRole::Viewer { login },
        _ => return Err(Answer::refusal(403, "role")),
    };
    let place = parts
        .places
        .place(&body.camera)
        .ok_or_else(|| Answer::refusal(503, "no_relay"))?;
    let now = Timestamp::from_millis(parts.clock.wall_ms());
    let ticket = Ticket {
        id: rand::random(),
        expires: now + LIFETIME,
        generation: place.generation,
        camera: body.camera,
        source: body.source,
        role,
        pod: place.pod,
    };
    let text = parts
        .tickets
        .sign(&ticket)
        .map_err(|_| Answer::refusal(400, "login"))?;
    ok(&TicketReply {
        ticket: text,
        address: place.address,
        key: place.key.to_string(),
        generation: place.generation,
    })
}
