//! The Debian packages that building and testing need.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::process::succeed;

/// What Debian 12 has itself. Where systemd runs, `openssh-server` starts its service, as Debian's packages do.
const PACKAGES: &[&str] = &[
    // To build: the C parts of SQLite and of the cryptography.
    "build-essential",
    "ca-certificates",
    // The camera, the SSH clients, and the server to compare with.
    "dropbear-bin",
    "openssh-client",
    "openssh-server",
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
    // The browser.
    "chromium",
    "chromium-driver",
    // Network namespaces, and unpacking live555 from Debian sid.
    "iproute2",
    "util-linux",
    "procps",
    "debian-archive-keyring",
];

/// Installs what is missing. Asks nothing.
pub(crate) fn run() -> Result<()> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect();
    if missing.is_empty() {
        println!("all {} packages are installed", PACKAGES.len());
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
