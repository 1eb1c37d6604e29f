//! Signed-in browsers (rule S13): a random token each, its hash alone is kept.
//!
//! In memory for every request, in the database for the next start. When a session was last used is written every 10 minutes and at
//! close: after a crash a session may live that much shorter.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moorline_base::clock::SharedClock;
use moorline_core::Masked;
use moorline_core::port::{PortError, WebSessions};
use moorline_core::user::{LoginName, User};
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::sqlite::SqlitePool;

use crate::database::Database;
use crate::error::{OpenError, detached, failed};
use crate::people::People;

const DAY_MS: i64 = 24 * 3_600_000;
/// A session ends this long after it was opened.
const LIFE_MS: i64 = 30 * DAY_MS;
/// A session ends this long after it was used.
const IDLE_MS: i64 = 7 * DAY_MS;
/// A use within this time of the last one is not noted.
const USE_STEP_MS: i64 = 60_000;
/// Sessions of one user: more than a person has browsers. The one that was used longest ago ends.
const PER_USER: usize = 32;

type TokenHash = [u8; 32];

#[derive(Debug, Clone)]
struct Session {
    login: LoginName,
    opened: i64,
    used: i64,
    /// Whether `used` is newer than in the database.
    unwritten: bool,
}

impl Session {
    fn is_over(&self, now: i64) -> bool {
        now - self.opened >= LIFE_MS || now - self.used >= IDLE_MS
    }
}

/// `WebSessions` over the registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SessionBook(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writer: SqlitePool,
    people: Arc<People>,
    open: RwLock<HashMap<TokenHash, Session>>,
    clock: SharedClock,
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

impl SessionBook {
    pub(crate) async fn load(
        database: &Database,
        people: &Arc<People>,
        clock: SharedClock,
    ) -> Result<Self, OpenError> {
        let rows = sqlx::query("SELECT token_hash, login, opened, used FROM web_sessions")
            .fetch_all(&database.reader)
            .await
            .map_err(|error| OpenError::sql("read", &database.path, &error))?;
        let read = |row: &sqlx::sqlite::SqliteRow| -> Option<(TokenHash, Session)> {
            let hash: Vec<u8> = row.try_get(0).ok()?;
            let login: String = row.try_get(1).ok()?;
            let session = Session {
                login: login.parse().ok()?,
                opened: row.try_get(2).ok()?,
                used: row.try_get(3).ok()?,
                unwritten: false,
            };
            Some((hash.try_into().ok()?, session))
        };
        Ok(Self(Arc::new(Inner {
            writer: database.writer.clone(),
            people: Arc::clone(people),
            // A row that cannot be read is a browser that signs in again.
            open: RwLock::new(rows.iter().filter_map(read).collect()),
            clock,
        })))
    }

    /// Ends a user's sessions in memory; the rows went with the transaction that called for it.
    pub(crate) fn forget(&self, login: &LoginName) {
        self.0.write().retain(|_, session| session.login != *login);
    }

    /// Writes when sessions were used, and removes those that are over.
    pub(crate) async fn flush(&self) -> Result<(), PortError> {
        let operation = failed("write the web sessions");
        let now = self.0.clock.wall_ms();
        let used: Vec<_> = {
            let mut open = self.0.write();
            open.retain(|_, session| !session.is_over(now));
            let unwritten = open.iter_mut().filter(|(_, session)| session.unwritten);
            unwritten
                .map(|(hash, session)| {
                    session.unwritten = false;
                    (*hash, session.used)
                })
                .collect()
        };
        let mut transaction = self
            .0
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(&operation)?;
        for (hash, used) in used {
            sqlx::query("UPDATE web_sessions SET used = ? WHERE token_hash = ?")
                .bind(used)
                .bind(hash.as_slice())
                .execute(&mut *transaction)
                .await
                .map_err(&operation)?;
        }
        sqlx::query("DELETE FROM web_sessions WHERE opened <= ? OR used <= ?")
            .bind(now - LIFE_MS)
            .bind(now - IDLE_MS)
            .execute(&mut *transaction)
            .await
            .map_err(&operation)?;
        transaction.commit().await.map_err(&operation)
    }
}

impl Inner {
    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<TokenHash, Session>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sessions of a user that must end so that one more may begin.
    fn too_many(&self, login: &LoginName) -> Vec<TokenHash> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let mut theirs: Vec<_> = open
            .iter()
            .filter(|(_, session)| session.login == *login)
            .map(|(hash, session)| (session.used, *hash))
            .collect();
        theirs.sort_unstable();
        let surplus = (theirs.len() + 1).saturating_sub(PER_USER);
        theirs
            .into_iter()
            .take(surplus)
            .map(|(_, hash)| hash)
            .collect()
    }

    async fn open(&self, login: LoginName) -> Result<Masked<String>, PortError> {
        let operation = failed("open a web session");
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let now = self.clock.wall_ms();
        let surplus = self.too_many(&login);
        let mut transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(&operation)?;
        for ended in &surplus {
            sqlx::query("DELETE FROM web_sessions WHERE token_hash = ?")
                .bind(ended.as_slice())
                .execute(&mut *transaction)
                .await
                .map_err(&operation)?;
        }
        sqlx::query(
            "INSERT INTO web_sessions (token_hash, login, opened, used) VALUES (?, ?, ?, ?)",
        )
        .bind(hash(&token).as_slice())
        .bind(login.as_str())
        .bind(now)
        .bind(now)
        .execute(&mut *transaction)
        .await
        .map_err(&operation)?;
        transaction.commit().await.map_err(&operation)?;
        let session = Session {
            login,
            opened: now,
            used: now,
            unwritten: false,
        };
        let mut open = self.write();
        for ended in surplus {
            open.remove(&ended);
        }
        open.insert(hash(&token), session);
        Ok(Masked::new(token))
    }
}

#[async_trait]
impl WebSessions for SessionBook {
    async fn open(&self, login: &LoginName) -> Result<Masked<String>, PortError> {
        let (inner, login) = (Arc::clone(&self.0), login.clone());
        detached("open a web session", async move { inner.open(login).await }).await
    }

    fn user(&self, token: &str) -> Option<User> {
        let inner = &*self.0;
        let (hash, now) = (hash(token), inner.clock.wall_ms());
        let session = {
            let open = inner.open.read().unwrap_or_else(PoisonError::into_inner);
            open.get(&hash)?.clone()
        };
        if session.is_over(now) {
            return None;
        }
        let user = inner.people.get(session.login.as_str())?.user.clone();
        if now - session.used >= USE_STEP_MS
            && let Some(session) = inner.write().get_mut(&hash)
        {
            session.used = now;
            session.unwritten = true;
        }
        Some(user)
    }

    async fn close(&self, token: &str) -> Result<(), PortError> {
        let (inner, hash) = (Arc::clone(&self.0), hash(token));
        // Over at once, whatever the database says: a page that signs out is signed out.
        inner.write().remove(&hash);
        detached("close a web session", async move {
            sqlx::query("DELETE FROM web_sessions WHERE token_hash = ?")
                .bind(hash.as_slice())
                .execute(&inner.writer)
                .await
                .map(|_| ())
                .map_err(failed("close a web session"))
        })
        .await
    }
}
