//! Whether the root is the one that recordings were kept in: a disk that is not mounted leaves an empty directory of the same name, and what was
//! written there would fill the system's disk and vanish under the mount.
//!
//! A random id stands in the file [`MARK`] of the root, and in a file that the owner of the store keeps elsewhere. The first open writes both.
//! From then on a root without that id is none: every call says so, and each looks again, at most every 5 s, so that a disk that is mounted
//! later is used without a restart.

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
/// How often an absent root is looked for.
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
enum State {
    Open(Arc<Tree>),
    Absent { looked: Instant, why: String },
}

impl Root {
    /// Opens the root, or waits for it.
    pub(super) fn open(
        path: &Path,
        memory: Option<&Path>,
        now: Instant,
    ) -> Result<Self, StoreError> {
        let mut root = Self {
            path: path.to_owned(),
            memory: memory.map(Path::to_owned),
            state: Mutex::new(State::Absent {
                looked: now,
                why: String::new(),
            }),
        };
        let state = root.look(now)?;
        root.state = Mutex::new(state);
        Ok(root)
    }

    /// Why there is no root; `None`: it is open.
    pub(super) fn absent(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Open(_) => None,
            State::Absent { why, .. } => Some(why.clone()),
        }
    }

    /// The open root.
    pub(super) fn tree(&self, now: Instant) -> Result<Arc<Tree>, StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Absent { looked, .. } = &*state
            && now.saturating_duration_since(*looked) >= LOOK_EVERY
        {
            *state = self.look(now)?;
            if matches!(*state, State::Open(_)) {
                tracing::info!(directory = %self.path.display(), "the directory with recordings is there again");
            }
        }
        match &*state {
            State::Open(tree) => Ok(Arc::clone(tree)),
            State::Absent { why, .. } => Err(StoreError::Unavailable(why.clone())),
        }
    }

    fn look(&self, now: Instant) -> Result<State, StoreError> {
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
            return Ok(State::Absent { looked: now, why });
        }
        let tree = Tree::open(&self.path).map_err(refused)?;
        if let (Some(memory), None) = (&self.memory, remembered) {
            self.introduce(memory).map_err(refused)?;
        }
        Ok(State::Open(Arc::new(tree)))
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
