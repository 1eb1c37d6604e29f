//! Which retention classes and tiers a camera has used: `UsedClasses`.
//!
//! Owns: the table `used_classes`, its copy in memory, and the mark that the store was searched once. Does not own: the search.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use moorline_core::CameraId;
use moorline_core::camera::Camera;
use moorline_core::port::{PortError, UsedClass, UsedClasses};
use moorline_core::segment::Tier;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, MutexGuard};

use crate::cameras::{RowError, wrong};
use crate::database::Database;
use crate::error::{OpenError, detached, failed};

const OPERATION: &str = "note where recordings lie";
/// The name in `meta` of the mark that the store was searched.
pub(crate) const SEARCHED: &str = "classes_searched";

type Used = BTreeMap<CameraId, BTreeSet<UsedClass>>;

/// `UsedClasses` over the registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UsedBook(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writer: SqlitePool,
    used: ArcSwap<Used>,
    searched: AtomicBool,
    changing: Mutex<()>,
}

impl UsedBook {
    pub(crate) async fn load(database: &Database) -> Result<Self, OpenError> {
        let sql = |error: sqlx::Error| OpenError::sql("read", &database.path, &error);
        let mut connection = database.reader.acquire().await.map_err(sql)?;
        let used = read_all(&mut connection)
            .await
            .map_err(|error| OpenError::damaged(&database.path, error))?;
        let searched = sqlx::query("SELECT 1 FROM meta WHERE name = ?")
            .bind(SEARCHED)
            .fetch_optional(&mut *connection)
            .await
            .map_err(sql)?;
        Ok(Self(Arc::new(Inner {
            writer: database.writer.clone(),
            used: ArcSwap::from_pointee(used),
            searched: AtomicBool::new(searched.is_some()),
            changing: Mutex::new(()),
        })))
    }

    /// Held from before a transaction on the table until its outcome is shown, so that memory and file do not part.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.0.changing.lock().await
    }

    /// Shows what was committed with a camera's record.
    pub(crate) fn show(&self, id: &CameraId, class: UsedClass) {
        self.0.change(|used| {
            used.entry(id.clone()).or_default().insert(class);
        });
    }
}

impl Inner {
    fn change(&self, change: impl Fn(&mut Used)) {
        self.used.rcu(|used| {
            let mut next = Used::clone(used);
            change(&mut next);
            next
        });
    }
}

async fn read_all(connection: &mut SqliteConnection) -> Result<Used, RowError> {
    let mut used = Used::new();
    let rows = sqlx::query("SELECT tenant || '/' || name, retention, tier FROM used_classes");
    for row in rows.fetch_all(connection).await? {
        let camera: String = row.try_get(0)?;
        let retention: String = row.try_get(1)?;
        let tier: String = row.try_get(2)?;
        let wrong_tier = || wrong("used_classes", &camera)(format!("no tier {tier:?}"));
        let tier = Tier::ALL.into_iter().find(|known| known.as_str() == tier);
        let class = UsedClass {
            retention: retention.parse().map_err(wrong("used_classes", &camera))?,
            tier: tier.ok_or_else(wrong_tier)?,
        };
        let id = camera.parse().map_err(wrong("used_classes", &camera))?;
        used.entry(id).or_default().insert(class);
    }
    Ok(used)
}

/// What a camera records now.
pub(crate) fn present(camera: &Camera) -> Option<UsedClass> {
    let tier = camera.record.source().map(Tier::of_source)?;
    Some(UsedClass {
        retention: camera.retention,
        tier,
    })
}

/// Notes one; the caller's transaction makes it durable.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    id: &CameraId,
    class: UsedClass,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO used_classes (tenant, name, retention, tier) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
        .bind(id.tenant().as_str())
        .bind(id.name())
        .bind(class.retention.to_string())
        .bind(class.tier.as_str())
        .execute(connection)
        .await
        .map(|_| ())
}

#[async_trait]
impl UsedClasses for UsedBook {
    fn of(&self, camera: &CameraId) -> Vec<UsedClass> {
        let used = self.0.used.load();
        used.get(camera)
            .map(|classes| classes.iter().copied().collect())
            .unwrap_or_default()
    }

    async fn note(&self, found: &[(CameraId, UsedClass)]) -> Result<(), PortError> {
        let (inner, found) = (Arc::clone(&self.0), found.to_vec());
        detached(OPERATION, async move {
            let turn = Arc::clone(&inner);
            let _turn = turn.changing.lock().await;
            let operation = failed(OPERATION);
            let mut transaction = inner
                .writer
                .begin_with("BEGIN IMMEDIATE")
                .await
                .map_err(&operation)?;
            for (id, class) in &found {
                write(&mut transaction, id, *class)
                    .await
                    .map_err(&operation)?;
            }
            transaction.commit().await.map_err(&operation)?;
            inner.change(|used| {
                for (id, class) in &found {
                    used.entry(id.clone()).or_default().insert(*class);
                }
            });
            Ok(())
        })
        .await
    }

    async fn forget(&self, camera: &CameraId) -> Result<(), PortError> {
        let (inner, id) = (Arc::clone(&self.0), camera.clone());
        detached(OPERATION, async move {
            let turn = Arc::clone(&inner);
            let _turn = turn.changing.lock().await;
            let operation = failed(OPERATION);
            let mut transaction = inner
                .writer
                .begin_with("BEGIN IMMEDIATE")
                .await
                .map_err(&operation)?;
            sqlx::query(
                "DELETE FROM used_classes WHERE tenant = ?1 AND name = ?2 AND NOT EXISTS (
                     SELECT 1 FROM cameras WHERE cameras.tenant = ?1 AND cameras.name = ?2 AND cameras.record <> 'off'
                     AND cameras.retention = used_classes.retention
                     AND CASE cameras.record WHEN 'sub' THEN 'low' ELSE 'full' END = used_classes.tier)",
            )
            .bind(id.tenant().as_str())
            .bind(id.name())
            .execute(&mut *transaction)
            .await
            .map_err(&operation)?;
            let left = read_all(&mut transaction)
                .await
                .map_err(|error| PortError::new(OPERATION, error))?;
            transaction.commit().await.map_err(&operation)?;
            inner.change(|used| match left.get(&id) {
                Some(classes) => {
                    used.insert(id.clone(), classes.clone());
                }
                None => {
                    used.remove(&id);
                }
            });
            Ok(())
        })
        .await
    }

    fn is_complete(&self) -> bool {
        self.0.searched.load(Ordering::Acquire)
    }

    async fn completed(&self) -> Result<(), PortError> {
        sqlx::query("INSERT INTO meta (name, value) VALUES (?, 'yes') ON CONFLICT DO NOTHING")
            .bind(SEARCHED)
            .execute(&self.0.writer)
            .await
            .map_err(failed(OPERATION))?;
        self.0.searched.store(true, Ordering::Release);
        Ok(())
    }
}
