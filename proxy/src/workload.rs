//! The relay of one camera as a workload: what the monitor starts, orders and drains.
//!
//! **Owns** the two sources and their upstream tasks, the orders, the reports (on change and every 5 s). **Does not own** readers: they
//! belong to whoever opened them and end by the relay's token.
//!
//! How it ends: `Drain`, or a supervisor that is gone, ends readers (viewers with BYE, the archiver with its boundary), says TEARDOWN to the
//! camera, and waits for both at most 3 s (P8). A kill ends it at once.

use std::sync::Arc;
use std::time::Duration;

use moorline_base::CancellationToken;
use moorline_base::clock::timeout;
use moorline_core::camera::Camera;
use moorline_core::port::{Landings, WorkloadControl, WorkloadOrder, WorkloadReport, WorkloadSpec};
use moorline_core::status::{RelayReport, RelayState};
use moorline_core::{Generation, SourceName, Timestamp};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::alarm::Alarm;
use crate::hub::{Entry, Hub};
use crate::source::Source;
use crate::upstream::Upstream;

/// Reports without a change: the port asks for one in 10 s.
const REPORT: Duration = Duration::from_secs(5);
/// What readers and cameras get to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

/// A source with what was reported of it last.
struct Watched {
    source: Arc<Source>,
    states: watch::Receiver<u64>,
    /// What the last look saw, whether it was told or not.
    seen: Option<(RelayState, Timestamp, u32)>,
    told: bool,
    bytes: u64,
    bits_per_second: u64,
}

/// Runs the relay of one camera until it is drained or killed: for the `Start` closure of the monitor's tasks.
///
/// # Errors
/// None now: a camera that cannot be read is a state that is reported, not an end.
pub async fn relay_workload(
    hub: Hub,
    landings: Arc<dyn Landings>,
    spec: WorkloadSpec,
    mut control: Box<dyn WorkloadControl>,
    kill: CancellationToken,
) -> Result<(), String> {
    let camera = Arc::clone(&spec.camera);
    let upstreams = CancellationToken::new();
    // Also when this future is dropped: no task outlives its workload.
    let _end_upstreams = upstreams.clone().drop_guard();
    let (generation, least) = watch::channel(spec.generation);
    let tasks = TaskTracker::new();
    let start = |name: SourceName| {
        let source = Source::new(
            camera.id.clone(),
            name,
            hub.clock().clone(),
            hub.config().ring,
            hub.metrics().clone(),
        );
        let upstream = Upstream {
            source: Arc::clone(&source),
            landings: Arc::clone(&landings),
            directory: Arc::clone(hub.directory()),
            config: Arc::clone(hub.config()),
            metrics: hub.metrics().clone(),
            least: least.clone(),
            recorded: is_recorded(&camera, name),
            cancel: upstreams.clone(),
        };
        tasks.spawn(upstream.run().in_current_span());
        source
    };
    let main = start(SourceName::Main);
    let sub = camera.sub.as_ref().map(|_| start(SourceName::Sub));
    let entry = Entry {
        main: Arc::clone(&main),
        sub,
        tasks: TaskTracker::new(),
        ending: CancellationToken::new(),
    };
    let _present = Present::new(&hub, &camera, &entry);
    let mut watched: Vec<Watched> = [Some(&entry.main), entry.sub.as_ref()]
        .into_iter()
        .flatten()
        .map(Watched::new)
        .collect();
    hub.metrics().relays.inc();
    let drained = serve(&hub, &mut watched, &mut *control, &generation, &kill).await;
    hub.metrics().relays.dec();
    // Readers first: an upstream that ends takes the pictures that they still have to get.
    entry.ending.cancel();
    entry.tasks.close();
    tasks.close();
    if drained {
        let budget = drained_budget(&hub, &entry, &tasks, &upstreams).await;
        if !budget {
            tracing::warn!(
                reason = "overdue",
                "readers or the camera did not say goodbye in time"
            );
        }
    }
    Ok(())
}

/// Waits for readers, then for TEARDOWN; `false` when the time was over first.
async fn drained_budget(
    hub: &Hub,
    entry: &Entry,
    tasks: &TaskTracker,
    upstreams: &CancellationToken,
) -> bool {
    let goodbye = async {
        entry.tasks.wait().await;
        upstreams.cancel();
        tasks.wait().await;
    };
    timeout(&**hub.clock(), GOODBYE, goodbye).await.is_ok()
}

