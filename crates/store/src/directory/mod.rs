//! A plain directory as the segment store: the key is the path. On the spool's file system a rename is the put.
//!
//! Owns: everything under its root, which nobody else writes. Does not own: the lock that keeps a second process away (the data
//! directory's), the spool.
//!
//! Every access walks down from the open root, component by component, and never follows a symbolic link, so that neither a key nor
//! a link that somebody left in the tree leads out of it. Names that are no UTF-8 are no objects.

mod entries;
mod put;
mod root;
mod tree;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use moorline_base::files::{DiskSpace, disk_space};
use moorline_base::{SharedClock, clock};
use moorline_core::port::{Page, SealedFile, SegmentSink, SegmentStore, StoreError};
use moorline_core::segment::{GapKey, Retention, Tier};
use moorline_core::{CameraId, Timestamp};
use tokio::sync::Semaphore;

use crate::newest::{Folders, last_end};
use crate::verify::Markers;
use crate::{MARKER, MAX_RANGE, PAGE, deadline};
use entries::Unreadable;
use root::Root;
use tree::Tree;

/// Calls that may stand in the kernel at once. A disk that hangs must not eat the runtime's blocking pool.
const AT_ONCE: usize = 16;

/// A directory that holds the archive.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: Arc<Root>,
    path: PathBuf,
    room: Arc<Semaphore>,
    clock: SharedClock,
}

impl DirectoryStore {
    /// Opens (and makes, mode 0700) the directory, and removes copies that an earlier process did not finish. Blocks shortly.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if it cannot be made or opened.
    pub fn open(path: &Path, clock: SharedClock) -> Result<Self, StoreError> {
        Self::with(path, None, clock)
    }

    /// The same for a directory that may lie on a disk of its own: `memory` is a file elsewhere that remembers which directory it was. While
    /// another one is in its place, since the disk is not mounted, nothing is made or written there, every call is
    /// [`StoreError::Unavailable`], and [`DirectoryStore::absent`] says why.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if it, or the memory, cannot be made, read or opened.
    pub fn open_remembered(
        path: &Path,
        memory: &Path,
        clock: SharedClock,
    ) -> Result<Self, StoreError> {
        Self::with(path, Some(memory), clock)
    }

    fn with(path: &Path, memory: Option<&Path>, clock: SharedClock) -> Result<Self, StoreError> {
        Ok(Self {
            root: Arc::new(Root::open(path, memory, clock.monotonic())?),
            path: path.to_owned(),
            room: Arc::new(Semaphore::new(AT_ONCE)),
            clock,
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why nothing can be read or written; `None`: it can.
    pub fn absent(&self) -> Option<String> {
        self.root.absent()
    }

    /// The room of its file system.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the system does not say.
    pub async fn space(&self) -> Result<DiskSpace, StoreError> {
        let path = self.path.clone();
        self.call(deadline::CALL, move |_| {
            let unknown = |cause| StoreError::Unavailable(format!("{}: {cause}", path.display()));
            disk_space(&path).map_err(unknown)
        })
        .await
    }

    /// Stores a few bytes, such as a gap marker that was not in a spool. Atomic and durable; overwrites.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_bytes(&self, key: &str, content: Bytes) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.call(deadline::put(content.len() as u64), move |tree| {
            put::bytes(tree, &key, &content)
        })
        .await
    }

    /// As [`SegmentStore::list`] of everything, but for folders that cannot be read: one of them must not keep the sweeper from all others.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn list_readable(&self, after: &str) -> Result<Page, StoreError> {
        let after = after.to_owned();
        self.call(deadline::CALL, move |tree| {
            entries::list(tree, "v1/", &after, PAGE, Unreadable::Passed)
        })
        .await
    }

    async fn call<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&Tree) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (root, room) = (Arc::clone(&self.root), Arc::clone(&self.room));
        let now = self.clock.monotonic();
        let done = clock::timeout(&*self.clock, limit, async move {
            let permit = room.acquire_owned().await;
            // The permit goes with the work, which a deadline does not end.
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let tree = root.tree(now)?;
                work(&tree)
            })
            .await
        });
        match done.await {
            Ok(Ok(result)) => result,
            Ok(Err(ended)) => Err(StoreError::Unavailable(ended.to_string())),
            Err(late) => Err(StoreError::Unavailable(format!(
                "the disk did not answer: {late}"
            ))),
        }
    }
}

#[async_trait]
impl SegmentStore for DirectoryStore {
    async fn list(&self, prefix: &str, after: &str) -> Result<Page, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        self.call(deadline::CALL, move |tree| {
            entries::list(tree, &prefix, &after, PAGE, Unreadable::Fails)
        })
        .await
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.end.saturating_sub(range.start) > MAX_RANGE {
            return Err(StoreError::Refused(
                "more than 64 MiB in one read".to_owned(),
            ));
        }
        let key = key.to_owned();
        self.call(deadline::CALL, move |tree| tree.read(&key, range))
            .await
    }

    async fn head(&self, key: &str) -> Result<u64, StoreError> {
        let key = key.to_owned();
        self.call(deadline::CALL, move |tree| tree.length(&key))
            .await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.call(deadline::CALL, move |tree| tree.delete(&key))
            .await
    }

    async fn copy(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.call(deadline::CALL, move |tree| put::copy(tree, &from, &to))
            .await
    }
}

#[async_trait]
impl Folders for DirectoryStore {
    async fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let prefix = prefix.to_owned();
        self.call(deadline::CALL, move |tree| entries::folders(tree, &prefix))
            .await
    }
}

#[async_trait]
impl Markers for DirectoryStore {
    async fn mark(&self, gap: &GapKey) -> Result<(), StoreError> {
        self.put_bytes(&gap.to_string(), MARKER).await
    }
}

#[async_trait]
impl SegmentSink for DirectoryStore {
    async fn put(&self, file: &SealedFile) -> Result<(), StoreError> {
        let file = file.clone();
        self.call(deadline::put(file.bytes), move |tree| {
            put::sealed(tree, &file)
        })
        .await
    }

    fn wants_md5(&self) -> bool {
        false
    }

    async fn last_end(
        &self,
        camera: &CameraId,
        classes: &[Retention],
        tier: Tier,
    ) -> Result<Option<Timestamp>, StoreError> {
        last_end(self, camera, classes, tier).await
    }
}
