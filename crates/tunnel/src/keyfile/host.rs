//! The host keys of a server.
//!
//! Two algorithms: dropbear up to 2019.78 knows ecdsa-p256 alone, and only a client that pins both lets one be rotated.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moorline_base::Secret;
use moorline_base::files::{Access, write_atomic};
use moorline_base::secret::SecretFileError;
use moorline_core::PublicKey;
use moorline_core::key::KeyAlgorithm;

use super::{KeyError, PrivateKey};

/// Files of the host keys, in OpenSSH's format, as `sshd` names its own.
pub(super) const FILES: [(KeyAlgorithm, &str); 2] = [
    (KeyAlgorithm::Ed25519, "ssh_host_ed25519_key"),
    (KeyAlgorithm::EcdsaP256, "ssh_host_ecdsa_key"),
];

/// The public halves of the keys that were in force at the last start: what cameras have pinned. A missing file of a key in it is a loss, and no
/// first start.
const PINNED: &str = "ssh_host_pinned.pub";

/// Why the host keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// A file cannot be read, or others may read it.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// A file cannot be written.
    #[error("cannot write the host key {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file holds no key, or one of another kind.
    #[error("the host key {} is no {} key in OpenSSH's format without passphrase", path.display(), algorithm.as_str())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        algorithm: KeyAlgorithm,
    },
    /// The next keys' public halves cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Next {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory for the next keys holds keys.
    #[error("{} exists already; nothing was made", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Other keys than those that cameras were told of.
    #[error("the keys in {} are not those that cameras were told of; nothing was changed", path.display())]
    NotNext {
        /// The directory.
        path: PathBuf,
    },
    /// A key that cameras have pinned is not there any more.
    #[error("the host key {} is gone, and cameras have pinned it; no other was made", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl HostKeyError {
    /// What the operator can do, when we know.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            HostKeyError::File(error) => Some(error.hint()),
            HostKeyError::Content { .. } => Some(
                "restore it from a backup: a new one locks out every camera that pinned the old"
                    .into(),
            ),
            HostKeyError::Gone { path } => Some(format!(
                "bring it back from a backup (moorline restore), or put keys into force that cameras were told of (moorline host-key rotate); if there are \
                 none, remove {}: the server makes new keys, and every camera has to be visited",
                path.with_file_name(PINNED).display()
            )),
            HostKeyError::Exists { .. } => Some("name an empty directory".into()),
            HostKeyError::NotNext { .. } => Some(
                "moorline host-key prepare makes keys and tells cameras of them; ssh_host_next.pub in the data directory has what they were told"
                    .into(),
            ),
            HostKeyError::Write { .. } | HostKeyError::Next { .. } | HostKeyError::Key(_) => None,
        }
    }
}

/// The host keys: one ed25519, one ecdsa-p256.
#[derive(Debug)]
pub struct HostKeys {
    keys: Vec<PrivateKey>,
}

impl HostKeys {
    /// Reads the keys in `directory`, and makes those that never were there (0600). A file that is wrong or was lost is an error and never replaced:
    /// every camera that pinned it would lock itself out.
    ///
    /// # Errors
    /// [`HostKeyError`], which names the file.
    pub fn load_or_create(directory: &Path) -> Result<Self, HostKeyError> {
        let marked = directory.join(PINNED);
        let pinned = std::fs::read_to_string(&marked).unwrap_or_default();
        let mut keys = Vec::with_capacity(FILES.len());
        for (algorithm, name) in FILES {
            let path = directory.join(name);
            let was_there = pinned
                .lines()
                .any(|line| line.split_whitespace().next() == Some(algorithm.as_str()));
            if was_there && !path.exists() {
                return Err(HostKeyError::Gone { path });
            }
            keys.push(load_or_create(&path, algorithm)?);
        }
        let keys = HostKeys { keys };
        let lines: String = keys.public().map(|key| format!("{key}\n")).collect();
        if lines != pinned {
            write_atomic(&marked, lines.as_bytes(), Access::Private).map_err(|source| {
                HostKeyError::Write {
                    path: marked,
                    source,
                }
            })?;
        }
        Ok(keys)
    }

