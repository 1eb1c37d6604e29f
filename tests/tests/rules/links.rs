//! Links in Markdown lead somewhere.

use std::path::{Component, Path, PathBuf};

use moorline_tests::repository;

use crate::files::texts;

#[test]
fn every_link_in_the_docs_resolves() {
    let mut wrong = Vec::new();
    for file in texts(&["md"]) {
        for (number, target) in links(&file.text) {
            if let Err(reason) = resolve(&file.path, &target) {
                wrong.push(format!("{}:{number}: ({target}): {reason}", file.path));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The targets of inline links, with their lines. Code is left out.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Every second part stands between backticks.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let mut rest = prose.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, later)) = after.split_once(')') else {
                break;
            };
            // A title may follow the target.
            found.push((
                number + 1,
                target.split(' ').next().unwrap_or_default().to_owned(),
            ));
            rest = later;
        }
    }
    found
}

fn resolve(from: &str, target: &str) -> Result<(), String> {
    if ["http://", "https://", "mailto:"]
        .iter()
        .any(|scheme| target.starts_with(scheme))
    {
        return Ok(());
    }
    let (path, anchor) = target
        .split_once('#')
        .map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file = if path.is_empty() {
        repository().join(from)
    } else {
        let directory = Path::new(from).parent().unwrap_or(Path::new(""));
        let inside = normalize(&directory.join(path)).ok_or("leads out of the repository")?;
        repository().join(inside)
    };
    if !file.exists() {
        return Err("no such file".to_owned());
    }
    let Some(anchor) = anchor else { return Ok(()) };
    if file.extension().is_none_or(|extension| extension != "md") {
        return Ok(());
    }
    let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
    let known = headings(&text);
    if known.iter().any(|slug| slug == anchor) {
        Ok(())
    } else {
        Err(format!("no heading #{anchor}"))
    }
}

/// Without `.` and `..`; nothing if it leaves the root.
fn normalize(path: &Path) -> Option<PathBuf> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.iter().collect())
}

/// The anchors that forges give to headings: lower case, punctuation left out, spaces as hyphens, repeats numbered.
fn headings(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        let title = line.trim_start_matches('#');
        if fenced || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let slug: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let repeats = found
            .iter()
            .filter(|known| **known == slug || known.starts_with(&format!("{slug}-")))
            .count();
        if found.contains(&slug) {
            found.push(format!("{slug}-{repeats}"))
        } else {
            found.push(slug)
        }
    }
    found
}

#[test]
fn links_and_anchors_are_read_as_forges_read_them() {
    let text = "# A: title, `code` & more\n[one](a.md) and [two](b.md#x \"title\") `[no](code)`\n```\n[no](fence)\n```\n";
    assert_eq!(
        links(text),
        [(2, "a.md".to_owned()), (2, "b.md#x".to_owned())]
    );
    assert_eq!(headings(text), ["a-title-code--more"]);
    assert_eq!(
        normalize(Path::new("docs/guide/../design/x.md")),
        Some(PathBuf::from("docs/design/x.md"))
    );
    assert_eq!(normalize(Path::new("docs/../../x.md")), None);
    assert!(resolve("docs/x.md", "no-such-file.md").is_err());
}
