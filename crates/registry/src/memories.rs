//! What the monitor must know again after a restart (promise P4), as one JSON text per camera.

use std::net::IpAddr;

use async_trait::async_trait;
use moorline_core::alarm::Notice;
use moorline_core::port::{Memories, Memory, PortError};
use moorline_core::status::OpenGap;
use moorline_core::{CameraId, Cause, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use crate::error::failed;
use crate::group::{GroupCommit, Write};

/// The greatest number of remembered gaps; older ones merge.
const GAPS: usize = 1_000;

/// `Memories` over the registry.
#[derive(Debug)]
pub struct MemoryBook {
    group: GroupCommit,
    reader: SqlitePool,
}

/// The stored form. Times are milliseconds since the Unix epoch.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    durable_until: Option<i64>,
    gaps: Vec<(i64, Cause, Option<i64>)>,
    alarmed_since: Option<i64>,
    // What follows is not in what an older Moorline wrote.
    #[serde(default)]
    recorded_until: Option<i64>,
    #[serde(default)]
    networks: Vec<IpAddr>,
    #[serde(default)]
    clients: Vec<String>,
    #[serde(default)]
    notices: Vec<Notice>,
}

impl MemoryBook {
    pub(crate) fn new(group: GroupCommit, reader: SqlitePool) -> Self {
        Self { group, reader }
    }
}

#[async_trait]
impl Memories for MemoryBook {
    async fn load(&self) -> Result<Vec<(CameraId, Memory)>, PortError> {
        let rows =
            sqlx::query("SELECT tenant || '/' || name, body FROM memories ORDER BY tenant, name")
                .fetch_all(&self.reader)
                .await
                .map_err(failed("read the memories of cameras"))?;
        let alive = sqlx::query("SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'alive'")
            .fetch_optional(&self.reader)
            .await
            .map_err(failed("read when the process lived last"))?;
        let alive = alive
            .and_then(|row| row.try_get::<i64, _>(0).ok())
            .map(Timestamp::from_millis);
        let memories = rows.iter().filter_map(read);
        let with_alive = |(camera, memory)| {
            let memory = Memory {
                alive_until: alive,
                ..memory
            };
            (camera, memory)
        };
        Ok(memories.map(with_alive).collect())
    }

    async fn alive(&self, at: Timestamp) -> Result<(), PortError> {
        let write = Write::Alive { at: at.as_millis() };
        self.group
            .write("note that the process lives", write)
            .await
            .map(|_| ())
    }

    async fn store(&self, camera: &CameraId, memory: &Memory) -> Result<(), PortError> {
        let operation = "remember a camera";
        let body = serde_json::to_string(&to_stored(memory))
            .map_err(|error| PortError::new(operation, error))?;
        let write = Write::Remember {
            camera: camera.clone(),
            body,
        };
        self.group.write(operation, write).await.map(|_| ())
    }
}

/// A memory that cannot be read is told and left out: the camera is served without it, as after its first start.
fn read(row: &SqliteRow) -> Option<(CameraId, Memory)> {
    let camera = row.try_get::<String, _>(0).ok()?;
    let body = row.try_get::<String, _>(1).unwrap_or_default();
    match (camera.parse(), serde_json::from_str(&body)) {
        (Ok(id), Ok(stored)) => Some((id, from_stored(stored))),
        (_, Err(error)) => {
            tracing::warn!(%camera, %error, "what was remembered of a camera cannot be read and is forgotten");
            None
        }
        (Err(error), _) => {
            tracing::warn!(%camera, %error, "what was remembered of a camera cannot be read and is forgotten");
            None
        }
    }
}

fn to_stored(memory: &Memory) -> Stored {
    let mut gaps: Vec<_> = memory
        .gaps
        .iter()
        .map(|(gap, end)| {
            (
                gap.since.as_millis(),
                gap.cause,
                end.map(Timestamp::as_millis),
            )
        })
        .collect();
    if gaps.len() > GAPS {
        let rest = gaps.split_off(gaps.len() - (GAPS - 1));
        // The oldest become one stretch under the cause of the first: nothing goes unexplained, only less finely.
        let end = gaps.last().and_then(|(_, _, end)| *end);
        gaps.truncate(1);
        if let Some(merged) = gaps.first_mut() {
            merged.2 = end;
        }
        gaps.extend(rest);
    }
    Stored {
        durable_until: memory.durable_until.map(Timestamp::as_millis),
        gaps,
        alarmed_since: memory.alarmed_since.map(Timestamp::as_millis),
        recorded_until: memory.recorded_until.map(Timestamp::as_millis),
        networks: memory.networks.clone(),
        clients: memory.clients.clone(),
        notices: memory.notices.clone(),
    }
}

fn from_stored(stored: Stored) -> Memory {
    let gap = |(since, cause, end): (i64, Cause, Option<i64>)| {
        let since = Timestamp::from_millis(since);
        (OpenGap { since, cause }, end.map(Timestamp::from_millis))
    };
    Memory {
        durable_until: stored.durable_until.map(Timestamp::from_millis),
        gaps: stored.gaps.into_iter().map(gap).collect(),
        alarmed_since: stored.alarmed_since.map(Timestamp::from_millis),
        recorded_until: stored.recorded_until.map(Timestamp::from_millis),
        networks: stored.networks,
        clients: stored.clients,
        notices: stored.notices,
        alive_until: None,
    }
}
