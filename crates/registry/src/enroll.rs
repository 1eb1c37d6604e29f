//! Enrolment tokens (rule S3): `EnrollTokens` and `Enrolment`.
//!
//! Owns: the tables `enroll_tokens` and `enrolled`. A token is spent in the transaction that writes the camera, so that a crash leaves neither
//! a spent token without a camera nor a camera whose token can be spent again. Does not own: cameras (`directory`, which writes them).

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moorline_base::SharedClock;
use moorline_core::camera::{CameraKey, Enabled, Record, RecordBy};
use moorline_core::port::{
    CameraAdminError, CameraLike, EnrollAsked, EnrollError, EnrollTokens, Enrolment, NewToken,
    PortError, Reuse, Stocked, TokenInfo, TokenMakes,
};
use moorline_core::{CameraId, Masked, TenantId, Timestamp};
use sha2::{Digest as _, Sha256};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use crate::cameras::{RowError, wrong};
use crate::database::Database;
use crate::directory::{Cameras, Spent};
use crate::error::{detached, failed};
use crate::rounds::Round;

const ISSUE: &str = "make an enrolment token";
const ENROLL: &str = "enrol a camera";
const CLAIM: &str = "claim a camera";
const LIST: &str = "list enrolment tokens";
const REVOKE: &str = "revoke an enrolment token";
/// 192 bits; the rule asks for 128.
const TOKEN_BYTES: usize = 24;
/// The most that one list gives.
const LISTED: i64 = 1_000;
/// A batch is a pallet of cameras, not a fleet.
const MOST: u32 = 10_000;

/// `EnrollTokens` and `Enrolment` over the registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EnrollBook {
    cameras: Arc<Cameras>,
    writer: SqlitePool,
    reader: SqlitePool,
    clock: SharedClock,
}

impl EnrollBook {
    pub(crate) fn new(database: &Database, cameras: &Arc<Cameras>, clock: SharedClock) -> Self {
        EnrollBook {
            cameras: Arc::clone(cameras),
            writer: database.writer.clone(),
            reader: database.reader.clone(),
            clock,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.wall_ms())
    }
}

fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

