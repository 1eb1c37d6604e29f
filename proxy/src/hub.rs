//! Which relays run, in this process: the embedded adapter of the port `Relays`.
//!
//! **Owns** the map from camera to running relay, and the limits on readers. **Does not own** the relays: a workload enters its relay and takes
//! it out at its end. Whoever looks for a relay that is just starting waits for it, at most [`RelayConfig::patience`].

mod limits;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use moorline_base::clock::timeout;
use moorline_base::{CancellationToken, SharedClock};
use moorline_core::port::{
    ByteStream, CameraDirectory, LiveFeed, Poster, ReaderRole, RelayError, Relays,
};
use moorline_core::{Camera, CameraId, SourceName};
use moorline_rtsp::server::{ServerConfig, ServerSession};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::config::RelayConfig;
use crate::live;
use crate::metrics::ProxyMetrics;
use crate::reader::{self, Desk, Environment};
use crate::source::{Layout, Lease, ReaderKind, Source};
use limits::Limits;
pub(crate) use limits::Seat;

/// Between the two ends of a stream in this process.
const PIPE: usize = 64 * 1024;

/// A relay that runs.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) main: Arc<Source>,
    pub(crate) sub: Option<Arc<Source>>,
    /// Readers that the relay waits for when it drains.
    pub(crate) tasks: TaskTracker,
    /// Ends its readers.
    pub(crate) ending: CancellationToken,
}

impl Entry {
    pub(crate) fn source(&self, name: SourceName) -> Option<&Arc<Source>> {
        match name {
            SourceName::Main => Some(&self.main),
            SourceName::Sub => self.sub.as_ref(),
        }
    }
}

struct Shared {
    clock: SharedClock,
    directory: Arc<dyn CameraDirectory>,
    config: Arc<RelayConfig>,
    metrics: ProxyMetrics,
    relays: Mutex<HashMap<CameraId, Entry>>,
    changed: watch::Sender<u64>,
    limits: Arc<Limits>,
}

/// The relays of this process. Clones are the same.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("relays", &self.with(|relays| relays.len()))
            .finish()
    }
}

/// A source that was found, held for a reader.
pub(crate) struct Found {
    pub(crate) lease: Lease,
    pub(crate) layout: Arc<Layout>,
    pub(crate) ending: CancellationToken,
    pub(crate) title: String,
    pub(crate) seat: Option<Seat>,
}

impl Hub {
    /// A hub without relays.
    #[must_use]
    pub fn new(
        clock: SharedClock,
        directory: Arc<dyn CameraDirectory>,
        config: RelayConfig,
        metrics: ProxyMetrics,
    ) -> Self {
        let config = Arc::new(config);
        Self(Arc::new(Shared {
            clock,
            directory,
            limits: Arc::new(Limits::new(&config)),
            config,
            metrics,
            relays: Mutex::default(),
            changed: watch::Sender::new(0),
        }))
    }

