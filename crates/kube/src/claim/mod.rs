//! `Claims` over `Camera.status`: one compare-and-swap per tunnel.
//!
//! Owns: the write that fences, in every branch of [`rule`]; what becomes of a claim whose caller has gone away; the claims that wait while
//! the API server is away. Does not own: sessions (it hears of them by [`KubeClaims::events`]) and workloads.
//!
//! Rules: P1 (the newest connection wins), S5 (claims draw from a bucket per tenant before the one of this replica).

mod book;
mod provisional;
mod rule;
mod told;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use moorline_base::CancellationToken;
use moorline_base::clock::timeout;
use moorline_base::rate::{Limiter, TokenBucket};
use moorline_core::lifecycle::EndReason;
use moorline_core::port::{ClaimError, Claims, Memory, PortError, Sessions, TunnelEvents};
use moorline_core::{CameraId, Generation, SessionId, TenantId};

pub(crate) use book::Book;
pub use book::SessionEvents;

use crate::cache::Known;
use crate::call::Fault;
use crate::freshness::Freshness;
use crate::memories::remembered;
use crate::owned::Own;
use crate::resource::ready::{DRAINING, LOST, find};
use crate::resource::{ConditionKind, GREATEST_GENERATION, Newer, Session};
use crate::status::{Note, StatusWriter};
use rule::{Intent, Verdict, judge};

const OPERATION: &str = "claim a camera";
const CROWDED: &str = "others write this camera all the time";
/// All of a claim, its turn in the buckets included: the port says 5 s.
const DEADLINE: Duration = Duration::from_millis(4_800);
/// One write: what is left is for reading what became of it.
const WRITE: Duration = Duration::from_millis(2_500);
/// A claim that was not taken because the server is busy is tried again after so long.
const PAUSE: Duration = Duration::from_millis(100);
/// Claims of this replica per second, and at once.
const RATE: (f64, u32) = (50.0, 100);
/// Claims of one tenant per second, and at once.
const TENANT_RATE: (f64, u32) = (25.0, 200);
/// A lost tunnel is written after so long: a shorter flap writes nothing.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// `Claims` of this replica. Clones are the same.
#[derive(Clone)]
pub struct KubeClaims(Arc<Inner>);

struct Inner {
    writer: StatusWriter,
    book: Book,
    buckets: Mutex<Buckets>,
    sessions: Arc<dyn Sessions>,
    freshness: Freshness,
    stop: CancellationToken,
}

struct Buckets {
    all: TokenBucket,
    tenants: Limiter<TenantId>,
}

impl std::fmt::Debug for KubeClaims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeClaims")
            .field("replica", self.0.writer.owned().replica())
            .finish_non_exhaustive()
    }
}

/// How a claim ended.
enum Outcome {
    Taken(Own),
    /// The API server is away: served under this generation until it can be written.
    Provisional(Own),
}

impl KubeClaims {
    /// Claims of this replica. `sessions` is told when one is superseded, `freshness` is the directory's; what is under way when `stop` is cancelled
    /// ends.
    pub fn new(
        writer: StatusWriter,
        sessions: Arc<dyn Sessions>,
        freshness: Freshness,
        stop: CancellationToken,
    ) -> Self {
        let now = writer.clock().monotonic();
        Self(Arc::new(Inner {
            book: Book::default(),
            buckets: Mutex::new(Buckets {
                all: TokenBucket::new(RATE.1, RATE.0, now),
                tenants: Limiter::new(TENANT_RATE.1, TENANT_RATE.0, 10_000),
            }),
            writer,
            sessions,
            freshness,
            stop,
        }))
    }

    /// What stands between the tunnel and the monitor: it passes everything on, and remembers where sessions come from and that they live.
    pub fn events(&self, next: Arc<dyn TunnelEvents>) -> SessionEvents {
        SessionEvents::new(self.clone(), next)
    }

    pub(crate) fn book(&self) -> &Book {
        &self.0.book
    }

