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
    /// What is linked before everything else, so that it is taken and not the C library's.
    pub(super) before: PathBuf,
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
    let unwinder = object(&gcc, &support, "dlfo", UNWINDER)?;
    let smaller = object(&gcc, &support, "smaller", SMALLER)?;
    // rustc asks for musl's own unwinder, `libunwind.a`: a script of the linker can be a library.
    fs::write(
        support.join("libunwind.a"),
        format!("GROUP(-lgcc_eh -lgcc -lc {})\n", unwinder.display()),
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
        before: smaller,
        arguments,
    })
}

/// gcc's unwinder asks glibc's loader; nothing unwinds here.
const UNWINDER: &str = "int _dl_find_object(void *address, void *found)
{
	return -1;
}
";

/// What std mentions, and musl does with more code than an agent of one user needs: naming a thread brings all of `printf` with it (14 KB), changing
/// the user a way to stop all threads. std names each thread from itself, and its `Command` changes users only when it is told to, which the
/// agent never does: it would get an error. Without the C library's headers, which nothing else here needs.
const SMALLER: &str = "int prctl(int, ...);
int *__errno_location(void);

int pthread_setname_np(void *thread, const char *name)
{
	/* PR_SET_NAME */
	return prctl(15, name, 0ul, 0ul, 0ul) ? *__errno_location() : 0;
}

static int never(void)
{
	/* EPERM, which has the same number everywhere */
	*__errno_location() = 1;
	return -1;
}

int setuid(unsigned user)
{
	return never();
}

int setgid(unsigned group)
{
	return never();
}

int setgroups(unsigned long count, const unsigned *groups)
{
	return never();
}
";

/// Compiles a few lines of C.
fn object(gcc: &str, place: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let source = place.join(format!("{name}.c"));
    fs::write(&source, text)?;
    let object = place.join(format!("{name}.o"));
    output(
        Command::new(gcc)
            .args(["-Os", "-ffunction-sections", "-c", "-o"])
            .args([&object, &source]),
    )?;
    Ok(object)
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
