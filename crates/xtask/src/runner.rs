//! Runs each test in a process of its own, several at once.
//!
//! So a test that hangs is killed with what it started and the rest goes on, and a crash is one failure. Plain `cargo test` runs the
//! same tests in one process per program; both must pass. No test is tried twice.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::Read as _,
    process::{Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    process::kill_family,
    report::{Report, Verdict},
    suite::Program,
};

/// One test.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) program: Program,
    pub(crate) test: String,
}

/// After how long a test is killed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) test: Duration,
    /// For tests of the long tier; `None` where it does not run.
    pub(crate) long: Option<Duration>,
}

/// How tests are run.
#[derive(Debug)]
pub(crate) struct Conditions {
    /// How many run at once.
    pub(crate) jobs: usize,
    pub(crate) limits: Limits,
    /// A program and its arguments that start the test; empty where it is started as it is.
    pub(crate) through: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

/// The names of a program's tests.
pub(crate) fn list(program: &Program) -> Result<Vec<String>> {
    let output = Command::new(&program.executable)
        .args(["--list", "--format", "terse"])
        .current_dir(&program.directory)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect())
}

/// Runs all of them and tells how each program fared.
pub(crate) fn run(cases: &[Case], conditions: &Conditions, report: &mut Report) {
    let next = AtomicUsize::new(0);
    let (done, results) = mpsc::sync_channel(conditions.jobs);
    let mut left: BTreeMap<&str, (usize, usize, Duration)> = BTreeMap::new();
    for case in cases {
        let entry = left.entry(&case.program.name).or_default();
        entry.0 += 1;
        entry.1 += 1;
    }
    std::thread::scope(|scope| {
        for _ in 0..conditions.jobs {
            let done = done.clone();
            let next = &next;
            scope.spawn(move || {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let outcome = judge(case, conditions);
                    if done.send((case, outcome, start.elapsed())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        for (finished, (case, outcome, took)) in results.iter().enumerate() {
            let outcome =
                outcome.unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")).into());
            for peer in &outcome.peers {
                report.met(peer);
            }
            // Of a failure everything is shown.
            if outcome.verdict == Verdict::Passed {
                for line in &outcome.measured {
                    println!("    MEASURED {line}");
                }
            }
            report.add(
                &format!("{} {}", case.program.name, case.test),
                outcome.verdict,
                took,
            );
            if let Some((open, all, total)) = left.get_mut(case.program.name.as_str()) {
                *open -= 1;
                *total += took;
                if *open == 0 {
                    let seconds = total.as_secs_f64();
                    println!(
                        "    [{}/{}] {}: {all} tests, {seconds:.1} s",
                        finished + 1,
                        cases.len(),
                        case.program.name
                    );
                }
            }
        }
    });
}

/// Runs one test, in the long tier also if it is marked for it.
fn judge(case: &Case, conditions: &Conditions) -> Result<Outcome> {
    let limits = conditions.limits;
    let first = execute(case, &[], limits.test, conditions)?;
    let Some(reason) = first.ignored_because() else {
        return Ok(first.outcome());
    };
    match limits.long {
        Some(long) if reason.starts_with("long") => {
            Ok(execute(case, &["--ignored"], long, conditions)?.outcome())
        }
        _ => Ok(Verdict::Skipped(reason).into()),
    }
}

/// What a test's output comes to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    verdict: Verdict,
    /// The peers that it met.
    peers: Vec<String>,
    /// What it measured: nothing is asserted of it.
    measured: Vec<String>,
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict,
            peers: Vec::new(),
            measured: Vec::new(),
        }
    }
}

/// What a test process said.
struct Ended {
    succeeded: bool,
    /// Set when it was killed.
    overdue: Option<Duration>,
    output: String,
}

fn execute(case: &Case, extra: &[&str], limit: Duration, conditions: &Conditions) -> Result<Ended> {
    // One file for both streams keeps them in order and cannot block the test.
    let mut output = tempfile()?;
    let mut words = conditions.through.iter().cloned().chain([case
        .program
        .executable
        .clone()
        .into()]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command
        .args(words)
        .args(["--exact", &case.test, "--nocapture", "--color=never"])
        .args(extra)
        .current_dir(&case.program.directory)
        .env("CARGO_MANIFEST_DIR", &case.program.directory)
        .envs(conditions.environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?);
    let mut child = command.spawn().context("cannot start the test")?;
    let pid = child.id();
    // The guardian waits for the end of the test or for the limit, whichever comes first.
    let (ended, guard) = mpsc::channel::<()>();
    let (status, overdue) = std::thread::scope(|scope| {
        let guardian = scope.spawn(move || {
            let overdue = guard.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if overdue {
                kill_family(pid);
            }
            overdue
        });
        let status = child.wait();
        drop(ended);
        (status, guardian.join().unwrap_or(false))
    });
    let status = status?;
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut output)?;
    output.read_to_end(&mut bytes)?;
    Ok(Ended {
        succeeded: status.success(),
        overdue: overdue.then_some(limit),
        output: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// An open file without a name: nothing is left behind.
fn tempfile() -> Result<File> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("moorline-xtask-{}-{number}", std::process::id()));
    let file = File::options()
        .create_new(true)
        .read(true)
        .append(true)
        .open(&path);
    let file = file.with_context(|| format!("cannot make {}", path.display()))?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

impl Ended {
    /// The reason in `test name ... ignored, reason`, if the test was not run.
    fn ignored_because(&self) -> Option<String> {
        let line = self
            .output
            .lines()
            .find(|line| line.starts_with("test ") && line.contains("... ignored"))?;
        let (_, rest) = line.split_once("... ignored")?;
        Some(rest.trim_start_matches(", ").to_owned())
    }

    fn outcome(self) -> Outcome {
        let after = |prefix: &'static str| {
            move |line: &str| {
                line.find(prefix)
                    .and_then(|at| line.get(at + prefix.len()..))
                    .map(str::to_owned)
            }
        };
        let lines = || self.output.lines();
        let peers = lines().filter_map(after("PEER ")).collect();
        let measured = lines().filter_map(after("MEASURED ")).collect();
        let skipped = lines().find_map(after("SKIPPED "));
        let verdict = if let Some(limit) = self.overdue {
            Verdict::Failed(format!("{}\nkilled after {limit:?}", self.output))
        } else if !self.succeeded {
            Verdict::Failed(self.output)
        } else {
            let reason = skipped.map(|line| {
                line.split_once(": ")
                    .map_or(line.clone(), |(_, reason)| reason.to_owned())
            });
            reason.map_or(Verdict::Passed, Verdict::Skipped)
        };
        Outcome {
            verdict,
            peers,
            measured,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(succeeded: bool, output: &str) -> Ended {
        Ended {
            succeeded,
            overdue: None,
            output: output.to_owned(),
        }
    }

    #[test]
    fn verdicts_are_read_from_what_a_test_prints() {
        assert_eq!(
            ended(true, "test a ... ok").outcome(),
            Outcome::from(Verdict::Passed)
        );
        let skipped =
            "test a ... PEER ffmpeg 5.1.9\nSKIPPED a::b: live555 cannot be had here: no mirror\nok";
        assert_eq!(
            ended(true, skipped).outcome(),
            Outcome {
                verdict: Verdict::Skipped("live555 cannot be had here: no mirror".to_owned()),
                peers: vec!["ffmpeg 5.1.9".to_owned()],
                measured: vec![],
            }
        );
        assert_eq!(
            ended(true, "MEASURED boot to tunnel: 6.3 s\ntest a ... ok").outcome(),
            Outcome {
                measured: vec!["boot to tunnel: 6.3 s".to_owned()],
                ..Outcome::from(Verdict::Passed)
            }
        );
        assert_eq!(
            ended(false, "boom").outcome(),
            Outcome::from(Verdict::Failed("boom".to_owned()))
        );
        let ignored = ended(
            true,
            "running 1 test\ntest a ... ignored, long: real hours\n",
        );
        assert_eq!(
            ignored.ignored_because().as_deref(),
            Some("long: real hours")
        );
        assert_eq!(ended(true, "test a ... ok").ignored_because(), None);
    }
}
