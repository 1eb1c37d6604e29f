//! Orders to one workload: the newest of each kind. `Drain` is never lost and comes last, so that the archiver knows the cause first.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use moorline_core::Generation;
use moorline_core::port::{
    WorkloadControl, WorkloadEvent, WorkloadEvents, WorkloadOrder, WorkloadReport,
};
use moorline_core::status::OpenGap;
use tokio::sync::Notify;

use super::Key;

#[derive(Debug, Default)]
struct Unread {
    rebind: Option<Generation>,
    cause: Option<Option<OpenGap>>,
    drain: Option<Duration>,
    closed: bool,
}

impl Unread {
    fn next(&mut self) -> Option<WorkloadOrder> {
        let rebind = self.rebind.take();
        let rebind = rebind.map(|generation| WorkloadOrder::Rebind { generation });
        let cause = |unread: &mut Self| unread.cause.take().map(|gap| WorkloadOrder::Cause { gap });
        let drain = |unread: &mut Self| {
            let budget = unread.drain.take();
            budget.map(|budget| WorkloadOrder::Drain { budget })
        };
        rebind.or_else(|| cause(self)).or_else(|| drain(self))
    }
}

/// What waits for a workload.
#[derive(Debug, Default)]
pub(super) struct Orders {
    unread: Mutex<Unread>,
    given: Notify,
}

impl Orders {
    fn with<T>(&self, change: impl FnOnce(&mut Unread) -> T) -> T {
        change(&mut self.unread.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives an order; it replaces an unread one of its kind.
    pub(super) fn give(&self, order: WorkloadOrder) {
        self.with(|unread| match order {
            WorkloadOrder::Rebind { generation } => unread.rebind = Some(generation),
            WorkloadOrder::Cause { gap } => unread.cause = Some(gap),
            WorkloadOrder::Drain { budget } => unread.drain = Some(budget),
        });
        self.given.notify_one();
    }

    /// Nobody will give another.
    pub(super) fn close(&self) {
        self.with(|unread| unread.closed = true);
        self.given.notify_one();
    }

    async fn next(&self) -> Option<WorkloadOrder> {
        loop {
            let (order, closed) = self.with(|unread| (unread.next(), unread.closed));
            if order.is_some() || closed {
                return order;
            }
            self.given.notified().await;
        }
    }
}

/// The workload's end.
pub(super) struct Control {
    orders: Arc<Orders>,
    events: Arc<dyn WorkloadEvents>,
    key: Key,
}

impl Control {
    pub(super) fn new(orders: Arc<Orders>, events: Arc<dyn WorkloadEvents>, key: Key) -> Self {
        Self {
            orders,
            events,
            key,
        }
    }
}

#[async_trait]
impl WorkloadControl for Control {
    async fn order(&mut self) -> Option<WorkloadOrder> {
        self.orders.next().await
    }

    fn report(&self, report: WorkloadReport) {
        let (camera, instance) = &self.key;
        self.events
            .tell(camera, *instance, WorkloadEvent::Report(report));
    }
}
