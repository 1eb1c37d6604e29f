//! Who descends from whom, and who has ended.

use std::time::{Duration, Instant};

use rustix::process::Pid;

/// What descends from a process, by the parents that `/proc` names.
pub(crate) fn descendants(root: Pid) -> Vec<Pid> {
    let parent_of = |pid: i32| -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before may hold anything; the last parenthesis ends it. State and parent follow.
        stat.rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    let pids: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    let mut family = vec![root.as_raw_nonzero().get()];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(
            pids.iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    family
        .into_iter()
        .skip(1)
        .filter_map(Pid::from_raw)
        .collect()
}

/// Waits until none of these runs any more, at most for so long: a killed process that waits for a disk ends when the disk has answered.
pub(super) fn wait_for_ends(pids: &[Pid], within: Duration) {
    let begin = Instant::now();
    while pids.iter().any(|pid| runs(*pid)) && begin.elapsed() < within {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a thread of it has not ended yet. One that waits to be reaped has.
fn runs(pid: Pid) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    threads.into_iter().flatten().flatten().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    })
}