/// Follows orders until the relay is to drain (`true`) or is killed (`false`).
async fn serve(
    hub: &Hub,
    watched: &mut [Watched],
    control: &mut dyn WorkloadControl,
    generation: &watch::Sender<Generation>,
    kill: &CancellationToken,
) -> bool {
    let clock = hub.clock();
    let mut alarm = Alarm::new(clock.clone());
    let mut reported = clock.monotonic();
    loop {
        for source in watched.iter_mut() {
            source.report(control, false);
        }
        alarm.set(Some(reported + REPORT));
        tokio::select! {
            biased;
            () = kill.cancelled() => return false,
            order = control.order() => match order {
                Some(WorkloadOrder::Rebind { generation: newer }) => {
                    tracing::info!(generation = %newer, "the camera is back: connecting now");
                    generation.send_if_modified(|least| {
                        let is_newer = newer > *least;
                        *least = newer.max(*least);
                        is_newer
                    });
                    // Of what is read through it already nothing changes, and nothing else would be told soon.
                    for known in watched.iter_mut() {
                        if known.source.generation() >= newer {
                            known.report(control, true);
                        }
                    }
                }
                Some(WorkloadOrder::Cause { .. }) => {}
                Some(WorkloadOrder::Drain { .. }) | None => return true,
            },
            () = any_changed(watched) => (),
            () = alarm.wait() => {
                let now = clock.monotonic();
                let passed = now.saturating_duration_since(reported);
                reported = now;
                for source in watched.iter_mut() {
                    source.measure(passed);
                    source.report(control, true);
                }
            }
        }
    }
}

fn is_recorded(camera: &Camera, name: SourceName) -> bool {
    camera.record.source() == Some(name)
}

/// Waits until the state of a source may have changed.
async fn any_changed(watched: &mut [Watched]) {
    let mut waits = watched.iter_mut();
    match (waits.next(), waits.next()) {
        (Some(first), Some(second)) => tokio::select! {
            () = first.changed() => (),
            () = second.changed() => (),
        },
        (Some(only), None) => only.changed().await,
        (None, _) => std::future::pending().await,
    }
}

impl Watched {
    fn new(source: &Arc<Source>) -> Self {
        Self {
            states: source.states(),
            source: Arc::clone(source),
            seen: None,
            told: false,
            bytes: 0,
            bits_per_second: 0,
        }
    }

    /// Waits until what was told is no longer true. Pictures alone are no news.
    async fn changed(&mut self) {
        let mut demand = self.source.demand();
        loop {
            if self.seen != Some(self.now()) {
                return;
            }
            let ended = tokio::select! {
                changed = self.states.changed() => changed.is_err(),
                changed = demand.changed() => changed.is_err(),
            };
            if ended {
                std::future::pending::<()>().await;
            }
        }
    }

    fn now(&self) -> (RelayState, Timestamp, u32) {
        let (state, since) = self.source.look(|inner| (inner.state, inner.since));
        let readers = u32::try_from(self.source.readers()).unwrap_or(u32::MAX);
        (state, since, readers)
    }

    fn measure(&mut self, passed: Duration) {
        let bytes = self.source.look(|inner| inner.counts.bytes);
        let seconds = passed.as_secs_f64().max(0.001);
        self.bits_per_second = (bytes.saturating_sub(self.bytes) as f64 * 8.0 / seconds) as u64;
        self.bytes = bytes;
    }

    /// Reports what has changed; `anyway`: also what has not. A source that was never read is not spoken of.
    fn report(&mut self, control: &dyn WorkloadControl, anyway: bool) {
        let now = self.now();
        let same = self.seen.replace(now) == Some(now);
        let never_read = !self.told && now.0 == RelayState::Idle;
        if never_read || (!anyway && same) {
            return;
        }
        self.told = true;
        let (state, since, readers) = now;
        let (media, path, counts) = self
            .source
            .look(|inner| (inner.media.clone(), inner.path.clone(), inner.counts));
        control.report(WorkloadReport::Relay(RelayReport {
            source: self.source.name,
            state,
            since,
            path,
            media,
            bits_per_second: self.bits_per_second,
            readers,
            pictures: counts.pictures,
            pictures_lost: counts.pictures_lost,
            resyncs: counts.resyncs,
        }));
    }
}

/// The relay's place in the hub; given back however the workload ends.
struct Present {
    hub: Hub,
    camera: moorline_core::CameraId,
    entry: Entry,
}

impl Present {
    fn new(hub: &Hub, camera: &Camera, entry: &Entry) -> Self {
        hub.enter(&camera.id, entry.clone());
        Self {
            hub: hub.clone(),
            camera: camera.id.clone(),
            entry: entry.clone(),
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.hub.leave(&self.camera, &self.entry.main);
        self.entry.ending.cancel();
    }
}
