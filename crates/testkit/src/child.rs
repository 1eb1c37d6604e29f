//! Processes of tests: started with their output captured, signalled by pid, gone when dropped.
//!
//! What a child started goes with it (a browser's renderers, a shell's pipeline). Children stay in the process group of the test, so
//! that Ctrl-C on a terminal reaches them too. Standard input stays open until [`Child::close_stdin`]. Output is kept as lines, the
//! newest 10,000 of them; older ones are dropped.

use std::{
    process::{ExitStatus, Output, Stdio},
    sync::Arc,
    time::Duration,
};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tokio::{
    io::AsyncWriteExt as _,
    process::{ChildStdin, Command},
};

use crate::{Error, patience};

mod family;
mod output;

pub(crate) use family::descendants;
use output::{Captured, capture};

/// What a process said last is waited for so long, since somebody that it left behind may hold its output open.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long the end of a killed process is waited for.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A running process.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: tokio::process::Child,
    stdin: Option<ChildStdin>,
    captured: Arc<Captured>,
}

impl Child {
    /// Starts `command`; `name` stands in errors.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(name: impl Into<String>, mut command: Command) -> Result<Self, Error> {
        let name = name.into();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command
            .spawn()
            .map_err(|source| Error::io(format!("start {name}"), source))?;
        let captured = Arc::new(Captured::new());
        if let (Some(stdout), Some(stderr)) = (process.stdout.take(), process.stderr.take()) {
            tokio::spawn(capture(stdout, Arc::clone(&captured)));
            tokio::spawn(capture(stderr, Arc::clone(&captured)));
        }
        Ok(Self {
            name,
            stdin: process.stdin.take(),
            process,
            captured,
        })
    }

    /// The process id; `None` once its end was seen.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// The lines so far, of both streams in the order of arrival.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.captured.lock().kept.iter().cloned().collect()
    }

    /// How many lines came so far: a mark for [`Child::wait_for_after`].
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.captured.progress.borrow().0
    }

    /// Waits for a line, past or future, that contains `pattern`.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `deadline`; [`Error::Ended`] when the output ends first. Both show the last lines.
    pub async fn wait_for_line(&self, pattern: &str, deadline: Duration) -> Result<String, Error> {
        let what = format!("the line {pattern:?}");
        self.wait_for_after(0, &what, deadline, |line| {
            line.contains(pattern).then(|| line.to_owned())
        })
        .await
    }

    /// Waits for the first line after `mark` from which `pick` takes a value.
    ///
    /// # Errors
    /// As [`Child::wait_for_line`].
    pub async fn wait_for_after<T>(
        &self,
        mark: u64,
        what: &str,
        deadline: Duration,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let deadline = patience(deadline);
        let mut progress = self.captured.progress.subscribe();
        let mut next = mark;
        let search = async {
            loop {
                let (seen, open) = *progress.borrow_and_update();
                {
                    let lines = self.captured.lock();
                    let skip =
                        usize::try_from(next.saturating_sub(lines.first)).unwrap_or(usize::MAX);
                    if let Some(value) = lines.kept.iter().skip(skip).find_map(|line| pick(line)) {
                        return Ok(value);
                    }
                    next = seen.max(lines.first);
                }
                if open == 0 {
                    return Err(Error::Ended {
                        name: self.name.clone(),
                        status: None,
                        what: what.to_owned(),
                        detail: self.tail(),
                    });
                }
                if progress.changed().await.is_err() {
                    continue;
                }
            }
        };
        tokio::time::timeout(deadline, search)
            .await
            .unwrap_or_else(|_| {
                Err(Error::Timeout {
                    what: format!("{}: {what}", self.name),
                    patience: deadline,
                    detail: self.tail(),
                })
            })
    }

    /// Writes to standard input.
    ///
    /// # Errors
    /// When it is closed.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let operation = || format!("write to {}", self.name);
        let Some(stdin) = self.stdin.as_mut() else {
            return Err(Error::io(
                operation(),
                std::io::ErrorKind::BrokenPipe.into(),
            ));
        };
        let written = async {
            stdin.write_all(bytes).await?;
            stdin.flush().await
        };
        written
            .await
            .map_err(|source| Error::io(operation(), source))
    }

    /// Closes standard input: the peer sees its end.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends `signal` to this process alone (not to what it started). Nothing happens once its end was seen.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.raw_pid() {
            let _ = kill_process(pid, signal);
        }
    }

    /// Freezes the process as a dead network freezes a camera: its sockets stay open, nothing is read or sent.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Freezes it with all that it has started: no process of a server of many serves on.
    pub fn freeze_family(&self) {
        self.signal_family(Signal::STOP);
    }

    /// Lets them go on.
    pub fn thaw_family(&self) {
        self.signal_family(Signal::CONT);
    }

    /// Waits for the end of the process, and for the lines that it said last.
    ///
    /// # Errors
    /// [`Error::Timeout`] when it still runs after `deadline`; it goes on running.
    pub async fn wait(&mut self, deadline: Duration) -> Result<ExitStatus, Error> {
        let deadline = patience(deadline);
        match tokio::time::timeout(deadline, self.process.wait()).await {
            Ok(status) => {
                last_words(Arc::clone(&self.captured)).await;
                status.map_err(|source| Error::io(format!("wait for {}", self.name), source))
            }
            Err(_) => Err(Error::Timeout {
                what: format!("the end of {}", self.name),
                patience: deadline,
                detail: self.tail(),
            }),
        }
    }

    /// Kills the process with what it started, and waits until it is gone: nobody who looks after this finds it running.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub async fn kill(mut self, deadline: Duration) -> Result<ExitStatus, Error> {
        self.kill_family();
        self.wait(deadline).await
    }

    /// Asks the process to end (SIGTERM) and waits for it; after `deadline` it is killed with what it started.
    ///
    /// # Errors
    /// [`Error::Timeout`] when it had to be killed.
    pub async fn end(mut self, deadline: Duration) -> Result<ExitStatus, Error> {
        self.signal(Signal::TERM);
        self.wait(deadline).await
    }

    /// The last lines of output.
    #[must_use]
    pub fn tail(&self) -> String {
        self.captured.tail()
    }

    fn raw_pid(&self) -> Option<Pid> {
        self.process
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw)
    }

    fn signal_family(&self, signal: Signal) {
        if let Some(pid) = self.raw_pid() {
            // The parent first: one that stands still starts no more of them.
            let _ = kill_process(pid, signal);
            for pid in descendants(pid) {
                let _ = kill_process(pid, signal);
            }
        }
    }

    fn kill_family(&self) {
        // The pid is ours as long as nobody has reaped it, and what descends from it is ours as well.
        if let Some(pid) = self.raw_pid() {
            let mut family = descendants(pid);
            family.insert(0, pid);
            family.retain(|pid| kill_process(*pid, Signal::KILL).is_ok());
            // A killed process still has its files, ports and locks until it has had a core to end on: whoever comes next finds them free.
            family::wait_for_ends(&family, GONE_WITHIN);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill_family();
    }
}