    /// Reads the keys of a mounted Secret, all of one moment. Its files are the group's to read, and missing ones are not made: each replica would have
    /// others.
    ///
    /// # Errors
    /// [`HostKeyError`], which names the file.
    pub fn load_mounted(directory: &Path) -> Result<Self, HostKeyError> {
        let directory = at_this_moment(directory);
        let mut keys = Vec::with_capacity(FILES.len());
        for (algorithm, name) in FILES {
            let path = directory.join(name);
            keys.push(parse(&Secret::from_file(&path)?, &path, algorithm)?);
        }
        Ok(HostKeys { keys })
    }

    /// New keys that are written nowhere: for `demo`, `bench` and tests.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn generate() -> Result<Self, KeyError> {
        let keys = FILES
            .iter()
            .map(|(algorithm, _)| PrivateKey::generate(*algorithm));
        Ok(HostKeys {
            keys: keys.collect::<Result<_, _>>()?,
        })
    }

    /// The files that make up the keys in a directory: for backup and restore.
    pub fn files(directory: &Path) -> Vec<PathBuf> {
        FILES.iter().map(|(_, name)| directory.join(name)).collect()
    }

    /// The keys as files of a directory that [`HostKeys::load_or_create`] reads: name and content.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn to_files(&self) -> Result<Vec<(&'static str, Secret<String>)>, KeyError> {
        let named = FILES.iter().zip(&self.keys);
        named
            .map(|((_, name), key)| Ok((*name, key.to_openssh()?)))
            .collect()
    }

    /// The public keys, ed25519 first.
    pub fn public(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().map(PrivateKey::public)
    }

    /// Lines of a camera's `~/.ssh/known_hosts` for dropbear: `host algorithm base64`. Dropbear compares the host without its port.
    pub fn known_hosts_dropbear(&self, host: &str) -> Vec<String> {
        self.public().map(|key| line(host, key)).collect()
    }

    /// Lines of a `known_hosts` for OpenSSH, which writes another port than 22 as `[host]:port`.
    pub fn known_hosts_openssh(&self, host: &str, port: u16) -> Vec<String> {
        let host = match port {
            22 => host.to_owned(),
            port => format!("[{host}]:{port}"),
        };
        self.known_hosts_dropbear(&host)
    }

    pub(crate) fn ssh(&self) -> Vec<russh::keys::PrivateKey> {
        self.keys.iter().map(PrivateKey::ssh).collect()
    }
}

/// Where the files of a mounted Secret lie as they are now. A kubelet puts all files of a Secret into a new directory and turns the link `..data` to it: who
/// reads two of them by their names may have one of before and one of after. Once it has turned, the old directory goes, and who still reads in it
/// is told of a missing file. A directory that is no mount is itself.
#[must_use]
pub fn at_this_moment(mount: &Path) -> PathBuf {
    std::fs::canonicalize(mount.join("..data")).unwrap_or_else(|_| mount.into())
}

fn line(host: &str, key: &PublicKey) -> String {
    let encoded = STANDARD.encode(key.blob());
    format!("{host} {} {encoded}", key.algorithm().as_str())
}

fn parse(
    text: &Secret<String>,
    path: &Path,
    algorithm: KeyAlgorithm,
) -> Result<PrivateKey, HostKeyError> {
    let key = PrivateKey::from_openssh(text).ok();
    let right = key.filter(|key| key.public().algorithm() == algorithm);
    right.ok_or_else(|| HostKeyError::Content {
        path: path.into(),
        algorithm,
    })
}

