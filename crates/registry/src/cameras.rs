//! Cameras as rows: reading all of them at the start, writing one.
//!
//! Owns: the tables `cameras`, `sources`, `camera_keys`. Does not own: what is allowed (`validate`), or the snapshot (`directory`).

use std::collections::BTreeMap;

use moorline_core::camera::{Access, Camera, CameraKey, Enabled, Login, Record, RecordBy, Source};
use moorline_core::network::{InvalidNetwork, listed};
use moorline_core::{CameraId, Masked, PublicKey, SourceName, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Decode, Row, Sqlite, Type};

use crate::envelope::{Envelope, Unsealed};

/// A row that does not hold what we write.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    /// SQLite could not give it.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// A value has another form.
    #[error("table {table}, {row}: {cause}")]
    Value {
        table: &'static str,
        row: String,
        cause: String,
    },
}

pub(crate) fn wrong<E: std::fmt::Display>(
    table: &'static str,
    row: &str,
) -> impl Fn(E) -> RowError {
    move |cause| RowError::Value {
        table,
        row: row.to_owned(),
        cause: cause.to_string(),
    }
}

fn get<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(
    row: &'r SqliteRow,
    column: &str,
) -> Result<T, sqlx::Error> {
    row.try_get(column)
}

fn context(camera: &CameraId, source: SourceName) -> String {
    format!("moorline camera login 1 {camera} {source}")
}

/// All cameras.
pub(crate) async fn read_all(
    connection: &mut SqliteConnection,
    envelope: &Envelope,
) -> Result<Vec<Camera>, RowError> {
    let mut cameras = BTreeMap::new();
    for row in sqlx::query("SELECT * FROM cameras")
        .fetch_all(&mut *connection)
        .await?
    {
        let camera = camera_of(&row)?;
        cameras.insert(camera.id.clone(), camera);
    }
    for row in sqlx::query("SELECT * FROM sources")
        .fetch_all(&mut *connection)
        .await?
    {
        let id = id_of(&row, "sources")?;
        let name = get::<String>(&row, "source")?;
        let Some(camera) = cameras.get_mut(&id) else {
            continue;
        };
        if name == SourceName::Main.as_str() {
            camera.main = source_of(&row, &id, SourceName::Main, envelope)?;
        } else {
            camera.sub = Some(source_of(&row, &id, SourceName::Sub, envelope)?);
        }
    }
    for row in sqlx::query("SELECT * FROM camera_keys ORDER BY ordinal")
        .fetch_all(connection)
        .await?
    {
        let id = id_of(&row, "camera_keys")?;
        let blob = get::<Vec<u8>>(&row, "key")?;
        let key = CameraKey {
            key: PublicKey::from_blob(&blob).map_err(wrong("camera_keys", &id.to_string()))?,
            added: Timestamp::from_millis(get(&row, "added")?),
            comment: get(&row, "comment")?,
        };
        if let Some(camera) = cameras.get_mut(&id) {
            camera.keys.push(key);
        }
    }
    Ok(cameras.into_values().collect())
}

fn id_of(row: &SqliteRow, table: &'static str) -> Result<CameraId, RowError> {
    let text = format!(
        "{}/{}",
        get::<String>(row, "tenant")?,
        get::<String>(row, "name")?
    );
    text.parse().map_err(wrong(table, &text))
}

fn camera_of(row: &SqliteRow) -> Result<Camera, RowError> {
    let id = id_of(row, "cameras")?;
    let name = id.to_string();
    let access = get::<String>(row, "access")?;
    let access = serde_json::from_str::<Access>(&access).map_err(wrong("cameras", &name))?;
    Ok(Camera {
        title: get(row, "title")?,
        site: get(row, "site")?,
        timezone: get(row, "timezone")?,
        created: Timestamp::from_millis(get(row, "created")?),
        keys: Vec::new(),
        access,
        main: Source::default(),
        sub: None,
        record: match get::<String>(row, "record")?.as_str() {
            "sub" => Record::Sub,
            "off" => Record::Off,
            _ => Record::Main,
        },
        retention: get::<String>(row, "retention")?
            .parse()
            .map_err(wrong("cameras", &name))?,
        enabled: match get::<String>(row, "enabled")?.as_str() {
            "yes" => Enabled::Yes,
            "stolen" => Enabled::Stolen,
            _ => Enabled::Disabled,
        },
        record_by: RecordBy::from_text(&get::<String>(row, "record_by")?)
            .unwrap_or(RecordBy::Owner),
        streampoint: get::<Option<String>>(row, "streampoint")?
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(wrong("cameras", &name))?,
        allow_from: get::<Option<String>>(row, "allow_from")?
            .map(|list| list.split(',').map(str::parse).collect())
            .transpose()
            .map_err(wrong::<InvalidNetwork>("cameras", &name))?
            .unwrap_or_default(),
        id,
    })
}

