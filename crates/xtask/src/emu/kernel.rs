//! Debian's kernel for Malta, unpacked here.
//!
//! `vmlinuz` is a program that decompresses the kernel and jumps into it; emulated, that takes 15 s of each boot. The XZ stream in it is the
//! kernel's image, which belongs to the load address of Malta; where to jump stands in the program, as the only address that it makes with `lui`
//! and `ori` (its own ones are made with `addiu`).

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Where Malta's kernels begin (`arch/mips/mti-malta/Platform`).
const LOAD: u32 = 0x8010_0000;
/// Memory behind the image for what is not stored in it.
const ZEROED: u32 = 4 << 20;
/// How an XZ stream begins.
const XZ: &[u8] = b"\xfd7zXZ\0";

/// The kernel as an ELF program that can be started at once.
pub(super) fn unpack(vmlinuz: &[u8]) -> Result<Vec<u8>> {
    // The decompressor holds the same bytes as a constant; the stream is the last place where they stand.
    let at = vmlinuz
        .windows(XZ.len())
        .rposition(|window| window == XZ)
        .context("the kernel holds no XZ stream")?;
    let (program, stream) = vmlinuz.split_at(at);
    let entry = entry(program).context("the kernel's decompressor jumps nowhere")?;
    elf(&decompressed(stream)?, entry)
}

/// The address that is loaded into `t9` by `lui` and `ori`.
fn entry(program: &[u8]) -> Option<u32> {
    const LUI_T9: u32 = 0x3c19;
    const ORI_T9_T9: u32 = 0x3739;
    let words: Vec<u32> = program
        .chunks_exact(4)
        .filter_map(|word| Some(u32::from_le_bytes(word.try_into().ok()?)))
        .collect();
    words.windows(2).find_map(|pair| match pair {
        [high, low] if high >> 16 == LUI_T9 && low >> 16 == ORI_T9_T9 => {
            Some((high << 16) | (low & 0xffff))
        }
        _ => None,
    })
}

/// By `xz`, which stops at the end of the stream: the rest of the program follows it.
fn decompressed(stream: &[u8]) -> Result<Vec<u8>> {
    let mut xz = Command::new("xz")
        .args(["--decompress", "--stdout", "--single-stream"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start xz")?;
    let mut input = xz.stdin.take().context("xz has no input")?;
    let output = std::thread::scope(|scope| {
        // It ends before it has read all, and that is well.
        scope.spawn(move || input.write_all(stream).is_ok());
        xz.wait_with_output()
    })?;
    if !output.status.success() || output.stdout.is_empty() {
        bail!("xz cannot decompress the kernel ({})", output.status);
    }
    Ok(output.stdout)
}

/// One segment at [`LOAD`].
fn elf(image: &[u8], entry: u32) -> Result<Vec<u8>> {
    const HEADERS: u32 = 0x34 + 0x20;
    let size = u32::try_from(image.len())?;
    if !(LOAD..LOAD + size).contains(&entry) {
        bail!("the kernel's entry {entry:#x} lies outside of it");
    }
    // 32 bits, little endian, ELF 1; an executable for MIPS, its headers, their number and size; no sections. O32, MIPS32 release 2.
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x08\0".to_vec();
    for word in [1, entry, 0x34, 0, 0x7000_1000, 0x0020_0034, 0x0028_0001, 0] {
        elf.extend_from_slice(&u32::to_le_bytes(word));
    }
    for word in [1, HEADERS, LOAD, LOAD, size, size + ZEROED, 7, 4] {
        elf.extend_from_slice(&u32::to_le_bytes(word));
    }
    elf.extend_from_slice(image);
    Ok(elf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_is_jumped_to_is_not_the_decompressors_own() {
        // lui t9 / addiu t9, jalr t9, lui t9 / ori t9: as Debian's 6.1.176 begins.
        let words: [u32; 6] = [
            0x3c19_810f,
            0x2739_1184,
            0x0320_f809,
            0,
            0x3c19_80b1,
            0x3739_74bc,
        ];
        let program: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(entry(&program), Some(0x80b1_74bc));
        assert_eq!(entry(&program[..16]), None);
    }

    #[test]
    fn the_headers_say_where_it_lies_and_begins() {
        let elf = elf(&[0xAA; 16], LOAD + 8).unwrap_or_default();
        let word = |at: usize| u32::from_le_bytes(elf[at..at + 4].try_into().unwrap_or_default());
        assert_eq!(&elf[..4], b"\x7fELF");
        assert_eq!((word(0x18), word(0x1c)), (LOAD + 8, 0x34));
        // Type, offset, address, size in the file.
        assert_eq!(
            (word(0x34), word(0x38), word(0x3c), word(0x44)),
            (1, 0x54, LOAD, 16)
        );
        assert_eq!(elf.len(), 0x54 + 16);
        assert!(super::elf(&[0; 16], LOAD + 16).is_err());
    }
}
