//! One pass over one camera's pods: look, plan, do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use moorline_base::config::HumanDuration;
use moorline_core::CameraId;
use moorline_core::camera::Record;
use moorline_core::lifecycle::Role;
use moorline_core::port::{PodUid, WorkloadEvent, WorkloadSpec};

use super::finish::{add_finalizer, is_kept};
use super::plan::{Plan, Replace, Situation, Step, Wanted, plan};
use super::slot::Set;
use super::tell::advised;
use super::template::{self, shape};
use super::view::{PodView, Trouble};
use super::{LOOK_AGAIN, Pods, Slot};
use crate::cache::Known;
use crate::call::{CALL, Fault, call};
use crate::events::Grade;
use crate::names;
use crate::owned::Own;
use crate::resource::CameraClassSpec;

/// Pods of one namespace that wait for a place or an image: beyond, no more are made.
const PENDING: usize = 100;
/// An archiver is waited for so long where the class says nothing that can be read.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// So long a place for successors is waited for (a node that is added takes a minute or two) before pods are replaced in place.
const PLACE: Duration = Duration::from_secs(120);

/// Between two tries to make a successor for which the quota has no room.
const SPARE: Duration = Duration::from_secs(30);

/// After something was done, to see what came of it.
const SOON: Duration = Duration::from_millis(20);

/// When to look next.
pub(super) enum Next {
    Look(Duration),
    End,
}

