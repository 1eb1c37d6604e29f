//! The rows in PostgreSQL's words. Every call has a deadline.

use std::time::Duration;

use async_trait::async_trait;
use moorline_base::clock::{SharedClock, timeout};
use moorline_core::Masked;
use sqlx::postgres::{PgPool, PgRow, Postgres};
use sqlx::{Row as _, Transaction};

use super::DEADLINE;
use crate::people_store::{
    AuditBounds, AuditRow, AuditWanted, PeopleStore, PersonRow, Removed, Rows, SessionRow,
    StoreResult, TokenHash,
};

/// What changed since a number, of one read. More is read as a whole.
const CHANGES: i64 = 500;
/// What the read of everything gets: it grows with the number of people.
const ALL: Duration = Duration::from_secs(30);

/// [`PeopleStore`] over a pool.
#[derive(Debug)]
pub(super) struct PostgresPeople {
    pool: PgPool,
    clock: SharedClock,
}

/// Everything, up to the change `newest`.
#[derive(Debug)]
pub(super) struct All {
    pub(super) rows: Rows,
    pub(super) newest: i64,
}

/// What changed since a number.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) logins: Vec<String>,
    pub(super) rows: Rows,
    pub(super) newest: i64,
}

impl PostgresPeople {
    pub(super) fn new(pool: PgPool, clock: SharedClock) -> Self {
        Self { pool, clock }
    }

    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = StoreResult<T>>,
    ) -> StoreResult<T> {
        match timeout(&*self.clock, limit, work).await {
            Ok(done) => done,
            Err(late) => Err(sqlx::Error::Io(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                late,
            ))),
        }
    }

    /// A transaction that changes people: one at a time over all processes, so that what they follow has an order.
    async fn change(&self) -> StoreResult<Transaction<'static, Postgres>> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock(5570193308531093872)")
            .execute(&mut *transaction)
            .await?;
        Ok(transaction)
    }

    /// A transaction that sees one moment.
    async fn look(&self) -> StoreResult<Transaction<'static, Postgres>> {
        self.pool
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
    }

    /// The number of the newest change.
    pub(super) async fn newest(&self) -> StoreResult<i64> {
        let asked = sqlx::query_scalar("SELECT coalesce(max(ordinal), 0) FROM people_changes")
            .fetch_one(&self.pool);
        self.within(DEADLINE, asked).await
    }

    /// Everything.
    pub(super) async fn all(&self) -> StoreResult<All> {
        self.within(ALL, async {
            let mut transaction = self.look().await?;
            sqlx::query("SET LOCAL statement_timeout = '30s'")
                .execute(&mut *transaction)
                .await?;
            let newest = newest(&mut transaction).await?;
            let people = sqlx::query("SELECT * FROM users")
                .fetch_all(&mut *transaction)
                .await?;
            let sessions = sqlx::query("SELECT * FROM web_sessions")
                .fetch_all(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(All {
                rows: rows(&people, &sessions)?,
                newest,
            })
        })
        .await
    }

    /// What changed after `seen`; `None` when it is too much to be told one by one.
    pub(super) async fn since(&self, seen: i64) -> StoreResult<Option<Changed>> {
        self.within(DEADLINE, async {
            let mut transaction = self.look().await?;
            let newest = newest(&mut transaction).await?;
            let logins: Vec<String> = sqlx::query_scalar(
                "SELECT login FROM (SELECT login FROM people_changes WHERE ordinal > $1 ORDER BY ordinal LIMIT $2) AS changes",
            )
            .bind(seen)
            .bind(CHANGES)
            .fetch_all(&mut *transaction)
            .await?;
            if logins.len() as i64 == CHANGES || newest < seen {
                return Ok(None);
            }
            let rows = of_logins(&mut transaction, &logins).await?;
            transaction.commit().await?;
            Ok(Some(Changed {
                logins,
                rows,
                newest,
            }))
        })
        .await
    }

    /// Forgets changes that everybody has read long ago. The newest stays: it is what is compared with.
    pub(super) async fn prune_changes(&self) -> StoreResult<()> {
        let pruned = sqlx::query(
            "DELETE FROM people_changes WHERE at < now() - interval '1 hour' AND ordinal < (SELECT max(ordinal) FROM people_changes)",
        )
        .execute(&self.pool);
        self.within(DEADLINE, pruned).await.map(|_| ())
    }
}

async fn newest(transaction: &mut Transaction<'static, Postgres>) -> StoreResult<i64> {
    sqlx::query_scalar("SELECT coalesce(max(ordinal), 0) FROM people_changes")
        .fetch_one(&mut **transaction)
        .await
}

