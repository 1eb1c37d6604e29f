//! Changes of cameras that wait together are written in one transaction: 500 cameras that enrol at once, and whose streams are then found, cost
//! a handful of syncs of the disk instead of 1,000.
//!
//! Owns: a [`Round`], which is one transaction and what it makes of the cameras. Does not own: who changes what (`directory`, `enroll`), or the
//! queue (`directory`). A change that is refused is undone alone; when the disk refuses, the whole round is undone and everybody in it is told.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;

use moorline_core::camera::{Camera, CameraSet};
use moorline_core::port::{CameraAdminError, ImportError, PortError, UsedClass};
use moorline_core::{CameraId, PublicKey, check};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Sqlite, Transaction};

use crate::cameras::{WriteError, write};
use crate::directory::{Inner, OPERATION, Spent, is_timezone};
use crate::{enroll, used_classes};

/// What a change does in its round.
pub(crate) type Doing<'round, T> = Pin<Box<dyn Future<Output = T> + Send + 'round>>;
/// Tells a caller: with what its change came to once the round is committed, or why nothing of it is.
pub(crate) type Tell = Box<dyn FnOnce(Result<(), &str>) + Send>;
/// A change that waits for its round.
pub(crate) type Job = Box<dyn for<'round> FnOnce(&'round mut Round) -> Doing<'round, Tell> + Send>;

/// One transaction over the cameras, begun by its first write.
#[derive(Debug)]
pub(crate) struct Round {
    inner: Arc<Inner>,
    present: Arc<CameraSet>,
    /// What the snapshot does not know yet; `None`: removed.
    changed: BTreeMap<CameraId, Option<Arc<Camera>>>,
    used: Vec<(CameraId, UsedClass)>,
    transaction: Option<Transaction<'static, Sqlite>>,
    /// Why nothing more is written: after such an error SQLite may have undone everything already.
    broken: Option<String>,
}

