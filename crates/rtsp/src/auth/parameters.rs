//! The grammar `Scheme key=value, key="value"`, for challenges and for credentials.

/// The scheme of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Digest.
    Digest,
    /// Basic.
    Basic,
    /// Anything else.
    Other,
}

/// One challenge or one set of credentials: a scheme and its parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme.
    pub scheme: Scheme,
    parameters: Vec<(String, String)>,
}

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenge")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

/// More parameters than this are not read.
const MAX_PARAMETERS: usize = 32;

impl Challenge {
    /// A parameter, its name without regard to case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// All challenges of a `WWW-Authenticate` value. Several may stand in one header, parted by commas as the parameters are.
    #[must_use]
    pub fn parse_list(text: &str) -> Vec<Self> {
        let mut list: Vec<Self> = Vec::new();
        let mut rest = text;
        let mut total = 0;
        while total < MAX_PARAMETERS {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            total += 1;
            let word_end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
            let (word, after) = rest.split_at(word_end);
            let after_blank = after.trim_start();
            if let Some(value) = after_blank.strip_prefix('=') {
                let (value, remaining) = take_value(value.trim_start());
                if let Some(challenge) = list.last_mut() {
                    challenge.parameters.push((word.to_owned(), value));
                }
                rest = remaining;
            } else {
                if word.is_empty() {
                    break;
                }
                list.push(Self {
                    scheme: scheme(word),
                    parameters: Vec::new(),
                });
                rest = after;
            }
        }
        list
    }
}

fn scheme(word: &str) -> Scheme {
    if word.eq_ignore_ascii_case("digest") {
        Scheme::Digest
    } else if word.eq_ignore_ascii_case("basic") {
        Scheme::Basic
    } else {
        Scheme::Other
    }
}

/// A token or a quoted string with backslash escapes, and what follows it.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            _ => value.push(c),
        }
    }
    // No closing quote: some cameras forget it at the end of the line.
    (value, "")
}

/// A value as a quoted string.
pub(super) fn quote(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_challenges_in_one_header() {
        let list = Challenge::parse_list(
            r#"Digest realm="a, \"b\"", nonce="n=1",algorithm=MD5, qop="auth,auth-int", Basic realm="x""#,
        );
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].get("realm"), Some("a, \"b\""));
        assert_eq!(list[0].get("NONCE"), Some("n=1"));
        assert_eq!(list[0].get("algorithm"), Some("MD5"));
        assert_eq!(list[0].get("qop"), Some("auth,auth-int"));
        assert_eq!(
            (list[1].scheme, list[1].get("realm")),
            (Scheme::Basic, Some("x"))
        );
    }

    #[test]
    fn odd_texts_give_something_or_nothing() {
        for text in [
            "",
            ",,,",
            "=",
            "Digest",
            "Digest realm",
            "Digest realm=",
            "Digest realm=\"unclosed",
            "Basic realm=x=y,",
        ] {
            let _ = Challenge::parse_list(text);
        }
        assert_eq!(
            Challenge::parse_list("Digest realm=\"open")[0].get("realm"),
            Some("open")
        );
        assert_eq!(quote("a\"b\\\r\n"), r#""a\"b\\""#);
    }
}
