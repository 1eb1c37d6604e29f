//! What workload pods are to know, by camera: the port `WorkloadLinks`.
//!
//! It is a state, not a queue: per instance the spec, and the newest `rebind`, `cause` and `drain`. A connection compares what it has told its pod
//! with the state and tells the difference; so an order waits for a pod that is away, a break loses none, and none is told twice on one connection.
//! A drain that is in force is told on every new connection until the pod has said `drained`, and `drained` is passed on once per pod.
//!
//! A container that was killed is told the spec again, with the causes as they have been since: else what was missing when the instance began would
//! explain what its death has cost.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moorline_base::{CancellationToken, SharedClock};
use moorline_core::lifecycle::Role;
use moorline_core::port::{PodUid, WorkloadLinks, WorkloadOrder, WorkloadSpec};
use moorline_core::status::OpenGap;
use moorline_core::{CameraId, Generation, InstanceId, Timestamp};
use tokio::sync::watch;

use crate::wire::{Spec, ToPod};

struct Instance {
    spec: WorkloadSpec,
    pods: Vec<(Role, PodUid)>,
    rebind: Option<Generation>,
    cause: Option<Option<OpenGap>>,
    drain: Option<Duration>,
    /// Pods whose `drained` was passed on.
    drained: HashSet<PodUid>,
}

#[derive(Default)]
struct CameraLinks {
    instances: BTreeMap<InstanceId, Instance>,
    /// The one connection of each pod.
    pods: HashMap<PodUid, (u64, CancellationToken)>,
    /// Moved by every change of this camera.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    next: u64,
    cameras: HashMap<CameraId, CameraLinks>,
}

/// What workloads are told. Clones are the same.
#[derive(Clone)]
pub struct Links {
    state: Arc<Mutex<State>>,
    clock: SharedClock,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cameras = self.with(|state| state.cameras.len());
        f.debug_struct("Links").field("cameras", &cameras).finish()
    }
}

/// What a connection has told its pod.
#[derive(Debug, Default)]
struct Told {
    instance: Option<InstanceId>,
    rebind: Option<Generation>,
    cause: Option<Option<OpenGap>>,
    drain: bool,
}

/// One pod's connection; given back when it is dropped.
pub(super) struct Link {
    links: Links,
    camera: CameraId,
    pod: PodUid,
    /// Later connections have greater ones.
    pub(super) id: u64,
    told: Told,
    changed: watch::Receiver<u64>,
    /// Cancelled when the pod has connected again.
    pub(super) replaced: CancellationToken,
}

/// The instance of this connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over;

impl Links {
    /// Nobody is connected, nothing is assigned.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self {
            state: Arc::default(),
            clock,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, camera: &CameraId, change: impl FnOnce(&mut CameraLinks)) {
        self.with(|state| {
            let links = state.cameras.entry(camera.clone()).or_default();
            change(links);
            links.changed.send_modify(|version| *version += 1);
            state.tidy(camera);
        });
    }

    /// A pod's connection stands. An older one of the same pod is replaced.
    pub(super) fn connect(&self, camera: &CameraId, pod: &PodUid) -> Link {
        let replaced = CancellationToken::new();
        let (id, changed) = self.with(|state| {
            state.next += 1;
            let links = state.cameras.entry(camera.clone()).or_default();
            if let Some((_, older)) = links
                .pods
                .insert(pod.clone(), (state.next, replaced.clone()))
            {
                older.cancel();
            }
            (state.next, links.changed.subscribe())
        });
        Link {
            links: self.clone(),
            camera: camera.clone(),
            pod: pod.clone(),
            id,
            told: Told::default(),
            changed,
            replaced,
        }
    }
}

impl State {
    /// Forgets a camera of which nothing is left.
    fn tidy(&mut self, camera: &CameraId) {
        if self
            .cameras
            .get(camera)
            .is_some_and(|links| links.instances.is_empty() && links.pods.is_empty())
        {
            self.cameras.remove(camera);
        }
    }
}

impl CameraLinks {
    /// The newest instance that has this pod.
    fn of(&self, pod: &PodUid) -> Option<InstanceId> {
        let mut newest = self.instances.iter().rev();
        newest
            .find(|(_, instance)| instance.pods.iter().any(|(_, known)| known == pod))
            .map(|(id, _)| *id)
    }
}

