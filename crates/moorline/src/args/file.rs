//! Where a command writes to: a file that is not there yet, or one that may be replaced.

use std::path::{Path, PathBuf};

use clap::Args;
use moorline_base::error::Hinted;

/// A file to be written, which nobody's other file gives way to unasked.
#[derive(Debug, Args)]
pub struct NewFile {
    /// File to write to.
    #[arg(long, short = 'f', value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it is there already.
    #[arg(long)]
    force: bool,
}

impl NewFile {
    /// The file.
    ///
    /// # Errors
    /// It is there already.
    pub fn path(&self) -> anyhow::Result<&Path> {
        free(&self.file, self.force)
    }
}

/// A file to be written, or standard output.
#[derive(Debug, Args)]
pub struct Target {
    /// File to write to; - for standard output.
    #[arg(long, short = 'f', value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it is there already.
    #[arg(long)]
    force: bool,
}

impl Target {
    /// The file.
    ///
    /// # Errors
    /// It is there already.
    pub fn path(&self) -> anyhow::Result<&Path> {
        match self.file == Path::new("-") {
            true => Ok(&self.file),
            false => free(&self.file, self.force),
        }
    }
}

fn free(file: &Path, force: bool) -> anyhow::Result<&Path> {
    if !force && file.symlink_metadata().is_ok() {
        anyhow::bail!(Hinted::new(
            format!("{} is there already", file.display()),
            "name another file, or add --force to replace it",
        ));
    }
    Ok(file)
}
