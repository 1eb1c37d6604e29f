//! Names inside the spool: path and file of an open segment carry what its final key needs; a sealed file's name is its key.
//!
//! ```text
//! spool/lock
//! spool/<tenant>/<camera>/g<generation>_<take>_<class>_<tier>/<sequence>.part     open
//! spool/.sealed/<key, with ~ for />                                               sealed segments and gap markers
//! ```

use std::path::{Path, PathBuf};

use moorline_core::segment::{ObjectKey, Place, Retention, Tier};
use moorline_core::{CameraId, Generation, TakeId};

/// The folder of everything that waits for the store.
pub(crate) const SEALED: &str = ".sealed";
/// What an open segment's name ends with.
const PART: &str = ".part";

/// What an open segment is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartName {
    pub(crate) place: Place,
    pub(crate) generation: Generation,
    pub(crate) take: TakeId,
    pub(crate) sequence: u32,
}

impl PartName {
    /// The folder of the take.
    pub(crate) fn folder(&self, spool: &Path) -> PathBuf {
        let camera = &self.place.camera;
        spool
            .join(camera.tenant().as_str())
            .join(camera.name())
            .join(format!(
                "g{:010}_{}_{}_{}",
                self.generation.0, self.take, self.place.retention, self.place.tier
            ))
    }

    /// The file.
    pub(crate) fn path(&self, spool: &Path) -> PathBuf {
        self.folder(spool)
            .join(format!("{:06}{PART}", self.sequence))
    }

    /// Reads the names back; `None` for what is none of ours.
    pub(crate) fn parse(tenant: &str, camera: &str, folder: &str, file: &str) -> Option<Self> {
        let sequence = file.strip_suffix(PART).filter(|digits| digits.len() == 6)?;
        let mut fields = folder.strip_prefix('g')?.split('_');
        let generation = Generation(fields.next()?.parse().ok()?);
        let take: TakeId = fields.next()?.parse().ok()?;
        let retention: Retention = fields.next()?.parse().ok()?;
        let tier = match fields.next()? {
            "full" => Tier::Full,
            "low" => Tier::Low,
            "idr" => Tier::Idr,
            _ => return None,
        };
        if fields.next().is_some() {
            return None;
        }
        Some(Self {
            place: Place {
                camera: CameraId::new(tenant.parse().ok()?, camera.parse().ok()?),
                retention,
                tier,
            },
            generation,
            take,
            sequence: sequence.parse().ok()?,
        })
    }
}

/// The file name of a sealed object: its key in one name, so that one folder is synced and one is scanned.
pub(crate) fn sealed_name(key: &ObjectKey) -> String {
    key.to_string().replace('/', "~")
}

/// The path of a sealed object.
pub(crate) fn sealed_path(spool: &Path, key: &ObjectKey) -> PathBuf {
    spool.join(SEALED).join(sealed_name(key))
}

/// Reads a sealed name back.
pub(crate) fn parse_sealed(name: &str) -> Option<ObjectKey> {
    name.replace('~', "/").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let part = PartName {
            place: Place {
                camera: "acme/yard".parse().unwrap(),
                retention: Retention::Days(30),
                tier: Tier::Full,
            },
            generation: Generation(7),
            take: TakeId(0x0000_00ff),
            sequence: 42,
        };
        let path = part.path(Path::new("/s"));
        assert_eq!(
            path.to_str(),
            Some("/s/acme/yard/g0000000007_000000ff_r030_full/000042.part")
        );
        let back = PartName::parse(
            "acme",
            "yard",
            "g0000000007_000000ff_r030_full",
            "000042.part",
        );
        assert_eq!(back, Some(part));
        for (folder, file) in [
            ("x", "000042.part"),
            ("g0000000007_000000ff_r030_full", "42.part"),
            ("g1_1_r030_best", "000042.part"),
        ] {
            assert_eq!(PartName::parse("acme", "yard", folder, file), None);
        }
    }

    #[test]
    fn a_sealed_name_is_one_file_name_and_reads_back() {
        let longest = "a".repeat(63);
        let key: ObjectKey = format!(
            "v1/r030/{longest}/{longest}/2026/11/20/211005.250Z_00060033_g0000000007_7f3a9c21_000042_b41d0e_full.mp4"
        )
        .parse()
        .unwrap();
        let name = sealed_name(&key);
        assert!(name.len() <= 230 && !name.contains('/'), "{}", name.len());
        assert_eq!(parse_sealed(&name), Some(key));
    }
}
