//! Secrets that do not print (P10, S25).
//!
//! Owns: a wrapper that shows [`MASKED`] wherever a value may be printed or serialized, wipes its memory when dropped and compares in
//! constant time; the reading of secrets from files (`*_FILE` settings); and that a crash leaves no image of them. Does not own: encryption at rest.

use std::fmt::{self, Debug, Display};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// What stands in place of a secret.
pub const MASKED: &str = "***";

/// The greatest secret file that is read: a key or a password, not a log that someone named by mistake.
const FILE_LIMIT: u64 = 64 * 1024;

/// A value that is never shown. [`Secret::expose`] is the only way to it, and easy to search for.
#[derive(Clone, Default)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes a value into keeping.
    pub const fn new(value: T) -> Self {
        Secret(value)
    }

    /// The value itself: not for logs, errors, metrics or URLs.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

/// Lets a crash leave no image of this process' memory, which has keys and passwords in it (S25). The hard limit stays: whoever looks for a fault
/// allows it again with `prlimit`. Call it at start.
pub fn leave_no_core() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let none = Rlimit {
        current: Some(0),
        maximum: getrlimit(Resource::Core).maximum,
    };
    // Less than before is always granted.
    let _ = setrlimit(Resource::Core, none);
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASKED)
    }
}

impl<T: Zeroize> Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASKED)
    }
}

impl<T: Zeroize> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASKED)
    }
}

impl<'de, T: Zeroize + Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Secret)
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Secret(value)
    }
}

impl<T: Zeroize + AsRef<[u8]>> Secret<T> {
    /// Compares with `other` in a time that depends on the lengths alone.
    #[must_use]
    pub fn matches(&self, other: impl AsRef<[u8]>) -> bool {
        self.0.as_ref().ct_eq(other.as_ref()).into()
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.expose())
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

/// Why a secret could not be had from its file. Never holds what stood in it.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file could not be read.
    #[error("cannot read the secret file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Nothing stands in it.
    #[error("the secret file {} is empty", .0.display())]
    Empty(PathBuf),
    /// More than 64 KiB.
    #[error("the secret file {} is greater than 64 KiB", .0.display())]
    TooGreat(PathBuf),
    /// Not UTF-8.
    #[error("the secret file {} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// Others may read it (only [`Secret::from_private_file`]).
    #[error("the secret file {} can be read by others (mode {mode:04o})", path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl SecretFileError {
    /// What the operator can do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            SecretFileError::Read { .. } => {
                "the file must exist and be readable by the user that runs moorline".into()
            }
            SecretFileError::Empty(_) => {
                "write the secret into it; one line end after it is ignored".into()
            }
            SecretFileError::TooGreat(_) | SecretFileError::NotText(_) => {
                "is this the right file? it should hold the secret and nothing else".into()
            }
            SecretFileError::Readable { path, .. } => format!("chmod 600 {}", path.display()),
        }
    }
}

impl Secret<String> {
    /// Reads a secret from a file: UTF-8, at most 64 KiB, without the one line end that editors add. Any mode is accepted, since a
    /// mounted Kubernetes Secret is 0644. Blocks: for start and reload.
    ///
    /// # Errors
    /// [`SecretFileError`], which names the file and never its content.
    pub fn from_file(path: &Path) -> Result<Self, SecretFileError> {
        read(path, false)
    }

    /// As [`Secret::from_file`], and refuses a file that group or others may read: for what we made ourselves (S25, S36).
    ///
    /// # Errors
    /// [`SecretFileError`], which names the file and never its content.
    pub fn from_private_file(path: &Path) -> Result<Self, SecretFileError> {
        read(path, true)
    }
}

fn read(path: &Path, private: bool) -> Result<Secret<String>, SecretFileError> {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    let failed = |source| SecretFileError::Read {
        path: path.into(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if private && mode & 0o077 != 0 {
        return Err(SecretFileError::Readable {
            path: path.into(),
            mode,
        });
    }
    // Room for the whole file at once: a growing buffer would leave copies behind that nobody wipes.
    let mut bytes = Secret::new(Vec::with_capacity(
        usize::try_from(FILE_LIMIT).unwrap_or(65536) + 2,
    ));
    let read = file.take(FILE_LIMIT + 1).read_to_end(&mut bytes.0);
    read.map_err(failed)?;
    if bytes.0.len() as u64 > FILE_LIMIT {
        return Err(SecretFileError::TooGreat(path.into()));
    }
    let text = std::str::from_utf8(&bytes.0).map_err(|_| SecretFileError::NotText(path.into()))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(SecretFileError::Empty(path.into()));
    }
    Ok(Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[derive(Debug, Serialize, Deserialize)]
    struct Smtp {
        user: String,
        password: Secret<String>,
    }

    /// P10.
    #[test]
    fn no_way_of_printing_shows_a_secret() {
        let smtp: Smtp =
            serde_json::from_str(r#"{"user":"a","password":"hunter2"}"#).expect("valid");
        assert_eq!(smtp.password.expose(), "hunter2");
        let shown = [
            format!("{smtp:?}"),
            format!("{}", smtp.password),
            serde_json::to_string(&smtp).expect("serializable"),
        ];
        for text in shown {
            assert!(!text.contains("hunter2"), "{text}");
            assert!(text.contains(MASKED), "{text}");
        }
    }

    #[test]
    fn comparing_tells_equal_from_different_and_shorter() {
        let secret = Secret::new(String::from("hunter2"));
        assert!(secret.matches("hunter2"));
        assert!(!secret.matches("hunter3"));
        assert!(!secret.matches("hunter"));
        assert_eq!(secret, Secret::new(String::from("hunter2")));
    }

    fn file(content: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("temp file");
        std::fs::write(file.path(), content).expect("written");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("mode");
        file
    }

    #[test]
    fn one_line_end_is_dropped_and_inner_ones_stay() {
        for (content, secret) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n", "hunter2"),
            (" a \nb\n\n", " a \nb\n"),
        ] {
            let file = file(content.as_bytes(), 0o600);
            let read = Secret::from_private_file(file.path()).expect("readable");
            assert_eq!(read.expose(), secret);
        }
    }

    /// P10, P11.
    #[test]
    fn a_file_that_others_read_is_refused_with_the_command_that_mends_it() {
        let file = file(b"hunter2", 0o644);
        let error = Secret::from_private_file(file.path()).unwrap_err();
        assert!(error.to_string().ends_with("(mode 0644)"), "{error}");
        assert!(error.hint().starts_with("chmod 600 /"), "{}", error.hint());
        assert!(
            Secret::from_file(file.path()).is_ok(),
            "a mounted Secret is 0644"
        );
    }

    #[test]
    fn empty_great_foreign_and_missing_files_are_told_apart() {
        let refused = |content: &[u8]| {
            let file = file(content, 0o600);
            let error = Secret::from_file(file.path()).unwrap_err();
            assert!(error.to_string().contains(&*file.path().to_string_lossy()));
            error
        };
        assert!(matches!(refused(b"\n"), SecretFileError::Empty(_)));
        assert!(matches!(
            refused(&vec![b'x'; 64 * 1024 + 1]),
            SecretFileError::TooGreat(_)
        ));
        assert!(matches!(refused(b"\xff"), SecretFileError::NotText(_)));
        let missing = Secret::from_file(Path::new("/nonexistent/secret")).unwrap_err();
        assert!(matches!(missing, SecretFileError::Read { .. }));
    }
}
