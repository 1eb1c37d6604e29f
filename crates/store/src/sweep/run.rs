//! The sweeper: list, plan, delete.

use std::collections::{BTreeSet, BinaryHeap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use moorline_base::clock::Slept;
use moorline_base::files::DiskSpace;
use moorline_base::{CancellationToken, SharedClock, clock};
use moorline_core::Timestamp;
use moorline_core::port::{Page, SegmentStore, StoreError};
use moorline_core::segment::{ObjectKey, Retention, camera_prefix};
use tokio::sync::Notify;

use super::erase::{MOST_STUCK, Pace};
use super::plan::{Object, Plan, Room, plan};
use super::trust::{Now, Trust};
use super::{Doubt, SweepPolicy, SweepState};
use crate::DirectoryStore;

/// How many of the oldest objects one plan sees, to bound memory: enough for 14 cameras' whole day.
const WINDOW: usize = 20_000;

/// How often the disk is looked at between sweeps: 100 cameras of 2 Mbit/s write 250 MB in that time.
const LOOK: Duration = Duration::from_secs(10);

/// The same after a sweep that could not make room: what may go grows by a minute per minute.
const LOOK_IN_VAIN: Duration = Duration::from_secs(60);

/// What one sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Objects that were deleted.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes over the bounds that could not be freed: somebody must act.
    pub short: u64,
}

/// The disk that is swept.
#[async_trait]
pub(super) trait Disk: Send + Sync {
    /// Its room.
    async fn space(&self) -> Result<DiskSpace, StoreError>;

    /// Its objects behind a key, without what is in folders that cannot be read.
    async fn list(&self, after: &str) -> Result<Page, StoreError>;
}

#[async_trait]
impl Disk for DirectoryStore {
    async fn space(&self) -> Result<DiskSpace, StoreError> {
        Self::space(self).await
    }

    async fn list(&self, after: &str) -> Result<Page, StoreError> {
        self.list_readable(after).await
    }
}

/// Deletes what retention has outlived. One per store.
pub struct Sweeper {
    store: Arc<dyn SegmentStore>,
    disk: Option<Arc<dyn Disk>>,
    policy: Mutex<SweepPolicy>,
    /// The policy has changed: a sweep is due.
    changed: Notify,
    state: SweepState,
    pace: Option<Pace>,
    trust: Mutex<Trust>,
    clock: SharedClock,
}

impl std::fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweeper")
            .field("policy", &self.policy())
            .finish_non_exhaustive()
    }
}

impl Sweeper {
    /// Of a directory: by age and by room.
    pub fn of_directory(
        store: DirectoryStore,
        policy: SweepPolicy,
        state: SweepState,
        clock: SharedClock,
    ) -> Self {
        let disk: Arc<dyn Disk> = Arc::new(store.clone());
        Self::new(Arc::new(store), Some(disk), policy, state, clock)
    }

    /// Of any store: by age alone, with few requests (one page per camera and class, unless something expired).
    pub fn by_age(
        store: Arc<dyn SegmentStore>,
        policy: SweepPolicy,
        state: SweepState,
        clock: SharedClock,
    ) -> Self {
        Self::new(store, None, policy, state, clock)
    }

    pub(super) fn new(
        store: Arc<dyn SegmentStore>,
        disk: Option<Arc<dyn Disk>>,
        policy: SweepPolicy,
        state: SweepState,
        clock: SharedClock,
    ) -> Self {
        let wall = Timestamp::from_millis(clock.wall_ms());
        let trust = Trust::new(state.clock().unwrap_or(wall), clock.monotonic());
        Self {
            store,
            disk,
            policy: Mutex::new(policy),
            changed: Notify::new(),
            state,
            pace: None,
            trust: Mutex::new(trust),
            clock,
        }
    }

