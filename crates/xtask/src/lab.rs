//! `cargo xtask lab`: the cluster lab by hand, and the lab of a test run. The work is done by the scripts of `tests/kubelab`.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;

use crate::process::{root, succeed, target_directory};

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Get and build what the lab runs (once; ten minutes on two cores) into MOORLINE_LAB [default: ~/.cache/moorline-lab]
    Fetch,
    /// Start it, or what is missing of it
    Up {
        /// How many nodes
        #[arg(long, value_name = "N", default_value_t = 2)]
        nodes: u8,
    },
    /// A shell inside, with kubectl and KUBECONFIG; or a command
    Shell {
        /// The command, instead of a shell
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Put an image on every node [default: the newest of target/image]
    Import {
        #[arg(value_name = "TAR")]
        image: Option<PathBuf>,
    },
    /// Which labs run, with their nodes and pods
    Status,
    /// End it and everything in it
    Down,
}

pub(crate) fn run(task: &Task) -> Result<()> {
    match task {
        Task::Fetch => fetch(&[]),
        Task::Up { nodes } => {
            fetch(&[])?;
            let mut up = script("up.sh");
            succeed(up.env("LAB_NODES", nodes.to_string()))?;
            println!("`cargo xtask lab shell` enters it, `cargo xtask lab down` ends it");
            Ok(())
        }
        Task::Shell { command } => {
            let mut shell = script("enter.sh");
            match command.as_slice() {
                [] => shell.arg("bash"),
                words => shell.args(words),
            };
            shell.stdin(Stdio::inherit());
            succeed(&mut shell)
        }
        Task::Import { image } => {
            let image = image.clone().map_or_else(newest_image, Ok)?;
            import(None, &image)
        }
        Task::Status => status(),
        Task::Down => succeed(&mut script("down.sh")),
    }
}

/// Where the scripts lie.
pub(crate) fn scripts() -> PathBuf {
    root().join("tests/kubelab")
}

fn script(name: &str) -> Command {
    let mut command = Command::new(scripts().join(name));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Gets what is missing.
fn fetch(what: &[&str]) -> Result<()> {
    succeed(script("fetch.sh").args(what))
}

/// Gets what is missing of what the tests need; those of the long tier need more.
pub(crate) fn fetch_for_tests(long: bool) -> Result<()> {
    fetch(if long { &[] } else { &["tests"] })
}

/// Why the lab cannot run on this machine, if so.
pub(crate) fn impossible() -> Option<String> {
    let output = script("can-run.sh").output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            Some(String::from_utf8_lossy(&said).trim().to_owned())
        }
        Err(error) => Some(error.to_string()),
    }
}

fn status() -> Result<()> {
    let labs = cache()?.join("labs");
    let mut names: Vec<_> = std::fs::read_dir(&labs)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    if names.is_empty() {
        println!("no lab runs");
    }
    for name in names {
        println!("lab {}", name.display());
        let mut show = script("enter.sh");
        show.args(["kubectl", "get", "nodes,pods", "--all-namespaces"])
            .env("LAB_NAME", &name);
        if let Err(error) = succeed(&mut show) {
            println!("{error}");
        }
    }
    Ok(())
}

/// Where programs and labs lie, as the scripts say.
pub(crate) fn cache() -> Result<PathBuf> {
    let output = Command::new("bash")
        .args(["-c", ". \"$1\" && echo \"$MOORLINE_LAB\"", "bash"])
        .arg(scripts().join("lab.sh"))
        .output()
        .context("cannot start bash")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

/// The image that was made last.
fn newest_image() -> Result<PathBuf> {
    let directory = target_directory()?.join("image");
    std::fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .max()
        .map(|(_, path)| path)
        .with_context(|| {
            format!(
                "no image in {}\nhint: cargo xtask image",
                directory.display()
            )
        })
}

/// Puts an image on every node of a lab.
fn import(lab: Option<&str>, image: &Path) -> Result<()> {
    let named = |mut command: Command| {
        if let Some(name) = lab {
            command.env("LAB_NAME", name);
        }
        command
    };
    let mut nodes = named(script("enter.sh"));
    nodes.args(["kubectl", "get", "nodes", "-o", "name"]);
    let output = nodes.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("no lab to import into\nhint: cargo xtask lab up");
    }
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    for number in names.lines().filter_map(|line| line.strip_prefix("node/n")) {
        let file = std::fs::File::open(image)
            .with_context(|| format!("cannot read {}", image.display()))?;
        let mut import = named(script("enter.sh"));
        import
            .arg(scripts().join("node.sh"))
            .args(["import", number])
            .stdin(file);
        succeed(&mut import)?;
    }
    Ok(())
}

/// A lab that lives as long as this value: if this process dies, however, the lab notices and goes down.
pub(crate) struct Lab {
    name: String,
    /// It holds the lab until its standard input ends.
    holder: Child,
}

impl Lab {
    /// Starts one with two nodes that have `image`.
    pub(crate) fn up(image: &Path) -> Result<Self> {
        let name = format!("test{}", std::process::id());
        let mut command = script("run.sh");
        command
            .args(["sh", "-c", "echo up; exec cat"])
            .env("LAB_NAME", &name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // An interrupt on the terminal ends us; the lab then goes down in order.
            .process_group(0);
        let mut holder = command.spawn().context("cannot start the lab")?;
        let mut line = String::new();
        let stdout = holder.stdout.take().context("the lab has no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let lab = Self { name, holder };
        if line.trim() != "up" {
            bail!("the lab did not come up");
        }
        import(Some(&lab.name), image)?;
        Ok(lab)
    }

    /// What starts a program inside, and the setting that says in which lab.
    pub(crate) fn through(&self) -> (PathBuf, (&'static str, String)) {
        (scripts().join("enter.sh"), ("LAB_NAME", self.name.clone()))
    }

    /// The credentials of its administrator.
    pub(crate) fn kubeconfig(&self) -> Result<PathBuf> {
        Ok(self.state()?.join("admin.kubeconfig"))
    }

    fn state(&self) -> Result<PathBuf> {
        Ok(cache()?.join("labs").join(&self.name))
    }

    /// Copies the logs of its parts to where they survive it.
    pub(crate) fn keep_logs(&self) -> Result<PathBuf> {
        let logs = self.state()?.join("log");
        let kept = target_directory()?.join("lab-logs");
        let _ = std::fs::remove_dir_all(&kept);
        succeed(Command::new("cp").arg("-r").args([&logs, &kept]))?;
        Ok(kept)
    }

    /// Takes it down. Fails if anything is left.
    pub(crate) fn down(mut self) -> Result<()> {
        drop(self.holder.stdin.take());
        let status = self.holder.wait()?;
        if !status.success() {
            bail!("the lab did not go down in order ({status})");
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
