//! The real peers that a Debian 12 machine has or can install, and which version was met.

use std::{path::PathBuf, process::Command as Blocking};

use tokio::process::Command;

use crate::Error;

/// A program that tests run against. All of these are required: their packages belong to Debian 12.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its name, which is that of the program.
    pub name: &'static str,
    /// The Debian package.
    pub package: &'static str,
    /// The program that knows the version, with its arguments. Not every tool can say its own.
    version: (&'static str, &'static [&'static str]),
}

/// A peer that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where.
    pub path: PathBuf,
    /// What it says of itself; empty if it says nothing.
    pub version: String,
}

/// Dropbear's client: the camera.
pub const DBCLIENT: Peer = Peer {
    name: "dbclient",
    package: "dropbear-bin",
    version: ("dbclient", &["-V"]),
};
/// Dropbear's server.
pub const DROPBEAR: Peer = Peer {
    name: "dropbear",
    package: "dropbear-bin",
    version: ("dropbear", &["-V"]),
};
/// Makes keys in Dropbear's own format.
pub const DROPBEARKEY: Peer = Peer {
    name: "dropbearkey",
    package: "dropbear-bin",
    version: ("dbclient", &["-V"]),
};
/// OpenSSH's client.
pub const SSH: Peer = Peer {
    name: "ssh",
    package: "openssh-client",
    version: ("ssh", &["-V"]),
};
/// OpenSSH's server: the peer of the SSH benchmark.
pub const SSHD: Peer = Peer {
    name: "sshd",
    package: "openssh-server",
    version: ("ssh", &["-V"]),
};
/// Makes keys in OpenSSH's format.
pub const SSH_KEYGEN: Peer = Peer {
    name: "ssh-keygen",
    package: "openssh-client",
    version: ("ssh", &["-V"]),
};
/// A camera's shell and tools. Its shell cannot say the version.
pub const BUSYBOX: Peer = Peer {
    name: "busybox",
    package: "busybox",
    version: ("busybox", &[]),
};
/// Client, encoder and recorder to compare with.
pub const FFMPEG: Peer = Peer {
    name: "ffmpeg",
    package: "ffmpeg",
    version: ("ffmpeg", &["-version"]),
};
/// Reads what we wrote.
pub const FFPROBE: Peer = Peer {
    name: "ffprobe",
    package: "ffmpeg",
    version: ("ffprobe", &["-version"]),
};
/// Shows what it plays.
pub const FFPLAY: Peer = Peer {
    name: "ffplay",
    package: "ffmpeg",
    version: ("ffplay", &["-version"]),
};
/// GStreamer's command line: `rtspsrc` as a client.
pub const GST_LAUNCH: Peer = Peer {
    name: "gst-launch-1.0",
    package: "gstreamer1.0-tools",
    version: ("gst-launch-1.0", &["--version"]),
};
/// Debian's own Python, the one that has the GStreamer bindings.
pub const PYTHON: Peer = Peer {
    name: "python3",
    package: "python3-gi",
    version: ("python3", &["--version"]),
};
/// The browser.
pub const CHROMIUM: Peer = Peer {
    name: "chromium",
    package: "chromium",
    version: ("chromium", &["--version"]),
};
/// Drives the browser.
pub const CHROMEDRIVER: Peer = Peer {
    name: "chromedriver",
    package: "chromium-driver",
    version: ("chromedriver", &["--version"]),
};

/// Every required peer.
pub const REQUIRED: &[Peer] = &[
    DBCLIENT,
    DROPBEAR,
    DROPBEARKEY,
    SSH,
    SSHD,
    SSH_KEYGEN,
    BUSYBOX,
    FFMPEG,
    FFPROBE,
    FFPLAY,
    GST_LAUNCH,
    PYTHON,
    CHROMIUM,
    CHROMEDRIVER,
];

impl Peer {
    /// Finds the program, asks its version and prints both (shown when the test fails, and collected by `cargo xtask test`).
    ///
    /// The system's own directories come before `PATH`: a Python or an ffmpeg that somebody put there lacks what the package brings.
    ///
    /// # Errors
    /// [`Error::Missing`], with the command that installs it.
    pub fn find(&self) -> Result<Found, Error> {
        let path = locate(self.name).ok_or(Error::Missing {
            peer: self.name,
            package: self.package,
        })?;
        let version = locate(self.version.0)
            .map(|program| ask_version(&program, self.version.1))
            .unwrap_or_default();
        announce(self.name, &version);
        Ok(Found { path, version })
    }

    /// A command that runs the program.
    ///
    /// # Errors
    /// [`Error::Missing`], with the command that installs it.
    pub fn command(&self) -> Result<Command, Error> {
        self.find().map(|found| Command::new(found.path))
    }
}

/// `<target>/peers`, where peers that are no packages are kept. The target directory is the ancestor of the test's executable that cargo
/// has tagged.
pub(crate) fn directory() -> Result<PathBuf, Error> {
    let executable =
        std::env::current_exe().map_err(|source| Error::io("find this executable", source))?;
    let target = executable
        .ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").is_file());
    Ok(target
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join("peers"))
}

/// Prints which version of a peer the test met.
#[expect(
    clippy::print_stderr,
    reason = "libtest captures it and shows it with a failure"
)]
pub(crate) fn announce(name: &str, version: &str) {
    eprintln!("PEER {name} {version}");
}

/// Looks in the system's own directories, then on the `PATH`.
pub(crate) fn locate(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["/usr/bin", "/usr/sbin"]
        .map(PathBuf::from)
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

fn ask_version(program: &PathBuf, arguments: &[&str]) -> String {
    let Ok(output) = Blocking::new(program).args(arguments).output() else {
        return String::new();
    };
    let text = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .join("\n");
    version_in(&text).unwrap_or_default()
}

/// The first word that starts like a version: `v2022.83`, `OpenSSH_9.2p1`, `5.1.9-0+deb12u1`.
fn version_in(text: &str) -> Option<String> {
    text.split([' ', '\n', '_', ','])
        .map(|word| word.strip_prefix('v').unwrap_or(word))
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_programs_print_them() {
        for (text, version) in [
            ("Dropbear v2022.83\n", "2022.83"),
            (
                "OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026",
                "9.2p1",
            ),
            (
                "ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026",
                "5.1.9-0+deb12u1",
            ),
            ("gst-launch-1.0 version 1.22.0\nGStreamer 1.22.0", "1.22.0"),
            (
                "Chromium 156.0.8078.79 built on Debian\n/usr/bin/chromium: 9: [: 2: unexpected operator",
                "156.0.8078.79",
            ),
        ] {
            assert_eq!(version_in(text).as_deref(), Some(version), "{text}");
        }
    }

    #[test]
    fn every_required_peer_is_installed_and_says_its_version() {
        for peer in REQUIRED {
            let found = peer.find().unwrap_or_else(|error| panic!("{error}"));
            assert!(!found.version.is_empty(), "{} says no version", peer.name);
        }
    }

    #[test]
    fn a_missing_peer_says_how_to_get_it() {
        let none = Peer {
            name: "no-such-program",
            package: "no-such-package",
            version: ("true", &[]),
        };
        let text = none.find().unwrap_err().to_string();
        assert!(text.contains("apt-get install no-such-package"), "{text}");
    }
}