impl Round {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Round {
            present: inner.snapshot.load_full(),
            inner,
            changed: BTreeMap::new(),
            used: Vec::new(),
            transaction: None,
            broken: None,
        }
    }

    /// A camera as this round has it.
    pub(crate) fn get(&self, id: &CameraId) -> Option<&Arc<Camera>> {
        match self.changed.get(id) {
            Some(now) => now.as_ref(),
            None => self.present.get(id),
        }
    }

    /// The same, to be changed.
    pub(crate) fn known(&self, id: &CameraId) -> Result<Camera, CameraAdminError> {
        match self.get(id) {
            Some(camera) => Ok(Camera::clone(camera)),
            None => Err(CameraAdminError::Unknown(id.clone())),
        }
    }

    /// The connection with what this round has written so far. A write on it stands whatever its change comes to.
    pub(crate) async fn connection(&mut self) -> Result<&mut SqliteConnection, PortError> {
        if let Some(cause) = &self.broken {
            return Err(PortError::new(OPERATION, cause.clone()));
        }
        let transaction = match self.transaction.take() {
            Some(transaction) => transaction,
            None => match self.inner.writer.begin_with("BEGIN IMMEDIATE").await {
                Ok(transaction) => transaction,
                Err(error) => return Err(self.breaks(error)),
            },
        };
        Ok(&mut *self.transaction.insert(transaction))
    }

    /// The round ends in nothing.
    pub(crate) fn breaks(&mut self, error: impl std::fmt::Display) -> PortError {
        let cause = error.to_string();
        self.broken = Some(cause.clone());
        PortError::new(OPERATION, cause)
    }

    /// Writes a record.
    pub(crate) async fn put(&mut self, camera: Camera, new: bool) -> Result<(), CameraAdminError> {
        self.put_spending(camera, new, None).await
    }

    /// The same, and an enrolment token is spent, both or none.
    pub(crate) async fn put_spending(
        &mut self,
        camera: Camera,
        new: bool,
        spent: Option<Spent>,
    ) -> Result<(), CameraAdminError> {
        for key in &camera.keys {
            self.is_free(&camera.id, &key.key)?;
        }
        let used = used_classes::present(&camera);
        let inner = Arc::clone(&self.inner);
        let connection = self.connection().await?;
        let written = async {
            let mut part = connection.begin().await?;
            write(&mut part, &inner.envelope, &camera, new).await?;
            if let Some(class) = used {
                used_classes::write(&mut part, &camera.id, class).await?;
            }
            if let Some(spent) = spent {
                enroll::write_spent(&mut part, &camera.id, &spent).await?;
            }
            part.commit().await?;
            Ok::<_, WriteError>(())
        };
        if let Err(error) = written.await {
            return Err(match refused(&error, &camera) {
                Some(refused) => refused,
                None => self.breaks(error).into(),
            });
        }
        self.used
            .extend(used.map(|class| (camera.id.clone(), class)));
        self.changed
            .insert(camera.id.clone(), Some(Arc::new(camera)));
        Ok(())
    }

    /// Why cameras cannot be added together: each by its place, the first reason that was found.
    pub(crate) fn wrong(&self, cameras: &[Camera]) -> Vec<(usize, CameraAdminError)> {
        let mut names = HashSet::new();
        let mut keys = HashMap::new();
        let mut refusal = |camera: &Camera| {
            if self.get(&camera.id).is_some() || !names.insert(camera.id.clone()) {
                return Err(CameraAdminError::Exists(camera.id.clone()));
            }
            check::camera(camera, is_timezone)?;
            for key in &camera.keys {
                self.is_free(&camera.id, &key.key)?;
                let owner = keys.entry(key.key.clone()).or_insert(camera.id.clone());
                if *owner != camera.id {
                    return Err(CameraAdminError::KeyTaken {
                        fingerprint: key.key.fingerprint(),
                        owner: format!("camera {owner} of the same list"),
                    });
                }
            }
            Ok(())
        };
        let all = cameras.iter().enumerate();
        all.filter_map(|(at, camera)| Some((at, refusal(camera).err()?)))
            .collect()
    }

    /// Writes new records, all or none. [`Round::wrong`] has nothing against them.
    pub(crate) async fn put_all(&mut self, cameras: Vec<Camera>) -> Result<(), ImportError> {
        let inner = Arc::clone(&self.inner);
        let connection = self.connection().await?;
        let mut written = 0;
        let writing = async {
            let mut part = connection.begin().await?;
            for camera in &cameras {
                write(&mut part, &inner.envelope, camera, true).await?;
                if let Some(class) = used_classes::present(camera) {
                    used_classes::write(&mut part, &camera.id, class).await?;
                }
                written += 1;
            }
            part.commit().await?;
            Ok::<_, WriteError>(())
        };
        if let Err(error) = writing.await {
            let refusal = cameras
                .get(written)
                .and_then(|camera| refused(&error, camera));
            return Err(match refusal {
                Some(refusal) => ImportError::Cameras(vec![(written, refusal)]),
                None => self.breaks(error).into(),
            });
        }
        for camera in cameras {
            let used = used_classes::present(&camera);
            self.used
                .extend(used.map(|class| (camera.id.clone(), class)));
            self.changed
                .insert(camera.id.clone(), Some(Arc::new(camera)));
        }
        Ok(())
    }

    /// Removes a camera; what it has recorded, and its generation, stay.
    pub(crate) async fn remove(&mut self, id: &CameraId) -> Result<(), CameraAdminError> {
        self.known(id)?;
        let connection = self.connection().await?;
        let removed = async {
            let mut part = connection.begin().await?;
            for statement in [
                "DELETE FROM cameras WHERE tenant = ? AND name = ?",
                "UPDATE claims SET session = NULL WHERE tenant = ? AND name = ?",
            ] {
                sqlx::query(statement)
                    .bind(id.tenant().as_str())
                    .bind(id.name())
                    .execute(&mut *part)
                    .await?;
            }
            part.commit().await
        };
        if let Err(error) = removed.await {
            return Err(self.breaks(error).into());
        }
        self.changed.insert(id.clone(), None);
        Ok(())
    }

    fn is_free(&self, camera: &CameraId, key: &PublicKey) -> Result<(), CameraAdminError> {
        let before = self.present.having(key).iter();
        let before = before.filter(|owner| !self.changed.contains_key(owner));
        let now = self.changed.values().flatten();
        let now = now.filter(|other| other.keys.iter().any(|known| known.key == *key));
        let mut owners = before.chain(now.map(|other| &other.id));
        match owners.find(|owner| *owner != camera) {
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

    /// Commits, and shows what the cameras are now.
    pub(crate) async fn finish(self) -> Result<(), String> {
        if let Some(cause) = self.broken {
            // Dropped, the transaction is undone before the connection is used again.
            return Err(cause);
        }
        if let Some(transaction) = self.transaction {
            transaction
                .commit()
                .await
                .map_err(|error| error.to_string())?;
        }
        for (camera, class) in &self.used {
            self.inner.used.show(camera, *class);
        }
        if !self.changed.is_empty() {
            let others = self.present.iter();
            let others = others.filter(|other| !self.changed.contains_key(&other.id));
            let now = others.chain(self.changed.values().flatten());
            self.inner
                .show(CameraSet::new(now.map(|camera| Camera::clone(camera))));
        }
        Ok(())
    }
}

/// What another process wrote meanwhile shows here alone: the table knows better than the snapshot. `None`: the disk refuses, not the table.
fn refused(error: &WriteError, camera: &Camera) -> Option<CameraAdminError> {
    let sql = match error {
        WriteError::Sql(sqlx::Error::RowNotFound) => {
            return Some(CameraAdminError::Unknown(camera.id.clone()));
        }
        WriteError::Sql(sql) => sql,
        // Nothing was asked of the disk.
        WriteError::Seal(unsealed) => {
            return Some(PortError::new(OPERATION, unsealed.to_string()).into());
        }
    };
    let taken = sql
        .as_database_error()
        .filter(|error| error.is_unique_violation())?;
    if !taken.message().contains("camera_keys") {
        return Some(CameraAdminError::Exists(camera.id.clone()));
    }
    let newest = camera.keys.last();
    Some(CameraAdminError::KeyTaken {
        fingerprint: newest.map(|key| key.key.fingerprint()).unwrap_or_default(),
        owner: "another camera".into(),
    })
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use moorline_base::SimulatedClock;
    use moorline_core::camera::{CameraKey, Record, RecordBy};
    use moorline_core::port::{
        CameraAdmin as _, CameraDirectory as _, CameraLike, EnrollAsked, EnrollTokens as _,
        Enrolment as _, NewToken, TokenMakes, UsedClasses as _,
    };
    use moorline_core::segment::Retention;
    use moorline_core::{Masked, TenantId, Timestamp};

    use super::*;
    use crate::Registry;

    const NOW: i64 = 1_800_000_000_000;

    fn key(number: u16) -> CameraKey {
        let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        blob.extend(std::iter::repeat_n(number.to_be_bytes(), 16).flatten());
        CameraKey {
            key: PublicKey::from_blob(&blob).unwrap(),
            added: Timestamp::from_millis(NOW),
            comment: String::new(),
        }
    }

    fn like() -> CameraLike {
        CameraLike {
            title: None,
            site: None,
            timezone: "UTC".to_owned(),
            record: Record::Main,
            record_by: RecordBy::Auto,
            retention: Retention::Days(14),
        }
    }

    fn camera(number: u16, key_number: u16) -> Camera {
        let id = format!("shop-{number}").parse().unwrap();
        like().make(id, key(key_number))
    }

    async fn open(directory: &std::path::Path) -> Registry {
        let clock = Arc::new(SimulatedClock::new(NOW));
        let file = |name| directory.join(name);
        Registry::open(&file("registry.sqlite"), &file("registry.key"), clock)
            .await
            .unwrap()
    }

    /// No page is free, and there can be none more.
    async fn fill(registry: &Registry) {
        for step in ["VACUUM", "PRAGMA max_page_count = 1"] {
            let writer = &registry.database().writer;
            sqlx::query(step).execute(writer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn changes_that_wait_together_share_commits_and_one_that_is_refused_is_alone() {
        let directory = tempfile::tempdir().unwrap();
        let registry = open(directory.path()).await;
        let all = registry.cameras();
        let before = all.version();
        // The last has the key of the first.
        let cameras = (0..300).map(|number| camera(number, number % 299));
        let added = join_all(cameras.map(|camera| all.add(camera))).await;
        let (last, others) = added.split_last().unwrap();
        assert!(others.iter().all(Result::is_ok), "{others:?}");
        assert!(
            matches!(last, Err(CameraAdminError::KeyTaken { .. })),
            "{last:?}"
        );
        let rounds = all.version() - before;
        assert!(rounds <= 6, "{rounds} commits");
        assert_eq!(all.snapshot().len(), 299);
        registry.close().await.unwrap();
        let again = open(directory.path()).await.cameras().snapshot();
        assert!(again.iter().eq(all.snapshot().iter()), "after a restart");
    }

    #[tokio::test]
    async fn p11_an_import_is_one_commit_or_nothing_and_its_neighbours_stand() {
        let directory = tempfile::tempdir().unwrap();
        let registry = open(directory.path()).await;
        let all = registry.cameras();
        all.add(camera(1000, 1000)).await.unwrap();
        let before = all.version();
        let list = |numbers: std::ops::Range<u16>| -> Vec<Camera> {
            numbers.map(|number| camera(number, number)).collect()
        };
        all.import(list(0..300), true).await.unwrap();
        assert_eq!(
            (all.snapshot().len(), all.version()),
            (1, before),
            "a dry run"
        );
        // The third has the name of a camera, the fourth the key of one, the fifth that of the first.
        let wrong = vec![
            camera(1, 1),
            camera(2, 2),
            camera(1000, 3),
            camera(4, 1000),
            camera(5, 1),
        ];
        let (refused, neighbour) =
            futures::join!(all.import(wrong, false), all.add(camera(1001, 1001)));
        neighbour.unwrap();
        let Err(ImportError::Cameras(told)) = refused else {
            panic!("{refused:?}")
        };
        let told: Vec<String> = told.iter().map(|(at, why)| format!("{at} {why}")).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[0], "2 camera home/shop-1000 exists already");
        assert!(
            told[1].ends_with("belongs to camera home/shop-1000 already"),
            "{told:?}"
        );
        assert!(
            told[2].ends_with("belongs to camera home/shop-1 of the same list already"),
            "{told:?}"
        );
        assert_eq!(all.snapshot().len(), 2, "the neighbour alone");
        let before = all.version();
        all.import(list(0..300), false).await.unwrap();
        assert_eq!((all.snapshot().len(), all.version()), (302, before + 1));
        registry.close().await.unwrap();
        let again = open(directory.path()).await;
        assert!(again.cameras().snapshot().iter().eq(all.snapshot().iter()));
        let used = again.used_classes().of(&camera(7, 7).id);
        assert_eq!(used.len(), 1, "what it records is noted with it");
    }

    #[tokio::test]
    async fn an_import_that_the_disk_refuses_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let registry = open(directory.path()).await;
        let all = registry.cameras();
        fill(&registry).await;
        let list = (0..900).map(|number| camera(number, number)).collect();
        let refused = all.import(list, false).await;
        assert!(matches!(refused, Err(ImportError::Port(_))), "{refused:?}");
        assert!(all.snapshot().is_empty());
        registry.close().await.unwrap();
        let registry = open(directory.path()).await;
        assert!(registry.cameras().snapshot().is_empty(), "in the file");
    }

    /// What a neighbour in the round has done counts before it is committed.
    #[tokio::test]
    async fn a_change_sees_those_before_it_in_its_round() {
        let directory = tempfile::tempdir().unwrap();
        let registry = open(directory.path()).await;
        let all = registry.cameras();
        let (id, first, second) = (camera(1, 1).id, key(1).key, key(2));
        let (added, keyed, revoked, removed, taken) = futures::join!(
            all.add(camera(1, 1)),
            all.add_key(&id, second.clone()),
            all.revoke_key(&id, &first),
            all.remove(&id),
            all.add(camera(2, 2)),
        );
        for done in [added, keyed, revoked, removed, taken] {
            done.unwrap();
        }
        let left: Vec<_> = all.snapshot().iter().cloned().collect();
        assert_eq!(left, [Arc::new(camera(2, 2))]);
    }

    #[tokio::test]
    async fn when_the_disk_refuses_nothing_of_the_round_is_there_and_all_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let registry = open(directory.path()).await;
        let all = registry.cameras();
        all.add(camera(1000, 1000)).await.unwrap();
        fill(&registry).await;
        let added = join_all((0..200).map(|number| all.add(camera(number, number)))).await;
        let told = added.iter().filter(|added| added.is_ok()).count();
        assert!(told < 200, "the disk was never full");
        let made = |set: Arc<CameraSet>| set.iter().filter(|c| c.id.name() != "shop-1000").count();
        assert_eq!(made(all.snapshot()), told);
        registry.close().await.unwrap();
        let registry = open(directory.path()).await;
        assert_eq!(made(registry.cameras().snapshot()), told, "in the file");
        // There is room again.
        let one = registry.cameras().add(camera(201, 201)).await;
        one.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn five_hundred_keys_at_once_become_five_hundred_cameras() {
        let directory = tempfile::tempdir().unwrap();
        let registry = open(directory.path()).await;
        let new = NewToken {
            tenant: TenantId::home(),
            makes: TokenMakes::Batch {
                prefix: "shop".to_owned(),
                count: 500,
            },
            like: like(),
            expires: Timestamp::from_millis(NOW + 1_000),
            comment: String::new(),
        };
        let (token, _) = registry.enrolment().issue(new).await.unwrap();
        let (all, book) = (registry.cameras(), registry.enrolment());
        let before = all.version();
        let tries = (0..500).map(|number| {
            let asked = EnrollAsked {
                token: Masked::new(token.reveal().clone()),
                key: key(number).key,
                model: "simcam".to_owned(),
                mac: "00:01:02:03:04:05".to_owned(),
                peer: "192.0.2.7:40000".parse().unwrap(),
            };
            let book = Arc::clone(&book);
            async move { book.enroll(asked).await.unwrap() }
        });
        let begin = std::time::Instant::now();
        let mut made = join_all(tries).await;
        println!(
            "500 enrolments: {:.1?}, {} commits",
            begin.elapsed(),
            all.version() - before
        );
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 500, "two cameras share a name");
        let cameras = all.snapshot();
        assert_eq!(cameras.len(), 500);
        assert!(made.iter().all(|id| cameras.get(id).is_some()));
    }
}
