//! The owner's files: lines of a key and a value, `#` for comments. What is wrong is told by its line and its key (P11).

/// One wrong line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong: never the value, which may be a secret (P10).
    pub what: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// Calls `take` with each key and its value; what it refuses is returned.
pub(crate) fn read(
    text: &str,
    mut take: impl FnMut(&str, &str) -> Result<(), String>,
) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    // A card that was written on Windows has CR LF, and perhaps a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        if let Err(what) = take(key, value.trim()) {
            let line = index + 1;
            wrong.push(Wrong { line, what });
        }
    }
    wrong
}

/// The value, or a sentence with its key.
pub(crate) fn need<T>(key: &str, value: Option<T>, what: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("{key}: {what}"))
}
