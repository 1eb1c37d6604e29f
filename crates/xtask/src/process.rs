//! Running cargo, and ending a test that hangs with everything it started.

use std::{
    io::BufReader,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{Artifact, Message, MetadataCommand};

/// The repository's root, which is where every command runs.
pub(crate) fn root() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package
        .ancestors()
        .nth(2)
        .map_or_else(|| package.clone(), PathBuf::from)
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let metadata = MetadataCommand::new()
        .current_dir(root())
        .no_deps()
        .exec()
        .context("cannot read the workspace")?;
    Ok(metadata.target_directory.into_std_path_buf())
}

/// What a cluster runs: the two programs of the image.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// `moorline`.
    pub(crate) moorline: PathBuf,
    /// `moorline-workload`, which runs in the pods of a camera.
    pub(crate) workload: PathBuf,
}

/// Builds both, of the whole workspace, so that dependencies have the features with which the tests are built.
pub(crate) fn build_programs() -> Result<Programs> {
    compile_programs(cargo().args(["build", "--workspace"]))
}

/// Runs a build of cargo's for the two programs.
pub(crate) fn compile_programs(command: &mut Command) -> Result<Programs> {
    const NAMES: [&str; 2] = ["moorline", "moorline-workload"];
    let mut found = [const { None }; 2];
    command.args(NAMES.iter().flat_map(|name| ["--bin", *name]));
    compile(command, &mut |artifact| {
        let Some(executable) = artifact.executable else {
            return;
        };
        for (name, found) in NAMES.iter().zip(&mut found) {
            if artifact.target.name == *name {
                *found = Some(PathBuf::from(&executable));
            }
        }
    })?;
    let [moorline, workload] = found;
    Ok(Programs {
        moorline: moorline.context("cargo built no moorline")?,
        workload: workload.context("cargo built no moorline-workload")?,
    })
}

/// Runs a build of cargo's and hands on what it made.
pub(crate) fn compile(command: &mut Command, take: &mut impl FnMut(Artifact)) -> Result<()> {
    command
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    for message in Message::parse_stream(BufReader::new(stdout)) {
        if let Message::CompilerArtifact(artifact) =
            message.context("cannot read cargo's messages")?
        {
            take(artifact);
        }
    }
    if !child.wait()?.success() {
        bail!("{} failed", describe(command));
    }
    Ok(())
}

/// Runs it with its output shown.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{} failed ({status})", describe(command));
    }
    Ok(())
}

/// Runs it to its end and gives what it said, however it ended. What has not ended within `limit` is killed with everything it started.
pub(crate) fn within(limit: Duration, command: &mut Command) -> Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command
        .spawn()
        .with_context(|| format!("cannot start {}", describe(command)))?;
    let pid = child.id();
    let (ended, guard) = mpsc::channel::<()>();
    let (output, overdue) = std::thread::scope(|scope| {
        let guardian = scope.spawn(move || {
            let overdue = guard.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if overdue {
                kill_family(pid);
            }
            overdue
        });
        let output = child.wait_with_output();
        drop(ended);
        (output, guardian.join().unwrap_or(false))
    });
    let output = output.with_context(|| format!("cannot wait for {}", describe(command)))?;
    if overdue {
        bail!(
            "{} hung: it had not ended after {limit:?} and was killed; until then it said: {}{}",
            describe(command),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output)
}

/// The command as one would type it.
pub(crate) fn describe(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let arguments = command
        .get_args()
        .map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(name)
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Kills a process that we started, and what descends from it.
pub(crate) fn kill_family(root: u32) {
    let mut family = vec![root];
    let mut next = 0;
    let parents = parents();
    while let Some(&parent) = family.get(next) {
        family.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    // By the system's `kill`, since the standard library signals only direct children. Some of them may be gone by now.
    let _ = Command::new("kill")
        .arg("-KILL")
        .args(family.iter().map(u32::to_string))
        .stderr(Stdio::null())
        .status();
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before may hold anything; the last parenthesis ends it. State and parent follow.
        stat.rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).stdin(Stdio::null());
        command
    }

    #[test]
    fn what_hangs_is_killed_with_its_children_and_named() {
        // The child holds the output, too: were it left alone, its end would be waited for.
        let hangs = within(
            Duration::from_millis(300),
            &mut shell("echo begun; sleep 1000 & wait"),
        );
        let error = hangs.err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains("sleep 1000"), "{error}");
        assert!(error.contains("hung"), "{error}");
    }

    #[test]
    fn what_ends_in_time_is_told_as_it_ended() {
        let ended = within(Duration::from_secs(60), &mut shell("echo said; exit 3"));
        let ended = ended.map(|output| (output.status.code(), output.stdout));
        assert_eq!(ended.ok(), Some((Some(3), b"said\n".to_vec())));
    }
}
