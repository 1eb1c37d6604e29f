//! What building and testing need: Debian packages, and for the long tier three programs from crates.io.
//!
//! `dist` and the emulated camera have lists of their own ([`crate::dist`], [`crate::emu`]): who never uses them installs none of it.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use crate::{
    emu,
    process::{cargo, succeed, target_directory},
};

/// What Debian 12 has itself. Where systemd runs, `openssh-server` starts its service, as Debian's packages do.
const PACKAGES: &[&str] = &[
    // To build: the C parts of SQLite and of the cryptography.
    "build-essential",
    "ca-certificates",
    "musl-tools",
    // The camera, the SSH clients, and the server to compare with.
    "dropbear-bin",
    "openssh-client",
    "openssh-server",
    "busybox",
    "python3-kconfiglib",
    // Players, and a camera that nobody here wrote.
    "ffmpeg",
    "gstreamer1.0-tools",
    "gstreamer1.0-rtsp",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-plugins-ugly",
    "gir1.2-gst-rtsp-server-1.0",
    "python3-gi",
    // The database of a cluster's people. Tests start servers of their own; where systemd runs, the package starts the system's too.
    "postgresql",
    // The browser.
    "chromium",
    "chromium-driver",
    // Network namespaces, the cluster lab, and unpacking packages of Debian sid.
    "iproute2",
    "util-linux",
    "procps",
    "openssl",
    "shellcheck",
    "debian-archive-keyring",
    // The SD card of an emulated camera.
    "mtools",
];

/// What the long tier builds from crates.io: the program, its crate, its version (the newest, if none is pinned).
const BUILT: &[(&str, &str, Option<&str>)] = &[
    // The S3 server that people run at home. AGPL: only ever a separate process.
    ("garage", "garage", Some("2.5.0")),
    ("cargo-deny", "cargo-deny", None),
    ("cargo-fuzz", "cargo-fuzz", None),
];

/// Installs what is missing; for the long tier and the emulated camera what they need beside. Asks nothing.
pub(crate) fn run(long: bool, emulated: bool) -> Result<()> {
    install(PACKAGES)?;
    if long || emulated {
        install(&emu::packages())?;
    }
    if long { built() } else { Ok(()) }
}

/// What a whole test run needs: installs it where there is an `apt-get`. Elsewhere it says what is missing, and the tests of a peer that is
/// not there are skipped with that reason.
pub(crate) fn peers_of_a_whole_run() -> Result<()> {
    if exists("apt-get") {
        install(PACKAGES)
    } else {
        println!(
            "no apt-get here: install the likes of these yourself, or tests are skipped: {}",
            PACKAGES.join(" ")
        );
        Ok(())
    }
}

/// Where [`BUILT`] programs go: beside what cargo builds, never into the system.
pub(crate) fn built_programs() -> Result<PathBuf> {
    Ok(target_directory()?.join("peers/cargo/bin"))
}

fn built() -> Result<()> {
    let bin = built_programs()?;
    for (program, name, version) in BUILT {
        if bin.join(program).is_file() {
            println!("{program} is built");
            continue;
        }
        println!("building {program}: this takes minutes");
        let mut command = cargo();
        command.args(["install", "--locked", name]);
        if let Some(version) = version {
            command.args(["--version", version]);
        }
        command.arg("--root").arg(bin.parent().unwrap_or(&bin));
        // A target directory of its own, which cargo removes: it has nothing in common with ours.
        succeed(command.env_remove("CARGO_TARGET_DIR"))?;
    }
    Ok(())
}

/// Installs those of `packages` that are missing.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect();
    if missing.is_empty() {
        println!("all {} packages are installed", packages.len());
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    if !exists("apt-get") {
        bail!(
            "this system has no apt-get\nhint: install the likes of these yourself: {}",
            missing.join(" ")
        );
    }
    let apt_get = |arguments: &[&str]| {
        let as_root = Command::new("id")
            .arg("-u")
            .output()
            .is_ok_and(|output| output.stdout == b"0\n");
        let mut command = Command::new(if as_root { "env" } else { "sudo" });
        if !as_root {
            command.args(["-n", "env"]);
        }
        command
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"])
            .args(arguments)
            .stdin(Stdio::null());
        command
    };
    succeed(&mut apt_get(&["update"]))?;
    let mut install = apt_get(&["install", "-y", "--no-install-recommends"]);
    succeed(install.args(&missing))
}

fn is_installed(package: &str) -> bool {
    let query = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}", package])
        .output();
    query.is_ok_and(|output| output.stdout == b"installed")
}

fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
