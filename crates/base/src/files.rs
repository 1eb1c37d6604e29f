//! Files: written whole or not at all, one process per data directory, and how much room is left.
//!
//! Owns: [`write_atomic`] (P3, P11), [`DataDir`], [`disk_space`] and [`allocate`]. Does not own: what stands in the files. Everything here blocks: call it at start, or from a
//! blocking task.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Held by the process that has the directory; its mark as ours.
const LOCK: &str = "lock";

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// 0600: its owner alone (S25, S36).
    Private,
    /// 0644: anyone on the machine.
    Public,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Access::Private => 0o600,
            Access::Public => 0o644,
        }
    }
}

/// Replaces a file with `content`: after a crash or power loss either the old or the new one is there, whole. Writes a temporary file
/// beside it, syncs it, renames it and syncs the directory. The mode is exactly that of `access`, whatever the umask.
///
/// # Errors
/// The system's; the old file stands then, and the temporary one is removed (after a crash it may be left: `.<name>.<random>.tmp`).
pub fn write_atomic(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(format!(".{:016x}.tmp", rand::random::<u64>()));
    let temporary = directory.join(temporary_name);
    let result = write_synced(&temporary, content, access)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_directory(directory));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn write_synced(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(access.mode());
    let mut file = options.open(path)?;
    // The mode given to open is narrowed by the umask.
    file.set_permissions(fs::Permissions::from_mode(access.mode()))?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes renames and removals in a directory durable.
///
/// # Errors
/// The system's.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A data directory that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("the data directory {} is in use by {}", directory.display(), holder(*pid))]
    Held {
        /// The directory.
        directory: PathBuf,
        /// The process, when its file says so.
        pid: Option<u32>,
    },
    /// It is somebody else's: nothing in it is changed, not even who may read it.
    #[error("{} holds other files and no data of ours", directory.display())]
    Foreign {
        /// The directory.
        directory: PathBuf,
    },
    /// The system refuses.
    #[error("cannot use the data directory {}: {source}", directory.display())]
    Io {
        /// The directory.
        directory: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
}

impl LockError {
    /// What the operator can do, when we know.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            LockError::Held { pid: Some(pid), .. } => Some(format!(
                "stop it (`kill {pid}`), or choose another directory with --data"
            )),
            LockError::Held { pid: None, .. } => {
                Some("stop it, or choose another directory with --data".into())
            }
            LockError::Foreign { directory } => Some(format!(
                "name a directory of its own with --data: {} for example",
                directory.join("moorline").display()
            )),
            LockError::Io { directory, source } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some(format!(
                        "run as the user that owns {}, or choose another directory with --data",
                        directory.display()
                    ))
                }
                _ => None,
            },
        }
    }
}

/// Whether a directory is ours, or may become so. What a file system keeps in its root is nobody's.
fn is_ours(directory: &Path) -> io::Result<bool> {
    let mut is_empty = true;
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name == LOCK || name.starts_with("moorline") {
            return Ok(true);
        }
        is_empty &= name == "lost+found";
    }
    Ok(is_empty)
}

