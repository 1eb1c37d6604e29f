//! The repository's files, as every rule sees them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use moorline_tests::repository;

/// Directories that hold nothing of ours.
fn is_foreign(name: &str) -> bool {
    // What cargo-fuzz leaves in fuzz/ is not committed either.
    let fuzzing = matches!(name, "corpus" | "artifacts" | "coverage");
    name.starts_with("target")
        || fuzzing
        || matches!(name, ".git" | "moorline-data" | "node_modules")
}

/// A file of the repository with its text.
pub(crate) struct Text {
    /// Relative to the root, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every file whose name ends in one of `extensions`; with none given, every file that is text.
pub(crate) fn texts(extensions: &[&str]) -> Vec<Text> {
    let wanted = |path: &Path| {
        let extension = path
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default();
        extensions.is_empty() || extensions.contains(&extension)
    };
    let mut found: Vec<Text> = paths()
        .into_iter()
        .filter(|path| wanted(path))
        // Clips, icons and the like are no text.
        .filter_map(|path| {
            let text = fs::read_to_string(&path).ok()?;
            let relative = path.strip_prefix(repository()).unwrap_or(&path);
            Some(Text {
                path: relative.to_string_lossy().into_owned(),
                text,
            })
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        !found.is_empty(),
        "the repository was not found at {}",
        repository().display()
    );
    found
}

fn paths() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![repository().to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if !is_foreign(&name) {
                    open.push(path);
                }
            } else if name != ".git" {
                // In a worktree `.git` is a file.
                found.push(path);
            }
        }
    }
    found
}
