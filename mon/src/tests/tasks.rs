//! Workloads as tasks: crashes are told and hurt nobody, drains end, kills end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use moorline_base::SystemClock;
use moorline_core::camera::Record;
use moorline_core::lifecycle::Role;
use moorline_core::port::*;
use moorline_core::status::{LinkStatus, OpenGap};
use moorline_core::{Camera, CameraId, Cause, Generation, InstanceId};
use tokio::sync::mpsc;

use super::world::{START, World, instance, record};
use crate::{Settings, Start, TaskWorkloads};

const I1: InstanceId = instance(1, 0);
const MINUTE: Duration = Duration::from_secs(60);

/// Hands on what workloads say.
struct Told(mpsc::Sender<WorkloadEvent>);

impl WorkloadEvents for Told {
    fn tell(&self, _: &CameraId, _: InstanceId, event: WorkloadEvent) {
        self.0.try_send(event).unwrap();
    }
}

type Starts = Arc<Mutex<BTreeMap<&'static str, u32>>>;

struct Bench {
    workloads: TaskWorkloads,
    told: mpsc::Receiver<WorkloadEvent>,
}

impl Bench {
    fn new(relay: Start, archiver: Start) -> Self {
        let (tell, told) = mpsc::channel(64);
        let workloads =
            TaskWorkloads::new(SystemClock::shared(), Arc::new(Told(tell)), relay, archiver);
        Self { workloads, told }
    }

    async fn next(&mut self) -> WorkloadEvent {
        let next = tokio::time::timeout(10 * MINUTE, self.told.recv());
        next.await.expect("in time").expect("somebody tells")
    }

    /// Nothing is told for ten minutes.
    async fn silence(&mut self) {
        let next = tokio::time::timeout(10 * MINUTE, self.told.recv()).await;
        assert!(next.is_err(), "{next:?}");
    }
}

fn spec(camera: Camera) -> WorkloadSpec {
    WorkloadSpec {
        instance: I1,
        camera: Arc::new(camera),
        generation: Generation(1),
        gaps: Vec::new(),
        durable_until: None,
        recorded_from: None,
    }
}

/// Waits for the order to drain, and obeys.
fn good() -> Start {
    Arc::new(|_, mut control, _| {
        Box::pin(async move {
            loop {
                if let None | Some(WorkloadOrder::Drain { .. }) = control.order().await {
                    return Ok(());
                }
            }
        })
    })
}

fn counted(name: &'static str, starts: &Starts, start: Start) -> Start {
    let starts = Arc::clone(starts);
    Arc::new(move |spec, control, token| {
        *starts.lock().unwrap().entry(name).or_default() += 1;
        start(spec, control, token)
    })
}

/// Hears nothing, not even its token.
fn stubborn() -> Start {
    Arc::new(|_, _, _| Box::pin(std::future::pending()))
}

fn drain() -> WorkloadOrder {
    WorkloadOrder::Drain { budget: MINUTE }
}

