//! The server for this machine: the static binary of `cargo xtask image`, a unit for systemd, licences, in a tarball that is the same bytes each time.

use std::{fs, path::Path};

use anyhow::{Error, Result, anyhow, bail};

use crate::{
    image::{self, Target},
    process::root,
    setup,
};

/// What goes into it beside the binary: its place in the tarball, its file here.
const FILES: &[(&str, &str)] = &[
    ("moorline.service", "deploy/systemd/moorline.service"),
    ("README.md", "deploy/systemd/README.md"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("CHANGELOG.md", "CHANGELOG.md"),
];

/// Against musl or not at all: a glibc that is linked statically loads parts of the machine's own to look names up, and that is another one elsewhere.
///
/// # Errors
/// musl cannot be had.
pub(super) fn linked() -> Result<Target> {
    setup::install(&["musl-tools"])?;
    Target::musl().map_err(|error| refused(&error))
}

fn refused(error: &Error) -> Error {
    let triple = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    anyhow!(
        "the server is released linked against musl alone: {error:#}\nhint: rustup target add {triple}, where the Internet can be reached; `cargo xtask image` does without it"
    )
}

/// Builds the server and writes `moorline-<version>-<architecture>.tar.gz`.
pub(super) fn run(target: &Target, out: &Path) -> Result<()> {
    let made = image::once(target, None)?;
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("moorline-{version}-{}", std::env::consts::ARCH);
    let mut files = vec![("moorline", 0o755, fs::read(&made.binary)?)];
    for (place, file) in FILES {
        files.push((place, 0o644, fs::read(root().join(file))?));
    }
    let tarball = tarball(&name, &files)?;
    let file = out.join(format!("{name}.tar"));
    fs::write(&file, tarball)?;
    let zipped = std::process::Command::new("gzip")
        .args(["-9", "-n", "-f"])
        .arg(&file)
        .status()?;
    if !zipped.success() {
        bail!("gzip failed ({zipped})");
    }
    println!("{name}.tar.gz");
    Ok(())
}

/// Owned by root, of no date.
fn tarball(directory: &str, files: &[(&str, u32, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (place, mode, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(
            &mut header,
            format!("{directory}/{place}"),
            bytes.as_slice(),
        )?;
    }
    Ok(tar.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_cannot_be_linked_against_musl_is_refused_with_the_cure() {
        let error = refused(&anyhow!("could not download").context("rustup"));
        let told = error.to_string();
        assert!(
            told.contains("musl alone: rustup: could not download"),
            "{told}"
        );
        assert!(told.contains("\nhint: rustup target add "), "{told}");
    }

    #[test]
    fn everything_lies_in_one_directory_and_the_binary_can_be_run() {
        let files = [
            ("moorline", 0o755, b"elf".to_vec()),
            ("README.md", 0o644, b"text".to_vec()),
        ];
        let bytes = tarball("moorline-1", &files).unwrap_or_default();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().map(|entries| {
            entries
                .flatten()
                .map(|entry| {
                    let path = entry.path().map(|path| path.display().to_string());
                    let header = entry.header();
                    let owner = header.uid().ok().zip(header.gid().ok());
                    (
                        path.unwrap_or_default(),
                        header.mode().unwrap_or(0),
                        owner,
                        header.mtime().ok(),
                    )
                })
                .collect::<Vec<_>>()
        });
        let of_root = |path: &str, mode| (path.to_owned(), mode, Some((0, 0)), Some(0));
        let expected = vec![
            of_root("moorline-1/moorline", 0o755),
            of_root("moorline-1/README.md", 0o644),
        ];
        assert_eq!(entries.unwrap_or_default(), expected);
    }

    #[test]
    fn what_goes_in_is_there() {
        for (_, file) in FILES {
            assert!(root().join(file).is_file(), "{file}");
        }
    }

    #[test]
    fn the_service_has_no_power_and_two_lines_that_wait_give_it_low_ports() {
        let unit = fs::read_to_string(root().join("deploy/systemd/moorline.service"));
        let unit = unit.unwrap_or_default();
        // Of several, an empty one takes away what stands before it: the last one decides.
        let bound = |unit: &str| {
            let mut lines = unit.lines().rev();
            let last = lines.find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
            last.map(str::to_owned)
        };
        assert_eq!(bound(&unit).as_deref(), Some(""));
        let uncommented = unit
            .replace("#Ambient", "Ambient")
            .replace("#Capability", "Capability");
        let low_ports = "CAP_NET_BIND_SERVICE";
        assert_eq!(bound(&uncommented).as_deref(), Some(low_ports));
        let ambient = format!("AmbientCapabilities={low_ports}");
        assert!(uncommented.lines().any(|line| line == ambient));
    }
}
