//! Listings: a walk in key order that skips whole folders before `after` and ends with the page.

use std::os::fd::OwnedFd;

use moorline_core::port::{Listed, Page, StoreError};
use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Errno;

use super::root::MARK;
use super::tree::{INCOMING, Tree, failed};
use crate::key_path::folders as folders_of;

/// Deeper folders are not ours.
const MAX_DEPTH: usize = 16;

/// What becomes of a folder that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The listing fails: whoever reads it must not take what is in there for missing.
    Fails,
    /// It is told and passed over.
    Passed,
}

/// Up to `limit` objects under `prefix` whose keys sort after `after`.
pub(super) fn list(
    tree: &Tree,
    prefix: &str,
    after: &str,
    limit: usize,
    unreadable: Unreadable,
) -> Result<Page, StoreError> {
    let parts = folders_of(prefix)?;
    let mut walk = Walk {
        prefix,
        after,
        limit,
        unreadable,
        page: Page::default(),
    };
    let path: String = parts.iter().flat_map(|part| [part, "/"]).collect();
    let walked = match tree.folder(&parts) {
        Ok(folder) => walk.visit(&folder, &path, parts.len()),
        Err(cause) => Err(cause),
    };
    match walked {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(walk.page),
        Err(cause) => Err(failed(prefix, &cause.into())),
    }
}

/// The names of the folders right under `prefix`.
pub(super) fn folders(tree: &Tree, prefix: &str) -> Result<Vec<String>, StoreError> {
    let parts = folders_of(prefix)?;
    let entries = tree
        .folder(&parts)
        .and_then(|folder| entries(&folder, parts.is_empty()));
    match entries {
        Ok(entries) => Ok(entries
            .iter()
            .filter_map(|entry| entry.strip_suffix('/').map(str::to_owned))
            .collect()),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Vec::new()),
        Err(cause) => Err(failed(prefix, &cause.into())),
    }
}

struct Walk<'a> {
    prefix: &'a str,
    after: &'a str,
    limit: usize,
    unreadable: Unreadable,
    page: Page,
}

impl Walk<'_> {
    fn visit(&mut self, folder: &OwnedFd, path: &str, depth: usize) -> rustix::io::Result<()> {
        for entry in entries(folder, path.is_empty())? {
            if self.page.more {
                break;
            }
            let key = format!("{path}{entry}");
            match entry.strip_suffix('/') {
                Some(name) => {
                    let fits = key.starts_with(self.prefix) || self.prefix.starts_with(&key);
                    let later = *key > *self.after || self.after.starts_with(&key);
                    if fits && later && depth < MAX_DEPTH {
                        self.enter(folder, name, &key, depth)?;
                    }
                }
                None if key.starts_with(self.prefix) && *key > *self.after => {
                    self.found(folder, &entry, key)?;
                }
                None => {}
            }
        }
        Ok(())
    }

    fn enter(
        &mut self,
        folder: &OwnedFd,
        name: &str,
        key: &str,
        depth: usize,
    ) -> rustix::io::Result<()> {
        use rustix::fs::{Mode, OFlags, openat};
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let visited = match openat(folder, name, flags, Mode::empty()) {
            Ok(inner) => self.visit(&inner, key, depth + 1),
            // Removed since, or never a folder.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(cause) => Err(cause),
        };
        match visited {
            Err(cause) if self.unreadable == Unreadable::Passed => {
                tracing::warn!(folder = key, %cause, "a folder of the store cannot be read and is passed over");
                Ok(())
            }
            visited => visited,
        }
    }

    fn found(&mut self, folder: &OwnedFd, name: &str, key: String) -> rustix::io::Result<()> {
        if self.page.objects.len() == self.limit {
            self.page.more = true;
            return Ok(());
        }
        match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let bytes = u64::try_from(stat.st_size).unwrap_or(0);
                self.page.objects.push(Listed { key, bytes });
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(cause) => Err(cause),
        }
    }
}

/// Files by name and folders by name with a slash, in the order of the keys that they lead to.
fn entries(folder: &OwnedFd, is_root: bool) -> rustix::io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if matches!(name, "." | "..") || (is_root && [INCOMING, MARK].contains(&name)) {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not say.
            FileType::Unknown => match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(cause) => return Err(cause),
            },
            kind => kind,
        };
        match kind {
            FileType::RegularFile => found.push(name.to_owned()),
            FileType::Directory => found.push(format!("{name}/")),
            _ => {}
        }
    }
    found.sort_unstable();
    Ok(found)
}
