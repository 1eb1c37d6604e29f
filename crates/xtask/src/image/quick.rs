//! The image of the fast tier: the programs that the tests were built with anyway, stripped, beside the shared libraries that they ask for.
//!
//! A release binary from nothing takes two cores a quarter of an hour. This takes seconds, and what runs in the pods is what the other
//! tests have tried. Not reproducible and not for release: its libraries are this machine's.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Made, architecture, image};
use crate::{
    oci::{Entry, Packing},
    process::{build_programs, target_directory},
};

/// Writes the image of the programs, as the end-to-end tests build them, into `<target>/image-quick`.
pub(crate) fn run() -> Result<Made> {
    let programs = build_programs()?;
    let out = target_directory()?.join("image-quick");
    std::fs::create_dir_all(&out)?;
    let moorline = stripped(&programs.moorline, &out)?;
    let workload = stripped(&programs.workload, &out)?;
    let sizes = [moorline.len(), workload.len()].map(|size| size as f64 / 1e6);
    let mut image = image(architecture(), moorline, workload);
    image.packing = Packing::Plain;
    for program in [&programs.moorline, &programs.workload] {
        for library in libraries(program)? {
            let contents = std::fs::read(&library)
                .with_context(|| format!("cannot read {}", library.display()))?;
            let path = library.strip_prefix("/").unwrap_or(&library);
            // The loader is executed.
            let entry = Entry::program(contents);
            image.entries.insert(path.display().to_string(), entry);
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    let reference = format!("localhost/moorline:{version}");
    let file = out.join("moorline.tar");
    let digest = image.write(&reference, &file)?;
    println!(
        "{} ({reference}), moorline has {:.1} MB, moorline-workload {:.1} MB",
        file.display(),
        sizes[0],
        sizes[1]
    );
    Ok(Made {
        file,
        binary: programs.moorline,
        reference,
        digest,
    })
}

/// The program without symbols; a copy of it in `out`.
fn stripped(program: &Path, out: &Path) -> Result<Vec<u8>> {
    let name = program.file_name().context("a program has a name")?;
    let copy = out.join(name);
    let output = Command::new("strip")
        .args(["--strip-all", "-o"])
        .args([copy.as_path(), program])
        .output()
        .context("cannot start strip (package binutils)")?;
    ensure!(
        output.status.success(),
        "strip: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(std::fs::read(&copy)?)
}

/// What the loader would load for `binary`, and the loader itself, where they stand on this machine.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(binary)
        .output()
        .context("cannot start ldd")?;
    ensure!(
        output.status.success(),
        "ldd: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    named(&String::from_utf8_lossy(&output.stdout))
}

/// The paths in what ldd prints: `libm.so.6 => /lib/libm.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`. The vDSO has none.
fn named(text: &str) -> Result<Vec<PathBuf>> {
    if let Some(missing) = text.lines().find(|line| line.contains("not found")) {
        bail!("ldd: {}", missing.trim());
    }
    let path = |line: &str| {
        let word = line.split_whitespace().find(|word| word.starts_with('/'))?;
        Some(PathBuf::from(word))
    };
    Ok(text.lines().filter_map(path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found_and_a_missing_one_is_told() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f00)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f01)\n";
        let found = named(text).unwrap();
        let expected = [
            "/lib/x86_64-linux-gnu/libm.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
        let error = named("\tlibx.so => not found\n").unwrap_err();
        assert!(error.to_string().contains("libx.so"), "{error}");
    }
}
