//! Why the registry cannot be had, each with its cure (promise P11).

use std::path::{Path, PathBuf};

use moorline_core::port::PortError;

/// Why the registry could not be opened, copied or put in place. The database file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file could not be read, made or moved.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The database file is damaged, or is none.
    #[error("the camera registry {} is damaged: {cause}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite or we found.
        cause: String,
    },
    /// A newer Moorline wrote it.
    #[error("the camera registry {} has schema {found}, and this Moorline knows schema {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest that we know.
        known: i64,
    },
    /// A migration failed; it was rolled back.
    #[error("cannot bring the camera registry {} to schema {version}: {cause}", path.display())]
    Migration {
        /// The file.
        path: PathBuf,
        /// The schema that was tried.
        version: i64,
        /// What SQLite said.
        cause: String,
        /// The copy that was made before.
        copy: Option<PathBuf>,
    },
    /// There is a database, but the key of its secrets is gone.
    #[error("the key {} of the camera registry {} is missing", key_file.display(), path.display())]
    KeyMissing {
        /// Where the key should be.
        key_file: PathBuf,
        /// The database.
        path: PathBuf,
    },
    /// The key file cannot be read.
    #[error(transparent)]
    KeyFile(#[from] moorline_base::secret::SecretFileError),
    /// The key file holds no key.
    #[error("{} is not a key file of Moorline (line {line})", path.display())]
    KeyMalformed {
        /// The file.
        path: PathBuf,
        /// The line that is wrong, from 1.
        line: usize,
    },
    /// The key is of another installation.
    #[error("the key {} is not the one of the camera registry {}", key_file.display(), path.display())]
    KeyForeign {
        /// The key file.
        key_file: PathBuf,
        /// The database.
        path: PathBuf,
    },
    /// PostgreSQL does not answer, or refuses.
    #[error("cannot {operation} the people's database (PostgreSQL): {cause}")]
    Postgres {
        /// What was tried.
        operation: &'static str,
        /// What it said; no secrets.
        cause: String,
    },
    /// The URL of the database is none.
    #[error("the URL of the people's database (PostgreSQL) cannot be used: {cause}")]
    PostgresUrl {
        /// Why; nothing of the URL, which holds a password.
        cause: &'static str,
    },
    /// A newer Moorline brought the database to its schema.
    #[error(
        "the people's database (PostgreSQL) has schema {found}, and this Moorline knows schema {known}"
    )]
    PostgresNewer {
        /// Its schema.
        found: i64,
        /// The newest that we know.
        known: i64,
    },
    /// The key is not that of the secrets in the database.
    #[error("the key {} is not the one of the people's database (PostgreSQL)", key_file.display())]
    PostgresKey {
        /// The key file.
        key_file: PathBuf,
    },
    /// SQLite could not do what was asked, though the file is not damaged: locked, disk full.
    #[error("cannot {operation} the camera registry {}: {cause}", path.display())]
    Sql {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        cause: String,
    },
}

impl OpenError {
    /// What the operator can do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { .. } => {
                "the data directory must exist and belong to the user that runs moorline".into()
            }
            Self::Damaged { path, .. } => format!(
                "the file was left as it is; put a backup in its place with `moorline restore`, or keep it and move {} away to begin anew",
                path.display()
            ),
            Self::Newer { path, known, .. } => {
                let copy = crate::database::copy_path(path, known + 1);
                if copy.exists() {
                    format!(
                        "run the Moorline that wrote it, or go back to the copy from before: move {} aside and {} into its place",
                        path.display(),
                        copy.display()
                    )
                } else {
                    "run the Moorline that wrote it, or a newer one".into()
                }
            }
            Self::Migration { copy: None, .. } => {
                "nothing was changed: report this".into()
            }
            Self::Migration { copy: Some(copy), .. } => format!(
                "nothing was changed, and a copy is in {}: run the Moorline that you had before, and report this",
                copy.display()
            ),
            Self::KeyMissing { .. } | Self::KeyForeign { .. } | Self::KeyMalformed { .. } => {
                "put the key file that belongs to the registry back, or restore both with `moorline restore`".into()
            }
            Self::KeyFile(error) => error.hint(),
            Self::Postgres { .. } => {
                "does the server run, may this machine reach it, and are user, password and TLS settings right?".into()
            }
            Self::PostgresUrl { .. } => {
                "write it like postgres://moorline:PASSWORD@db.example.com:5432/moorline".into()
            }
            Self::PostgresNewer { .. } => {
                "run the Moorline that wrote it, or a newer one".into()
            }
            Self::PostgresKey { .. } => {
                "put the key back that the database was begun with, or begin with an empty database".into()
            }
            Self::Sql { .. } => {
                "is another process using the data directory, or the disk full?".into()
            }
        }
    }

    pub(crate) fn io(operation: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            operation,
            path: path.into(),
            source,
        }
    }

    /// From SQLite's answer: damage is told apart from what may pass.
    pub(crate) fn sql(operation: &'static str, path: &Path, error: &sqlx::Error) -> Self {
        if is_damage(error) {
            Self::damaged(path, error)
        } else {
            Self::Sql {
                operation,
                path: path.into(),
                cause: error.to_string(),
            }
        }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn postgres(operation: &'static str, cause: &dyn std::fmt::Display) -> Self {
        Self::Postgres {
            operation,
            cause: cause.to_string(),
        }
    }

    pub(crate) fn damaged(path: &Path, cause: impl std::fmt::Display) -> Self {
        Self::Damaged {
            path: path.into(),
            cause: cause.to_string(),
        }
    }
}

/// `SQLITE_CORRUPT` (11) and `SQLITE_NOTADB` (26), extended or not.
fn is_damage(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 11 | 26))
}

/// An error of a port's operation.
pub(crate) fn failed(operation: &'static str) -> impl Fn(sqlx::Error) -> PortError {
    move |error| PortError::new(operation, error)
}

/// Runs a mutation as a task of its own: a caller that goes away (a browser that disconnects) must not leave a commit without its
/// snapshot.
pub(crate) async fn detached<T, E>(
    operation: &'static str,
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<PortError> + Send + 'static,
{
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(PortError::new(operation, error).into()),
    }
}
