//! One pass over one camera's pods: look, plan, do. What is looked at and when to look next stands here; what is done is in `assign` and `carry_out`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::config::HumanDuration;
use moorline_core::CameraId;
use moorline_core::camera::Record;
use moorline_core::lifecycle::Role;
use moorline_core::port::PodUid;

use super::plan::{Plan, Replace, Situation, Step, Wanted, plan};
use super::tell::advised;
use super::template::shape;
use super::view::{PodView, Trouble};
use super::{LOOK_AGAIN, Pods, Slot};
use crate::cache::Known;
use crate::events::Grade;
use crate::names;
use crate::resource::CameraClassSpec;

/// An archiver is waited for so long where the class says nothing that can be read.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// So long a place for successors is waited for (a node that is added takes a minute or two) before pods are replaced in place.
const PLACE: Duration = Duration::from_secs(120);

/// After something was done, to see what came of it.
const SOON: Duration = Duration::from_millis(20);

/// When to look next.
pub(super) enum Next {
    Look(Duration),
    End,
}

impl Pods {
    pub(super) fn patience(&self, camera: &CameraId) -> Duration {
        let class = self.class_of(camera);
        let patience = class.and_then(|class| class.drain_patience.parse::<HumanDuration>().ok());
        patience.map_or(PATIENCE, HumanDuration::get)
    }

    fn class_of(&self, camera: &CameraId) -> Option<Arc<CameraClassSpec>> {
        let cache = self.writer().cache();
        cache.class(&cache.camera(camera)?.object.spec.class)
    }

    pub(super) async fn pass(&self, slot: &Slot) -> Next {
        let owned = self.writer().owned();
        let known = self.writer().cache().camera(&slot.camera);
        let own = owned
            .get(&slot.camera)
            .filter(|own| owned.still_holds(own, known.as_ref()));
        let (Some(known), Some(own)) = (known, own) else {
            self.let_go(slot);
            return Next::End;
        };
        if own.waits.is_some() && slot.with(|state| state.is_empty()) {
            // An earlier holder's pods wait for the camera: the janitor says when they have waited long enough.
            return Next::Look(LOOK_AGAIN);
        }
        let pods = self.0.pods.of(&known.uid);
        self.deaths(slot, &known, &pods);
        if own.found_draining {
            // What an earlier holder told to drain is not used again.
            let standing = pods.iter().filter(|pod| !pod.deleting);
            let orphans: Vec<_> = standing.map(|pod| (pod.role, pod.uid.clone())).collect();
            self.orphan(slot, &known, &own, &orphans);
            owned.change(&slot.camera, own.generation, |own| {
                own.found_draining = false
            });
        }
        let now = self.clock().monotonic();
        let patience = self.patience(&slot.camera);
        let class = self.writer().cache().class(&known.object.spec.class);
        let spec = slot.with(|state| state.wanted.clone());
        let shaped = match (&spec, self.shaped(&slot.camera, &known, class.as_deref())) {
            (None, _) => Ok(None),
            (Some(spec), Ok(class)) => Ok(Some((spec, class))),
            (Some(_), Err(trouble)) => Err(trouble),
        };
        let wanted = shaped
            .as_ref()
            .ok()
            .copied()
            .flatten()
            .map(|(spec, class)| Wanted {
                shape: shape(&known.object, class),
                archiver: spec.camera.record != Record::Off,
            });
        if let Err(trouble) = shaped {
            // Nothing is made, and nothing that runs is touched, until somebody has acted.
            self.trouble(slot, &own, Some(&trouble));
            return Next::Look(LOOK_AGAIN);
        }
        let (leaving, used, connected, turn) = slot.with(|state| {
            let used: Option<BTreeSet<PodUid>> = state
                .current()
                .map(|set| set.pods.keys().cloned().collect());
            (
                state.progress(now, patience),
                used.unwrap_or_default(),
                state.connections.standing(),
                state.replacing.is_some(),
            )
        });
        let situation = |replace| Situation {
            camera: slot.camera.name(),
            wanted: wanted.as_ref(),
            pods: &pods,
            leaving: &leaving,
            replace,
            used: &used,
            connected: &connected,
        };
        let mut replace = match turn {
            true => self.way(slot, &pods, wanted.as_ref()),
            false => Replace::NotYet,
        };
        let mut decided = plan(&situation(replace));
        if decided.outdated && !turn && self.may_replace(slot) {
            replace = Replace::Beside;
            decided = plan(&situation(replace));
        }
        if decided.creates_spare() && slot.with(|state| state.spare_after > Some(now)) {
            decided
                .steps
                .retain(|step| !matches!(step, Step::Create { .. }));
        }
        if replace == Replace::InPlace
            && decided.creates()
            && let Err((wait, trouble)) = self.may_create(&names::namespace(slot.camera.tenant()))
        {
            // What serves is not given up for what may not be made yet.
            self.trouble(slot, &own, Some(&trouble));
            return Next::Look(wait);
        }
        let at_work = wanted.is_none() || self.works(&known, &pods, &decided);
        slot.with(|state| {
            state.queued &= decided.outdated;
            // The next camera's turn comes when these work: a rollout that breaks pods stops after a few. And when the old ones are gone: while the
            // store is away archivers stay, each with its spool's room, and the quota has none for a third pod of every camera.
            let left = state.sets.iter().all(|set| set.leaving.is_none());
            if !decided.outdated && at_work && left {
                state.replacing = None;
                state.squeezed = None;
                state.over_quota = false;
                state.spare_after = None;
            }
            state
                .connections
                .retain(|uid| pods.iter().any(|pod| pod.uid == *uid));
        });
        self.given_up(slot, &known, &pods, &leaving, &decided);
        self.leave(slot, &known, &own, &decided);
        if let Some(spec) = spec {
            self.assign(slot, &own, spec, &decided);
        }
        let done = self
            .carry_out(slot, &known, class.as_deref(), &decided)
            .await;
        self.tell_ended(slot);
        let incomplete = !decided.steps.is_empty();
        let (wait, fault) = match done {
            Ok(()) => (None, None),
            Err((wait, trouble)) => (Some(wait), Some(trouble)),
        };
        let pods = self.0.pods.of(&known.uid);
        let is_used = |pod: &PodView| decided.current.iter().any(|(_, uid)| *uid == pod.uid);
        let mut stuck = pods
            .iter()
            .filter(|pod| !pod.deleting && pod.trouble.is_some());
        // The camera is recorded all the same while a successor does not start.
        if let Some(waits) = stuck.clone().find(|pod| decided.outdated && !is_used(pod))
            && let Some(trouble) = &waits.trouble
        {
            let Trouble { reason, message } = advised(trouble);
            self.tell(slot, &known, reason, &message, Grade::Warning);
        }
        let stuck = stuck.find(|pod| !decided.outdated || is_used(pod));
        let trouble = fault.or(stuck.and_then(|pod| pod.trouble.clone()));
        if trouble.is_some() || !incomplete {
            self.trouble(slot, &own, trouble.as_ref());
        }
        if let Some(wait) = wait {
            return Next::Look(wait);
        }
        let look = self.health(slot, &known, &own, class.as_deref(), &decided.current);
        if incomplete {
            return Next::Look(SOON);
        }
        if !slot.with(|state| state.is_empty()) || !self.nothing_stands(&known) {
            let overdue = slot.with(|state| state.sets.iter().filter_map(|set| set.leaving).min());
            let wait = overdue.map_or(LOOK_AGAIN, |since| {
                (since + patience).saturating_duration_since(now)
            });
            let wait = look.map_or(wait, |look| wait.min(look));
            return Next::Look(wait.max(Duration::from_millis(100)));
        }
        self.finish(slot, &known, &own).await
    }

