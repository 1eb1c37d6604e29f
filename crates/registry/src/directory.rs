//! Cameras in memory, and what changes them: `CameraDirectory` and `CameraAdmin`.
//!
//! Readers get a snapshot, swapped whole after each commit (promise P7). Changes go one after another; those that wait together share a round
//! (`rounds`): check and write each, commit once, swap once, tell all. Keys are unique across all cameras (rule S2), by the snapshot for a clear
//! error, and by the table.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use moorline_core::camera::{Camera, CameraKey, CameraSet};
use moorline_core::port::{
    CameraAdmin, CameraAdminError, CameraChange, CameraDirectory, ImportError, PortError,
};
use moorline_core::{CameraId, PublicKey, Timestamp, check};
use sqlx::sqlite::SqlitePool;
use tokio::sync::{Mutex, oneshot, watch};

use crate::cameras::read_all;
use crate::database::Database;
use crate::envelope::Envelope;
use crate::error::OpenError;
use crate::rounds::{Doing, Job, Round, Tell};
use crate::used_classes::UsedBook;

pub(crate) const OPERATION: &str = "change the camera registry";
/// Changes in one transaction: some milliseconds of work, since claims and memories wait meanwhile.
const ROUND: usize = 64;

/// `CameraDirectory` and `CameraAdmin` over the registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cameras(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) writer: SqlitePool,
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) used: UsedBook,
    pub(crate) snapshot: ArcSwap<CameraSet>,
    version: watch::Sender<u64>,
    /// As long as there are callers who wait.
    queue: Queue,
    /// One round at a time.
    changing: Mutex<()>,
}

#[derive(Default)]
struct Queue(std::sync::Mutex<VecDeque<Job>>);

impl std::fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Queue")
    }
}

/// Which key spends which enrolment token.
#[derive(Debug)]
pub(crate) struct Spent {
    pub(crate) token: i64,
    pub(crate) key: PublicKey,
    pub(crate) at: Timestamp,
}

impl Cameras {
    pub(crate) async fn load(
        database: &Database,
        envelope: Arc<Envelope>,
        used: UsedBook,
    ) -> Result<Self, OpenError> {
        let sql = |error: sqlx::Error| OpenError::sql("read", &database.path, &error);
        let mut connection = database.reader.acquire().await.map_err(sql)?;
        let cameras = read_all(&mut connection, &envelope)
            .await
            .map_err(|error| OpenError::damaged(&database.path, error))?;
        Ok(Self(Arc::new(Inner {
            writer: database.writer.clone(),
            envelope,
            used,
            snapshot: ArcSwap::from_pointee(CameraSet::new(cameras)),
            version: watch::Sender::new(1),
            queue: Queue::default(),
            changing: Mutex::new(()),
        })))
    }

    /// Runs a change in the next round, with those that wait beside it, and gives what it came to once that is committed. It is finished even
    /// when the caller goes away.
    pub(crate) async fn change<T, E, F>(&self, change: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<PortError> + Send + 'static,
        F: for<'round> FnOnce(&'round mut Round) -> Doing<'round, Result<T, E>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |round| {
            Box::pin(async move {
                let result = change(round).await;
                let tell: Tell = Box::new(move |committed| {
                    let result = match committed {
                        Ok(()) => result,
                        Err(cause) => result
                            .and_then(|_| Err(PortError::new(OPERATION, cause.to_owned()).into())),
                    };
                    // The caller may have gone; the change stands.
                    let _ = answer.send(result);
                });
                tell
            })
        });
        self.0.wait(job);
        tokio::spawn(turn(Arc::clone(&self.0)));
        let answer = answered.await;
        answer.unwrap_or_else(|_| Err(PortError::new(OPERATION, "it was given up").into()))
    }
}

/// Does what waits, unless a neighbour has done it meanwhile.
async fn turn(inner: Arc<Inner>) {
    let _turn = inner.changing.lock().await;
    let jobs = inner.waiting();
    if jobs.is_empty() {
        return;
    }
    let _used = inner.used.turn().await;
    let mut round = Round::new(Arc::clone(&inner));
    let mut told = Vec::with_capacity(jobs.len());
    for job in jobs {
        told.push(job(&mut round).await);
    }
    let committed = round.finish().await;
    for tell in told {
        tell(match &committed {
            Ok(()) => Ok(()),
            Err(cause) => Err(cause),
        });
    }
}

impl Inner {
    fn wait(&self, job: Job) {
        self.queue().push_back(job);
    }

