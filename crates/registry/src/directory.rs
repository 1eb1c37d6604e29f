//! Cameras in memory, and what changes them: `CameraDirectory` and `CameraAdmin`.
//!
//! Readers get a snapshot, swapped whole after each commit (promise P7). Changes go one after another, each as a task of its own: check,
//! commit, swap. Keys are unique across all cameras (rule S2), by the snapshot for a clear error, and by the table.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use moorline_core::camera::{Camera, CameraKey, CameraSet};
use moorline_core::port::{
    CameraAdmin, CameraAdminError, CameraChange, CameraDirectory, PortError,
};
use moorline_core::{CameraId, PublicKey, Timestamp, check};
use sqlx::sqlite::SqlitePool;
use tokio::sync::{Mutex, watch};

use crate::cameras::{WriteError, read_all, write};
use crate::database::Database;
use crate::enroll;
use crate::envelope::Envelope;
use crate::error::{OpenError, detached, failed};
use crate::used_classes::{self, UsedBook};

const OPERATION: &str = "change the camera registry";

/// `CameraDirectory` and `CameraAdmin` over the registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cameras(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    writer: SqlitePool,
    envelope: Arc<Envelope>,
    used: UsedBook,
    snapshot: ArcSwap<CameraSet>,
    version: watch::Sender<u64>,
    changing: Mutex<()>,
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
            changing: Mutex::new(()),
        })))
    }

    /// Runs a change as a task of its own, so that it is finished even when the caller goes away.
    pub(crate) async fn change<T, E, F, Fut>(&self, change: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<PortError> + Send + 'static,
        F: FnOnce(Arc<Inner>, Arc<CameraSet>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        detached(OPERATION, async move {
            let turn = Arc::clone(&inner);
            let _turn = turn.changing.lock().await;
            let present = inner.snapshot.load_full();
            change(inner, present).await
        })
        .await
    }
}

impl Inner {
    /// Commits a record and shows it.
    async fn put(
        &self,
        present: &CameraSet,
        camera: Camera,
        new: bool,
    ) -> Result<(), CameraAdminError> {
        self.put_spending(present, camera, new, None).await
    }

    /// The same, and in the same transaction an enrolment token is spent.
    pub(crate) async fn put_spending(
        &self,
        present: &CameraSet,
        camera: Camera,
        new: bool,
        spent: Option<Spent>,
    ) -> Result<(), CameraAdminError> {
        for key in &camera.keys {
            self.is_free(present, &camera.id, &key.key)?;
        }
        let operation = failed(OPERATION);
        let used = used_classes::present(&camera);
        let _turn = self.used.turn().await;
        let mut transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(&operation)?;
        write(&mut transaction, &self.envelope, &camera, new)
            .await
            .map_err(|error| refused(error, &camera))?;
        if let Some(class) = used {
            used_classes::write(&mut transaction, &camera.id, class)
                .await
                .map_err(&operation)?;
        }
        if let Some(spent) = spent {
            enroll::write_spent(&mut transaction, &camera.id, &spent)
                .await
                .map_err(&operation)?;
        }
        transaction.commit().await.map_err(&operation)?;
        if let Some(class) = used {
            self.used.show(&camera.id, class);
        }
        self.show(present, &camera.id, Some(camera.clone()));
        Ok(())
    }

    fn is_free(
        &self,
        present: &CameraSet,
        camera: &CameraId,
        key: &PublicKey,
    ) -> Result<(), CameraAdminError> {
        match present.having(key).iter().find(|owner| *owner != camera) {
            None => Ok(()),
            Some(owner) => Err(CameraAdminError::KeyTaken {
                fingerprint: key.fingerprint(),
                // What another tenant's cameras are called is not this one's to know (P10).
                owner: if owner.tenant() == camera.tenant() {
                    format!("camera {owner}")
                } else {
                    "a camera of another tenant".into()
                },
            }),
        }
    }

    /// Shows the present cameras with one of them changed, added or gone.
    fn show(&self, present: &CameraSet, id: &CameraId, now: Option<Camera>) {
        let others = present.iter().filter(|other| other.id != *id);
        let cameras = others.map(|other| Camera::clone(other)).chain(now);
        self.snapshot.store(Arc::new(CameraSet::new(cameras)));
        self.version.send_modify(|version| *version += 1);
    }
}