async fn of_logins(
    transaction: &mut Transaction<'static, Postgres>,
    logins: &[String],
) -> StoreResult<Rows> {
    let people = sqlx::query("SELECT * FROM users WHERE login = ANY($1)")
        .bind(logins)
        .fetch_all(&mut **transaction)
        .await?;
    let sessions = sqlx::query("SELECT * FROM web_sessions WHERE login = ANY($1)")
        .bind(logins)
        .fetch_all(&mut **transaction)
        .await?;
    rows(&people, &sessions)
}

fn rows(people: &[PgRow], sessions: &[PgRow]) -> StoreResult<Rows> {
    let people: StoreResult<_> = people.iter().map(person_of).collect();
    Ok(Rows {
        people: people?,
        sessions: sessions.iter().filter_map(session_of).collect(),
    })
}

fn person_of(row: &PgRow) -> StoreResult<PersonRow> {
    Ok(PersonRow {
        login: row.try_get("login")?,
        tenant: row.try_get("tenant")?,
        role: row.try_get("role")?,
        created: row.try_get("created")?,
        password_hash: Masked::new(row.try_get("password_hash")?),
        stream_password: row.try_get("stream_password")?,
    })
}

fn session_of(row: &PgRow) -> Option<SessionRow> {
    let hash: Vec<u8> = row.try_get("token_hash").ok()?;
    Some(SessionRow {
        hash: hash.try_into().ok()?,
        login: row.try_get("login").ok()?,
        opened: row.try_get("opened").ok()?,
        used: row.try_get("used").ok()?,
    })
}

/// What strangers typed may hold a zero, which PostgreSQL's text cannot: it would refuse the entries beside it too.
fn text(from: &str) -> String {
    from.replace('\0', "\u{fffd}")
}

#[async_trait]
impl PeopleStore for PostgresPeople {
    fn is_shared(&self) -> bool {
        true
    }

    async fn owner(&self, hash: &TokenHash) -> StoreResult<Option<String>> {
        let asked = sqlx::query_scalar("SELECT login FROM web_sessions WHERE token_hash = $1")
            .bind(hash.as_slice())
            .fetch_optional(&self.pool);
        self.within(DEADLINE, asked).await
    }

    async fn these(&self, logins: &[String]) -> StoreResult<Rows> {
        self.within(DEADLINE, async {
            let mut transaction = self.look().await?;
            let rows = of_logins(&mut transaction, logins).await?;
            transaction.commit().await?;
            Ok(rows)
        })
        .await
    }

    async fn people(&self) -> StoreResult<Vec<PersonRow>> {
        Ok(self.all().await?.rows.people)
    }

    async fn sessions(&self) -> StoreResult<Vec<SessionRow>> {
        Ok(self.all().await?.rows.sessions)
    }

    async fn add(&self, person: &PersonRow) -> StoreResult<bool> {
        self.within(DEADLINE, async {
            let mut transaction = self.change().await?;
            let added = sqlx::query(
                "INSERT INTO users (login, tenant, role, created, password_hash, stream_password) VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (login) DO NOTHING",
            )
            .bind(&person.login)
            .bind(&person.tenant)
            .bind(&person.role)
            .bind(person.created)
            .bind(person.password_hash.reveal())
            .bind(&person.stream_password)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(added.rows_affected() == 1)
        })
        .await
    }

    async fn set_stream_password(&self, login: &str, sealed: &[u8]) -> StoreResult<bool> {
        self.within(DEADLINE, async {
            let mut transaction = self.change().await?;
            let changed = sqlx::query("UPDATE users SET stream_password = $1 WHERE login = $2")
                .bind(sealed)
                .bind(login)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(changed.rows_affected() == 1)
        })
        .await
    }

    async fn set_password(&self, login: &str, hash: &Masked<String>) -> StoreResult<bool> {
        self.within(DEADLINE, async {
            let mut transaction = self.change().await?;
            let changed = sqlx::query("UPDATE users SET password_hash = $1 WHERE login = $2")
                .bind(hash.reveal())
                .bind(login)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("DELETE FROM web_sessions WHERE login = $1")
                .bind(login)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(changed.rows_affected() == 1)
        })
        .await
    }

    async fn remove(&self, login: &str) -> StoreResult<Removed> {
        self.within(DEADLINE, async {
            // Two front doors that remove the last two admins: the second counts after the first has committed.
            let mut transaction = self.change().await?;
            let others: Option<i64> = sqlx::query_scalar(
                "SELECT CASE role WHEN 'admin' THEN
                     (SELECT count(*) FROM users AS other WHERE other.tenant = users.tenant AND other.role = 'admin' AND other.login <> users.login)
                     ELSE 1 END FROM users WHERE login = $1",
            )
            .bind(login)
            .fetch_optional(&mut *transaction)
            .await?;
            match others {
                None => return Ok(Removed::Unknown),
                Some(0) => return Ok(Removed::LastAdmin),
                Some(_) => {}
            }
            sqlx::query("DELETE FROM users WHERE login = $1")
                .bind(login)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(Removed::Yes)
        })
        .await
    }

