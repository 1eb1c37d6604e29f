//! Where people, their web sessions and the audit are kept: what SQLite and PostgreSQL do each in their own words, and nothing else. What is
//! kept in memory, who may do what and in which order is the same for both (`users`, `sessions`, `audit`).

use async_trait::async_trait;
use moorline_core::port::AuditFilter;
use moorline_core::{Masked, Timestamp};

/// SHA-256 of a session's token (rule S13).
pub(crate) type TokenHash = [u8; 32];

pub(crate) type StoreResult<T> = Result<T, sqlx::Error>;

/// A user as a row.
#[derive(Debug, Clone)]
pub(crate) struct PersonRow {
    pub(crate) login: String,
    pub(crate) tenant: String,
    pub(crate) role: String,
    /// In milliseconds since the Unix epoch, as every time here.
    pub(crate) created: i64,
    /// Argon2id in PHC form.
    pub(crate) password_hash: Masked<String>,
    /// The stream password, sealed by the envelope.
    pub(crate) stream_password: Vec<u8>,
}

/// A web session as a row.
#[derive(Debug, Clone)]
pub(crate) struct SessionRow {
    pub(crate) hash: TokenHash,
    pub(crate) login: String,
    pub(crate) opened: i64,
    pub(crate) used: i64,
}

/// People with their sessions, seen in one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) people: Vec<PersonRow>,
    pub(crate) sessions: Vec<SessionRow>,
}

/// An entry of the audit as a row.
#[derive(Debug, Clone)]
pub(crate) struct AuditRow {
    pub(crate) at: i64,
    pub(crate) tenant: String,
    pub(crate) actor: String,
    pub(crate) event: String,
    pub(crate) subject: String,
}

/// Which entries are asked for, as rows know it. An empty text is any.
#[derive(Debug, Clone)]
pub(crate) struct AuditWanted {
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// `tenant/camera`: the first word of a subject, or an actor after `camera `.
    pub(crate) camera: String,
    /// An actor or a subject.
    pub(crate) user: String,
}

impl AuditWanted {
    pub(crate) fn of(filter: &AuditFilter) -> Self {
        Self {
            from: filter.from.map_or(i64::MIN, Timestamp::as_millis),
            to: filter.to.map_or(i64::MAX, Timestamp::as_millis),
            camera: filter
                .camera
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            user: filter.user.clone().unwrap_or_default(),
        }
    }
}

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    Yes,
    /// There is no such user.
    Unknown,
    /// The last admin of their tenant stays.
    LastAdmin,
}

/// How much of the audit is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AuditBounds {
    /// Entries in all.
    pub(crate) all: i64,
    /// Of the event that strangers can make.
    pub(crate) flood: (&'static str, i64),
}

/// Rows of people, sessions and audit. Every change is durable when it is answered; none is half done.
#[async_trait]
pub(crate) trait PeopleStore: std::fmt::Debug + Send + Sync {
    /// All people.
    async fn people(&self) -> StoreResult<Vec<PersonRow>>;

    /// All web sessions. A row that cannot be read is left out: a browser that signs in again.
    async fn sessions(&self) -> StoreResult<Vec<SessionRow>>;

    /// Whether other processes change the rows too. Where they do, memory may be behind for a moment.
    fn is_shared(&self) -> bool {
        false
    }

    /// Whose session that is, by the rows: for a replica that did not hear of the sign-in yet.
    async fn owner(&self, _hash: &TokenHash) -> StoreResult<Option<String>> {
        Ok(None)
    }

    /// These users and their sessions as they are now, seen in one moment. Who is not there is not in the answer.
    async fn these(&self, _logins: &[String]) -> StoreResult<Rows> {
        Ok(Rows::default())
    }

    /// Adds a user; `false`: the login is taken.
    async fn add(&self, person: &PersonRow) -> StoreResult<bool>;

    /// Changes the stream password; `false`: there is no such user.
    async fn set_stream_password(&self, login: &str, sealed: &[u8]) -> StoreResult<bool>;

    /// Changes the web password and ends the user's sessions; `false`: there is no such user.
    async fn set_password(&self, login: &str, hash: &Masked<String>) -> StoreResult<bool>;

    /// Removes a user with their sessions.
    async fn remove(&self, login: &str) -> StoreResult<Removed>;

    /// Opens a session and ends others.
    async fn open_session(&self, session: &SessionRow, ended: &[TokenHash]) -> StoreResult<()>;

    /// Ends a session. Idempotent.
    async fn close_session(&self, hash: &TokenHash) -> StoreResult<()>;

    /// Notes when sessions were used, and removes those that were opened or used last before these instants.
    async fn flush_sessions(
        &self,
        used: &[(TokenHash, i64)],
        opened_before: i64,
        used_before: i64,
    ) -> StoreResult<()>;

    /// Appends to the audit.
    async fn append(&self, entries: &[AuditRow]) -> StoreResult<()>;

    /// The newest entries of a tenant that are asked for, newest first.
    async fn read_audit(
        &self,
        tenant: &str,
        wanted: &AuditWanted,
        limit: u32,
    ) -> StoreResult<Vec<AuditRow>>;

    /// Removes the oldest entries beyond the bounds.
    async fn prune_audit(&self, bounds: AuditBounds) -> StoreResult<()>;
}
