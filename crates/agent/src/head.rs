//! The heads of RTSP messages, as far as the agent reads them: first line, header lines, a challenge.
//!
//! `crates/rtsp` reads them exactly, for the server; this is what fits into 300 KB and std.

use std::borrow::Cow;

use crate::words::number;

/// A message's head. Bytes that are not UTF-8 are replaced: it is looked at, never passed on.
#[derive(Debug, Clone)]
pub struct Head<'a>(Cow<'a, str>);

impl<'a> Head<'a> {
    /// Of a whole message: its body is left out.
    #[must_use]
    pub fn of(message: &'a [u8]) -> Self {
        let (head, _) = split(message);
        Head(String::from_utf8_lossy(head))
    }

    /// The word at `index` of the first line: method, URL, version; or version, status.
    #[must_use]
    pub fn word(&self, index: usize) -> Option<&str> {
        self.0.lines().next()?.split_ascii_whitespace().nth(index)
    }

    /// The status of an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let version = self.word(0)?;
        version
            .starts_with("RTSP/")
            .then(|| number(self.word(1)?))?
    }

    /// The values of a header, its name in any case.
    pub fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.0.lines().skip(1).filter_map(move |line| {
            let (key, value) = line.split_once(':')?;
            key.trim_ascii()
                .eq_ignore_ascii_case(name)
                .then(|| value.trim_ascii())
        })
    }

    /// The first value of a header.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<String> {
        self.values(name).next().map(str::to_owned)
    }
}

/// Head (without its empty line) and body of a message.
#[must_use]
pub fn split(message: &[u8]) -> (&[u8], &[u8]) {
    match end_of_head(message) {
        Some(end) => {
            let (head, body) = message.split_at(end);
            (head, body)
        }
        None => (message, &[]),
    }
}

/// Where the head ends, its empty line included.
#[must_use]
pub fn end_of_head(message: &[u8]) -> Option<usize> {
    let at = message.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

/// One parameter of a header: `interleaved` of `RTP/AVP/TCP;interleaved=0-1`, `realm` of `Digest realm="x", …`.
#[must_use]
pub fn parameter(value: &str, name: &str) -> Option<String> {
    let mut rest = value;
    loop {
        let (before, after) = rest.split_once('=')?;
        let parted = before.bytes().rposition(|byte| b" ,;\t".contains(&byte));
        let key = parted.and_then(|at| before.get(at + 1..));
        let key = key.unwrap_or(before);
        let (text, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => match after.find([',', ';']) {
                Some(at) => after.split_at(at),
                None => (after, ""),
            },
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(text.trim_ascii().to_owned());
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_line_headers_and_parameters() {
        let message = b"RTSP/1.0 401 Unauthorized\r\ncseq: 2\r\nWWW-Authenticate: Digest realm=\"a, b=c\", nonce=\"7\"\r\n\
            WWW-Authenticate: Basic realm=x\r\n\r\nbody: 9";
        let head = Head::of(message);
        assert_eq!(head.status(), Some(401));
        assert_eq!(head.value("CSeq").as_deref(), Some("2"));
        assert_eq!(head.value("body"), None);
        let challenges: Vec<_> = head.values("www-authenticate").collect();
        assert_eq!(challenges.len(), 2);
        assert_eq!(parameter(challenges[0], "realm").as_deref(), Some("a, b=c"));
        assert_eq!(parameter(challenges[0], "nonce").as_deref(), Some("7"));
        assert_eq!(parameter(challenges[1], "realm").as_deref(), Some("x"));
        assert_eq!(
            parameter("RTP/AVP/TCP;unicast;interleaved=2-3", "interleaved").as_deref(),
            Some("2-3")
        );
        assert_eq!(
            Head::of(b"DESCRIBE rtsp://a/b RTSP/1.0\r\n\r\n").status(),
            None
        );
    }
}
