//! How a static binary for a camera is linked: Debian's cross gcc for glibc, told to take musl.
//!
//! Two things have to be told to it. `musl-gcc.specs` (of musl itself) names start files and libraries, and thinks of programs that move. And gcc's unwinder is made for glibc's dynamic loader: it asks `_dl_find_object`, which musl has not;
//! ours answers that there is nothing, since nothing unwinds in an agent that aborts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{Target, musl};
use crate::{debian::output, process::target_directory};

/// What rustc calls, and what it has to say besides.
pub(super) struct Link {
    pub(super) program: String,
    /// What is linked before everything else, so that it is taken and not the C library's.
    pub(super) before: PathBuf,
    pub(super) arguments: Vec<String>,
}

/// Builds the C library and writes what the linker needs.
pub(super) fn prepare(target: &Target) -> Result<Link> {
    let gcc = format!("{}-gcc", target.tools);
    let place = target_directory()?.join("debian").join(target.name);
    let libraries = musl::built(target, &place)?;
    let specs = fs::read_to_string(libraries.join("musl-gcc.specs"))?;
    let specs_here = place.join("musl-gcc.specs");
    fs::write(&specs_here, specs_for(&specs))?;

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

/// What std mentions, and musl does with more code than an agent of one user needs: naming a thread brings all of `printf` with it (14 KB), the size of
/// a page all that a system can be asked for, changing the user a way to stop all threads. std names each thread from itself, and its `Command` changes users only when it is told to, which the
/// agent never does: it would get an error. Without the C library's headers, which nothing else here needs.
const SMALLER: &str = "int prctl(int, ...);
int *__errno_location(void);
unsigned long getauxval(unsigned long);

int pthread_setname_np(void *thread, const char *name)
{
	/* PR_SET_NAME */
	return prctl(15, name, 0ul, 0ul, 0ul) ? *__errno_location() : 0;
}

/* std asks for the size of a page (30: _SC_PAGESIZE) alone; 6: AT_PAGESZ */
long sysconf(int name)
{
	return name == 30 ? (long)getauxval(6) : -1;
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

/// The specs of a program that does not move: a position independent start is for programs that do.
fn specs_for(specs: &str) -> String {
    specs
        .replace("Scrt1.o", "crt1.o")
        .replace("crtbeginS.o", "crtbegin.o")
        .replace("crtendS.o", "crtend.o")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specs_start_a_program_that_does_not_move() {
        let specs = "*startfile:\n%{!shared: /tree/lib/Scrt1.o} /tree/lib/crti.o crtbeginS.o%s\n";
        let here = specs_for(specs);
        assert_eq!(
            here,
            "*startfile:\n%{!shared: /tree/lib/crt1.o} /tree/lib/crti.o crtbegin.o%s\n"
        );
    }
}
