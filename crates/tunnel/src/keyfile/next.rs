//! The host keys that a server will have next: made ahead, pinned by cameras ahead, and kept where no thief of the server finds them (rule S25).
//!
//! The private ones lie in a directory of the operator's choice, offline; of the data directory they leave only the public halves, in
//! [`PUBLIC`]. Rotating puts them into force, and so does recovering a server whose keys were lost or stolen: it is the same step. Of a cluster the data
//! directory is a mounted Secret, and both steps are `moorline keys rotate`'s.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moorline_base::files::{Access, write_atomic};
use moorline_core::PublicKey;

use super::host::{FILES, HostKeyError, HostKeys};

/// The file with the public halves, a line each: algorithm and base64.
pub const PUBLIC: &str = "ssh_host_next.pub";
/// What the names of replaced keys end with.
const OLD: &str = ".old";
/// Two lines of at most 200 characters; more is no such file.
const LARGEST: usize = 4_096;

fn written(path: &Path, content: &str, access: Access) -> Result<(), HostKeyError> {
    write_atomic(path, content.as_bytes(), access).map_err(|source| HostKeyError::Write {
        path: path.into(),
        source,
    })
}

/// The public halves of the next keys, ed25519 first; empty where none were made, or those that were are in force.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn next(data: &Path) -> Result<Vec<PublicKey>, HostKeyError> {
    let path = data.join(PUBLIC);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(HostKeyError::Next { path, source }),
    };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let wrong = || HostKeyError::Next {
        path: path.clone(),
        source: io::Error::new(io::ErrorKind::InvalidData, "these are no two public keys"),
    };
    if text.len() > LARGEST {
        return Err(wrong());
    }
    let keys = text.lines().map(|line| line.parse().map_err(|_| wrong()));
    let keys: Vec<PublicKey> = keys.collect::<Result<_, _>>()?;
    let algorithms = keys.iter().map(PublicKey::algorithm);
    if !algorithms.eq(FILES.iter().map(|(algorithm, _)| *algorithm)) {
        return Err(wrong());
    }
    Ok(keys)
}

/// Whether keys were replaced in this data directory.
#[must_use]
pub fn was_rotated(data: &Path) -> bool {
    FILES
        .iter()
        .any(|(_, name)| data.join(format!("{name}{OLD}")).exists())
}

/// The text of the file with these public halves.
#[must_use]
pub fn public_text(keys: &[PublicKey]) -> String {
    let line = |key: &PublicKey| {
        let encoded = STANDARD.encode(key.blob());
        format!("{} {encoded}\n", key.algorithm().as_str())
    };
    keys.iter().map(line).collect()
}

/// Makes the next keys: the private ones into `out`, which is made (0700) and must not hold any, the public halves into the data directory.
///
/// # Errors
/// [`HostKeyError`]; what was written into `out` before stays there and is nobody's key.
pub fn prepare(data: &Path, out: &Path) -> Result<Vec<PublicKey>, HostKeyError> {
    let public = make(out)?;
    written(&data.join(PUBLIC), &public_text(&public), Access::Private)?;
    Ok(public)
}

/// Makes the next keys in `out`, which is made (0700) and must not hold any. Gives the public halves.
///
/// # Errors
/// As [`prepare`].
pub fn make(out: &Path) -> Result<Vec<PublicKey>, HostKeyError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(out);
    made.map_err(|source| HostKeyError::Write {
        path: out.into(),
        source,
    })?;
    if let Some(path) = HostKeys::files(out).into_iter().find(|path| path.exists()) {
        return Err(HostKeyError::Exists { path });
    }
    let keys = HostKeys::generate()?;
    for (name, text) in keys.to_files()? {
        written(&out.join(name), text.expose(), Access::Private)?;
    }
    Ok(keys.public().cloned().collect())
}