    /// How the pods of a camera whose turn it is are replaced.
    fn way(&self, slot: &Slot, pods: &[Arc<PodView>], wanted: Option<&Wanted>) -> Replace {
        let now = self.clock().monotonic();
        let shape = wanted.map(|wanted| wanted.shape.as_str());
        let troubles = || {
            let successors = pods.iter().filter(|pod| pod.shape.as_deref() == shape);
            let troubles = successors.filter(|pod| !pod.deleting);
            troubles.filter_map(|pod| Some(pod.trouble.as_ref()?.reason))
        };
        let no_node = troubles().any(|reason| reason == "Unschedulable");
        // For an image that does not start no pod that works is given up.
        let broken = troubles().any(|reason| reason != "Unschedulable");
        slot.with(|state| {
            if broken || !no_node && !state.over_quota {
                state.squeezed = None;
                return Replace::Beside;
            }
            let since = *state.squeezed.get_or_insert(now);
            match now.saturating_duration_since(since) < PLACE {
                true => Replace::Beside,
                false => Replace::InPlace,
            }
        })
    }

    /// Takes one of the places for cameras whose pods are replaced; else the camera waits for one.
    fn may_replace(&self, slot: &Slot) -> bool {
        let place = Arc::clone(&self.0.replacing).try_acquire_owned().ok();
        slot.with(|state| {
            state.queued = place.is_none();
            state.replacing = place;
            !state.queued
        })
    }

    /// Whether the pods that are used run, and the relay has said its key: so it may be read.
    fn works(&self, known: &Known, pods: &[Arc<PodView>], decided: &Plan) -> bool {
        let status = known.object.status.as_ref();
        let announced = status.and_then(|status| status.relay.as_ref());
        let works = |(role, uid): &(Role, PodUid)| {
            let ready = pods.iter().any(|pod| pod.uid == *uid && pod.ready);
            ready && (*role != Role::Relay || announced.is_some_and(|relay| relay.uid == uid.0))
        };
        let relay = decided.current.iter().any(|(role, _)| *role == Role::Relay);
        relay && !decided.creates() && decided.current.iter().all(works)
    }

    fn nothing_stands(&self, known: &Known) -> bool {
        self.0.pods.of(&known.uid).iter().all(|pod| pod.deleting)
    }

    /// The class, if the camera may have it.
    fn shaped<'a>(
        &self,
        camera: &CameraId,
        known: &Known,
        class: Option<&'a CameraClassSpec>,
    ) -> Result<&'a CameraClassSpec, Trouble> {
        let name = &known.object.spec.class;
        let tenant = self.writer().cache().tenant(camera.tenant());
        if let Some(tenant) = tenant
            && !tenant.spec.classes.contains(name)
        {
            return Err(Trouble {
                reason: "ClassNotAllowed",
                message: format!(
                    "class {name} is not among the tenant's: {}",
                    tenant.spec.classes.join(", ")
                ),
            });
        }
        class.ok_or_else(|| Trouble {
            reason: "ClassMissing",
            message: format!("there is no CameraClass {name}"),
        })
    }
}
