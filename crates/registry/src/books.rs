//! The books of people together: users, web sessions and audit over one store, and what keeps them up.

use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::{SharedClock, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::AuditLog;
use crate::cameras::RowError;
use crate::envelope::Envelope;
use crate::people::People;
use crate::people_store::{PeopleStore, Rows};
use crate::sessions::SessionBook;
use crate::users::UserBook;

/// How often used sessions are written and old entries removed.
const MAINTENANCE: Duration = Duration::from_secs(600);

/// The three books.
#[derive(Debug, Clone)]
pub(crate) struct Books {
    /// For whoever follows what other replicas write.
    #[cfg(feature = "postgres")]
    pub(crate) people: Arc<People>,
    pub(crate) users: Arc<UserBook>,
    pub(crate) sessions: Arc<SessionBook>,
    pub(crate) audit: Arc<AuditLog>,
}

impl Books {
    /// Opens them with the rows that were read. Their tasks end with `stop`, after what waits was written.
    pub(crate) fn open(
        store: Arc<dyn PeopleStore>,
        rows: &Rows,
        envelope: Arc<Envelope>,
        clock: &SharedClock,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Self, RowError> {
        let people = Arc::new(People::new(&rows.people, envelope)?);
        let sessions = SessionBook::new(
            Arc::clone(&store),
            Arc::clone(&people),
            &rows.sessions,
            clock.clone(),
        );
        let sessions = Arc::new(sessions);
        let users = UserBook::new(
            Arc::clone(&store),
            Arc::clone(&people),
            Arc::clone(&sessions),
            clock.clone(),
        );
        let audit = AuditLog::start(store, Arc::clone(&people), stop, tasks);
        let books = Self {
            #[cfg(feature = "postgres")]
            people,
            users: Arc::new(users),
            sessions,
            audit: Arc::new(audit),
        };
        tasks.spawn(books.clone().maintain(clock.clone(), stop.clone()));
        Ok(books)
    }

    async fn maintain(self, clock: SharedClock, stop: CancellationToken) {
        loop {
            let over = sleep(&*clock, MAINTENANCE, &stop).await.is_cancelled();
            if let Err(error) = self.sessions.flush().await {
                tracing::warn!(%error, "web sessions were not written; they are tried again");
            }
            if over {
                return;
            }
            if let Err(error) = self.audit.prune().await {
                tracing::warn!(%error, "the audit was not pruned; it is tried again");
            }
        }
    }
}
