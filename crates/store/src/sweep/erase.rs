//! Erasing all of a camera, or all of a tenant, whatever its classes: the store itself tells where something lies.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use moorline_base::{CancellationToken, SharedClock, clock};
use moorline_core::port::{SegmentStore, StoreError};
#[cfg(feature = "s3")]
use moorline_core::segment::Retention;
use moorline_core::{CameraId, TenantId};

#[cfg(feature = "s3")]
use crate::newest::Folders;

/// How many objects are under way at once: a delete takes a store 20 to 50 ms, and 1,000 cameras expire 17 objects a second.
const AT_ONCE: usize = 8;
/// More objects than this that cannot be deleted mean that the store does not delete.
pub(super) const MOST_STUCK: usize = 16;
/// A list that still names what was deleted is believed after so many rounds.
const ROUNDS: usize = 4;

/// How fast is deleted. Clones share it.
#[derive(Debug, Clone)]
pub struct Pace {
    clock: SharedClock,
    pause: Duration,
    cancel: CancellationToken,
    /// When the next object may go.
    next: Arc<Mutex<Option<Instant>>>,
}

impl Pace {
    /// At most so many objects per second, until `cancel`; 0: as fast as the store.
    pub fn new(per_second: u32, clock: SharedClock, cancel: CancellationToken) -> Self {
        let pause = Duration::from_secs(1).checked_div(per_second);
        Self {
            clock,
            pause: pause.unwrap_or_default(),
            cancel,
            next: Arc::default(),
        }
    }

    /// Waits until the next object may go.
    async fn wait(&self) -> Result<(), StoreError> {
        let due = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.clock.monotonic();
            let due = next.map_or(now, |next| next.max(now));
            *next = Some(due + self.pause);
            due
        };
        let slept = clock::sleep_until(&*self.clock, due, &self.cancel).await;
        match slept.is_cancelled() {
            true => Err(StoreError::Unavailable("the process stops".to_owned())),
            false => Ok(()),
        }
    }

    /// Deletes these, some at once, and tells of each how it went. An error of the stream: the process stops.
    pub(super) fn each<'a>(
        &'a self,
        store: &'a dyn SegmentStore,
        keys: Vec<String>,
    ) -> impl Stream<Item = Result<(usize, Result<(), StoreError>), StoreError>> + Unpin + 'a {
        let one = move |(index, key): (usize, String)| async move {
            self.wait().await?;
            Ok((index, store.delete(&key).await))
        };
        let keys = futures::stream::iter(keys.into_iter().enumerate());
        Box::pin(keys.map(one).buffer_unordered(AT_ONCE))
    }
}

/// Whose recordings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// All of a tenant, by the id that stands in keys (rule S26).
    Tenant(TenantId),
    /// All of a camera, by the id that stands in keys.
    Camera(CameraId),
}

#[cfg(feature = "s3")]
impl Whose {
    /// The folder below a class. Made of typed names, so that it is nobody else's (rule S27).
    fn folder(&self, class: &str) -> String {
        match self {
            Self::Tenant(tenant) => format!("v1/{class}/{tenant}/"),
            Self::Camera(camera) => format!("v1/{class}/{}/{}/", camera.tenant(), camera.name()),
        }
    }
}

/// Deletes everything below a prefix and looks whether it is gone. Idempotent; returns how many objects went.
///
/// # Errors
/// The first [`StoreError`]; what was deleted stays deleted, and so do all others: one object that cannot be deleted keeps none but itself.
/// [`StoreError::Refused`]: the store keeps what is deleted.
pub async fn erase_prefix(
    store: &dyn SegmentStore,
    prefix: &str,
    pace: &Pace,
) -> Result<u64, StoreError> {
    let mut erased = 0;
    let mut still = String::new();
    // Until nothing is listed: something may have been put meanwhile.
    for _ in 0..ROUNDS {
        let mut after = String::new();
        let (mut found, mut stuck) = (false, Vec::new());
        loop {
            let page = store.list(prefix, &after).await?;
            let keys: Vec<String> = page.objects.into_iter().map(|object| object.key).collect();
            let Some(last) = keys.last().cloned() else {
                break;
            };
            let mut deletions = pace.each(store, keys);
            while let Some((_, deleted)) = deletions.try_next().await? {
                match deleted {
                    Ok(()) => erased += 1,
                    Err(cause) if stuck.len() < MOST_STUCK => stuck.push(cause),
                    Err(cause) => return Err(cause),
                }
            }
            found = true;
            still.clone_from(&last);
            if !page.more {
                break;
            }
            after = last;
        }
        if let Some(cause) = stuck.into_iter().next() {
            return Err(cause);
        }
        if !found {
            return Ok(erased);
        }
    }
    let kept = format!("it still lists {still} after it was deleted");
    Err(StoreError::Refused(kept))
}

#[cfg(feature = "s3")]
pub(crate) async fn erase<S: Folders>(
    store: &S,
    whose: &Whose,
    pace: &Pace,
) -> Result<u64, StoreError> {
    let mut erased = 0;
    for class in store.folders("v1/").await? {
        // The index lies beside the classes; other folders in a bucket are somebody else's.
        if class != "idx" && class.parse::<Retention>().is_err() {
            continue;
        }
        erased += erase_prefix(store, &whose.folder(&class), pace).await?;
    }
    Ok(erased)
}
