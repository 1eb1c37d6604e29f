//! The C library of cameras, built from Debian's source of musl.
//!
//! Debian's own `libc.a` is made for programs that move, and for speed: of the agent for MIPS it was 84 KB. Built for its size and for a fixed
//! address, and without its resolver, it is 41 KB. No stack protector, which Debian's has: the agent asks for names itself, so that no stranger's bytes
//! are parsed here. Debian has no big-endian MIPS any more; a source serves all alike.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::Target;
use crate::debian::{self, output};

/// What it is built with, beside a target's own flags.
const FLAGS: &[&str] = &[
    "-Os",
    "-fno-pic",
    "-fno-pie",
    "-fno-stack-protector",
    "-ffunction-sections",
    "-fdata-sections",
];

/// Builds it below `place`, unless it lies there built in the same way. Gives where `libc.a` and the specs lie.
pub(super) fn built(target: &Target, place: &Path) -> Result<PathBuf> {
    let root = place.join("musl");
    let libraries = root.join("lib");
    let stamp = root.join("built");
    let flags = [FLAGS, target.c_flags].concat().join(" ");
    if fs::read_to_string(&stamp).is_ok_and(|had| had == flags) {
        return Ok(libraries);
    }
    println!("building musl for {}", target.name);
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    // Beside the source: its build writes nothing into it then.
    let build = root.join("build");
    fs::create_dir_all(&build)?;
    let source = debian::source("musl")?;
    let option = |name: &str, value: &Path| format!("--{name}={}", value.display());
    output(
        Command::new(source.join("configure"))
            .current_dir(&build)
            .env("CFLAGS", &flags)
            .arg(format!("--host={}", target.tools))
            .args([
                "--disable-shared",
                "--enable-wrapper=gcc",
                "--enable-optimize=size",
            ])
            .arg(option("srcdir", &source))
            .arg(option("prefix", &root))
            .arg(option("syslibdir", &libraries)),
    )?;
    output(
        Command::new("make")
            .current_dir(&build)
            .args(["-j2", "install"]),
    )?;
    fs::remove_dir_all(&build)?;
    // Last: it makes the cache valid.
    fs::write(stamp, flags)?;
    Ok(libraries)
}
