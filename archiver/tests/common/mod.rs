//! A recorder with everything around it faked: relay, store, monitor.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod camera;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use moorline_archiver::{Archive, Settings};
use moorline_base::clock::Sleeping;
use moorline_base::{CancellationToken, Clock, SharedClock, SystemClock};
use moorline_core::camera::{Camera, Source};
use moorline_core::coverage::{Coverage, Gap, Held, Recorded};
use moorline_core::port::{
    Relays, SealedFile, SegmentSink, StoreError, WorkloadControl, WorkloadOrder, WorkloadReport,
    WorkloadSpec,
};
use moorline_core::segment::{GapKey, ObjectKey, Retention, SegmentKey, Tier};
use moorline_core::status::{ArchiveReport, OpenGap};
use moorline_core::{CameraId, Cause, Generation, InstanceId, TimeRange, Timestamp};
use moorline_testkit::{Starved, patience};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::camera::{FakeCamera, Film, OneCamera};

/// Patience for everything that has to happen: a busy machine takes its time.
const SOON: Duration = Duration::from_secs(60);

/// What a store does with a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    Away,
    Stalls,
    Refuses,
    WrongDigest,
    Panics,
}

/// A store in memory.
pub(crate) struct FakeStore {
    pub(crate) mood: watch::Sender<Mood>,
    /// Of these objects every put fails, whatever the mood.
    pub(crate) cursed: Mutex<fn(&ObjectKey) -> bool>,
    pub(crate) objects: Mutex<BTreeMap<String, Vec<u8>>>,
    pub(crate) puts: AtomicUsize,
    /// Puts that failed because it was away.
    pub(crate) turned_away: AtomicUsize,
    /// What was stored, in that order.
    pub(crate) taken: Mutex<Vec<ObjectKey>>,
    pub(crate) end: Option<Timestamp>,
}

impl FakeStore {
    pub(crate) fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self {
            mood: watch::Sender::new(mood),
            cursed: Mutex::new(|_| false),
            objects: Mutex::default(),
            puts: AtomicUsize::new(0),
            turned_away: AtomicUsize::new(0),
            taken: Mutex::default(),
            end: None,
        })
    }

    pub(crate) fn keys(&self) -> Vec<ObjectKey> {
        self.objects
            .lock()
            .unwrap()
            .keys()
            .map(|key| key.parse().unwrap())
            .collect()
    }

    pub(crate) fn segments(&self) -> Vec<(SegmentKey, Vec<u8>)> {
        let objects = self.objects.lock().unwrap();
        let segments = objects
            .iter()
            .filter_map(|(key, bytes)| match key.parse().unwrap() {
                ObjectKey::Segment(key) => Some((key, bytes.clone())),
                ObjectKey::Gap(_) => None,
            });
        segments.collect()
    }

    pub(crate) fn gaps(&self) -> Vec<GapKey> {
        let gaps = self.keys().into_iter().filter_map(|key| match key {
            ObjectKey::Gap(key) => Some(key),
            ObjectKey::Segment(_) => None,
        });
        gaps.collect()
    }

    /// The gaps as a reader sees them: markers are cut at full hours, and a test may run across one.
    pub(crate) fn stretches(&self) -> Vec<GapKey> {
        let mut joined: Vec<GapKey> = Vec::new();
        for gap in self.gaps() {
            match joined.last_mut() {
                Some(last) if last.cause == gap.cause && last.range().to == gap.start => {
                    last.duration += gap.duration;
                }
                _ => joined.push(gap),
            }
        }
        joined
    }

    /// The same without the time before the first picture: on a machine that took more than a second to ask for it, that is a gap of its own.
    pub(crate) fn losses(&self) -> Vec<GapKey> {
        let mut gaps = self.stretches();
        let begun = self.segments().first().map(|(key, _)| key.range().to);
        let waited = gaps.first().is_some_and(|gap| {
            gap.cause == Cause::Restart && begun.is_none_or(|begun| gap.start < begun)
        });
        if waited {
            gaps.remove(0);
        }
        gaps
    }

    /// How many milliseconds lie between each segment and the next.
    pub(crate) fn pauses(&self) -> Vec<i64> {
        let segments = self.segments();
        let pause = |pair: &[(SegmentKey, Vec<u8>)]| {
            pair[1].0.start.as_millis() - pair[0].0.range().to.as_millis()
        };
        segments.windows(2).map(pause).collect()
    }

    /// Less than a second is missing anywhere, which is no gap. A camera that is asked again late has filmed on meanwhile.
    #[track_caller]
    pub(crate) fn assert_no_gap(&self, starved: &Starved) {
        let late = i64::try_from(starved.so_far().as_millis()).unwrap();
        let longest = self.pauses().into_iter().max().unwrap_or(0);
        assert!(longest < 1_000 + late, "{longest} ms, {late} ms late");
        let gaps = self.losses();
        assert!(gaps.is_empty() || longest + late >= 1_000, "{gaps:?}");
    }

    /// The numbers of all stored pictures, in the order of keys.
    pub(crate) fn frames(&self) -> Vec<u64> {
        self.segments()
            .iter()
            .flat_map(|(_, bytes)| frames(bytes))
            .collect()
    }
}

