//! People in PostgreSQL: `Users`, `WebSessions` and `Audit` of a cluster's front doors, which change the same rows.
//!
//! Owns: the connection, the schema with its migrations, and the task that follows what other processes change. Does not own: what is kept in
//! memory and who may do what (`users`, `sessions`, `audit`): that is SQLite's too.
//!
//! ```text
//! change here ──▶ transaction ──▶ memory            change elsewhere ──▶ trigger ──▶ people_changes ◀── asked every 250 ms ──▶ memory
//! ```
//!
//! - Every read is from memory: while the database is away streams go on and who is signed in stays so; nobody new signs in.
//! - Every statement has a deadline of 5 s, here and at the server; a front door that dies holds no lock longer than that.
//! - At most [`PostgresConfig::connections`] connections.

mod follow;
mod rows;

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use moorline_base::Secret;
use moorline_base::clock::{SharedClock, sleep, timeout};
use moorline_core::port::PortError;
use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::AuditLog;
use crate::books::Books;
use crate::database::migration;
use crate::envelope::Envelope;
use crate::error::OpenError;
use crate::sessions::SessionBook;
use crate::users::UserBook;
use follow::Follow;
use rows::PostgresPeople;

/// For a statement, and for a connection out of the pool.
const DEADLINE: Duration = Duration::from_secs(5);
/// For the first connection and the migrations: another replica may be at them.
const OPEN: Duration = Duration::from_secs(30);
/// What the queues get at the end.
const CLOSE: Duration = Duration::from_secs(10);
/// What the server ends by itself: a statement that we gave up, a transaction of a process that is gone.
const SESSION: &str = "SET statement_timeout = '5s'; SET lock_timeout = '4s'; SET idle_in_transaction_session_timeout = '10s'";

/// Whether the server is spoken to over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostgresTls {
    /// Always, and its certificate names the host of the URL. The file (PEM) holds further authorities beside the public ones.
    Verify {
        /// The file.
        authority: Option<PathBuf>,
    },
    /// Never: a socket, or a network that nobody else is in.
    Off,
}

/// How the database is reached.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`.
    pub url: Secret<String>,
    /// TLS.
    pub tls: PostgresTls,
    /// Connections at most.
    pub connections: u32,
}

impl PostgresConfig {
    fn options(&self) -> Result<PgConnectOptions, OpenError> {
        let wrong = |cause: &'static str| OpenError::PostgresUrl { cause };
        let url = self.url.expose();
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(wrong("it does not begin with postgres://"));
        }
        if url.contains("sslmode=") {
            return Err(wrong(
                "it says sslmode, and whether TLS is used is a setting of its own",
            ));
        }
        // The parser's error may repeat the URL, which holds a password.
        let options = PgConnectOptions::from_str(url).map_err(|_| wrong("it cannot be read"))?;
        let options = match &self.tls {
            PostgresTls::Off => options.ssl_mode(PgSslMode::Disable),
            PostgresTls::Verify { authority: None } => options.ssl_mode(PgSslMode::VerifyFull),
            PostgresTls::Verify {
                authority: Some(file),
            } => options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(file),
        };
        Ok(options
            .application_name("moorline")
            .disable_statement_logging())
    }
}

/// The schema's history. A migration that was released is never changed.
fn migrations() -> Vec<Migration> {
    vec![migration(
        1,
        "people",
        include_str!("../../migrations/postgres/0001_people.sql"),
    )]
}

