//! What is remembered of one camera's pods between two passes: sets of pods that are ordered together.
//!
//! At most one set is current. A set leaves as a whole, and is forgotten when its pods are being deleted. The monitor's instance is what a
//! set serves; a set that was found without its monitor serves none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use moorline_core::lifecycle::Role;
use moorline_core::port::{PodUid, WorkloadSpec};
use moorline_core::{Generation, InstanceId, Timestamp};
use tokio::sync::OwnedSemaphorePermit;

use super::deaths::Deaths;
use super::health::Health;
use super::plan::Progress;

/// Pods that are ordered together.
#[derive(Debug, Clone)]
pub(super) struct Set {
    /// Under which id they are ordered.
    pub(super) link: InstanceId,
    /// Which instance of the monitor they serve.
    pub(super) instance: Option<InstanceId>,
    pub(super) spec: WorkloadSpec,
    /// Each with whether it has said `drained`.
    pub(super) pods: BTreeMap<PodUid, (Role, bool)>,
    /// Since when it leaves.
    pub(super) leaving: Option<Instant>,
}

/// The newest control connection of each pod: its number, and whether it stands. What is heard of an older one means nothing: the end of one may be
/// told behind the beginning of the next.
#[derive(Debug, Default)]
pub(super) struct Connections(BTreeMap<PodUid, (u64, bool)>);

impl Connections {
    /// A pod's connection stands, or has ended. `false`: a newer one is known.
    pub(super) fn heard(&mut self, pod: &PodUid, number: u64, stands: bool) -> bool {
        let newest = self.0.entry(pod.clone()).or_insert((number, stands));
        let counts = number >= newest.0;
        if counts {
            *newest = (number, stands);
        }
        counts
    }

    /// The pods whose connection stands.
    pub(super) fn standing(&self) -> BTreeSet<PodUid> {
        let standing = self.0.iter().filter(|(_, (_, stands))| *stands);
        standing.map(|(pod, _)| pod.clone()).collect()
    }

    /// Forgets the pods that are gone.
    pub(super) fn retain(&mut self, exists: impl Fn(&PodUid) -> bool) {
        self.0.retain(|pod, _| exists(pod));
    }
}

/// One camera's pods.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) wanted: Option<WorkloadSpec>,
    pub(super) sets: Vec<Set>,
    /// Instances that the monitor has given up and has not heard the end of.
    pub(super) ending: BTreeSet<InstanceId>,
    /// What its pods say of themselves.
    pub(super) health: Health,
    /// What was told of how they ended.
    pub(super) deaths: Deaths,
    /// Held while the camera's pods are replaced, until the new ones work and the old ones are gone.
    pub(super) replacing: Option<OwnedSemaphorePermit>,
    /// Its pods are to be replaced, and others' are first.
    pub(super) queued: bool,
    /// Their control connections.
    pub(super) connections: Connections,
    /// The quota had no room for the last pod that was to be made.
    pub(super) over_quota: bool,
    /// Until when no successor is made.
    pub(super) spare_after: Option<Instant>,
    /// Since when there has been no place for successors beside the pods that are used.
    pub(super) squeezed: Option<Instant>,
    /// Up to where an archiver has said that everything is durable.
    pub(super) durable_until: Option<Timestamp>,
    /// The trouble that was written last.
    pub(super) said: Option<(String, String)>,
    links: u32,
}

/// Ids of sets that are no instance's own: ordinals that the monitor never reaches.
const OWN_LINKS: u32 = 1 << 31;

impl State {
    /// The set that is used.
    pub(super) fn current(&mut self) -> Option<&mut Set> {
        self.sets.iter_mut().find(|set| set.leaving.is_none())
    }

    /// An id that no set has had.
    pub(super) fn new_link(&mut self, generation: Generation) -> InstanceId {
        self.links += 1;
        InstanceId {
            generation,
            ordinal: OWN_LINKS + self.links,
        }
    }

    /// How far the pods of leaving sets are.
    pub(super) fn progress(&self, now: Instant, patience: Duration) -> BTreeMap<PodUid, Progress> {
        let leaving = self.sets.iter().filter_map(|set| Some((set, set.leaving?)));
        leaving
            .flat_map(|(set, since)| {
                let overdue = now.saturating_duration_since(since) >= patience;
                set.pods.iter().map(move |(uid, (_, drained))| {
                    let drained = *drained;
                    (uid.clone(), Progress { drained, overdue })
                })
            })
            .collect()
    }

    /// The set of that pod.
    pub(super) fn set_of(&mut self, pod: &PodUid) -> Option<&mut Set> {
        self.sets.iter_mut().find(|set| set.pods.contains_key(pod))
    }

    /// Forgets leaving sets of which no pod stands any more; returns their ids.
    pub(super) fn forget_gone(&mut self, stands: impl Fn(&PodUid) -> bool) -> Vec<InstanceId> {
        let gone = |set: &Set| set.leaving.is_some() && !set.pods.keys().any(&stands);
        let links = self
            .sets
            .iter()
            .filter(|set| gone(set))
            .map(|set| set.link)
            .collect();
        self.sets.retain(|set| !gone(set));
        links
    }

    /// Instances that are over: given up, and no set serves them any more.
    pub(super) fn ended(&mut self) -> Vec<InstanceId> {
        let serves = |id: InstanceId| self.sets.iter().any(|set| set.instance == Some(id));
        let over: Vec<_> = self
            .ending
            .iter()
            .copied()
            .filter(|id| !serves(*id))
            .collect();
        self.ending.retain(|id| !over.contains(id));
        over
    }

    /// Whether nothing is wanted and nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_none() && self.sets.is_empty() && self.ending.is_empty()
    }
}
