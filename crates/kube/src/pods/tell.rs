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
use moorline_core::CameraId;

use super::view::Trouble;
use super::{Pods, Slot};
use crate::call::{CALL, call, chain};
use crate::names;
use crate::owned::Own;
use crate::resource::{Camera, ConditionKind};
use crate::status::Note;

/// A namespace whose quota is used up is tried again after so long, and at most after so long (agones#3384).
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);

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
    pub(super) async fn event(&self, id: &CameraId, camera: &Camera, trouble: &Trouble) {
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
            type_: Some("Warning".into()),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let parameters = PostParams::default();
        if let Err(fault) = call(&*self.clock, CALL, api.create(&parameters, &event)).await {
            tracing::debug!(camera = %id, fault = %chain(&fault), "an event was not told");
        }
    }
}

impl Pods {
    /// Writes what keeps the pods from running, or that nothing does any more. Nothing is written for what was said already.
    pub(super) async fn trouble(&self, slot: &Slot, own: &Own, trouble: Option<&Trouble>) {
        let said = trouble.map(|trouble| (trouble.reason.to_owned(), trouble.message.clone()));
        let changed = slot.with(|state| {
            let quiet = match (&state.said, &said) {
                // Its namespace waits because of what was said already.
                (Some(_), Some((reason, _))) if reason == "NamespaceWaits" => true,
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
        let mut note = Note::condition(ConditionKind::WorkloadsReady, ready, reason, message);
        if !ready {
            note = note.and(ConditionKind::Ready, false, reason, message);
            tracing::warn!(camera = %slot.camera, reason, message, "pods cannot run");
        }
        self.writer().note(&slot.camera, own.generation, note);
        if let (Some(trouble), Some(known)) = (trouble, self.writer().cache().camera(&slot.camera))
        {
            self.0
                .teller
                .event(&slot.camera, &known.object, trouble)
                .await;
        }
    }
}
