//! Where a front door's people are: PostgreSQL, which several of them share, or a SQLite file, for one alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use moorline_base::clock::sleep;
use moorline_base::error::Hinted;
use moorline_base::files::DataDir;
use moorline_base::{CancellationToken, Secret, SharedClock};
use moorline_core::port::{Audit, Users, WebSessions};
use moorline_registry::{OpenError, PeopleRegistry, PostgresConfig, PostgresTls, Registry};

use crate::settings::{PeopleStore, Settings, TlsMode};

/// How long a start waits for a database that does not answer: the startup probe's patience, less some.
const PATIENCE: Duration = Duration::from_secs(60);
/// The kubelet needs a minute to exchange a mounted Secret; nobody waits for the last half of another.
const EVERY: Duration = Duration::from_secs(30);

/// The people, opened.
pub(super) struct People {
    pub(super) users: Arc<dyn Users>,
    pub(super) sessions: Arc<dyn WebSessions>,
    pub(super) audit: Arc<dyn Audit>,
    pub(super) kept: Kept,
}

/// What is closed at the end.
pub(super) enum Kept {
    /// All front doors share them.
    Postgres(Arc<PeopleRegistry>),
    /// This one alone has them, with the lock on its directory.
    Sqlite(Arc<Registry>, DataDir),
}

impl People {
    /// Opens them.
    ///
    /// # Errors
    /// The database cannot be had; says which, and the cure.
    pub(super) async fn open(
        settings: &Settings,
        data: &Path,
        clock: &SharedClock,
    ) -> anyhow::Result<Self> {
        match settings.people.store {
            PeopleStore::Postgres => {
                // Not a rule of the settings: the other roles read the same file, and have no business with the database.
                ensure!(
                    !settings.postgres.url.expose().is_empty(),
                    Hinted::new(
                        "people.store = \"postgres\" needs postgres.url",
                        "write postgres://USER:PASSWORD@HOST/DATABASE, or name a file with it in postgres.url_file"
                    )
                );
                let key = Path::new(&settings.people.key);
                let config = config(settings);
                let opened =
                    PeopleRegistry::open_patiently(&config, key, Arc::clone(clock), PATIENCE);
                let registry = Arc::new(opened.await.map_err(hinted)?);
                Ok(Self {
                    users: registry.users(),
                    sessions: registry.sessions(),
                    audit: registry.audit(),
                    kept: Kept::Postgres(registry),
                })
            }
            PeopleStore::Sqlite => {
                let lock = DataDir::open(data).context(
                    "people.store = \"sqlite\" is for one front door with a directory of its own",
                )?;
                let (file, key) = (data.join("registry.sqlite"), data.join("registry.key"));
                let opened = Registry::open(&file, &key, Arc::clone(clock)).await;
                let registry = Arc::new(opened.map_err(hinted)?);
                Ok(Self {
                    users: registry.users(),
                    sessions: registry.sessions(),
                    audit: registry.audit(),
                    kept: Kept::Sqlite(registry, lock),
                })
            }
        }
    }
}

impl Kept {
    /// The database that several share, if it is one.
    pub(super) fn database(&self) -> Option<Arc<PeopleRegistry>> {
        match self {
            Self::Postgres(registry) => Some(Arc::clone(registry)),
            Self::Sqlite(..) => None,
        }
    }

    /// Writes what waits.
    pub(super) async fn close(self) {
        let closed = match &self {
            Self::Postgres(registry) => registry.close().await,
            Self::Sqlite(registry, _lock) => registry.close().await,
        };
        if let Err(error) = closed {
            tracing::warn!(%error, "the people's database was not closed cleanly");
        }
    }
}

/// Reads the URL of the database again and again until `stop`: a password is renewed by a new Secret. What does not work is told once, and tried
/// again, since the server may hear of the password later than we do; what was in use stays.
pub(super) async fn renew(
    database: Arc<PeopleRegistry>,
    mut used: Secret<String>,
    read: impl Fn() -> anyhow::Result<Secret<String>>,
    clock: SharedClock,
    stop: CancellationToken,
) {
    let mut told = String::new();
    while !sleep(&*clock, EVERY, &stop).await.is_cancelled() {
        let renewed = async {
            let url = read()?;
            if !url.matches(used.expose()) {
                database.change_url(url.clone()).await.map_err(hinted)?;
                tracing::info!("the people's database is spoken to with a new URL");
            }
            anyhow::Ok(url)
        };
        let renewed = renewed.await;
        match renewed {
            Ok(url) => {
                used = url;
                told.clear();
            }
            Err(error) => {
                let why = format!("{error:#}");
                if told != why {
                    tracing::error!(why, "the URL of the people's database was not exchanged");
                    told = why;
                }
            }
        }
    }
}

fn config(settings: &Settings) -> PostgresConfig {
    let postgres = &settings.postgres;
    let authority = Some(&postgres.authority).filter(|file| !file.is_empty());
    PostgresConfig {
        url: postgres.url.clone(),
        tls: match postgres.tls {
            TlsMode::Verify => PostgresTls::Verify {
                authority: authority.map(Into::into),
            },
            TlsMode::Off => PostgresTls::Off,
        },
        connections: postgres.connections,
    }
}

fn hinted(error: OpenError) -> anyhow::Error {
    let hint = error.hint();
    Hinted::new(format!("{:#}", anyhow::Error::from(error)), hint).into()
}
