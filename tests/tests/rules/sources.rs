//! What may not stand in a file of the repository.

use crate::files::texts;

/// This file, which has to name what it forbids.
const SELF: &str = "tests/tests/rules/sources.rs";

/// Paths that exist on one machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    "/root/.",
    "/home/",
    "/Users/",
    "/tmp/bash",
    "C:\\Users",
];
/// Work that was left for later belongs into an issue.
const LEFT_OVERS: &[&str] = &["TODO", "FIXME", "XXX:", "HACK"];

/// Files that may be longer than [`LONGEST`] lines, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];
const LONGEST: usize = 800;

#[test]
fn no_file_names_a_path_of_one_machine() {
    let mut wrong = Vec::new();
    for file in texts(&[]).iter().filter(|file| file.path != SELF) {
        for (number, line) in file.text.lines().enumerate() {
            for path in MACHINE_PATHS {
                // Cameras have homes too: `/root/.ssh` is where dropbear on a camera keeps what it knows.
                let on_a_camera = *path == "/root/." && line.contains("/root/.ssh");
                if begins_in(line, path) && !on_a_camera {
                    wrong.push(format!("{}:{}: {path}", file.path, number + 1));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Whether an absolute path begins so somewhere in the line; `/cameras/home/yard` is none that begins with `/home/`.
fn begins_in(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before
            .is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.' | '}' | '~' | '/'))
    })
}

#[test]
fn nothing_is_left_for_later() {
    let mut wrong = Vec::new();
    for file in texts(&["rs", "toml", "sh", "py", "js", "css", "html", "sql"])
        .iter()
        .filter(|file| file.path != SELF)
    {
        for (number, line) in file.text.lines().enumerate() {
            if LEFT_OVERS.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "do it, or write an issue");
}

/// What is on the camera must compile for a MIPS of 32 bits without a floating point unit worth the name; no everyday build tells.
#[test]
fn the_agent_uses_nothing_that_its_cameras_have_not() {
    let mut wrong = Vec::new();
    for file in texts(&["rs"]) {
        let on_a_camera = ["crates/agent/src/", "crates/control/src/"];
        if !on_a_camera.iter().any(|place| file.path.starts_with(place)) {
            continue;
        }
        for word in ["AtomicU64", "AtomicI64", "f32", "f64"] {
            let whole = file.text.split(|c: char| !c.is_alphanumeric());
            if whole.into_iter().any(|found| found == word) {
                wrong.push(format!("{}: {word}", file.path));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn long_files_have_a_reason() {
    let mut wrong = Vec::new();
    for file in texts(&["rs", "py", "sh", "js", "css", "html"]) {
        let lines = file.text.lines().count();
        let listed = LONG_FILES.iter().any(|(path, _)| *path == file.path);
        match (lines > LONGEST, listed) {
            (true, false) => wrong.push(format!(
                "{}: {lines} lines: split it, or list it with a reason",
                file.path
            )),
            (false, true) => {
                wrong.push(format!("{}: short again: take it off the list", file.path))
            }
            _ => {}
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_test_is_ignored_without_a_reason() {
    let mut wrong = Vec::new();
    for file in texts(&["rs"]) {
        for (number, line) in file.text.lines().enumerate() {
            let line = line.trim_start();
            let attribute = line.starts_with("#[ignore") && !line.starts_with("#[ignore = \"");
            let example =
                (line.starts_with("///") || line.starts_with("//!")) && line.contains("```ignore");
            if attribute || example {
                wrong.push(format!("{}:{}: {line}", file.path, number + 1));
            }
        }
    }
    assert_eq!(
        wrong,
        Vec::<String>::new(),
        "write #[ignore = \"long: …\"] for the long tier; no example may be ignored"
    );
}

#[test]
fn lints_are_switched_off_with_a_reason_only() {
    let mut wrong = Vec::new();
    for file in texts(&["rs"]) {
        for attribute in ["allow(", "expect("] {
            for opening in [format!("#[{attribute}"), format!("#![{attribute}")] {
                for (at, _) in file.text.match_indices(&opening) {
                    let before = file.text[..at].rsplit('\n').next().unwrap_or_default();
                    let starts_line = before.trim().is_empty();
                    let body = file.text[at..].split(")]").next().unwrap_or_default();
                    // A test program has no users whom docs would serve: that needs no reason.
                    let test_docs = file.path.contains("tests/") && body == "#![allow(missing_docs";
                    if starts_line && !test_docs && !body.contains("reason = ") {
                        let line = file.text[..at].matches('\n').count() + 1;
                        wrong.push(format!(
                            "{}:{line}: {opening}…)] without a reason",
                            file.path
                        ));
                    }
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