/// The data directory, locked for this process until dropped. The kernel drops the lock with the process, however it dies.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory (0700, with its parents), takes others' rights on it away (S25) and locks it.
    ///
    /// A directory that is there must be ours: empty, or with our lock or a file `moorline*` in it. `--data /var/lib` is a slip, and must not cost
    /// others their files.
    ///
    /// # Errors
    /// [`LockError::Held`] names the process that has it; nothing was changed then but the mode. [`LockError::Foreign`]: nothing was changed.
    pub fn open(path: &Path) -> Result<Self, LockError> {
        Self::open_if(path, is_ours)
    }

    /// The same for a directory whose name we chose, inside a data directory: whatever is in it is ours.
    ///
    /// # Errors
    /// As [`DataDir::open`], without [`LockError::Foreign`].
    pub fn open_within(path: &Path) -> Result<Self, LockError> {
        Self::open_if(path, |_| Ok(true))
    }

    fn open_if(
        path: &Path,
        may_be_taken: impl Fn(&Path) -> io::Result<bool>,
    ) -> Result<Self, LockError> {
        let failed = |source| LockError::Io {
            directory: path.into(),
            source,
        };
        let mut builder = fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        if !may_be_taken(path).map_err(failed)? {
            return Err(LockError::Foreign {
                directory: path.into(),
            });
        }
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            let narrowed = fs::Permissions::from_mode(mode & 0o7700);
            fs::set_permissions(path, narrowed).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut lock = options.open(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    directory: path.into(),
                    pid: read_pid(&mut lock),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let pid = format!("{}\n", std::process::id());
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| lock.write_all(pid.as_bytes()))
            .map_err(failed)?;
        Ok(DataDir {
            path: path.into(),
            _lock: lock,
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The room of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Its size in bytes.
    pub total: u64,
    /// What we may still use, in bytes: without what is reserved for root.
    pub available: u64,
}

/// The room of the file system that `path` lies on.
///
/// # Errors
/// The system's, when the path does not exist.
pub fn disk_space(path: &Path) -> io::Result<DiskSpace> {
    let room = rustix::fs::statvfs(path)?;
    Ok(DiskSpace {
        total: room.f_blocks.saturating_mul(room.f_frsize),
        available: room.f_bavail.saturating_mul(room.f_frsize),
    })
}

/// Gives a file the blocks for `bytes` from its beginning on, so that writing there cannot fail for want of room; its length stays.
///
/// # Errors
/// The system's: [`io::ErrorKind::StorageFull`], or [`io::ErrorKind::Unsupported`] where the file system cannot.
pub fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(file, flags, 0, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("exists").permissions().mode() & 0o777
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(path)
            .expect("a directory")
            .map(|entry| {
                entry
                    .expect("entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().expect("temp directory");
        let path = directory.path().join("key");
        write_atomic(&path, b"first, longer", Access::Public).expect("written");
        assert_eq!(mode(&path), 0o644);
        write_atomic(&path, b"second", Access::Private).expect("written");
        assert_eq!(fs::read(&path).expect("readable"), b"second");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(names(directory.path()), ["key"]);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_thing_and_nothing_beside_it() {
        let directory = tempfile::tempdir().expect("temp directory");
        let path = directory.path().join("key");
        fs::create_dir(&path).expect("a directory stands where the file should");
        assert!(write_atomic(&path, b"x", Access::Private).is_err());
        assert_eq!(names(directory.path()), ["key"]);
        assert!(write_atomic(Path::new("/"), b"x", Access::Private).is_err());
    }

    #[test]
    fn a_second_holder_is_refused_and_told_who_has_it() {
        let parent = tempfile::tempdir().expect("temp directory");
        let path = parent.path().join("a/b");
        let first = DataDir::open(&path).expect("free");
        assert_eq!(mode(&path), 0o700);
        let error = DataDir::open(&path).unwrap_err();
        let pid = std::process::id();
        assert_eq!(
            crate::error::report(&error),
            format!(
                "the data directory {} is in use by process {pid}\nhint: stop it (`kill {pid}`), or choose another directory with --data",
                path.display()
            )
        );
        drop(first);
        assert_eq!(DataDir::open(&path).expect("free again").path(), path);
    }

    #[test]
    fn a_directory_that_others_may_read_is_closed() {
        let directory = tempfile::tempdir().expect("temp directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("owner");
        let _held = DataDir::open(directory.path()).expect("free");
        assert_eq!(mode(directory.path()), 0o700);
    }

    #[test]
    fn a_directory_of_others_is_left_as_it_is() {
        let directory = tempfile::tempdir().expect("temp directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("owner");
        fs::write(directory.path().join("somebody's"), b"x").expect("room");
        let error = DataDir::open(directory.path()).unwrap_err();
        let path = directory.path().display();
        assert_eq!(
            crate::error::report(&error),
            format!(
                "{path} holds other files and no data of ours\nhint: name a directory of its own with --data: {path}/moorline for example"
            )
        );
        assert_eq!(mode(directory.path()), 0o755);
        assert_eq!(names(directory.path()), ["somebody's"]);
        // Its configuration may be there before the first start.
        fs::write(directory.path().join("moorline.toml"), b"").expect("room");
        DataDir::open(directory.path()).expect("ours");
    }

    #[test]
    fn a_path_that_is_no_directory_is_named() {
        let file = tempfile::NamedTempFile::new().expect("temp file");
        let error = DataDir::open(file.path()).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!(
                "cannot use the data directory {}: ",
                file.path().display()
            )),
            "{error}"
        );
    }

    #[test]
    fn blocks_are_given_ahead_and_the_length_stays() {
        use std::os::unix::fs::MetadataExt as _;
        let file = tempfile::tempfile().expect("temp file");
        match allocate(&file, 1 << 20) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
            given => given.expect("room"),
        }
        let about = file.metadata().expect("open");
        assert_eq!(about.len(), 0);
        assert!(about.blocks() * 512 >= 1 << 20, "{} blocks", about.blocks());
    }

    #[test]
    fn there_is_room_where_tests_run() {
        let room = disk_space(&std::env::temp_dir()).expect("exists");
        assert!(
            room.available > 0 && room.available <= room.total,
            "{room:?}"
        );
        assert!(disk_space(Path::new("/nonexistent")).is_err());
    }
}
