//! A private apt root over Debian sid, and what comes out of it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::process::Command;

use crate::{Error, child};

/// The package; its closure comes along.
const PACKAGE: &str = "livemedia-utils";
/// How long one step (package list, download) may take.
const STEP: Duration = Duration::from_secs(120);

/// Builds the private apt root, downloads and unpacks. The version file is written last: it makes the cache valid.
pub(super) async fn fetch(cache: &Path) -> Result<(), Error> {
    let apt = cache.join("apt");
    let root = cache.join("root");
    let failed = |source| Error::io(format!("prepare {}", cache.display()), source);
    for old in [&apt, &root] {
        if old.exists() {
            fs::remove_dir_all(old).map_err(failed)?;
        }
    }
    for directory in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(directory)).map_err(failed)?;
    }
    fs::create_dir_all(&root).map_err(failed)?;
    let mirror = mirror();
    let source = format!(
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} sid main\n"
    );
    fs::write(apt.join("sources.list"), source).map_err(failed)?;
    // Empty, so that apt takes nothing of this system for installed and the closure is whole.
    fs::write(apt.join("status"), "").map_err(failed)?;

    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        let at = |path: &str| apt.join(path).display().to_string();
        for setting in [
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State={}", at("")),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::http::Timeout=20".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.arg("-o").arg(setting);
        }
        command.arg("-qq").args(arguments);
        command
    };
    succeed("apt-get update", apt_get(&["update"])).await?;
    succeed(
        "apt-get install",
        apt_get(&[
            "-y",
            "--download-only",
            "--no-install-recommends",
            "install",
            PACKAGE,
        ]),
    )
    .await?;

    let mut version = String::new();
    for entry in fs::read_dir(apt.join("cache/archives"))
        .map_err(failed)?
        .flatten()
    {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "deb") {
            continue;
        }
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(&path).arg(&root);
        succeed("dpkg-deb -x", unpack).await?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(rest) = name.strip_prefix(&format!("{PACKAGE}_")) {
            version = rest.split('_').next().unwrap_or_default().to_owned();
        }
    }
    fs::remove_dir_all(&apt).map_err(failed)?;
    fs::write(cache.join("version"), version).map_err(failed)
}

async fn succeed(name: &str, command: Command) -> Result<(), Error> {
    let output = child::run(name, command, STEP).await?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let message = text
        .lines()
        .find(|line| line.starts_with("E:"))
        .unwrap_or("it failed")
        .to_owned();
    Err(Error::Refused {
        peer: "apt",
        message: format!("{name}: {message}"),
    })
}

/// The Debian mirror that this system's apt uses.
fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(
        fs::read_dir("/etc/apt/sources.list.d")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path()),
    );
    files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .find_map(|text| mirror_in(&text))
        .unwrap_or_else(|| "http://deb.debian.org/debian".to_owned())
}

/// The first archive URL that ends in `/debian`, in either format of sources.
pub(super) fn mirror_in(text: &str) -> Option<String> {
    text.lines()
        .filter(|line| line.starts_with("URIs:") || line.starts_with("deb "))
        .flat_map(str::split_whitespace)
        .find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"))
        .map(str::to_owned)
}
