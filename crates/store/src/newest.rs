//! The end of the newest object of a camera, without listing all of them: down the folders of years, months and days from the last.

use async_trait::async_trait;
use moorline_core::CameraId;
use moorline_core::Timestamp;
use moorline_core::port::{SegmentStore, StoreError};
use moorline_core::segment::{ObjectKey, Retention, Tier, camera_prefix};

/// A store that can name the folders under a prefix.
#[async_trait]
pub(crate) trait Folders: SegmentStore {
    /// The names of the folders right under `prefix`, which ends with `/`; ascending, without a slash. None is no error.
    async fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
}

/// The greatest end among the objects of the newest day that has one of this tier, over all classes.
pub(crate) async fn last_end<S: Folders + ?Sized>(
    store: &S,
    camera: &CameraId,
    classes: &[Retention],
    tier: Tier,
) -> Result<Option<Timestamp>, StoreError> {
    let mut newest = None;
    for class in classes {
        newest = newest.max(last_end_in(store, &camera_prefix(camera, *class), tier).await?);
    }
    Ok(newest)
}

async fn last_end_in<S: Folders + ?Sized>(
    store: &S,
    camera: &str,
    tier: Tier,
) -> Result<Option<Timestamp>, StoreError> {
    // A stack of folders still to be looked at, the newest on top: three levels lead to days.
    let mut pending = vec![(camera.to_owned(), 0)];
    while let Some((prefix, depth)) = pending.pop() {
        if depth == 3 {
            let end = last_end_of_day(store, &prefix, tier).await?;
            if end.is_some() {
                return Ok(end);
            }
            continue;
        }
        let folders = store.folders(&prefix).await?;
        pending.extend(
            folders
                .iter()
                .map(|name| (format!("{prefix}{name}/"), depth + 1)),
        );
    }
    Ok(None)
}

async fn last_end_of_day<S: Folders + ?Sized>(
    store: &S,
    prefix: &str,
    tier: Tier,
) -> Result<Option<Timestamp>, StoreError> {
    let (mut end, mut after) = (None, String::new());
    loop {
        let page = store.list(prefix, &after).await?;
        let keys = page
            .objects
            .iter()
            .filter_map(|object| object.key.parse::<ObjectKey>().ok());
        let of_tier = keys.filter(|key| key.place().tier == tier);
        end = end.max(of_tier.map(|key| key.range().to).max());
        match page.objects.last() {
            Some(last) if page.more => after.clone_from(&last.key),
            _ => return Ok(end),
        }
    }
}