/// Puts the keys in `from` into force. Those that were in force stay beside them as `….old`. The server must not run; it reads them at its next
/// start. A step that was cut off by a crash is taken again.
///
/// # Errors
/// [`HostKeyError::NotNext`] where they are not those that cameras were told of; nothing was changed then. Others name the file.
pub fn rotate(data: &Path, from: &Path) -> Result<Vec<PublicKey>, HostKeyError> {
    let keys = HostKeys::load_mounted(from)?;
    let public: Vec<PublicKey> = keys.public().cloned().collect();
    if next(data)? != public {
        return Err(HostKeyError::NotNext { path: from.into() });
    }
    for (name, text) in keys.to_files()? {
        let path = data.join(name);
        match std::fs::read_to_string(&path) {
            // A rotation that was cut off had come so far.
            Ok(present) if present == *text.expose() => continue,
            Ok(present) => {
                written(
                    &data.join(format!("{name}{OLD}")),
                    &present,
                    Access::Private,
                )?;
            }
            // The server was lost, and its keys with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                written(&data.join(format!("{name}{OLD}")), "", Access::Private)?;
            }
            Err(source) => return Err(HostKeyError::Next { path, source }),
        }
        written(&path, text.expose(), Access::Private)?;
    }
    let path = data.join(PUBLIC);
    std::fs::remove_file(&path).map_err(|source| HostKeyError::Write { path, source })?;
    Ok(public)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_keys_are_told_before_they_are_in_force() {
        let (data, stick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let old = HostKeys::load_or_create(data.path()).unwrap();
        assert_eq!(next(data.path()).unwrap(), []);
        let public = prepare(data.path(), stick.path()).unwrap();
        assert_eq!(next(data.path()).unwrap(), public);
        let present = HostKeys::load_or_create(data.path()).unwrap();
        assert!(present.public().eq(old.public()), "nothing changes yet");
        let again = prepare(data.path(), stick.path()).unwrap_err();
        assert!(matches!(again, HostKeyError::Exists { .. }), "{again}");

        assert!(!was_rotated(data.path()));
        rotate(data.path(), stick.path()).unwrap();
        let present = HostKeys::load_or_create(data.path()).unwrap();
        assert!(present.public().eq(&public));
        assert_eq!(next(data.path()).unwrap(), []);
        assert!(was_rotated(data.path()));
        let again = rotate(data.path(), stick.path()).unwrap_err();
        assert!(matches!(again, HostKeyError::NotNext { .. }), "{again}");
    }

    #[test]
    fn keys_of_which_no_camera_knows_are_refused_and_lost_ones_are_replaced() {
        let (data, stick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let other = tempfile::tempdir().unwrap();
        prepare(data.path(), other.path()).unwrap();
        let public = prepare(data.path(), stick.path()).unwrap();
        let wrong = rotate(data.path(), other.path()).unwrap_err();
        assert!(
            wrong.hint().unwrap().contains("host-key prepare"),
            "{wrong}"
        );
        // No host key is there: the disk was lost, and the backup with the public halves was brought back.
        rotate(data.path(), stick.path()).unwrap();
        let present = HostKeys::load_or_create(data.path()).unwrap();
        assert!(present.public().eq(&public));
    }

    #[test]
    fn a_rotation_that_was_cut_off_is_finished() {
        let (data, stick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        HostKeys::load_or_create(data.path()).unwrap();
        let public = prepare(data.path(), stick.path()).unwrap();
        let [(first, text), _] = &HostKeys::load_mounted(stick.path())
            .unwrap()
            .to_files()
            .unwrap()[..]
        else {
            panic!("two files")
        };
        std::fs::write(data.path().join(first), text.expose()).unwrap();
        rotate(data.path(), stick.path()).unwrap();
        let present = HostKeys::load_or_create(data.path()).unwrap();
        assert!(present.public().eq(&public));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(PUBLIC), "ssh-rsa AAAA\n").unwrap();
        let error = next(data.path()).unwrap_err().to_string();
        assert!(error.contains(PUBLIC), "{error}");
    }
}