/// The numbers of the pictures in these bytes.
pub(crate) fn frames(bytes: &[u8]) -> Vec<u64> {
    let mark = camera::MARK;
    let found = bytes
        .windows(mark.len())
        .enumerate()
        .filter(|(_, window)| *window == mark);
    found
        .map(|(at, _)| {
            let digits = &bytes[at + mark.len()..at + mark.len() + 16];
            std::str::from_utf8(digits).unwrap().parse().unwrap()
        })
        .collect()
}

#[async_trait::async_trait]
impl SegmentSink for FakeStore {
    async fn put(&self, file: &SealedFile) -> Result<(), StoreError> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        let mut mood = self.mood.subscribe();
        let now = *mood.wait_for(|mood| *mood != Mood::Stalls).await.unwrap();
        match now {
            Mood::Away => {
                self.turned_away.fetch_add(1, Ordering::Relaxed);
                return Err(StoreError::Unavailable("connection refused".into()));
            }
            Mood::Refuses => return Err(StoreError::Refused("access denied".into())),
            Mood::Panics => panic!("the adapter has a bug"),
            Mood::WrongDigest => return Err(StoreError::Digest(file.key.to_string())),
            Mood::Takes | Mood::Stalls => {}
        }
        let cursed = *self.cursed.lock().unwrap();
        if cursed(&file.key) {
            return Err(StoreError::Unavailable("internal error".into()));
        }
        let bytes =
            std::fs::read(&file.path).map_err(|_| StoreError::Missing(file.key.to_string()))?;
        assert_eq!(bytes.len() as u64, file.bytes);
        assert!(file.md5.is_some(), "this store wants a digest");
        self.objects
            .lock()
            .unwrap()
            .insert(file.key.to_string(), bytes);
        self.taken.lock().unwrap().push(file.key.clone());
        std::fs::remove_file(&file.path).unwrap();
        Ok(())
    }

    fn wants_md5(&self) -> bool {
        true
    }

    async fn last_end(
        &self,
        _: &CameraId,
        _: &[Retention],
        _: Tier,
    ) -> Result<Option<Timestamp>, StoreError> {
        let stored = self.keys().iter().map(|key| key.range().to).max();
        Ok(stored.max(self.end))
    }
}

struct Control {
    orders: mpsc::Receiver<WorkloadOrder>,
    reports: watch::Sender<Option<ArchiveReport>>,
    heard: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl WorkloadControl for Control {
    async fn order(&mut self) -> Option<WorkloadOrder> {
        self.orders.recv().await
    }

    fn report(&self, report: WorkloadReport) {
        if let WorkloadReport::Archive(report) = report {
            self.reports.send_replace(Some(report));
        }
    }

    fn has_heard(&self, _: Generation) -> bool {
        self.heard.load(Ordering::Relaxed)
    }
}

/// A running recorder.
pub(crate) struct Running {
    pub(crate) orders: mpsc::Sender<WorkloadOrder>,
    pub(crate) reports: watch::Receiver<Option<ArchiveReport>>,
    /// Whether its monitor can be heard.
    pub(crate) heard: Arc<AtomicBool>,
    pub(crate) cancel: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), String>>,
}

impl Running {
    /// Waits until a report is so.
    #[track_caller]
    pub(crate) fn until(
        &mut self,
        what: &'static str,
        is: impl Fn(&ArchiveReport) -> bool,
    ) -> impl Future<Output = ArchiveReport> {
        let mut reports = self.reports.clone();
        async move {
            let found = reports.wait_for(|report| report.as_ref().is_some_and(&is));
            let found = tokio::time::timeout(patience(SOON), found).await;
            let last = self.reports.borrow().clone();
            found
                .unwrap_or_else(|_| panic!("never {what}: {last:?}"))
                .unwrap()
                .clone()
                .unwrap()
        }
    }

    pub(crate) async fn cause(&self, gap: Option<OpenGap>) {
        self.orders
            .send(WorkloadOrder::Cause { gap })
            .await
            .unwrap();
    }