async fn last_words(captured: Arc<Captured>) {
    let mut progress = captured.progress.subscribe();
    let ended = progress.wait_for(|(_, open)| *open == 0);
    let _ = tokio::time::timeout(LAST_WORDS, ended).await;
}

/// Runs `command` to its end and returns its status and raw output; it is killed when `deadline` passes.
///
/// # Errors
/// When it cannot be started or does not end in time. A bad exit status is the caller's to judge.
pub async fn run(name: &str, command: Command, deadline: Duration) -> Result<Output, Error> {
    run_fed(name, command, Stdio::null(), deadline).await
}

/// [`run`] with a standard input: an open file.
///
/// # Errors
/// As [`run`].
pub async fn run_fed(
    name: &str,
    mut command: Command,
    input: Stdio,
    deadline: Duration,
) -> Result<Output, Error> {
    let deadline = patience(deadline);
    command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let process = command
        .spawn()
        .map_err(|source| Error::io(format!("start {name}"), source))?;
    match tokio::time::timeout(deadline, process.wait_with_output()).await {
        Ok(output) => output.map_err(|source| Error::io(format!("run {name}"), source)),
        Err(_) => Err(Error::Timeout {
            what: format!("the end of {name}"),
            patience: deadline,
            detail: String::new(),
        }),
    }
}

#[cfg(test)]
mod tests;
