//! Files that have a source: made by the binary itself, checked in, and compared.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::process::{cargo, root, succeed};

/// Where the binary's own reference lies.
const REFERENCE: &str = "docs/reference";

/// Makes `docs/reference` again, or says which of its files differ. Files there that the binary does not make are left alone.
pub(crate) fn run(check: bool) -> Result<()> {
    let reference = root().join(REFERENCE);
    if !check {
        return make(&reference);
    }
    let fresh = root().join("target").join("generated");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("cannot empty {}", fresh.display()))?;
    }
    make(&fresh)?;
    let stale: Vec<String> = files(&fresh)?
        .into_iter()
        .filter(|file| fs::read(fresh.join(file)).ok() != fs::read(reference.join(file)).ok())
        .map(|file| format!("{REFERENCE}/{}", file.display()))
        .collect();
    if !stale.is_empty() {
        bail!(
            "not as generated: {}\nhint: run `cargo xtask generate`",
            stale.join(", ")
        );
    }
    Ok(())
}

fn make(into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let mut command = cargo();
    command
        .args([
            "run",
            "--quiet",
            "--package",
            "moorline",
            "--",
            "generate",
            "reference",
            "--out",
        ])
        .arg(into);
    succeed(&mut command)
}

/// All files below, relative, in order.
fn files(directory: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in
            fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(relative) = path.strip_prefix(directory) {
                found.insert(relative.to_path_buf());
            }
        }
    }
    Ok(found)
}
