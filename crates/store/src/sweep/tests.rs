//! The sweeper on a disk that fills while time passes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use moorline_base::files::DiskSpace;
use moorline_base::{CancellationToken, SharedClock, SimulatedClock};
use moorline_core::Timestamp;
use moorline_core::port::{Listed, Page, SegmentStore, StoreError};
use moorline_testkit::eventually;

use super::erase::{Pace, erase_prefix};
use super::run::Disk;
use super::{SweepPolicy, SweepState, Sweeper};

const GIB: u64 = 1 << 30;

/// A store in memory on a disk of 100 GiB that others fill too.
#[derive(Default)]
struct Store {
    objects: Mutex<BTreeMap<String, u64>>,
    others: Mutex<u64>,
    stuck: Mutex<Vec<String>>,
}

impl Store {
    fn used(&self) -> u64 {
        self.objects.lock().unwrap().values().sum()
    }

    fn available(&self) -> u64 {
        100 * GIB - self.used() - *self.others.lock().unwrap()
    }

    /// A minute of a camera.
    fn put(&self, class: &str, start: Timestamp, bytes: u64) -> String {
        let (date, time) = (start.date(), start.time_of_day());
        let key = format!(
            "v1/{class}/home/yard/{:04}/{:02}/{:02}/{:02}{:02}{:02}.000Z_00060000_g0000000001_00000001_000000_000000_full.mp4",
            date.year, date.month, date.day, time.hour, time.minute, time.second
        );
        self.objects.lock().unwrap().insert(key.clone(), bytes);
        key
    }
}

#[async_trait]
impl SegmentStore for Store {
    async fn list(&self, prefix: &str, after: &str) -> Result<Page, StoreError> {
        let objects = self.objects.lock().unwrap();
        let later = objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
        let listed = later.map(|(key, bytes)| Listed {
            key: key.clone(),
            bytes: *bytes,
        });
        Ok(Page {
            objects: listed.collect(),
            more: false,
        })
    }

    async fn get(&self, key: &str, _: Range<u64>) -> Result<Bytes, StoreError> {
        Err(StoreError::Missing(key.to_owned()))
    }

    async fn head(&self, key: &str) -> Result<u64, StoreError> {
        Err(StoreError::Missing(key.to_owned()))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        if self.stuck.lock().unwrap().iter().any(|stuck| stuck == key) {
            return Err(StoreError::Refused("immutable".to_owned()));
        }
        self.objects.lock().unwrap().remove(key);
        Ok(())
    }

    async fn copy(&self, from: &str, _: &str) -> Result<(), StoreError> {
        Err(StoreError::Missing(from.to_owned()))
    }
}

#[async_trait]
impl Disk for Store {
    async fn space(&self) -> Result<DiskSpace, StoreError> {
        Ok(DiskSpace {
            total: 100 * GIB,
            available: self.available(),
        })
    }

    async fn list(&self, after: &str) -> Result<Page, StoreError> {
        SegmentStore::list(self, "v1/", after).await
    }
}

fn start() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

fn sweeper(store: &Arc<Store>, state: SweepState, clock: &SimulatedClock) -> Sweeper {
    let disk: Arc<dyn Disk> = Arc::clone(store) as _;
    let clock: SharedClock = Arc::new(clock.clone());
    let policy = SweepPolicy::default();
    Sweeper::new(Arc::clone(store) as _, Some(disk), policy, state, clock)
}

/// Runs `step` each simulated second, with the sweeper at work.
async fn for_seconds(sweeper: &Sweeper, clock: &SimulatedClock, seconds: u64, step: impl Fn(u64)) {
    let cancel = CancellationToken::new();
    let time = async {
        for second in 0..seconds {
            clock.sleepers(1).await;
            step(second);
            clock.advance(Duration::from_secs(1));
        }
        cancel.cancel();
    };
    tokio::join!(sweeper.run(&cancel), time);
}

#[tokio::test]
async fn what_must_stay_free_stays_free_while_a_hundred_cameras_record() {
    let clock = SimulatedClock::new(start().as_millis());
    let store = Arc::new(Store::default());
    // Others have 30 GiB; two days of recordings leave 6 GiB.
    *store.others.lock().unwrap() = 30 * GIB;
    for minute in 0..1024 {
        store.put("r014", start() - minutes(3_000 - minute), GIB / 16);
    }
    assert_eq!(store.available(), 6 * GIB);
    let sweeper = sweeper(&store, SweepState::in_memory(), &clock);
    // 25 MB a second, for longer than two regular sweeps.
    for_seconds(&sweeper, &clock, 1_500, |second| {
        let at = start() + Duration::from_secs(second);
        store.put("r014", at, 25_000_000);
        assert!(store.available() >= 5 * GIB, "after {second} s");
    })
    .await;
    assert!(store.available() <= 8 * GIB, "and no more goes than must");
}

#[tokio::test]
async fn room_that_is_asked_for_while_it_runs_is_made_at_once() {
    let clock = SimulatedClock::new(start().as_millis());
    let store = Arc::new(Store::default());
    *store.others.lock().unwrap() = 30 * GIB;
    for minute in 0..1024 {
        store.put("r014", start() - minutes(3_000 - minute), GIB / 16);
    }
    let sweeper = sweeper(&store, SweepState::in_memory(), &clock);
    let cancel = CancellationToken::new();
    let asked = async {
        clock.sleepers(1).await;
        assert_eq!(store.available(), 6 * GIB);
        sweeper.set_room(80, 10 * GIB);
        // The clock stands still: nobody has looked at the disk by the time.
        eventually("room", Duration::from_secs(30), || async {
            (store.available() >= 10 * GIB).then_some(())
        })
        .await;
        cancel.cancel();
    };
    tokio::join!(sweeper.run(&cancel), asked);
}

