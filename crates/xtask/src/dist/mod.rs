//! `cargo xtask dist`: what is released: the agent for every camera, static and small, and with `--server` or `--server-only` the server for this machine.
//!
//! No camera's target has a prebuilt standard library that fits, so std is built from source for each: by Debian's compiler for browsers
//! (`rustc-web`), since there compiler and source always match; its version moves with the browsers, nothing here pins it. The C library is
//! built from source for each, too ([`musl`]).
//!
//! A build that is larger than its flash allows, that cannot run, or that tells a path of this machine fails.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sha2::{Digest, Sha256, Sha512};

use crate::{
    process::{root, target_directory, within},
    setup,
};

mod agent;
mod linker;
mod musl;
mod server;
mod target;

use target::TARGETS;
pub(crate) use target::{MIPSEL, Target};

/// What every target needs: compiler, source of std, emulators of processors.
const PACKAGES: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "qemu-user-static",
    "debian-archive-keyring",
    "make",
];

#[derive(Args)]
pub(crate) struct Options {
    /// Only for these processors: mipsel, mips, armv5te, armv7, aarch64 (may be repeated) [default: all]
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Also the server for this machine, as a tarball with a unit for systemd; takes as long as `cargo xtask image`
    #[arg(long)]
    server: bool,
    /// The same without the agents, whose compilers it does not need
    #[arg(long, conflicts_with_all = ["target", "server"])]
    server_only: bool,
}

/// Builds what `options` name into `<target>/dist`, and sums all that lies there.
pub(crate) fn run(options: &Options) -> Result<()> {
    let targets = if options.server_only {
        Vec::new()
    } else {
        chosen(&options.target)?
    };
    // Asked before anything is built: the agents take minutes.
    let server = (options.server || options.server_only).then(server::linked);
    let server = server.transpose()?;
    let out = target_directory()?.join("dist");
    fs::create_dir_all(&out)?;
    for target in targets {
        let binary = agent(target)?;
        let name = format!("moorline-agent-{}", target.name);
        let bytes = fs::read(&binary)?;
        fs::copy(&binary, out.join(&name))?;
        println!("{name}: {} bytes", bytes.len());
    }
    if let Some(server) = server {
        server::run(&server, &out)?;
    }
    sums(&out)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Target>> {
    if names.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>();
    let find = |name: &String| {
        let found = TARGETS.iter().find(|target| target.name == name);
        found.with_context(|| format!("--target {name}: known are {}", known().join(", ")))
    };
    names.iter().map(find).collect()
}

/// Packages that building for `target` needs.
pub(crate) fn packages(target: &Target) -> Vec<&'static str> {
    [PACKAGES, target.packages].concat()
}

/// The finished agent for a target: built, small enough, and seen to run.
pub(crate) fn agent(target: &Target) -> Result<PathBuf> {
    setup::install(&packages(target))?;
    let binary = agent::build(target)?;
    let bytes = fs::read(&binary)?;
    fits(target, bytes.len())?;
    tells_no_path(&bytes)?;
    runs(target, &binary)?;
    Ok(binary)
}

fn fits(target: &Target, bytes: usize) -> Result<()> {
    if bytes > target.limit {
        bail!(
            "the agent for {} has {bytes} bytes, more than {}: flash is small",
            target.name,
            target.limit
        );
    }
    Ok(())
}

fn tells_no_path(bytes: &[u8]) -> Result<()> {
    for path in [root(), target_directory()?] {
        let path = path.display().to_string();
        let found = bytes
            .windows(path.len())
            .any(|window| window == path.as_bytes());
        if found {
            bail!("{path} stands in what is released");
        }
    }
    Ok(())
}

