//! What tests of the whole share: where the repository lies, and the binary under test.
//!
//! Three test programs hang on it, so that only three are linked:
//! - `tests/rules/`: rules of the repository, a file per kind of rule;
//! - `tests/e2e/`: the whole system with real peers. A theme (`tunnel`, `page`, …) is a file there and one `mod` line in its `main.rs`;
//! - `tests/cluster/`: the same on Kubernetes. Built and run by `cargo xtask test --cluster` alone.
#![allow(clippy::disallowed_methods, reason = "this package is tests only")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::Message;

/// The repository's root.
#[must_use]
pub fn repository() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// The `moorline` binary, built with default features.
///
/// `cargo xtask test` has built it and says where (`MOORLINE_BIN`). Plain `cargo test` builds it now, once per test program, so that a
/// test never meets an old one.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn moorline() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("MOORLINE_BIN") {
        Some(path) => path.into(),
        None => {
            build("moorline").unwrap_or_else(|error| panic!("cannot build moorline: {error:#}"))
        }
    })
}

/// The `moorline-agent` binary for this machine, built now: it is small.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn agent() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        build("moorline-agent")
            .unwrap_or_else(|error| panic!("cannot build moorline-agent: {error:#}"))
    })
}

/// Of the whole workspace, so that dependencies have the features with which the tests were built.
fn build(name: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--workspace",
            "--bin",
            name,
            "--message-format=json-render-diagnostics",
        ])
        .current_dir(repository())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo build failed");
    }
    Message::parse_stream(output.stdout.as_slice())
        .flatten()
        .find_map(|message| match message {
            Message::CompilerArtifact(artifact) if artifact.target.name == name => {
                artifact.executable.map(PathBuf::from)
            }
            _ => None,
        })
        .context("cargo named no executable")
}
