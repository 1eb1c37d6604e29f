//! `CameraDirectory` over the watch of Cameras, with a copy on disk for when the API server is away at a start.
//!
//! Three watches feed the [`Cache`]; each runs until it is cancelled, and begins again by itself after any error. One object that cannot be
//! read stops none of them. A dead connection shows within 65 s: the server is asked to end each watch after 60 s. After an outage of the API
//! server that this replica noticed by its Lease, all begin again at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::{self, ResetTimerBackoff};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use moorline_base::backoff::Jitter;
use moorline_base::files::{Access, write_atomic};
use moorline_base::{Backoff, CancellationToken, SharedClock};
use moorline_core::CameraSet;
use moorline_core::port::{CameraDirectory, PortError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::cache::Cache;
use crate::call::{Connection, chain};
use crate::freshness::Freshness;
use crate::names;
use crate::resource::{Camera, CameraClass, Tenant};

/// A watch that broke begins again after so long, and at last after so long: what is not seen meanwhile is refused. kube's own way ends at half a
/// minute.
const AGAIN: Duration = Duration::from_millis(800);
const LATEST: Duration = Duration::from_secs(5);
/// A watch that lived for so long was well: the next one that breaks begins again soon.
const LIVED: Duration = Duration::from_secs(120);
/// The copy on disk is written at most this often.
const COPY_EVERY: Duration = Duration::from_secs(30);
/// Objects that come at once in a list: each is many times as large in memory before what is kept of it is taken out.
const PAGE: u32 = 100;

/// The copy on disk: cameras, and the tenants by which they are served or not.
#[derive(Debug, Serialize, Deserialize)]
struct Kept<C, T> {
    cameras: Vec<C>,
    tenants: Vec<T>,
}

/// All cameras of the cluster, in memory.
#[derive(Debug, Clone)]
pub struct KubeDirectory {
    client: Connection,
    cache: Cache,
    clock: SharedClock,
    /// Whether each watch has listed once: cameras, tenants, classes.
    listed: Arc<[watch::Sender<bool>; 3]>,
    freshness: Freshness,
}

impl KubeDirectory {
    /// A directory that knows nothing until [`KubeDirectory::run`] is running.
    pub fn new(client: Client, clock: SharedClock) -> Self {
        let freshness = Freshness::new(clock.monotonic());
        Self {
            client: Connection(client),
            cache: Cache::default(),
            clock,
            listed: Arc::new([false, false, false].map(watch::Sender::new)),
            freshness,
        }
    }

    /// What the watches have seen.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Whether what the watch of cameras has seen is fresh.
    pub fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// The client of its watches.
    pub fn client(&self) -> &Client {
        &self.client.0
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// Returns once cameras, tenants and classes have been listed. Cancel-safe; no deadline.
    pub async fn listed(&self) {
        for listed in self.listed.iter() {
            // The sender is ours, so that waiting cannot fail.
            let _ = listed.subscribe().wait_for(|listed| *listed).await;
        }
    }

    /// Watches until `cancel`.
    pub async fn run(&self, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.watch_cameras() => {}
            () = self.watch_tenants() => {}
            () = self.watch_classes() => {}
        }
    }

    async fn watch_cameras(&self) {
        let cache = &self.cache;
        let gone = |object: &kube::api::ObjectMeta| {
            let namespace = object.namespace.as_deref().unwrap_or_default();
            let name = object.name.as_deref().unwrap_or_default();
            if let Some(id) = names::camera(namespace, name) {
                cache.camera_gone(&id, object.uid.as_deref());
            }
        };
        feed::<Camera>(
            self.client.0.clone(),
            watcher::Config::default(),
            &self.listed[0],
            self.freshness.back(),
            |change| match change {
                Change::All(objects) => cache.all_cameras(objects),
                Change::Now(object) => cache.saw_camera(*object),
                // Whether its key is still good nobody can say.
                Change::Gone(metadata) | Change::Unreadable(metadata) => gone(&metadata),
                Change::Broke => self.freshness.broke(self.clock.monotonic()),
            },
        )
        .await;
    }

    async fn watch_tenants(&self) {
        let cache = &self.cache;
        feed::<Tenant>(
            self.client.0.clone(),
            watcher::Config::default(),
            &self.listed[1],
            self.freshness.back(),
            |change| match change {
                Change::All(objects) => cache.all_tenants(objects),
                Change::Now(object) => cache.saw_tenant(*object),
                Change::Gone(metadata) => cache.tenant_gone(metadata.name.as_deref()),
                Change::Unreadable(metadata) => cache.tenant_unreadable(metadata.name.as_deref()),
                Change::Broke => {}
            },
        )
        .await;
    }

    async fn watch_classes(&self) {
        let cache = &self.cache;
        feed::<CameraClass>(
            self.client.0.clone(),
            watcher::Config::default(),
            &self.listed[2],
            self.freshness.back(),
            |change| match change {
                Change::All(objects) => cache.all_classes(objects),
                Change::Now(object) => cache.saw_class(*object),
                Change::Gone(metadata) | Change::Unreadable(metadata) => {
                    cache.class_gone(metadata.name.as_deref());
                }
                Change::Broke => {}
            },
        )
        .await;
    }

    /// Reads the copy that an earlier process left, so that keys are known while the API server is away. A camera whose tenant is not in it is not
    /// served: it may be suspended. What the watch says later is newer and wins. Returns how many cameras were read.
    ///
    /// # Errors
    /// The file cannot be read, or is not such a copy. A missing file is none: 0.
    pub fn load_copy(&self, path: &std::path::Path) -> Result<usize, PortError> {
        let failed = |error: &dyn std::fmt::Display| {
            PortError::new(
                "read the copy of the cameras",
                format!("{}: {error}", path.display()),
            )
        };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(failed(&error)),
        };
        let copy: Kept<Camera, Tenant> =
            serde_json::from_slice(&text).map_err(|error| failed(&error))?;
        let count = copy.cameras.len();
        self.cache.read_copy(copy.tenants, copy.cameras);
        Ok(count)
    }

    /// Keeps a copy of the cameras in this file, written after a change and at most every 30 s, until `cancel`. It holds public keys and
    /// no password; its mode is 0600 all the same.
    pub async fn keep_copy(&self, path: PathBuf, cancel: CancellationToken) {
        let mut changes = self.cache.changes();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            // Before the first lists, the copy on disk is better than what is known.
            if *self.listed[0].borrow()
                && *self.listed[1].borrow()
                && let Err(error) = self.write_copy(&path).await
            {
                tracing::warn!(%error, path = %path.display(), "the copy of the cameras was not written");
            }
            if moorline_base::clock::sleep(&*self.clock, COPY_EVERY, &cancel)
                .await
                .is_cancelled()
            {
                return;
            }
        }
    }

    async fn write_copy(&self, path: &std::path::Path) -> std::io::Result<()> {
        let text = {
            let (cameras, tenants) = (self.cache.cameras(), self.cache.tenants());
            serde_json::to_vec(&Kept {
                cameras: cameras.iter().map(|(_, known)| &*known.object).collect(),
                tenants: tenants.iter().map(|tenant| &**tenant).collect(),
            })?
        };
        let path = path.to_owned();
        let written =
            tokio::task::spawn_blocking(move || write_atomic(&path, &text, Access::Private));
        written.await.map_err(std::io::Error::other)?
    }
}

