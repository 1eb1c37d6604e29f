//! What is to be done with a camera's pods: a pure function of what is wanted and what is there.
//!
//! ```text
//! wanted, none is there           → create, under a name that all who see the same predecessor choose
//! wanted, one of the shape        → it is current (found or made: adopted alike)
//! wanted, some of another shape   → current until the camera's turn to be replaced has come: then successors are made beside them, which stand by;
//!                                   when both have connected they are current, and the old ones leave
//! not wanted, or superseded       → leaves: a relay is deleted, an archiver once it has said `drained`, has never run, or is overdue
//! over (evicted, failed)          → deleted: its spool is gone with it
//! ```
//! Of two relays one is used: two would pull the camera twice over its uplink. One that stands by is told nothing and so pulls nothing, and what the
//! change costs is a new connection, not the start of a pod. Where there is no place for both the old relay is deleted before its successor is made. An
//! archiver's successor starts beside it in any case. A pod that is being deleted is nobody's any more: a node that never comes back holds up nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moorline_core::lifecycle::Role;
use moorline_core::port::PodUid;

use super::view::PodView;
use crate::names::{self, Shape};

/// What is wanted of a camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Of both pods: they are made, ordered and replaced together.
    pub(crate) shape: Shape,
    /// Something is recorded.
    pub(crate) archiver: bool,
}

impl Wanted {
    fn shape(&self, role: Role) -> Option<&Shape> {
        (role == Role::Relay || self.archiver).then_some(&self.shape)
    }
}

/// How far a leaving pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// It has said so.
    pub(crate) drained: bool,
    /// It was waited for long enough.
    pub(crate) overdue: bool,
}

/// Whether pods of another shape are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replace {
    /// Other cameras are first.
    NotYet,
    /// Their successors stand by until both have connected.
    Beside,
    /// There is no place for successors beside them.
    InPlace,
}

/// What is there.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) camera: &'a str,
    pub(crate) wanted: Option<&'a Wanted>,
    /// Newest first.
    pub(crate) pods: &'a [Arc<PodView>],
    pub(crate) leaving: &'a BTreeMap<PodUid, Progress>,
    pub(crate) replace: Replace,
    /// Pods that are told what to do.
    pub(crate) used: &'a BTreeSet<PodUid>,
    /// Pods whose control connection stands.
    pub(crate) connected: &'a BTreeSet<PodUid>,
}

impl Situation<'_> {
    fn wanted(&self, role: Role) -> Option<&str> {
        Some(self.wanted?.shape(role)?.as_str())
    }

    /// Pods of a role that can be used.
    fn usable(&self, role: Role) -> impl Iterator<Item = &Arc<PodView>> {
        self.pods.iter().filter(move |pod| {
            let leaving = self.leaving.contains_key(&pod.uid);
            pod.role == role && !pod.deleting && !pod.over && !leaving
        })
    }

    /// The one of the shape that is wanted.
    fn right(&self, role: Role) -> Option<&Arc<PodView>> {
        let is_right = |pod: &&Arc<PodView>| pod.shape.as_deref() == self.wanted(role);
        self.usable(role).find(is_right)
    }

    /// The one of another shape that serves, for all that is known: the newest, where none has been told anything here yet. One that never ran does
    /// not.
    fn other(&self, role: Role) -> Option<&Arc<PodView>> {
        let others = || {
            let is_other =
                |pod: &&Arc<PodView>| pod.shape.as_deref() != self.wanted(role) && !pod.untouched;
            self.usable(role).filter(is_other)
        };
        let used = others().find(|pod| self.used.contains(&pod.uid));
        used.or_else(|| others().next())
    }

    /// Whether pods of another shape are used no more. Both roles at once: a set is ordered as a whole.
    fn switches(&self) -> bool {
        let wanted = || {
            let roles = [Role::Relay, Role::Archiver].into_iter();
            roles.filter(|role| self.wanted(*role).is_some())
        };
        let connected = |pod: &Arc<PodView>| self.connected.contains(&pod.uid);
        let stands = |role| self.right(role).is_some_and(connected);
        // What serves no more is not waited for.
        let is_alone = |role| self.right(role).is_some() && self.other(role).is_none();
        self.replace == Replace::InPlace || wanted().all(stands) || wanted().any(is_alone)
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Create {
        role: Role,
        name: String,
    },
    /// Order it to drain (an archiver), and use it no more.
    Leave {
        role: Role,
        uid: PodUid,
    },
    Delete {
        name: String,
        uid: PodUid,
    },
}

