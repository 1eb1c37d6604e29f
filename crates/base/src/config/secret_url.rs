//! A URL whose path is a secret: whoever knows a webhook's can post to it.

use std::fmt;

use crate::secret::{MASKED, Secret};

/// A URL that prints as scheme and host (P10). May be empty: not set.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Secret<String>);

impl SecretUrl {
    /// Takes a URL as it was written; whether it is one is for whoever calls it to say.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self(Secret::new(url.to_owned()))
    }

    /// The whole of it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.expose().is_empty()
    }
}

impl Default for SecretUrl {
    fn default() -> Self {
        Self::new("")
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.expose().split_once("://") else {
            return f.write_str(if self.is_empty() { "" } else { MASKED });
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host = authority.rsplit('@').next().unwrap_or_default();
        let secret = !matches!(path, "" | "/") || host != authority;
        let masked = if secret { MASKED } else { "" };
        write!(f, "{scheme}://{host}/{masked}")
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_a_secret_url_shows_scheme_and_host_alone() {
        let shown = |url| SecretUrl::new(url).to_string();
        assert_eq!(
            shown("https://hooks.example.com:8443/T00/B00/xyz?token=1#f"),
            "https://hooks.example.com:8443/***"
        );
        assert_eq!(
            shown("https://anna:hunter2@example.com/"),
            "https://example.com/***"
        );
        assert_eq!(
            shown("https://example.com?key=1"),
            "https://example.com/***"
        );
        assert_eq!(shown("https://example.com"), "https://example.com/");
        assert_eq!(shown("hunter2"), "***");
        assert_eq!(shown(""), "");
        let debug = format!("{:?}", SecretUrl::new("https://example.com/hunter2"));
        assert!(!debug.contains("hunter2"), "{debug}");
    }
}