#[async_trait]
impl CameraDirectory for KubeDirectory {
    fn snapshot(&self) -> Arc<CameraSet> {
        self.cache.records()
    }

    async fn changed(&self, seen: u64) -> u64 {
        let mut version = self.cache.version();
        let changed = version.wait_for(|version| *version != seen).await;
        match changed.map(|version| *version).ok() {
            Some(version) => version,
            // The cache is ours and outlives this call.
            None => std::future::pending().await,
        }
    }

    fn version(&self) -> u64 {
        *self.cache.version().borrow()
    }
}

/// What a watch says.
pub(crate) enum Change<K> {
    /// The whole list: what is not in it is gone.
    All(Vec<K>),
    /// A new version.
    Now(Box<K>),
    /// It is gone.
    Gone(Box<kube::api::ObjectMeta>),
    /// It is there and cannot be read: left out of lists too.
    Unreadable(Box<kube::api::ObjectMeta>),
    /// The watch broke, and begins again: what is known may be old.
    Broke,
}

/// Watches for ever, and begins again when `anew` changes. An object that cannot be read is told.
pub(crate) async fn feed<K>(
    client: Client,
    config: watcher::Config,
    listed: &watch::Sender<bool>,
    anew: watch::Receiver<u64>,
    tell: impl FnMut(Change<K>),
) where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    feed_as(client, config, listed, anew, |object| object, tell).await;
}

