//! One reading for each camera that is enabled: the front door's own end of a relay, with a ring of its own, from which its viewers are served.
//! It pulls nothing until somebody watches.
//!
//! ```text
//! Camera added, enabled ─▶ reading       relay announced anew ─▶ connect now (Rebind)
//! removed, disabled, another source, made anew ─▶ drained: viewers get BYE
//! nobody holds it any more (hung up, or its grace is over) ─▶ drained and begun anew
//! ```
//! A relay that is restarted or replaced, and `mon`'s restart, are none of these: the ring goes on, and viewers with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moorline_base::clock::sleep;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::camera::Camera;
use moorline_core::port::{
    CameraDirectory, Landings, WorkloadControl, WorkloadOrder, WorkloadReport, WorkloadSpec,
};
use moorline_core::{CameraId, Generation, InstanceId};
use moorline_proxy::{Hub, relay_workload};
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

/// Changes that come together are looked at together: a thousand cameras that connect at once are one look in a tenth of a second.
const TOGETHER: Duration = Duration::from_millis(100);
/// What viewers get to take their BYE.
const GOODBYE: Duration = Duration::from_secs(3);

/// What a front door is told of a camera besides its record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sign {
    /// Which camera of that name: one that was removed and made anew is another.
    pub(super) identity: String,
    /// Its relay, by an identity that is never used again.
    pub(super) relay: Option<String>,
    /// Whether somebody holds its tunnel, or waits for it to come back.
    pub(super) held: bool,
}

/// Tells them, from memory.
pub(super) trait Signs: Send + Sync {
    /// Of this camera; `None`: there is none.
    fn of(&self, camera: &CameraId) -> Option<Sign>;

    /// Counts what may have changed any of them.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// A reading that runs.
struct Reading {
    sign: Sign,
    has_sub: bool,
    orders: mpsc::Sender<WorkloadOrder>,
    /// How often it was told to connect anew.
    rebound: u64,
}

impl Reading {
    /// Whether it serves this camera as it is now.
    fn serves(&self, camera: &Camera, sign: &Sign) -> bool {
        let is_over = self.sign.held && !sign.held;
        self.sign.identity == sign.identity && self.has_sub == camera.sub.is_some() && !is_over
    }
}

/// The readings of a front door.
pub(super) struct Readings {
    pub(super) hub: Hub,
    pub(super) landings: Arc<dyn Landings>,
    pub(super) cameras: Arc<dyn CameraDirectory>,
    pub(super) signs: Arc<dyn Signs>,
    pub(super) clock: SharedClock,
}

impl Readings {
    /// Follows the cameras until `stop`; then all readings are drained, within 4 s.
    pub(super) async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let mut running: HashMap<CameraId, Reading> = HashMap::new();
        let mut changes = self.signs.changes();
        loop {
            let seen = self.cameras.version();
            changes.borrow_and_update();
            self.look(&mut running, &tasks);
            tokio::select! {
                () = stop.cancelled() => break,
                _ = self.cameras.changed(seen) => {}
                changed = changes.changed() => if changed.is_err() { break },
            }
            if sleep(&*self.clock, TOGETHER, &stop).await.is_cancelled() {
                break;
            }
        }
        // A reading whose orders have ended drains.
        drop(running);
        tasks.close();
        let budget = GOODBYE + Duration::from_secs(1);
        let drained = moorline_base::clock::timeout(&*self.clock, budget, tasks.wait()).await;
        if drained.is_err() {
            tracing::warn!(left = tasks.len(), "readings were not drained in time");
        }
    }

    fn look(&self, running: &mut HashMap<CameraId, Reading>, tasks: &TaskTracker) {
        let cameras = self.cameras.snapshot();
        let now = |id: &CameraId| {
            let camera = cameras.get(id).filter(|camera| camera.enabled.is_yes())?;
            Some((camera, self.signs.of(id)?))
        };
        // What is dropped drains: its orders have ended.
        running.retain(|id, reading| {
            now(id).is_some_and(|(camera, sign)| reading.serves(camera, &sign))
        });
        for camera in cameras.iter() {
            let Some((camera, sign)) = now(&camera.id) else {
                continue;
            };
            match running.get_mut(&camera.id) {
                Some(reading) => reading.follow(sign),
                None => {
                    let reading = self.begin(camera, sign, tasks);
                    running.insert(camera.id.clone(), reading);
                }
            }
        }
    }

    fn begin(&self, camera: &Arc<Camera>, sign: Sign, tasks: &TaskTracker) -> Reading {
        // Two orders at most wait: a rebind that is not yet taken says the same as the next one.
        let (orders, received) = mpsc::channel(2);
        let spec = WorkloadSpec {
            instance: InstanceId {
                generation: Generation(0),
                ordinal: 0,
            },
            camera: Arc::new(super::view::at_relay(camera)),
            generation: Generation(0),
            gaps: Vec::new(),
            durable_until: None,
            recorded_from: None,
        };
        let reading = relay_workload(
            self.hub.clone(),
            Arc::clone(&self.landings),
            spec,
            Box::new(Orders(received)),
            CancellationToken::new(),
        );
        tasks.spawn(async move {
            if let Err(why) = reading.await {
                tracing::error!(why, "a reading failed");
            }
        });
        Reading {
            sign,
            has_sub: camera.sub.is_some(),
            orders,
            rebound: 0,
        }
    }
}

impl Reading {
    /// Another relay: what still hangs on the old one connects now, whatever it waits for.
    fn follow(&mut self, sign: Sign) {
        let other = sign.relay.is_some() && sign.relay != self.sign.relay;
        self.sign = sign;
        if other {
            self.rebound += 1;
            let generation = Generation(self.rebound);
            let _ = self.orders.try_send(WorkloadOrder::Rebind { generation });
        }
    }
}

/// A reading's orders; what it reports nobody asks for here.
struct Orders(mpsc::Receiver<WorkloadOrder>);

#[async_trait]
impl WorkloadControl for Orders {
    async fn order(&mut self) -> Option<WorkloadOrder> {
        self.0.recv().await
    }

    fn report(&self, _: WorkloadReport) {}
}
