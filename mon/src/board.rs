//! What every camera is doing, for whoever looks: the page, the metrics, the alarms. Written by the cameras' tasks, never blocks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use moorline_core::status::CameraStatus;
use moorline_core::{Camera, CameraId, TenantId, Timestamp};
use tokio::sync::watch;

/// One camera.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) camera: Arc<Camera>,
    pub(crate) status: CameraStatus,
    /// Whether there ever was something to record: a tunnel since the process started, or a durable instant.
    pub(crate) seen: bool,
    /// Since when recording stands still, as somebody was told.
    pub(crate) alarmed_since: Option<Timestamp>,
    /// Whether this process tells of it: in a cluster one replica does, whoever sees it too.
    pub(crate) ours: bool,
}

/// All cameras.
#[derive(Debug)]
pub(crate) struct Board {
    entries: Mutex<BTreeMap<CameraId, Arc<Entry>>>,
    version: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            version: watch::Sender::new(0),
        }
    }
}

impl Board {
    fn with<T>(&self, look: impl FnOnce(&mut BTreeMap<CameraId, Arc<Entry>>) -> T) -> T {
        look(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows a camera; what is not different changes nothing.
    pub(crate) fn publish(&self, entry: Entry) {
        let changed = self.with(|entries| {
            let id = entry.camera.id.clone();
            if entries.get(&id).is_some_and(|shown| **shown == entry) {
                return false;
            }
            entries.insert(id, Arc::new(entry));
            true
        });
        if changed {
            self.count();
        }
    }

    /// Takes a camera off.
    pub(crate) fn remove(&self, camera: &CameraId) {
        if self.with(|entries| entries.remove(camera)).is_some() {
            self.count();
        }
    }

    fn count(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    pub(crate) fn get(&self, camera: &CameraId) -> Option<Arc<Entry>> {
        self.with(|entries| entries.get(camera).cloned())
    }

    /// All cameras, by id.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.with(|entries| entries.values().cloned().collect())
    }

    /// Those of a tenant, by id.
    pub(crate) fn of(&self, tenant: &TenantId) -> Vec<Arc<Entry>> {
        self.with(|entries| {
            let own = entries
                .values()
                .filter(|entry| entry.camera.id.tenant() == tenant);
            own.cloned().collect()
        })
    }

    pub(crate) fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// Waits until the version differs from `seen`. Cancel-safe.
    pub(crate) async fn changed(&self, seen: u64) -> u64 {
        let mut versions = self.version.subscribe();
        loop {
            let version = *versions.borrow_and_update();
            // The sender lives in self, so the channel does not close.
            if version != seen || versions.changed().await.is_err() {
                return version;
            }
        }
    }
}
