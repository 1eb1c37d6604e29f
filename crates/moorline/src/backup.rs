//! `moorline backup` and `restore`: host keys, registry, its master key, certificate, configuration and what is known of recordings that went
//! for room, in one file, encrypted with a passphrase (age, scrypt): `age -d` opens it too, should Moorline be gone.
//!
//! The server packs ([`pack`]) and hands the archive over its 0600 socket; the command line encrypts, so that the passphrase never leaves
//! it. A restore goes into a directory without state, all or nothing.

use std::io::{Read as _, Write as _};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use age::secrecy::SecretString;
use anyhow::{Context as _, bail};
use moorline_base::error::Hinted;
use moorline_base::files::{Access, DataDir, write_atomic};
use moorline_core::Timestamp;

use crate::serve::parts::REGISTRY;

/// What a backup holds, relative to the data directory. Neither recordings nor releases of the agent are in it, which whoever signed them has.
pub const FILES: [&str; 9] = [
    REGISTRY,
    "registry.key",
    "ssh_host_ed25519_key",
    "ssh_host_ecdsa_key",
    moorline_tunnel::keyfile::next::PUBLIC,
    "tls-certificate.pem",
    "tls-key.pem",
    "moorline.toml",
    "swept.json",
];

/// What a restore that fails may leave beside [`FILES`].
const STAGED: [&str; 5] = [
    "registry.restored",
    "registry.restored-wal",
    "registry.restored-shm",
    "registry.sqlite.restored",
    "registry.sqlite.restored.new",
];

/// The file whose age says when the last backup was made.
pub const MARK: &str = "last-backup";

/// Backups of more bytes than this are not opened: a registry of 10,000 cameras is far smaller.
const LARGEST: u64 = 1 << 30;

/// Packs the files of a data directory, with `registry` in place of the live database.
///
/// # Errors
/// A file cannot be read.
pub fn pack(data: &Path, registry: &Path) -> anyhow::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.mode(tar::HeaderMode::Deterministic);
    for name in FILES {
        let path = if name == REGISTRY {
            registry.to_owned()
        } else {
            data.join(name)
        };
        // Without these two there is nothing to come back to; the others may be named elsewhere by the configuration.
        if path.exists() || name.starts_with("registry.") {
            archive
                .append_path_with_name(&path, name)
                .with_context(|| format!("cannot read {}", path.display()))?;
        }
    }
    Ok(archive.into_inner()?)
}