    fn buckets<T>(&self, take: impl FnOnce(&mut Buckets) -> T) -> T {
        take(
            &mut self
                .0
                .buckets
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Waits for a turn: the tenant's first, then the replica's, so that one tenant's herd waits in its own bucket.
    async fn turn(&self, camera: &CameraId, until: Instant) -> Result<(), ClaimError> {
        let of_tenant =
            |buckets: &mut Buckets, now| buckets.tenants.try_take(camera.tenant().clone(), now);
        self.wait_for(until, of_tenant).await?;
        self.wait_for(until, |buckets, now| buckets.all.try_take(now))
            .await
    }

    async fn wait_for(
        &self,
        until: Instant,
        take: impl Fn(&mut Buckets, Instant) -> Result<(), Duration>,
    ) -> Result<(), ClaimError> {
        loop {
            let now = self.0.writer.clock().monotonic();
            let Err(wait) = self.buckets(|buckets| take(buckets, now)) else {
                return Ok(());
            };
            if now + wait >= until {
                let cause = "too many claims at once; the camera tries again";
                return Err(PortError::new(OPERATION, cause).into());
            }
            self.pause(now + wait.max(Duration::from_millis(1))).await?;
        }
    }

    async fn pause(&self, until: Instant) -> Result<(), ClaimError> {
        let clock = self.0.writer.clock();
        match moorline_base::clock::sleep_until(&**clock, until, &self.0.stop).await {
            slept if slept.is_cancelled() => {
                Err(PortError::new(OPERATION, "the process stops").into())
            }
            _ => Ok(()),
        }
    }

    /// The whole claim. Runs to its end whatever becomes of its caller; takes nothing for a session that has ended.
    async fn run(&self, camera: CameraId, session: SessionId) -> Result<Generation, ClaimError> {
        let clock = Arc::clone(self.0.writer.clock());
        let until = clock.monotonic() + DEADLINE;
        self.turn(&camera, until).await?;
        let lane = self.0.writer.lane(&camera);
        let left = until.saturating_duration_since(clock.monotonic());
        let Ok(_turn) = timeout(&*clock, left, lane.turn.lock()).await else {
            return Err(PortError::new(OPERATION, CROWDED).into());
        };
        let outcome = self.compare_and_swap(&camera, session, until).await?;
        let owned = self.0.writer.owned();
        let own = match outcome {
            Outcome::Taken(own) => own,
            Outcome::Provisional(own) => {
                tracing::warn!(%camera, generation = %own.generation, "the API server is away: served under a claim that is still to be written");
                self.0.writer.cache().gave(&camera, own.generation);
                self.write_later(camera.clone(), own.clone());
                own
            }
        };
        let generation = own.generation;
        self.0.book.claimed(session);
        owned.put(&camera, own);
        Ok(generation)
    }

    async fn compare_and_swap(
        &self,
        camera: &CameraId,
        session: SessionId,
        until: Instant,
    ) -> Result<Outcome, ClaimError> {
        let (writer, clock) = (&self.0.writer, self.0.writer.clock());
        let unknown = || ClaimError::Unknown(camera.clone());
        let served = |known: Option<Known>| {
            let known = known.filter(|known| !known.is_leaving());
            known.ok_or_else(unknown)
        };
        let mut known = served(writer.cache().camera(camera))?;
        // While it waited for its turn the session may have ended, and the camera may be served elsewhere by now.
        let over = || PortError::new(OPERATION, "the session has ended");
        let facts = self.0.book.facts(session).ok_or_else(over)?;
        let mut intent = Intent {
            mon: writer.owned().replica().name.clone(),
            since: facts.since,
            peer: facts.peer.map(|peer| peer.to_string()),
            read: Generation::default(),
            wanted: Generation::default(),
        };
        let lives = || self.0.book.facts(session).is_some();
        let newer = || PortError::new(OPERATION, "a newer connection of this camera has it");
        loop {
            if !lives() {
                return Err(over().into());
            }
            // It has served, and claims again: whoever was claimed elsewhere meanwhile is the newer connection.
            let mon = known.session().and_then(|session| session.mon.as_deref());
            if facts.claimed && mon.is_some_and(|mon| mon != intent.mon) {
                self.tell_newer(camera, &known, intent.peer.as_deref());
                return Err(newer().into());
            }
            intent.read = known.generation();
            intent.wanted = intent.read.max(writer.cache().greatest(camera)).next();
            if intent.wanted.0 > GREATEST_GENERATION {
                return Err(PortError::new(
                    OPERATION,
                    "the camera has used up its generations: remove it and add it again",
                )
                .into());
            }
            let own = |provisional| Own {
                uid: known.uid.clone(),
                generation: intent.wanted,
                session: Some(session),
                since: intent.since,
                provisional,
                found_draining: is_draining(&known),
                released: false,
                waits: None,
                left: remembered(&known),
            };
            let left = until.saturating_duration_since(clock.monotonic());
            let note = connected();
            let time = writer.now();
            let written = writer
                .put(&known, left.min(WRITE), |status| {
                    status.claimed(self.session(&intent));
                    status.away = None;
                    note.apply(status, time);
                })
                .await;
            let fault = match written {
                Ok(()) => {
                    self.tell_where_it_was(camera, &known);
                    return Ok(Outcome::Taken(own(false)));
                }
                Err(Fault::Missing) => {
                    writer.cache().camera_gone(camera, Some(&known.uid));
                    return Err(unknown());
                }
                Err(fault @ (Fault::Conflict | Fault::Unknown(_) | Fault::Busy(_))) => fault,
                Err(fault) => return Err(fault.port(OPERATION).into()),
            };
            if let Fault::Busy(_) = fault {
                self.pause((clock.monotonic() + PAUSE).min(until)).await?;
            }
            let left = until.saturating_duration_since(clock.monotonic());
            let read = writer.read(camera, left.min(WRITE)).await;
            let found = match read {
                Ok(found) => found,
                Err(Fault::Missing) => return Err(unknown()),
                Err(Fault::Unknown(_) | Fault::Busy(_)) if lives() => {
                    return Ok(Outcome::Provisional(own(true)));
                }
                Err(fault) => return Err(fault.port(OPERATION).into()),
            };
            let same = found.uid == known.uid;
            match judge(&intent, found.session().filter(|_| same), lives()) {
                Verdict::Taken => {
                    self.tell_where_it_was(camera, &known);
                    return Ok(Outcome::Taken(own(false)));
                }
                Verdict::Again if clock.monotonic() < until => known = served(Some(found))?,
                Verdict::Again => return Err(PortError::new(OPERATION, CROWDED).into()),
                Verdict::Lost => {
                    self.tell_newer(camera, &found, intent.peer.as_deref());
                    return Err(newer().into());
                }
            }
        }
    }

    fn session(&self, intent: &Intent) -> Session {
        Session {
            generation: intent.wanted.0,
            mon: Some(intent.mon.clone()),
            address: Some(self.0.writer.owned().replica().gateway.to_string()),
            since: Some(intent.since),
            peer: intent.peer.clone(),
            newer: Newer::new(),
        }
    }

    /// A session that was claimed has ended: unless it comes back, it is written after 5 s.
    pub(crate) fn lost(&self, session: SessionId) {
        let Some((camera, own)) = self.0.writer.owned().of_session(session) else {
            return;
        };
        let this = self.clone();
        tokio::spawn(async move {
            let clock = this.0.writer.clock();
            let slept = moorline_base::clock::sleep(&**clock, LOST_AFTER, &this.0.stop).await;
            let same = this.0.writer.owned().get(&camera);
            let same = same.is_some_and(|now| now.generation == own.generation && !now.released);
            if !slept.is_cancelled() && same {
                this.0.writer.note(&camera, own.generation, lost());
                this.tell_lost(&camera);
            }
        });
    }
}

/// The condition of a claim.
fn connected() -> Note {
    Note::condition(ConditionKind::Connected, true, "Claimed", "")
}

/// The condition of a claim whose tunnel is gone and may come back.
fn lost() -> Note {
    Note::condition(ConditionKind::Connected, false, LOST, told::LOST)
}

/// The condition of a claim that was given back.
fn draining() -> Note {
    let message = "the tunnel is over; the archiver uploads what it has";
    Note::condition(ConditionKind::Connected, false, DRAINING, message)
}

/// Whether the pods of this camera were told to drain before the claim.
fn is_draining(known: &Known) -> bool {
    find(known.conditions(), ConditionKind::Connected)
        .is_some_and(|condition| condition.reason == DRAINING)
}

#[async_trait]
impl Claims for KubeClaims {
    async fn claim(&self, camera: &CameraId, session: SessionId) -> Result<Generation, ClaimError> {
        let (this, id) = (self.clone(), camera.clone());
        let (tell, told) = tokio::sync::oneshot::channel();
        // A task of its own: a caller that gives up must not leave a claim that nobody knows of.
        tokio::spawn(async move {
            // Held here, and not only given back: then the monitor orders what becomes of its pods.
            let before = this.0.writer.owned().get(&id);
            let held = before.as_ref().is_some_and(|own| own.waits.is_none());
            let result = this.run(id.clone(), session).await;
            if let Err(Ok(generation)) = tell.send(result) {
                tracing::warn!(camera = %id, %generation, "a claim came after its session had gone and is given back");
                let given = match held {
                    true => this.release(&id, generation).await,
                    false => this.give_back(&id, generation).await,
                };
                if let Err(error) = given {
                    tracing::warn!(camera = %id, %generation, %error, "a claim was not given back");
                }
                // What it serves is of an older generation now, and nobody here knows of the newer one: the camera calls anew.
                let serving = before.and_then(|own| own.session);
                if let Some(older) = serving.filter(|older| *older != session) {
                    this.0.sessions.end(older, EndReason::ClaimLost);
                }
            }
        });
        told.await
            .unwrap_or_else(|_| Err(PortError::new(OPERATION, "the process stops").into()))
    }

    async fn release(&self, camera: &CameraId, generation: Generation) -> Result<(), PortError> {
        let released = |own: &mut Own| {
            own.released = true;
            own.waits = None;
        };
        let owned = self.0.writer.owned();
        if !owned.change(camera, generation, released) {
            return Ok(());
        }
        self.say(camera, generation, draining()).await
    }

    async fn give_back(&self, camera: &CameraId, generation: Generation) -> Result<(), PortError> {
        let now = self.0.writer.clock().monotonic();
        let mut note = draining();
        let given = |own: &mut Own| {
            own.released = true;
            // What an earlier holder told to drain is not used again.
            if !own.found_draining {
                own.waits = Some(now);
                note = lost();
            }
        };
        if !self.0.writer.owned().change(camera, generation, given) {
            return Ok(());
        }
        self.say(camera, generation, note).await
    }

    fn left(&self, camera: &CameraId, generation: Generation) -> Option<Memory> {
        let own = self.0.writer.owned().get(camera)?;
        own.left.filter(|_| own.generation == generation)
    }

    fn hold(&self) -> Duration {
        let now = self.0.writer.clock().monotonic();
        self.0.freshness.unsettled(now)
    }
}

impl KubeClaims {
    /// Writes what became of a claim that was given back.
    async fn say(
        &self,
        camera: &CameraId,
        generation: Generation,
        note: Note,
    ) -> Result<(), PortError> {
        let now = self.0.writer.now();
        let written = self
            .0
            .writer
            .put_own(camera, generation, |status| note.apply(status, now))
            .await;
        match written {
            Ok(()) | Err(Fault::Missing | Fault::Conflict) => Ok(()),
            Err(fault) => Err(fault.port("release a camera")),
        }
    }
}
