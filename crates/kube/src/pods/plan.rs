//! What is to be done with a camera's pods: a pure function of what is wanted and what is there.
//!
//! ```text
//! wanted, none is there           → create, under a name that all who see the same predecessor choose
//! wanted, one of the shape        → it is current (found or made: adopted alike)
//! wanted, some of another shape   → current until the camera's turn to be replaced has come; then both leave
//! not wanted, or superseded       → leaves: a relay is deleted, an archiver once it has said `drained`, has never run, or is overdue
//! over (evicted, failed)          → deleted: its spool is gone with it
//! ```
//! A relay is deleted before its successor is made: two would pull the camera twice over its uplink. An archiver's successor starts beside
//! it. A pod that is being deleted is nobody's any more: a node that never comes back holds up nothing.

use std::collections::BTreeMap;
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

/// What is there.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) camera: &'a str,
    pub(crate) wanted: Option<&'a Wanted>,
    /// Newest first.
    pub(crate) pods: &'a [Arc<PodView>],
    pub(crate) leaving: &'a BTreeMap<PodUid, Progress>,
    /// Pods of another shape may be replaced now.
    pub(crate) may_replace: bool,
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
    let usable = || pods().filter(|pod| !pod.deleting && !pod.over && leaving(pod).is_none());
    let wanted = situation.wanted.and_then(|wanted| wanted.shape(role));
    let current = wanted.and_then(|shape| {
        let right = usable().find(|pod| pod.shape.as_deref() == Some(shape.as_str()));
        right.or_else(|| usable().next().filter(|_| !situation.may_replace))
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
        if current.is_some_and(|current| current.uid == pod.uid) {
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
    if let (Some(shape), None, false) = (wanted, current, stands) {
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
