//! Debian packages of other architectures, unpacked beside cargo's target directory: nothing of them is installed on the system.
//!
//! A private apt root with its own lists and cache; `apt-get download`, not a closure: what is wanted is listed. `dpkg-deb -x` unpacks and runs
//! no script. Which versions came is written beside the tree. Sources lie there, too.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::process::{describe, target_directory};

/// The release whose packages are taken: the last one that has mipsel.
const SUITE: &str = "bookworm";

/// A package that is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Package {
    Named(&'static str),
    /// The first one that this one depends on: a name with a version in it, which moves.
    Behind(&'static str),
}

/// Packages of an architecture, unpacked; from the cache when the same ones were wanted before.
///
/// `name` is that of the directory.
pub(crate) fn unpacked(name: &str, architecture: &str, packages: &[Package]) -> Result<PathBuf> {
    let place = target_directory()?.join("debian").join(name);
    let root = place.join("root");
    let wanted = format!("{SUITE} {architecture} {packages:?}\n");
    let stamp = place.join("wanted");
    if fs::read_to_string(&stamp).is_ok_and(|had| had == wanted) {
        return Ok(root);
    }
    println!("fetching packages of Debian {SUITE} for {architecture}");
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(&root)?;
    let apt = Apt::new(place.join("apt"), architecture)?;
    let names = packages.iter().map(|package| match package {
        Package::Named(name) => Ok((*name).to_owned()),
        Package::Behind(name) => apt.first_dependency(name),
    });
    apt.download(&names.collect::<Result<Vec<_>>>()?)?;
    let mut versions = String::new();
    for entry in fs::read_dir(apt.debs())? {
        let path = entry?.path();
        output(Command::new("dpkg-deb").arg("-x").args([&path, &root]))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        versions.push_str(&name.replace("%3a", ":"));
        versions.push('\n');
    }
    fs::remove_dir_all(&apt.directory)?;
    fs::write(place.join("versions"), versions)?;
    // Last: it makes the cache valid.
    fs::write(stamp, wanted)?;
    Ok(root)
}

/// A source package of Debian's, as its authors published it: unpacked once.
pub(crate) fn source(package: &str) -> Result<PathBuf> {
    let place = target_directory()?.join("debian/source").join(package);
    let tree = place.join("tree");
    if tree.is_dir() {
        return Ok(tree);
    }
    println!("fetching the source of {package} of Debian {SUITE}");
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    let apt = Apt::new(place.join("apt"), "amd64")?;
    output(
        apt.command("apt-get")
            .args(["source", "--download-only", package]),
    )?;
    let archive = fs::read_dir(apt.debs())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.to_string_lossy();
            // Beside it lies its signature.
            name.contains(".orig.tar.") && !name.ends_with(".asc")
        })
        .with_context(|| format!("Debian's {package} has no source"))?;
    let unpacking = place.join("unpacking");
    fs::create_dir_all(&unpacking)?;
    output(
        Command::new("tar")
            .args(["--strip-components=1", "-xf"])
            .arg(&archive)
            .arg("-C")
            .arg(&unpacking),
    )?;
    fs::remove_dir_all(&apt.directory)?;
    // Last: it makes the cache valid.
    fs::rename(unpacking, &tree)?;
    Ok(tree)
}

/// A private apt root.
struct Apt {
    directory: PathBuf,
    architecture: String,
}

impl Apt {
    fn new(directory: PathBuf, architecture: &str) -> Result<Self> {
        for name in ["lists/partial", "cache/archives/partial", "debs"] {
            fs::create_dir_all(directory.join(name))?;
        }
        let from = format!(
            "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {} {SUITE} main",
            mirror()
        );
        let source = format!("deb {from}\ndeb-src {from}\n");
        fs::write(directory.join("sources.list"), source)?;
        // Empty: nothing of this system counts as installed.
        fs::write(directory.join("status"), "")?;
        let apt = Self {
            directory,
            architecture: architecture.to_owned(),
        };
        output(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    fn debs(&self) -> PathBuf {
        self.directory.join("debs")
    }

    fn command(&self, program: &str) -> Command {
        let at = |path: &str| self.directory.join(path).display().to_string();
        let mut command = Command::new(program);
        for setting in [
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State={}", at("")),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            format!("APT::Architecture={}", self.architecture),
            format!("APT::Architectures={}", self.architecture),
            "Acquire::Languages=none".to_owned(),
            "Acquire::http::Timeout=20".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.arg("-o").arg(setting);
        }
        command
            .arg("-qq")
            .current_dir(self.debs())
            .stdin(Stdio::null());
        command
    }

    fn first_dependency(&self, name: &str) -> Result<String> {
        let text = output(self.command("apt-cache").args(["depends", name]))?;
        text.lines()
            .find_map(|line| line.trim().strip_prefix("Depends: "))
            .map(str::to_owned)
            .with_context(|| format!("Debian's {name} depends on nothing"))
    }

    fn download(&self, names: &[String]) -> Result<()> {
        output(self.command("apt-get").arg("download").args(names)).map(drop)
    }
}

/// The mirror of this system's apt.
fn mirror() -> String {
    let told = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)"])
        .args(["Created-By: Packages", "Label: Debian"])
        .output();
    let told = told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let first = told
        .ok()
        .and_then(|text| text.lines().next().map(str::to_owned));
    first.unwrap_or_else(|| "http://deb.debian.org/debian".to_owned())
}

/// What a program prints, which has to succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| {
        format!(
            "cannot start {}",
            Path::new(command.get_program()).display()
        )
    })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}", describe(command), text.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
