//! What the owner is told when pods cannot be: a condition, an Event, and a namespace that is left alone for a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use moorline_base::backoff::Jitter;
use moorline_base::{Backoff, SharedClock};
use moorline_core::lifecycle::Role;
use moorline_core::port::PodUid;
use moorline_core::{CameraId, Timestamp};

use super::health::Scene;
use super::template::spool_bytes;
use super::view::Trouble;
use super::{Pods, Slot};
use crate::cache::Known;
use crate::events::Grade;
use crate::owned::Own;
use crate::resource::ready::{FOLLOWS, find};
use crate::resource::{Camera, CameraClassSpec, ConditionKind};
use crate::status::Note;

/// A namespace whose quota is used up is tried again after so long, and at most after so long (agones#3384).
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);

struct Space {
    backoff: Backoff,
    not_before: Instant,
}

pub(super) struct Teller {
    clock: SharedClock,
    spaces: Mutex<HashMap<String, Space>>,
}

impl Teller {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            spaces: Mutex::default(),
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
}

impl Pods {
    /// Tells the owner which stream is recorded from now on, and why.
    pub(crate) fn moved(
        &self,
        id: &CameraId,
        camera: &Camera,
        reason: &'static str,
        message: &str,
        well: bool,
    ) {
        let events = self.writer().events();
        events.tell(id, camera, reason, message, Grade::of(well));
    }

    /// Tells the owner what happened to a camera's pods.
    pub(super) fn tell(
        &self,
        slot: &Slot,
        known: &Known,
        reason: &'static str,
        message: &str,
        grade: Grade,
    ) {
        let events = self.writer().events();
        events.tell(&slot.camera, &known.object, reason, message, grade);
    }

    /// Writes what the pods say of themselves, where it differs from what is written, and tells it. Returns when to look again.
    pub(super) fn health(
        &self,
        slot: &Slot,
        known: &Known,
        own: &Own,
        class: Option<&CameraClassSpec>,
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
            spool: class.and_then(|class| spool_bytes(&class.archiver.spool).ok()),
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
            self.tell(slot, &known, reason, &message, Grade::of(word.holds));
        }
        look
    }

    /// Writes what keeps the pods from running, or that nothing does any more. Nothing is written for what was said already.
    pub(super) fn trouble(&self, slot: &Slot, own: &Own, trouble: Option<&Trouble>) {
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
        if let Some(known) = known {
            let told = match ready {
                true => "WorkloadsReady holds again",
                false => message,
            };
            self.tell(slot, &known, reason, told, Grade::of(ready));
        }
    }
}

/// The cluster's words, and what to do about it.
pub(super) fn advised(trouble: &Trouble) -> Trouble {
    let advice = match trouble.reason {
        "QuotaExceeded" => {
            "raise the tenant's bound, moorline tenant set TENANT --cameras N --cluster, or disable cameras"
        }
        "Forbidden" => {
            "look at the tenant, moorline tenant show TENANT --cluster, at the rights of mon's account and at the admission policies"
        }
        "Invalid" => {
            "put right what this names: the CameraClass, or admissionPolicies of the chart"
        }
        "Missing" => {
            "look at the tenant's namespace: moorline tenant show TENANT --cluster says what keeps it from being made"
        }
        "ClassNotAllowed" => {
            "give the camera another class, or allow it: moorline tenant set TENANT --class NAME --cluster"
        }
        "ClassMissing" => "make it, or give the camera another class: kubectl get cameraclasses",
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
        "TooManyStarts" => {
            "look at what ends them, kubectl get pods,events in its namespace, and at who changes the Camera or its class"
        }
        "Busy" | "Unreachable" => {
            "look at the control plane if it stays so: it is tried again by itself"
        }
        // The others need no more than time.
        _ => "",
    };
    let parts = [trouble.message.as_str(), advice];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Trouble {
        reason: trouble.reason,
        message: parts.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Fault;

    #[test]
    fn whatever_keeps_pods_from_running_is_told_with_what_to_do() {
        let faults = [
            Fault::Missing,
            Fault::Quota("full".into()),
            Fault::Forbidden("no".into()),
            Fault::Invalid("an image".into()),
            Fault::Busy("slow down".into()),
            Fault::Unknown("silence".into()),
        ];
        let of_calls = faults.iter().map(Fault::reason);
        let of_pods = [
            "Unschedulable",
            "ImageMissing",
            "ConfigMissing",
            "OutOfMemory",
            "Crashing",
            "ClassMissing",
            "ClassNotAllowed",
            "TooManyPending",
            "TooManyStarts",
        ];
        for reason in of_calls.chain(of_pods) {
            let message = "what the cluster says".to_owned();
            let told = advised(&Trouble { reason, message }).message;
            let (says, advice) = told.split_once("; ").unwrap_or_default();
            assert_eq!(says, "what the cluster says", "{reason}");
            assert!(advice.contains(' '), "{reason}: nothing says what to do");
        }
    }
}