    /// Drains and waits for the end.
    pub(crate) async fn drain(self, budget: Duration) -> Option<ArchiveReport> {
        self.orders
            .send(WorkloadOrder::Drain { budget })
            .await
            .unwrap();
        tokio::time::timeout(budget + patience(SOON), self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        self.reports.borrow().clone()
    }
}

pub(crate) fn camera() -> Arc<Camera> {
    let source = || Source {
        path: None,
        login: None,
        allow_basic: false,
    };
    Arc::new(Camera {
        title: "Yard".into(),
        main: source(),
        sub: Some(source()),
        ..Camera::new(
            "home/yard".parse().unwrap(),
            Timestamp::from_millis(0),
            Retention::Days(14),
        )
    })
}

pub(crate) fn spec() -> WorkloadSpec {
    WorkloadSpec {
        instance: InstanceId {
            generation: Generation(7),
            ordinal: 0,
        },
        camera: camera(),
        generation: Generation(7),
        gaps: Vec::new(),
        durable_until: None,
        recorded_from: None,
    }
}

/// Segments of 0.4 s, so that many are cut in a short test.
pub(crate) fn settings() -> Settings {
    Settings {
        segment: Duration::from_millis(400),
        min_free_bytes: 0,
        ..Settings::default()
    }
}

/// Another store with the same objects.
pub(crate) fn copy_of(store: &FakeStore) -> Arc<FakeStore> {
    let copy = FakeStore::new(Mood::Takes);
    copy.objects
        .lock()
        .unwrap()
        .clone_from(&store.objects.lock().unwrap());
    copy
}

/// Every second of the range is recorded or has a cause (P4).
#[track_caller]
pub(crate) fn assert_explained(store: &FakeStore, from: Timestamp, to: Timestamp) {
    let recorded: Vec<Recorded> = store
        .segments()
        .into_iter()
        .map(|(key, _)| Recorded {
            key,
            held: Held::Store,
        })
        .collect();
    let gaps: Vec<Gap> = store.gaps().iter().map(Gap::from).collect();
    let coverage = Coverage::compute(
        TimeRange::new(from, to),
        &recorded,
        &gaps,
        Timestamp::from_millis(0),
    );
    assert_eq!(coverage.unexplained(), [], "seconds without cause");
}

pub(crate) fn clock() -> SharedClock {
    SystemClock::shared()
}

/// A clock that goes as the real one does and shows another time of day.
#[derive(Debug)]
pub(crate) struct ShiftedClock {
    real: SharedClock,
    offset_ms: AtomicI64,
}

impl ShiftedClock {
    /// It shows this instant now.
    pub(crate) fn at(instant: &str) -> Arc<Self> {
        let (shown, real): (Timestamp, _) = (instant.parse().unwrap(), clock());
        let offset = shown.as_millis() - real.wall_ms();
        Arc::new(Self {
            real,
            offset_ms: AtomicI64::new(offset),
        })
    }

    pub(crate) fn step(&self, by_ms: i64) {
        self.offset_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall_ms())
    }
}

impl Clock for ShiftedClock {
    fn monotonic(&self) -> Instant {
        self.real.monotonic()
    }

    fn wall_ms(&self) -> i64 {
        self.real.wall_ms() + self.offset_ms.load(Ordering::Relaxed)
    }

    fn sleep_until(&self, deadline: Instant) -> Sleeping {
        self.real.sleep_until(deadline)
    }
}

pub(crate) async fn open(spool: &Path, store: &Arc<FakeStore>, settings: Settings) -> Archive {
    open_with(spool, store, settings, clock()).await
}

pub(crate) async fn open_with(
    spool: &Path,
    store: &Arc<FakeStore>,
    settings: Settings,
    clock: SharedClock,
) -> Archive {
    // what happened stands beside a failure
    let log = tracing_subscriber::fmt().with_env_filter("moorline_archiver=debug,retina=info");
    let _ = log.with_test_writer().try_init();
    let spool = spool.to_owned();
    Archive::open(
        spool,
        Arc::clone(store) as Arc<dyn SegmentSink>,
        clock,
        settings,
    )
    .await
    .unwrap()
}

/// Starts a recorder.
pub(crate) fn start(archive: &Archive, relays: Arc<dyn Relays>, spec: WorkloadSpec) -> Running {
    let (orders, receiver) = mpsc::channel(16);
    let (sender, reports) = watch::channel(None);
    let heard = Arc::new(AtomicBool::new(true));
    let control = Control {
        orders: receiver,
        reports: sender,
        heard: Arc::clone(&heard),
    };
    let cancel = CancellationToken::new();
    let work = archive.recorder_workload(spec, Box::new(control), relays, cancel.clone());
    Running {
        orders,
        reports,
        heard,
        cancel,
        task: tokio::spawn(work),
    }
}

/// A recorder at work, and its camera.
pub(crate) async fn recording(
    spool: &Path,
    store: &Arc<FakeStore>,
) -> (Archive, Arc<FakeCamera>, Running) {
    recording_with(spool, store, settings()).await
}

/// The same with other settings.
pub(crate) async fn recording_with(
    spool: &Path,
    store: &Arc<FakeStore>,
    settings: Settings,
) -> (Archive, Arc<FakeCamera>, Running) {
    let archive = open(spool, store, settings).await;
    let camera = FakeCamera::new(Film::default());
    let relays = Arc::new(OneCamera(Arc::clone(&camera)));
    let running = start(&archive, relays, spec());
    (archive, camera, running)
}

pub(crate) fn gap(since: Timestamp, cause: Cause) -> OpenGap {
    OpenGap { since, cause }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(clock().wall_ms())
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &'static str, is: impl Fn() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = tokio::time::Instant::now() + patience(SOON);
        while !is() {
            assert!(
                tokio::time::Instant::now() < deadline,
                "never {what} ({caller})"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Files below a directory whose names end so.
pub(crate) fn files(directory: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    found
}
