//! Workloads as tasks of this process.
//!
//! Owns: the tasks, their supervision and their orders. Does not own: what a relay or an archiver is; the binary hands in two closures.
//! No panic of a workload leaves its task: it is told as [`WorkloadEvent::Crashed`], and the camera's task decides about the restart.
//!
//! How a workload's task ends: by itself after an order to drain, or within 1 s of a kill, when it is aborted. Whoever drops the last
//! clone of [`TaskWorkloads`] closes the orders, which every workload takes as: drain.

mod orders;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use moorline_base::clock::timeout;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::lifecycle::Role;
use moorline_core::port::{
    WorkloadControl, WorkloadEvent, WorkloadEvents, WorkloadOrder, WorkloadSpec, Workloads,
};
use moorline_core::{CameraId, InstanceId};
use tokio::task::JoinError;
use tracing::Instrument;

use orders::{Control, Orders};

/// A killed workload gets so long before it is aborted.
const KILLED: Duration = Duration::from_secs(1);

/// Starts a relay or an archiver: runs until an order to drain was carried out, or until the token is cancelled, which means *now*. An
/// error, and an end that nobody ordered, counts as a crash; the text is logged, so no secrets.
pub type Start = Arc<
    dyn Fn(
            WorkloadSpec,
            Box<dyn WorkloadControl>,
            CancellationToken,
        ) -> BoxFuture<'static, Result<(), String>>
        + Send
        + Sync,
>;

/// Workloads as tasks. Clones are the same.
#[derive(Clone)]
pub struct TaskWorkloads {
    inner: Arc<Inner>,
}

type Key = (CameraId, InstanceId);

struct Inner {
    clock: SharedClock,
    events: Arc<dyn WorkloadEvents>,
    relay: Start,
    archiver: Start,
    pairs: Mutex<HashMap<Key, Pair>>,
}

/// An instance. Gone as soon as it is drained.
#[derive(Default)]
struct Pair {
    /// Ordered to drain, or killed: from now on an end is no crash.
    ending: bool,
    roles: BTreeMap<Role, Running>,
}

struct Running {
    orders: Arc<Orders>,
    kill: CancellationToken,
    /// Around each of its lines, also of tasks that it started.
    span: tracing::Span,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.orders.close();
    }
}

impl fmt::Debug for TaskWorkloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.inner.with(|pairs| pairs.len());
        f.debug_struct("TaskWorkloads")
            .field("instances", &count)
            .finish()
    }
}

