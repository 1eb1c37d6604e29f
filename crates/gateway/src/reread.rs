//! Files that are read again when they change: certificates, authorities, keys. A mounted Secret is exchanged under a running process, and a
//! process that had to be restarted for it would drop every tunnel.
//!
//! Owns: the comparison by content (a mount exchanges symbolic links, so times and inodes tell nothing), at most once a second. Does not own: what
//! the files mean. A file that has become unreadable or wrong leaves the last good value in force, with a warning once per content. One that need not be
//! there is empty where it is not.

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

type Contents = fn(&[PathBuf]) -> Result<Vec<Vec<u8>>, FileError>;
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
    contents: Contents,
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
        Self::with(clock, paths, contents, Box::new(build))
    }

    /// The same of files that need not be there.
    pub(crate) fn optional(
        clock: SharedClock,
        paths: Vec<PathBuf>,
        build: impl Fn(&[PathBuf], &[Vec<u8>]) -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        Self::with(clock, paths, contents_if_there, Box::new(build))
    }

    fn with(
        clock: SharedClock,
        paths: Vec<PathBuf>,
        contents: Contents,
        build: Build<T>,
    ) -> Result<Self, FileError> {
        let read = contents(&paths)?;
        let state = State {
            looked: clock.monotonic(),
            value: Arc::new(build(&paths, &read)?),
            contents: read,
        };
        Ok(Self {
            clock,
            paths,
            contents,
            build,
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
        match (self.contents)(&self.paths) {
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

fn contents_if_there(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, FileError> {
    let read = |path: &PathBuf| match path.exists() {
        true => read(path),
        false => Ok(Vec::new()),
    };
    paths.iter().map(read).collect()
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

    #[test]
    fn a_file_that_need_not_be_there_is_empty_before_it_comes_and_after_it_went() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("text");
        let clock = SimulatedClock::new(0);
        let text = |_: &[PathBuf], contents: &[Vec<u8>]| {
            Ok(String::from_utf8_lossy(&contents[0]).into_owned())
        };
        let reread = Reread::optional(Arc::new(clock.clone()), vec![path.clone()], text).unwrap();
        assert_eq!(*reread.get(), "");
        std::fs::write(&path, "here").unwrap();
        clock.advance(FRESH);
        assert_eq!(*reread.get(), "here");
        std::fs::remove_file(&path).unwrap();
        clock.advance(FRESH);
        assert_eq!(*reread.get(), "");
    }
}