/// As [`feed`], of objects of which only a part is kept, in a list too: there are thousands of them, and a pod is some 50 KB in memory.
pub(crate) async fn feed_as<K, T>(
    client: Client,
    config: watcher::Config,
    listed: &watch::Sender<bool>,
    anew: watch::Receiver<u64>,
    keep: impl Fn(K) -> T,
    tell: impl FnMut(Change<T>),
) where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    guarded(
        Api::<DeserializeGuard<K>>::all(client),
        config,
        listed,
        anew,
        keep,
        tell,
    )
    .await;
}

/// As [`feed`], of one namespace.
pub(crate) async fn feed_in<K>(
    client: Client,
    namespace: &str,
    config: watcher::Config,
    listed: &watch::Sender<bool>,
    anew: watch::Receiver<u64>,
    tell: impl FnMut(Change<K>),
) where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    guarded(
        Api::<DeserializeGuard<K>>::namespaced(client, namespace),
        config,
        listed,
        anew,
        |object| object,
        tell,
    )
    .await;
}

async fn guarded<K, T>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    listed: &watch::Sender<bool>,
    mut anew: watch::Receiver<u64>,
    keep: impl Fn(K) -> T,
    mut tell: impl FnMut(Change<T>),
) where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    // Not whatever version the API server has at hand: it has no pages of that (a limit is ignored), and a thousand cameras would come at once.
    let config = config.timeout(60).page_size(PAGE);
    let keep = |mut object: K| {
        // Who wrote what is half of an object, and nobody here asks.
        object.meta_mut().managed_fields = None;
        keep(object)
    };
    let begin = || {
        let pauses = ResetTimerBackoff::new(Pauses::default(), LIVED);
        watcher(api.clone(), config.clone()).backoff(pauses).boxed()
    };
    let mut events = begin();
    let (mut list, mut unreadable) = (Vec::new(), Vec::new());
    loop {
        let event = tokio::select! {
            event = events.try_next() => event,
            Ok(()) = anew.changed() => {
                events = begin();
                continue;
            }
        };
        let event = match event {
            Ok(Some(event)) => event,
            Ok(None) => return,
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(kind = %K::kind(&()), %error, "a watch broke and begins again");
                tell(Change::Broke);
                continue;
            }
        };
        match event {
            Event::Init => {
                list.clear();
                unreadable.clear();
            }
            Event::InitApply(object) => match readable(object) {
                Ok(object) => list.push(keep(object)),
                Err(metadata) => unreadable.push(metadata),
            },
            Event::InitDone => {
                tell(Change::All(std::mem::take(&mut list)));
                let unreadable = std::mem::take(&mut unreadable).into_iter();
                unreadable.for_each(|metadata| tell(Change::Unreadable(metadata)));
                listed.send_replace(true);
            }
            Event::Apply(object) => match readable(object) {
                Ok(object) => tell(Change::Now(Box::new(keep(object)))),
                Err(metadata) => tell(Change::Unreadable(metadata)),
            },
            Event::Delete(object) => match object.0 {
                Ok(object) => tell(Change::Gone(Box::new(object.meta().clone()))),
                Err(invalid) => tell(Change::Gone(Box::new(invalid.metadata))),
            },
        }
    }
}

/// The pauses of a watch that breaks, as kube asks for them.
struct Pauses(Backoff);

impl Default for Pauses {
    fn default() -> Self {
        let backoff = Backoff::new(AGAIN, LATEST, LIVED, Jitter::Equal);
        Self(backoff.unwrap_or_else(|_| Backoff::standard()))
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0.next_delay())
    }
}

impl utils::Backoff for Pauses {
    fn reset(&mut self) {
        self.0.reset();
    }
}

pub(crate) fn readable<K: Resource<DynamicType = ()>>(
    object: DeserializeGuard<K>,
) -> Result<K, Box<kube::api::ObjectMeta>> {
    object.0.map_err(|invalid| {
        let metadata = &invalid.metadata;
        tracing::warn!(
            kind = %K::kind(&()), namespace = ?metadata.namespace, name = ?metadata.name, error = %invalid.error,
            "an object cannot be read and is left out"
        );
        Box::new(invalid.metadata)
    })
}
