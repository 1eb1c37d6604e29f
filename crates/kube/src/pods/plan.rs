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
    /// Pods of a role that can be used.
    fn usable(&self, role: Role) -> impl Iterator<Item = &Arc<PodView>> {
        self.pods.iter().filter(move |pod| {
            let leaving = self.leaving.contains_key(&pod.uid);
            pod.role == role && !pod.deleting && !pod.over && !leaving
        })
    }

    fn right(&self, role: Role) -> Option<&Arc<PodView>> {
        let shape = self.wanted?.shape(role)?.as_str();
        self.usable(role)
            .find(|pod| pod.shape.as_deref() == Some(shape))
    }

    /// Whether pods of another shape are used no more.
    fn switches(&self) -> bool {
        match self.replace {
            Replace::NotYet => false,
            Replace::InPlace => true,
            Replace::Beside => [Role::Relay, Role::Archiver].into_iter().all(|role| {
                let wanted = self.wanted.and_then(|wanted| wanted.shape(role));
                let stands = |pod: &Arc<PodView>| self.connected.contains(&pod.uid);
                wanted.is_none() || self.right(role).is_some_and(stands)
            }),
        }
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

/// Decides.
pub(crate) fn plan(situation: &Situation<'_>) -> Plan {
    let mut plan = Plan::default();
    for role in [Role::Relay, Role::Archiver] {
        plan_role(situation, role, &mut plan);
    }
    plan
}

fn plan_role(situation: &Situation<'_>, role: Role, plan: &mut Plan) {
    let pods = || situation.pods.iter().filter(|pod| pod.role == role);
    let leaving = |pod: &PodView| situation.leaving.get(&pod.uid);
    let usable = || situation.usable(role);
    let wanted = situation.wanted.and_then(|wanted| wanted.shape(role));
    let (right, switches) = (situation.right(role), situation.switches());
    let beside = situation.replace == Replace::Beside && !switches;
    let current = wanted.and_then(|_| {
        let used = usable().find(|pod| beside && situation.used.contains(&pod.uid));
        let found = used.or(right);
        found.or_else(|| usable().next().filter(|_| !switches))
    });
    if let (Some(pod), Some(shape)) = (current, wanted) {
        plan.current.push((role, pod.uid.clone()));
        plan.outdated |= pod.shape.as_deref() != Some(shape.as_str());
    }
    // Where one may not be replaced yet, an outdated one stands for the wanted one.
    plan.outdated |= wanted.is_some() && current.is_none() && usable().next().is_some();
    let mut stands = false;
    for pod in pods().filter(|pod| !pod.deleting) {
        let progress = leaving(pod).copied();
        let is = |other: Option<&Arc<PodView>>| other.is_some_and(|other| other.uid == pod.uid);
        if is(current) || (beside && is(right)) {
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
        Some(_) => beside && right.is_none(),
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