impl Link {
    /// What the pod has to be told now. Nothing while it is of no instance yet.
    ///
    /// # Errors
    /// [`Over`]: its instance was forgotten.
    pub(super) fn untold(&mut self) -> Result<Vec<ToPod>, Over> {
        self.changed.borrow_and_update();
        let told = &mut self.told;
        self.links.with(|state| {
            let links = state.cameras.get(&self.camera);
            let mut messages = Vec::new();
            let chosen = match told.instance {
                Some(instance) => Some(instance),
                None => links.and_then(|links| links.of(&self.pod)),
            };
            let Some(chosen) = chosen else {
                return Ok(messages);
            };
            let Some(instance) = links.and_then(|links| links.instances.get(&chosen)) else {
                return Err(Over);
            };
            if told.instance.is_none() {
                told.instance = Some(chosen);
                messages.push(ToPod::Spec(Box::new(Spec::from(&instance.spec))));
            }
            if let Some(generation) = instance.rebind
                && told.rebind != Some(generation)
            {
                told.rebind = Some(generation);
                messages.push(ToPod::Rebind { generation });
            }
            if let Some(gap) = instance.cause
                && told.cause != Some(gap)
            {
                told.cause = Some(gap);
                messages.push(ToPod::Cause { gap });
            }
            // Last, so that the archiver knows the cause of what is missing before it seals.
            if let Some(budget) = instance.drain
                && !told.drain
            {
                told.drain = true;
                let budget_ms = u64::try_from(budget.as_millis()).unwrap_or(u64::MAX);
                messages.push(ToPod::Drain { budget_ms });
            }
            Ok(messages)
        })
    }

    /// Whether the pod has been told what it serves.
    pub(super) fn serves(&self) -> bool {
        self.told.instance.is_some()
    }

