//! `Workloads` as pods: one relay and one archiver per camera, bare, owned by the Camera.
//!
//! Owns: what pods a camera this replica holds has ([`plan`]), in what order they are made, ordered and deleted, and what the owner is told
//! when they cannot be. Does not own: whether a camera is wanted (`mon`), or what a pod says and hears (`gateway`).
//!
//! One task per camera runs passes: look at claim, resource, class and pods; plan; do. It is woken by each of them, and looks again at least
//! every minute. It ends when the claim does. A replica that no longer holds the camera touches no pod: it only tells its monitor that the
//! instance is over.
//!
//! `kill` does not delete an archiver that has not said `drained`: its spool is what the monitor's budget must not cost. That is bounded by the
//! class's `drainPatience` instead.

mod assign;
mod cache;
mod carry_out;
mod deaths;
mod finish;
mod health;
mod pace;
mod pass;
mod plan;
mod slot;
mod tell;
mod template;
mod view;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moorline_base::{CancellationToken, SharedClock};
use moorline_core::id::InstanceId;
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    LinkEvent, LinkEvents, PodUid, WorkloadEvent, WorkloadEvents, WorkloadLinks, WorkloadOrder,
    WorkloadReport, WorkloadSpec, Workloads,
};
use moorline_core::{CameraId, Timestamp};
use tokio::sync::{Notify, Semaphore};

pub use cache::PodCache;
pub(crate) use finish::{add_finalizer, is_kept, remove_finalizer};
pub use template::{GATEWAY_AUDIENCE, PodSettings, RELAY_PORT, SIGNER_AUDIENCE};
pub use view::{PodView, Trouble};

use crate::memories::KubeMemories;
use crate::status::StatusWriter;
use pace::Pace;
use slot::State;
use tell::Teller;

/// Writes that are under way at once: kube opens a connection for each.
const WRITES: usize = 32;
/// Cameras of this replica whose pods are replaced at once for another image: each until its new pods work and its old ones are gone.
const REPLACING: usize = 4;
/// A camera's pods are looked at this often, whatever the watches say.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// `Workloads` of this replica. Clones are the same.
#[derive(Clone)]
pub struct Pods(Arc<Inner>);

struct Inner {
    writer: StatusWriter,
    pods: PodCache,
    links: Arc<dyn WorkloadLinks>,
    events: Arc<dyn WorkloadEvents>,
    memories: KubeMemories,
    settings: PodSettings,
    teller: Teller,
    slots: Mutex<HashMap<CameraId, Arc<Slot>>>,
    /// Instances that the monitor still has of cameras that another replica holds: a camera that comes back here finds them again. Each ends with
    /// the monitor's order to drain.
    parked: Mutex<HashMap<CameraId, WorkloadSpec>>,
    pace: Mutex<Pace>,
    writes: Semaphore,
    replacing: Arc<Semaphore>,
    stop: CancellationToken,
}

struct Slot {
    camera: CameraId,
    state: Mutex<State>,
    wake: Notify,
}

