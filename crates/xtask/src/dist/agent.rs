//! One build of the agent with its standard library.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use super::{Target, linker};
use crate::{
    debian::output,
    process::{compile, root, target_directory},
};

/// Debian's, whatever `PATH` says: rustup's may come first there.
const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";

/// Builds it and gives the executable.
pub(super) fn build(target: &Target) -> Result<PathBuf> {
    let link = linker::prepare(target)?;
    let library = output(compiler(RUSTC).args(["--print", "sysroot"]))?;
    let library = std::fs::canonicalize(PathBuf::from(library.trim()).join("lib/rustlib/src/rust"))
        .context("no source of the standard library\nhint: package rust-web-src")?;
    // `immediate-abort`: a panic tells nothing and costs nothing; with `abort` the agent is a quarter larger.
    let mut flags = vec![
        "-Zunstable-options".to_owned(),
        "-Cpanic=immediate-abort".to_owned(),
        "-Zlocation-detail=none".to_owned(),
        "-Cforce-unwind-tables=no".to_owned(),
        // Before a loop LLVM puts what does not change in it, addresses of texts above all, into the stack frame, and it copies four words in place: code
        // for speed, where `opt-level = "z"` asks for size. And a call costs more than it takes for granted when it weighs what to put in place of one.
        "-Cllvm-args=-disable-machine-licm".to_owned(),
        "-Cllvm-args=-max-store-memcpy=2".to_owned(),
        "-Cllvm-args=-inline-call-penalty=35".to_owned(),
        format!("-Ctarget-feature=+crt-static{}", target.features),
        "-Crelocation-model=static".to_owned(),
        "-Clink-self-contained=no".to_owned(),
        format!("--remap-path-prefix={}=/rust", library.display()),
        format!("--remap-path-prefix={}=/moorline", root().display()),
    ];
    flags.push(format!("-Zpre-link-arg={}", link.before.display()));
    flags.extend(
        link.arguments
            .iter()
            .map(|argument| format!("-Clink-arg={argument}")),
    );
    let variable = target.triple.to_uppercase().replace('-', "_");
    let mut command = compiler(CARGO);
    command
        .args([
            "build",
            "--locked",
            "--package",
            "moorline-agent",
            "--bin",
            "moorline-agent",
        ])
        .args(["--profile", "agent", "--target", target.triple])
        .args([
            "-Zbuild-std=std,panic_abort",
            "-Zbuild-std-features=optimize_for_size",
        ])
        .env("RUSTC", RUSTC)
        // It is a release of the compiler, and building std is not yet a promise of it.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target_directory()?.join("agent"))
        .env(format!("CARGO_TARGET_{variable}_LINKER"), link.program)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    if !target.gateway {
        command.arg("--no-default-features");
    }
    if let Some(seconds) = commit_time() {
        // The agent's clock is never set to before its build.
        command.env("SOURCE_DATE_EPOCH", seconds);
    }
    let mut binary = None;
    compile(&mut command, &mut |artifact| {
        if artifact.target.name == "moorline-agent" {
            binary = artifact.executable.map(PathBuf::from).or(binary.take());
        }
    })
    .with_context(|| format!("no agent for {}", target.name))?;
    binary.context("cargo named no executable")
}

/// A program of Debian's compiler, without what the cargo that runs this task has set for its own.
fn compiler(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(root())
        .stdin(std::process::Stdio::null());
    let ours = [
        "CARGO",
        "RUSTC",
        "RUSTUP_",
        "RUSTFLAGS",
        "RUSTDOC",
        "LD_LIBRARY_PATH",
        "__CARGO",
    ];
    // What says where crates come from, and how many jobs may run, is the user's.
    let kept = [
        "CARGO_HOME",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTRIES_",
        "CARGO_SOURCE_",
        "CARGO_BUILD_JOBS",
    ];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let starts = |list: &[&str]| list.iter().any(|prefix| text.starts_with(prefix));
        if starts(&ours) && !starts(&kept) {
            command.env_remove(&name);
        }
    }
    command
}

/// When what is built was committed, in seconds; `None` outside a repository.
fn commit_time() -> Option<String> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["log", "-1", "--format=%ct"]);
    let seconds = output(&mut git).ok()?.trim().to_owned();
    (!seconds.is_empty()).then_some(seconds)
}
