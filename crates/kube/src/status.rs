//! The one writer of `Camera.status`: always a PUT with the resource version that was read, one camera at a time.
//!
//! Claims go at once. Everything else is a [`Note`]: notes of one camera are merged and written at most every 2 s, the first after quiet at
//! once; one that is overtaken by a newer claim is dropped. While the API server is away only the last state waits. Of all cameras so many are
//! written at once, and a claim never stands behind them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use moorline_base::{Backoff, CancellationToken, SharedClock};
use moorline_core::{CameraId, Generation};
use tokio::sync::oneshot;

use crate::cache::{Cache, Known};
use crate::call::{CALL, Connection, Fault, Room, call};
use crate::events::Events;
use crate::names;
use crate::owned::Owned;
use crate::resource::ready::settle;
use crate::resource::{Camera, CameraStatus, ConditionKind, Found, RelayStatus, set_condition};

/// One status write per camera in so long.
const EVERY: Duration = Duration::from_secs(2);
/// A conflict with another writer of conditions is tried again so often.
const CONFLICTS: usize = 4;

/// Writes under way, claims apart: a thousand tunnels that are lost together are a thousand notes.
const WRITES: usize = 32;

/// What is to be said of a camera.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Note {
    /// Conditions: whether each holds, its reason, its message.
    pub conditions: BTreeMap<ConditionKind, (bool, String, String)>,
    /// The relay in force; `Some(None)`: none.
    pub relay: Option<Option<RelayStatus>>,
    /// What its agent says of its streams.
    pub found: Option<Found>,
}

impl Note {
    /// One condition.
    pub fn condition(kind: ConditionKind, holds: bool, reason: &str, message: &str) -> Self {
        Self::default().and(kind, holds, reason, message)
    }

    /// And another.
    #[must_use]
    pub fn and(mut self, kind: ConditionKind, holds: bool, reason: &str, message: &str) -> Self {
        self.conditions
            .insert(kind, (holds, reason.to_owned(), message.to_owned()));
        self
    }

    /// A later note over this one.
    fn merge(&mut self, later: Self) {
        self.conditions.extend(later.conditions);
        self.relay = later.relay.or(self.relay.take());
        self.found = later.found.or(self.found.take());
    }

    /// Writes it into a status.
    pub(crate) fn apply(&self, status: &mut CameraStatus, now: jiff::Timestamp) {
        for (kind, (holds, reason, message)) in &self.conditions {
            set_condition(
                &mut status.conditions,
                kind.as_str(),
                *holds,
                reason,
                message,
                now,
            );
        }
        if let Some(relay) = &self.relay {
            status.relay = relay.clone();
        }
        if let Some(found) = &self.found {
            status.found = Some(found.clone());
        }
    }
}

#[derive(Debug, Default)]
struct Pending {
    generation: Generation,
    note: Note,
    waiting: Vec<oneshot::Sender<Result<(), Fault>>>,
    scheduled: bool,
    last: Option<Instant>,
}

/// What orders the writes of one camera.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Held while a write of this camera is under way.
    pub(crate) turn: tokio::sync::Mutex<()>,
    pending: Mutex<Pending>,
}

