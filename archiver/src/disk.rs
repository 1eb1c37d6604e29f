//! The small blocking pool of the spool's disk.
//!
//! One disk gains nothing from more than a few writers at a time (docs/design: archive, *Fragment sync cost*), and cameras must not take
//! the runtime's whole blocking pool. Jobs run to their end even when nobody awaits them any more.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// Writers at a time: 8 threads give most of what the disk can sync (measured).
const WRITERS: usize = 8;

/// Clones share the pool.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    writers: Arc<Semaphore>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self {
            writers: Arc::new(Semaphore::new(WRITERS)),
        }
    }

    /// Runs a blocking job and awaits it. Waits for a writer that is free; dropping the future then starts nothing.
    ///
    /// # Errors
    /// If the runtime stops, or the job panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let writers = Arc::clone(&self.writers);
        let permit = writers.acquire_owned().await.map_err(io::Error::other)?;
        let work = move || {
            let done = job();
            drop(permit);
            done
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(io::Error::other)
    }

    /// Starts a job that nobody waits for: what a destructor needs. Outside a runtime it runs at once.
    pub(crate) fn submit(job: impl FnOnce() + Send + 'static) {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(job)),
            Err(_) => job(),
        }
    }
}

/// Whether the disk (or the quota) is full: a state, not a failure.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
