//! Signed-in browsers (rule S13): a random token each, its hash alone is kept.
//!
//! In memory for every request, in the database for the next start. When a session was last used is written every 10 minutes and at
//! close: after a crash a session may live that much shorter.
//!
//! Where other processes open sessions too, one that is not known here is looked for in the rows, once per request, by a bounded number of
//! requests at a time: a browser that signed in elsewhere a moment ago is signed in here.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moorline_base::clock::{SharedClock, timeout};
use moorline_core::Masked;
use moorline_core::port::{PortError, WebSessions};
use moorline_core::user::{LoginName, User};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::error::{detached, failed};
use crate::people::People;
use crate::people_store::{PeopleStore, SessionRow, TokenHash};

const DAY_MS: i64 = 24 * 3_600_000;
/// A session ends this long after it was opened.
const LIFE_MS: i64 = 30 * DAY_MS;
/// A session ends this long after it was used.
const IDLE_MS: i64 = 7 * DAY_MS;
/// A use within this time of the last one is not noted.
const USE_STEP_MS: i64 = 60_000;
/// Rows are kept so much longer than sessions live: another process may have noted a use and not written it yet.
const MARGIN_MS: i64 = 3_600_000;
/// Sessions of one user: more than a person has browsers. The one that was used longest ago ends.
const PER_USER: usize = 32;
/// Requests that look for an unknown token in the rows at the same time: strangers can make such requests.
const LOOKING: usize = 4;
/// How long one of them waits for its place.
const LOOK_WAIT: Duration = Duration::from_secs(1);
/// A token in text: 256 bits.
const TOKEN: usize = 43;

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
    store: Arc<dyn PeopleStore>,
    people: Arc<People>,
    open: RwLock<HashMap<TokenHash, Session>>,
    looking: Semaphore,
    clock: SharedClock,
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

fn session_of(row: &SessionRow) -> Option<(TokenHash, Session)> {
    let session = Session {
        login: row.login.parse().ok()?,
        opened: row.opened,
        used: row.used,
        unwritten: false,
    };
    Some((row.hash, session))
}

impl SessionBook {
    pub(crate) fn new(
        store: Arc<dyn PeopleStore>,
        people: Arc<People>,
        rows: &[SessionRow],
        clock: SharedClock,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            people,
            // A row that cannot be read is a browser that signs in again.
            open: RwLock::new(rows.iter().filter_map(session_of).collect()),
            looking: Semaphore::new(LOOKING),
            clock,
        }))
    }

    /// Ends a user's sessions in memory; the rows went with the transaction that called for it.
    pub(crate) fn forget(&self, login: &LoginName) {
        self.0.write().retain(|_, session| session.login != *login);
    }

    /// Shows what was read of these users' sessions, or of all. Whoever calls has the turn of [`People`].
    #[cfg(feature = "postgres")]
    pub(crate) fn apply(&self, logins: Option<&[String]>, rows: &[SessionRow]) {
        self.0.apply(logins, rows);
    }

    /// Writes when sessions were used, and removes those that are over.
    pub(crate) async fn flush(&self) -> Result<(), PortError> {
        let inner = &*self.0;
        let now = inner.clock.wall_ms();
        let used: Vec<_> = {
            let mut open = inner.write();
            open.retain(|_, session| !session.is_over(now));
            let unwritten = open.iter_mut().filter(|(_, session)| session.unwritten);
            unwritten
                .map(|(hash, session)| {
                    session.unwritten = false;
                    (*hash, session.used)
                })
                .collect()
        };
        let margin = if inner.store.is_shared() {
            MARGIN_MS
        } else {
            0
        };
        let flushed = inner
            .store
            .flush_sessions(&used, now - LIFE_MS, now - IDLE_MS - margin);
        flushed.await.map_err(failed("write the web sessions"))
    }
}

impl Inner {
    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<TokenHash, Session>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, logins: Option<&[String]>, rows: &[SessionRow]) {
        let mut open = self.write();
        let concerns = |session: &Session| {
            logins.is_none_or(|logins| logins.iter().any(|login| *login == session.login.as_str()))
        };
        let before: HashMap<TokenHash, Session> =
            open.extract_if(|_, session| concerns(session)).collect();
        for (hash, mut session) in rows.iter().filter_map(session_of) {
            // A use that was noted here and not written yet is not forgotten.
            if let Some(known) = before.get(&hash)
                && known.used > session.used
            {
                session.used = known.used;
                session.unwritten = known.unwritten;
            }
            open.insert(hash, session);
        }
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
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let _turn = self.people.turn.lock().await;
        let now = self.clock.wall_ms();
        let surplus = self.too_many(&login);
        let row = SessionRow {
            hash: hash(&token),
            login: login.to_string(),
            opened: now,
            used: now,
        };
        let opened = self.store.open_session(&row, &surplus).await;
        opened.map_err(failed("open a web session"))?;
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
        open.insert(row.hash, session);
        Ok(Masked::new(token))
    }

    /// Looks in the rows for a session that memory does not know.
    async fn look(&self, token: &str) -> Option<()> {
        let is_token = token.len() == TOKEN
            && token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !self.store.is_shared() || !is_token {
            return None;
        }
        let place = timeout(&*self.clock, LOOK_WAIT, self.looking.acquire()).await;
        let _place = place.ok()?.ok()?;
        let told = |error: sqlx::Error| {
            tracing::warn!(%error, "cannot look for a session that another process may have opened");
        };
        let owner = self.store.owner(&hash(token)).await.map_err(told).ok()??;
        let _turn = self.people.turn.lock().await;
        let logins = [owner];
        let rows = self.store.these(&logins).await.map_err(told).ok()?;
        self.people.apply(Some(&logins), &rows.people);
        self.apply(Some(&logins), &rows.sessions);
        Some(())
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

    async fn find(&self, token: &str) -> Option<User> {
        if let Some(user) = self.user(token) {
            return Some(user);
        }
        self.0.look(token).await?;
        self.user(token)
    }

    async fn close(&self, token: &str) -> Result<(), PortError> {
        let (inner, hash) = (Arc::clone(&self.0), hash(token));
        // Over at once, whatever the database says: a page that signs out is signed out.
        inner.write().remove(&hash);
        detached("close a web session", async move {
            let _turn = inner.people.turn.lock().await;
            let closed = inner.store.close_session(&hash).await;
            // What was read before the row went may have brought it back meanwhile.
            inner.write().remove(&hash);
            closed.map_err(failed("close a web session"))
        })
        .await
    }
}