impl Lane {
    fn pending<T>(&self, change: impl FnOnce(&mut Pending) -> T) -> T {
        change(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes status. Clones are the same.
#[derive(Debug, Clone)]
pub struct StatusWriter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Connection,
    cache: Cache,
    owned: Owned,
    clock: SharedClock,
    events: Events,
    lanes: Mutex<HashMap<CameraId, Arc<Lane>>>,
    room: Room,
    stop: CancellationToken,
}

impl StatusWriter {
    /// A writer; what still waits when `stop` is cancelled is not written.
    pub fn new(
        client: Client,
        cache: Cache,
        owned: Owned,
        clock: SharedClock,
        stop: CancellationToken,
    ) -> Self {
        let replica = owned.replica().name.clone();
        Self(Arc::new(Inner {
            events: Events::new(
                client.clone(),
                Arc::clone(&clock),
                "moorline.dev/mon",
                replica,
            ),
            client: Connection(client),
            cache,
            owned,
            clock,
            lanes: Mutex::default(),
            room: Room::of(WRITES),
            stop,
        }))
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.0.cache
    }

    pub(crate) fn owned(&self) -> &Owned {
        &self.0.owned
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    /// What happened, in words, beside what is written.
    pub(crate) fn events(&self) -> &Events {
        &self.0.events
    }

    pub(crate) fn client(&self) -> &Client {
        &self.0.client.0
    }

    /// The wall clock, for times that are written.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0.clock.wall_ms()).unwrap_or_default()
    }

    /// Room for writes that are no claim. Taken before a camera's turn: whoever waits for a place holds up no claim of that camera.
    pub(crate) fn room(&self) -> &Room {
        &self.0.room
    }

    pub(crate) fn lane(&self, camera: &CameraId) -> Arc<Lane> {
        let mut lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        // A lane that nobody uses and that has nothing to say is made again when it is wanted.
        if lanes.len() >= 1_024 && lanes.len().is_power_of_two() {
            lanes
                .retain(|_, lane| Arc::strong_count(lane) > 1 || lane.pending(|own| own.scheduled));
        }
        Arc::clone(lanes.entry(camera.clone()).or_default())
    }

    fn api(&self, camera: &CameraId) -> Api<Camera> {
        Api::namespaced(self.0.client.0.clone(), &names::namespace(camera.tenant()))
    }

    /// Reads a camera past the cache, and lets the cache see it.
    pub(crate) async fn read(&self, id: &CameraId, limit: Duration) -> Result<Known, Fault> {
        let api = self.api(id);
        match call(&*self.0.clock, limit, api.get(id.name())).await {
            Ok(camera) => {
                self.0.cache.saw_camera(camera);
                self.0.cache.camera(id).ok_or(Fault::Missing)
            }
            Err(fault) => {
                if fault == Fault::Missing {
                    self.0.cache.camera_gone(id, None);
                }
                Err(fault)
            }
        }
    }

    /// The status that `change` makes of that of `base`, with what follows from it.
    fn changed(&self, base: &Known, change: impl FnOnce(&mut CameraStatus)) -> CameraStatus {
        let mut status = base.object.status.clone().unwrap_or_default();
        change(&mut status);
        let invalid = base.record.as_ref().err().map(ToString::to_string);
        settle(&mut status.conditions, invalid.as_deref(), self.now());
        status
    }

    /// One PUT of the status that `change` makes of `base`. The caller holds the camera's turn.
    pub(crate) async fn put(
        &self,
        base: &Known,
        limit: Duration,
        change: impl FnOnce(&mut CameraStatus),
    ) -> Result<(), Fault> {
        let mut object = Camera::clone(&base.object);
        let mut status = self.changed(base, change);
        status.records_under(&object.spec.retention);
        status.observed_generation = object.metadata.generation;
        object.status = Some(status);
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<Camera> = Api::namespaced(self.0.client.0.clone(), &namespace);
        let name = object.name_any();
        let parameters = PostParams::default();
        let put = api.replace_status(&name, &parameters, &object);
        let written = call(&*self.0.clock, limit, put).await?;
        self.0.cache.saw_camera(written);
        Ok(())
    }

    /// Changes the status of a camera that this replica holds under `generation`, until it is written. No write if nothing changes.
    ///
    /// # Errors
    /// [`Fault::Conflict`]: it is held by somebody else by now. [`Fault::Busy`]: others write it all the time, or other writes took all room. Otherwise
    /// the last fault.
    pub(crate) async fn put_own(
        &self,
        id: &CameraId,
        generation: Generation,
        change: impl Fn(&mut CameraStatus),
    ) -> Result<(), Fault> {
        let _place = self.0.room.place(&*self.0.clock).await?;
        let lane = self.lane(id);
        let _turn = lane.turn.lock().await;
        let mut known = self.0.cache.camera(id).ok_or(Fault::Missing)?;
        let mut last = Fault::Conflict;
        for _ in 0..CONFLICTS {
            let own = known.session().is_some_and(|session| {
                session.mon.as_deref() == Some(&self.0.owned.replica().name)
                    && Generation(session.generation) == generation
            });
            if !own {
                return Err(Fault::Conflict);
            }
            if known.object.status.as_ref() == Some(&self.changed(&known, &change)) {
                return Ok(());
            }
            match self.put(&known, CALL, &change).await {
                Ok(()) => return Ok(()),
                Err(fault @ (Fault::Conflict | Fault::Unknown(_))) => last = fault,
                Err(fault) => return Err(fault),
            }
            known = self.read(id, CALL).await?;
        }
        Err(match last {
            Fault::Conflict => Fault::Busy("others write this camera's status all the time".into()),
            silence => silence,
        })
    }

    /// Says something of a camera that this replica holds under `generation`. Never blocks.
    pub fn note(&self, camera: &CameraId, generation: Generation, note: Note) {
        self.queue(camera, generation, note, None);
    }

    /// As [`StatusWriter::note`], and returns once it is written.
    ///
    /// # Errors
    /// The fault, or [`Fault::Conflict`] if the camera is held by another replica by now.
    pub async fn noted(
        &self,
        camera: &CameraId,
        generation: Generation,
        note: Note,
    ) -> Result<(), Fault> {
        let (tell, told) = oneshot::channel();
        self.queue(camera, generation, note, Some(tell));
        told.await
            .unwrap_or_else(|_| Err(Fault::Unknown("the process stops".into())))
    }

    fn queue(
        &self,
        camera: &CameraId,
        generation: Generation,
        note: Note,
        tell: Option<oneshot::Sender<Result<(), Fault>>>,
    ) {
        let lane = self.lane(camera);
        let spawn = lane.pending(|pending| {
            if generation < pending.generation {
                return false;
            }
            if generation > pending.generation {
                pending.generation = generation;
                pending.note = Note::default();
                pending.waiting.clear();
            }
            pending.note.merge(note);
            pending.waiting.extend(tell);
            !std::mem::replace(&mut pending.scheduled, true)
        });
        if spawn {
            let (this, camera) = (self.clone(), camera.clone());
            tokio::spawn(async move { this.write_notes(camera, lane).await });
        }
    }

    /// Writes a camera's notes until there are none. Ends with them, or with the writer's stop.
    async fn write_notes(&self, camera: CameraId, lane: Arc<Lane>) {
        let mut backoff = Backoff::standard();
        let mut due = lane.pending(|pending| pending.last.map(|last| last + EVERY));
        loop {
            if let Some(due) = due.take()
                && moorline_base::clock::sleep_until(&*self.0.clock, due, &self.0.stop)
                    .await
                    .is_cancelled()
            {
                return;
            }
            let (generation, note, waiting) = lane.pending(|pending| {
                (
                    pending.generation,
                    std::mem::take(&mut pending.note),
                    std::mem::take(&mut pending.waiting),
                )
            });
            let now = self.now();
            let result = self
                .put_own(&camera, generation, |status| note.apply(status, now))
                .await;
            let instant = self.0.clock.monotonic();
            let again = match &result {
                Err(Fault::Unknown(_) | Fault::Busy(_)) => Some(backoff.next_delay()),
                Err(fault) => {
                    tracing::debug!(%camera, %generation, %fault, "a status was not written");
                    None
                }
                Ok(()) => None,
            };
            if let (Some(delay), Err(fault)) = (again, &result) {
                tracing::warn!(%camera, %fault, retry_in = ?delay, "a status waits for the API server");
                lane.pending(|pending| {
                    if pending.generation == generation {
                        let later = std::mem::replace(&mut pending.note, note);
                        pending.note.merge(later);
                        let later = std::mem::replace(&mut pending.waiting, waiting);
                        pending.waiting.extend(later);
                    }
                });
                due = Some(instant + delay);
                continue;
            }
            for tell in waiting {
                let _ = tell.send(result.clone());
            }
            let idle = lane.pending(|pending| {
                pending.last = Some(instant);
                let idle = pending.note == Note::default() && pending.waiting.is_empty();
                pending.scheduled = !idle;
                idle
            });
            if idle {
                return;
            }
            due = Some(instant + EVERY);
        }
    }
}
