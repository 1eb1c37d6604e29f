//! The put: a rename and the fsync of both directories; from another file system a verified copy.
//!
//! No path of an error removes the spool's file (P3, never-delete rule 4).

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use md5::{Digest as _, Md5};
use moorline_base::files::sync_directory;
use moorline_core::port::{SealedFile, StoreError};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::tree::{INCOMING, Tree, failed, split};
use crate::MAX_OBJECT;
use crate::key_path::components;

/// How often the folder may vanish between its making and the rename: a sweep removes empty ones.
const ATTEMPTS: usize = 8;
const CHUNK: usize = 1024 * 1024;

/// Stores a sealed file under its key and removes it from the spool.
pub(super) fn sealed(tree: &Tree, file: &SealedFile) -> Result<(), StoreError> {
    let key = file.key.to_string();
    if file.bytes > MAX_OBJECT {
        return Err(StoreError::Refused(format!("{key} is larger than 256 MiB")));
    }
    let length = match fs::symlink_metadata(&file.path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => {
            return Err(StoreError::Refused(format!(
                "{} is no file",
                file.path.display()
            )));
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            return put_before(tree, file, &key);
        }
        Err(cause) => return Err(failed(&key, &cause)),
    };
    if length != file.bytes {
        return Err(StoreError::Digest(key));
    }
    let parts = components(&key)?;
    let (name, folders) = split(&parts);
    let renamed = place(tree, folders, |folder| {
        renameat(CWD, &file.path, folder, name)
    });
    match renamed {
        Ok(()) => {}
        Err(Errno::XDEV) => {
            copy_in(tree, file, &key)?;
            fs::remove_file(&file.path).map_err(|cause| failed(&key, &cause))?;
        }
        Err(cause) => return Err(failed(&key, &cause.into())),
    }
    let spool = file.path.parent().unwrap_or(Path::new("."));
    sync_directory(spool).map_err(|cause| failed(&key, &cause))
}

/// A put whose caller was cancelled after the rename, or whose fsync failed, comes again without a file.
fn put_before(tree: &Tree, file: &SealedFile, key: &str) -> Result<(), StoreError> {
    let parts = components(key)?;
    let (_, folders) = split(&parts);
    match tree.length(key) {
        Ok(length) if length == file.bytes => {}
        Ok(_) => return Err(StoreError::Digest(key.to_owned())),
        Err(cause) => return Err(cause),
    }
    tree.folder(folders)
        .and_then(|folder| fsync(&folder))
        .map_err(|cause| failed(key, &cause.into()))?;
    let spool = file.path.parent().unwrap_or(Path::new("."));
    sync_directory(spool).map_err(|cause| failed(key, &cause))
}

/// Writes a few bytes under a key.
pub(super) fn bytes(tree: &Tree, key: &str, content: &[u8]) -> Result<(), StoreError> {
    write_in(tree, key, |target| target.write_all(content))
}

/// Copies an object inside the store.
pub(super) fn copy(tree: &Tree, from: &str, to: &str) -> Result<(), StoreError> {
    components(to)?;
    let (mut source, _) = tree.object(from)?;
    write_in(tree, to, |target| io::copy(&mut source, target).map(|_| ()))
}

/// Copies the spool's file in; what was written is read back before it gets its key and anybody may remove the original.
fn copy_in(tree: &Tree, file: &SealedFile, key: &str) -> Result<(), StoreError> {
    let mut source = File::open(&file.path).map_err(|cause| failed(key, &cause))?;
    let mut faithful = true;
    let written = write_in(tree, key, |target| {
        let sent = hashed(&mut source, |chunk| target.write_all(chunk))?;
        target.sync_all()?;
        target.rewind()?;
        let held = hashed(target, |_| Ok(()))?;
        faithful = held == sent && file.md5.is_none_or(|md5| md5 == sent);
        faithful
            .then_some(())
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    });
    match written {
        Err(_) if !faithful => Err(StoreError::Digest(key.to_owned())),
        written => written,
    }
}

/// The MD5 of what `take` is given.
fn hashed(
    source: &mut impl Read,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<[u8; 16]> {
    let mut buffer = vec![0; CHUNK];
    let mut hash = Md5::new();
    loop {
        let count = source.read(&mut buffer)?;
        let chunk = buffer.get(..count).unwrap_or_default();
        if chunk.is_empty() {
            return Ok(hash.finalize().into());
        }
        hash.update(chunk);
        take(chunk)?;
    }
}

/// Writes a file beside the tree, syncs it and renames it to its key.
fn write_in(
    tree: &Tree,
    key: &str,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), StoreError> {
    let parts = components(key)?;
    let (name, folders) = split(&parts);
    let broken = |cause: io::Error| failed(key, &cause);
    let incoming = tree
        .make_folder(&[INCOMING])
        .map_err(|cause| broken(cause.into()))?;
    let temporary = format!("{:016x}", rand::random::<u64>());
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let written = openat(&incoming, &temporary, flags, Mode::RUSR | Mode::WUSR)
        .map_err(io::Error::from)
        .and_then(|file| {
            let mut file = File::from(file);
            write(&mut file)?;
            synced_first(&file, || {
                let named = place(tree, folders, |folder| {
                    renameat(&incoming, &temporary, folder, name)
                });
                named.map_err(io::Error::from)
            })
        });
    if written.is_err() {
        let _ = unlinkat(&incoming, &temporary, AtFlags::empty());
    }
    written.map_err(broken)
}

/// Makes the folders, renames into the last and makes that durable.
fn place(
    tree: &Tree,
    folders: &[&str],
    rename: impl Fn(&OwnedFd) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    let mut attempt = 1;
    loop {
        let made = tree.make_folder(folders);
        let renamed = made.and_then(|folder| synced_after(&folder, || rename(&folder)));
        match renamed {
            Err(Errno::NOENT) if attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

/// A file has its name once it is on the disk: a loss of power leaves no empty object (P3).
fn synced_first(file: &File, rename: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    file.sync_all()?;
    rename()
}

/// A name is given once it survives a loss of power (P3).
fn synced_after(
    folder: &OwnedFd,
    rename: impl FnOnce() -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    rename()?;
    fsync(folder)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// P3. `/dev/null` takes whatever is written, and says that it cannot be synced.
    #[test]
    fn a_file_that_the_disk_does_not_sync_gets_no_name() {
        let null = File::options().write(true).open("/dev/null").unwrap();
        let named = Cell::new(false);
        let rename = || {
            named.set(true);
            Ok(())
        };
        let refused = synced_first(&null, rename).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        assert!(!named.get());
        synced_first(&tempfile::tempfile().unwrap(), rename).unwrap();
        assert!(named.get());
    }

    /// P3. A folder that was opened for its path alone cannot be synced.
    #[test]
    fn a_name_whose_folder_the_disk_does_not_sync_is_not_given() {
        let folder = tempfile::tempdir().unwrap();
        let open = |flags| openat(CWD, folder.path(), flags, Mode::empty()).unwrap();
        let path = open(OFlags::PATH | OFlags::DIRECTORY);
        assert_eq!(synced_after(&path, || Ok(())), Err(Errno::BADF));
        let readable = open(OFlags::RDONLY | OFlags::DIRECTORY);
        let away = synced_after(&readable, || Err(Errno::NOENT));
        assert_eq!(away, Err(Errno::NOENT));
        synced_after(&readable, || Ok(())).unwrap();
    }
}