/// Runs it under QEMU's emulation of the processor: it says its version, and walks its check in an empty place, which fails at the right step.
fn runs(target: &Target, binary: &Path) -> Result<()> {
    let said = run_emulated(target, emulated(target, binary).arg("--version"))?;
    let version = String::from_utf8_lossy(&said.stdout);
    let (version_here, triple) = (env!("CARGO_PKG_VERSION"), target.triple);
    let expected = format!("moorline-agent {version_here} {triple}");
    if version.trim() != expected {
        bail!(
            "the agent for {} says {version:?}, not {expected:?}",
            target.name
        );
    }
    let place = target_directory()?.join("dist-check");
    fs::create_dir_all(&place)?;
    let mut check = emulated(target, binary);
    for option in ["--dir", "--run", "--card"] {
        check.arg(option).arg(&place);
    }
    let checked = run_emulated(target, check.arg("check"));
    fs::remove_dir_all(&place)?;
    let checked = checked?;
    let text = String::from_utf8_lossy(&checked.stdout);
    // It has no server yet: that is a broken link, and threads, sockets and files have worked to find it.
    if checked.status.code() != Some(1) || !text.contains("FAIL") {
        bail!(
            "`check` of the agent for {} ended with {}: {text}{}",
            target.name,
            checked.status,
            String::from_utf8_lossy(&checked.stderr)
        );
    }
    Ok(())
}

/// What it does takes less than a second; a machine that builds is given a hundred times as long.
const RUNS_WITHIN: Duration = Duration::from_secs(120);

/// Builds with some switches of LLVM's came out so that they never ended there, not even at `--version`.
fn run_emulated(target: &Target, command: &mut Command) -> Result<Output> {
    within(RUNS_WITHIN, command).with_context(|| {
        format!(
            "the agent for {} does not run under {}\nhint: start that command by hand; an agent that hangs there would hang on a camera",
            target.name, target.emulator
        )
    })
}

fn emulated(target: &Target, binary: &Path) -> Command {
    let mut command = Command::new(target.emulator);
    command.arg(binary).stdin(Stdio::null());
    command
}

const SHA256SUMS: &str = "SHA256SUMS";
const SHA512SUMS: &str = "SHA512SUMS";

/// `SHA256SUMS` and `SHA512SUMS` over everything in the directory. The longer digest is what `moorline-agent upgrade` wants, and cameras have no
/// program that makes it.
fn sums(directory: &Path) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != SHA256SUMS && name != SHA512SUMS && entry.file_type()?.is_file() {
            files.push((name, fs::read(entry.path())?));
        }
    }
    files.sort();
    let short = digests::<Sha256>(&files);
    fs::write(directory.join(SHA256SUMS), &short)?;
    fs::write(directory.join(SHA512SUMS), digests::<Sha512>(&files))?;
    print!("{short}");
    println!("in {}, with {SHA512SUMS}", directory.display());
    Ok(())
}

/// As `sha256sum -c` and `sha512sum -c` read them.
fn digests<D: Digest>(files: &[(String, Vec<u8>)]) -> String {
    let line = |(name, content): &(String, Vec<u8>)| {
        format!("{}  {name}\n", hex::encode(D::digest(content).as_slice()))
    };
    files.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_not_known_is_told_those_that_are() {
        let error = chosen(&["sparc".to_owned()]).err().map(|e| e.to_string());
        assert_eq!(
            error.as_deref(),
            Some("--target sparc: known are mipsel, mips, armv5te, armv7, aarch64")
        );
        let all = chosen(&[]).map(|all| all.len()).unwrap_or_default();
        assert_eq!(all, TARGETS.len());
    }

    #[test]
    fn beside_the_agent_lies_the_digest_that_its_upgrade_wants() {
        // FIPS 180-4's example.
        let files = [("moorline-agent-mipsel".to_owned(), b"abc".to_vec())];
        let long = digests::<Sha512>(&files);
        assert!(long.starts_with("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea2"));
        let (digest, name) = long.split_at(128);
        assert!(
            digest.ends_with("454d4423643ce80e2a9ac94fa54ca49f"),
            "{digest}"
        );
        assert_eq!(name, "  moorline-agent-mipsel\n");
    }

    #[test]
    fn an_agent_that_does_not_fit_the_flash_of_a_camera_fails_the_build() {
        assert!(fits(&MIPSEL, MIPSEL.limit).is_ok());
        let error = fits(&MIPSEL, MIPSEL.limit + 1).map_err(|error| error.to_string());
        let error = error.err().unwrap_or_default();
        assert!(error.contains("flash is small"), "{error}");
    }
}