    /// Changes how many streams one user, and the readers of one source address, may read, for whoever comes from now on.
    pub fn set_limits(&self, readers_per_user: usize, readers_per_address: usize) {
        self.0.limits.set(readers_per_user, readers_per_address);
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<CameraId, Entry>) -> T) -> T {
        change(&mut self.0.relays.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    pub(crate) fn config(&self) -> &Arc<RelayConfig> {
        &self.0.config
    }

    pub(crate) fn metrics(&self) -> &ProxyMetrics {
        &self.0.metrics
    }

    pub(crate) fn directory(&self) -> &Arc<dyn CameraDirectory> {
        &self.0.directory
    }

    /// What a reader's task needs.
    pub(crate) fn environment(&self) -> Environment {
        Environment {
            clock: self.0.clock.clone(),
            config: Arc::clone(&self.0.config),
            metrics: self.0.metrics.clone(),
        }
    }

    /// Enters a relay. An older one of the camera is no longer found; its readers end with it.
    pub(crate) fn enter(&self, camera: &CameraId, entry: Entry) {
        self.with(|relays| relays.insert(camera.clone(), entry));
        self.0.changed.send_modify(|version| *version += 1);
    }

    /// Takes a relay out, unless a newer one has taken its place.
    pub(crate) fn leave(&self, camera: &CameraId, main: &Arc<Source>) {
        self.with(|relays| {
            if relays
                .get(camera)
                .is_some_and(|entry| Arc::ptr_eq(&entry.main, main))
            {
                relays.remove(camera);
            }
        });
        self.0.changed.send_modify(|version| *version += 1);
    }

    fn entry(&self, camera: &CameraId) -> Option<Entry> {
        self.with(|relays| relays.get(camera).cloned())
    }

    /// The camera's record, if it has such a source.
    pub(crate) fn camera(
        &self,
        camera: &CameraId,
        source: SourceName,
    ) -> Result<Arc<Camera>, RelayError> {
        let snapshot = self.0.directory.snapshot();
        let found = snapshot.get(camera).cloned();
        found
            .filter(|camera| camera.source(source).is_some())
            .ok_or(RelayError::Unknown)
    }

    /// Waits for the relay of a camera that exists. No deadline of its own.
    async fn running(&self, camera: &CameraId, source: SourceName) -> (Entry, Arc<Source>) {
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if let Some(entry) = self.entry(camera)
                && let Some(source) = entry.source(source).cloned()
            {
                return (entry, source);
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Finds a source and holds it until it plays; waits as long as readers do.
    pub(crate) async fn find(
        &self,
        camera: &CameraId,
        name: SourceName,
        kind: ReaderKind,
        login: &str,
        address: Option<IpAddr>,
    ) -> Result<Found, RelayError> {
        let record = self.camera(camera, name)?;
        let seat = Limits::sit(&self.0.limits, camera, login, address)?;
        let waiting = async {
            loop {
                let (entry, source) = self.running(camera, name).await;
                let lease = Lease::new(&source, kind);
                if let Some(layout) = source.until_ready().await {
                    return Found {
                        lease,
                        layout,
                        ending: entry.ending,
                        title: record.title.clone(),
                        seat: Some(seat),
                    };
                }
                // This relay has ended; the next may be starting.
                drop(lease);
                self.leave(camera, &entry.main);
            }
        };
        timeout(&*self.0.clock, self.0.config.patience, waiting)
            .await
            .map_err(|_| RelayError::Away)
    }
}

/// `letters and digits` for ids and nonces.
pub(crate) fn random_text() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

#[async_trait]
impl Relays for Hub {
    async fn open(
        &self,
        camera: &CameraId,
        source: SourceName,
        role: ReaderRole,
    ) -> Result<ByteStream, RelayError> {
        self.camera(camera, source)?;
        let waiting = self.running(camera, source);
        let (entry, found) = timeout(&*self.0.clock, self.0.config.patience, waiting)
            .await
            .map_err(|_| RelayError::Away)?;
        let desk = match role {
            ReaderRole::Archiver => Desk::Archiver(Arc::clone(&found)),
            ReaderRole::Viewer { login } => Desk::Viewer {
                hub: self.clone(),
                camera: camera.clone(),
                source,
                login,
            },
        };
        let mut config = ServerConfig::new("", "", random_text());
        config.trusted = true;
        let session = ServerSession::new(config, std::time::Duration::ZERO);
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let environment = self.environment();
        let ending = entry.ending.clone();
        let task = async move {
            reader::serve(Box::new(ours), session, desk, environment, ending).await;
        };
        entry.tasks.spawn(task.in_current_span());
        Ok(Box::new(theirs))
    }

    async fn live(
        &self,
        camera: &CameraId,
        source: SourceName,
        login: &str,
    ) -> Result<Box<dyn LiveFeed>, RelayError> {
        let patience = self.0.config.patience;
        let opened = async {
            let found = self
                .find(camera, source, ReaderKind::Browser, login, None)
                .await?;
            live::open(found, self.environment()).await
        };
        let feed = timeout(&*self.0.clock, patience, opened)
            .await
            .map_err(|_| RelayError::Away)??;
        Ok(Box::new(feed))
    }

    fn poster(&self, camera: &CameraId, source: SourceName) -> Option<Poster> {
        let entry = self.entry(camera)?;
        let source = entry.source(source)?;
        live::poster(source).or_else(|| source.kept_poster())
    }
}