#[tokio::test(start_paused = true)]
async fn both_end_after_a_drain_and_that_is_told_once() {
    let mut bench = Bench::new(good(), good());
    bench.workloads.start(spec(record("yard")));
    bench.workloads.order(&record("yard").id, I1, drain());
    assert_eq!(bench.next().await, WorkloadEvent::Drained);
    bench.workloads.order(&record("yard").id, I1, drain());
    bench.workloads.kill(&record("yard").id, I1);
    bench.silence().await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_drained_when_the_slower_of_the_two_has_ended() {
    let slow: Start = Arc::new(|_, mut control, _| {
        Box::pin(async move {
            while !matches!(control.order().await, Some(WorkloadOrder::Drain { .. })) {}
            tokio::time::sleep(MINUTE / 2).await;
            Err("the last upload failed".to_owned())
        })
    });
    let mut bench = Bench::new(good(), slow);
    bench.workloads.start(spec(record("yard")));
    let began = tokio::time::Instant::now();
    bench.workloads.order(&record("yard").id, I1, drain());
    assert_eq!(bench.next().await, WorkloadEvent::Drained);
    assert!(began.elapsed() >= MINUTE / 2, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_panic_an_error_and_an_early_end_are_crashes_and_the_other_role_lives() {
    let ends: [(Start, &str); 4] = [
        (Arc::new(|_, _, _| panic!("at once")), "panic: at once"),
        (
            Arc::new(|_, _, _| Box::pin(async { panic!("index {} out of range", 7) })),
            "panic: index 7 out of range",
        ),
        (
            Arc::new(|_, _, _| Box::pin(async { Err("the disk is gone".to_owned()) })),
            "the disk is gone",
        ),
        (
            Arc::new(|_, _, _| Box::pin(async { Ok(()) })),
            "it ended by itself",
        ),
    ];
    for (archiver, why) in ends {
        let mut bench = Bench::new(good(), archiver);
        bench.workloads.start(spec(record("yard")));
        let crashed = WorkloadEvent::Crashed {
            role: Role::Archiver,
            reason: why.to_owned(),
        };
        assert_eq!(bench.next().await, crashed);
        bench.silence().await;
        bench.workloads.order(&record("yard").id, I1, drain());
        assert_eq!(bench.next().await, WorkloadEvent::Drained);
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_of_which_nothing_runs_is_drained_at_once() {
    let crash = || -> Start { Arc::new(|_, _, _| panic!("at once")) };
    let mut bench = Bench::new(crash(), crash());
    bench.workloads.start(spec(record("yard")));
    for _ in 0..2 {
        assert!(matches!(bench.next().await, WorkloadEvent::Crashed { .. }));
    }
    bench.workloads.order(&record("yard").id, I1, drain());
    assert_eq!(bench.next().await, WorkloadEvent::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_hears_nothing_is_aborted_when_it_is_killed() {
    let mut bench = Bench::new(stubborn(), stubborn());
    bench.workloads.start(spec(record("yard")));
    bench.workloads.order(&record("yard").id, I1, drain());
    bench.silence().await;
    bench.workloads.kill(&record("yard").id, I1);
    assert_eq!(bench.next().await, WorkloadEvent::Drained);
}

#[tokio::test(start_paused = true)]
async fn start_is_idempotent_and_only_what_crashed_is_started_again() {
    let starts = Starts::default();
    let runs = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&runs);
    let once: Start = Arc::new(move |spec, control, token| {
        if counter.fetch_add(1, Ordering::SeqCst) == 0 {
            panic!("the first time");
        }
        good()(spec, control, token)
    });
    let mut bench = Bench::new(
        counted("relay", &starts, good()),
        counted("archiver", &starts, once),
    );
    bench.workloads.start(spec(record("yard")));
    bench.workloads.start(spec(record("yard")));
    assert!(matches!(bench.next().await, WorkloadEvent::Crashed { .. }));
    for role in [Role::Archiver, Role::Archiver, Role::Relay] {
        bench.workloads.restart(I1, role, spec(record("yard")));
    }
    bench.silence().await;
    assert_eq!(
        *starts.lock().unwrap(),
        BTreeMap::from([("archiver", 2), ("relay", 1)])
    );
    bench.workloads.order(&record("yard").id, I1, drain());
    assert_eq!(bench.next().await, WorkloadEvent::Drained);
    bench
        .workloads
        .restart(I1, Role::Relay, spec(record("yard")));
    bench.silence().await;
}

#[tokio::test(start_paused = true)]
async fn without_recording_there_is_only_a_relay() {
    let starts = Starts::default();
    let mut bench = Bench::new(
        counted("relay", &starts, good()),
        counted("archiver", &starts, good()),
    );
    bench.workloads.start(spec(Camera {
        record: Record::Off,
        ..record("yard")
    }));
    bench.silence().await;
    assert_eq!(*starts.lock().unwrap(), BTreeMap::from([("relay", 1)]));
}

#[tokio::test(start_paused = true)]
async fn unread_orders_merge_to_the_newest_and_the_drain_comes_last() {
    let (saw, mut seen) = mpsc::channel(16);
    let (go, gate) = tokio::sync::watch::channel(false);
    let slow: Start = Arc::new(move |_, mut control, _| {
        let (saw, mut gate) = (saw.clone(), gate.clone());
        Box::pin(async move {
            gate.wait_for(|open| *open).await.unwrap();
            while let Some(order) = control.order().await {
                saw.send(order).await.unwrap();
                if matches!(order, WorkloadOrder::Drain { .. }) {
                    return Ok(());
                }
            }
            Err("no order to drain".to_owned())
        })
    });
    let bench = Bench::new(good(), slow);
    let yard = record("yard").id;
    bench.workloads.start(spec(record("yard")));
    let gap = Some(OpenGap {
        since: START,
        cause: Cause::HungUp,
    });
    let rebind = |generation| WorkloadOrder::Rebind {
        generation: Generation(generation),
    };
    bench.workloads.order(&yard, I1, rebind(2));
    bench.workloads.order(&yard, I1, drain());
    bench
        .workloads
        .order(&yard, I1, WorkloadOrder::Cause { gap: None });
    bench.workloads.order(&yard, I1, rebind(3));
    bench
        .workloads
        .order(&yard, I1, WorkloadOrder::Cause { gap });
    go.send(true).unwrap();
    let mut orders = Vec::new();
    while let Some(order) = seen.recv().await {
        orders.push(order);
        if orders.len() == 3 {
            break;
        }
    }
    assert_eq!(orders, [rebind(3), WorkloadOrder::Cause { gap }, drain()]);
}

#[tokio::test(start_paused = true)]
async fn a_workload_whose_supervisor_is_gone_is_told_to_drain() {
    let (saw, mut seen) = mpsc::channel(1);
    let lonely: Start = Arc::new(move |_, mut control, _| {
        let saw = saw.clone();
        Box::pin(async move {
            saw.send(control.order().await).await.unwrap();
            Ok(())
        })
    });
    let bench = Bench::new(lonely, good());
    bench.workloads.start(spec(record("yard")));
    drop(bench);
    let order = tokio::time::timeout(MINUTE, seen.recv())
        .await
        .expect("in time");
    assert_eq!(order, Some(None));
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_crashes_again_and_again_is_started_with_growing_pauses_and_hurts_nobody() {
    let starts = Starts::default();
    let crash: Start = Arc::new(|_, _, _| Box::pin(async { panic!("again") }));
    let archiver = counted("archiver", &starts, crash);
    let relay: Start = counted("relay", &starts, good());
    let world = World::among(
        START,
        Settings::default(),
        [record("yard"), record("gate")],
        BTreeMap::new(),
        |monitor, _| {
            Arc::new(TaskWorkloads::new(
                SystemClock::shared(),
                monitor,
                relay,
                archiver,
            ))
        },
    );
    world.settle().await;
    world.up(1, "yard").await;
    world.pass(600).await;
    let count = |role| starts.lock().unwrap()[role];
    assert!(
        (8..60).contains(&count("archiver")),
        "{}",
        count("archiver")
    );
    assert_eq!(count("relay"), 1, "the other role goes on");
    let gap = world.status("yard").open_gap().unwrap();
    assert_eq!(gap.cause, Cause::Restart);
    world.up(2, "gate").await;
    assert!(matches!(world.status("gate").link, LinkStatus::Up { .. }));
    let (report, _) = world.stop().await;
    assert_eq!(report.left, 0);
}
