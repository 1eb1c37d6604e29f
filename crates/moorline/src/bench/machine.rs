//! The machine that was measured on, and how busy others kept it: a number without both is a rumour.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

/// Others that used more of the machine than this, in percent of all cores, make a run noisy.
const NOISY: f64 = 5.0;
/// Clock ticks per second of `/proc/stat` (USER_HZ, 100 on every Linux that Rust's std supports).
const TICKS: f64 = 100.0;

/// What was measured on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// When the run began, RFC 3339.
    pub date: String,
    /// Processors that the system offers.
    pub cores: usize,
    /// The processor's name.
    pub cpu: String,
    /// The kernel's release.
    pub kernel: String,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Load average of the minute before the run.
    pub load_before: f64,
    /// Share of all cores that processes not of this run used during it, in percent.
    pub others_percent: f64,
    /// Share of all cores that the hypervisor took away, in percent.
    pub steal_percent: f64,
    /// Whether others were too busy for the numbers to be exact.
    pub noisy: bool,
}

/// A run that is being observed.
#[derive(Debug)]
pub struct Observation {
    machine: Machine,
    began: Ticks,
    own: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    busy: f64,
    steal: f64,
    all: f64,
}

impl Observation {
    /// Begins.
    pub fn begin() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let machine = Machine {
            date: jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%MZ")
                .to_string(),
            cores,
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_mib: field("/proc/meminfo", "MemTotal")
                .and_then(first_number)
                .unwrap_or(0)
                / 1024,
            load_before: text("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
            others_percent: 0.0,
            steal_percent: 0.0,
            noisy: false,
        };
        Self {
            machine,
            began: ticks(),
            own: own(),
        }
    }

    /// Ends: every process of the run must have been waited for, since only then its time counts as ours.
    pub fn end(self) -> Machine {
        let now = ticks();
        let all = (now.all - self.began.all).max(1.0);
        let others = (now.busy - self.began.busy) - (own() - self.own);
        let mut machine = self.machine;
        machine.others_percent = (others / all * 100.0).max(0.0);
        machine.steal_percent = (now.steal - self.began.steal) / all * 100.0;
        machine.noisy = machine.others_percent + machine.steal_percent > NOISY;
        machine
    }
}

/// CPU time of this process and of the children that it has waited for, in ticks.
fn own() -> f64 {
    cpu_ticks("self").into_iter().sum()
}

/// CPU time of a process with all its threads, and of its descendants, living or waited for. Its grain is 10 ms for a process of several threads;
/// one of a single thread is exact, since of 80 that each use 5 ms the ticks would tell nothing.
pub fn cpu(pid: u32) -> Duration {
    family(pid).into_iter().map(cpu_of).sum()
}

fn cpu_of(pid: u32) -> Duration {
    let [user, system, waited_user, waited_system] = cpu_ticks(pid);
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let exact = (threads == 1)
        .then(|| scheduled(Path::new(&format!("/proc/{pid}/schedstat"))))
        .flatten();
    let ticked = |ticks: f64| Duration::from_secs_f64(ticks / TICKS);
    exact.unwrap_or_else(|| ticked(user + system)) + ticked(waited_user + waited_system)
}

/// On-CPU time of one thread.
fn scheduled(file: &Path) -> Option<Duration> {
    let text = fs::read_to_string(file).ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

/// On-CPU time of a process with all its threads and of its living descendants, exact to the microsecond. Whatever ended takes its time along:
/// for measurements during which nothing of the family ends.
pub fn on_cpu(pid: u32) -> Duration {
    let threads = family(pid)
        .into_iter()
        .filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok())
        .flatten()
        .flatten();
    threads
        .filter_map(|thread| scheduled(&thread.path().join("schedstat")))
        .sum()
}

/// User and system time of a process, and of the children that it has waited for, in ticks.
fn cpu_ticks(pid: impl std::fmt::Display) -> [f64; 4] {
    let stat = text(&format!("/proc/{pid}/stat"));
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let mut fields = after_name.split(' ').skip(11);
    std::array::from_fn(|_| {
        let field = fields.next().and_then(|ticks| ticks.parse().ok());
        field.unwrap_or(0.0)
    })
}

/// Memory of a process and its descendants in KiB, shared pages by their share (PSS).
pub fn memory_kib(pid: u32) -> u64 {
    family(pid)
        .into_iter()
        .filter_map(|pid| field(&format!("/proc/{pid}/smaps_rollup"), "Pss"))
        .filter_map(first_number)
        .sum()
}

/// The process and all that descend from it.
fn family(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            let stat = text(&format!("/proc/{pid}/stat"));
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    family
}

fn ticks() -> Ticks {
    let stat = text("/proc/stat");
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let at = |index: usize| fields.get(index).copied().unwrap_or(0.0);
    // user nice system idle iowait irq softirq steal; guest time is within user time.
    let busy = at(0) + at(1) + at(2) + at(5) + at(6);
    Ticks {
        busy,
        steal: at(7),
        all: busy + at(3) + at(4) + at(7),
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = text(path);
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':')
        .map(|(_, value)| value.trim().to_owned())
}

fn first_number(text: String) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_family_of_itself() {
        let pid = std::process::id();
        assert!(family(pid).contains(&pid));
        assert!(memory_kib(pid) > 100, "{}", memory_kib(pid));
        assert!(on_cpu(pid) > Duration::ZERO);
        let machine = Observation::begin().end();
        assert!(machine.cores > 0 && machine.memory_mib > 0, "{machine:?}");
        assert!(!machine.kernel.is_empty());
    }
}