    async fn open_session(&self, session: &SessionRow, ended: &[TokenHash]) -> StoreResult<()> {
        let ended: Vec<&[u8]> = ended.iter().map(<[u8; 32]>::as_slice).collect();
        self.within(DEADLINE, async {
            let mut transaction = self.change().await?;
            sqlx::query("DELETE FROM web_sessions WHERE token_hash = ANY($1)")
                .bind(&ended)
                .execute(&mut *transaction)
                .await?;
            sqlx::query(
                "INSERT INTO web_sessions (token_hash, login, opened, used) VALUES ($1, $2, $3, $4)",
            )
            .bind(session.hash.as_slice())
            .bind(&session.login)
            .bind(session.opened)
            .bind(session.used)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await
        })
        .await
    }

    async fn close_session(&self, hash: &TokenHash) -> StoreResult<()> {
        self.within(DEADLINE, async {
            let mut transaction = self.change().await?;
            sqlx::query("DELETE FROM web_sessions WHERE token_hash = $1")
                .bind(hash.as_slice())
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        })
        .await
    }

    async fn flush_sessions(
        &self,
        used: &[(TokenHash, i64)],
        opened_before: i64,
        used_before: i64,
    ) -> StoreResult<()> {
        let hashes: Vec<&[u8]> = used.iter().map(|(hash, _)| hash.as_slice()).collect();
        let times: Vec<i64> = used.iter().map(|(_, used)| *used).collect();
        self.within(DEADLINE, async {
            let mut transaction = self.change().await?;
            sqlx::query(
                "UPDATE web_sessions SET used = greatest(web_sessions.used, given.used)
                 FROM unnest($1::bytea[], $2::bigint[]) AS given (hash, used) WHERE token_hash = given.hash",
            )
            .bind(&hashes)
            .bind(&times)
            .execute(&mut *transaction)
            .await?;
            sqlx::query("DELETE FROM web_sessions WHERE opened <= $1 OR used <= $2")
                .bind(opened_before)
                .bind(used_before)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        })
        .await
    }

    async fn append(&self, entries: &[AuditRow]) -> StoreResult<()> {
        let of = |field: fn(&AuditRow) -> &str| -> Vec<String> {
            entries.iter().map(|entry| text(field(entry))).collect()
        };
        let times: Vec<i64> = entries.iter().map(|entry| entry.at).collect();
        let appended = sqlx::query(
            "INSERT INTO audit (at, tenant, actor, event, subject)
             SELECT at, tenant, actor, event, subject
             FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
                 AS given (at, tenant, actor, event, subject, number) ORDER BY number",
        )
        .bind(times)
        .bind(of(|entry| &entry.tenant))
        .bind(of(|entry| &entry.actor))
        .bind(of(|entry| &entry.event))
        .bind(of(|entry| &entry.subject))
        .execute(&self.pool);
        self.within(DEADLINE, appended).await.map(|_| ())
    }

    async fn read_audit(
        &self,
        tenant: &str,
        wanted: &AuditWanted,
        limit: u32,
    ) -> StoreResult<Vec<AuditRow>> {
        let read = sqlx::query(
            "SELECT at, actor, event, subject FROM audit
             WHERE tenant = $1 AND at >= $2 AND at < $3
               AND ($4::text = '' OR actor = 'camera ' || $4 OR substr(subject || ' ', 1, length($4) + 1) = $4 || ' ')
               AND ($5::text = '' OR actor = $5 OR subject = $5)
             ORDER BY ordinal DESC LIMIT $6",
        )
        .bind(tenant)
        .bind(wanted.from)
        .bind(wanted.to)
        .bind(text(&wanted.camera))
        .bind(text(&wanted.user))
        .bind(i64::from(limit))
        .fetch_all(&self.pool);
        let rows = self.within(DEADLINE, read).await?;
        let entry = |row: &PgRow| {
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
        let (event, kept) = bounds.flood;
        self.within(DEADLINE, async {
            sqlx::query(
                "DELETE FROM audit WHERE ordinal <= (SELECT ordinal FROM audit ORDER BY ordinal DESC LIMIT 1 OFFSET $1)",
            )
            .bind(bounds.all)
            .execute(&self.pool)
            .await?;
            sqlx::query(
                "DELETE FROM audit WHERE event = $1 AND ordinal <=
                 (SELECT ordinal FROM audit WHERE event = $1 ORDER BY ordinal DESC LIMIT 1 OFFSET $2)",
            )
            .bind(event)
            .bind(kept)
            .execute(&self.pool)
            .await
            .map(|_| ())
        })
        .await
    }
}
