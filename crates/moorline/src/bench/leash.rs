//! Children that die with the bench, however it ends: a bench that is killed cleans nothing up by itself.
//!
//! `moorline bench leash` asks the kernel for SIGKILL at its parent's end (`PR_SET_PDEATHSIG`), then becomes the program that was named; the
//! wish survives that. It is bound to the *thread* that started it: start children from the main thread or a worker of the runtime, never
//! from a blocking task. What a child starts itself is not held: sshd's sessions end with the clients that are.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tokio::process::Command;

/// A command that runs `program` until this process ends. Arguments may be added as to any command.
///
/// # Errors
/// This executable is not found.
pub fn leashed(program: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this executable")?);
    command
        .args(["bench", "leash", "--parent"])
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(program);
    Ok(command)
}

/// Becomes the command, on the leash of `parent`.
///
/// # Errors
/// The parent is gone already, or the program does not start.
pub fn run(parent: u32, command: &[OsString]) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot ask for a signal")?;
    // It may have died before the wish was heard.
    let now = getppid().map(Pid::as_raw_pid).unwrap_or_default();
    if u32::try_from(now) != Ok(parent) {
        bail!("process {parent} that started this is gone");
    }
    let Some((program, arguments)) = command.split_first() else {
        bail!("no program is named");
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", Path::new(program).display()))
}