/// The plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    pub(crate) current: Vec<(Role, PodUid)>,
    pub(crate) steps: Vec<Step>,
    /// Some current pod has another shape than is wanted.
    pub(crate) outdated: bool,
}

impl Plan {
    /// Whether a pod is made.
    pub(crate) fn creates(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Create { .. }))
    }

    /// Whether pods are made only beside such as serve.
    pub(crate) fn creates_spare(&self) -> bool {
        let serves = |role: &Role| self.current.iter().any(|(of, _)| of == role);
        let spare = |step: &Step| !matches!(step, Step::Create { role, .. } if !serves(role));
        self.creates() && self.steps.iter().all(spare)
    }
}

/// Decides.
pub(crate) fn plan(situation: &Situation<'_>) -> Plan {
    let mut plan = Plan::default();
    let switches = situation.switches();
    for role in [Role::Relay, Role::Archiver] {
        plan_role(situation, role, switches, &mut plan);
    }
    plan
}

fn plan_role(situation: &Situation<'_>, role: Role, switches: bool, plan: &mut Plan) {
    let pods = || situation.pods.iter().filter(|pod| pod.role == role);
    let leaving = |pod: &PodView| situation.leaving.get(&pod.uid);
    let wanted = situation.wanted.and_then(|wanted| wanted.shape(role));
    let right = situation.right(role).filter(|_| wanted.is_some());
    let other = situation.other(role).filter(|_| wanted.is_some());
    let current = match switches {
        true => right,
        false => other.or(right),
    };
    if let Some(pod) = current {
        plan.current.push((role, pod.uid.clone()));
    }
    plan.outdated |= other.is_some() && (!switches || right.is_none());
    let stands_by = right.filter(|_| !switches);
    let mut stands = false;
    for pod in pods().filter(|pod| !pod.deleting) {
        let progress = leaving(pod).copied();
        let is = |other: Option<&Arc<PodView>>| other.is_some_and(|other| other.uid == pod.uid);
        if is(current) || is(stands_by) {
            continue;
        }
        let done = match (role, progress) {
            _ if pod.over => true,
            (Role::Relay, _) => true,
            // It says nothing, ever: its image is missing, or there is no place for it.
            (Role::Archiver, _) if pod.untouched => true,
            (Role::Archiver, Some(progress)) => progress.drained || progress.overdue,
            (Role::Archiver, None) => false,
        };
        if !pod.over && progress.is_none() {
            plan.steps.push(Step::Leave {
                role,
                uid: pod.uid.clone(),
            });
        }
        if done {
            plan.steps.push(Step::Delete {
                name: pod.name.clone(),
                uid: pod.uid.clone(),
            });
        }
        stands |= role == Role::Relay;
    }
    let lacks = match current {
        None => !stands,
        Some(_) => situation.replace == Replace::Beside && right.is_none(),
    };
    if let (Some(shape), true) = (wanted, lacks) {
        // Of two that were made within one second nobody knows which is the newer, and the name after the older one is the newer one's own.
        let taken = |name: &String| pods().any(|pod| pod.name == *name);
        let after = |predecessor| names::pod(situation.camera, role, shape, predecessor);
        let mut successors = pods().map(|pod| after(Some(pod.uid.0.as_str())));
        let name = successors.find(|name| !taken(name));
        let name = name.unwrap_or_else(|| after(None));
        plan.steps.push(Step::Create { role, name });
    }
}

#[cfg(test)]
mod tests;
