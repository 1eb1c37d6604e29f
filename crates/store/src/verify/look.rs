//! One object, as deep as asked.

use md5::{Digest as _, Md5};
use moorline_core::port::{SegmentStore, StoreError};

use super::boxes::{Outline, Torn};
use super::{Depth, Finding, Request};

/// A head: init and sidx lie in it.
const HEAD: u64 = 64 * 1024;
/// So often an object is read before it counts as unreadable: a store that stumbles spoils nothing.
const TRIES: usize = 3;
/// How much of an object is in memory at once.
const CHUNK: u64 = 8 * 1024 * 1024;

/// What is wrong with an object of `bytes` bytes. A store that is away is an error, an object that cannot be read a finding.
pub(super) async fn at(
    store: &dyn SegmentStore,
    request: &Request<'_>,
    key: &str,
    bytes: u64,
) -> Result<Option<Finding>, StoreError> {
    let whole = request.depth == Depth::Whole;
    let mut looked = read(store, key, bytes, whole).await;
    for _ in 1..TRIES {
        if !matches!(
            looked,
            Err(StoreError::Unavailable(_) | StoreError::Refused(_))
        ) {
            break;
        }
        // What is there and cannot be read lies on a bad sector, or is nobody's to read. If not even this can be told, the store is away.
        looked = match store.head(key).await {
            Ok(_) => read(store, key, bytes, whole).await,
            Err(StoreError::Missing(key)) => Err(StoreError::Missing(key)),
            Err(cause) => return Err(cause),
        };
    }
    let torn = |why| {
        Ok(Some(Finding::Torn {
            key: key.to_owned(),
            why,
        }))
    };
    let md5 = match looked {
        Ok(Ok(md5)) => md5,
        Ok(Err(why)) => return torn(why),
        Err(StoreError::Missing(_) | StoreError::Unavailable(_) | StoreError::Refused(_)) => {
            return Ok(Some(Finding::Unreadable {
                key: key.to_owned(),
            }));
        }
        Err(cause) => return Err(cause),
    };
    let Some(digests) = request.digests.filter(|_| whole) else {
        return Ok(None);
    };
    let stored = digests.md5(key).await?;
    let spoiled = stored.is_some_and(|stored| Some(stored) != md5);
    Ok(spoiled.then(|| Finding::Spoiled {
        key: key.to_owned(),
    }))
}

type Looked = Result<Result<Option<[u8; 16]>, Torn>, StoreError>;

async fn read(store: &dyn SegmentStore, key: &str, bytes: u64, whole: bool) -> Looked {
    if whole {
        every_byte(store, key, bytes).await
    } else {
        head(store, key).await
    }
}

async fn head(store: &dyn SegmentStore, key: &str) -> Looked {
    let bytes = store.get(key, 0..HEAD).await?;
    let mut outline = Outline::default();
    let walked = outline
        .push(&bytes)
        .and_then(|()| match outline.has_init() {
            true => Ok(None),
            false => Err(Torn::NoInit),
        });
    Ok(walked)
}

async fn every_byte(store: &dyn SegmentStore, key: &str, length: u64) -> Looked {
    let (mut outline, mut md5, mut at) = (Outline::default(), Md5::new(), 0);
    while at < length {
        let bytes = store.get(key, at..length.min(at + CHUNK)).await?;
        if bytes.is_empty() {
            return Ok(Err(Torn::Cut));
        }
        if let Err(torn) = outline.push(&bytes) {
            return Ok(Err(torn));
        }
        md5.update(&bytes);
        at += bytes.len() as u64;
    }
    Ok(outline.finish().map(|()| Some(md5.finalize().into())))
}
