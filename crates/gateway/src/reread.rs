//! Files that are read again when they change: certificates, authorities, keys. A mounted Secret is exchanged under a running process, and a
//! process that had to be restarted for it would drop every tunnel.
//!
//! Owns: the comparison by content (a mount exchanges symbolic links, so times and inodes tell nothing), at most once a second. Does not own: what
//! the files mean. A file that has become unreadable or wrong leaves the last good value in force, with a warning once per content.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moorline_base::SharedClock;

/// How long what was read counts as fresh.
const FRESH: Duration = Duration::from_secs(1);
/// No certificate, key or token is larger.
const LARGEST: u64 = 256 * 1024;

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use {}: {why}", path.display())]
pub struct FileError {
    /// Which.
    pub path: PathBuf,
    /// Why, in words; nothing of its content.
    pub why: String,
}

impl FileError {
    pub(crate) fn new(path: &Path, why: impl fmt::Display) -> Self {
        Self {
            path: path.into(),
            why: why.to_string(),
        }
    }
}

/// Reads a small file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    use std::io::Read as _;
    let read = || {
        let mut content = Vec::new();
        let file = std::fs::File::open(path)?;
        file.take(LARGEST + 1).read_to_end(&mut content)?;
        Ok::<_, std::io::Error>(content)
    };
    let content = read().map_err(|cause| FileError::new(path, cause))?;
    if content.len() as u64 > LARGEST {
        return Err(FileError::new(path, "it is larger than 256 KiB"));
    }
    Ok(content)
}

type Build<T> = Box<dyn Fn(&[PathBuf], &[Vec<u8>]) -> Result<T, FileError> + Send + Sync>;

struct State<T> {
    looked: Instant,
    contents: Vec<Vec<u8>>,
    value: Arc<T>,
}

/// What is made of some files, made anew when one of them changes.
pub(crate) struct Reread<T> {
    clock: SharedClock,
    paths: Vec<PathBuf>,
    build: Build<T>,
    state: Mutex<State<T>>,
}

impl<T> fmt::Debug for Reread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reread")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

impl<T> Reread<T> {
    /// Reads for the first time.
    pub(crate) fn new(
        clock: SharedClock,
        paths: Vec<PathBuf>,
        build: impl Fn(&[PathBuf], &[Vec<u8>]) -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let contents = contents(&paths)?;
        let state = State {
            looked: clock.monotonic(),
            value: Arc::new(build(&paths, &contents)?),
            contents,
        };
        Ok(Self {
            clock,
            paths,
            build: Box::new(build),
            state: Mutex::new(state),
        })
    }

    /// The value of the files as they are now, or as they were last good.
    pub(crate) fn get(&self) -> Arc<T> {
        let now = self.clock.monotonic();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.looked) < FRESH {
            return Arc::clone(&state.value);
        }
        state.looked = now;
        match contents(&self.paths) {
            Ok(contents) if contents != state.contents => {
                match (self.build)(&self.paths, &contents) {
                    Ok(value) => {
                        tracing::info!(file = ?self.paths.first(), "read again");
                        state.value = Arc::new(value);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the file has changed and is not good: going on with the last one");
                    }
                }
                state.contents = contents;
            }
            Ok(_) => {}
            // Between two exchanges of a mount a file may be missing for a moment.
            Err(error) => tracing::debug!(%error, "a file is not there"),
        }
        Arc::clone(&state.value)
    }
}

fn contents(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, FileError> {
    paths.iter().map(|path| read(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_base::SimulatedClock;

    #[test]
    fn a_changed_file_is_used_and_a_bad_one_leaves_the_last_good_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let clock = SimulatedClock::new(0);
        let reread = Reread::new(
            Arc::new(clock.clone()),
            vec![path.clone()],
            |paths, contents| {
                let text = String::from_utf8_lossy(&contents[0]).into_owned();
                text.parse::<u32>()
                    .map_err(|cause| FileError::new(&paths[0], cause))
            },
        )
        .unwrap();
        assert_eq!(*reread.get(), 1);
        for (content, expected) in [("2", 2), ("bad", 2), ("3", 3)] {
            std::fs::write(&path, content).unwrap();
            clock.advance(FRESH);
            assert_eq!(*reread.get(), expected, "after {content}");
        }
        std::fs::remove_file(&path).unwrap();
        clock.advance(FRESH);
        assert_eq!(*reread.get(), 3, "missing");
        let missing = Reread::new(Arc::new(clock), vec![path.clone()], |_, _| Ok(()));
        assert!(missing.unwrap_err().to_string().contains("number"));
    }
}