/// The open books of people. They go on reading from memory after [`PeopleRegistry::close`], and their writes fail then.
#[derive(Debug)]
pub struct PeopleRegistry {
    config: PostgresConfig,
    pool: PgPool,
    books: Books,
    follow: Arc<Follow>,
    clock: SharedClock,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl PeopleRegistry {
    /// Connects, brings the schema up to date (one replica at a time), reads everything. `key_file` holds the envelope's keys, as a mounted
    /// Secret: all replicas have the same.
    ///
    /// # Errors
    /// [`OpenError`], each with its [`OpenError::hint`]. A server that does not answer within 30 s is one.
    pub async fn open(
        config: &PostgresConfig,
        key_file: &Path,
        clock: SharedClock,
    ) -> Result<Self, OpenError> {
        let envelope = Arc::new(Envelope::read_mounted(key_file)?);
        let options = config.options()?;
        let prepared = prepare(&options, &envelope, key_file);
        let late = |_| OpenError::postgres("connect to", &"no answer within 30s");
        timeout(&*clock, OPEN, prepared).await.map_err(late)??;
        let pool = PgPoolOptions::new()
            .max_connections(config.connections.max(2))
            .acquire_timeout(DEADLINE)
            .max_lifetime(Duration::from_secs(1800))
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SESSION).await.map(|_| ()) })
            })
            .connect_lazy_with(options);
        let store = Arc::new(PostgresPeople::new(pool.clone(), Arc::clone(&clock)));
        let read = |error: sqlx::Error| OpenError::postgres("read", &error);
        let all = store.all().await.map_err(read)?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let books = Books::open(
            Arc::clone(&store) as _,
            &all.rows,
            envelope,
            &clock,
            &stop,
            &tasks,
        )
        .map_err(|error| OpenError::postgres("read", &error))?;
        let follow = Arc::new(Follow::new(store, books.clone(), all.newest, clock.clone()));
        let (following, stopped) = (Arc::clone(&follow), stop.clone());
        tasks.spawn(async move { following.run(stopped).await });
        Ok(Self {
            config: config.clone(),
            pool,
            books,
            follow,
            clock,
            stop,
            tasks,
        })
    }

    /// As [`PeopleRegistry::open`], for as long as `patience` while the server does not answer.
    ///
    /// # Errors
    /// As [`PeopleRegistry::open`]; what is not an outage is told at once.
    pub async fn open_patiently(
        config: &PostgresConfig,
        key_file: &Path,
        clock: SharedClock,
        patience: Duration,
    ) -> Result<Self, OpenError> {
        let until = clock.monotonic() + patience;
        loop {
            let error = match Self::open(config, key_file, clock.clone()).await {
                Err(error @ OpenError::Postgres { .. }) => error,
                decided => return decided,
            };
            if clock.monotonic() >= until {
                return Err(error);
            }
            tracing::warn!(%error, "PostgreSQL is tried again");
            let _ = sleep(&*clock, Duration::from_secs(2), &CancellationToken::new()).await;
        }
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

    /// How long ago it was seen last that memory is what the database says: a quarter of a second while it answers.
    pub fn behind(&self) -> Duration {
        self.follow.behind()
    }

    /// New connections are made with this URL from now on, once one of them was made: for a password that was renewed. Those that are up stay for
    /// their time, so it has to lead to the database that they are of.
    ///
    /// # Errors
    /// [`OpenError`]: it cannot be used, and the one before stays in use.
    pub async fn change_url(&self, url: Secret<String>) -> Result<(), OpenError> {
        let wanted = PostgresConfig {
            url,
            ..self.config.clone()
        };
        let options = wanted.options()?;
        if !same_database(&options, &self.pool.connect_options()) {
            return Err(OpenError::PostgresUrl {
                cause: "it leads to another database, which is read by front doors that begin anew",
            });
        }
        let connected = timeout(&*self.clock, DEADLINE, options.connect()).await;
        let late = |_| OpenError::postgres("connect to", &"no answer within 5s");
        let failed = |error: sqlx::Error| OpenError::postgres("connect to", &error);
        let connection = connected.map_err(late)?.map_err(failed)?;
        self.pool.set_connect_options(options);
        // It was only for this; whether it says goodbye makes no difference.
        let _ = timeout(&*self.clock, DEADLINE, connection.close()).await;
        Ok(())
    }

    /// Finishes what waits (audit, sessions) and closes the connections, within 10 s.
    ///
    /// # Errors
    /// [`PortError`] when what waited was not written in time.
    pub async fn close(&self) -> Result<(), PortError> {
        self.stop.cancel();
        self.tasks.close();
        let closed = async {
            self.tasks.wait().await;
            self.pool.close().await;
        };
        timeout(&*self.clock, CLOSE, closed)
            .await
            .map_err(|late| PortError::new("close the people in PostgreSQL", late))
    }
}

impl Drop for PeopleRegistry {
    /// The fallback for a caller that did not close: the tasks end by themselves.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Whether two URLs differ in who logs in at most.
fn same_database(one: &PgConnectOptions, other: &PgConnectOptions) -> bool {
    let place = |options: &PgConnectOptions| {
        (
            options.get_host().to_owned(),
            options.get_port(),
            options.get_socket().cloned(),
            options.get_database().map(str::to_owned),
        )
    };
    place(one) == place(other)
}

/// Brings the schema up to date, and sees that the key is that of the secrets in it.
async fn prepare(
    options: &PgConnectOptions,
    envelope: &Envelope,
    key_file: &Path,
) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| OpenError::postgres("connect to", &error);
    let mut connection = options.connect().await.map_err(failed)?;
    Migrator::with_migrations(migrations())
        .run_direct(None, &mut connection, false)
        .await
        .map_err(|error| match error {
            MigrateError::VersionMissing(found) => OpenError::PostgresNewer {
                found,
                known: migrations().last().map_or(0, |newest| newest.version),
            },
            error => OpenError::postgres("bring to its schema", &error),
        })?;
    let read = |error: sqlx::Error| OpenError::postgres("read", &error);
    sqlx::query(
        "INSERT INTO meta (name, value) VALUES ('key_id', $1) ON CONFLICT (name) DO NOTHING",
    )
    .bind(envelope.id())
    .execute(&mut connection)
    .await
    .map_err(read)?;
    let key_id: String = sqlx::query("SELECT value FROM meta WHERE name = 'key_id'")
        .fetch_one(&mut connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(read)?;
    // It was only for this; whether it says goodbye makes no difference.
    let _ = connection.close().await;
    if envelope.knows(&key_id) {
        Ok(())
    } else {
        Err(OpenError::PostgresKey {
            key_file: key_file.into(),
        })
    }
}
