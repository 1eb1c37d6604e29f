//! The incremental reader of messages.
//!
//! Each byte of a head is looked at once while it arrives and once when the head is complete; nothing is read again from the start
//! when bytes are missing. Tolerated: CRLF padding before a message, lines that end by LF only, folded lines, blanks around
//! everything, a missing reason phrase. Refused: control characters in a head, since they mean that the head was cut and
//! what follows it is media.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::headers::is_token;
use super::{Headers, Message, Method, Request, Response};

/// Longest start line plus headers, in bytes (docs/design/relay.md, Limits).
pub const MAX_HEAD: usize = 16 * 1024;
/// Most headers of one message.
pub const MAX_HEADERS: usize = 64;
/// Longest body, in bytes; an SDP of a camera has the same bound (S31).
pub const MAX_BODY: usize = 16 * 1024;

/// Why bytes are no message. The connection cannot be read further, except by searching for the next message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MessageError {
    /// No end of the head within [`MAX_HEAD`].
    #[error("the head is longer than {MAX_HEAD} bytes")]
    HeadTooLong,
    /// More than [`MAX_HEADERS`] headers.
    #[error("more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    /// `Content-Length` above [`MAX_BODY`].
    #[error("a body of {0} bytes; {MAX_BODY} are allowed")]
    BodyTooLong(u64),
    /// The first line is neither a request nor a response.
    #[error("the first line is neither an RTSP request nor an RTSP response")]
    StartLine,
    /// The first line names another protocol or version.
    #[error("the protocol is not RTSP/1.0")]
    Version,
    /// A header without colon or name, or with control characters.
    #[error("a header line is malformed")]
    Header,
    /// `Content-Length` is no number.
    #[error("Content-Length is not a number")]
    ContentLength,
}

impl MessageError {
    /// The status with which a server answers before it closes the connection.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::BodyTooLong(_) | Self::HeadTooLong | Self::TooManyHeaders => 413,
            Self::Version => 505,
            Self::StartLine | Self::Header | Self::ContentLength => 400,
        }
    }
}

/// Reads messages from a growing buffer. One parser per connection and direction.
#[derive(Debug, Default)]
pub struct MessageParser {
    /// Bytes of the buffer that were already searched for the end of the head.
    scanned: usize,
    line_start: usize,
    head: Option<Head>,
}

#[derive(Debug)]
struct Head {
    message: Message,
    head_len: usize,
    body_len: usize,
}

impl MessageParser {
    /// A parser at the start of a message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one message off the front of `buf`, or answers `None` if it is not there yet. The front of `buf` must not be changed
    /// by others until a message came out.
    ///
    /// # Errors
    /// When the bytes cannot become a message. The parser is then at its start again and `buf` still holds the bytes (but for padding).
    pub fn parse(&mut self, buf: &mut BytesMut) -> Result<Option<Message>, MessageError> {
        match self.advance(buf) {
            Ok(done) => Ok(done),
            Err(error) => {
                *self = Self::default();
                Err(error)
            }
        }
    }

    fn advance(&mut self, buf: &mut BytesMut) -> Result<Option<Message>, MessageError> {
        if self.head.is_none() {
            if self.scanned == 0 {
                let padding = buf
                    .iter()
                    .take_while(|b| matches!(b, b'\r' | b'\n'))
                    .count();
                buf.advance(padding);
            }
            let Some(head_len) = self.find_end(buf)? else {
                return Ok(None);
            };
            let head = buf.get(..head_len).unwrap_or_default();
            let (message, body_len) = parse_head(head)?;
            self.head = Some(Head {
                message,
                head_len,
                body_len,
            });
        }
        let whole = self
            .head
            .as_ref()
            .is_some_and(|h| buf.len() >= h.head_len + h.body_len);
        if !whole {
            return Ok(None);
        }
        let Some(Head {
            mut message,
            head_len,
            body_len,
        }) = self.head.take()
        else {
            return Ok(None);
        };
        *self = Self::default();
        buf.advance(head_len);
        let body = buf.split_to(body_len).freeze();
        match &mut message {
            Message::Request(request) => request.body = body,
            Message::Response(response) => response.body = body,
        }
        Ok(Some(message))
    }

