//! How many bytes recordings take, and how much room their disk has: looked up now and then.
//!
//! Whoever asks gets what was found last (P7): the page asks for each of its refreshes, and a disk that hangs must hold up nothing but the one look
//! that waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moorline_base::CancellationToken;
use moorline_base::clock::{SharedClock, sleep};
use moorline_base::files::DiskSpace;
use moorline_core::port::{SegmentStore, StoreError};
use moorline_store::DirectoryStore;

/// How often it is added up, at most: a directory is walked in milliseconds, and a page that says "0 B" for minutes misleads.
const EVERY: Duration = Duration::from_secs(60);

/// A walk takes at most one part in so many of the disk's time: 400,000 recordings on a cold hard disk take minutes.
const SHARE: u32 = 50;

/// How often the disk's room is looked up.
const SPACE_EVERY: Duration = Duration::from_secs(10);

/// The same after a disk has not answered: a look that hangs holds one of the store's places.
const SPACE_AGAIN: Duration = Duration::from_secs(60);

/// What is known. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Usage(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    bytes: AtomicU64,
    space: Mutex<Option<DiskSpace>>,
}

impl Usage {
    /// What was found the last time; 0 before that.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// The room of the disk, as it was found the last time; `None` before that, and while the disk does not answer.
    pub fn space(&self) -> Option<DiskSpace> {
        *self.0.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up the disk's room once, within the store's deadline.
    pub async fn look(&self, store: &DirectoryStore) {
        self.found(store.space().await);
    }

    fn found(&self, space: Result<DiskSpace, StoreError>) {
        let known =
            space.map_err(|error| tracing::debug!(%error, "the room of the disk is not known"));
        *self.0.space.lock().unwrap_or_else(PoisonError::into_inner) = known.ok();
    }

    /// Looks up the disk's room until told to stop.
    pub async fn watch_space<F>(
        self,
        mut look: impl FnMut() -> F,
        clock: SharedClock,
        stop: CancellationToken,
    ) where
        F: Future<Output = Result<DiskSpace, StoreError>>,
    {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                space = look() => self.found(space),
            }
            let pause = self.space().map_or(SPACE_AGAIN, |_| SPACE_EVERY);
            if sleep(&*clock, pause, &stop).await.is_cancelled() {
                return;
            }
        }
    }

    /// Adds up until told to stop. A store that does not answer leaves the number as it was.
    pub async fn watch(
        self,
        store: Arc<dyn SegmentStore>,
        clock: SharedClock,
        stop: CancellationToken,
    ) {
        loop {
            let began = clock.monotonic();
            // A store that hangs must not delay a stop.
            let measured = tokio::select! {
                () = stop.cancelled() => return,
                measured = measure(&*store) => measured,
            };
            match measured {
                Ok(bytes) => self.0.bytes.store(bytes, Ordering::Relaxed),
                Err(error) => tracing::debug!(%error, "what recordings take is not known"),
            }
            let took = clock.monotonic().saturating_duration_since(began);
            if sleep(&*clock, EVERY.max(took * SHARE), &stop)
                .await
                .is_cancelled()
            {
                return;
            }
        }
    }
}

async fn measure(store: &dyn SegmentStore) -> Result<u64, StoreError> {
    let (mut bytes, mut after) = (0_u64, String::new());
    loop {
        let page = store.list("v1/", &after).await?;
        let sizes = page.objects.iter().map(|object| object.bytes);
        bytes = sizes.fold(bytes, u64::saturating_add);
        match page.objects.last() {
            Some(last) if page.more => after.clone_from(&last.key),
            _ => return Ok(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use moorline_base::{SimulatedClock, clock};

    use super::*;

    #[tokio::test]
    async fn p7_a_disk_that_hangs_holds_up_nobody_who_asks_and_no_stop() {
        let (usage, clock) = (Usage::default(), SimulatedClock::new(0));
        let shared: SharedClock = Arc::new(clock.clone());
        let (stop, hangs) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let room = DiskSpace {
            total: 100,
            available: 50,
        };
        let disk = Arc::clone(&hangs);
        let look = move || {
            let hangs = disk.load(Ordering::Relaxed);
            async move {
                match hangs {
                    true => std::future::pending().await,
                    false => Ok(room),
                }
            }
        };
        let watching = usage.clone().watch_space(look, shared, stop.clone());
        let watching = tokio::spawn(watching);
        while usage.space() != Some(room) {
            tokio::task::yield_now().await;
        }
        hangs.store(true, Ordering::Relaxed);
        clock.advance(SPACE_EVERY * 10);
        tokio::task::yield_now().await;
        assert_eq!(usage.space(), Some(room), "what was found last");
        stop.cancel();
        let ended = clock::timeout(&clock::SystemClock, Duration::from_secs(30), watching);
        ended.await.expect("it ends").expect("and does not panic");
    }
}
