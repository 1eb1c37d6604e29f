//! What the owner is told when pods cannot be: a condition, an Event, and a namespace that is left alone for a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client, Resource as _};
use moorline_base::backoff::Jitter;
use moorline_base::rate::Limiter;
use moorline_base::{Backoff, SharedClock};
use moorline_core::lifecycle::Role;
use moorline_core::port::PodUid;
use moorline_core::{CameraId, Timestamp};

use super::health::Scene;
use super::view::Trouble;
use super::{Pods, Slot};
use crate::cache::Known;
use crate::call::{CALL, Room, call, chain};
use crate::names;
use crate::owned::Own;
use crate::resource::ready::{FOLLOWS, find};
use crate::resource::{Camera, ConditionKind};
use crate::status::Note;

/// A namespace whose quota is used up is tried again after so long, and at most after so long (agones#3384).
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);

/// Events under way. One that finds no room is not told: the condition says the same.
const EVENTS: usize = 8;

/// The type of an Event.
#[derive(Debug, Clone, Copy)]
pub(super) enum Grade {
    Normal,
    Warning,
}

impl Grade {
    fn of(well: bool) -> Self {
        if well { Self::Normal } else { Self::Warning }
    }
}

struct Space {
    backoff: Backoff,
    not_before: Instant,
}

pub(super) struct Teller {
    client: Client,
    clock: SharedClock,
    replica: String,
    spaces: Mutex<HashMap<String, Space>>,
    events: Mutex<Limiter<(CameraId, String)>>,
    room: Room,
}

impl Teller {
    pub(super) fn new(client: Client, clock: SharedClock, replica: String) -> Self {
        Self {
            client,
            clock,
            replica,
            spaces: Mutex::default(),
            // One a minute per camera and reason (kubespawner#913: 35k events in a namespace).
            events: Mutex::new(Limiter::new(1, 1.0 / 60.0, 10_000)),
            room: Room::of(EVENTS),
        }
    }

