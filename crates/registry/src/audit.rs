//! The audit (rule S35): append-only, also in the log.
//!
//! Owns: the table, which refuses changes of entries; a bounded queue (1,024; full: the entry is in the log alone, and counted there) and
//! its one task, which ends when the registry closes, after what waits was written. Old entries go by number: the newest 200,000 stay, and
//! of failed sign-ins and of takeovers the newest 20,000, of views the newest 60,000.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use moorline_base::Untrusted;
use moorline_core::port::{Audit, AuditEntry, AuditEvent, AuditFilter, PortError};
use moorline_core::{CameraId, TenantId, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::failed;
use crate::people::People;
use crate::people_store::{AuditBounds, AuditRow, AuditWanted, PeopleStore};

/// Entries that wait.
const QUEUE: usize = 1_024;
/// Entries in one transaction.
const BATCH: usize = 256;
/// The most that one read gives.
const READ: u32 = 1_000;
/// Entries that are kept.
const KEPT: i64 = 200_000;
/// Of what comes without a person's doing only so many are kept: sign-ins that strangers try, tunnels that flap, players that come back by
/// themselves.
const FLOODS: [(AuditEvent, i64); 3] = [
    (AuditEvent::SignInFailed, 20_000),
    (AuditEvent::Takeover, 20_000),
    (AuditEvent::View, 60_000),
];
/// The longest actor or subject, in characters.
const TEXT: usize = 256;

#[derive(Debug)]
enum Job {
    Entry(TenantId, AuditEntry),
    /// Answered when all that came before is written.
    Written(oneshot::Sender<()>),
}

/// `Audit` over the registry.
#[derive(Debug)]
pub struct AuditLog {
    jobs: mpsc::Sender<Job>,
    people: Arc<People>,
    store: Arc<dyn PeopleStore>,
    unwritten: AtomicU64,
}

impl AuditLog {
    pub(crate) fn start(
        store: Arc<dyn PeopleStore>,
        people: Arc<People>,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        tasks.spawn(run(Arc::clone(&store), queue, stop.clone()));
        Self {
            jobs,
            people,
            store,
            unwritten: AtomicU64::new(0),
        }
    }

    /// Removes the oldest entries beyond the bounds.
    pub(crate) async fn prune(&self) -> Result<(), PortError> {
        for (event, kept) in FLOODS {
            let bounds = AuditBounds {
                all: KEPT,
                flood: (event.as_str(), kept),
            };
            let pruned = self.store.prune_audit(bounds).await;
            pruned.map_err(failed("prune the audit"))?;
        }
        Ok(())
    }

    /// Whose audit an entry belongs to: the tenant of the camera or user that it is about, else of who did it, else the operator's. What a stranger
    /// typed as a login belongs to a tenant only if it is one of its users, whatever else it names.
    fn tenant_of(&self, entry: &AuditEntry) -> TenantId {
        let user = |login: &str| {
            let person = self.people.get(login);
            person.map(|person| person.user.tenant.clone())
        };
        if entry.event == AuditEvent::SignInFailed {
            return user(&entry.actor).unwrap_or_else(TenantId::home);
        }
        let of = |text: &str| {
            let camera = |word: &str| {
                word.contains('/')
                    .then(|| word.parse::<CameraId>().ok())
                    .flatten()
            };
            let mut words = text.split_whitespace();
            let named = words.find_map(|word| camera(word).map(|camera| camera.tenant().clone()));
            named.or_else(|| user(text))
        };
        of(&entry.subject)
            .or_else(|| of(&entry.actor))
            .unwrap_or_else(TenantId::home)
    }
}

#[async_trait]
impl Audit for AuditLog {
    fn write(&self, mut entry: AuditEntry) {
        for text in [&mut entry.actor, &mut entry.subject] {
            if let Some((end, _)) = text.char_indices().nth(TEXT) {
                text.truncate(end);
            }
        }
        let (actor, subject) = (Untrusted::new(&entry.actor), Untrusted::new(&entry.subject));
        tracing::info!(target: "audit", at = %entry.at, %actor, event = entry.event.as_str(), %subject, "audit");
        let tenant = self.tenant_of(&entry);
        if self.jobs.try_send(Job::Entry(tenant, entry)).is_err() {
            let unwritten = self.unwritten.fetch_add(1, Ordering::Relaxed) + 1;
            // Once for each power of two: a flood must not double itself in the log.
            if unwritten.is_power_of_two() {
                tracing::warn!(
                    unwritten,
                    "audit entries are in the log alone: the queue is full"
                );
            }
        }
    }

    async fn read(
        &self,
        tenant: &TenantId,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, PortError> {
        let (written, done) = oneshot::channel();
        // After close nothing waits any more, and the table is read as it is.
        if self.jobs.send(Job::Written(written)).await.is_ok() {
            let _ = done.await;
        }
        let rows = self
            .store
            .read_audit(tenant.as_str(), &AuditWanted::of(filter), limit.min(READ))
            .await;
        let rows = rows.map_err(failed("read the audit"))?;
        Ok(rows.into_iter().filter_map(entry_of).collect())
    }
}

/// `None`: an event that a later version knows.
fn entry_of(row: AuditRow) -> Option<AuditEntry> {
    let mut known = AuditEvent::ALL.into_iter();
    let event = known.find(|known| known.as_str() == row.event)?;
    Some(AuditEntry {
        at: Timestamp::from_millis(row.at),
        actor: row.actor,
        event,
        subject: row.subject,
    })
}

fn row_of(tenant: &TenantId, entry: &AuditEntry) -> AuditRow {
    AuditRow {
        at: entry.at.as_millis(),
        tenant: tenant.to_string(),
        actor: entry.actor.clone(),
        event: entry.event.as_str().to_owned(),
        subject: entry.subject.clone(),
    }
}

async fn run(store: Arc<dyn PeopleStore>, mut queue: mpsc::Receiver<Job>, stop: CancellationToken) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let count = tokio::select! {
            count = queue.recv_many(&mut batch, BATCH) => count,
            () = stop.cancelled(), if !queue.is_closed() => {
                queue.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        let entries: Vec<AuditRow> = batch
            .iter()
            .filter_map(|job| match job {
                Job::Entry(tenant, entry) => Some(row_of(tenant, entry)),
                Job::Written(_) => None,
            })
            .collect();
        if !entries.is_empty()
            && let Err(error) = store.append(&entries).await
        {
            tracing::warn!(%error, entries = entries.len(), "audit entries are in the log alone");
        }
        for job in batch.drain(..) {
            if let Job::Written(written) = job {
                let _ = written.send(());
            }
        }
    }
}
