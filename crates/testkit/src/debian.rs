//! Programs of other Debian suites, unpacked privately: nothing is installed on the system.
//!
//! A private apt root: the suite's package list, the closure of one package with the suite's own libc, unpacked by `dpkg-deb -x` into a cache
//! beside cargo's target directory, run by the suite's own loader. The lists are removed. The version is whatever the suite has now, and is
//! told at run time.
//!
//! Optional peers: without a mirror within reach, or when the suite has left it, it is [`Error::Unavailable`], and for ten minutes nobody
//! tries again.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::process::Command;

use crate::{Error, child, peer};

/// How long a failure is remembered.
const FAILED_FOR: Duration = Duration::from_secs(600);
/// How long one step (package list, download) may take.
const STEP: Duration = Duration::from_secs(120);

/// What to unpack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// The peer's name, which is that of its cache too.
    pub(crate) peer: &'static str,
    /// The suite.
    pub(crate) suite: &'static str,
    /// The package; its closure comes along.
    pub(crate) package: &'static str,
    /// A program of it, without which the cache is not whole.
    pub(crate) program: &'static str,
}

/// An unpacked package with everything that it needs.
#[derive(Debug, Clone)]
pub(crate) struct Unpacked {
    version: String,
    loader: PathBuf,
    libraries: String,
    programs: PathBuf,
}

impl Wanted {
    /// From the cache, or fetched now. Tests that ask at once wait for one fetch.
    pub(crate) async fn get(self) -> Result<Unpacked, Error> {
        let cache = peer::directory()?.join(self.peer);
        let ours = cache.clone();
        // The lock is taken on a thread: it may be held by another test process for as long as a fetch takes.
        let lock = tokio::task::spawn_blocking(move || {
            fs::create_dir_all(&ours)?;
            let file = File::create(ours.join("lock"))?;
            file.lock()?;
            Ok::<_, std::io::Error>(file)
        });
        let _lock = match lock.await {
            Ok(Ok(lock)) => lock,
            Ok(Err(source)) => return Err(Error::io(format!("lock {}", cache.display()), source)),
            Err(error) => return Err(self.unavailable(error.to_string())),
        };
        if let Some(found) = self.cached(&cache) {
            peer::announce(self.peer, &found.version);
            return Ok(found);
        }
        let failure = cache.join("failed");
        if let Some(reason) = recent_failure(&failure) {
            return Err(self.unavailable(reason));
        }
        if let Err(error) = fetch(&cache, self).await {
            let _ = fs::write(&failure, error.to_string());
            return Err(self.unavailable(error.to_string()));
        }
        let found = self
            .cached(&cache)
            .ok_or_else(|| self.unavailable("the packages hold no loader".to_owned()))?;
        peer::announce(self.peer, &found.version);
        Ok(found)
    }

    fn unavailable(self, reason: String) -> Error {
        Error::Unavailable {
            peer: self.peer,
            reason,
        }
    }

    fn cached(self, cache: &Path) -> Option<Unpacked> {
        let version = fs::read_to_string(cache.join("version")).ok()?;
        let root = cache.join("root");
        let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
        // Before bookworm libc lay in /lib alone.
        let libraries = ["lib", "usr/lib"].map(|lib| root.join(lib).join(&triplet));
        let loader = libraries
            .iter()
            .filter_map(|directory| fs::read_dir(directory).ok())
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"))
            })?;
        let programs = root.join("usr/bin");
        programs.join(self.program).is_file().then(|| Unpacked {
            version: version.trim().to_owned(),
            loader,
            libraries: libraries.map(|path| path.display().to_string()).join(":"),
            programs,
        })
    }
}

impl Unpacked {
    /// The version of the package.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// What runs the programs: the suite's own loader.
    pub(crate) fn loader(&self) -> &Path {
        &self.loader
    }

    /// A command that runs the loader is made to run `program`.
    pub(crate) fn arguments(&self, mut command: Command, program: &str) -> Command {
        command
            .arg("--library-path")
            .arg(&self.libraries)
            .arg(self.programs.join(program));
        command
    }

    /// A command that runs `program` here.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.arguments(Command::new(&self.loader), program)
    }
}

fn recent_failure(file: &Path) -> Option<String> {
    let age = fs::metadata(file).ok()?.modified().ok()?.elapsed().ok()?;
    (age < FAILED_FOR).then(|| fs::read_to_string(file).unwrap_or_default())
}

/// Builds the private apt root, downloads and unpacks. The version file is written last: it makes the cache valid.
async fn fetch(cache: &Path, wanted: Wanted) -> Result<(), Error> {
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
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} {} main\n",
        wanted.suite
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
            wanted.package,
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
        if let Some(rest) = name.strip_prefix(&format!("{}_", wanted.package)) {
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
fn mirror_in(text: &str) -> Option<String> {
    text.lines()
        .filter(|line| line.starts_with("URIs:") || line.starts_with("deb "))
        .flat_map(str::split_whitespace)
        .find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_read_from_both_formats_of_sources() {
        let deb822 = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n";
        let one_line = "# deb http://x/debian sid\ndeb [arch=amd64] https://mirror.example/debian/ bookworm main\n";
        assert_eq!(
            mirror_in(deb822).as_deref(),
            Some("http://mirror.example/debian")
        );
        assert_eq!(
            mirror_in(one_line).as_deref(),
            Some("https://mirror.example/debian/")
        );
        assert_eq!(
            mirror_in("URIs: http://mirror.example/debian-security\n"),
            None
        );
    }
}
