//! People, sessions and audit in the registry's own SQLite file.

use async_trait::async_trait;
use moorline_core::Masked;
use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use crate::database::Database;
use crate::people_store::{
    AuditBounds, AuditRow, AuditWanted, PeopleStore, PersonRow, Removed, SessionRow, StoreResult,
    TokenHash,
};

/// [`PeopleStore`] over the two pools.
#[derive(Debug)]
pub(crate) struct SqlitePeople {
    writer: SqlitePool,
    reader: SqlitePool,
}

impl SqlitePeople {
    pub(crate) fn new(database: &Database) -> Self {
        Self {
            writer: database.writer.clone(),
            reader: database.reader.clone(),
        }
    }
}

fn session_of(row: &SqliteRow) -> Option<SessionRow> {
    let hash: Vec<u8> = row.try_get("token_hash").ok()?;
    Some(SessionRow {
        hash: hash.try_into().ok()?,
        login: row.try_get("login").ok()?,
        opened: row.try_get("opened").ok()?,
        used: row.try_get("used").ok()?,
    })
}

#[async_trait]
impl PeopleStore for SqlitePeople {
    async fn people(&self) -> StoreResult<Vec<PersonRow>> {
        let rows = sqlx::query(
            "SELECT login, tenant, role, created, password_hash, stream_password FROM users",
        )
        .fetch_all(&self.reader)
        .await?;
        let person = |row: &SqliteRow| {
            Ok(PersonRow {
                login: row.try_get("login")?,
                tenant: row.try_get("tenant")?,
                role: row.try_get("role")?,
                created: row.try_get("created")?,
                password_hash: Masked::new(row.try_get("password_hash")?),
                stream_password: row.try_get("stream_password")?,
            })
        };
        rows.iter().map(person).collect()
    }

    async fn sessions(&self) -> StoreResult<Vec<SessionRow>> {
        let rows = sqlx::query("SELECT token_hash, login, opened, used FROM web_sessions")
            .fetch_all(&self.reader)
            .await?;
        Ok(rows.iter().filter_map(session_of).collect())
    }

    async fn add(&self, person: &PersonRow) -> StoreResult<bool> {
        let added = sqlx::query(
            "INSERT INTO users (login, tenant, role, created, password_hash, stream_password) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (login) DO NOTHING",
        )
        .bind(&person.login)
        .bind(&person.tenant)
        .bind(&person.role)
        .bind(person.created)
        .bind(person.password_hash.reveal())
        .bind(&person.stream_password)
        .execute(&self.writer)
        .await?;
        Ok(added.rows_affected() == 1)
    }

    async fn set_stream_password(&self, login: &str, sealed: &[u8]) -> StoreResult<bool> {
        let changed = sqlx::query("UPDATE users SET stream_password = ? WHERE login = ?")
            .bind(sealed)
            .bind(login)
            .execute(&self.writer)
            .await?;
        Ok(changed.rows_affected() == 1)
    }

    async fn set_password(&self, login: &str, hash: &Masked<String>) -> StoreResult<bool> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let changed = sqlx::query("UPDATE users SET password_hash = ? WHERE login = ?")
            .bind(hash.reveal())
            .bind(login)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM web_sessions WHERE login = ?")
            .bind(login)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(changed.rows_affected() == 1)
    }

    async fn remove(&self, login: &str) -> StoreResult<Removed> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let others: Option<i64> = sqlx::query_scalar(
            "SELECT CASE role WHEN 'admin' THEN
                 (SELECT count(*) FROM users AS other WHERE other.tenant = users.tenant AND other.role = 'admin' AND other.login <> users.login)
                 ELSE 1 END FROM users WHERE login = ?",
        )
        .bind(login)
        .fetch_optional(&mut *transaction)
        .await?;
        match others {
            None => return Ok(Removed::Unknown),
            Some(0) => return Ok(Removed::LastAdmin),
            Some(_) => {}
        }
        // Their sessions go by the reference.
        sqlx::query("DELETE FROM users WHERE login = ?")
            .bind(login)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Removed::Yes)
    }

    async fn open_session(&self, session: &SessionRow, ended: &[TokenHash]) -> StoreResult<()> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for hash in ended {
            sqlx::query("DELETE FROM web_sessions WHERE token_hash = ?")
                .bind(hash.as_slice())
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query(
            "INSERT INTO web_sessions (token_hash, login, opened, used) VALUES (?, ?, ?, ?)",
        )
        .bind(session.hash.as_slice())
        .bind(&session.login)
        .bind(session.opened)
        .bind(session.used)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    async fn close_session(&self, hash: &TokenHash) -> StoreResult<()> {
        sqlx::query("DELETE FROM web_sessions WHERE token_hash = ?")
            .bind(hash.as_slice())
            .execute(&self.writer)
            .await
            .map(|_| ())
    }

    async fn flush_sessions(
        &self,
        used: &[(TokenHash, i64)],
        opened_before: i64,
        used_before: i64,
    ) -> StoreResult<()> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for (hash, used) in used {
            sqlx::query("UPDATE web_sessions SET used = ? WHERE token_hash = ?")
                .bind(used)
                .bind(hash.as_slice())
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query("DELETE FROM web_sessions WHERE opened <= ? OR used <= ?")
            .bind(opened_before)
            .bind(used_before)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    async fn append(&self, entries: &[AuditRow]) -> StoreResult<()> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for entry in entries {
            sqlx::query(
                "INSERT INTO audit (at, tenant, actor, event, subject) VALUES (?, ?, ?, ?, ?)",
            )
            .bind(entry.at)
            .bind(&entry.tenant)
            .bind(&entry.actor)
            .bind(&entry.event)
            .bind(&entry.subject)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await
    }

    async fn read_audit(
        &self,
        tenant: &str,
        wanted: &AuditWanted,
        limit: u32,
    ) -> StoreResult<Vec<AuditRow>> {
        let rows = sqlx::query(
            "SELECT at, actor, event, subject FROM audit
             WHERE tenant = ?1 AND at >= ?2 AND at < ?3
               AND (?4 = '' OR actor = 'camera ' || ?4 OR substr(subject || ' ', 1, length(?4) + 1) = ?4 || ' ')
               AND (?5 = '' OR actor = ?5 OR subject = ?5)
             ORDER BY ordinal DESC LIMIT ?6",
        )
        .bind(tenant)
        .bind(wanted.from)
        .bind(wanted.to)
        .bind(&wanted.camera)
        .bind(&wanted.user)
        .bind(limit)
        .fetch_all(&self.reader)
        .await?;
        let entry = |row: &SqliteRow| {
            Ok(AuditRow {
                at: row.try_get("at")?,
                tenant: tenant.to_owned(),
                actor: row.try_get("actor")?,
                event: row.try_get("event")?,
                subject: row.try_get("subject")?,
            })
        };
        rows.iter().map(entry).collect()
    }

    async fn prune_audit(&self, bounds: AuditBounds) -> StoreResult<()> {
        sqlx::query("DELETE FROM audit WHERE ordinal <= (SELECT ordinal FROM audit ORDER BY ordinal DESC LIMIT 1 OFFSET ?)")
            .bind(bounds.all)
            .execute(&self.writer)
            .await?;
        let (event, kept) = bounds.flood;
        sqlx::query(
            "DELETE FROM audit WHERE event = ?1 AND ordinal <=
             (SELECT ordinal FROM audit WHERE event = ?1 ORDER BY ordinal DESC LIMIT 1 OFFSET ?2)",
        )
        .bind(event)
        .bind(kept)
        .execute(&self.writer)
        .await
        .map(|_| ())
    }
}