    /// Returns when there may be something untold. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // Nothing of the camera is left: only a connection that is about to be dropped sees this.
            std::future::pending::<()>().await;
        }
    }

    /// The pod says that it is drained. `true`: for the first time in its instance.
    pub(super) fn drained(&self) -> bool {
        self.links.with(|state| {
            let Some(links) = state.cameras.get_mut(&self.camera) else {
                return true;
            };
            let of = self.told.instance.or_else(|| links.of(&self.pod));
            let instance = of.and_then(|of| links.instances.get_mut(&of));
            // Of no instance: whoever looks after the pod decides; it may say so again.
            instance.is_none_or(|instance| instance.drained.insert(self.pod.clone()))
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.links.with(|state| {
            if let Some(links) = state.cameras.get_mut(&self.camera)
                && links
                    .pods
                    .get(&self.pod)
                    .is_some_and(|(id, _)| *id == self.id)
            {
                links.pods.remove(&self.pod);
            }
            state.tidy(&self.camera);
        });
    }
}

impl WorkloadLinks for Links {
    fn assign(&self, spec: WorkloadSpec, pods: &[(Role, PodUid)]) {
        let camera = spec.camera.id.clone();
        self.change(&camera, |links| {
            // The same instance again: its pods may have been replaced, its orders stay.
            let known = links
                .instances
                .entry(spec.instance)
                .or_insert_with(|| Instance {
                    spec,
                    pods: Vec::new(),
                    rebind: None,
                    cause: None,
                    drain: None,
                    drained: HashSet::new(),
                });
            known.pods = pods.to_vec();
        });
    }

    fn order(&self, camera: &CameraId, instance: InstanceId, order: WorkloadOrder) {
        let known = |state: &mut State| {
            let links = state.cameras.get(camera);
            links.is_some_and(|links| links.instances.contains_key(&instance))
        };
        if !self.with(known) {
            return;
        }
        let now = Timestamp::from_millis(self.clock.wall_ms());
        self.change(camera, |links| {
            let Some(instance) = links.instances.get_mut(&instance) else {
                return;
            };
            match order {
                WorkloadOrder::Rebind { generation } => {
                    instance.rebind = instance.rebind.max(Some(generation));
                }
                WorkloadOrder::Cause { gap } => {
                    instance.cause = Some(gap);
                    instance.spec.note(gap, now);
                }
                WorkloadOrder::Drain { budget } => {
                    instance.drain.get_or_insert(budget);
                }
            }
        });
    }

    fn forget(&self, camera: &CameraId, instance: InstanceId) {
        self.change(camera, |links| {
            links.instances.remove(&instance);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{camera, pod, spec};
    use moorline_base::SystemClock;
    use moorline_core::Cause;

    fn links() -> Links {
        Links::new(SystemClock::shared())
    }

    fn kinds(messages: &[ToPod]) -> Vec<&'static str> {
        let kind = |message: &ToPod| match message {
            ToPod::Spec(_) => "spec",
            ToPod::Rebind { .. } => "rebind",
            ToPod::Cause { .. } => "cause",
            ToPod::Drain { .. } => "drain",
            _ => "other",
        };
        messages.iter().map(kind).collect()
    }

    #[test]
    fn orders_wait_for_a_pod_and_are_told_once_on_a_connection() {
        let links = links();
        let spec = spec(1);
        let instance = spec.instance;
        links.order(
            &camera(),
            instance,
            WorkloadOrder::Drain {
                budget: Duration::from_secs(1),
            },
        );
        let mut early = links.connect(&camera(), &pod("a"));
        assert_eq!(
            early.untold(),
            Ok(vec![]),
            "an unknown instance's order is ignored"
        );
        links.assign(spec, &[(Role::Archiver, pod("a"))]);
        for generation in [3, 2] {
            links.order(
                &camera(),
                instance,
                WorkloadOrder::Rebind {
                    generation: Generation(generation),
                },
            );
        }
        links.order(
            &camera(),
            instance,
            WorkloadOrder::Drain {
                budget: Duration::from_secs(9),
            },
        );
        links.order(&camera(), instance, WorkloadOrder::Cause { gap: None });
        let told = early.untold().unwrap();
        assert_eq!(kinds(&told), ["spec", "rebind", "cause", "drain"]);
        assert!(
            told.contains(&ToPod::Rebind {
                generation: Generation(3)
            }),
            "the newest"
        );
        assert_eq!(early.untold(), Ok(vec![]));
        let mut again = links.connect(&camera(), &pod("a"));
        assert!(early.replaced.is_cancelled());
        assert_eq!(
            kinds(&again.untold().unwrap()),
            ["spec", "rebind", "cause", "drain"]
        );
        assert!(again.drained() && !again.drained(), "passed on once");
        drop(again);
        assert!(
            !links.connect(&camera(), &pod("a")).drained(),
            "also not by another connection"
        );
    }

    #[test]
    fn a_container_that_begins_anew_is_told_how_long_media_was_missing() {
        let links = links();
        let gap = |second: i64, cause| OpenGap {
            since: Timestamp::from_millis(second * 1_000),
            cause,
        };
        let absent = gap(10, Cause::TunnelDown);
        let mut spec = spec(1);
        spec.gaps = vec![(absent, None)];
        let instance = spec.instance;
        links.assign(spec, &[(Role::Archiver, pod("a"))]);
        let told = |links: &Links| {
            let messages = links.connect(&camera(), &pod("a")).untold().unwrap();
            let spec = messages.into_iter().find_map(|message| match message {
                ToPod::Spec(spec) => Some(spec.into_workload(|_| None).gaps),
                _ => None,
            });
            spec.unwrap()
        };
        assert_eq!(told(&links), [(absent, None)]);
        links.order(&camera(), instance, WorkloadOrder::Cause { gap: None });
        let [(_, Some(end))] = told(&links)[..] else {
            panic!("it is over: {:?}", told(&links))
        };
        assert!(end > absent.since);
        let later = gap(4_000_000_000, Cause::CameraSilent);
        let order = WorkloadOrder::Cause { gap: Some(later) };
        links.order(&camera(), instance, order);
        assert_eq!(told(&links), [(absent, Some(end)), (later, None)]);
        for _ in 0..2 * WorkloadSpec::MOST_GAPS {
            links.order(&camera(), instance, order);
        }
        assert_eq!(told(&links).len(), WorkloadSpec::MOST_GAPS);
    }

    #[test]
    fn an_instance_that_is_over_closes_its_connections_and_leaves_nothing() {
        let links = links();
        links.assign(spec(1), &[(Role::Relay, pod("a"))]);
        links.assign(spec(2), &[(Role::Relay, pod("b"))]);
        let (mut a, mut b) = (
            links.connect(&camera(), &pod("a")),
            links.connect(&camera(), &pod("b")),
        );
        assert_eq!(kinds(&a.untold().unwrap()), ["spec"]);
        assert_eq!(kinds(&b.untold().unwrap()), ["spec"]);
        links.forget(&camera(), spec(1).instance);
        assert_eq!((a.untold(), b.untold()), (Err(Over), Ok(vec![])));
        links.forget(&camera(), spec(2).instance);
        drop((a, b));
        assert!(links.with(|state| state.cameras.is_empty()));
    }
}
