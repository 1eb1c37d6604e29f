//! How long the machine itself kept a test waiting.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::getpid;

use crate::child::descendants;

/// For how long the threads of this process, and of all that it started, were ready to run and had no processor; and for how long whoever it
/// was on this machine waited for a disk, or another machine of the same host had our processors.
///
/// A bound in real time that a test asserts is about the product, not about what else the machine has to do: the test gives this on top
/// (`took < BOUND + starved.so_far()`). On a machine with nothing else to do it is next to nothing, and the bound stands as it is. So it does
/// where the kernel does not tell.
#[derive(Debug)]
pub struct Starved {
    began: Instant,
    before: BTreeMap<PathBuf, Duration>,
    machine_before: Duration,
}

impl Starved {
    /// Counts from now on.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            before: waits(),
            machine_before: machine_waits(),
        }
    }

    /// The sum since the beginning, but no more than has passed: threads wait side by side. What a process that has ended waited is forgotten.
    #[must_use]
    pub fn so_far(&self) -> Duration {
        let machine = machine_waits().saturating_sub(self.machine_before);
        (self.threads() + machine).min(self.began.elapsed())
    }

    fn threads(&self) -> Duration {
        let more = waits().into_iter().map(|(thread, waited)| {
            let before = self.before.get(&thread).copied();
            waited.saturating_sub(before.unwrap_or_default())
        });
        more.sum()
    }
}

/// What the machine tells of all that runs on it.
fn machine_waits() -> Duration {
    disk().unwrap_or_default() + stolen().unwrap_or_default()
}

/// `total` of `some`: the time in which anybody waited for a disk, in microseconds (Linux, Documentation/accounting/psi).
fn disk() -> Option<Duration> {
    let told = fs::read_to_string("/proc/pressure/io").ok()?;
    let some = told.lines().find(|line| line.starts_with("some "))?;
    let (_, total) = some.rsplit_once("total=")?;
    Some(Duration::from_micros(total.parse().ok()?))
}

/// The eighth number of the first line of `stat`: what the host gave to others, in hundredths of a second (proc_stat(5)).
fn stolen() -> Option<Duration> {
    let told = fs::read_to_string("/proc/stat").ok()?;
    let ticks = told.lines().next()?.split_whitespace().nth(8)?;
    Some(Duration::from_millis(10 * ticks.parse::<u64>().ok()?))
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
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn threads_that_share_a_processor_wait_for_it() {
        let starved = Starved::begin();
        if starved.before.is_empty() {
            return crate::skip("this kernel does not tell who waits for a processor");
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let (over, deadline) = (AtomicBool::new(false), Duration::from_secs(30));
        std::thread::scope(|scope| {
            for _ in 0..=processors {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            while starved.threads().is_zero() && starved.began.elapsed() < deadline {
                std::hint::spin_loop();
            }
            over.store(true, Ordering::Relaxed);
        });
        assert!(starved.began.elapsed() < deadline, "nobody had to wait");
    }
}