impl Slot {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Pods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pods")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

impl Pods {
    /// Pods of the cameras that `writer`'s replica holds. `links` reaches them, `events` is the monitor's mailbox.
    pub fn new(
        writer: StatusWriter,
        pods: PodCache,
        links: Arc<dyn WorkloadLinks>,
        events: Arc<dyn WorkloadEvents>,
        memories: KubeMemories,
        settings: PodSettings,
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            teller: Teller::new(Arc::clone(writer.clock())),
            writer,
            pods,
            links,
            events,
            memories,
            settings,
            slots: Mutex::default(),
            parked: Mutex::default(),
            pace: Mutex::default(),
            writes: Semaphore::new(WRITES),
            replacing: Arc::new(Semaphore::new(REPLACING)),
            stop,
        }))
    }

    /// What the watch of pods shows.
    pub fn cache(&self) -> &PodCache {
        &self.0.pods
    }

    pub(crate) fn memories(&self) -> &KubeMemories {
        &self.0.memories
    }

    pub(crate) fn writer(&self) -> &StatusWriter {
        &self.0.writer
    }

    fn clock(&self) -> &SharedClock {
        self.0.writer.clock()
    }

    fn slots<T>(&self, change: impl FnOnce(&mut HashMap<CameraId, Arc<Slot>>) -> T) -> T {
        change(&mut self.0.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn parked<T>(&self, change: impl FnOnce(&mut HashMap<CameraId, WorkloadSpec>) -> T) -> T {
        change(&mut self.0.parked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another replica holds the camera now; the monitor here may want the instance again.
    fn park(&self, spec: WorkloadSpec) {
        self.parked(|parked| parked.insert(spec.camera.id.clone(), spec));
    }

    /// The instance that waits to be wanted again, if it is this one.
    fn unpark(&self, camera: &CameraId, instance: InstanceId) -> Option<WorkloadSpec> {
        self.parked(|parked| {
            let is_it = parked.get(camera)?.instance == instance;
            is_it.then(|| parked.remove(camera)).flatten()
        })
    }

    fn slot(&self, camera: &CameraId) -> Option<Arc<Slot>> {
        self.slots(|slots| slots.get(camera).cloned())
    }

    /// Changes a camera's state, and sees to it that its task runs and looks.
    fn change(&self, camera: &CameraId, change: impl FnOnce(&mut State)) {
        let (slot, new) = self.slots(|slots| {
            let new = !slots.contains_key(camera);
            let slot = slots.entry(camera.clone()).or_insert_with(|| {
                Arc::new(Slot {
                    camera: camera.clone(),
                    state: Mutex::default(),
                    wake: Notify::new(),
                })
            });
            // Under the lock of all slots: the task that ends one looks under the same lock.
            slot.with(change);
            (Arc::clone(slot), new)
        });
        slot.wake.notify_one();
        if new {
            let this = self.clone();
            tokio::spawn(async move { this.run(slot).await });
        }
    }

    /// Looks after a camera whose claim was taken over without a session: drains what is there, then lets go of it.
    pub(crate) fn take_over(&self, camera: &CameraId) {
        self.change(camera, |_| ());
    }

    /// What a pass over this camera sees: equal stamps, equal plans.
    fn stamp(&self, camera: &CameraId) -> impl PartialEq + use<> {
        let cache = self.0.writer.cache();
        let known = cache.camera(camera);
        let class = known
            .as_ref()
            .and_then(|known| cache.class(&known.object.spec.class));
        let tenant = cache.tenant(camera.tenant());
        (
            known
                .as_ref()
                .and_then(|known| known.object.metadata.resource_version.clone()),
            known.map(|known| self.0.pods.revision(&known.uid)),
            class,
            tenant.map(|tenant| tenant.spec.classes.clone()),
            self.0.writer.owned().get(camera),
        )
    }

    /// The task of one camera.
    async fn run(&self, slot: Arc<Slot>) {
        let mut cached = self.0.writer.cache().wakes().of(&slot.camera);
        let mut claimed = self.0.writer.owned().wakes().of(&slot.camera);
        let mut seen = self.0.pods.wakes().of(&slot.camera);
        loop {
            let stamp = self.stamp(&slot.camera);
            let wait = match self.pass(&slot).await {
                pass::Next::Look(wait) => wait.min(LOOK_AGAIN),
                pass::Next::End => {
                    let over = self.slots(|slots| {
                        let over = slot.with(|state| state.is_empty());
                        if over {
                            slots.remove(&slot.camera);
                        }
                        over
                    });
                    if over {
                        return;
                    }
                    Duration::ZERO
                }
            };
            let due = self.clock().monotonic() + wait;
            loop {
                cached.borrow_and_update();
                claimed.borrow_and_update();
                seen.borrow_and_update();
                if self.stamp(&slot.camera) != stamp {
                    break;
                }
                let queued = slot.with(|state| state.queued);
                tokio::select! {
                    () = self.0.stop.cancelled() => return,
                    Ok(place) = Arc::clone(&self.0.replacing).acquire_owned(), if queued => {
                        slot.with(|state| {
                            state.replacing = Some(place);
                            state.queued = false;
                        });
                        break;
                    }
                    () = slot.wake.notified() => break,
                    slept = moorline_base::clock::sleep_until(&**self.clock(), due, &self.0.stop) => {
                        if slept.is_cancelled() {
                            return;
                        }
                        break;
                    }
                    Ok(()) = cached.changed() => {}
                    Ok(()) = claimed.changed() => {}
                    Ok(()) = seen.changed() => {}
                }
            }
        }
    }

    fn drain(&self, camera: &CameraId, instance: InstanceId) {
        self.unpark(camera, instance);
        let known = self.slot(camera).is_some_and(|slot| {
            slot.with(|state| {
                let wanted = state
                    .wanted
                    .as_ref()
                    .is_some_and(|spec| spec.instance == instance);
                wanted || state.ending.contains(&instance)
            })
        });
        if !known {
            // Not ours any more, or never was: nothing will be heard of it.
            self.0.events.tell(camera, instance, WorkloadEvent::Drained);
            return;
        }
        let now = self.clock().monotonic();
        let mut links = Vec::new();
        self.change(camera, |state| {
            if state
                .wanted
                .as_ref()
                .is_some_and(|spec| spec.instance == instance)
            {
                state.wanted = None;
                state.ending.insert(instance);
            }
            for set in state
                .sets
                .iter_mut()
                .filter(|set| set.instance == Some(instance))
            {
                if set.leaving.is_none() {
                    set.leaving = Some(now);
                    links.push(set.link);
                }
            }
        });
        self.order_drain(camera, links);
    }

    /// Orders sets to drain, with all the patience of their class as budget: a pod that is not drained is not deleted.
    fn order_drain(&self, camera: &CameraId, links: impl IntoIterator<Item = InstanceId>) {
        let budget = self.patience(camera);
        for link in links {
            self.0
                .links
                .order(camera, link, WorkloadOrder::Drain { budget });
        }
    }
}

impl Workloads for Pods {
    fn start(&self, spec: WorkloadSpec) {
        let camera = spec.camera.id.clone();
        self.change(&camera, |state| {
            let newer = state
                .wanted
                .as_ref()
                .is_none_or(|wanted| wanted.instance < spec.instance);
            if newer && !state.ending.contains(&spec.instance) {
                state.wanted = Some(spec);
            }
        });
    }

    fn restart(&self, instance: InstanceId, _: Role, spec: WorkloadSpec) {
        // A container is restarted in its pod, and a pod is succeeded by the next pass: there is nothing to begin anew but a look.
        if spec.instance == instance {
            self.start(spec);
        }
    }

    fn order(&self, camera: &CameraId, instance: InstanceId, order: WorkloadOrder) {
        if let WorkloadOrder::Drain { .. } = order {
            self.drain(camera, instance);
            return;
        }
        if let WorkloadOrder::Rebind { generation } = order
            && let Some(spec) = self.unpark(camera, instance)
        {
            // It was served by another replica meanwhile: its pods are found again, whoever made them.
            self.start(WorkloadSpec { generation, ..spec });
            return;
        }
        let now = Timestamp::from_millis(self.clock().wall_ms());
        let links = self.slot(camera).map(|slot| {
            slot.with(|state| {
                // What a successor is told, too.
                let wanted = state.wanted.as_mut();
                match (order, wanted.filter(|spec| spec.instance == instance)) {
                    (WorkloadOrder::Rebind { generation }, Some(spec)) => {
                        spec.generation = generation;
                    }
                    (WorkloadOrder::Cause { gap }, Some(spec)) => spec.note(gap, now),
                    _ => {}
                }
                let sets = state
                    .sets
                    .iter()
                    .filter(|set| set.instance == Some(instance));
                sets.map(|set| set.link).collect::<Vec<_>>()
            })
        });
        for link in links.into_iter().flatten() {
            self.0.links.order(camera, link, order);
        }
    }

    fn kill(&self, camera: &CameraId, instance: InstanceId) {
        self.drain(camera, instance);
    }
}

impl LinkEvents for Pods {
    fn said(&self, camera: &CameraId, _: Role, pod: &PodUid, event: LinkEvent) {
        let Some(slot) = self.slot(camera) else {
            return;
        };
        match event {
            LinkEvent::Report(report) => {
                let now = self.clock().monotonic();
                let news = slot.with(|state| {
                    if let WorkloadReport::Archive(archive) = &report {
                        state.durable_until = archive.durable_until.max(state.durable_until);
                    }
                    let Some(set) = state.set_of(pod) else {
                        return false;
                    };
                    let (instance, used) = (set.instance, set.leaving.is_none());
                    // The last words of one that was replaced would be taken for its successor's.
                    let succeeded = !used
                        && (state.current()).is_some_and(|current| current.instance == instance);
                    let news = used && state.health.reported(pod, &report, now);
                    // Under the lock: the monitor hears it before it hears that others serve.
                    if let Some(instance) = instance.filter(|_| !succeeded) {
                        let event = WorkloadEvent::Report(report);
                        self.0.events.tell(camera, instance, event);
                    }
                    news
                });
                if news {
                    slot.wake.notify_one();
                }
            }
            LinkEvent::Drained => {
                let now = self.clock().monotonic();
                slot.with(|state| {
                    if let Some(set) = state.set_of(pod) {
                        if let Some((_, drained)) = set.pods.get_mut(pod) {
                            *drained = true;
                        }
                        // Told by an earlier holder: a pod that is drained records nothing more, so another one is needed.
                        set.leaving.get_or_insert(now);
                    }
                });
                slot.wake.notify_one();
            }
            LinkEvent::Connected { connection } | LinkEvent::Disconnected { connection } => {
                let now = self.clock().monotonic();
                let stands = matches!(event, LinkEvent::Connected { .. });
                let told = slot.with(|state| {
                    if !state.connections.heard(pod, connection, stands) {
                        return None;
                    }
                    state.health.connected(pod, stands, now);
                    let set = state.set_of(pod).filter(|set| set.leaving.is_none())?;
                    let (role, _) = set.pods.get(pod)?;
                    Some((set.instance?, *role))
                });
                slot.wake.notify_one();
                if let Some((instance, role)) = told.filter(|_| !stands) {
                    let away = WorkloadEvent::Away { role };
                    self.0.events.tell(camera, instance, away);
                }
            }
        }
    }
}
