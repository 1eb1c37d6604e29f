//! The small blocking pool of the spool's disk.
//!
//! One disk gains nothing from more than a few writers at a time (docs/design: archive, *Fragment sync cost*), and cameras must not take
//! the runtime's whole blocking pool. Jobs run to their end even when nobody awaits them any more.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tracing::Span;

/// Writers at a time: 8 threads give most of what the disk can sync (measured).
const WRITERS: usize = 8;

/// Readers at a time: uploads and whoever looks at what is recorded now. They have places of their own: on a slow disk they must not keep recorders
/// from theirs.
const READERS: usize = 4;

/// Clones share the pool.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    writers: Arc<Semaphore>,
    readers: Arc<Semaphore>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self {
            writers: Arc::new(Semaphore::new(WRITERS)),
            readers: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// Runs a blocking job that writes, and awaits it. Waits for a writer that is free; dropping the future then starts nothing.
    ///
    /// # Errors
    /// If the runtime stops, or the job panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        Self::on(&self.writers, job).await
    }

    /// The same for a job that only reads.
    ///
    /// # Errors
    /// As [`Disk::run`].
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        Self::on(&self.readers, job).await
    }

    async fn on<T: Send + 'static>(
        places: &Arc<Semaphore>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let places = Arc::clone(places);
        let permit = places.acquire_owned().await.map_err(io::Error::other)?;
        // What it logs names the camera and the generation for which it works.
        let span = Span::current();
        let work = move || {
            let done = span.in_scope(job);
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
            Ok(runtime) => {
                let span = Span::current();
                drop(runtime.spawn_blocking(move || span.in_scope(job)));
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[tokio::test]
    async fn who_reads_keeps_no_recorder_from_writing() {
        let disk = Disk::new();
        let hold = Arc::new(Barrier::new(READERS + 1));
        let readers: Vec<_> = (0..2 * READERS)
            .map(|number| {
                let (disk, hold) = (disk.clone(), Arc::clone(&hold));
                tokio::spawn(async move {
                    let read = disk.read(move || {
                        // The first of them hang.
                        if number < READERS {
                            hold.wait();
                        }
                    });
                    read.await.unwrap();
                })
            })
            .collect();
        for _ in 0..WRITERS {
            disk.run(|| ()).await.unwrap();
        }
        assert!(readers.iter().all(|reader| !reader.is_finished()));
        hold.wait();
        for reader in readers {
            reader.await.unwrap();
        }
    }
}
