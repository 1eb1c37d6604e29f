//! Files that have a source: made by the binary itself or by a library, checked in, and compared.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::process::{cargo, root, succeed};

/// Folders of generated files, and the command of cargo that makes each; it is given the folder as its last argument.
const GENERATED: [(&str, &[&str]); 2] = [
    (
        "docs/reference",
        &[
            "run",
            "--quiet",
            "--package",
            "moorline",
            "--",
            "generate",
            "reference",
            "--out",
        ],
    ),
    (
        "charts/moorline-crds/templates",
        &[
            "run",
            "--quiet",
            "--package",
            "moorline-kube",
            "--example",
            "definitions",
            "--",
        ],
    ),
];

/// Makes all generated files again, or says which of them differ. Files beside them that are not generated are left alone.
pub(crate) fn run(check: bool) -> Result<()> {
    if !check {
        for (folder, command) in GENERATED {
            make(command, &root().join(folder))?;
        }
        return Ok(());
    }
    let fresh = root().join("target").join("generated");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("cannot empty {}", fresh.display()))?;
    }
    let mut stale = Vec::new();
    for (folder, command) in GENERATED {
        let (made, kept) = (fresh.join(folder), root().join(folder));
        make(command, &made)?;
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

fn make(arguments: &[&str], into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let mut command = cargo();
    command.args(arguments).arg(into);
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
