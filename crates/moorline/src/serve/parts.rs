//! The parts that need no listener: registry, store, spool, recordings. The server builds on them, and so does a command that answers
//! itself while no server runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use moorline_archiver::Archive;
use moorline_base::clock::{SharedClock, SystemClock, sleep};
use moorline_base::error::{Hinted, WithHint as _};
use moorline_base::files::DataDir;
use moorline_base::{Backoff, CancellationToken};
use moorline_core::CameraId;
use moorline_core::port::{
    CameraDirectory as _, SegmentSink, SegmentStore, StoreError, UsedClasses as _,
};
use moorline_core::segment::Retention;
use moorline_recordings::{Archive as Reader, Kept};
use moorline_registry::{Registry, UsedBook};
use moorline_store::verify::Digests;
use moorline_store::{DirectoryStore, SweepPolicy, SweepState, Sweeper};

use super::classes;
use super::daily::Daily;
use super::usage::Usage;
use crate::settings::{Settings, StoreKind};

/// The store, by all its ports.
#[derive(Clone)]
pub struct Store {
    /// Reading and deleting.
    pub read: Arc<dyn SegmentStore>,
    /// Putting.
    pub sink: Arc<dyn SegmentSink>,
    /// Digests, where the store tells them.
    pub digests: Option<Arc<dyn Digests>>,
    /// Where gap markers that belong to no archiver go.
    pub markers: Arc<dyn moorline_store::verify::Markers>,
    /// The directory, if it is one.
    pub directory: Option<DirectoryStore>,
    /// The bucket, if it is one.
    #[cfg(feature = "s3")]
    pub bucket: Option<Arc<moorline_store::S3Store>>,
    /// In words, without secrets.
    pub told: String,
}

/// Something about the store that somebody must know.
#[derive(Debug, Clone, Copy)]
pub struct Remark {
    /// The archive is open to strangers, or cannot be used.
    pub alarm: bool,
    /// In words.
    pub words: &'static str,
}

impl Store {
    /// Tries what the store can do: a bucket by writing under `.probe/`, a directory by listing it.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn probe(&self) -> Result<Vec<Remark>, StoreError> {
        #[cfg(feature = "s3")]
        if let Some(bucket) = &self.bucket {
            let problems = bucket.probe().await?.problems();
            let remark = |problem: moorline_store::s3::Problem| Remark {
                alarm: problem.is_alarm(),
                words: problem.explanation(),
            };
            return Ok(problems.into_iter().map(remark).collect());
        }
        self.read.list("v1/", "").await.map(|_| Vec::new())
    }

    /// Probes until the store has answered once: until then each object is looked up after its put. Ends when told.
    pub async fn probe_until_answered(
        self,
        used: UsedBook,
        clock: SharedClock,
        stop: CancellationToken,
    ) {
        let mut backoff = Backoff::standard();
        loop {
            // A store that hangs must not delay a stop.
            let probe = async {
                let remarks = self.probe().await?;
                // A start does not wait for a slow store: only now is it certain where recordings lie.
                classes::search(&*self.read, &used).await?;
                Ok::<_, classes::SearchError>(remarks)
            };
            let probed = tokio::select! {
                () = stop.cancelled() => return,
                probed = probe => probed,
            };
            match probed {
                Ok(remarks) => {
                    for remark in remarks.iter().filter(|remark| remark.alarm) {
                        tracing::error!(store = self.told, "{}", remark.words);
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(store = self.told, %error, "the store does not answer; recordings wait in the spool")
                }
            }
            if sleep(&*clock, backoff.next_delay(), &stop)
                .await
                .is_cancelled()
            {
                return;
            }
        }
    }
}

/// Everything without a listener.
pub struct Parts {
    /// The lock on the data directory.
    pub data: DataDir,
    /// Time.
    pub clock: SharedClock,
    /// Cameras, users, claims.
    pub registry: Arc<Registry>,
    /// Segments.
    pub store: Store,
    /// What the sweeper took for room.
    pub swept: SweepState,
    /// What recordings take.
    pub usage: Usage,
    /// What the daily look at the store found last.
    pub daily: Daily,
    /// Spool and uploader.
    pub archive: Archive,
    /// The read side.
    pub reader: Arc<Reader>,
}

/// The registry's file in the data directory: without it no server ever ran there.
pub const REGISTRY: &str = "registry.sqlite";

