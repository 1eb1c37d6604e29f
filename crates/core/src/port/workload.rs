use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::camera::Camera;
use crate::id::{CameraId, Generation, InstanceId};
use crate::lifecycle::Role;
use crate::status::{ArchiveReport, OpenGap, RelayReport};
use crate::time::Timestamp;

/// What a workload is started with.
#[derive(Debug, Clone)]
pub struct WorkloadSpec {
    /// The instance.
    pub instance: InstanceId,
    /// The camera as it is now.
    pub camera: Arc<Camera>,
    /// The tunnel to begin with.
    pub generation: Generation,
    /// The archiver's: stretches without media before this start that are not yet written, as the monitor knows them.
    pub gaps: Vec<(OpenGap, Option<Timestamp>)>,
    /// The archiver's: up to where the archive is durable or explained, as the monitor knows it.
    pub durable_until: Option<Timestamp>,
    /// The archiver's: since when this stream is the one to be recorded, where another was before. Nothing earlier is its to explain.
    pub recorded_from: Option<Timestamp>,
}

impl WorkloadSpec {
    /// Stretches that a spec carries, at most: the oldest goes first.
    pub const MOST_GAPS: usize = 500;

    /// From `now` on the cause is this, or media comes again: what a workload that begins anew is told.
    pub fn note(&mut self, gap: Option<OpenGap>, now: Timestamp) {
        if let Some((open, end)) = self.gaps.last_mut().filter(|(_, end)| end.is_none()) {
            *end = Some(gap.map_or(now, |gap| gap.since.max(open.since)));
        }
        self.gaps.extend(gap.map(|gap| (gap, None)));
        let surplus = self.gaps.len().saturating_sub(Self::MOST_GAPS);
        self.gaps.drain(..surplus);
    }
}

/// An order to a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkloadOrder {
    /// The camera is back under a newer generation: connect again now, without waiting.
    Rebind {
        /// The newer generation.
        generation: Generation,
    },
    /// Why there is no media (`Some`), or that there is again (`None`). The archiver writes its gaps with these.
    Cause {
        /// The open stretch; its `since` is when this cause began.
        gap: Option<OpenGap>,
    },
    /// Seal, upload what fits into the budget, end.
    Drain {
        /// From the receipt on.
        budget: Duration,
    },
}

/// What a workload says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkloadReport {
    /// The relay's state, on change and at least every 10 s.
    Relay(RelayReport),
    /// The archiver's state, on change and at least every 10 s.
    Archive(ArchiveReport),
}

/// The workload's end of its control connection.
#[async_trait]
pub trait WorkloadControl: Send {
    /// The next order; `None` once the supervisor is gone, which means: drain with the default budget. Cancel-safe. Orders of one kind may be
    /// merged to the newest; `Drain` is never lost.
    async fn order(&mut self) -> Option<WorkloadOrder>;

    /// Reports. Never blocks: a report replaces an unread older one of the same kind (and source).
    fn report(&self, report: WorkloadReport);

    /// Whether all that the supervisor of this tunnel has to say has been read. Where the way to it may be broken it may still know why
    /// something is missing.
    fn has_heard(&self, _generation: Generation) -> bool {
        true
    }
}

/// Starts and ends workloads. No call blocks; results arrive as [`WorkloadEvent`].
pub trait Workloads: Send + Sync {
    /// Starts the relay and, unless nothing is recorded, the archiver under one instance id. Idempotent by instance.
    fn start(&self, spec: WorkloadSpec);

    /// Starts one workload of a known instance again, after it crashed.
    fn restart(&self, instance: InstanceId, role: Role, spec: WorkloadSpec);

    /// Gives both workloads an order. An unknown instance is ignored.
    fn order(&self, camera: &CameraId, instance: InstanceId, order: WorkloadOrder);

    /// Ends both workloads now. Idempotent. [`WorkloadEvent::Drained`] follows.
    fn kill(&self, camera: &CameraId, instance: InstanceId);
}

/// What happened to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkloadEvent {
    /// A workload said something.
    Report(WorkloadReport),
    /// A workload ended although nobody asked it to.
    Crashed {
        /// Which.
        role: Role,
        /// Why, in words.
        reason: String,
    },
    /// The way to a workload is broken: nothing is heard of it until it reports again. Whether it has ended is not known.
    Away {
        /// Which.
        role: Role,
    },
    /// Other workloads serve the instance from now on; what the ones before have said does not hold any more.
    Replaced,
    /// All workloads of the instance have ended after an order to drain or a kill.
    Drained,
}

/// The monitor's mailbox for workloads. No call blocks: reports replace unread ones, the others are bounded by the number of instances.
pub trait WorkloadEvents: Send + Sync {
    /// An instance of this camera says something.
    fn tell(&self, camera: &CameraId, instance: InstanceId, event: WorkloadEvent);
}