    /// Length of the head with its empty line, once that has come.
    fn find_end(&mut self, buf: &[u8]) -> Result<Option<usize>, MessageError> {
        let window = buf.get(..buf.len().min(MAX_HEAD)).unwrap_or_default();
        loop {
            let fresh = window.get(self.scanned..).unwrap_or_default();
            let line_end = fresh.iter().position(|b| *b == b'\n');
            let looked_at = fresh
                .get(..line_end.unwrap_or(fresh.len()))
                .unwrap_or_default();
            if looked_at
                .iter()
                .any(|b| (*b < 0x20 && *b != b'\t' && *b != b'\r') || *b == 0x7f)
            {
                return Err(MessageError::Header);
            }
            let Some(line_end) = line_end else {
                self.scanned = window.len();
                return if buf.len() >= MAX_HEAD {
                    Err(MessageError::HeadTooLong)
                } else {
                    Ok(None)
                };
            };
            let end = self.scanned + line_end;
            let line = window.get(self.line_start..end).unwrap_or_default();
            if self.line_start == 0 && end > 0 {
                // A server of another protocol says one line and waits (SSH, SMTP): nothing better will come.
                let line = String::from_utf8_lossy(line);
                parse_start(line.strip_suffix('\r').unwrap_or(&line))?;
            }
            self.scanned = end + 1;
            self.line_start = end + 1;
            if line.is_empty() || line == b"\r" {
                return Ok(Some(end + 1));
            }
        }
    }
}

fn parse_head(head: &[u8]) -> Result<(Message, usize), MessageError> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line));
    let start = lines.next().unwrap_or_default();
    let mut message = parse_start(start)?;
    let mut headers = Headers::default();
    let mut count = 0;
    for line in lines {
        if line.is_empty() {
            break;
        }
        if line.contains('\r') {
            return Err(MessageError::Header);
        }
        if line.starts_with([' ', '\t']) {
            if !headers.fold(line) {
                return Err(MessageError::Header);
            }
            continue;
        }
        count += 1;
        if count > MAX_HEADERS {
            return Err(MessageError::TooManyHeaders);
        }
        let (name, value) = line.split_once(':').ok_or(MessageError::Header)?;
        let name = name.trim();
        if name.is_empty() || !name.chars().all(is_token) {
            return Err(MessageError::Header);
        }
        headers.push(name, value);
    }
    let body_len = match headers.get("Content-Length") {
        None => 0,
        Some(text) => text
            .parse::<u64>()
            .map_err(|_| MessageError::ContentLength)?,
    };
    let length = usize::try_from(body_len)
        .ok()
        .filter(|n| *n <= MAX_BODY)
        .ok_or(MessageError::BodyTooLong(body_len))?;
    headers.remove("Content-Length");
    match &mut message {
        Message::Request(request) => request.headers = headers,
        Message::Response(response) => response.headers = headers,
    }
    Ok((message, length))
}

fn parse_start(line: &str) -> Result<Message, MessageError> {
    let line = line.trim();
    if line.contains(|c: char| c.is_control()) {
        return Err(MessageError::StartLine);
    }
    let (first, rest) = line.split_once(' ').ok_or(MessageError::StartLine)?;
    let rest = rest.trim();
    if is_rtsp(first) {
        if !is_rtsp_1(first) {
            return Err(MessageError::Version);
        }
        let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let status = Some(code)
            .filter(|c| c.len() == 3 && c.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|c| c.parse().ok())
            .filter(|s| *s >= 100)
            .ok_or(MessageError::StartLine)?;
        let reason = reason.trim().to_owned();
        return Ok(Message::Response(Response {
            status,
            reason,
            headers: Headers::default(),
            body: Bytes::new(),
        }));
    }
    if !first.chars().all(is_token) {
        return Err(MessageError::StartLine);
    }
    let (uri, version) = rest.rsplit_once(' ').ok_or(MessageError::StartLine)?;
    if !is_rtsp_1(version) {
        return Err(if version.contains('/') {
            MessageError::Version
        } else {
            MessageError::StartLine
        });
    }
    let uri = uri.trim();
    if uri.is_empty() {
        return Err(MessageError::StartLine);
    }
    Ok(Message::Request(Request::new(Method::from(first), uri)))
}

fn is_rtsp(token: &str) -> bool {
    token
        .get(..5)
        .is_some_and(|t| t.eq_ignore_ascii_case("RTSP/"))
}

fn is_rtsp_1(token: &str) -> bool {
    is_rtsp(token) && token.get(5..).is_some_and(|v| v.starts_with("1."))
}
