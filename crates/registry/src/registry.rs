//! The registry as a whole: opened at the start, closed at the end, and what runs between.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::{SharedClock, timeout};
use moorline_core::port::PortError;
use sqlx::Row;
use sqlx::migrate::Migration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::AuditLog;
use crate::books::Books;
use crate::claims::ClaimBook;
use crate::database::{Database, migrations};
use crate::directory::Cameras;
use crate::enroll::EnrollBook;
use crate::envelope::Envelope;
use crate::error::{OpenError, failed};
use crate::group::GroupCommit;
use crate::memories::MemoryBook;
use crate::people_store::{PeopleStore as _, Rows};
use crate::reserve::{Reserve, Reserved, free_pages};
use crate::sessions::SessionBook;
use crate::sqlite_people::SqlitePeople;
use crate::used_classes::UsedBook;
use crate::users::UserBook;

/// What waits gets so long at the end: four queues of 5 s each. A disk that hangs would hold up the stop for ever (P8).
const CLOSE: Duration = Duration::from_secs(20);

/// The open registry. Its parts are handed out as the ports; they go on reading from memory after [`Registry::close`], and their writes
/// fail then. Dropped without `close`, nothing that was answered is lost.
#[derive(Debug)]
pub struct Registry {
    database: Database,
    key_file: PathBuf,
    reserve: Arc<Reserve>,
    cameras: Arc<Cameras>,
    used: UsedBook,
    claims: Arc<ClaimBook>,
    memories: Arc<MemoryBook>,
    books: Books,
    enroll: Arc<EnrollBook>,
    stop: CancellationToken,
    tasks: TaskTracker,
    clock: SharedClock,
}

impl Registry {
    /// Opens the database at `path` with the key in `key_file`; makes both if there is no database. Runs migrations, after a copy. The
    /// caller holds the lock on the data directory. Needs a runtime; blocks it for moments, so it belongs to the start.
    ///
    /// # Errors
    /// [`OpenError`], each with its [`OpenError::hint`]; an existing file is as it was then.
    pub async fn open(path: &Path, key_file: &Path, clock: SharedClock) -> Result<Self, OpenError> {
        Self::open_with(path, key_file, clock, &migrations()).await
    }

    pub(crate) async fn open_with(
        path: &Path,
        key_file: &Path,
        clock: SharedClock,
        history: &[Migration],
    ) -> Result<Self, OpenError> {
        let there = |file: &Path| {
            file.try_exists()
                .map_err(|source| OpenError::io("look for", file, source))
        };
        let exists = there(path)?;
        if !there(key_file)? {
            if exists {
                return Err(OpenError::KeyMissing {
                    key_file: key_file.into(),
                    path: path.into(),
                });
            }
            Envelope::create(key_file)?;
        }
        let envelope = Arc::new(Envelope::read(key_file)?);
        if !exists {
            Database::create(path, &envelope.id(), history).await?;
            tracing::info!(path = %path.display(), "made a new camera registry");
        }
        let reserve = Reserve::of(path);
        reserve.make_way();
        let database = Database::open(path, history).await?;
        let sql = |error: sqlx::Error| OpenError::sql("read", path, &error);
        let key_id: String = sqlx::query("SELECT value FROM meta WHERE name = 'key_id'")
            .fetch_one(&database.reader)
            .await
            .and_then(|row| row.try_get(0))
            .map_err(sql)?;
        if !envelope.knows(&key_id) {
            return Err(OpenError::KeyForeign {
                key_file: key_file.into(),
                path: path.into(),
            });
        }
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        reserve.hold();
        free_pages(&database.writer).await;
        tasks.spawn(Arc::clone(&reserve).run(clock.clone(), stop.clone()));
        let group = GroupCommit::start(
            database.writer.clone(),
            Arc::clone(&reserve),
            clock.clone(),
            &stop,
            &tasks,
        );
        let used = UsedBook::load(&database).await?;
        let cameras =
            Arc::new(Cameras::load(&database, Arc::clone(&envelope), used.clone()).await?);
        let enroll = Arc::new(EnrollBook::new(&database, &cameras, clock.clone()));
        let store = SqlitePeople::new(&database);
        let rows = Rows {
            people: store.people().await.map_err(sql)?,
            sessions: store.sessions().await.map_err(sql)?,
        };
        let books = Books::open(Arc::new(store), &rows, envelope, &clock, &stop, &tasks)
            .map_err(|error| OpenError::damaged(path, error))?;
        let reader = database.reader.clone();
        Ok(Self {
            database,
            key_file: key_file.into(),
            reserve,
            cameras,
            used,
            claims: Arc::new(ClaimBook::new(group.clone())),
            memories: Arc::new(MemoryBook::new(group, reader)),
            books,
            enroll,
            stop,
            tasks,
            clock,
        })
    }

