//! How long the machine itself kept a test waiting.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::getpid;

use crate::child::descendants;

/// How long a thread sleeps that does nothing but look how long that took.
const NAP: Duration = Duration::from_millis(50);

/// For how long the threads of this process, and of all that it started, were ready to run and had no processor; and for how long the machine
/// as a whole stood still, which the kernel of a virtual one does not notice.
///
/// A bound in real time that a test asserts is about the product, not about what else the machine has to do: the test gives this on top
/// (`took < BOUND + starved.so_far()`). On a machine with nothing else to do it is next to nothing, and the bound stands as it is. So it does
/// for time that was spent waiting for a disk.
#[derive(Debug)]
pub struct Starved {
    began: Instant,
    before: BTreeMap<PathBuf, Duration>,
    /// In milliseconds.
    stood: Arc<AtomicU64>,
    /// The thread that looks ends with it.
    _looking: SyncSender<()>,
}

impl Starved {
    /// Counts from now on.
    #[must_use]
    pub fn begin() -> Self {
        let stood = Arc::new(AtomicU64::new(0));
        let (looking, ended) = sync_channel(0);
        let sum = Arc::clone(&stood);
        thread::spawn(move || look(&sum, &ended));
        Self {
            began: Instant::now(),
            before: waits(),
            stood,
            _looking: looking,
        }
    }

    /// The sum since the beginning, but no more than has passed: threads wait side by side. What a process that has ended waited is forgotten.
    #[must_use]
    pub fn so_far(&self) -> Duration {
        let more = waits().into_iter().map(|(thread, waited)| {
            let before = self.before.get(&thread).copied();
            waited.saturating_sub(before.unwrap_or_default())
        });
        let stood = Duration::from_millis(self.stood.load(Ordering::Relaxed));
        (more.sum::<Duration>() + stood).min(self.began.elapsed())
    }
}

/// Adds up by how much naps were longer than asked. What a timer is late by on any machine does not count, nor does what this thread itself waited
/// for a processor: that is in the sum of all threads.
fn look(stood: &AtomicU64, ended: &Receiver<()>) {
    let waited_so_far = || waited(Path::new("/proc/thread-self")).unwrap_or_default();
    loop {
        let (asleep, before) = (Instant::now(), waited_so_far());
        if ended.recv_timeout(NAP) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let counted = waited_so_far().saturating_sub(before);
        let late = asleep.elapsed().saturating_sub(NAP + counted);
        if late > NAP {
            let late = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            stood.fetch_add(late, Ordering::Relaxed);
        }
    }
}

/// By thread: how long it has waited for a processor since it began.
fn waits() -> BTreeMap<PathBuf, Duration> {
    let own = getpid();
    let mut family = descendants(own);
    family.push(own);
    let threads = family
        .into_iter()
        .filter_map(|pid| fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).ok());
    threads
        .flatten()
        .flatten()
        .filter_map(|thread| {
            let path = thread.path();
            let waited = waited(&path)?;
            Some((path, waited))
        })
        .collect()
}

/// The second number of `schedstat` is the time on a run queue, in nanoseconds (Linux, Documentation/scheduler/sched-stats).
fn waited(thread: &Path) -> Option<Duration> {
    let told = fs::read_to_string(thread.join("schedstat")).ok()?;
    let waited = told.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(waited))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn threads_that_share_a_processor_wait_for_it() {
        let starved = Starved::begin();
        if starved.before.is_empty() {
            return crate::skip("this kernel does not tell who waits for a processor");
        }
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let (over, deadline) = (AtomicBool::new(false), Duration::from_secs(30));
        thread::scope(|scope| {
            for _ in 0..=processors {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            while starved.so_far().is_zero() && starved.began.elapsed() < deadline {
                std::hint::spin_loop();
            }
            over.store(true, Ordering::Relaxed);
        });
        assert!(starved.began.elapsed() < deadline, "nobody had to wait");
    }
}
