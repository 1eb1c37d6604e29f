//! Copies out and in: what `moorline backup` and `moorline restore` take.
//!
//! Owns: the database's part. Does not own: the archive around it, its encryption, or the other files of an installation.

use std::path::{Path, PathBuf};

use sqlx::{Connection, SqliteConnection};

use crate::database::{self, beside, check, copy_to, migrations, version};
use crate::error::OpenError;
use crate::registry::Registry;
use crate::used_classes::SEARCHED;

/// How far generations jump when a copy is put in place: claims that were made after the copy must not be made again, since object keys
/// carry the generation (ten digits: room for thousands of restores).
const GENERATION_JUMP: i64 = 1_000_000;

impl Registry {
    /// Writes a consistent copy of the database to `copy` (0600; replaced if there) while it goes on being used, and returns the files
    /// that make a backup of the registry: the copy, and the key file, without which the copy's secrets stay shut.
    ///
    /// # Errors
    /// [`OpenError`]; `copy` is as it was then.
    pub async fn export(&self, copy: &Path) -> Result<Vec<PathBuf>, OpenError> {
        let path = self.path();
        let mut connection = self
            .database()
            .reader
            .acquire()
            .await
            .map_err(|error| OpenError::sql("copy", path, &error))?;
        copy_to(&mut connection, path, copy).await?;
        Ok(vec![copy.into(), self.key_file().into()])
    }
}

/// Puts a copy in the place of the database at `path`, which must not be open. What stood there is kept as
/// `registry-replaced-<now_ms>.sqlite`. The copy is checked first; its web sessions end, its generations jump past all that were
/// given since, and the store is to be searched for classes anew. The key file is the caller's to put back.
///
/// # Errors
/// [`OpenError`]: the copy is damaged or of a newer Moorline; nothing was changed then.
pub async fn import(copy: &Path, path: &Path, now_ms: i64) -> Result<(), OpenError> {
    let mut connection = check(copy).await?;
    let found = version(&mut connection, copy).await?;
    let known = migrations()
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    if found > known {
        return Err(OpenError::Newer {
            path: copy.into(),
            found,
            known,
        });
    }
    let staged = beside(path, ".restored");
    copy_to(&mut connection, copy, &staged).await?;
    let sql = |error: sqlx::Error| OpenError::sql("prepare", &staged, &error);
    connection.close().await.map_err(sql)?;
    let mut connection = check(&staged).await?;
    prepare(&mut connection).await.map_err(sql)?;
    connection.close().await.map_err(sql)?;
    database::replace(&staged, path, now_ms)
}

async fn prepare(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query("UPDATE claims SET session = NULL, generation = generation + ?")
        .bind(GENERATION_JUMP)
        .execute(&mut *transaction)
        .await?;
    // A camera that was added after the copy was made has no row here: it begins above the floor.
    sqlx::query(
        "INSERT INTO meta (name, value) VALUES ('generation_floor', ?1)
         ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + ?1 AS TEXT)",
    )
    .bind(GENERATION_JUMP.to_string())
    .execute(&mut *transaction)
    .await?;
    sqlx::query("DELETE FROM web_sessions")
        .execute(&mut *transaction)
        .await?;
    // What was recorded after the copy was made lies in the store and not in it: the next start searches.
    sqlx::query("DELETE FROM meta WHERE name = ?")
        .bind(SEARCHED)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}
