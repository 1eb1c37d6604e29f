//! Follows what other processes change: asks for the number of the newest change, and reads the rows behind those that are new.
//!
//! Asking is one row of an index, four times a second: it works through every pooler, needs no connection of its own, and after an outage
//! nothing has to be set up again. A removed user is gone everywhere within half a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moorline_base::Backoff;
use moorline_base::clock::{SharedClock, sleep};
use tokio_util::sync::CancellationToken;

use super::rows::PostgresPeople;
use crate::books::Books;
use crate::people_store::StoreResult;

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(250);
/// After an outage of so long everything is read: changes are kept for an hour.
const WHOLE_AFTER: Duration = Duration::from_secs(600);
/// How often old changes are removed.
const PRUNE: Duration = Duration::from_secs(1800);

/// The state of following.
#[derive(Debug)]
pub(super) struct Follow {
    store: Arc<PostgresPeople>,
    books: Books,
    clock: SharedClock,
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    newest: i64,
    at: Instant,
}

impl Follow {
    pub(super) fn new(
        store: Arc<PostgresPeople>,
        books: Books,
        newest: i64,
        clock: SharedClock,
    ) -> Self {
        let at = clock.monotonic();
        Self {
            store,
            books,
            clock,
            seen: Mutex::new(Seen { newest, at }),
        }
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw(&self, newest: i64) {
        let at = self.clock.monotonic();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen { newest, at };
    }

    pub(super) fn behind(&self) -> Duration {
        self.clock
            .monotonic()
            .saturating_duration_since(self.seen().at)
    }

    pub(super) async fn run(&self, stop: CancellationToken) {
        let mut backoff = Backoff::standard();
        let mut pruned = self.clock.monotonic();
        let mut away = false;
        loop {
            let pause = if away { backoff.next_delay() } else { EVERY };
            if sleep(&*self.clock, pause, &stop).await.is_cancelled() {
                return;
            }
            // A database that hangs must not delay the stop: nothing is half done by a read.
            let step = tokio::select! {
                () = stop.cancelled() => return,
                step = self.step() => step,
            };
            match step {
                Ok(()) if away => {
                    tracing::info!("the people's database answers again");
                    (away, backoff) = (false, Backoff::standard());
                }
                Ok(()) => {}
                Err(error) => {
                    if !away {
                        tracing::warn!(%error, "the people's database does not answer: who is known stays known");
                    }
                    away = true;
                    continue;
                }
            }
            let now = self.clock.monotonic();
            if now.saturating_duration_since(pruned) >= PRUNE {
                pruned = now;
                if let Err(error) = self.store.prune_changes().await {
                    tracing::warn!(%error, "old changes were not removed; it is tried again");
                }
            }
        }
    }

    async fn step(&self) -> StoreResult<()> {
        let seen = self.seen();
        let newest = self.store.newest().await?;
        let is_recent = self.behind() < WHOLE_AFTER;
        if newest == seen.newest && is_recent {
            self.saw(newest);
            return Ok(());
        }
        // What is changed here meanwhile waits, so that nothing older than it is shown after it.
        let _turn = self.books.people.turn.lock().await;
        let changed = if is_recent {
            self.store.since(seen.newest).await?
        } else {
            None
        };
        match changed {
            Some(changed) => {
                let logins = Some(changed.logins.as_slice());
                self.books.people.apply(logins, &changed.rows.people);
                self.books.sessions.apply(logins, &changed.rows.sessions);
                self.saw(changed.newest);
            }
            None => {
                let all = self.store.all().await?;
                self.books.people.apply(None, &all.rows.people);
                self.books.sessions.apply(None, &all.rows.sessions);
                self.saw(all.newest);
            }
        }
        Ok(())
    }
}