impl Parts {
    /// Opens the data directory. Recovers what a crash left in the spool.
    ///
    /// # Errors
    /// Another process has it, a file is damaged or of a newer version, the store's settings are wrong: each says which, and the cure.
    pub async fn open(data: &Path, settings: &Settings) -> anyhow::Result<Self> {
        let lock = DataDir::open(data)?;
        let clock = SystemClock::shared();
        let registry = Registry::open(
            &data.join(REGISTRY),
            &data.join("registry.key"),
            Arc::clone(&clock),
        )
        .await;
        let registry = registry.map_err(|error| {
            let hint = error.hint();
            Hinted::new(format!("{:#}", anyhow::Error::from(error)), hint)
        })?;
        let registry = Arc::new(registry);
        let store = open_store(data, settings, &clock)?;
        let swept = swept(data.join("swept.json"));
        let archive = Archive::open(
            data.join("spool"),
            Arc::clone(&store.sink),
            Arc::clone(&clock),
            archive_settings(settings, data)?,
        )
        .await?;
        let cameras = registry.cameras();
        let used = registry.used_classes();
        if let Err(error) = classes::search_soon(&*store.read, &used).await {
            tracing::warn!(%error, "recordings from before this registry was made or restored are not all shown until the store was searched");
        }
        let expiry = swept.clone();
        let kept = move |camera: &CameraId, now| {
            let used = used.of(camera);
            let classes: BTreeSet<Retention> = used.iter().map(|class| class.retention).collect();
            let set = cameras.snapshot();
            let present = set.get(camera).map(|camera| camera.retention);
            let known = classes.iter().copied().chain(present);
            Kept {
                expired_before: expiry.expired_before(known, now),
                classes: classes.into_iter().collect(),
            }
        };
        let reader = Reader::new(
            Arc::clone(&store.read),
            Arc::new(archive.clone()),
            kept,
            Arc::clone(&clock),
        );
        Ok(Self {
            data: lock,
            clock,
            registry,
            store,
            swept,
            usage: Usage::default(),
            daily: Daily::open(data.join("verified.json")),
            archive,
            reader: Arc::new(reader),
        })
    }

    /// The task that removes what retention has outlived.
    pub fn sweeper(&self, settings: &Settings) -> Sweeper {
        let policy = SweepPolicy {
            max_percent: settings.archive.disk_percent,
            min_free: settings.archive.disk_free.bytes(),
            ..SweepPolicy::default()
        };
        match &self.store.directory {
            Some(directory) => Sweeper::of_directory(
                directory.clone(),
                policy,
                self.swept.clone(),
                Arc::clone(&self.clock),
            ),
            None => Sweeper::by_age(
                Arc::clone(&self.store.read),
                policy,
                self.swept.clone(),
                Arc::clone(&self.clock),
            ),
        }
    }

    /// Closes what must be closed.
    pub async fn close(self) {
        if let Err(error) = self.registry.close().await {
            tracing::warn!(%error, "the registry was not closed cleanly");
        }
    }
}

/// What went for room. A file that only colours the past keeps nobody from recording.
fn swept(path: PathBuf) -> SweepState {
    SweepState::open(path.clone()).unwrap_or_else(|error| {
        let path_shown = path.display();
        tracing::error!(path = %path_shown, %error, "what went for room is not known any more: those stretches are shown as unexplained");
        SweepState::anew(path)
    })
}

fn open_store(data: &Path, settings: &Settings, clock: &SharedClock) -> anyhow::Result<Store> {
    match settings.archive.store {
        StoreKind::Directory => {
            let given = &settings.archive.directory;
            let path = if given.is_empty() {
                data.join("archive")
            } else {
                PathBuf::from(given)
            };
            let store = if given.is_empty() {
                DirectoryStore::open(&path, Arc::clone(clock))
            } else {
                // It may be a disk of its own, and not be mounted.
                let memory = data.join("archive-mark");
                DirectoryStore::open_remembered(&path, &memory, Arc::clone(clock))
            };
            let store = store.hint(|| "archive.directory names it; it must be writable")?;
            if let Some(why) = store.absent() {
                tracing::error!("{why}; recordings wait in the spool");
            }
            Ok(Store {
                read: Arc::new(store.clone()),
                sink: Arc::new(store.clone()),
                digests: None,
                markers: Arc::new(store.clone()),
                directory: Some(store),
                #[cfg(feature = "s3")]
                bucket: None,
                told: format!("directory {}", path.display()),
            })
        }
        StoreKind::S3 => bucket(settings, clock),
    }
}