    /// Deletes at this pace instead of as fast as the store.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        Self {
            pace: Some(pace),
            ..self
        }
    }

    fn policy(&self) -> SweepPolicy {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes [`SweepPolicy::max_percent`] and [`SweepPolicy::min_free`]. A sweep comes at once.
    pub fn set_room(&self, max_percent: u8, min_free: u64) {
        let mut policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        if (policy.max_percent, policy.min_free) != (max_percent, min_free) {
            policy.max_percent = max_percent;
            policy.min_free = min_free;
            self.changed.notify_one();
        }
    }

    /// Sweeps at once and then regularly, until `cancel`. A sweep that failed is told and comes again.
    pub async fn run(&self, cancel: &CancellationToken) {
        let mut in_vain = false;
        loop {
            let swept = tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                swept = self.run_once() => swept,
            };
            let failed = !matches!(swept, Ok(Swept { short: 0, .. }));
            match swept {
                Ok(Swept { short: 1.., .. }) => {
                    // Once, and not with each look at a disk that stays full.
                    if !in_vain {
                        tracing::warn!(
                            "the disk is too full and nothing older than the last hour is left to delete"
                        );
                    }
                }
                Ok(swept) if swept.objects > 0 => {
                    tracing::info!(
                        objects = swept.objects,
                        bytes = swept.bytes,
                        "retention deleted recordings"
                    );
                }
                Ok(_) => {}
                Err(cause) => tracing::warn!(%cause, "retention could not sweep"),
            }
            in_vain = failed;
            if self.until_due(in_vain, cancel).await.is_cancelled() {
                break;
            }
        }
        tracing::debug!("the sweeper ended");
    }

    /// Waits for the next sweep: its time, or a disk that gets full before.
    async fn until_due(&self, in_vain: bool, cancel: &CancellationToken) -> Slept {
        let due = self.clock.monotonic() + self.policy().every;
        let Some(disk) = &self.disk else {
            return clock::sleep_until(&*self.clock, due, cancel).await;
        };
        let pause = if in_vain { LOOK_IN_VAIN } else { LOOK };
        loop {
            let look = due.min(self.clock.monotonic() + pause);
            tokio::select! {
                slept = clock::sleep_until(&*self.clock, look, cancel) => if slept.is_cancelled() {
                    return Slept::Cancelled;
                },
                () = self.changed.notified() => return Slept::Elapsed,
            }
            let space = tokio::select! {
                biased;
                () = cancel.cancelled() => return Slept::Cancelled,
                space = disk.space() => space,
            };
            let tight = space.is_ok_and(|space| self.policy().is_tight(space.available));
            if tight || self.clock.monotonic() >= due {
                return Slept::Elapsed;
            }
        }
    }

    /// One sweep: as many plans as it takes. Cancelling it leaves what was not deleted yet. An object that cannot be deleted is told and
    /// passed over.
    ///
    /// # Errors
    /// [`StoreError`] of the first request that failed; of a deletion, if more than a few fail.
    pub async fn run_once(&self) -> Result<Swept, StoreError> {
        let now = self.now().await;
        let mut swept = Swept::default();
        let mut stuck = BTreeSet::new();
        loop {
            let (mut oldest, used) = self.scan(now).await?;
            let whole = oldest.len() < WINDOW;
            oldest.retain(|object| !stuck.contains(&object.key));
            let room = match &self.disk {
                Some(disk) => Some(Room {
                    disk: disk.space().await?,
                    used,
                }),
                None => None,
            };
            let plan = plan(&oldest, room, &self.policy(), now);
            swept.short = plan.short;
            let before = stuck.len();
            self.carry_out(&plan, &mut swept, &mut stuck).await?;
            let done = whole || plan.delete.is_empty();
            if done && stuck.len() == before {
                return Ok(swept);
            }
        }
    }

    /// The wall clock, unless it cannot be believed.
    async fn now(&self) -> Timestamp {
        let wall = Timestamp::from_millis(self.clock.wall_ms());
        let judged = {
            let mut trust = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
            trust.judge(wall, self.clock.monotonic())
        };
        match judged {
            Now::Sure(now) => {
                self.state.set_doubt(None);
                let state = self.state.clone();
                let noted = tokio::task::spawn_blocking(move || state.believe(now)).await;
                // A disk that is full must be swept all the same; the worst is an hour's wait after the next start.
                if !matches!(noted, Ok(Ok(()))) {
                    tracing::debug!("the time of this sweep was not noted");
                }
                now
            }
            Now::Doubted(expected) => {
                let doubt = Doubt {
                    clock: wall,
                    expected,
                };
                self.state.set_doubt(Some(doubt));
                tracing::warn!(
                    clock = %wall, %expected,
                    "the clock is days ahead of the last sweep: if it stays so for an hour, recordings expire by it"
                );
                expected
            }
        }
    }

    async fn carry_out(
        &self,
        plan: &Plan,
        swept: &mut Swept,
        stuck: &mut BTreeSet<ObjectKey>,
    ) -> Result<(), StoreError> {
        let gone = match plan.room_before {
            Some(before) => self.note(before, plan, swept, stuck).await?,
            None => 0,
        };
        if let Some(pace) = &self.pace {
            let keys = plan.delete.iter().map(|object| object.key.to_string());
            let mut deletions = pace.each(&*self.store, keys.collect());
            while let Some((index, deleted)) = deletions.try_next().await? {
                if let Some(object) = plan.delete.get(index) {
                    count(object, deleted, swept, stuck)?;
                }
            }
            return Ok(());
        }
        for object in plan.delete.iter().skip(gone) {
            self.delete(object, swept, stuck).await?;
        }
        Ok(())
    }

    /// Writes down what is going to expire. A disk that is full to the last byte takes no note, and would stay full for ever: there the oldest
    /// objects of the plan go first, one by one until the note can be written, and readers know of it at once. Only a crash within these
    /// moments would leave a stretch of theirs unexplained. Returns how many objects of the plan that took.
    async fn note(
        &self,
        before: Timestamp,
        plan: &Plan,
        swept: &mut Swept,
        stuck: &mut BTreeSet<ObjectKey>,
    ) -> Result<usize, StoreError> {
        let mut gone = 0;
        loop {
            let state = self.state.clone();
            let written = tokio::task::spawn_blocking(move || state.advance(before)).await;
            let written = written.unwrap_or_else(|ended| Err(std::io::Error::other(ended)));
            let Err(cause) = written else {
                return Ok(gone);
            };
            let Some(object) = plan.delete.get(gone).filter(|_| is_full(&cause)) else {
                return Err(StoreError::Unavailable(format!(
                    "cannot note what expires: {cause}"
                )));
            };
            self.state.foresee(before);
            self.delete(object, swept, stuck).await?;
            gone += 1;
        }
    }

    /// Deletes one object; a few that cannot be deleted are passed over.
    async fn delete(
        &self,
        object: &Object,
        swept: &mut Swept,
        stuck: &mut BTreeSet<ObjectKey>,
    ) -> Result<(), StoreError> {
        let deleted = self.store.delete(&object.key.to_string()).await;
        count(object, deleted, swept, stuck)
    }

    /// The oldest objects (all that expired among them, where age alone counts) and the bytes of all.
    async fn scan(&self, now: Timestamp) -> Result<(Vec<Object>, u64), StoreError> {
        let mut oldest = BinaryHeap::new();
        let (mut used, mut after) = (0_u64, String::new());
        loop {
            let page = match &self.disk {
                Some(disk) => disk.list(&after).await?,
                None => self.store.list("v1/", &after).await?,
            };
            let mut next = page.objects.last().map(|last| last.key.clone());
            let more = page.more;
            for listed in page.objects {
                used = used.saturating_add(listed.bytes);
                let Some(object) = Object::of(&listed) else {
                    continue;
                };
                if self.disk.is_none() && !object.is_expired(now) {
                    // Younger ones of this camera and class cannot be expired either.
                    next = Some(beyond(&object));
                    break;
                }
                oldest.push(ByStart(object));
                if oldest.len() > WINDOW {
                    oldest.pop();
                }
            }
            match next {
                Some(next) if more || !listed_to(&next) => after = next,
                _ => break,
            }
        }
        let oldest = oldest.into_iter().map(|ByStart(object)| object).collect();
        Ok((oldest, used))
    }
}

