//! How many bytes recordings take: the listing's sizes, added up now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moorline_base::CancellationToken;
use moorline_base::clock::{SharedClock, sleep};
use moorline_core::port::{SegmentStore, StoreError};

/// How often it is added up, at most: a directory is walked in milliseconds, and a page that says "0 B" for minutes misleads.
const EVERY: Duration = Duration::from_secs(60);

/// A walk takes at most one part in so many of the disk's time: 400,000 recordings on a cold hard disk take minutes.
const SHARE: u32 = 50;

/// The bytes. Clones are the same number.
#[derive(Debug, Clone, Default)]
pub struct Usage(Arc<AtomicU64>);

impl Usage {
    /// What was found the last time; 0 before that.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
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
                Ok(bytes) => self.0.store(bytes, Ordering::Relaxed),
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