#[tokio::test]
async fn a_clock_that_is_years_ahead_deletes_nothing_before_an_hour_has_passed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("swept.json");
    let clock = SimulatedClock::new(start().as_millis());
    let store = Arc::new(Store::default());
    for age in [1, 10, 20] {
        store.put("r014", start() - minutes(age * 24 * 60), 1_000);
    }
    let before = sweeper(&store, SweepState::open(path.clone()).unwrap(), &clock);
    assert_eq!(before.run_once().await.unwrap().objects, 1);

    // The next start believes in 2036.
    let ahead = SimulatedClock::new((start() + minutes(10 * 365 * 24 * 60)).as_millis());
    let state = || SweepState::open(path.clone()).unwrap();
    let told = state();
    let first = sweeper(&store, told.clone(), &ahead);
    assert_eq!(told.doubt(), None);
    assert_eq!(first.run_once().await.unwrap().objects, 0);
    let doubt = told.doubt().unwrap();
    assert_eq!(doubt.expected, start());
    assert!(doubt.clock > start() + minutes(9 * 365 * 24 * 60));
    ahead.advance(minutes(50));
    assert_eq!(first.run_once().await.unwrap().objects, 0);
    // A restart begins the hour anew; room is made all the same.
    let last = state();
    let again = sweeper(&store, last.clone(), &ahead);
    assert_eq!(again.run_once().await.unwrap().objects, 0);
    ahead.advance(minutes(50));
    *store.others.lock().unwrap() = 96 * GIB;
    assert_eq!(again.run_once().await.unwrap().objects, 2);
    store.put("r014", start(), 1_000);
    *store.others.lock().unwrap() = 0;
    assert_eq!(again.run_once().await.unwrap().objects, 0);
    // It has stood for an hour.
    assert!(last.doubt().is_some());
    ahead.advance(minutes(20));
    assert_eq!(again.run_once().await.unwrap().objects, 1);
    assert_eq!(last.doubt(), None);
}

#[tokio::test]
async fn one_object_that_cannot_be_deleted_stops_no_sweep() {
    let clock = SimulatedClock::new(start().as_millis());
    let store = Arc::new(Store::default());
    let old: Vec<_> = (0..3)
        .map(|minute| store.put("r001", start() - minutes(3_000 - minute), GIB))
        .collect();
    let young: Vec<_> = (0..10)
        .map(|minute| store.put("r014", start() - minutes(2_000 - minute), GIB))
        .collect();
    store
        .stuck
        .lock()
        .unwrap()
        .extend([old[0].clone(), young[0].clone()]);
    // Two more have to go for room than those that expired; 7.5 GiB are to be free afterwards.
    *store.others.lock().unwrap() = 100 * GIB - 13 * GIB - 2 * GIB - GIB / 2;
    let sweeper = sweeper(&store, SweepState::in_memory(), &clock);
    let swept = sweeper.run_once().await.unwrap();
    assert_eq!((swept.objects, swept.short), (5, 0));
    assert_eq!(store.available(), 7 * GIB + GIB / 2);
    let left = |key: &String| store.objects.lock().unwrap().contains_key(key);
    assert!(left(&old[0]) && left(&young[0]));
    assert!(!left(&old[1]) && !left(&old[2]) && !left(&young[3]) && left(&young[4]));

    // A store that deletes nothing is a failure.
    let all = store.objects.lock().unwrap().keys().cloned().collect();
    *store.stuck.lock().unwrap() = all;
    clock.advance(minutes(60 * 24 * 20));
    for minute in 0..20 {
        let key = store.put("r001", start() - minutes(minute), 1);
        store.stuck.lock().unwrap().push(key);
    }
    assert!(sweeper.run_once().await.is_err());
}

/// An object that its bucket keeps, in a cluster: as old as it is, it is the first of each sweep.
#[tokio::test]
async fn one_object_that_cannot_be_deleted_stops_no_paced_sweep() {
    let clock = SimulatedClock::new(start().as_millis());
    let store = Arc::new(Store::default());
    let old: Vec<_> = (0..20)
        .map(|minute| store.put("r001", start() - minutes(3_000 - minute), 1))
        .collect();
    store.stuck.lock().unwrap().push(old[0].clone());
    let shared: SharedClock = Arc::new(clock.clone());
    let policy = SweepPolicy::default();
    let state = SweepState::in_memory();
    let by_age = Sweeper::by_age(Arc::clone(&store) as _, policy, state, Arc::clone(&shared));
    let pace = Pace::new(0, shared, CancellationToken::new());
    let swept = by_age.paced(pace).run_once().await.unwrap();
    assert_eq!((swept.objects, swept.bytes), (19, 19));
    assert_eq!(store.used(), 1);
}

#[tokio::test]
async fn one_object_that_cannot_be_deleted_keeps_nothing_else_from_being_erased() {
    let store = Store::default();
    let keys: Vec<_> = (0..20)
        .map(|minute| store.put("r014", start() - minutes(minute), 1))
        .collect();
    store.stuck.lock().unwrap().push(keys[7].clone());
    let clock: SharedClock = Arc::new(SimulatedClock::new(start().as_millis()));
    let pace = Pace::new(0, clock, CancellationToken::new());
    let erased = erase_prefix(&store, "v1/r014/home/yard/", &pace).await;
    assert!(matches!(erased, Err(StoreError::Refused(_))), "{erased:?}");
    assert_eq!(store.used(), 1, "it alone is left");
    store.stuck.lock().unwrap().clear();
    let erased = erase_prefix(&store, "v1/r014/home/yard/", &pace).await;
    assert_eq!((erased.unwrap(), store.used()), (1, 0));
}