/// Encrypts a packed archive into a 0600 file, complete or not at all.
///
/// # Errors
/// The passphrase is too short, or the file cannot be written.
pub fn write(packed: &[u8], passphrase: &str, file: &Path) -> anyhow::Result<()> {
    if passphrase.chars().count() < 10 {
        bail!(Hinted::new(
            "the passphrase is too short",
            "use at least 10 characters, and keep it apart from the backup"
        ));
    }
    let encryptor = age::Encryptor::with_user_passphrase(SecretString::from(passphrase.to_owned()));
    let mut encrypted = Vec::with_capacity(packed.len() + 4096);
    let mut writer = encryptor.wrap_output(&mut encrypted)?;
    writer.write_all(packed)?;
    writer.finish()?;
    write_atomic(file, &encrypted, Access::Private)
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Opens a backup and puts its files into a data directory without state. Returns their names. The registry is made safe to use:
/// generations jump past all that were given since the backup, and web sessions end.
///
/// # Errors
/// The passphrase is wrong, the file is damaged, of a newer version or not a backup, or the directory holds state already: nothing is left
/// there then.
pub async fn restore(file: &Path, passphrase: &str, data: &Path) -> anyhow::Result<Vec<String>> {
    let encrypted =
        std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let files =
        open(&encrypted, passphrase).with_context(|| format!("cannot open {}", file.display()))?;
    let _lock = DataDir::open(data)?;
    if let Some(present) = FILES.iter().find(|name| data.join(name).exists()) {
        let hint = "restore into an empty directory, or move the state there away first";
        bail!(Hinted::new(
            format!("{} holds {present} already", data.display()),
            hint
        ));
    }
    if let Err(error) = put(&files, data).await {
        for name in FILES.iter().chain(&STAGED) {
            let _ = std::fs::remove_file(data.join(name));
        }
        return Err(error);
    }
    note_made(file, data);
    Ok(files
        .into_iter()
        .map(|(name, _)| name.display().to_string())
        .collect())
}

/// What was restored is the last backup: it is as old as its file. A mark that cannot be written costs a warning of doctor, and no restore.
fn note_made(file: &Path, data: &Path) {
    let made = std::fs::metadata(file).and_then(|found| found.modified());
    let since = made
        .ok()
        .and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    if let Some(millis) = since.and_then(|since| i64::try_from(since.as_millis()).ok()) {
        let stamp = Timestamp::from_millis(millis).to_string();
        let _ = write_atomic(&data.join(MARK), stamp.as_bytes(), Access::Private);
    }
}

/// The registry comes first: should the power fail in between, a server that finds it without its key refuses to start, while one that
/// finds a key alone would begin with an empty registry.
async fn put(files: &[(PathBuf, Vec<u8>)], data: &Path) -> anyhow::Result<()> {
    let write = |name: &Path, content: &[u8]| {
        write_atomic(&data.join(name), content, Access::Private)
            .with_context(|| format!("cannot write {}", name.display()))
    };
    let is_registry = |name: &Path| name == Path::new(REGISTRY);
    for (_, content) in files.iter().filter(|(name, _)| is_registry(name)) {
        let staged = Path::new("registry.restored");
        write(staged, content)?;
        let now = moorline_base::clock::Clock::wall_ms(&moorline_base::clock::SystemClock);
        moorline_registry::import(&data.join(staged), &data.join(REGISTRY), now).await?;
        std::fs::remove_file(data.join(staged))?;
    }
    for (name, content) in files.iter().filter(|(name, _)| !is_registry(name)) {
        write(name, content)?;
    }
    Ok(())
}

fn open(encrypted: &[u8], passphrase: &str) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let decryptor = age::Decryptor::new(encrypted).context("this is no backup of Moorline")?;
    let identity = age::scrypt::Identity::new(SecretString::from(passphrase.to_owned()));
    let reader = match decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)) {
        Ok(reader) => reader,
        Err(_) => bail!(Hinted::new(
            "the passphrase is wrong",
            "it is the one that was given to moorline backup"
        )),
    };
    let mut archive = tar::Archive::new(reader.take(LARGEST));
    let mut files = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry.context("the backup is damaged")?;
        let name = entry.path()?.into_owned();
        let plain = matches!(
            name.components().collect::<Vec<_>>()[..],
            [Component::Normal(_)]
        );
        if !plain || !FILES.iter().any(|known| name == Path::new(known)) {
            bail!(
                "the backup holds {}, which no version of Moorline wrote",
                name.display()
            );
        }
        let mut content = Vec::new();
        entry
            .read_to_end(&mut content)
            .context("the backup is damaged")?;
        files.push((name, content));
    }
    if !files.iter().any(|(name, _)| name == Path::new(REGISTRY)) {
        bail!("the backup holds no registry");
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use moorline_registry::Registry;

    use super::*;

    /// A backup of a registry without cameras, or of something else in its place.
    async fn backup_of(registry: Option<&str>) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (live, copy) = (
            dir.path().join("live.sqlite"),
            dir.path().join("copy.sqlite"),
        );
        match registry {
            Some(content) => {
                std::fs::write(&copy, content).unwrap();
                std::fs::write(dir.path().join("registry.key"), "key").unwrap();
            }
            None => {
                let clock = moorline_base::clock::SystemClock::shared();
                let key = dir.path().join("registry.key");
                let registry = Registry::open(&live, &key, clock).await.unwrap();
                registry.export(&copy).await.unwrap();
                registry.close().await.unwrap();
            }
        }
        std::fs::write(dir.path().join("swept.json"), "{}").unwrap();
        let packed = pack(dir.path(), &copy).unwrap();
        let file = dir.path().join("backup.age");
        write(&packed, "correct horse", &file).unwrap();
        (dir, file)
    }

    fn names(data: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(data).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_backup_comes_back_whole_into_an_empty_directory_only() {
        let (dir, file) = backup_of(None).await;
        let data = dir.path().join("new");
        let restored = restore(&file, "correct horse", &data).await.unwrap();
        assert_eq!(restored, ["registry.sqlite", "registry.key", "swept.json"]);
        assert_eq!(
            names(&data),
            [
                MARK,
                "lock",
                "registry.key",
                "registry.sqlite",
                "swept.json"
            ]
        );
        let mark = std::fs::read_to_string(data.join(MARK)).unwrap();
        mark.parse::<Timestamp>().unwrap();
        let clock = moorline_base::clock::SystemClock::shared();
        let (path, key) = (data.join(REGISTRY), data.join("registry.key"));
        let registry = Registry::open(&path, &key, clock).await.unwrap();
        registry.close().await.unwrap();
        let again = restore(&file, "correct horse", &data).await.unwrap_err();
        assert!(again.to_string().contains("already"), "{again:#}");
    }

    #[test]
    fn a_backup_without_a_registry_is_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("registry.key"), "key").unwrap();
        let error = pack(dir.path(), &dir.path().join("gone.sqlite")).unwrap_err();
        assert!(error.to_string().contains("gone.sqlite"), "{error:#}");
    }

    #[tokio::test]
    async fn a_wrong_passphrase_or_a_damaged_file_writes_nothing() {
        let (dir, file) = backup_of(None).await;
        let data = dir.path().join("new");
        let wrong = restore(&file, "wrong horse!", &data).await.unwrap_err();
        assert!(
            format!("{wrong:#}").contains("passphrase is wrong"),
            "{wrong:#}"
        );
        let mut bytes = std::fs::read(&file).unwrap();
        let last = bytes.len() - 20;
        bytes[last] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        assert!(restore(&file, "correct horse", &data).await.is_err());
        assert!(!data.exists());
    }

    #[tokio::test]
    async fn a_backup_whose_registry_cannot_be_used_leaves_nothing() {
        let (dir, file) = backup_of(Some("no database")).await;
        let data = dir.path().join("new");
        assert!(restore(&file, "correct horse", &data).await.is_err());
        assert_eq!(names(&data), ["lock"]);
    }
}
