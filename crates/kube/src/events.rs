//! What happened to a camera or a tenant, as Events of its resource: in words, and with what to do about it.
//!
//! Nobody waits for an Event, and what happens to all cameras at once is no storm of writes: one a minute per object and reason, a few calls at a time
//! behind a short queue. A tenant has no more places in it than are left, so that its storm leaves room for the others. One that finds no room is not told: the
//! condition says the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource as _};
use moorline_base::SharedClock;
use moorline_base::rate::Limiter;
use moorline_base::untrusted::harmless_text;
use moorline_core::{CameraId, TenantId};

use crate::call::{CALL, Connection, Room, call, chain};
use crate::names;
use crate::resource::{Camera, Tenant};

/// Calls under way.
const CALLS: usize = 8;
/// Events that wait for one.
const WAITING: usize = 512;
/// The API server refuses a longer note, in bytes.
const NOTE: usize = 1_024;
/// Where the API server takes Events of what lies in no namespace.
const OF_THE_CLUSTER: &str = "default";

/// The type of an Event.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Grade {
    Normal,
    Warning,
}

impl Grade {
    pub(crate) fn of(well: bool) -> Self {
        if well { Self::Normal } else { Self::Warning }
    }
}

/// Of what an Event is.
struct Subject {
    name: String,
    namespace: String,
    /// In whose share it is told.
    tenant: TenantId,
    regarding: ObjectReference,
}

/// Events of this replica. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Connection,
    clock: SharedClock,
    /// Which part tells, `moorline.dev/mon`.
    part: &'static str,
    replica: String,
    /// By namespace, name and reason.
    told: Mutex<Limiter<[String; 3]>>,
    room: Room,
    seats: Arc<Seats>,
    /// Two of one camera in one millisecond have two names.
    count: AtomicU64,
}

impl Events {
    pub(crate) fn new(
        client: Client,
        clock: SharedClock,
        part: &'static str,
        replica: String,
    ) -> Self {
        Self(Arc::new(Inner {
            client: Connection(client),
            clock,
            part,
            replica,
            // kubespawner#913: 35k events in a namespace.
            told: Mutex::new(Limiter::new(1, 1.0 / 60.0, 10_000)),
            room: Room::of(CALLS),
            seats: Arc::default(),
            count: AtomicU64::new(0),
        }))
    }

    /// Tells it of a camera, by a task of its own. Never blocks.
    pub(crate) fn tell(
        &self,
        id: &CameraId,
        camera: &Camera,
        reason: &'static str,
        message: &str,
        grade: Grade,
    ) {
        let subject = Subject {
            name: id.name().to_owned(),
            namespace: names::namespace(id.tenant()),
            tenant: id.tenant().clone(),
            regarding: camera.object_ref(&()),
        };
        self.send(subject, reason, message, grade);
    }

    /// The same of a tenant.
    pub(crate) fn tell_of_tenant(
        &self,
        id: &TenantId,
        tenant: &Tenant,
        reason: &str,
        message: &str,
        grade: Grade,
    ) {
        let subject = Subject {
            name: id.to_string(),
            namespace: OF_THE_CLUSTER.to_owned(),
            tenant: id.clone(),
            regarding: tenant.object_ref(&()),
        };
        self.send(subject, reason, message, grade);
    }

    fn send(&self, subject: Subject, reason: &str, message: &str, grade: Grade) {
        let Some(seat) = self.0.seats.take(&subject.tenant) else {
            return;
        };
        let now = self.0.clock.monotonic();
        let may = {
            let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
            let key = [&*subject.namespace, &*subject.name, reason].map(str::to_owned);
            told.try_take(key, now).is_ok()
        };
        if !may {
            return;
        }
        let event = self.event(subject, reason, message, grade);
        let this = self.clone();
        tokio::spawn(async move {
            let _seat = seat;
            let (clock, client) = (&*this.0.clock, this.0.client.0.clone());
            let Ok(_place) = this.0.room.place(clock).await else {
                return;
            };
            let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
            let api: Api<Event> = Api::namespaced(client, namespace);
            let parameters = PostParams::default();
            if let Err(fault) = call(clock, CALL, api.create(&parameters, &event)).await {
                let reason = event.reason.as_deref();
                tracing::debug!(namespace, reason, fault = %chain(&fault), "an event was not told");
            }
        });
    }

    fn event(&self, subject: Subject, reason: &str, message: &str, grade: Grade) -> Event {
        let time = jiff::Timestamp::from_millisecond(self.0.clock.wall_ms()).unwrap_or_default();
        let count = self.0.count.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.{:x}.{count:x}", subject.name, time.as_nanosecond());
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(subject.namespace),
                ..ObjectMeta::default()
            },
            action: Some("LookAfter".into()),
            event_time: Some(MicroTime(time)),
            note: Some(note(message)),
            reason: Some(reason.into()),
            regarding: Some(subject.regarding),
            reporting_controller: Some(self.0.part.into()),
            reporting_instance: Some(self.0.replica.clone()),
            type_: Some(format!("{grade:?}")),
            ..Event::default()
        }
    }
}

/// How many Events of each tenant wait or are under way.
#[derive(Debug, Default)]
struct Seats(Mutex<BTreeMap<TenantId, usize>>);

/// Given back where it is dropped.
#[derive(Debug)]
struct Seat {
    seats: Arc<Seats>,
    tenant: TenantId,
}

impl Seats {
    /// One more for this tenant, if it has fewer than are left.
    fn take(self: &Arc<Self>, tenant: &TenantId) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = WAITING.saturating_sub(taken.values().sum());
        let own = taken.get(tenant).copied().unwrap_or_default();
        if own >= left {
            return None;
        }
        taken.insert(tenant.clone(), own + 1);
        Some(Seat {
            seats: Arc::clone(self),
            tenant: tenant.clone(),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.tenant);
            }
        }
    }
}

/// Words of cameras, pods and stores may be in it (rule S33): nothing that a terminal obeys, and cut before it would be refused.
fn note(message: &str) -> String {
    let mut note = harmless_text(message);
    while note.len() > NOTE {
        note.pop();
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_one_tenant_leaves_seats_to_the_others() {
        let seats = Arc::new(Seats::default());
        let (acme, other): (TenantId, TenantId) =
            ("acme".parse().unwrap(), "other".parse().unwrap());
        let mut storm: Vec<Seat> = std::iter::from_fn(|| seats.take(&acme)).collect();
        assert_eq!(storm.len(), WAITING / 2);
        let theirs: Vec<Seat> = std::iter::from_fn(|| seats.take(&other)).collect();
        assert_eq!(theirs.len(), WAITING / 4);
        assert!(seats.take(&acme).is_none(), "no more than before");
        storm.clear();
        drop(theirs);
        assert!(seats.0.lock().unwrap().is_empty(), "none is kept");
    }

    /// S33.
    #[test]
    fn a_note_is_short_enough_and_has_nothing_that_a_terminal_obeys() {
        assert_eq!(
            note("all\u{1b}[2J\u{202e} gone"),
            "all\\u{1b}[2J\\u{202e} gone"
        );
        let long = note(&"ü".repeat(1_000));
        assert_eq!(long, "ü".repeat(512));
        assert_eq!(note(&"\u{7}".repeat(1_000)).len(), NOTE);
    }
}