/// Counts one deletion; a few objects that cannot be deleted are told and passed over.
fn count(
    object: &Object,
    deleted: Result<(), StoreError>,
    swept: &mut Swept,
    stuck: &mut BTreeSet<ObjectKey>,
) -> Result<(), StoreError> {
    match deleted {
        Ok(()) => {
            swept.objects += 1;
            swept.bytes += object.bytes;
        }
        Err(cause) if stuck.len() < MOST_STUCK => {
            tracing::warn!(key = %object.key, %cause, "retention cannot delete a recording");
            stuck.insert(object.key.clone());
        }
        Err(cause) => return Err(cause),
    }
    Ok(())
}

/// Whether there is no room for a single byte.
fn is_full(cause: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(cause.kind(), StorageFull | QuotaExceeded)
}

/// A text behind every key of the object's camera and class (of all cameras, where the class is `keep`).
fn beyond(object: &Object) -> String {
    let place = object.key.place();
    match place.retention {
        Retention::Keep => "v1/keep/~".to_owned(),
        Retention::Days(_) => camera_prefix(&place.camera, place.retention) + "~",
    }
}

/// Whether a text to list after is the last key of a page, and not the jump over a camera.
fn listed_to(after: &str) -> bool {
    !after.ends_with('~')
}

/// The youngest is the greatest, so that a heap drops it first.
struct ByStart(Object);

impl Ord for ByStart {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let by_start = self.0.key.range().from.cmp(&other.0.key.range().from);
        by_start.then_with(|| self.0.key.cmp(&other.0.key))
    }
}

impl PartialOrd for ByStart {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByStart {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByStart {}
