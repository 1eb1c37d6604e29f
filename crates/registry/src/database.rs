//! The database file: made whole or not at all, checked before use, copied before each migration, never overwritten.
//!
//! Owns: the two pools (one writer, two readers), the migrations and the checks at start. Does not own: any table's meaning.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moorline_base::files::sync_directory;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row, SqlSafeStr};

use crate::error::OpenError;

/// How long a statement waits for another process's lock, and a task for a connection.
const BUSY: Duration = Duration::from_secs(5);
/// Readers: the audit page and a backup at once.
const READERS: u32 = 2;

/// The schema's history. A migration that was released is never changed.
pub(crate) fn migrations() -> Vec<Migration> {
    vec![
        migration(
            1,
            "cameras and people",
            include_str!("../migrations/0001_cameras_and_people.sql"),
        ),
        migration(
            2,
            "used classes",
            include_str!("../migrations/0002_used_classes.sql"),
        ),
        migration(
            3,
            "enrolment",
            include_str!("../migrations/0003_enrolment.sql"),
        ),
        migration(
            4,
            "token reuse",
            include_str!("../migrations/0004_token_reuse.sql"),
        ),
        migration(5, "streams", include_str!("../migrations/0005_streams.sql")),
        migration(6, "stock", include_str!("../migrations/0006_stock.sql")),
        migration(
            7,
            "allow from",
            include_str!("../migrations/0007_allow_from.sql"),
        ),
    ]
}

pub(crate) fn migration(version: i64, description: &'static str, sql: &'static str) -> Migration {
    let kind = MigrationType::Simple;
    Migration::new(version, description.into(), kind, sql.into_sql_str(), false)
}

/// The open database.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) path: PathBuf,
    pub(crate) writer: SqlitePool,
    pub(crate) reader: SqlitePool,
}

/// Where the copy before the migration to `version` lies: `registry-before-2.sqlite` beside `registry.sqlite`.
pub(crate) fn copy_path(path: &Path, version: i64) -> PathBuf {
    let mut name = path.file_stem().map(OsString::from).unwrap_or_default();
    name.push(format!("-before-{version}.sqlite"));
    path.with_file_name(name)
}

/// The path with `suffix` added to its name: `-wal`, `.new`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(suffix);
    path.with_file_name(name)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
}

