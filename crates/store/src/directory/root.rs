//! Whether the root is the one that recordings were kept in: a disk that is not mounted leaves an empty directory of the same name, and what was
//! written there would fill the system's disk and vanish under the mount.
//!
//! A random id stands in the file [`MARK`] of the root, and in a file that the owner of the store keeps elsewhere. The first open writes both.
//! From then on a root without that id is none: every call says so, and each looks again, at most every 5 s, so that a disk that is mounted
//! later is used without a restart. A root that is open is looked at as often: a disk that dropped out and came back is another directory at
//! the same place, while the descriptor of the first one fails for ever.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moorline_base::files::{Access, write_atomic};
use moorline_core::port::StoreError;

use super::tree::Tree;

/// The file in the root; no object, and no listing shows it.
pub(super) const MARK: &str = ".moorline-archive";
/// How often the root is looked at, or looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The root, open or awaited. All of it blocks.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    /// Where its id is remembered; `None`: whatever is there is the root.
    memory: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    looked: Instant,
    /// The open root, or why there is none.
    root: Result<Arc<Tree>, String>,
}

impl Root {
    /// Opens the root, or waits for it.
    pub(super) fn open(
        path: &Path,
        memory: Option<&Path>,
        now: Instant,
    ) -> Result<Self, StoreError> {
        let unknown = Err(String::new());
        let root = Self {
            path: path.to_owned(),
            memory: memory.map(Path::to_owned),
            state: Mutex::new(State {
                looked: now,
                root: unknown,
            }),
        };
        let found = root.look()?;
        root.set(found);
        Ok(root)
    }

    /// Why there is no root; `None`: it is open.
    pub(super) fn absent(&self) -> Option<String> {
        self.with(|state| state.root.as_ref().err().cloned())
    }

    /// The open root.
    pub(super) fn tree(&self, now: Instant) -> Result<Arc<Tree>, StoreError> {
        let (before, due) = self.with(|state| {
            let due = now.saturating_duration_since(state.looked) >= LOOK_EVERY;
            if due {
                state.looked = now;
            }
            (state.root.clone(), due)
        });
        if !due || before.as_ref().is_ok_and(|tree| tree.is_at(&self.path)) {
            return before.map_err(StoreError::Unavailable);
        }
        // Outside the lock: a disk may hang, and others ask meanwhile.
        let found = self.look().unwrap_or_else(|cause| Err(cause.to_string()));
        match (&before, &found) {
            (Err(_), Ok(_)) => {
                tracing::info!(directory = %self.path.display(), "the directory with recordings is there again");
            }
            (Ok(_), Ok(_)) => {
                tracing::info!(directory = %self.path.display(), "the directory with recordings was replaced and is opened anew");
            }
            (Ok(_), Err(why)) => tracing::error!(why, "the directory with recordings is gone"),
            (Err(_), Err(_)) => {}
        }
        self.set(found.clone());
        found.map_err(StoreError::Unavailable)
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, found: Result<Arc<Tree>, String>) {
        self.with(|state| state.root = found);
    }

    /// The root that is there now, or why there is none.
    fn look(&self) -> Result<Result<Arc<Tree>, String>, StoreError> {
        let refused = |cause: io::Error| {
            StoreError::Refused(format!(
                "cannot use the directory {}: {cause}",
                self.path.display()
            ))
        };
        let remembered = match &self.memory {
            Some(memory) => remembered(memory, &self.path).map_err(refused)?,
            None => None,
        };
        if let Some(id) = &remembered
            && read(&self.path.join(MARK)).map_err(refused)?.as_ref() != Some(id)
        {
            let why = format!(
                "{} is not the directory that recordings were kept in: its disk is not mounted. If they are to begin anew there, remove {}",
                self.path.display(),
                self.memory.as_deref().unwrap_or(Path::new("")).display()
            );
            return Ok(Err(why));
        }
        let tree = Tree::open(&self.path).map_err(refused)?;
        if let (Some(memory), None) = (&self.memory, remembered) {
            self.introduce(memory).map_err(refused)?;
        }
        Ok(Ok(Arc::new(tree)))
    }

    /// The first time: a root that was used before keeps its id.
    fn introduce(&self, memory: &Path) -> io::Result<()> {
        let mark = self.path.join(MARK);
        let id = match read(&mark)? {
            Some(id) => id,
            None => {
                let id = format!("{:032x}", rand::random::<u128>());
                write_atomic(&mark, id.as_bytes(), Access::Private)?;
                id
            }
        };
        let text = format!("{id}\n{}\n", self.path.display());
        write_atomic(memory, text.as_bytes(), Access::Private)
    }
}

/// The id that belongs to this path; another path is another store, to be introduced.
fn remembered(memory: &Path, path: &Path) -> io::Result<Option<String>> {
    let Some(text) = read(memory)? else {
        return Ok(None);
    };
    let (id, known) = text.split_once('\n').unwrap_or((&text, ""));
    Ok((known.trim_end() == path.display().to_string()).then(|| id.to_owned()))
}

/// A file's text without what stands behind it; `None`: there is no such file.
fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())),
        Err(cause)
            if matches!(
                cause.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(cause) => Err(cause),
    }
}
