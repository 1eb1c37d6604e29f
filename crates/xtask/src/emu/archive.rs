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
}
