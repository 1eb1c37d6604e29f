//! Searching the store for the retention classes and tiers of each camera: once for a registry that was made, upgraded or restored beside
//! recordings that it does not know. From then on the registry knows by itself (`UsedClasses`).
//!
//! The keys themselves tell, so a lost registry loses no recordings: one LIST per camera and class, each of which starts behind the camera
//! before.

use std::collections::BTreeSet;
use std::time::Duration;

use moorline_core::CameraId;
use moorline_core::port::{PortError, SegmentStore, StoreError, UsedClass, UsedClasses};
use moorline_core::segment::{ObjectKey, Tier, camera_prefix};

/// How long a start, or an erase, waits for the search. Cameras wait as long, so it is less than a store's own deadline of 30 s.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Why the search did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The store cannot be listed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry cannot note what was found.
    #[error(transparent)]
    Registry(#[from] PortError),
}

/// Searches for at most [`PATIENCE`], unless it was done before.
///
/// # Errors
/// The store fails or is slow; what was found until then is noted.
pub async fn search_soon(
    store: &dyn SegmentStore,
    used: &dyn UsedClasses,
) -> Result<(), SearchError> {
    let searched = tokio::time::timeout(PATIENCE, search(store, used)).await;
    searched.unwrap_or_else(|_| {
        let late = format!("the search was not over within {PATIENCE:?}");
        Err(StoreError::Unavailable(late).into())
    })
}

/// Searches to the end, unless it was done before.
///
/// # Errors
/// The store fails; what was found until then is noted.
pub async fn search(store: &dyn SegmentStore, used: &dyn UsedClasses) -> Result<(), SearchError> {
    if used.is_complete() {
        return Ok(());
    }
    let mut after = "v1/".to_owned();
    loop {
        let page = store.list("v1/", &after).await?;
        let Some(last) = page.objects.last() else {
            break;
        };
        let mut found: BTreeSet<(CameraId, UsedClass)> = BTreeSet::new();
        for object in &page.objects {
            if let Ok(key) = object.key.parse::<ObjectKey>() {
                found.insert(entry(&key, key.place().tier));
            }
        }
        let key = last.key.parse::<ObjectKey>();
        if let (Ok(key), true) = (&key, page.more) {
            // The rest of this camera is not looked at: either stream may have been recorded.
            found.extend([Tier::Full, Tier::Low].map(|tier| entry(key, tier)));
        }
        let found: Vec<_> = found.into_iter().collect();
        used.note(&found).await?;
        if !page.more {
            break;
        }
        after = match &key {
            Ok(key) => behind(&camera_prefix(&key.place().camera, key.place().retention)),
            Err(_) => last.key.clone(),
        };
    }
    Ok(used.completed().await?)
}

fn entry(key: &ObjectKey, tier: Tier) -> (CameraId, UsedClass) {
    let place = key.place();
    let class = UsedClass {
        retention: place.retention,
        tier,
    };
    (place.camera.clone(), class)
}

/// What sorts behind everything in a folder: `0` is the character after `/`.
fn behind(folder: &str) -> String {
    format!("{}0", folder.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use bytes::Bytes;
    use moorline_base::SimulatedClock;
    use moorline_core::port::{Listed, Page};
    use moorline_registry::Registry;

    use super::*;

    /// Keys in pages of four; fails after so many.
    struct Keys {
        keys: BTreeSet<String>,
        asked: Mutex<u32>,
        fails_after: u32,
    }

    #[async_trait]
    impl SegmentStore for Keys {
        async fn list(&self, prefix: &str, after: &str) -> Result<Page, StoreError> {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            if *asked > self.fails_after {
                return Err(StoreError::Unavailable("away".to_owned()));
            }
            let fits = |key: &&String| key.starts_with(prefix) && key.as_str() > after;
            let found: Vec<&String> = self.keys.iter().filter(fits).collect();
            let objects = found.iter().take(4).map(|key| Listed {
                key: (*key).clone(),
                bytes: 1,
            });
            Ok(Page {
                objects: objects.collect(),
                more: found.len() > 4,
            })
        }

        async fn get(&self, _: &str, _: std::ops::Range<u64>) -> Result<Bytes, StoreError> {
            unreachable!("a search reads nothing")
        }

        async fn head(&self, _: &str) -> Result<u64, StoreError> {
            unreachable!("a search reads nothing")
        }

        async fn delete(&self, _: &str) -> Result<(), StoreError> {
            unreachable!("a search deletes nothing")
        }

        async fn copy(&self, _: &str, _: &str) -> Result<(), StoreError> {
            unreachable!("a search copies nothing")
        }
    }

    fn keys(fails_after: u32) -> Keys {
        let key = |class: &str, camera: &str, minute: u32, tier: &str| {
            format!(
                "v1/{class}/home/{camera}/2026/11/20/21{minute:02}05.250Z_00060033_g0000000007_7f3a9c21_{minute:06}_b41d0e_{tier}.mp4"
            )
        };
        let mut keys: BTreeSet<String> = (0..50).map(|n| key("r014", "busy", n, "full")).collect();
        keys.extend([
            key("r014", "gate", 1, "low"),
            key("r014", "gate", 2, "low"),
            key("keep", "gate", 1, "full"),
            "v1/idx/home/gate/2026-11-20.json.zst".to_owned(),
            "v1/r014/home/gate/notes.txt".to_owned(),
        ]);
        Keys {
            keys,
            asked: Mutex::default(),
            fails_after,
        }
    }

    async fn registry(directory: &std::path::Path) -> Registry {
        let (file, key) = (
            directory.join("registry.sqlite"),
            directory.join("registry.key"),
        );
        let clock = Arc::new(SimulatedClock::new(0));
        Registry::open(&file, &key, clock).await.unwrap()
    }

    fn told(used: &dyn UsedClasses, camera: &str) -> Vec<String> {
        let classes = used.of(&camera.parse().unwrap());
        let told = classes
            .iter()
            .map(|class| format!("{} {}", class.retention, class.tier));
        told.collect()
    }

    #[tokio::test]
    async fn the_store_is_searched_once_and_tells_where_each_camera_has_something() {
        let directory = tempfile::tempdir().unwrap();
        let used = registry(directory.path()).await.used_classes();
        let store = keys(99);
        search_soon(&store, &used).await.unwrap();
        assert_eq!(told(&used, "gate"), ["r014 low", "keep full"]);
        assert_eq!(
            told(&used, "busy"),
            ["r014 full", "r014 low"],
            "what was not looked through may hold both"
        );
        let asked = *store.asked.lock().unwrap();
        assert!(asked <= 4, "fifty keys of a camera are not read: {asked}");
        search(&store, &used).await.unwrap();
        assert_eq!(*store.asked.lock().unwrap(), asked, "not a second time");
    }

    #[tokio::test]
    async fn a_search_that_the_store_interrupts_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let used = registry(directory.path()).await.used_classes();
        assert!(search(&keys(1), &used).await.is_err());
        assert!(!used.is_complete());
        search(&keys(99), &used).await.unwrap();
        assert!(used.is_complete());
        assert_eq!(told(&used, "gate"), ["r014 low", "keep full"]);
    }
}