    /// Those that share the next round.
    fn waiting(&self) -> Vec<Job> {
        let mut queue = self.queue();
        let count = queue.len().min(ROUND);
        queue.drain(..count).collect()
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        self.queue.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the present cameras.
    pub(crate) fn show(&self, cameras: CameraSet) {
        self.snapshot.store(Arc::new(cameras));
        self.version.send_modify(|version| *version += 1);
    }
}

#[async_trait]
impl CameraDirectory for Cameras {
    fn snapshot(&self) -> Arc<CameraSet> {
        self.0.snapshot.load_full()
    }

    async fn changed(&self, seen: u64) -> u64 {
        let mut version = self.0.version.subscribe();
        let changed = version
            .wait_for(|version| *version != seen)
            .await
            .map(|version| *version);
        match changed {
            Ok(version) => version,
            // The sender is ours and lives as long as we do.
            Err(_) => std::future::pending().await,
        }
    }

    fn version(&self) -> u64 {
        *self.0.version.borrow()
    }
}

#[async_trait]
impl CameraAdmin for Cameras {
    async fn add(&self, mut camera: Camera) -> Result<(), CameraAdminError> {
        without_repeated_keys(&mut camera);
        self.change(move |round| {
            Box::pin(async move {
                if round.get(&camera.id).is_some() {
                    return Err(CameraAdminError::Exists(camera.id));
                }
                check::camera(&camera, is_timezone)?;
                round.put(camera, true).await
            })
        })
        .await
    }

    async fn import(&self, mut cameras: Vec<Camera>, dry_run: bool) -> Result<(), ImportError> {
        cameras.iter_mut().for_each(without_repeated_keys);
        self.change(move |round| {
            Box::pin(async move {
                let wrong = round.wrong(&cameras);
                if !wrong.is_empty() {
                    return Err(ImportError::Cameras(wrong));
                }
                match dry_run {
                    true => Ok(()),
                    false => round.put_all(cameras).await,
                }
            })
        })
        .await
    }

    async fn set(
        &self,
        id: &CameraId,
        mut change: CameraChange,
    ) -> Result<Camera, CameraAdminError> {
        let id = id.clone();
        self.change(move |round| {
            Box::pin(async move {
                let before = round.known(&id)?;
                // Changes go one after another, so nothing comes between this look and the commit.
                if change.decided_on.take().is_some_and(|seen| *seen != before) {
                    return Err(CameraAdminError::Changed(id));
                }
                let mut camera = before.clone();
                change.apply(&mut camera);
                // A camera is always switched off, even one that an older version let in with a field that is refused now.
                let switched = Camera {
                    enabled: camera.enabled,
                    ..before.clone()
                };
                if camera != switched {
                    check::camera(&camera, is_timezone)?;
                }
                if camera != before {
                    round.put(camera.clone(), false).await?;
                }
                Ok(camera)
            })
        })
        .await
    }

    async fn remove(&self, id: &CameraId) -> Result<(), CameraAdminError> {
        let id = id.clone();
        self.change(move |round| Box::pin(async move { round.remove(&id).await }))
            .await
    }

    async fn add_key(&self, id: &CameraId, key: CameraKey) -> Result<(), CameraAdminError> {
        let id = id.clone();
        self.change(move |round| {
            Box::pin(async move {
                let mut camera = round.known(&id)?;
                if camera.keys.iter().any(|known| known.key == key.key) {
                    return Ok(());
                }
                camera.keys.push(key);
                check::keys(&camera.keys)?;
                round.put(camera, false).await
            })
        })
        .await
    }

    async fn revoke_key(&self, id: &CameraId, key: &PublicKey) -> Result<(), CameraAdminError> {
        let (id, key) = (id.clone(), key.clone());
        self.change(move |round| {
            Box::pin(async move {
                let mut camera = round.known(&id)?;
                let before = camera.keys.len();
                camera.keys.retain(|known| known.key != key);
                if camera.keys.len() == before {
                    let fingerprint = key.fingerprint();
                    return Err(CameraAdminError::UnknownKey {
                        camera: id,
                        fingerprint,
                    });
                }
                round.put(camera, false).await
            })
        })
        .await
    }
}

fn without_repeated_keys(camera: &mut Camera) {
    let mut seen = HashSet::new();
    camera.keys.retain(|key| seen.insert(key.key.clone()));
}

pub(crate) fn is_timezone(name: &str) -> bool {
    jiff::tz::db().get(name).is_ok()
}
