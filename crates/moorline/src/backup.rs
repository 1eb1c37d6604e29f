//! `moorline backup` and `restore`: host keys, registry, its master key, certificate and configuration in one file, encrypted with a
//! passphrase (age, scrypt): `age -d` opens it too, should Moorline be gone.
//!
//! The server packs ([`pack`]) and hands the archive over its 0600 socket; the command line encrypts, so that the passphrase never leaves
//! it. A restore goes into a directory without state, all or nothing.

use std::io::{Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

use age::secrecy::SecretString;
use anyhow::{Context as _, bail};
use moorline_base::error::Hinted;
use moorline_base::files::{Access, DataDir, write_atomic};

/// What a backup holds, relative to the data directory. Recordings are not in it.
pub const FILES: [&str; 7] = [
    "registry.sqlite",
    "registry.key",
    "ssh_host_ed25519_key",
    "ssh_host_ecdsa_key",
    "tls-certificate.pem",
    "tls-key.pem",
    "moorline.toml",
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
        let path = if name == "registry.sqlite" {
            registry.to_owned()
        } else {
            data.join(name)
        };
        if path.exists() {
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

/// Opens a backup and writes its files into a data directory without state. Returns their names.
///
/// # Errors
/// The passphrase is wrong, the file is damaged or not a backup, or the directory holds state already: nothing is written then.
pub fn restore(file: &Path, passphrase: &str, data: &Path) -> anyhow::Result<Vec<String>> {
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
    for (name, content) in &files {
        write_atomic(&data.join(name), content, Access::Private)
            .with_context(|| format!("cannot write {}", name.display()))?;
    }
    Ok(files
        .into_iter()
        .map(|(name, _)| name.display().to_string())
        .collect())
}

/// Makes a restored registry safe to use: generations jump past all that were given since the backup, and web sessions end.
///
/// # Errors
/// The registry of the backup is damaged or of a newer version.
pub async fn bump(data: &Path) -> anyhow::Result<()> {
    let (restored, path) = (data.join("registry.restored"), data.join("registry.sqlite"));
    std::fs::rename(&path, &restored)?;
    let now = moorline_base::clock::Clock::wall_ms(&moorline_base::clock::SystemClock);
    moorline_registry::import(&restored, &path, now).await?;
    std::fs::remove_file(&restored)?;
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
    if !files
        .iter()
        .any(|(name, _)| name == Path::new("registry.sqlite"))
    {
        bail!("the backup holds no registry");
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup_of(content: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("copy.sqlite"), content).unwrap();
        std::fs::write(dir.path().join("registry.key"), "key").unwrap();
        let packed = pack(dir.path(), &dir.path().join("copy.sqlite")).unwrap();
        let file = dir.path().join("backup.age");
        write(&packed, "correct horse", &file).unwrap();
        (dir, file)
    }

    #[test]
    fn a_backup_comes_back_whole_into_an_empty_directory_only() {
        let (dir, file) = backup_of("cameras");
        let data = dir.path().join("new");
        assert_eq!(
            restore(&file, "correct horse", &data).unwrap(),
            ["registry.sqlite", "registry.key"]
        );
        assert_eq!(
            std::fs::read_to_string(data.join("registry.sqlite")).unwrap(),
            "cameras"
        );
        assert!(
            restore(&file, "correct horse", &data)
                .unwrap_err()
                .to_string()
                .contains("already")
        );
    }

    #[test]
    fn a_wrong_passphrase_or_a_damaged_file_writes_nothing() {
        let (dir, file) = backup_of("cameras");
        let data = dir.path().join("new");
        let wrong = restore(&file, "wrong horse!", &data).unwrap_err();
        assert!(
            format!("{wrong:#}").contains("passphrase is wrong"),
            "{wrong:#}"
        );
        let mut bytes = std::fs::read(&file).unwrap();
        let last = bytes.len() - 20;
        bytes[last] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        assert!(restore(&file, "correct horse", &data).is_err());
        assert!(!data.join("registry.sqlite").exists());
    }
}