fn told(fault: &Fault) -> Trouble {
    Trouble {
        reason: fault.reason(),
        message: fault.to_string(),
    }
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

    /// This replica holds the camera no longer: nothing is touched, the monitor hears that its instances are over.
    fn let_go(&self, slot: &Slot) {
        let (links, over) = slot.with(|state| {
            if let Some(spec) = state.wanted.take() {
                self.park(spec);
            }
            state.replacing = None;
            state.queued = false;
            let links: Vec<_> = state.sets.drain(..).map(|set| set.link).collect();
            (links, state.ended())
        });
        for link in links {
            self.0.links.forget(&slot.camera, link);
        }
        for instance in over {
            self.0
                .events
                .tell(&slot.camera, instance, WorkloadEvent::Drained);
        }
    }

    /// Makes a leaving set of pods that no set has.
    fn orphan(&self, slot: &Slot, known: &Known, own: &Own, pods: &[(Role, PodUid)]) {
        let Ok(record) = &known.record else { return };
        let now = self.clock().monotonic();
        let made = slot.with(|state| {
            let free: Vec<_> = pods
                .iter()
                .filter(|(_, uid)| state.set_of(uid).is_none())
                .cloned()
                .collect();
            if free.is_empty() {
                return None;
            }
            let link = state.new_link(own.generation);
            let spec = WorkloadSpec {
                instance: link,
                camera: Arc::clone(record),
                generation: own.generation,
                gaps: Vec::new(),
                durable_until: None,
                recorded_from: None,
            };
            state.sets.push(Set {
                link,
                instance: None,
                spec: spec.clone(),
                pods: free
                    .iter()
                    .map(|(role, uid)| (uid.clone(), (*role, false)))
                    .collect(),
                leaving: Some(now),
            });
            Some((link, spec, free))
        });
        if let Some((link, spec, free)) = made {
            self.0.links.assign(spec, &free);
            self.order_drain(&slot.camera, [link]);
        }
    }

    /// Pods that are not to be used any more leave: with their set, or as orphans.
    fn leave(&self, slot: &Slot, known: &Known, own: &Own, decided: &Plan) {
        let now = self.clock().monotonic();
        let leaving = decided.steps.iter().filter_map(|step| match step {
            Step::Leave { role, uid } => Some((*role, uid.clone())),
            Step::Create { .. } | Step::Delete { .. } => None,
        });
        let mut orphans = Vec::new();
        let mut links = Vec::new();
        slot.with(|state| {
            for (role, uid) in leaving {
                match state.set_of(&uid) {
                    Some(set) if set.leaving.is_none() => {
                        set.leaving = Some(now);
                        links.push(set.link);
                    }
                    Some(_) => {}
                    None => orphans.push((role, uid)),
                }
            }
        });
        self.order_drain(&slot.camera, links);
        self.orphan(slot, known, own, &orphans);
    }

    /// Tells the gateway which pods serve the wanted instance.
    fn assign(&self, slot: &Slot, own: &Own, spec: WorkloadSpec, decided: &Plan) {
        let assigned = slot.with(|state| {
            // As it is now: an order may have come since the pass began.
            let wanted = state.wanted.clone();
            let spec = wanted
                .filter(|wanted| wanted.instance == spec.instance)
                .unwrap_or(spec);
            let gone_before = state.sets.iter().any(|set| set.link == spec.instance);
            let served = state
                .sets
                .iter()
                .any(|set| set.instance == Some(spec.instance));
            let instance = spec.instance;
            let durable_until = state.durable_until.max(spec.durable_until);
            let link = match state.current() {
                Some(current) => current.link,
                None => {
                    // A successor of the same instance is ordered under an id of its own.
                    let link = if gone_before {
                        state.new_link(own.generation)
                    } else {
                        spec.instance
                    };
                    if served {
                        // Under the lock: no word of a successor comes before it.
                        let event = WorkloadEvent::Replaced;
                        self.0.events.tell(&slot.camera, instance, event);
                    }
                    state.sets.push(Set {
                        link,
                        instance: Some(instance),
                        spec: WorkloadSpec {
                            instance: link,
                            durable_until,
                            ..spec
                        },
                        pods: Default::default(),
                        leaving: None,
                    });
                    link
                }
            };
            let current = state.current().filter(|set| set.link == link)?;
            let pods = decided.current.iter().map(|(role, uid)| {
                let drained = current.pods.get(uid).is_some_and(|(_, drained)| *drained);
                (uid.clone(), (*role, drained))
            });
            let pods = pods.collect();
            if current.pods == pods {
                return None;
            }
            current.pods = pods;
            Some((current.spec.clone(), decided.current.clone()))
        });
        if let Some((spec, pods)) = assigned {
            self.0.links.assign(spec, &pods);
        }
    }

    /// Deletes, then creates: both pods at once. On failure: how long to wait, and why.
    async fn carry_out(
        &self,
        slot: &Slot,
        known: &Known,
        class: Option<&CameraClassSpec>,
        decided: &Plan,
    ) -> Result<(), (Duration, Trouble)> {
        let namespace = names::namespace(slot.camera.tenant());
        let tasks = decided.steps.iter().map(|step| {
            let api: Api<Pod> = Api::namespaced(self.writer().client().clone(), &namespace);
            async move {
                match (step, class) {
                    (Step::Delete { name, uid }, _) => self.delete(&api, name, uid).await,
                    (Step::Create { role, name }, Some(class)) => {
                        self.create(&api, &slot.camera, known, class, *role, name)
                            .await
                    }
                    (Step::Create { .. } | Step::Leave { .. }, _) => Ok(()),
                }
            }
        });
        let creates = decided.creates();
        if creates {
            self.may_create(&namespace)?;
            if !is_kept(&known.object) {
                let kept = add_finalizer(self.writer(), &slot.camera, known).await;
                kept.map_err(|fault| (self.0.teller.failed(&namespace), told(&fault)))?;
            }
        }
        let results = futures::future::join_all(tasks).await;
        if creates {
            let full = |result: &Result<(), Fault>| matches!(result, Err(Fault::Quota(_)));
            let full = results.iter().any(full);
            slot.with(|state| state.over_quota = full);
        }
        match results.into_iter().find_map(Result::err) {
            None => {
                if creates {
                    self.0.teller.succeeded(&namespace);
                }
                Ok(())
            }
            Some(fault) => {
                let trouble = told(&fault);
                // Others' pods do not wait because there is no room for one that nobody needs yet.
                if decided.creates_spare() && matches!(fault, Fault::Quota(_)) {
                    let again = self.clock().monotonic() + SPARE;
                    slot.with(|state| state.spare_after = Some(again));
                    return Err((SPARE, trouble));
                }
                Err((self.0.teller.failed(&namespace), trouble))
            }
        }
    }

    fn may_create(&self, namespace: &str) -> Result<(), (Duration, Trouble)> {
        if let Some((wait, trouble)) = self.0.teller.waits(namespace) {
            return Err((wait, trouble));
        }
        let pending = self.0.pods.pending(namespace);
        if pending >= PENDING {
            let message = format!(
                "namespace {namespace}: {pending} pods wait for a place or an image already"
            );
            let trouble = Trouble {
                reason: "TooManyPending",
                message,
            };
            return Err((Duration::from_secs(5), trouble));
        }
        Ok(())
    }

    async fn create(
        &self,
        api: &Api<Pod>,
        id: &CameraId,
        known: &Known,
        class: &CameraClassSpec,
        role: Role,
        name: &str,
    ) -> Result<(), Fault> {
        let _place = self.0.writes.acquire().await;
        let pod = template::pod(id, &known.object, class, role, name, &self.0.settings)
            .map_err(Fault::Invalid)?;
        let parameters = PostParams::default();
        let created = call(&**self.clock(), CALL, api.create(&parameters, &pod)).await;
        let found = match created {
            Err(Fault::Exists | Fault::Unknown(_)) => {
                call(&**self.clock(), CALL, api.get(name)).await
            }
            other => other,
        }?;
        let uid = found.metadata.uid.clone().unwrap_or_default();
        let ours = found
            .metadata
            .owner_references
            .iter()
            .flatten()
            .any(|owner| owner.uid == known.uid);
        if !ours {
            return Err(Fault::Invalid(format!(
                "pod {name} ({uid}) exists and is not this camera's: delete it"
            )));
        }
        self.0.pods.saw(&found);
        Ok(())
    }

    async fn delete(&self, api: &Api<Pod>, name: &str, uid: &PodUid) -> Result<(), Fault> {
        let _place = self.0.writes.acquire().await;
        let parameters = DeleteParams::background().preconditions(Preconditions {
            uid: Some(uid.0.clone()),
            resource_version: None,
        });
        match call(&**self.clock(), CALL, api.delete(name, &parameters)).await {
            Ok(_) => self.0.pods.deleting(uid),
            // Another pod has the name, or none: this one is gone.
            Err(Fault::Missing | Fault::Conflict) => self.0.pods.gone(uid),
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    /// Forgets sets whose pods are gone, and tells the monitor of instances that are over.
    fn tell_ended(&self, slot: &Slot) {
        let stands = |uid: &PodUid| self.0.pods.get(uid).is_some_and(|pod| !pod.deleting);
        let (links, over) = slot.with(|state| (state.forget_gone(stands), state.ended()));
        for link in links {
            self.0.links.forget(&slot.camera, link);
        }
        for instance in over {
            self.0
                .events
                .tell(&slot.camera, instance, WorkloadEvent::Drained);
        }
    }
}
