//! When it looks, what it remembers, and whom it tells.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use moorline_base::clock::TokioClock;
use moorline_core::camera::CameraSet;
use moorline_core::segment::Retention;

use super::*;

/// 2026-11-20T00:00:00Z.
const START: i64 = 1_795_132_800_000;
const HOUR: u64 = 3_600;

fn camera(name: &str) -> Camera {
    Camera {
        ..Camera::new(
            name.parse().unwrap(),
            Timestamp::from_millis(START - 30 * 86_400_000),
            Retention::Days(14),
        )
    }
}

struct Fixed(Arc<CameraSet>);

#[async_trait]
impl CameraDirectory for Fixed {
    fn snapshot(&self) -> Arc<CameraSet> {
        Arc::clone(&self.0)
    }

    async fn changed(&self, _: u64) -> u64 {
        std::future::pending().await
    }

    fn version(&self) -> u64 {
        0
    }
}

#[derive(Clone, Default)]
struct World {
    looked: Arc<Mutex<Vec<(String, TimeRange)>>>,
    findings: Arc<Mutex<Vec<VerifyFinding>>>,
    hangs: Arc<AtomicBool>,
    told: Arc<Mutex<Vec<Alarm>>>,
}

impl World {
    fn start(&self, daily: &Daily, stop: &CancellationToken) -> tokio::task::JoinHandle<()> {
        let world = self.clone();
        let look: Look = Arc::new(move |camera, range| {
            let world = world.clone();
            Box::pin(async move {
                let name = camera.id.name().to_owned();
                world.looked.lock().unwrap().push((name.clone(), range));
                if name == "a" && world.hangs.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                let own = world.findings.lock().unwrap().clone();
                let own = own
                    .into_iter()
                    .filter(|one| one.camera == camera.id.to_string());
                Ok(VerifyView {
                    objects: 10,
                    read: 1,
                    findings: own.collect(),
                })
            })
        });
        let told = Arc::clone(&self.told);
        let cameras = Arc::new(Fixed(Arc::new(CameraSet::new([camera("a"), camera("b")]))));
        tokio::spawn(daily.clone().run(
            cameras,
            look,
            Arc::new(move |alarm| told.lock().unwrap().push(alarm)),
            Arc::new(TokioClock::starting_at(START)),
            stop.clone(),
        ))
    }
}

fn lost(camera: &str, key: &str) -> VerifyFinding {
    VerifyFinding {
        camera: camera.to_owned(),
        kind: "lost".to_owned(),
        key: key.to_owned(),
        why: "the store has lost it".to_owned(),
        from: Some(Timestamp::from_millis(START)),
        to: Some(Timestamp::from_millis(START + 60_000)),
    }
}

async fn pass(seconds: u64) {
    for _ in 0..seconds.div_ceil(60) {
        tokio::time::advance(Duration::from_secs(60)).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_camera_is_looked_at_once_a_day_and_a_loss_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("verified.json");
    let (world, stop) = (World::default(), CancellationToken::new());
    let daily = Daily::open(path.clone());
    let running = world.start(&daily, &stop);
    pass(HOUR).await;
    let looked = std::mem::take(&mut *world.looked.lock().unwrap());
    let names: Vec<_> = looked.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(looked[0].1.duration(), LOOKED_AT);
    let first = daily.last().unwrap();
    assert_eq!((first.objects, first.lost, first.damaged), (20, 0, 0));
    assert!(world.told.lock().unwrap().is_empty());

    *world.findings.lock().unwrap() = vec![lost("home/b", "take 7, 3 to 4")];
    pass(24 * HOUR).await;
    assert_eq!(daily.last().unwrap().lost, 1);
    let told = world.told.lock().unwrap().clone();
    let AlarmKind::RecordingsDamaged {
        lost: 1,
        damaged: 0,
        cameras,
        ..
    } = &told[0].kind
    else {
        panic!("{told:?}")
    };
    assert_eq!(cameras[0].name(), "b");

    // It is marked now: the same loss under another key.
    *world.findings.lock().unwrap() = vec![lost("home/b", "v1/r014/home/b/…")];
    pass(24 * HOUR).await;
    assert_eq!(world.told.lock().unwrap().len(), 1, "once");
    stop.cancel();
    running.await.unwrap();
    assert_eq!(
        Daily::open(path).last().unwrap().lost,
        1,
        "it outlives the process"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_look_again_and_a_camera_that_hangs_costs_ten_minutes() {
    let directory = tempfile::tempdir().unwrap();
    let daily = Daily::open(directory.path().join("verified.json"));
    daily.set(Looked {
        at: Timestamp::from_millis(START - 3_600_000),
        objects: 0,
        lost: 0,
        damaged: 0,
        failed: 0,
        findings: Vec::new(),
    });
    let (world, stop) = (World::default(), CancellationToken::new());
    world.hangs.store(true, Ordering::SeqCst);
    let running = world.start(&daily, &stop);
    pass(22 * HOUR).await;
    assert!(world.looked.lock().unwrap().is_empty());
    pass(4 * HOUR).await;
    let looked = world.looked.lock().unwrap().len();
    let last = daily.last().unwrap();
    assert_eq!((looked, last.failed, last.objects), (2, 1, 10));
    stop.cancel();
    running.await.unwrap();
}
