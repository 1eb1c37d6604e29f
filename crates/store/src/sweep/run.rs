//! The sweeper: list, plan, delete.

use std::collections::BinaryHeap;
use std::sync::Arc;

use moorline_base::{CancellationToken, SharedClock, clock};
use moorline_core::Timestamp;
use moorline_core::port::{SegmentStore, StoreError};
use moorline_core::segment::{Retention, camera_prefix};

use super::erase::Pace;
use super::plan::{Object, Plan, Room, plan};
use super::{SweepPolicy, SweepState};
use crate::DirectoryStore;

/// How many of the oldest objects one plan sees, to bound memory: enough for 14 cameras' whole day.
const WINDOW: usize = 20_000;

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

/// Deletes what retention has outlived. One per store.
pub struct Sweeper {
    store: Arc<dyn SegmentStore>,
    disk: Option<DirectoryStore>,
    policy: SweepPolicy,
    state: SweepState,
    pace: Option<Pace>,
    clock: SharedClock,
}

impl std::fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweeper")
            .field("policy", &self.policy)
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
        Self {
            store: Arc::new(store.clone()),
            disk: Some(store),
            policy,
            state,
            pace: None,
            clock,
        }
    }

    /// Of any store: by age alone, with few requests (one page per camera and class, unless something expired).
    pub fn by_age(store: Arc<dyn SegmentStore>, policy: SweepPolicy, clock: SharedClock) -> Self {
        Self {
            store,
            disk: None,
            policy,
            state: SweepState::in_memory(),
            pace: None,
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

    /// Sweeps at once and then regularly, until `cancel`. A sweep that failed is told and comes again.
    pub async fn run(&self, cancel: &CancellationToken) {
        loop {
            let swept = tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                swept = self.run_once() => swept,
            };
            match swept {
                Ok(Swept { short: 1.., .. }) => {
                    tracing::warn!(
                        "the disk is too full and nothing older than the last hour is left to delete"
                    );
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
            if clock::sleep(&*self.clock, self.policy.every, cancel)
                .await
                .is_cancelled()
            {
                break;
            }
        }
        tracing::debug!("the sweeper ended");
    }

    /// One sweep: as many plans as it takes. Cancelling it leaves what was not deleted yet.
    ///
    /// # Errors
    /// [`StoreError`] of the first request that failed.
    pub async fn run_once(&self) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        loop {
            let now = Timestamp::from_millis(self.clock.wall_ms());
            let (oldest, used) = self.scan(now).await?;
            let room = match &self.disk {
                Some(disk) => Some(Room {
                    disk: disk.space().await?,
                    used,
                }),
                None => None,
            };
            let whole = oldest.len() < WINDOW;
            let plan = plan(&oldest, room, &self.policy, now);
            swept.short = plan.short;
            self.carry_out(&plan, &mut swept).await?;
            if whole || plan.delete.is_empty() {
                return Ok(swept);
            }
        }
    }

    async fn carry_out(&self, plan: &Plan, swept: &mut Swept) -> Result<(), StoreError> {
        if let Some(before) = plan.room_before {
            let state = self.state.clone();
            let written = tokio::task::spawn_blocking(move || state.advance(before)).await;
            let written = written.unwrap_or_else(|ended| Err(std::io::Error::other(ended)));
            written.map_err(|cause| {
                StoreError::Unavailable(format!("cannot note what expires: {cause}"))
            })?;
        }
        if let Some(pace) = &self.pace {
            let keys = plan.delete.iter().map(|object| object.key.to_string());
            let keys: Vec<String> = keys.collect();
            swept.objects += pace.delete(&*self.store, keys).await?;
            swept.bytes += plan.delete.iter().map(|object| object.bytes).sum::<u64>();
            return Ok(());
        }
        for object in &plan.delete {
            self.store.delete(&object.key.to_string()).await?;
            swept.objects += 1;
            swept.bytes += object.bytes;
        }
        Ok(())
    }

    /// The oldest objects (all that expired among them, where age alone counts) and the bytes of all.
    async fn scan(&self, now: Timestamp) -> Result<(Vec<Object>, u64), StoreError> {
        let mut oldest = BinaryHeap::new();
        let (mut used, mut after) = (0_u64, String::new());
        loop {
            let page = self.store.list("v1/", &after).await?;
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
