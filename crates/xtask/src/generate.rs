//! Files that have a source: made by the binary itself or by a library, checked in, and compared.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::process::{build_programs, root, succeed};

/// Folders of generated files, and what the binary is told to make each.
const GENERATED: [(&str, &str); 2] = [
    ("docs/reference", "reference"),
    ("charts/moorline-crds/templates", "resources"),
];

/// Makes all generated files again, or says which of them differ. Files beside them that are not generated are left alone.
///
/// `binary` is one that is built already; without it, it is built: of the whole workspace, so that dependencies have the features with which
/// everything else is built.
pub(crate) fn run(check: bool, binary: Option<&Path>) -> Result<()> {
    let built;
    let binary = match binary {
        Some(binary) => binary,
        None => {
            built = build_programs()?.moorline;
            &built
        }
    };
    if !check {
        for (folder, what) in GENERATED {
            make(binary, what, &root().join(folder))?;
        }
        return Ok(());
    }
    let fresh = root().join("target").join("generated");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("cannot empty {}", fresh.display()))?;
    }
    let mut stale = Vec::new();
    for (folder, what) in GENERATED {
        let (made, kept) = (fresh.join(folder), root().join(folder));
        make(binary, what, &made)?;
        let differ = files(&made)?
            .into_iter()
            .filter(|file| fs::read(made.join(file)).ok() != fs::read(kept.join(file)).ok());
        stale.extend(differ.map(|file| format!("{folder}/{}", file.display())));
    }
    if !stale.is_empty() {
        bail!(
            "not as generated: {}\nhint: run `cargo xtask generate`",
            stale.join(", ")
        );
    }
    Ok(())
}

fn make(binary: &Path, what: &str, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let mut command = Command::new(binary);
    succeed(command.args(["generate", what, "--out"]).arg(into))
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