fn source_of(
    row: &SqliteRow,
    id: &CameraId,
    name: SourceName,
    envelope: &Envelope,
) -> Result<Source, RowError> {
    let login = match (
        get::<Option<String>>(row, "login")?,
        get::<Option<Vec<u8>>>(row, "password")?,
    ) {
        (Some(user), Some(sealed)) => {
            let password = envelope
                .open(&context(id, name), &sealed)
                .map_err(wrong("sources", &id.to_string()))?;
            Some(Login {
                user,
                password: Masked::new(password),
            })
        }
        _ => None,
    };
    Ok(Source {
        path: get(row, "path")?,
        login,
        allow_basic: get(row, "allow_basic")?,
    })
}

/// Writes a record over what is there; claims and memories stay.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    envelope: &Envelope,
    camera: &Camera,
    new: bool,
) -> Result<(), WriteError> {
    let (tenant, name) = (camera.id.tenant().as_str(), camera.id.name());
    let insert = "INSERT INTO cameras (title, site, timezone, created, access, record, retention, enabled, record_by, streampoint, allow_from, tenant, name)
                  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let update = "UPDATE cameras SET title = ?, site = ?, timezone = ?, created = ?, access = ?, record = ?, retention = ?, enabled = ?, record_by = ?, streampoint = ?, allow_from = ?
                  WHERE tenant = ? AND name = ?";
    let written = sqlx::query(if new { insert } else { update })
        .bind(&camera.title)
        .bind(&camera.site)
        .bind(&camera.timezone)
        .bind(camera.created.as_millis())
        .bind(
            serde_json::to_string(&camera.access)
                .map_err(|error| sqlx::Error::Encode(error.into()))?,
        )
        .bind(match camera.record {
            Record::Main => "main",
            Record::Sub => "sub",
            Record::Off => "off",
        })
        .bind(camera.retention.to_string())
        .bind(match camera.enabled {
            Enabled::Yes => "yes",
            Enabled::Disabled => "disabled",
            Enabled::Stolen => "stolen",
        })
        .bind(camera.record_by.as_str())
        .bind(
            camera
                .streampoint
                .as_ref()
                .map(serde_json::to_string)
                .transpose()
                .map_err(|error| sqlx::Error::Encode(error.into()))?,
        )
        .bind(Some(listed(&camera.allow_from)).filter(|list| !list.is_empty()))
        .bind(tenant)
        .bind(name)
        .execute(&mut *connection)
        .await?;
    if written.rows_affected() == 0 {
        return Err(sqlx::Error::RowNotFound.into());
    }
    for table in [
        "DELETE FROM sources WHERE tenant = ? AND name = ?",
        "DELETE FROM camera_keys WHERE tenant = ? AND name = ?",
    ] {
        sqlx::query(table)
            .bind(tenant)
            .bind(name)
            .execute(&mut *connection)
            .await?;
    }
    let sources = [
        (SourceName::Main, Some(&camera.main)),
        (SourceName::Sub, camera.sub.as_ref()),
    ];
    for (which, source) in sources {
        let Some(source) = source else { continue };
        let sealed = source
            .login
            .as_ref()
            .map(|login| envelope.seal(&context(&camera.id, which), login.password.reveal()))
            .transpose()?;
        sqlx::query("INSERT INTO sources (tenant, name, source, path, login, password, allow_basic) VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind(tenant)
            .bind(name)
            .bind(which.as_str())
            .bind(&source.path)
            .bind(source.login.as_ref().map(|login| login.user.as_str()))
            .bind(sealed)
            .bind(source.allow_basic)
            .execute(&mut *connection)
            .await?;
    }
    for key in &camera.keys {
        sqlx::query(
            "INSERT INTO camera_keys (key, tenant, name, added, comment) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(key.key.blob())
        .bind(tenant)
        .bind(name)
        .bind(key.added.as_millis())
        .bind(&key.comment)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Why a record was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Seal(#[from] Unsealed),
}
