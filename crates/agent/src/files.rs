//! Files under the agent's directory: read with a bound, written as temporary file, fsync, rename, fsync of the directory.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// No file of ours is longer.
const MAX: usize = 64 * 1024;

/// The text of a file, `None` when there is none.
///
/// # Errors
/// It cannot be read, or is longer than 64 KiB.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    let text = match beginning(path, MAX + 1) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if text.len() > MAX {
        return Err(io::Error::other("longer than 64 KiB"));
    }
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// A file's bytes, but no more than so many.
///
/// # Errors
/// It cannot be read.
pub fn beginning(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_on(&mut File::open(path)?, &mut bytes, most)?;
    Ok(bytes)
}

/// Reads to the end, or until `bytes` holds so many. Over any kind of file: what std has for each is larger than this for all.
pub(crate) fn read_on(from: &mut dyn Read, bytes: &mut Vec<u8>, most: usize) -> io::Result<()> {
    let mut room = [0; 2048];
    while bytes.len() < most {
        let wanted = room.len().min(most - bytes.len());
        match from.read(room.get_mut(..wanted).unwrap_or_default()) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(room.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Copies a file over another one (0600), on the flash when it returns.
///
/// # Errors
/// One cannot be read, or the other not written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, new(to)?);
    let mut room = [0; 4096];
    loop {
        match from.read(&mut room)? {
            0 => return to.sync_all(),
            count => to.write_all(room.get(..count).unwrap_or_default())?,
        }
    }
}

/// The same; after a power cut there is the old one or the new one.
///
/// # Errors
/// As [`copy`]; then the old one is there.
pub fn copy_as_a_whole(from: &Path, to: &Path) -> io::Result<()> {
    let temporary = beside(to, ".part");
    let copied = copy(from, &temporary).and_then(|()| fs::rename(&temporary, to));
    if copied.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    copied
}

/// The file beside another one whose name has this more.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// A path for people. As a text: std's other way to show one is half a KB more of flash.
pub(crate) fn shown(path: &Path) -> Cow<'_, str> {
    path.to_string_lossy()
}

/// An empty file (0600).
fn new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.mode(0o600).open(path)
}

/// Replaces a file (0600). After a power cut there is the old one or the new one.
///
/// # Errors
/// The file system refuses: then the old one is there.
pub fn replace(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    replace_by(path, content.as_ref())
}

fn replace_by(path: &Path, content: &[u8]) -> io::Result<()> {
    let Some(directory) = path.parent() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // Never a name that means something: `agent.conf.part` is not the new agent.
    let temporary = beside(path, ".part");
    let written = (|| {
        let mut file = new(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync(directory);
        Ok(())
    })();
    if written.is_err() {
        // A full flash must not be fuller by our half file.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// The same, unless it is so already: flash wears.
///
/// # Errors
/// As [`replace`].
pub fn change(path: &Path, text: &str) -> io::Result<()> {
    match read(path) {
        Ok(Some(old)) if old == text => Ok(()),
        _ => replace(path, text),
    }
}

/// Overwrites and removes a file: a token must not be read from the card afterwards. (Flash may keep old blocks; the token is spent.)
///
/// # Errors
/// It cannot be removed.
pub fn wipe(path: &Path) -> io::Result<()> {
    let length = usize::try_from(fs::metadata(path)?.len()).unwrap_or(MAX);
    if let Ok(mut file) = OpenOptions::new().write(true).open(path) {
        let _ = file.write_all(&vec![b'#'; length.min(MAX)]);
        let _ = file.sync_all();
    }
    fs::remove_file(path)
}

/// What was renamed or removed in a directory is so on the flash, too. jffs2 and vfat know no fsync of a directory: it is in their log already.
pub fn sync(directory: &Path) {
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
}

/// Which file a path leads to.
///
/// # Errors
/// There is none.
pub(crate) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// What a directory holds of what is wanted; nothing where it cannot be read.
pub(crate) fn names(directory: &str, wanted: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    let Ok(mut entries) = fs::read_dir(directory) else {
        return names;
    };
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if wanted(&name) {
            names.push(name);
        }
    }
    names
}

/// A directory for us alone.
///
/// # Errors
/// It cannot be made.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let make = || fs::DirBuilder::new().mode(0o700).create(path);
    match (make(), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            make_directory(parent)?;
            make()
        }
        (Err(_), _) if path.is_dir() => Ok(()),
        (made, _) => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_is_ours_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("agent.conf");
        assert_eq!(read(&path).unwrap(), None);
        replace(&path, "one\n").unwrap();
        replace(&path, "two\n").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two\n"));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(home.path()).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }

    #[test]
    fn a_directory_is_made_with_those_above_it_and_a_file_is_none() {
        let home = tempfile::tempdir().unwrap();
        let deep = home.path().join("run/moorline/endpoint");
        for _ in 0..2 {
            make_directory(&deep).unwrap();
        }
        assert_eq!(
            fs::metadata(&deep).unwrap().permissions().mode() & 0o777,
            0o700
        );
        fs::write(deep.join("file"), "").unwrap();
        assert!(make_directory(&deep.join("file")).is_err());
        assert!(make_directory(&deep.join("file/below")).is_err());
        assert!(make_directory(Path::new("")).is_err());
    }

    #[test]
    fn what_a_power_cut_left_between_file_and_rename_is_not_read() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("agent.conf");
        replace(&path, "old\n").unwrap();
        fs::write(home.path().join("agent.conf.part"), "ha").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("old\n"));
        replace(&path, "new\n").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("new\n"));
    }

    #[test]
    fn what_is_so_already_is_not_written_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("agent.conf");
        change(&path, "one\n").unwrap();
        let written = || fs::metadata(&path).unwrap().ino();
        let first = written();
        change(&path, "one\n").unwrap();
        assert_eq!(written(), first, "the file was replaced by its own content");
        change(&path, "two\n").unwrap();
        assert_ne!(written(), first);
        copy_as_a_whole(&path, &home.path().join("id.old")).unwrap();
        assert_eq!(fs::read(home.path().join("id.old")).unwrap(), b"two\n");
    }

    #[test]
    fn a_wiped_file_is_gone_and_a_long_one_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("enroll");
        fs::write(&path, "token x").unwrap();
        wipe(&path).unwrap();
        assert!(!path.exists());
        fs::write(&path, vec![b'x'; 70_000]).unwrap();
        assert!(read(&path).is_err());
    }
}
