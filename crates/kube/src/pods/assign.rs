//! Which pods serve and which leave, as sets that are ordered together: what a pass decides is told to the gateway, and what becomes of it to the monitor.

use std::sync::Arc;

use moorline_core::id::InstanceId;
use moorline_core::lifecycle::Role;
use moorline_core::port::{PodUid, WorkloadEvent, WorkloadSpec};

use super::plan::{Plan, Step};
use super::slot::Set;
use super::{Pods, Slot};
use crate::cache::Known;
use crate::owned::Own;

impl Pods {
    /// Tells the gateway which pods serve the wanted instance.
    pub(super) fn assign(&self, slot: &Slot, own: &Own, spec: WorkloadSpec, decided: &Plan) {
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

    /// Pods that are not to be used any more leave: with their set, or as orphans.
    pub(super) fn leave(&self, slot: &Slot, known: &Known, own: &Own, decided: &Plan) {
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

    /// Makes a leaving set of pods that no set has.
    pub(super) fn orphan(&self, slot: &Slot, known: &Known, own: &Own, pods: &[(Role, PodUid)]) {
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

    /// Forgets sets whose pods are gone, and tells the monitor of instances that are over.
    pub(super) fn tell_ended(&self, slot: &Slot) {
        let stands = |uid: &PodUid| self.0.pods.get(uid).is_some_and(|pod| !pod.deleting);
        let (links, over) = slot.with(|state| (state.forget_gone(stands), state.ended()));
        self.forget(slot, &links, &over);
    }

    /// This replica holds the camera no longer: nothing is touched, the monitor hears that its instances are over.
    pub(super) fn let_go(&self, slot: &Slot) {
        let (links, over) = slot.with(|state| {
            if let Some(spec) = state.wanted.take() {
                self.park(spec);
            }
            state.replacing = None;
            state.queued = false;
            let links: Vec<_> = state.sets.drain(..).map(|set| set.link).collect();
            (links, state.ended())
        });
        self.forget(slot, &links, &over);
    }

    /// The gateway forgets these sets, and the monitor hears that these instances are over.
    fn forget(&self, slot: &Slot, links: &[InstanceId], over: &[InstanceId]) {
        for link in links {
            self.0.links.forget(&slot.camera, *link);
        }
        for instance in over {
            let drained = WorkloadEvent::Drained;
            self.0.events.tell(&slot.camera, *instance, drained);
        }
    }
}