impl Database {
    /// Makes the file with its schema: under another name first, so that a crash leaves none rather than half a one.
    pub(crate) async fn create(
        path: &Path,
        key_id: &str,
        history: &[Migration],
    ) -> Result<(), OpenError> {
        let unfinished = beside(path, ".new");
        for suffix in ["", "-wal", "-shm"] {
            remove_if_there(&beside(&unfinished, suffix))?;
        }
        let sql = |error: sqlx::Error| OpenError::sql("make", path, &error);
        let journal = SqliteJournalMode::Wal;
        let mut connection = options(&unfinished)
            .create_if_missing(true)
            .journal_mode(journal)
            .connect()
            .await
            .map_err(sql)?;
        run(&mut connection, path, history, None).await?;
        sqlx::query("INSERT INTO meta (name, value) VALUES ('key_id', ?)")
            .bind(key_id)
            .execute(&mut connection)
            .await
            .map_err(sql)?;
        checkpoint(&mut connection).await.map_err(sql)?;
        connection.close().await.map_err(sql)?;
        let io = |source| OpenError::io("make", path, source);
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600)).map_err(io)?;
        File::open(&unfinished)
            .and_then(|file| file.sync_all())
            .map_err(io)?;
        fs::rename(&unfinished, path).map_err(io)?;
        sync_directory(directory(path)).map_err(io)
    }

    /// Checks the file, brings its schema up to date and opens the pools.
    pub(crate) async fn open(path: &Path, history: &[Migration]) -> Result<Self, OpenError> {
        let mut connection = check(path).await?;
        let known = newest(history);
        let found = version(&mut connection, path).await?;
        if found > known {
            return Err(OpenError::Newer {
                path: path.into(),
                found,
                known,
            });
        }
        let pending = history
            .iter()
            .map(|migration| migration.version)
            .filter(|version| *version > found)
            .min();
        let copy = pending.map(|pending| copy_path(path, pending));
        if let Some(copy) = &copy {
            copy_to(&mut connection, path, copy).await?;
            tracing::info!(from = found, to = known, copy = %copy.display(), "camera registry gets a newer schema");
        }
        run(&mut connection, path, history, copy).await?;
        let sql = |error: sqlx::Error| OpenError::sql("open", path, &error);
        connection.close().await.map_err(sql)?;
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(BUSY)
                .idle_timeout(None)
                .max_lifetime(None)
                // SQLite undoes a transaction by itself when the disk is full. sqlx counts it on, and would refuse every later one: such a
                // connection is given up for a new one.
                .before_acquire(|connection, _| {
                    let is_usable = !connection.is_in_transaction();
                    Box::pin(async move { Ok(is_usable) })
                })
        };
        let journal = SqliteJournalMode::Wal;
        let writer = pool(1)
            .connect_with(options(path).journal_mode(journal))
            .await
            .map_err(sql)?;
        let reader = pool(READERS)
            .connect_with(options(path).read_only(true))
            .await
            .map_err(sql)?;
        Ok(Self {
            path: path.into(),
            writer,
            reader,
        })
    }

    /// Writes everything into the one file and closes it. Without it nothing is lost: the next start reads the write-ahead log.
    pub(crate) async fn close(&self) -> Result<(), sqlx::Error> {
        self.reader.close().await;
        let result = match self.writer.acquire().await {
            Ok(mut connection) => checkpoint(&mut connection).await,
            Err(error) => Err(error),
        };
        self.writer.close().await;
        result
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn remove_if_there(path: &Path) -> Result<(), OpenError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(OpenError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

async fn checkpoint(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(connection)
        .await
        .map(|_| ())
}

fn newest(history: &[Migration]) -> i64 {
    history
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

/// Opens a connection to a file that must be a sound database. SQLite takes an empty file for a new database; we do not, since ours is
/// never empty.
pub(crate) async fn check(path: &Path) -> Result<SqliteConnection, OpenError> {
    const MAGIC: &[u8; 16] = b"SQLite format 3\0";
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(16).read_to_end(&mut head))
        .map_err(|source| OpenError::io("read", path, source))?;
    if head != MAGIC {
        return Err(OpenError::damaged(path, "it is not a SQLite database"));
    }
    let sql = |error: sqlx::Error| OpenError::sql("read", path, &error);
    let mut connection = options(path).connect().await.map_err(sql)?;
    let verdict: String = sqlx::query("PRAGMA quick_check(1)")
        .fetch_one(&mut connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(sql)?;
    if verdict == "ok" {
        Ok(connection)
    } else {
        Err(OpenError::damaged(path, verdict))
    }
}

/// The newest migration that was applied to a file.
pub(crate) async fn version(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<i64, OpenError> {
    let sql = |error: sqlx::Error| OpenError::sql("read", path, &error);
    let ours: i64 = sqlx::query(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('_sqlx_migrations', 'cameras', 'claims', 'users')",
    )
    .fetch_one(&mut *connection)
    .await
    .and_then(|row| row.try_get(0))
    .map_err(sql)?;
    if ours != 4 {
        return Err(OpenError::damaged(
            path,
            "it is a SQLite database, but not a camera registry",
        ));
    }
    sqlx::query("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(sql)
}

async fn run(
    connection: &mut SqliteConnection,
    path: &Path,
    history: &[Migration],
    copy: Option<PathBuf>,
) -> Result<(), OpenError> {
    Migrator::with_migrations(history.to_vec())
        .run_direct(None, connection, false)
        .await
        .map_err(|error| OpenError::Migration {
            path: path.into(),
            version: newest(history),
            cause: error.to_string(),
            copy,
        })
}

/// A consistent copy of the whole database, 0600, synced; whoever writes meanwhile goes on. Replaces `copy` in one step.
pub(crate) async fn copy_to(
    connection: &mut SqliteConnection,
    path: &Path,
    copy: &Path,
) -> Result<(), OpenError> {
    let unfinished = beside(copy, ".new");
    remove_if_there(&unfinished)?;
    // SQLite fills an empty file, and keeps its mode: no moment at which others may read it.
    let io = |source| OpenError::io("write", copy, source);
    let mut private = File::options();
    private.write(true).create_new(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut private, 0o600);
    private.open(&unfinished).map_err(io)?;
    sqlx::query("VACUUM INTO ?")
        .bind(unfinished.to_string_lossy().into_owned())
        .execute(connection)
        .await
        .map_err(|error| OpenError::sql("copy", path, &error))?;
    File::open(&unfinished)
        .and_then(|file| file.sync_all())
        .map_err(io)?;
    fs::rename(&unfinished, copy).map_err(io)?;
    sync_directory(directory(copy)).map_err(io)
}

/// Moves a new database into the place of an old one, which is kept with its log as `registry-replaced-<time>.sqlite`.
pub(crate) fn replace(new: &Path, path: &Path, now_ms: i64) -> Result<(), OpenError> {
    let mut name = path.file_stem().map(OsString::from).unwrap_or_default();
    name.push(format!("-replaced-{now_ms}.sqlite"));
    let kept = path.with_file_name(name);
    let io = |source| OpenError::io("replace", path, source);
    for suffix in ["-wal", "-shm", ""] {
        match fs::rename(beside(path, suffix), beside(&kept, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    fs::rename(new, path).map_err(io)?;
    sync_directory(directory(path)).map_err(io)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use moorline_base::SimulatedClock;
    use moorline_core::port::UsedClasses as _;

    use super::*;
    use crate::registry::Registry;

    async fn open(directory: &Path, history: &[Migration]) -> Result<Registry, OpenError> {
        let clock = Arc::new(SimulatedClock::new(0));
        Registry::open_with(
            &directory.join("registry.sqlite"),
            &directory.join("registry.key"),
            clock,
            history,
        )
        .await
    }

    fn with(more: &[(i64, &'static str)]) -> Vec<Migration> {
        let more = more
            .iter()
            .map(|(version, sql)| migration(*version, "later", sql));
        migrations().into_iter().chain(more).collect()
    }

    #[tokio::test]
    async fn a_copy_is_made_before_a_migration_and_opens_with_the_old_version() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        open(path, &migrations())
            .await
            .unwrap()
            .close()
            .await
            .unwrap();
        assert!(
            !path.join("registry-before-1.sqlite").exists(),
            "a new file needs no copy"
        );
        let last = migrations().last().unwrap().version;
        let later = with(&[
            (last + 1, "CREATE TABLE groups (name TEXT) STRICT"),
            (last + 2, "ALTER TABLE cameras ADD COLUMN colour TEXT"),
        ]);
        let before = format!("registry-before-{}.sqlite", last + 1);
        open(path, &later).await.unwrap().close().await.unwrap();
        let copy = path.join(&before);
        assert_eq!(
            fs::metadata(&copy).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let error = open(path, &migrations()).await.unwrap_err();
        assert!(
            matches!(
                error,
                OpenError::Newer { found, known, .. } if found == last + 2 && known == last
            ),
            "{error}"
        );
        assert!(error.hint().contains(&before), "{}", error.hint());
        fs::rename(&copy, path.join("registry.sqlite")).unwrap();
        open(path, &migrations()).await.unwrap();
    }

    #[tokio::test]
    async fn what_cameras_record_is_noted_when_an_older_registry_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let first = &migrations()[..1];
        // This version's parts want its tables, so the older file is made and filled by hand.
        let key_file = path.join("registry.key");
        crate::envelope::Envelope::create(&key_file).unwrap();
        let key = crate::envelope::Envelope::read(&key_file).unwrap().id();
        let file = path.join("registry.sqlite");
        Database::create(&file, &key, first).await.unwrap();
        let mut connection = options(&file).connect().await.unwrap();
        for (name, record, retention) in [
            ("yard", "main", "r030"),
            ("door", "sub", "keep"),
            ("shed", "off", "r014"),
        ] {
            sqlx::query(
                "INSERT INTO cameras VALUES ('home', ?, '', NULL, 'UTC', 0, '{\"kind\":\"tunnel\",\"forwards\":[]}', ?, ?, 'yes')",
            )
            .bind(name)
            .bind(record)
            .bind(retention)
            .execute(&mut connection)
            .await
            .unwrap();
        }
        connection.close().await.unwrap();
        let registry = open(path, &migrations()).await.unwrap();
        assert!(path.join("registry-before-2.sqlite").exists());
        let used = registry.used_classes();
        let told = |name: &str| -> Vec<String> {
            let classes = used.of(&name.parse().unwrap());
            let told = classes
                .iter()
                .map(|class| format!("{} {}", class.retention, class.tier));
            told.collect()
        };
        assert_eq!(told("yard"), ["r030 full"]);
        assert_eq!(told("door"), ["keep low"]);
        assert!(told("shed").is_empty());
        assert!(!used.is_complete(), "the store is still to be searched");
    }

    #[tokio::test]
    async fn a_migration_that_fails_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        open(path, &migrations())
            .await
            .unwrap()
            .close()
            .await
            .unwrap();
        let next = migrations().last().unwrap().version + 1;
        let broken = with(&[(
            next,
            "CREATE TABLE half (name TEXT); INSERT INTO nowhere VALUES (1)",
        )]);
        let error = open(path, &broken).await.unwrap_err();
        assert!(matches!(error, OpenError::Migration { .. }), "{error}");
        assert!(
            error
                .hint()
                .contains(&format!("registry-before-{next}.sqlite")),
            "{}",
            error.hint()
        );
        let registry = open(path, &migrations()).await.unwrap();
        let half: i64 = sqlx::query("SELECT count(*) FROM sqlite_schema WHERE name = 'half'")
            .fetch_one(&registry.database().reader)
            .await
            .unwrap()
            .get(0);
        assert_eq!(half, 0);
    }
}