#[async_trait]
impl EnrollTokens for EnrollBook {
    async fn issue(&self, new: NewToken) -> Result<(Masked<String>, TokenInfo), CameraAdminError> {
        let now = self.now();
        new.check(now, MOST, "from 1 to 10,000")?;
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>());
        let (writer, stored, digest) = (self.writer.clone(), new.clone(), hash(&token));
        let id = detached(ISSUE, async move {
            let (name, count) = match &stored.makes {
                TokenMakes::Camera(id) => (id.name().to_owned(), None),
                TokenMakes::Batch { prefix, count } => (prefix.clone(), Some(*count)),
            };
            let written = sqlx::query(
                "INSERT INTO enroll_tokens (hash, tenant, name, count, title, site, timezone, record, record_by, retention, comment, created, expires, revoked)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
            )
            .bind(digest)
            .bind(stored.tenant.as_str())
            .bind(name)
            .bind(count)
            .bind(&stored.like.title)
            .bind(&stored.like.site)
            .bind(&stored.like.timezone)
            .bind(match stored.like.record {
                Record::Main => "main",
                Record::Sub => "sub",
                Record::Off => "off",
            })
            .bind(stored.like.record_by.as_str())
            .bind(stored.like.retention.to_string())
            .bind(&stored.comment)
            .bind(now.as_millis())
            .bind(stored.expires.as_millis())
            .execute(&writer)
            .await
            .map_err(failed(ISSUE))?;
            Ok::<_, PortError>(written.last_insert_rowid())
        })
        .await?;
        let info = TokenInfo {
            id,
            token: new,
            created: now,
            revoked: false,
            cameras: Vec::new(),
            reused: None,
        };
        Ok((Masked::new(token), info))
    }

    async fn list(&self, tenant: &TenantId) -> Result<Vec<TokenInfo>, PortError> {
        let operation = failed(LIST);
        let mut connection = self.reader.acquire().await.map_err(&operation)?;
        let rows =
            sqlx::query("SELECT * FROM enroll_tokens WHERE tenant = ? ORDER BY id DESC LIMIT ?")
                .bind(tenant.as_str())
                .bind(LISTED)
                .fetch_all(&mut *connection)
                .await
                .map_err(&operation)?;
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            let mut info = info_of(&row).map_err(|error| PortError::new(LIST, error))?;
            info.cameras = made_by(&mut connection, info.id)
                .await
                .map_err(|error| PortError::new(LIST, error))?;
            all.push(info);
        }
        Ok(all)
    }

    async fn stock(&self, tenant: &TenantId) -> Result<Vec<Stocked>, PortError> {
        let rows = sqlx::query(
            "SELECT enrolled.tenant || '/' || enrolled.name, at FROM enrolled JOIN enroll_tokens ON enroll_tokens.id = enrolled.token
             WHERE enrolled.tenant = ? AND count IS NOT NULL AND claimed IS NULL
             AND EXISTS (SELECT 1 FROM cameras WHERE cameras.tenant = enrolled.tenant AND cameras.name = enrolled.name)
             ORDER BY at DESC, enrolled.name LIMIT ?",
        )
        .bind(tenant.as_str())
        .bind(LISTED)
        .fetch_all(&self.reader)
        .await
        .map_err(failed(LIST))?;
        let stocked = |row: &SqliteRow| -> Result<Stocked, RowError> {
            Ok(Stocked {
                camera: camera_of(row)?,
                enrolled: Timestamp::from_millis(row.try_get("at")?),
            })
        };
        let all = rows.iter().map(stocked).collect::<Result<_, _>>();
        all.map_err(|error| PortError::new(LIST, error))
    }

    async fn claim(&self, camera: &CameraId) -> Result<bool, CameraAdminError> {
        let (writer, camera, now) = (self.writer.clone(), camera.clone(), self.now());
        detached(CLAIM, async move {
            let done = sqlx::query(
                "UPDATE enrolled SET claimed = ? WHERE tenant = ? AND name = ? AND claimed IS NULL
                 AND token IN (SELECT id FROM enroll_tokens WHERE count IS NOT NULL)",
            )
            .bind(now.as_millis())
            .bind(camera.tenant().as_str())
            .bind(camera.name())
            .execute(&writer)
            .await
            .map_err(failed(CLAIM))?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }

    async fn revoke(&self, tenant: &TenantId, id: i64) -> Result<bool, CameraAdminError> {
        let (writer, tenant) = (self.writer.clone(), tenant.clone());
        detached(REVOKE, async move {
            let done =
                sqlx::query("UPDATE enroll_tokens SET revoked = 1 WHERE tenant = ? AND id = ?")
                    .bind(tenant.as_str())
                    .bind(id)
                    .execute(&writer)
                    .await
                    .map_err(failed(REVOKE))?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }
}

#[async_trait]
impl Enrolment for EnrollBook {
    async fn enroll(&self, asked: EnrollAsked) -> Result<CameraId, EnrollError> {
        // Who guesses is refused without a turn among those who write.
        if find(&self.reader, &asked).await?.is_none() {
            return Err(EnrollError::Refused("unknown"));
        }
        let now = self.now();
        // Changes of cameras go one after another: between this look and the commit nobody spends the token.
        self.cameras
            .change(move |round| Box::pin(decide(round, asked, now)))
            .await
    }
}

async fn find(
    place: impl sqlx::SqliteExecutor<'_>,
    asked: &EnrollAsked,
) -> Result<Option<SqliteRow>, PortError> {
    sqlx::query("SELECT * FROM enroll_tokens WHERE hash = ?")
        .bind(hash(asked.token.reveal()))
        .fetch_optional(place)
        .await
        .map_err(failed(ENROLL))
}

/// Whether a token makes a camera of a key, and of which; the round writes it.
async fn decide(
    round: &mut Round,
    asked: EnrollAsked,
    now: Timestamp,
) -> Result<CameraId, EnrollError> {
    let row = find(&mut *round.connection().await?, &asked).await?;
    let Some(row) = row else {
        return Err(EnrollError::Refused("unknown"));
    };
    let mut info = info_of(&row).map_err(|error| PortError::new(ENROLL, error))?;
    let before = spent_by(round.connection().await?, info.id, asked.key.blob()).await;
    if let Some(id) = before.map_err(|error| PortError::new(ENROLL, error))? {
        // The same key again: its answer was lost. Unless it is not the camera's any more.
        let holds = round.get(&id).is_some_and(|camera| {
            camera.enabled == Enabled::Yes && camera.keys.iter().any(|key| key.key == asked.key)
        });
        return holds.then_some(id).ok_or(EnrollError::Refused("revoked"));
    }
    info.cameras = made_by(round.connection().await?, info.id)
        .await
        .map_err(|error| PortError::new(ENROLL, error))?;
    // First of all: a copy of a card tells of itself also when its token is too old for anything.
    if info.is_used_up() {
        let noted = note_reuse(round.connection().await?, info.id, &asked, now).await;
        noted.map_err(|error| round.breaks(error))?;
        let mut made = info.cameras.into_iter().rev();
        let camera = made.find(|id| round.get(id).is_some());
        return Err(EnrollError::Spent { camera });
    }
    if info.revoked {
        return Err(EnrollError::Refused("revoked"));
    }
    if now >= info.token.expires {
        return Err(EnrollError::Refused("expired"));
    }
    let id = name(round, &info)?;
    let key = CameraKey {
        key: asked.key.clone(),
        added: now,
        comment: format!("enrolled: {} {}", asked.model, asked.mac),
    };
    let (camera, new) = match round.get(&id) {
        Some(camera) if camera.enabled != Enabled::Yes => {
            return Err(EnrollError::Refused("its camera is disabled"));
        }
        Some(camera) => {
            let mut camera = moorline_core::Camera::clone(camera);
            camera.keys.push(key);
            moorline_core::check::keys(&camera.keys)?;
            (camera, false)
        }
        None => (info.token.like.make(id.clone(), key), true),
    };
    let spent = Spent {
        token: info.id,
        key: asked.key,
        at: now,
    };
    round.put_spending(camera, new, Some(spent)).await?;
    Ok(id)
}

/// What the next camera of a token is called: of a batch the first number that none has had.
fn name(round: &Round, info: &TokenInfo) -> Result<CameraId, EnrollError> {
    let prefix = match &info.token.makes {
        TokenMakes::Camera(id) => return Ok(id.clone()),
        TokenMakes::Batch { prefix, .. } => prefix,
    };
    let had: HashSet<&CameraId> = info.cameras.iter().collect();
    let next = (1..=u64::from(MOST) * 2).find_map(|number| {
        let name = format!("{prefix}-{number}").parse().ok()?;
        let id = CameraId::new(info.token.tenant.clone(), name);
        (round.get(&id).is_none() && !had.contains(&id)).then_some(id)
    });
    next.ok_or(EnrollError::Refused("no name is left"))
}

/// Notes who spent a token; the caller's transaction makes it durable with the camera.
pub(crate) async fn write_spent(
    connection: &mut SqliteConnection,
    camera: &CameraId,
    spent: &Spent,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO enrolled (token, key, tenant, name, at) VALUES (?, ?, ?, ?, ?)")
        .bind(spent.token)
        .bind(spent.key.blob())
        .bind(camera.tenant().as_str())
        .bind(camera.name())
        .bind(spent.at.as_millis())
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes down that a key too many used a token.
async fn note_reuse(
    connection: &mut SqliteConnection,
    token: i64,
    asked: &EnrollAsked,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE enroll_tokens SET reused = min(reused + 1, 1000000000), reused_at = ?, reused_from = ?, reused_key = ? WHERE id = ?",
    )
    .bind(now.as_millis())
    .bind(asked.peer.ip().to_canonical().to_string())
    .bind(asked.key.fingerprint())
    .bind(token)
    .execute(connection)
    .await?;
    Ok(())
}

async fn spent_by(
    connection: &mut SqliteConnection,
    token: i64,
    key: &[u8],
) -> Result<Option<CameraId>, RowError> {
    let row = sqlx::query("SELECT tenant || '/' || name FROM enrolled WHERE token = ? AND key = ?")
        .bind(token)
        .bind(key)
        .fetch_optional(connection)
        .await?;
    row.map(|row| camera_of(&row)).transpose()
}

async fn made_by(connection: &mut SqliteConnection, token: i64) -> Result<Vec<CameraId>, RowError> {
    let rows =
        sqlx::query("SELECT tenant || '/' || name FROM enrolled WHERE token = ? ORDER BY at, name")
            .bind(token)
            .fetch_all(connection)
            .await?;
    rows.iter().map(camera_of).collect()
}

fn camera_of(row: &SqliteRow) -> Result<CameraId, RowError> {
    let text: String = row.try_get(0)?;
    text.parse().map_err(wrong("enrolled", &text))
}

/// The last use by a key too many. What is not readable of it is as good as none: a token is no worse for it.
fn reuse_of(row: &SqliteRow) -> Result<Option<Reuse>, RowError> {
    let times: u32 = row.try_get("reused")?;
    let (at, from) = (
        row.try_get::<Option<i64>, _>("reused_at")?,
        row.try_get::<Option<String>, _>("reused_from")?,
    );
    let from = from.and_then(|from| from.parse().ok());
    let (Some(at), Some(from)) = (at, from) else {
        return Ok(None);
    };
    Ok(Some(Reuse {
        at: Timestamp::from_millis(at),
        from,
        key: row
            .try_get::<Option<String>, _>("reused_key")?
            .unwrap_or_default(),
        times,
    }))
}

fn info_of(row: &SqliteRow) -> Result<TokenInfo, RowError> {
    let id: i64 = row.try_get("id")?;
    let place = id.to_string();
    let tenant: TenantId = row
        .try_get::<String, _>("tenant")?
        .parse()
        .map_err(wrong("enroll_tokens", &place))?;
    let name: String = row.try_get("name")?;
    let makes = match row.try_get::<Option<u32>, _>("count")? {
        Some(count) => TokenMakes::Batch {
            prefix: name,
            count,
        },
        None => TokenMakes::Camera(CameraId::new(
            tenant.clone(),
            name.parse().map_err(wrong("enroll_tokens", &place))?,
        )),
    };
    let time = |column| row.try_get::<i64, _>(column).map(Timestamp::from_millis);
    Ok(TokenInfo {
        id,
        token: NewToken {
            tenant,
            makes,
            like: CameraLike {
                title: row.try_get("title")?,
                site: row.try_get("site")?,
                timezone: row.try_get("timezone")?,
                record: match row.try_get::<String, _>("record")?.as_str() {
                    "sub" => Record::Sub,
                    "off" => Record::Off,
                    _ => Record::Main,
                },
                record_by: RecordBy::from_text(&row.try_get::<String, _>("record_by")?)
                    .unwrap_or(RecordBy::Owner),
                retention: row
                    .try_get::<String, _>("retention")?
                    .parse()
                    .map_err(wrong("enroll_tokens", &place))?,
            },
            expires: time("expires")?,
            comment: row.try_get("comment")?,
        },
        created: time("created")?,
        revoked: row.try_get("revoked")?,
        cameras: Vec::new(),
        reused: reuse_of(row)?,
    })
}