impl TaskWorkloads {
    /// Workloads that report to `events`; `relay` and `archiver` start one each.
    pub fn new(
        clock: SharedClock,
        events: Arc<dyn WorkloadEvents>,
        relay: Start,
        archiver: Start,
    ) -> Self {
        let inner = Inner {
            clock,
            events,
            relay,
            archiver,
            pairs: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    fn spawn(&self, pair: &mut Pair, role: Role, spec: WorkloadSpec) {
        let key = (spec.camera.id.clone(), spec.instance);
        let orders = Arc::new(Orders::default());
        let kill = CancellationToken::new();
        let start = match role {
            Role::Relay => Arc::clone(&self.inner.relay),
            Role::Archiver => Arc::clone(&self.inner.archiver),
        };
        let span = tracing::info_span!(
            parent: None,
            "workload",
            camera = %key.0,
            generation = %spec.generation,
            instance = %key.1,
            role = role.as_str(),
        );
        let running = Running {
            orders: Arc::clone(&orders),
            kill: kill.clone(),
            span: span.clone(),
        };
        pair.roles.insert(role, running);
        let control = Control::new(orders, Arc::clone(&self.inner.events), key.clone());
        let token = kill.clone();
        // The closure runs inside the task too: its panic is the workload's.
        let work = async move { start(spec, Box::new(control), token).await };
        let work = work.instrument(span.clone());
        let supervised = supervise(
            Arc::downgrade(&self.inner),
            Arc::clone(&self.inner.clock),
            key,
            role,
            work,
            kill,
        );
        tokio::spawn(supervised.instrument(span));
    }
}

/// Runs one workload to its end and tells it.
async fn supervise(
    inner: Weak<Inner>,
    clock: SharedClock,
    key: Key,
    role: Role,
    work: impl Future<Output = Result<(), String>> + Send + 'static,
    kill: CancellationToken,
) {
    let mut task = tokio::spawn(work);
    let result = tokio::select! {
        result = &mut task => result,
        () = kill.cancelled() => match timeout(&*clock, KILLED, &mut task).await {
            Ok(result) => result,
            Err(_) => {
                tracing::warn!("the workload did not end when it was killed and is aborted");
                task.abort();
                task.await
            }
        },
    };
    let reason = match result {
        Ok(Ok(())) => "it ended by itself".to_owned(),
        Ok(Err(reason)) => reason,
        Err(error) => panic_text(error),
    };
    if let Some(inner) = inner.upgrade() {
        inner.ended(&key, role, reason);
    }
}

fn panic_text(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => {
            let text = payload.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            format!("panic: {}", text.as_deref().unwrap_or("without a text"))
        }
        Err(error) => error.to_string(),
    }
}

impl Inner {
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<Key, Pair>) -> T) -> T {
        change(&mut self.pairs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ended(&self, key: &Key, role: Role, reason: String) {
        let event = self.with(|pairs| {
            let pair = pairs.get_mut(key)?;
            pair.roles.remove(&role)?;
            if !pair.ending {
                return Some(WorkloadEvent::Crashed { role, reason });
            }
            tracing::info!(reason = %moorline_base::Untrusted::new(&reason), "workload ended");
            if !pair.roles.is_empty() {
                return None;
            }
            pairs.remove(key);
            Some(WorkloadEvent::Drained)
        });
        if let Some(event) = event {
            self.events.tell(&key.0, key.1, event);
        }
    }

    /// From now on an end is no crash. An instance of which nothing runs is drained at once.
    fn end(&self, key: &Key, each: impl Fn(&Running)) {
        let drained = self.with(|pairs| {
            let Some(pair) = pairs.get_mut(key) else {
                return false;
            };
            pair.ending = true;
            pair.roles.values().for_each(each);
            pair.roles.is_empty() && pairs.remove(key).is_some()
        });
        if drained {
            self.events.tell(&key.0, key.1, WorkloadEvent::Drained);
        }
    }
}

impl Workloads for TaskWorkloads {
    fn start(&self, spec: WorkloadSpec) {
        let key = (spec.camera.id.clone(), spec.instance);
        self.inner.with(|pairs| {
            if pairs.contains_key(&key) {
                return;
            }
            let pair = pairs.entry(key).or_default();
            if spec.camera.record.source().is_some() {
                self.spawn(pair, Role::Archiver, spec.clone());
            }
            self.spawn(pair, Role::Relay, spec);
        });
    }

    fn restart(&self, instance: InstanceId, role: Role, spec: WorkloadSpec) {
        let key = (spec.camera.id.clone(), instance);
        self.inner.with(|pairs| {
            if let Some(pair) = pairs.get_mut(&key)
                && !pair.ending
                && !pair.roles.contains_key(&role)
            {
                self.spawn(pair, role, spec);
            }
        });
    }

    fn order(&self, camera: &CameraId, instance: InstanceId, order: WorkloadOrder) {
        let key = (camera.clone(), instance);
        if matches!(order, WorkloadOrder::Drain { .. }) {
            return self.inner.end(&key, |running| running.orders.give(order));
        }
        self.inner.with(|pairs| {
            for running in pairs.get(&key).iter().flat_map(|pair| pair.roles.values()) {
                if let WorkloadOrder::Rebind { generation } = &order {
                    let generation = tracing::field::display(generation);
                    running.span.record("generation", generation);
                }
                running.orders.give(order);
            }
        });
    }

    fn kill(&self, camera: &CameraId, instance: InstanceId) {
        let key = (camera.clone(), instance);
        self.inner.end(&key, |running| running.kill.cancel());
    }
}
