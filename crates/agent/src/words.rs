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
    take: &mut dyn FnMut(&str, &str) -> Result<(), String>,
) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    // A card that was written on Windows has CR LF, and perhaps a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        if let Err(what) = take(key, value.trim_ascii()) {
            let line = index + 1;
            wrong.push(Wrong { line, what });
        }
    }
    wrong
}

/// The value, or a sentence with its key.
pub(crate) fn need<T>(key: &str, value: Option<T>, what: &str) -> Result<T, String> {
    match value {
        Some(value) => Ok(value),
        None => Err(sentence(key, what)),
    }
}

#[cold]
fn sentence(key: &str, what: &str) -> String {
    format!("{key}: {what}")
}

/// A decimal number that fits. Read in one width: each has code of its own in std.
pub(crate) fn number<N: TryFrom<u64>>(text: &str) -> Option<N> {
    N::try_from(text.parse::<u64>().ok()?).ok()
}

/// Where a part begins in a text. Short texts: std's search is made for long ones, and is 2 KB of flash.
pub(crate) fn place_of(text: &str, part: &str) -> Option<usize> {
    let mut windows = text.as_bytes().windows(part.len());
    windows.position(|window| window == part.as_bytes())
}

/// What stands before and behind the last such byte, an ASCII one. Byte by byte: std's search from behind is 1 KB of flash.
pub(crate) fn split_last(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.bytes().rposition(|other| other == byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// A URL without any `/` at its end.
pub(crate) fn without_slash(url: &str) -> &str {
    let mut url = url;
    while let Some(shorter) = url.strip_suffix("/") {
        url = shorter;
    }
    url
}

/// A path without the passwords that some cameras have in it: for what is shown to others (P10).
pub(crate) fn masked(path: &str) -> String {
    const NAMES: &[&str] = &["password=", "passwd=", "pass=", "pwd="];
    let lower = path.to_ascii_lowercase();
    let (mut text, mut at) = (String::new(), 0);
    while let Some(rest) = lower.get(at..).filter(|rest| !rest.is_empty()) {
        let found = NAMES
            .iter()
            .filter_map(|name| Some((place_of(rest, name)?, name.len())));
        let Some((start, length)) =
            found.min_by_key(|(start, length)| (*start, usize::MAX - length))
        else {
            break;
        };
        let value = at + start + length;
        let end = lower.get(value..).and_then(|rest| rest.find(['&', ' ']));
        text.push_str(path.get(at..value).unwrap_or_default());
        text.push_str("***");
        at = end.map_or(path.len(), |end| value + end);
    }
    text.push_str(path.get(at..).unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_paths_are_not_shown() {
        for (path, shown) in [
            ("main /ch0 h264 - 20 -", "main /ch0 h264 - 20 -"),
            (
                "main /cam?user=admin&password=hunter2&channel=1 h264 - 20 -",
                "main /cam?user=admin&password=***&channel=1 h264 - 20 -",
            ),
            (
                "/user=admin_PassWord=hunter2_channel=1",
                "/user=admin_PassWord=***",
            ),
            ("/x?usr=a&pwd=b&pass=c", "/x?usr=a&pwd=***&pass=***"),
            ("", ""),
        ] {
            assert_eq!(masked(path), shown);
        }
    }
}