    fn spaces<T>(&self, change: impl FnOnce(&mut HashMap<String, Space>) -> T) -> T {
        change(&mut self.spaces.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the namespace is left alone now, and for how long.
    pub(super) fn waits(&self, namespace: &str) -> Option<(Duration, Trouble)> {
        let now = self.clock.monotonic();
        let wait = self.spaces(|spaces| {
            let space = spaces.get(namespace)?;
            Some(space.not_before.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
        })?;
        let message = format!(
            "namespace {namespace} refused a pod a moment ago; it is tried again within minutes"
        );
        Some((
            wait,
            Trouble {
                reason: "NamespaceWaits",
                message,
            },
        ))
    }

    /// A write to the namespace failed: how long it is left alone.
    pub(super) fn failed(&self, namespace: &str) -> Duration {
        let now = self.clock.monotonic();
        self.spaces(|spaces| {
            let space = spaces.entry(namespace.to_owned()).or_insert_with(|| Space {
                backoff: Backoff::new(SHORTEST, LONGEST, LONGEST, Jitter::Equal)
                    .unwrap_or_else(|_| Backoff::standard()),
                not_before: now,
            });
            // One refusal counts once, however many cameras meet it.
            if space.not_before <= now {
                space.not_before = now + space.backoff.next_delay();
            }
            space.not_before.saturating_duration_since(now)
        })
    }

    /// A write to the namespace went through.
    pub(super) fn succeeded(&self, namespace: &str) {
        self.spaces(|spaces| spaces.remove(namespace));
    }

    /// Tells it as an Event of the Camera, at most once a minute per reason.
    pub(super) async fn event(
        &self,
        id: &CameraId,
        camera: &Camera,
        trouble: &Trouble,
        grade: Grade,
    ) {
        let now = self.clock.monotonic();
        let key = (id.clone(), trouble.reason.to_owned());
        let may = {
            let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            events.try_take(key, now).is_ok()
        };
        if !may {
            return;
        }
        let time = jiff::Timestamp::from_millisecond(self.clock.wall_ms()).unwrap_or_default();
        let namespace = names::namespace(id.tenant());
        let event = Event {
            metadata: kube::api::ObjectMeta {
                name: Some(format!("{}.{:x}", id.name(), time.as_nanosecond())),
                namespace: Some(namespace.clone()),
                ..Default::default()
            },
            action: Some("StartWorkloads".into()),
            event_time: Some(MicroTime(time)),
            note: Some(trouble.message.chars().take(1_000).collect()),
            reason: Some(trouble.reason.into()),
            regarding: Some(camera.object_ref(&())),
            reporting_controller: Some("moorline.dev/mon".into()),
            reporting_instance: Some(self.replica.clone()),
            type_: Some(format!("{grade:?}")),
            ..Event::default()
        };
        let Ok(_place) = self.room.place(&*self.clock).await else {
            return;
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let parameters = PostParams::default();
        if let Err(fault) = call(&*self.clock, CALL, api.create(&parameters, &event)).await {
            tracing::debug!(camera = %id, fault = %chain(&fault), "an event was not told");
        }
    }
}

impl Pods {
    /// Tells the owner which stream is recorded from now on, and why.
    pub(crate) async fn moved(
        &self,
        id: &CameraId,
        camera: &Camera,
        reason: &'static str,
        message: &str,
        well: bool,
    ) {
        let words = Trouble {
            reason,
            message: message.to_owned(),
        };
        let teller = &self.0.teller;
        teller.event(id, camera, &words, Grade::of(well)).await;
    }

    /// Writes what the pods say of themselves, where it differs from what is written, and tells it. Returns when to look again.
    pub(super) async fn health(
        &self,
        slot: &Slot,
        known: &Known,
        own: &Own,
        pods: &[(Role, PodUid)],
    ) -> Option<Duration> {
        if own.released || own.session.is_none() {
            return None;
        }
        // What was written since the pass began counts.
        let known = self
            .writer()
            .cache()
            .camera_by_uid(&slot.camera, &known.uid)?;
        let record = known.record.as_ref().ok()?;
        let scene = Scene {
            now: self.clock().monotonic(),
            wall: Timestamp::from_millis(self.clock().wall_ms()),
            generation: own.generation,
            camera: record,
            pods,
            conditions: known.conditions(),
        };
        let (words, look) = slot.with(|state| state.health.judge(&scene));
        for word in words {
            let (kind, reason) = (word.kind, word.reason);
            if word.holds {
                tracing::info!(camera = %slot.camera, condition = kind.as_str(), reason, "it is well again");
            } else {
                let message = &word.message;
                tracing::warn!(camera = %slot.camera, condition = kind.as_str(), reason, message, "a condition does not hold");
            }
            let note = Note::condition(kind, word.holds, reason, &word.message);
            self.writer().note(&slot.camera, own.generation, note);
            let message = match word.holds {
                true => format!("{} holds again", kind.as_str()),
                false => format!("{}: {}", kind.as_str(), word.message),
            };
            let trouble = Trouble { reason, message };
            let grade = Grade::of(word.holds);
            let teller = &self.0.teller;
            teller
                .event(&slot.camera, &known.object, &trouble, grade)
                .await;
        }
        look
    }

    /// Writes what keeps the pods from running, or that nothing does any more. Nothing is written for what was said already.
    pub(super) async fn trouble(&self, slot: &Slot, own: &Own, trouble: Option<&Trouble>) {
        let trouble = trouble.map(advised);
        let trouble = trouble.as_ref();
        let said = trouble.map(|trouble| (trouble.reason.to_owned(), trouble.message.clone()));
        let known = self.writer().cache().camera(&slot.camera);
        let says_trouble = known.as_ref().is_some_and(|known| {
            find(known.conditions(), ConditionKind::WorkloadsReady).is_some_and(|said| {
                said.status != "True" && !FOLLOWS.contains(&said.reason.as_str())
            })
        });
        let changed = slot.with(|state| {
            let quiet = match (&state.said, &said) {
                // Its namespace waits because of what was said already.
                (Some(_), Some((reason, _))) if reason == "NamespaceWaits" => true,
                // What an earlier holder said is over.
                (None, None) => !says_trouble,
                (before, now) => before == now,
            };
            if !quiet {
                state.said = said;
            }
            !quiet
        });
        if !changed {
            return;
        }
        let (ready, reason, message) = match trouble {
            Some(trouble) => (false, trouble.reason, trouble.message.as_str()),
            None => (true, "Running", ""),
        };
        let note = Note::condition(ConditionKind::WorkloadsReady, ready, reason, message);
        if !ready {
            tracing::warn!(camera = %slot.camera, reason, message, "pods cannot run");
        }
        self.writer().note(&slot.camera, own.generation, note);
        if let (Some(trouble), Some(known)) = (trouble, known) {
            self.0
                .teller
                .event(&slot.camera, &known.object, trouble, Grade::Warning)
                .await;
        }
    }
}

/// The cluster's words, and what to do about it.
fn advised(trouble: &Trouble) -> Trouble {
    let advice = match trouble.reason {
        "QuotaExceeded" => {
            "raise the tenant's bound, moorline tenant set TENANT --cameras N --cluster, or disable cameras"
        }
        "Forbidden" => "look at the rights of mon's account and at the admission policies",
        "Unschedulable" => "add a node, or lower what the CameraClass requests",
        "ImageMissing" => "look at the image of the CameraClass, and at the pull secret",
        "ConfigMissing" => {
            "look at what the pod mounts: kubectl describe pod says which is missing"
        }
        "CannotStart" => {
            "look at the image of the CameraClass: it has to be of the release of mon, or of a newer one, and for the node's kind of processor"
        }
        "Crashing" => "look at the pod's log: kubectl logs --previous",
        "OutOfMemory" => "raise the memory of the CameraClass",
        "TooManyPending" => "look at what those wait for first",
        // The others say it themselves, or need no more than time.
        _ => "",
    };
    let parts = [trouble.message.as_str(), advice];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Trouble {
        reason: trouble.reason,
        message: parts.join("; "),
    }
}
