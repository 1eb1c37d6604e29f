//! Programs as Linux 3.10 runs them, the kernel of the cameras: a seccomp filter answers ENOSYS to every system call that is newer.
//!
//! What the filter cannot show: flags of old calls that came later, and what an old kernel does wrong.

use crate::{Error, peer};

/// The runner, as a script for Debian's own Python.
const SCRIPT: &str = include_str!("old_kernel.py");

/// What stands before a program and its arguments. The process that is started becomes the program: its pid stays.
///
/// # Errors
/// [`Error::Missing`] without Python; [`Error::Unavailable`] on a machine whose numbers of system calls are not known here.
pub fn runner() -> Result<Vec<String>, Error> {
    if !matches!(std::env::consts::ARCH, "x86_64" | "aarch64") {
        return Err(Error::Unavailable {
            peer: "a kernel of old",
            reason: format!("system calls of {}", std::env::consts::ARCH),
        });
    }
    let python = peer::PYTHON.find()?;
    let python = python.path.display().to_string();
    // -I: nothing of the environment or the working directory is imported.
    Ok(vec![
        python,
        "-I".to_owned(),
        "-c".to_owned(),
        SCRIPT.to_owned(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::or_skip;

    #[test]
    fn a_call_that_came_later_is_not_there_and_an_old_one_is() {
        let Some(runner) = or_skip(runner()) else {
            return;
        };
        // getrandom came with 3.17. In a child, as a camera's agent starts dbclient.
        let ask = "import os, subprocess, sys\n\
            code = 'import os\\ntry: os.getrandom(1)\\nexcept OSError as e: print(e.strerror, os.getpid() > 0)'\n\
            print(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout)";
        let output = std::process::Command::new(&runner[0])
            .args(&runner[1..])
            .args([&runner[0], "-c", ask])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            text.trim(),
            "Function not implemented True",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
