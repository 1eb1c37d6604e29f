//! An archive in the format that the kernel unpacks as its first file system: cpio, `newc`.
//!
//! Written here since a tree of files cannot hold device nodes, nor files of root, unless root made it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const DEVICE: u32 = 0o020_000;

/// Entries in the order in which they were added.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// A directory with all that is in it, owned by root. `from` stands for the root of the archive.
    pub(super) fn tree(&mut self, from: &Path) -> Result<()> {
        self.below(from, from)
    }

    fn below(&mut self, root: &Path, directory: &Path) -> Result<()> {
        let mut paths: Vec<_> = fs::read_dir(directory)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        paths.sort();
        for path in paths {
            let name = path
                .strip_prefix(root)?
                .to_str()
                .context("a name that is no text")?;
            let metadata = fs::symlink_metadata(&path)?;
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_dir() {
                self.entry(name, DIRECTORY | mode, (0, 0), &[])?;
                self.below(root, &path)?;
            } else if metadata.is_symlink() {
                let to = fs::read_link(&path)?;
                self.entry(
                    name,
                    LINK | 0o777,
                    (0, 0),
                    to.as_os_str().as_encoded_bytes(),
                )?;
            } else {
                self.entry(name, FILE | mode, (0, 0), &fs::read(&path)?)?;
            }
        }
        Ok(())
    }

    /// An empty directory.
    pub(super) fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(name, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// A character device.
    pub(super) fn device(&mut self, name: &str, mode: u32, number: (u32, u32)) -> Result<()> {
        self.entry(name, DEVICE | mode, number, &[])
    }

    /// The finished archive.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.bytes)
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len())?;
        let named = u32::try_from(name.len())? + 1;
        self.bytes.extend_from_slice(b"070701");
        // Inode, mode, owner, group, links, time, size, device of the file, device that it is, length of the name, no sum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            named,
            0,
        ];
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    /// To a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_begin_at_multiples_of_four_and_say_what_they_are() {
        let mut archive = Archive::default();
        archive
            .device("dev/console", 0o600, (5, 1))
            .unwrap_or_default();
        archive
            .entry("init", FILE | 0o755, (0, 0), b"#!/bin/sh")
            .unwrap_or_default();
        let bytes = archive.finish().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let starts: Vec<_> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(starts.len(), 3);
        assert!(starts.iter().all(|at| at % 4 == 0), "{starts:?}");
        assert!(text.contains("070701000000010000218"), "{text}");
        assert!(text.contains("#!/bin/sh\0\0\0"), "{text}");
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn a_tree_keeps_its_names_modes_and_links_and_belongs_to_root() {
        let place = std::env::temp_dir().join(format!("moorline-archive-{}", std::process::id()));
        fs::create_dir_all(place.join("bin")).unwrap();
        fs::write(place.join("bin/agent"), "program").unwrap();
        fs::set_permissions(place.join("bin/agent"), fs::Permissions::from_mode(0o750)).unwrap();
        fs::write(place.join("id"), "key").unwrap();
        fs::set_permissions(place.join("id"), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("bin/agent", place.join("init")).unwrap();
        let mut archive = Archive::default();
        archive.tree(&place).unwrap();
        let bytes = archive.finish().unwrap();
        fs::remove_dir_all(&place).unwrap();

        // Mode, owner and group of each, its name and its content: fields of eight digits behind the magic.
        let mut seen = Vec::new();
        let mut rest = bytes.as_slice();
        loop {
            let field = |nth: usize| {
                let digits = &rest[6 + 8 * nth..14 + 8 * nth];
                u32::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            };
            let (size, named) = (field(6) as usize, field(11) as usize);
            let name = String::from_utf8_lossy(&rest[110..109 + named]).into_owned();
            let begins = (110 + named).next_multiple_of(4);
            let content = String::from_utf8_lossy(&rest[begins..begins + size]).into_owned();
            if name == "TRAILER!!!" {
                break;
            }
            seen.push((name, field(1), (field(2), field(3)), content));
            rest = &rest[(begins + size).next_multiple_of(4)..];
        }
        let modes: Vec<_> = seen
            .iter()
            .map(|entry| (entry.0.as_str(), entry.1))
            .collect();
        assert_eq!(modes[0].0, "bin");
        assert_eq!(modes[0].1 & 0o170_000, DIRECTORY);
        assert_eq!(
            modes[1..],
            [
                ("bin/agent", FILE | 0o750),
                ("id", FILE | 0o600),
                ("init", LINK | 0o777)
            ]
        );
        assert!(seen.iter().all(|entry| entry.2 == (0, 0)), "{seen:?}");
        let contents: Vec<_> = seen.iter().map(|entry| entry.3.as_str()).collect();
        assert_eq!(contents, ["", "program", "key", "bin/agent"]);
    }
}