/// What another process wrote meanwhile shows here alone: the table knows better than the snapshot.
fn refused(error: WriteError, camera: &Camera) -> CameraAdminError {
    if let WriteError::Sql(sql) = &error {
        let taken = sql
            .as_database_error()
            .filter(|error| error.is_unique_violation());
        match (taken, sql) {
            (Some(taken), _) if taken.message().contains("camera_keys") => {
                return CameraAdminError::KeyTaken {
                    fingerprint: camera
                        .keys
                        .last()
                        .map(|key| key.key.fingerprint())
                        .unwrap_or_default(),
                    owner: "another camera".into(),
                };
            }
            (Some(_), _) => return CameraAdminError::Exists(camera.id.clone()),
            (None, sqlx::Error::RowNotFound) => {
                return CameraAdminError::Unknown(camera.id.clone());
            }
            _ => {}
        }
    }
    PortError::new(OPERATION, error).into()
}

fn known(present: &CameraSet, id: &CameraId) -> Result<Camera, CameraAdminError> {
    match present.get(id) {
        Some(camera) => Ok(Camera::clone(camera)),
        None => Err(CameraAdminError::Unknown(id.clone())),
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
        let mut seen = std::collections::HashSet::new();
        camera.keys.retain(|key| seen.insert(key.key.clone()));
        self.change(|inner, present| async move {
            if present.get(&camera.id).is_some() {
                return Err(CameraAdminError::Exists(camera.id));
            }
            check::camera(&camera, is_timezone)?;
            inner.put(&present, camera, true).await
        })
        .await
    }

    async fn set(
        &self,
        id: &CameraId,
        mut change: CameraChange,
    ) -> Result<Camera, CameraAdminError> {
        let id = id.clone();
        self.change(|inner, present| async move {
            let before = known(&present, &id)?;
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
                inner.put(&present, camera.clone(), false).await?;
            }
            Ok(camera)
        })
        .await
    }

    async fn remove(&self, id: &CameraId) -> Result<(), CameraAdminError> {
        let id = id.clone();
        self.change(|inner, present| async move {
            known(&present, &id)?;
            let operation = failed(OPERATION);
            let mut transaction = inner
                .writer
                .begin_with("BEGIN IMMEDIATE")
                .await
                .map_err(&operation)?;
            for statement in [
                "DELETE FROM cameras WHERE tenant = ? AND name = ?",
                "UPDATE claims SET session = NULL WHERE tenant = ? AND name = ?",
            ] {
                sqlx::query(statement)
                    .bind(id.tenant().as_str())
                    .bind(id.name())
                    .execute(&mut *transaction)
                    .await
                    .map_err(&operation)?;
            }
            transaction.commit().await.map_err(&operation)?;
            inner.show(&present, &id, None);
            Ok(())
        })
        .await
    }

    async fn add_key(&self, id: &CameraId, key: CameraKey) -> Result<(), CameraAdminError> {
        let id = id.clone();
        self.change(|inner, present| async move {
            let mut camera = known(&present, &id)?;
            if camera.keys.iter().any(|known| known.key == key.key) {
                return Ok(());
            }
            camera.keys.push(key);
            check::keys(&camera.keys)?;
            inner.put(&present, camera, false).await
        })
        .await
    }

    async fn revoke_key(&self, id: &CameraId, key: &PublicKey) -> Result<(), CameraAdminError> {
        let (id, key) = (id.clone(), key.clone());
        self.change(|inner, present| async move {
            let mut camera = known(&present, &id)?;
            let before = camera.keys.len();
            camera.keys.retain(|known| known.key != key);
            if camera.keys.len() == before {
                let fingerprint = key.fingerprint();
                return Err(CameraAdminError::UnknownKey {
                    camera: id,
                    fingerprint,
                });
            }
            inner.put(&present, camera, false).await
        })
        .await
    }
}

fn is_timezone(name: &str) -> bool {
    jiff::tz::db().get(name).is_ok()
}
