//! The checks that come before the tests. All of them run, whatever the first says.

use std::{path::Path, process::Command, time::Instant};

use anyhow::{Result, bail};

use crate::{
    alerts, fuzz, generate, helm, image, lab,
    process::{cargo, root, succeed, target_directory},
    report::{Report, Verdict},
    setup,
};

/// Runs one check and takes down how it ended. Its output is shown as it comes.
fn check(report: &mut Report, name: &str, work: impl FnOnce() -> Result<()>) {
    println!("==> {name}");
    let start = Instant::now();
    let verdict = match work() {
        Ok(()) => Verdict::Passed,
        Err(error) => Verdict::Failed(format!("{error:#}")),
    };
    // A check that compiles is not a slow test.
    report.add(name, verdict, std::time::Duration::ZERO);
    println!("    {:.0} s", start.elapsed().as_secs_f64());
}

/// What a whole run wants to find free where cargo builds: a build that ends for want of it takes minutes to say so, in the words of a linker.
const ROOM: u64 = 2 << 30;

/// Says how much is free there.
///
/// # Errors
///
/// When it is not enough for anything.
pub(crate) fn room() -> Result<()> {
    let place = target_directory()?;
    std::fs::create_dir_all(&place)?;
    let disk = rustix::fs::statvfs(&place)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    println!("{} MiB are free in {}", free >> 20, place.display());
    if free < ROOM {
        bail!(
            "a whole run wants {} MiB there at least: free some, or set CARGO_TARGET_DIR to another disk",
            ROOM >> 20
        );
    }
    Ok(())
}

/// Format, lints and docs.
pub(crate) fn source(report: &mut Report) {
    check(report, "format", || {
        succeed(cargo().args(["fmt", "--all", "--check"]))?;
        succeed(cargo().args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))
    });
    let clippy = |selection: &[&str]| {
        let mut command = cargo();
        command
            .args(["clippy", "--quiet", "--all-targets"])
            .args(selection)
            .args(["--", "-D", "warnings"]);
        succeed(&mut command)
    };
    check(report, "clippy", || clippy(&["--workspace"]));
    check(report, "clippy, all features", || {
        clippy(&["--workspace", "--all-features"])
    });
    check(report, "clippy, no default features", || {
        clippy(&["--no-default-features", "-p", "moorline"])
    });
    check(report, "shell scripts", || {
        let mut command = Command::new("shellcheck");
        command
            .current_dir(root())
            .args(["--external-sources", "--source-path=SCRIPTDIR", ".ci/run"])
            .args(scripts()?);
        succeed(&mut command)
    });
    check(report, "docs", || {
        let mut command = cargo();
        command.args([
            "doc",
            "--quiet",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ]);
        succeed(command.env("RUSTDOCFLAGS", "-D warnings"))
    });
}

/// The scripts of the cluster lab, and those that run on cameras or reach them.
fn scripts() -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(lab::scripts())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            found.push(path);
        }
    }
    let mut open = vec![root().join("firmware")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if is_script(&std::fs::read(&path)?) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a shell reads it: the system's own, or busybox, which an initramfs names before there is another one.
fn is_script(bytes: &[u8]) -> bool {
    [&b"#!/bin/sh"[..], b"#!/bin/busybox sh"]
        .iter()
        .any(|begins| bytes.starts_with(begins))
}

/// Generated files are what would be generated, and alert rules fire when they should. Needs the binary, so it comes after the build.
pub(crate) fn generated(report: &mut Report, binary: Option<&Path>) {
    check(report, "generated files", || generate::run(true, binary));
    rendered(report, "manifests of deploy/k8s", helm::run(true));
    rendered(report, "alert rules", alerts::run());
}

/// Takes down what came of a check that needs Helm, which not every machine can have.
fn rendered(report: &mut Report, name: &str, outcome: Result<helm::Outcome>) {
    match outcome {
        Ok(helm::Outcome::Skipped(reason)) => {
            report.add(name, Verdict::Skipped(reason), std::time::Duration::ZERO);
        }
        done => check(report, name, || done.map(|_| ())),
    }
}

/// Examples in the docs.
pub(crate) fn doctests(report: &mut Report) {
    check(report, "examples in docs", || {
        succeed(cargo().args(["test", "--quiet", "--workspace", "--doc"]))
    });
}

/// The image is the same when it is built again from nothing.
pub(crate) fn image(report: &mut Report) {
    check(report, "image, built twice", || {
        image::run(None, true).map(|_| ())
    });
}

/// A minute of each fuzz target (rule S32).
pub(crate) fn fuzz(report: &mut Report) {
    const SECONDS: u64 = 60;
    let Some(program) = fuzz::program() else {
        let reason = "cargo-fuzz is not built (cargo xtask setup --long)".to_owned();
        report.add("fuzz", Verdict::Skipped(reason), std::time::Duration::ZERO);
        return;
    };
    let mut built = false;
    check(report, "fuzz targets build", || {
        fuzz::build(&program, None)?;
        built = true;
        Ok(())
    });
    if !built {
        return;
    }
    for name in fuzz::targets().unwrap_or_default() {
        check(report, &format!("fuzz {name}"), || {
            fuzz::one(&program, &name, SECONDS)
        });
    }
}

/// Bans, licences and sources of dependencies. Advisories need a database from the Internet: that is the public CI's.
pub(crate) fn dependencies(report: &mut Report) {
    let built = setup::built_programs()
        .unwrap_or_default()
        .join("cargo-deny");
    let program = if built.is_file() {
        built
    } else {
        "cargo-deny".into()
    };
    let present = Command::new(&program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !present {
        let reason = "cargo-deny is not built (cargo xtask setup --long)".to_owned();
        report.add(
            "dependencies",
            Verdict::Skipped(reason),
            std::time::Duration::ZERO,
        );
        return;
    }
    check(report, "dependencies", || {
        let mut command = Command::new(&program);
        command
            .current_dir(root())
            .args(["--offline", "check", "bans", "licenses", "sources"]);
        succeed(&mut command)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_that_runs_on_a_camera_is_looked_at() {
        let found = scripts().unwrap();
        for name in [
            "emu/camera",
            "emu/rootfs/init",
            "gateway/moorline-gateway.init",
            "install",
            "overlay",
            "package/moorline-agent/S60moorline-agent",
            "sh/S60moorline-sh",
            "sh/moorline-sh",
        ] {
            let path = root().join("firmware").join(name);
            assert!(found.contains(&path), "{name} is not among {found:?}");
        }
    }
}
