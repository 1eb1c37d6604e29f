//! One request head, or answer head, of bounded size: parsed here because the target of our CONNECT is `tenant/camera`, which is not the
//! `host:port` of RFC 9112, section 3.2.3, and URI types refuse it. There is no intermediary, so nothing else has to understand it.
//!
//! Stricter than the RFC: lines end with CR LF, no folded lines, no space around a name, no control characters, no header twice that is read. What
//! is wrong is refused with a reason; nothing is guessed.

use std::fmt;
use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// The greatest head. A pod's token is about 1.2 KiB.
pub(crate) const LARGEST: usize = 8 * 1024;
/// Most headers.
const HEADERS: usize = 32;

/// Why a head is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeadError {
    /// Larger than [`LARGEST`], or more than 32 headers.
    #[error("the head is too large")]
    TooLarge,
    /// Not HTTP/1.1 as we speak it.
    #[error("the head is not one of ours")]
    Malformed,
    /// The peer closed before the end of its head.
    #[error("the peer closed")]
    Closed,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// A parsed head: the words of its first line, and its headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub(crate) first: [&'a str; 3],
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Head<'a> {
    /// Parses a whole head, with its empty line.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, HeadError> {
        if bytes.len() > LARGEST {
            return Err(HeadError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| HeadError::Malformed)?;
        let text = text.strip_suffix("\r\n\r\n").ok_or(HeadError::Malformed)?;
        let mut lines = text.split("\r\n");
        let mut words = lines.next().ok_or(HeadError::Malformed)?.splitn(3, ' ');
        let mut word = || {
            let word = words.next().filter(|word| !word.is_empty());
            word.filter(|word| printable(word))
                .ok_or(HeadError::Malformed)
        };
        let first = [word()?, word()?, word()?];
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(HeadError::Malformed)?;
            let value = value.trim_matches(' ');
            if !is_token(name) || !printable(value) {
                return Err(HeadError::Malformed);
            }
            if headers.len() == HEADERS {
                return Err(HeadError::TooLarge);
            }
            headers.push((name, value));
        }
        Ok(Self { first, headers })
    }

    /// The value of a header, whatever its case.
    ///
    /// # Errors
    /// It is there twice: whoever sends that means to be understood in two ways.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&'a str>, HeadError> {
        let mut found = self
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (first, None) => Ok(first.map(|(_, value)| *value)),
            (_, Some(_)) => Err(HeadError::Malformed),
        }
    }

    /// The status of an answer.
    pub(crate) fn status(&self) -> Result<u16, HeadError> {
        let [version, status, _] = self.first;
        let digits = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
        match (version, status.parse()) {
            ("HTTP/1.1", Ok(status)) if digits => Ok(status),
            _ => Err(HeadError::Malformed),
        }
    }
}

fn printable(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Reads a head to the end of its empty line, and not a byte further. The caller sets the deadline.
pub(crate) async fn read<R: AsyncBufRead + Unpin>(reader: &mut R) -> Result<Vec<u8>, HeadError> {
    let mut head = Vec::new();
    loop {
        let chunk = reader.fill_buf().await?;
        if chunk.is_empty() {
            return Err(HeadError::Closed);
        }
        let mut taken = 0;
        for byte in chunk {
            taken += 1;
            head.push(*byte);
            if head.ends_with(b"\r\n\r\n") {
                reader.consume(taken);
                return Ok(head);
            }
            if head.len() >= LARGEST {
                return Err(HeadError::TooLarge);
            }
        }
        reader.consume(taken);
    }
}

/// A header's value that may be written: an id, a number, a token. What is not printable is left out, so that no value ends its line.
pub(crate) struct Value<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let text = self.0.to_string();
        text.chars()
            .filter(|letter| (' '..='~').contains(letter))
            .try_for_each(|letter| f.write_char(letter))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str =
        "CONNECT acme/camera-1 HTTP/1.1\r\nHost: moorline-mon\r\nMoorline-Generation: 17\r\n\r\n";

    #[test]
    fn a_head_is_its_three_words_and_its_headers() {
        let head = Head::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(head.first, ["CONNECT", "acme/camera-1", "HTTP/1.1"]);
        assert_eq!(head.header("moorline-generation").unwrap(), Some("17"));
        assert_eq!(head.header("Cookie").unwrap(), None);
        let answer = Head::parse(b"HTTP/1.1 307 Temporary Redirect\r\n\r\n").unwrap();
        assert_eq!(answer.status().unwrap(), 307);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bad in [
            "",
            "\r\n\r\n",
            "CONNECT\r\n\r\n",
            "CONNECT a\r\n\r\n",
            "CONNECT  a HTTP/1.1\r\n\r\n",
            &GOOD.replace("Host:", "Host :"),
            &GOOD.replace("Host:", " Host:"),
            &GOOD.replace("17\r\n", "17\n"),
            &GOOD.replace("17", "1\u{0}7"),
            &GOOD.replace("17", "1\u{e9}7"),
            &GOOD.replace("Host:", ":"),
            &GOOD.replace("Host", "Ho st"),
        ] {
            let parsed = Head::parse(bad.as_bytes());
            assert!(
                matches!(parsed, Err(HeadError::Malformed)),
                "{bad:?}: {parsed:?}"
            );
        }
        let twice = GOOD.replace("Host: moorline-mon", "moorline-generation: 18");
        assert!(
            Head::parse(twice.as_bytes())
                .unwrap()
                .header("Moorline-Generation")
                .is_err()
        );
        let many = GOOD
            .replace("Host: x", "")
            .replace("\r\n\r\n", &format!("{}\r\n\r\n", "\r\nA: b".repeat(40)));
        assert!(matches!(
            Head::parse(many.as_bytes()),
            Err(HeadError::TooLarge)
        ));
    }

    #[tokio::test]
    async fn reading_stops_at_the_end_of_the_head_and_at_its_bound() {
        let mut reader = tokio::io::BufReader::new(io::Cursor::new(format!("{GOOD}RTSP")));
        assert_eq!(read(&mut reader).await.unwrap(), GOOD.as_bytes());
        assert_eq!(reader.buffer(), b"RTSP");
        let mut endless = tokio::io::BufReader::new(tokio::io::repeat(b'a'));
        assert!(matches!(read(&mut endless).await, Err(HeadError::TooLarge)));
        let mut short = &GOOD.as_bytes()[..20];
        assert!(matches!(read(&mut short).await, Err(HeadError::Closed)));
    }

    proptest! {
        #[test]
        fn strangers_heads_never_panic_and_hold_no_control_characters(text in "[ -~\r\n\t\u{0}é]{0,200}") {
            if let Ok(head) = Head::parse(format!("{text}\r\n\r\n").as_bytes()) {
                let values = head.headers.iter().flat_map(|(name, value)| [*name, *value]);
                prop_assert!(head.first.into_iter().chain(values).all(printable));
            }
        }

        #[test]
        fn what_is_written_reads_back(generation: u64, value in "\\PC{0,40}") {
            let text = format!("GET /x HTTP/1.1\r\nMoorline-Generation: {generation}\r\nA: {}\r\n\r\n", Value(&value));
            let head = Head::parse(text.as_bytes()).unwrap();
            let told = head.header("Moorline-Generation").unwrap().unwrap();
            prop_assert_eq!(told.parse::<u64>().unwrap(), generation);
        }
    }
}
