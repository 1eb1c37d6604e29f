//! `Session` (RFC 2326 §12.37).

use std::fmt;
use std::time::Duration;

/// Id and timeout of an RTSP session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionHeader {
    /// The id, opaque, without blanks.
    pub id: String,
    /// `timeout=` in whole seconds, if it was sent.
    pub timeout: Option<Duration>,
}

impl SessionHeader {
    /// Reads the header; `None` without an id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let id = parts.next().filter(|id| !id.is_empty())?.to_owned();
        let timeout = parts
            .filter_map(|part| part.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case("timeout"))
            .and_then(|(_, value)| value.trim().parse::<u32>().ok())
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Duration::from_secs(u64::from(seconds)));
        Some(Self { id, timeout })
    }
}

impl fmt::Display for SessionHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        match self.timeout {
            Some(timeout) => write!(f, ";timeout={}", timeout.as_secs()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeout_is_optional_and_zero_means_none() {
        let header = SessionHeader::parse("12ab; Timeout = 30").unwrap();
        assert_eq!(
            (header.id.as_str(), header.timeout),
            ("12ab", Some(Duration::from_secs(30)))
        );
        assert_eq!(
            SessionHeader::parse("12ab;timeout=0").unwrap().timeout,
            None
        );
        assert_eq!(SessionHeader::parse(" ;timeout=5"), None);
        assert_eq!(header.to_string(), "12ab;timeout=30");
    }
}
