//! Which retention classes the store holds: where to look for recordings of a camera whose retention was changed.
//!
//! The keys themselves tell: one LIST per class, each starting after the class before. So a lost registry loses no recordings, and a
//! class costs nothing once nobody uses it and its objects have expired.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moorline_core::camera::CameraSet;
use moorline_core::port::{SegmentStore, StoreError};
use moorline_core::segment::Retention;

/// How long a start waits for the store. Cameras wait as long, so it is less than a store's own deadline of 30 s.
const PATIENCE: Duration = Duration::from_secs(3);

/// The classes. Clones are the same book.
#[derive(Debug, Clone, Default)]
pub struct Classes(Arc<Mutex<BTreeSet<Retention>>>);

impl Classes {
    /// Looks into the store, for at most 3 s.
    ///
    /// # Errors
    /// The store fails or is slow; what was found until then is kept.
    pub async fn discover(&self, store: &dyn SegmentStore) -> Result<(), StoreError> {
        let looked = tokio::time::timeout(PATIENCE, self.look(store)).await;
        looked.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!(
                "no answer within {PATIENCE:?}"
            )))
        })
    }

    async fn look(&self, store: &dyn SegmentStore) -> Result<(), StoreError> {
        let mut after = "v1/".to_owned();
        loop {
            let page = store.list("v1/", &after).await?;
            let Some(first) = page.objects.first() else {
                return Ok(());
            };
            let folder = first.key.split('/').nth(1).unwrap_or_default();
            if let Ok(class) = folder.parse() {
                self.add([class]);
            }
            // '0' is the character after '/': the first key of the next folder sorts after this.
            after = format!("v1/{folder}0");
        }
    }

    /// All classes, those of the present cameras included.
    pub fn with(&self, cameras: &CameraSet) -> Vec<Retention> {
        self.add(cameras.iter().map(|camera| camera.retention));
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .copied()
            .collect()
    }

    fn add(&self, classes: impl IntoIterator<Item = Retention>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(classes);
    }
}
