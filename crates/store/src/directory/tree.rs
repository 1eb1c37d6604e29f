//! Files below an open root, without symbolic links. All of it blocks.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::Path;

use bytes::Bytes;
use moorline_base::Untrusted;
use moorline_core::port::StoreError;
use rustix::fs::{AtFlags, Mode, OFlags, fstat, fsync, mkdirat, openat, stat, unlinkat};
use rustix::io::Errno;

use crate::key_path::components;

/// Where copies are written before they are renamed to their keys; no object lies here and no listing shows it.
pub(super) const INCOMING: &str = ".incoming";

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// `NONBLOCK`: a named pipe that somebody put there must not hold us.
const OBJECT: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// The open root.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
}

impl Tree {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let incoming = path.join(INCOMING);
        match fs::remove_dir_all(&incoming) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => DirBuilder::new().mode(0o700).create(&incoming)?,
        }
        let root = openat(
            rustix::fs::CWD,
            path,
            FOLDER.difference(OFlags::NOFOLLOW),
            Mode::empty(),
        )?;
        Ok(Self { root })
    }

    /// Whether this directory is still the one at `path`. No other has its numbers while it is open.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        match (stat(path), fstat(&self.root)) {
            (Ok(there), Ok(here)) => (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino),
            _ => false,
        }
    }

    /// A folder that is there.
    pub(super) fn folder(&self, parts: &[&str]) -> rustix::io::Result<OwnedFd> {
        let mut at = openat(&self.root, ".", FOLDER, Mode::empty())?;
        for part in parts {
            at = openat(&at, *part, FOLDER, Mode::empty())?;
        }
        Ok(at)
    }

    /// A folder, made with all that lead to it; new ones are durable.
    pub(super) fn make_folder(&self, parts: &[&str]) -> rustix::io::Result<OwnedFd> {
        let mut at = openat(&self.root, ".", FOLDER, Mode::empty())?;
        for part in parts {
            match mkdirat(&at, *part, Mode::RWXU) {
                Ok(()) => fsync(&at)?,
                Err(Errno::EXIST) => {}
                Err(cause) => return Err(cause),
            }
            at = openat(&at, *part, FOLDER, Mode::empty())?;
        }
        Ok(at)
    }

    /// An object for reading, and its length.
    pub(super) fn object(&self, key: &str) -> Result<(File, u64), StoreError> {
        let parts = components(key)?;
        let (name, folders) = split(&parts);
        let found = self
            .folder(folders)
            .and_then(|folder| openat(&folder, name, OBJECT, Mode::empty()))
            .map_err(|cause| reading(key, cause))?;
        let file = File::from(found);
        let metadata = file.metadata().map_err(|cause| failed(key, &cause))?;
        if !metadata.is_file() {
            return Err(StoreError::Missing(shown(key)));
        }
        Ok((file, metadata.len()))
    }

    pub(super) fn length(&self, key: &str) -> Result<u64, StoreError> {
        self.object(key).map(|(_, length)| length)
    }

    /// The bytes of `range` that exist. The caller has bounded it.
    pub(super) fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let (file, length) = self.object(key)?;
        let end = range.end.min(length);
        let wanted = usize::try_from(end.saturating_sub(range.start)).unwrap_or(0);
        let mut buffer = vec![0; wanted];
        file.read_exact_at(&mut buffer, range.start)
            .map_err(|cause| failed(key, &cause))?;
        Ok(buffer.into())
    }

    /// Removes an object and the folders that are empty then.
    pub(super) fn delete(&self, key: &str) -> Result<(), StoreError> {
        let parts = components(key)?;
        let (name, mut folders) = split(&parts);
        let removed = self
            .folder(folders)
            .and_then(|folder| unlinkat(&folder, name, AtFlags::empty()));
        match removed {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(cause) => return Err(failed(key, &cause.into())),
        }
        while let Some((name, above)) = folders.split_last() {
            let emptied = self
                .folder(above)
                .and_then(|folder| unlinkat(&folder, *name, AtFlags::REMOVEDIR));
            // Not empty, most of the time; whatever else it is, the object is gone.
            if emptied.is_err_and(|cause| cause != Errno::NOENT) {
                break;
            }
            folders = above;
        }
        Ok(())
    }
}

/// The name and the folders of a key's components.
pub(super) fn split<'a, 'b>(parts: &'a [&'b str]) -> (&'b str, &'a [&'b str]) {
    parts
        .split_last()
        .map_or(("", &[]), |(name, folders)| (*name, folders))
}

/// A key in a message.
pub(super) fn shown(key: &str) -> String {
    Untrusted::new(key).to_string()
}

/// What a failed open means to a reader: a link or a file in place of a folder is no object.
fn reading(key: &str, cause: Errno) -> StoreError {
    match cause {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO => StoreError::Missing(shown(key)),
        cause => failed(key, &cause.into()),
    }
}

/// What the system's error means.
pub(super) fn failed(key: &str, cause: &io::Error) -> StoreError {
    let text = format!("{}: {cause}", shown(key));
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(text),
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory => StoreError::Refused(text),
        _ if cause.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => StoreError::Refused(text),
        _ => StoreError::Unavailable(text),
    }
}
