//! The releases of a data directory, and how far each is rolled out: `agent-releases/<target>-<version>.release` and `.json` beside it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail, ensure};
use moorline_base::error::Hinted;
use moorline_base::files::{Access, write_atomic};
use moorline_control::Version;
use moorline_core::port::AgentRelease;

use super::plan::{Progress, Stage};
use super::release;

/// All are held in memory, so that a camera's session never waits for a disk.
pub const MOST: usize = 16;

/// Why a release is not taken whose name another one has.
pub fn another(target: &str, version: &str) -> Hinted {
    Hinted::new(
        format!("another agent {version} for {target} is here"),
        "give the new one a version of its own: cameras tell releases apart by it",
    )
}

/// Why none is taken any more.
pub fn full(remove: impl Into<String>) -> Hinted {
    Hinted::new(format!("{MOST} releases are here already"), remove)
}

/// What names a release.
pub type Name = (String, Version);

/// A release and how far it is.
#[derive(Debug, Clone)]
pub struct Held {
    /// The release.
    pub release: Arc<AgentRelease>,
    /// How far it is.
    pub progress: Progress,
}

/// The releases.
#[derive(Debug)]
pub struct Shelf {
    directory: PathBuf,
    held: Mutex<BTreeMap<Name, Held>>,
}

impl Shelf {
    /// Reads those of a data directory. A damaged one is told and left out.
    pub fn open(data: &Path) -> Self {
        let directory = data.join("agent-releases");
        let mut held = BTreeMap::new();
        let entries = std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten();
        let files = entries.map(|entry| entry.path());
        let mut files: Vec<PathBuf> = files
            .filter(|path| path.extension().is_some_and(|end| end == "release"))
            .collect();
        files.sort();
        for path in files.into_iter().take(MOST) {
            match load(&path) {
                Ok((name, one)) => {
                    held.insert(name, one);
                }
                Err(error) => {
                    let path = path.display();
                    tracing::error!(%path, error = format!("{error:#}"), "a release of the agent is left out");
                }
            }
        }
        Self {
            directory,
            held: Mutex::new(held),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, by target and version.
    pub fn all(&self) -> Vec<(Name, Held)> {
        let held = self.lock();
        held.iter()
            .map(|(name, held)| (name.clone(), held.clone()))
            .collect()
    }

    /// Takes a release file. The same one again changes nothing. Writes files.
    ///
    /// # Errors
    /// It is none, another one has its name, there are too many, or it cannot be written.
    pub fn add(&self, file: &[u8]) -> anyhow::Result<Name> {
        let release = release::read(file)?;
        let version = Version::new(&release.version).context("its version is not a.b.c")?;
        let name = (release.target.clone(), version);
        let mut held = self.lock();
        if let Some(known) = held.get(&name) {
            ensure!(
                *known.release == release,
                another(&release.target, &release.version)
            );
            return Ok(name);
        }
        if held.len() >= MOST {
            bail!(full(
                "remove old ones from agent-releases in the data directory while no server runs"
            ));
        }
        std::fs::create_dir_all(&self.directory)?;
        let path = self.path(&name, "release");
        write_atomic(&path, file, Access::Private)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let release = Arc::new(release);
        let progress = Progress::default();
        held.insert(name.clone(), Held { release, progress });
        Ok(name)
    }

    /// Sets how far a release goes, and that it goes on. Of one target one release goes at a time. Writes files.
    ///
    /// # Errors
    /// There is no such release, or it cannot be written.
    pub fn set_stage(&self, name: &Name, stage: Stage) -> anyhow::Result<()> {
        let mut held = self.lock();
        let one = held.get_mut(name).context("there is no such release")?;
        one.progress.stage = stage;
        one.progress.stopped = None;
        let mut changed = vec![name.clone()];
        if stage != Stage::Off {
            for (other, held) in held.iter_mut() {
                if other.0 == name.0 && other != name && held.progress.stage != Stage::Off {
                    held.progress.stage = Stage::Off;
                    changed.push(other.clone());
                }
            }
        }
        for name in changed {
            if let Some(held) = held.get(&name) {
                self.write(&name, &held.progress)?;
            }
        }
        Ok(())
    }

    /// Changes how far a release is; says whether to [`Shelf::keep`] it.
    pub fn step<T>(&self, name: &Name, change: impl FnOnce(&mut Progress) -> T) -> Option<T> {
        let mut held = self.lock();
        held.get_mut(name).map(|held| change(&mut held.progress))
    }

    /// Writes how far a release is.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&self, name: &Name) -> io::Result<()> {
        let held = self.lock();
        match held.get(name) {
            Some(held) => self.write(name, &held.progress),
            None => Ok(()),
        }
    }

    fn write(&self, name: &Name, progress: &Progress) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(progress)?;
        write_atomic(&self.path(name, "json"), &text, Access::Private)
    }

    fn path(&self, (target, version): &Name, end: &str) -> PathBuf {
        self.directory.join(format!("{target}-{version}.{end}"))
    }
}

fn load(path: &Path) -> anyhow::Result<(Name, Held)> {
    let release = release::read(&std::fs::read(path)?)?;
    let version = Version::new(&release.version).context("its version is not a.b.c")?;
    let progress = match std::fs::read(path.with_extension("json")) {
        Ok(text) => serde_json::from_slice(&text).context("how far it is cannot be read")?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Progress::default(),
        Err(error) => return Err(error.into()),
    };
    let name = (release.target.clone(), version);
    let release = Arc::new(release);
    Ok((name, Held { release, progress }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: &str) -> Vec<u8> {
        let program = format!("x moorline-agent-stamp {version} mipsel\n");
        let offer = release::unsigned(program.as_bytes()).unwrap();
        release::write(&offer, program.as_bytes())
    }

    #[test]
    fn releases_and_their_progress_are_there_after_a_restart_and_one_of_a_target_goes_at_a_time() {
        let data = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(data.path());
        let old = shelf.add(&file("0.2.0")).unwrap();
        let new = shelf.add(&file("0.10.0")).unwrap();
        assert_eq!(shelf.add(&file("0.2.0")).unwrap(), old);
        shelf.set_stage(&old, Stage::All).unwrap();
        shelf.set_stage(&new, Stage::One).unwrap();
        shelf.step(&new, |progress| {
            progress.begun.insert("yard".parse().unwrap());
            progress.stopped = Some("it failed".into());
        });
        shelf.keep(&new).unwrap();
        std::fs::write(data.path().join("agent-releases/torn.release"), "UPG").unwrap();
        let all = Shelf::open(data.path()).all();
        let stages: Vec<_> = all
            .iter()
            .map(|(name, held)| (name.1, held.progress.stage))
            .collect();
        assert_eq!(
            stages,
            [
                (Version(0, 2, 0), Stage::Off),
                (Version(0, 10, 0), Stage::One)
            ]
        );
        assert_eq!(all[1].1.progress.stopped.as_deref(), Some("it failed"));
        assert_eq!(all[1].1.progress.begun.len(), 1);
    }
}
