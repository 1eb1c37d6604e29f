//! Group commit: claims and memories that wait together are written in one transaction, so that 1,000 cameras that connect at once cost a
//! handful of syncs instead of 1,000.
//!
//! Owns: the bounded queue (4,096; full: the caller waits, within its deadline of 5 s) and its one task, which ends when the registry
//! closes, after what waits was written. An answer goes out after the commit, never before.

use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::{SharedClock, timeout};
use moorline_core::port::PortError;
use moorline_core::{CameraId, Generation, SessionId};
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{Row, Sqlite, Transaction};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::reserve::{Reserve, is_full};

/// All cameras of a large installation at once.
const QUEUE: usize = 4096;
/// In one transaction: a few milliseconds of work, so that no answer waits long for its neighbours.
const BATCH: usize = 256;
/// The deadline of the ports.
const DEADLINE: Duration = Duration::from_secs(5);

/// What is to be written.
#[derive(Debug)]
pub(crate) enum Write {
    /// The next generation for a session; answered with it, or with `None` when there is no such camera.
    Claim {
        camera: CameraId,
        session: SessionId,
    },
    /// The claim of this generation is given back.
    Release {
        camera: CameraId,
        generation: Generation,
    },
    /// A memory as JSON.
    Remember { camera: CameraId, body: String },
    /// The process lives at this instant, in milliseconds since the Unix epoch.
    Alive { at: i64 },
}

type Answer = Result<Option<Generation>, String>;

#[derive(Debug)]
struct Job {
    write: Write,
    answer: oneshot::Sender<Answer>,
}

/// The way to the task.
#[derive(Debug, Clone)]
pub(crate) struct GroupCommit {
    jobs: mpsc::Sender<Job>,
    clock: SharedClock,
}

impl GroupCommit {
    pub(crate) fn start(
        writer: SqlitePool,
        reserve: Arc<Reserve>,
        clock: SharedClock,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        tasks.spawn(run(writer, reserve, queue, stop.clone()));
        Self { jobs, clock }
    }

    /// Writes, within 5 s. A write that ran into its deadline may still be done.
    pub(crate) async fn write(
        &self,
        operation: &'static str,
        write: Write,
    ) -> Result<Option<Generation>, PortError> {
        let (answer, answered) = oneshot::channel();
        let closed = || PortError::new(operation, "the camera registry is closed");
        let done = async {
            let job = Job { write, answer };
            self.jobs.send(job).await.map_err(|_| closed())?;
            let answer = answered.await.map_err(|_| closed())?;
            answer.map_err(|cause| PortError::new(operation, cause))
        };
        timeout(&*self.clock, DEADLINE, done)
            .await
            .map_err(|late| PortError::new(operation, late))?
    }
}

async fn run(
    writer: SqlitePool,
    reserve: Arc<Reserve>,
    mut queue: mpsc::Receiver<Job>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let count = tokio::select! {
            count = queue.recv_many(&mut batch, BATCH) => count,
            () = stop.cancelled(), if !queue.is_closed() => {
                // What was accepted is still written; then recv_many gives 0.
                queue.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        // Nobody waits any more for a job that is past its deadline: a claim would only confuse its successor.
        batch.retain(|job| !job.answer.is_closed());
        let answers = commit(&writer, &reserve, &batch).await;
        for (job, answer) in batch.drain(..).zip(answers) {
            // The caller may have gone; the write stands.
            let _ = job.answer.send(answer);
        }
    }
}

/// One answer for each job. When the transaction as a whole fails, nothing was written and all get the same error.
async fn commit(writer: &SqlitePool, reserve: &Arc<Reserve>, batch: &[Job]) -> Vec<Answer> {
    let mut committed = together(writer, batch).await;
    if committed.as_ref().is_err_and(is_full) {
        let giving = Arc::clone(reserve);
        let given = tokio::task::spawn_blocking(move || giving.lend()).await;
        if given.unwrap_or(false) {
            committed = together(writer, batch).await;
        }
    }
    match committed {
        Ok(answers) => answers,
        Err(error) => vec![Err(error.to_string()); batch.len()],
    }
}

async fn together(writer: &SqlitePool, batch: &[Job]) -> Result<Vec<Answer>, sqlx::Error> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let mut answers = Vec::with_capacity(batch.len());
    for job in batch {
        // A statement that fails is undone alone; its neighbours stand.
        answers.push(
            one(&mut transaction, &job.write)
                .await
                .map_err(|error| error.to_string()),
        );
    }
    Transaction::<Sqlite>::commit(transaction).await?;
    Ok(answers)
}

async fn one(
    connection: &mut SqliteConnection,
    write: &Write,
) -> Result<Option<Generation>, sqlx::Error> {
    match write {
        Write::Claim { camera, session } => {
            let row = sqlx::query(
                "INSERT INTO claims (tenant, name, generation, session)
                 SELECT tenant, name, 1 + coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE meta.name = 'generation_floor'), 0), ?3
                 FROM cameras WHERE tenant = ?1 AND name = ?2
                 ON CONFLICT (tenant, name) DO UPDATE SET generation = generation + 1, session = excluded.session
                 RETURNING generation",
            )
            .bind(camera.tenant().as_str())
            .bind(camera.name())
            .bind(session.0.cast_signed())
            .fetch_optional(connection)
            .await?;
            let generation = row.map(|row| row.try_get::<i64, _>(0)).transpose()?;
            Ok(generation.map(|generation| Generation(generation.cast_unsigned())))
        }
        Write::Release { camera, generation } => {
            sqlx::query(
                "UPDATE claims SET session = NULL WHERE tenant = ? AND name = ? AND generation = ?",
            )
            .bind(camera.tenant().as_str())
            .bind(camera.name())
            .bind(generation.0.cast_signed())
            .execute(connection)
            .await?;
            Ok(None)
        }
        Write::Remember { camera, body } => {
            sqlx::query(
                "INSERT INTO memories (tenant, name, body) SELECT tenant, name, ?3 FROM cameras WHERE tenant = ?1 AND name = ?2
                 ON CONFLICT (tenant, name) DO UPDATE SET body = excluded.body",
            )
            .bind(camera.tenant().as_str())
            .bind(camera.name())
            .bind(body)
            .execute(connection)
            .await?;
            Ok(None)
        }
        Write::Alive { at } => {
            sqlx::query(
                "INSERT INTO meta (name, value) VALUES ('alive', ?)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )
            .bind(at.to_string())
            .execute(connection)
            .await?;
            Ok(None)
        }
    }
}
