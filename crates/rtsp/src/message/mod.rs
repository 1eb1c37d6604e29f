//! RTSP requests and responses (RFC 2326 §4–§7), shared by client and server.
//!
//! Owns the values and their printing; [`MessageParser`] reads them. Header values never hold control characters, so nothing that is
//! printed can break out of its line.

mod headers;
mod method;
mod parser;
mod status;

pub use headers::Headers;
pub use method::Method;
pub use parser::{MAX_BODY, MAX_HEAD, MAX_HEADERS, MessageError, MessageParser};
pub use status::reason;

use bytes::{BufMut, Bytes, BytesMut};

/// A request of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub method: Method,
    /// The request URI as it was typed; control characters are dropped when it is printed.
    pub uri: String,
    /// Headers in their order, without `Content-Length`.
    pub headers: Headers,
    /// The body; `Content-Length` is printed from it.
    pub body: Bytes,
}

/// A response of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code, 100–999.
    pub status: u16,
    /// The reason phrase, possibly empty.
    pub reason: String,
    /// Headers in their order, without `Content-Length`.
    pub headers: Headers,
    /// The body; `Content-Length` is printed from it.
    pub body: Bytes,
}

/// What a connection carries between `$` frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

impl Request {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: Method, uri: impl Into<String>) -> Self {
        Self {
            method,
            uri: uri.into(),
            headers: Headers::default(),
            body: Bytes::new(),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.headers.push(name, value.as_ref());
        self
    }

    /// Appends the request as it goes over the wire.
    pub fn encode(&self, out: &mut BytesMut) {
        put_line_text(out, self.method.as_str());
        out.put_u8(b' ');
        put_line_text(out, &self.uri);
        out.put_slice(b" RTSP/1.0\r\n");
        encode_rest(&self.headers, &self.body, out);
    }
}

impl Response {
    /// A response with the usual reason phrase, without headers and body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            reason: reason(status).to_owned(),
            headers: Headers::default(),
            body: Bytes::new(),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.headers.push(name, value.as_ref());
        self
    }

    /// Appends the response as it goes over the wire.
    pub fn encode(&self, out: &mut BytesMut) {
        put_line_text(out, &format!("RTSP/1.0 {:03} {}", self.status, self.reason));
        out.put_slice(b"\r\n");
        encode_rest(&self.headers, &self.body, out);
    }
}

impl Message {
    /// Appends the message as it goes over the wire.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Request(request) => request.encode(out),
            Self::Response(response) => response.encode(out),
        }
    }

    /// `CSeq`, if there is one and it is a number.
    #[must_use]
    pub fn cseq(&self) -> Option<u32> {
        match self {
            Self::Request(request) => request.headers.cseq(),
            Self::Response(response) => response.headers.cseq(),
        }
    }
}

fn put_line_text(out: &mut BytesMut, text: &str) {
    let mut room = [0; 4];
    for c in text.chars().filter(|c| !c.is_control()) {
        out.put_slice(c.encode_utf8(&mut room).as_bytes());
    }
}

fn encode_rest(headers: &Headers, body: &Bytes, out: &mut BytesMut) {
    for (name, value) in headers.iter() {
        out.put_slice(name.as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    if !body.is_empty() {
        out.put_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    out.put_slice(b"\r\n");
    out.put_slice(body);
}
