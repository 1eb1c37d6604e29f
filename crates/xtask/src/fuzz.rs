//! The fuzz targets of `fuzz/` (rule S32): built with a sanitizer, run for a bounded time.
//!
//! `fuzz/` is a workspace of its own in cargo-fuzz's layout, so that `cargo fuzz run TARGET` works for who has a nightly. Here the pinned
//! toolchain does it: cargo-fuzz needs `-Z sanitizer`, which `RUSTC_BOOTSTRAP` lets a stable compiler take. What a run finds stays under
//! `target/fuzz`: inputs that reached something new (`corpus`), and those that failed (`artifacts`).

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    process::{root, succeed},
    setup,
};

/// A single input that takes longer has found something.
const SLOWEST: &str = "-timeout=10";
/// No parser of a camera's bytes needs so much; in MB.
const MEMORY: &str = "-rss_limit_mb=1024";
/// The longest input: enough for an SDP, a segment of a few fragments, some hundred packets.
const LONGEST: &str = "-max_len=32768";

/// All targets, by name.
pub(crate) fn targets() -> Result<Vec<String>> {
    let directory = root().join("fuzz/fuzz_targets");
    let mut names: Vec<String> = fs::read_dir(&directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// cargo-fuzz, if it was built (`cargo xtask setup --long`) or is installed.
pub(crate) fn program() -> Option<PathBuf> {
    let built = setup::built_programs().ok()?.join("cargo-fuzz");
    let candidates = [built, "cargo-fuzz".into()];
    candidates.into_iter().find(|program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    })
}

/// Runs one target, or all, for so many seconds each. The first that fails ends it.
pub(crate) fn run(target: Option<&str>, seconds: u64) -> Result<()> {
    let Some(program) = program() else {
        bail!("cargo-fuzz is not there\nhint: cargo xtask setup --long");
    };
    let all = targets()?;
    let wanted: Vec<&String> = match target {
        None => all.iter().collect(),
        Some(name) => match all.iter().find(|known| *known == name) {
            Some(known) => vec![known],
            None => bail!(
                "there is no fuzz target {name:?}\nhint: one of {}",
                all.join(", ")
            ),
        },
    };
    build(&program, target)?;
    for name in wanted {
        one(&program, name, seconds)?;
    }
    Ok(())
}

/// Builds one target, or all.
pub(crate) fn build(program: &PathBuf, target: Option<&str>) -> Result<()> {
    let mut command = cargo_fuzz(program, "build")?;
    succeed(command.args(target))
}

/// Runs one target.
pub(crate) fn one(program: &PathBuf, name: &str, seconds: u64) -> Result<()> {
    println!("==> fuzz {name}, {seconds} s");
    let (corpus, artifacts) = (place("corpus")?.join(name), place("artifacts")?.join(name));
    for directory in [&corpus, &artifacts] {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let mut command = cargo_fuzz(program, "run")?;
    command.arg(name).arg(&corpus);
    // Seeds are read by every target: what does not help one is left out by libFuzzer itself.
    command.args(["fuzz/seeds", "crates/rtsp/tests/seeds"].map(|seeds| root().join(seeds)));
    command.args(["--", SLOWEST, MEMORY, LONGEST, "-print_final_stats=1"]);
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    succeed(&mut command).with_context(|| {
        format!(
            "{name} found something\nhint: the input lies in {}; mend the code, and keep the input as a test beside it",
            artifacts.display()
        )
    })
}

fn cargo_fuzz(program: &PathBuf, task: &str) -> Result<Command> {
    let mut command = Command::new(program);
    command
        .current_dir(root())
        .env("RUSTC_BOOTSTRAP", "1")
        .arg(task)
        .args(["--fuzz-dir", "fuzz", "--target-dir"])
        .arg(place("build")?);
    Ok(command)
}

/// A directory of ours below cargo's own.
fn place(name: &str) -> Result<PathBuf> {
    let programs = setup::built_programs()?;
    // target/peers/cargo/bin
    let target = programs.ancestors().nth(3).context("no target directory")?;
    Ok(target.join("fuzz").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_found_by_name() {
        let targets = targets().unwrap();
        assert!(targets.contains(&"recovery".to_owned()), "{targets:?}");
        assert!(targets.len() >= 11, "{targets:?}");
    }
}
