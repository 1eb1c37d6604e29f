//! How a static binary for a camera is linked: Debian's cross gcc for glibc, told to take musl.
//!
//! Two things have to be told to it. `musl-gcc.specs` (of musl itself) names start files and libraries; Debian's names where they would lie if
//! they were installed, so it is rewritten. And gcc's unwinder is made for glibc's dynamic loader: it asks `_dl_find_object`, which musl has not;
//! ours answers that there is nothing, since nothing unwinds in an agent that aborts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Target, target::Musl};
use crate::{
    debian::{self, Package, output},
    process::target_directory,
};

/// What rustc calls, and what it has to say besides.
pub(super) struct Link {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
}

/// Gets the C library and writes what the linker needs.
pub(super) fn prepare(target: &Target) -> Result<Link> {
    let gcc = format!("{}-gcc", target.tools);
    let place = target_directory()?.join("debian").join(target.name);
    let libraries = match target.musl {
        Musl::Debian(architecture) => {
            let packages = [Package::Named("musl-dev")];
            let root = debian::unpacked(target.name, architecture, &packages)?;
            installed(&root)?
        }
        Musl::Source => debian::musl_from_source(target.name, target.tools)?,
    };
    let specs = fs::read_to_string(libraries.join("musl-gcc.specs"))?;
    let specs_here = place.join("musl-gcc.specs");
    fs::write(&specs_here, specs_for(&specs, &libraries))?;

    let support = place.join("support");
    fs::create_dir_all(&support)?;
    let source = support.join("dlfo.c");
    fs::write(
        &source,
        "int _dl_find_object(void *address, void *found)\n{\n\treturn -1;\n}\n",
    )?;
    let object = support.join("dlfo.o");
    output(
        Command::new(&gcc)
            .args(["-Os", "-c", "-o"])
            .args([&object, &source]),
    )?;
    // rustc asks for musl's own unwinder, `libunwind.a`: a script of the linker can be a library.
    fs::write(
        support.join("libunwind.a"),
        format!("GROUP(-lgcc_eh -lgcc -lc {})\n", object.display()),
    )?;
    let mut arguments: Vec<_> = target.link.iter().map(ToString::to_string).collect();
    arguments.extend([
        format!("-specs={}", specs_here.display()),
        format!("-L{}", support.display()),
        format!("-L{}", libraries.display()),
        "-static".to_owned(),
    ]);
    Ok(Link {
        program: gcc,
        arguments,
    })
}

/// Where Debian's package has put musl: `usr/lib/mipsel-linux-musl`.
fn installed(root: &Path) -> Result<PathBuf> {
    fs::read_dir(root.join("usr/lib"))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.join("musl-gcc.specs").is_file())
        .context("Debian's musl-dev has no musl-gcc.specs")
}

/// The specs with the directory where the libraries really lie.
fn specs_for(specs: &str, libraries: &Path) -> String {
    let name = libraries.file_name().unwrap_or_default().to_string_lossy();
    let here = libraries.display().to_string();
    specs
        .replace(&format!("/usr/lib/{name}"), &here)
        // A position independent start is for programs that move.
        .replace("Scrt1.o", "crt1.o")
        .replace("crtbeginS.o", "crtbegin.o")
        .replace("crtendS.o", "crtend.o")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specs_name_where_the_library_lies() {
        let specs = "*startfile:\n%{!shared: /usr/lib/mipsel-linux-musl/Scrt1.o} /usr/lib/mipsel-linux-musl/crti.o crtbeginS.o%s\n";
        let here = specs_for(specs, Path::new("/tree/usr/lib/mipsel-linux-musl"));
        assert_eq!(
            here,
            "*startfile:\n%{!shared: /tree/usr/lib/mipsel-linux-musl/crt1.o} /tree/usr/lib/mipsel-linux-musl/crti.o crtbegin.o%s\n"
        );
    }
}
