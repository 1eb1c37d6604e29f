//! The server for this machine: the static binary of `cargo xtask image`, a unit for systemd, licences, in a tarball that is the same bytes each time.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Error, Result, anyhow, bail};

use super::{RUNS_WITHIN, tells_no_path};
use crate::{
    image::{self, Target},
    process::{root, within},
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
    let program = fs::read(&made.binary)?;
    tells_no_path(&program)?;
    if wants_a_loader(&program) {
        bail!("the server is not linked statically: it names a loader");
    }
    runs(&made.binary)?;
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("moorline-{version}-{}", std::env::consts::ARCH);
    let mut files = vec![("moorline", 0o755, program)];
    for (place, file) in FILES {
        files.push((place, 0o644, fs::read(root().join(file))?));
    }
    let tarball = tarball(&name, &files)?;
    let file = out.join(format!("{name}.tar"));
    fs::write(&file, tarball)?;
    let zipped = Command::new("gzip")
        .args(["-9", "-n", "-f"])
        .arg(&file)
        .status()?;
    if !zipped.success() {
        bail!("gzip failed ({zipped})");
    }
    println!("{name}.tar.gz");
    Ok(())
}

/// Starts it where it was built, which is where it is for.
fn runs(binary: &Path) -> Result<()> {
    let mut command = Command::new(binary);
    command.arg("--version").stdin(Stdio::null());
    let said = within(RUNS_WITHIN, &mut command)?;
    let text = String::from_utf8_lossy(&said.stdout);
    let expected = concat!("moorline ", env!("CARGO_PKG_VERSION"));
    if !said.status.success() || text.trim() != expected {
        bail!(
            "the server ended with {} and says {text:?}, not {expected:?}: {}",
            said.status,
            String::from_utf8_lossy(&said.stderr)
        );
    }
    Ok(())
}

/// Whether an ELF of 64 bits names the program that has to load its libraries (`PT_INTERP`): it is not there on a machine with another C library.
fn wants_a_loader(elf: &[u8]) -> bool {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, bytes: usize| {
        let found = elf.get(at..at.checked_add(bytes)?)?;
        // Both architectures of the server are little-endian.
        let most_first = found.iter().rev();
        Some(most_first.fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte)))
    };
    let place = |at, bytes| number(at, bytes).and_then(|number| usize::try_from(number).ok());
    // e_phoff, e_phentsize, e_phnum.
    let (Some(table), Some(size), Some(count)) = (place(32, 8), place(54, 2), place(56, 2)) else {
        return false;
    };
    (0..count).any(|nth| {
        let entry = nth.checked_mul(size).and_then(|at| at.checked_add(table));
        entry.and_then(|at| number(at, 4)) == Some(PT_INTERP)
    })
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
    fn a_program_that_wants_a_loader_is_told_from_one_that_does_not() {
        // The programs of Debian 12 want one; so do these tests.
        let here = std::env::current_exe().and_then(fs::read);
        assert!(wants_a_loader(&here.unwrap_or_default()));
        // Two entries of 56 bytes behind a head of 64: what is to be loaded, and a note.
        let mut fixed = vec![0; 64 + 2 * 56];
        for (at, byte) in [(32, 64), (54, 56), (56, 2), (64, 1), (64 + 56, 4)] {
            fixed[at] = byte;
        }
        assert!(!wants_a_loader(&fixed));
        fixed[64 + 56] = 3;
        assert!(wants_a_loader(&fixed));
        assert!(!wants_a_loader(b"\x7fELF"));
    }

    #[test]
    fn a_server_that_does_not_start_or_is_another_version_is_not_released() {
        let error = runs(Path::new("/bin/false")).map_err(|error| error.to_string());
        assert!(
            error.is_err_and(|error| error.contains("not \"moorline ")),
            "of a program that fails"
        );
        let error = runs(Path::new("/bin/echo")).map_err(|error| error.to_string());
        assert!(error.is_err_and(|error| error.contains("and says")));
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

    #[test]
    fn the_service_reaches_its_data_and_the_network_and_nothing_else() {
        let unit = fs::read_to_string(root().join("deploy/systemd/moorline.service"));
        let unit = unit.unwrap_or_default();
        for line in [
            "User=moorline",
            "StateDirectory=moorline",
            "StateDirectoryMode=0700",
            "UMask=0077",
            "LimitCORE=0",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "ProtectHome=yes",
            "PrivateTmp=yes",
            "PrivateDevices=yes",
            "ProtectProc=invisible",
            "ProtectKernelTunables=yes",
            "ProtectKernelModules=yes",
            "ProtectControlGroups=yes",
            "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
            "RestrictNamespaces=yes",
            "RestrictSUIDSGID=yes",
            "MemoryDenyWriteExecute=yes",
            "SystemCallArchitectures=native",
            "SystemCallFilter=@system-service",
            "SystemCallFilter=~@privileged",
        ] {
            assert!(unit.lines().any(|own| own == line), "{line}");
        }
    }
}