/// The bucket's key: of the settings, or of the directory that they name.
///
/// # Errors
/// A file of it cannot be read.
#[cfg(feature = "s3")]
pub fn s3_key(s3: &crate::settings::S3) -> anyhow::Result<(String, moorline_base::Secret<String>)> {
    if s3.key_dir.is_empty() {
        let secret = moorline_base::Secret::new(s3.secret_key.expose().clone());
        return Ok((s3.access_key.clone(), secret));
    }
    let read = |name: &str| {
        let path = Path::new(&s3.key_dir).join(name);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Hinted::new(
                format!("s3.key_dir: {}: {error}", path.display()),
                "a directory with the files access-key and secret-key",
            )
        })?;
        anyhow::Ok(text.trim().to_owned())
    };
    let secret = moorline_base::Secret::new(read("secret-key")?);
    Ok((read("access-key")?, secret))
}

/// The authority (PEM) of a store with one of its own.
///
/// # Errors
/// The file cannot be read, or holds no certificate that an authority can have.
#[cfg(feature = "s3")]
pub fn s3_authority(s3: &crate::settings::S3) -> anyhow::Result<Option<String>> {
    if s3.authority.is_empty() {
        return Ok(None);
    }
    let wrong = |cause: String| {
        Hinted::new(
            format!("s3.authority = {:?}: {cause}", s3.authority),
            "a PEM file with the certificate of the authority that the store's is signed by",
        )
    };
    let pem = std::fs::read_to_string(&s3.authority).map_err(|error| wrong(error.to_string()))?;
    moorline_store::s3::check_authority(&pem).map_err(wrong)?;
    Ok(Some(pem))
}

/// The bucket of the settings.
///
/// # Errors
/// The setting that is wrong.
#[cfg(feature = "s3")]
pub fn s3_store(
    settings: &Settings,
    clock: &SharedClock,
) -> anyhow::Result<moorline_store::S3Store> {
    use moorline_store::s3::{Digest, Verify};
    let s3 = &settings.s3;
    let verify = match s3.verify {
        crate::settings::S3Verify::Head => Verify::Head,
        crate::settings::S3Verify::Etag => Verify::Etag,
    };
    let (access_key, secret_key) = s3_key(s3)?;
    let config = moorline_store::S3Config {
        endpoint: Some(s3.endpoint.clone()).filter(|endpoint| !endpoint.is_empty()),
        region: s3.region.clone(),
        bucket: s3.bucket.clone(),
        access_key,
        secret_key,
        path_style: Some(s3.path_style),
        digest: Digest::Md5,
        verify,
        authority: s3_authority(s3)?,
    };
    let store = moorline_store::S3Store::new(config, Arc::clone(clock));
    Ok(store.map_err(|error| {
        Hinted::new(
            format!("s3.{error}"),
            "set it in moorline.toml, section [s3]",
        )
    })?)
}

#[cfg(feature = "s3")]
fn bucket(settings: &Settings, clock: &SharedClock) -> anyhow::Result<Store> {
    let s3 = &settings.s3;
    let told = format!(
        "bucket {} at {}",
        s3.bucket,
        if s3.endpoint.is_empty() {
            &s3.region
        } else {
            &s3.endpoint
        }
    );
    let store = Arc::new(s3_store(settings, clock)?);
    Ok(Store {
        read: Arc::clone(&store) as _,
        sink: Arc::clone(&store) as _,
        digests: Some(Arc::clone(&store) as _),
        markers: Arc::clone(&store) as _,
        directory: None,
        bucket: Some(store),
        told,
    })
}

#[cfg(not(feature = "s3"))]
fn bucket(_: &Settings, _: &SharedClock) -> anyhow::Result<Store> {
    anyhow::bail!(Hinted::new(
        "archive.store = \"s3\" is not part of this build",
        "build with the feature s3, or use a directory"
    ))
}

/// How many bytes the spool may hold, and how many stay free on its disk.
///
/// # Errors
/// The disk cannot be looked at.
pub(super) fn spool_bounds(settings: &Settings, data: &Path) -> std::io::Result<(u64, u64)> {
    let bound = match settings.archive.spool.bytes() {
        0 => {
            let space = moorline_base::files::disk_space(data)?;
            space.total / 100 * u64::from(settings.archive.disk_percent) / 2
        }
        bound => bound,
    };
    Ok((bound, settings.archive.disk_free.bytes() / 2))
}

fn archive_settings(
    settings: &Settings,
    data: &Path,
) -> anyhow::Result<moorline_archiver::Settings> {
    let (spool_bytes, min_free_bytes) = spool_bounds(settings, data)?;
    Ok(moorline_archiver::Settings {
        segment: settings.archive.segment.get(),
        spool_bytes,
        min_free_bytes,
        drain_budget: settings.archive.drain.get(),
        ..moorline_archiver::Settings::default()
    })
}