fn load_or_create(path: &Path, algorithm: KeyAlgorithm) -> Result<PrivateKey, HostKeyError> {
    let missing = |source: &io::Error| source.kind() == io::ErrorKind::NotFound;
    match Secret::from_private_file(path) {
        Ok(text) => parse(&text, path, algorithm),
        Err(SecretFileError::Read { source, .. }) if missing(&source) => {
            let key = PrivateKey::generate(algorithm)?;
            let text = key.to_openssh()?;
            write_atomic(path, text.expose().as_bytes(), Access::Private).map_err(|source| {
                HostKeyError::Write {
                    path: path.into(),
                    source,
                }
            })?;
            Ok(key)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// S36.
    #[test]
    fn keys_are_made_once_private_and_the_same_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let first = HostKeys::load_or_create(directory.path()).unwrap();
        let second = HostKeys::load_or_create(directory.path()).unwrap();
        assert!(first.public().eq(second.public()));
        for path in HostKeys::files(directory.path()) {
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
    }

    #[test]
    fn a_key_that_was_lost_is_told_and_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        HostKeys::load_or_create(directory.path()).unwrap();
        let [ed25519, ecdsa] = &HostKeys::files(directory.path())[..] else {
            panic!("two files")
        };
        let kept = std::fs::read(ecdsa).unwrap();
        std::fs::remove_file(ecdsa).unwrap();
        let error = HostKeys::load_or_create(directory.path()).unwrap_err();
        assert!(matches!(&error, HostKeyError::Gone { path } if path == ecdsa));
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("moorline restore") && hint.contains(PINNED),
            "{hint}"
        );
        assert!(!ecdsa.exists() && ed25519.exists());
        std::fs::write(ecdsa, kept).unwrap();
        std::fs::set_permissions(ecdsa, std::fs::Permissions::from_mode(0o600)).unwrap();
        HostKeys::load_or_create(directory.path()).unwrap();

        std::fs::remove_file(ecdsa).unwrap();
        std::fs::remove_file(directory.path().join(PINNED)).unwrap();
        HostKeys::load_or_create(directory.path()).expect("as its owner decided");
    }

    #[test]
    fn a_mounted_secret_is_read_and_nothing_is_made() {
        let directory = tempfile::tempdir().unwrap();
        assert!(HostKeys::load_mounted(directory.path()).is_err());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let keys = HostKeys::generate().unwrap();
        for (name, text) in keys.to_files().unwrap() {
            let path = directory.path().join(name);
            std::fs::write(&path, text.expose()).unwrap();
            let mode = std::fs::Permissions::from_mode(0o440);
            std::fs::set_permissions(&path, mode).unwrap();
        }
        let read = HostKeys::load_mounted(directory.path()).unwrap();
        assert!(read.public().eq(keys.public()));
    }

    /// Each name leads to another moment, as for who reads one before and one after the link was turned.
    #[test]
    fn keys_of_a_mount_that_is_exchanged_are_a_pair() {
        let mount = tempfile::tempdir().unwrap();
        let at = |name: &str| mount.path().join(name);
        let [_, after] = ["..before", "..after"].map(|moment| {
            let keys = HostKeys::generate().unwrap();
            std::fs::create_dir(at(moment)).unwrap();
            for (name, text) in keys.to_files().unwrap() {
                std::fs::write(at(moment).join(name), text.expose()).unwrap();
            }
            keys
        });
        for ((_, name), moment) in FILES.into_iter().zip(["..before", "..after"]) {
            std::os::unix::fs::symlink(Path::new(moment).join(name), at(name)).unwrap();
        }
        std::os::unix::fs::symlink("..after", at("..data")).unwrap();
        let read = HostKeys::load_mounted(mount.path()).unwrap();
        assert!(read.public().eq(after.public()));
    }

    #[test]
    fn a_wrong_file_is_named_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        HostKeys::load_or_create(directory.path()).unwrap();
        let [ed25519, ecdsa] = &HostKeys::files(directory.path())[..] else {
            panic!("two files")
        };
        std::fs::copy(ecdsa, ed25519).unwrap();
        let error = HostKeys::load_or_create(directory.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("is no ssh-ed25519 key in OpenSSH's format without passphrase"),
            "{error}"
        );
        std::fs::set_permissions(ed25519, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = HostKeys::load_or_create(directory.path()).unwrap_err();
        assert!(error.hint().unwrap().starts_with("chmod 600 "), "{error}");
    }

    #[test]
    fn a_pinned_line_names_the_host_as_each_client_looks_it_up() {
        let keys = HostKeys::generate().unwrap();
        let dropbear = keys.known_hosts_dropbear("cctv.example.com");
        assert!(dropbear[0].starts_with("cctv.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"));
        assert!(dropbear[1].starts_with("cctv.example.com ecdsa-sha2-nistp256 AAAAE2VjZHNh"));
        let openssh = keys.known_hosts_openssh("cctv.example.com", 2222);
        assert!(openssh[0].starts_with("[cctv.example.com]:2222 ssh-ed25519 "));
        assert!(keys.known_hosts_openssh("h", 22)[0].starts_with("h ssh-ed25519 "));
    }
}