    /// Cameras: `CameraDirectory` and `CameraAdmin`.
    pub fn cameras(&self) -> Arc<Cameras> {
        Arc::clone(&self.cameras)
    }

    /// `UsedClasses`.
    pub fn used_classes(&self) -> UsedBook {
        self.used.clone()
    }

    /// `Claims`.
    pub fn claims(&self) -> Arc<ClaimBook> {
        Arc::clone(&self.claims)
    }

    /// `Memories`.
    pub fn memories(&self) -> Arc<MemoryBook> {
        Arc::clone(&self.memories)
    }

    /// `Users`.
    pub fn users(&self) -> Arc<UserBook> {
        Arc::clone(&self.books.users)
    }

    /// `WebSessions`.
    pub fn sessions(&self) -> Arc<SessionBook> {
        Arc::clone(&self.books.sessions)
    }

    /// `Audit`.
    pub fn audit(&self) -> Arc<AuditLog> {
        Arc::clone(&self.books.audit)
    }

    /// `EnrollTokens` and `Enrolment`.
    pub fn enrolment(&self) -> Arc<EnrollBook> {
        Arc::clone(&self.enroll)
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.database.path
    }

    /// The key file.
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// What it has on a disk that is full. Looks at a file.
    pub fn reserved(&self) -> Reserved {
        self.reserve.state()
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Finishes what waits (claims, memories, audit, sessions), writes the log into the one file and closes it, within 20 s.
    ///
    /// # Errors
    /// [`PortError`] when the last write failed or was not done in time; nothing that was answered is lost, the next start reads the log.
    pub async fn close(&self) -> Result<(), PortError> {
        const OPERATION: &str = "close the camera registry";
        self.stop.cancel();
        self.tasks.close();
        let closed = async {
            self.tasks.wait().await;
            self.database.close().await
        };
        match timeout(&*self.clock, CLOSE, closed).await {
            Ok(closed) => closed.map_err(failed(OPERATION)),
            Err(late) => Err(PortError::new(OPERATION, late)),
        }
    }
}

impl Drop for Registry {
    /// The fallback for a caller that did not close: the tasks end by themselves.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use moorline_base::SimulatedClock;

    use super::*;

    /// P8.
    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_no_stop_for_ever() {
        let place = tempfile::tempdir().unwrap();
        let [file, key] = ["registry.sqlite", "registry.key"].map(|name| place.path().join(name));
        let clock = SimulatedClock::new(0);
        let registry = Registry::open(&file, &key, Arc::new(clock.clone()));
        let registry = registry.await.unwrap();
        registry.tasks.spawn(std::future::pending::<()>());
        let closing = async {
            let closed = registry.close().await;
            closed.unwrap_err().to_string()
        };
        let passing = async {
            // Once it waits.
            while !registry.tasks.is_closed() {
                tokio::task::yield_now().await;
            }
            clock.advance(CLOSE);
        };
        let (told, ()) = tokio::join!(closing, passing);
        assert!(told.contains("close the camera registry"), "{told}");
    }
}
