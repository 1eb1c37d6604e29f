//! Lines of bounded length from a byte stream.

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Why there is no further line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnd {
    /// The peer closed, or the connection failed.
    Closed,
    /// A line is longer than any of ours.
    TooLong,
    /// A line is no message.
    Malformed,
}

impl LineEnd {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Closed => "peer_closed",
            Self::TooLong => "line_too_long",
            Self::Malformed => "line_malformed",
        }
    }
}

/// Reads lines. What has come of a line is kept when a read is cancelled.
#[derive(Debug)]
pub(crate) struct Lines {
    longest: usize,
    partial: Vec<u8>,
}

impl Lines {
    /// Lines of at most so many bytes.
    pub(crate) fn new(longest: usize) -> Self {
        Self {
            longest,
            partial: Vec::new(),
        }
    }

    /// The next message. Cancel-safe.
    pub(crate) async fn next<M, R>(&mut self, reader: &mut R) -> Result<M, LineEnd>
    where
        M: serde::de::DeserializeOwned,
        R: AsyncBufRead + Unpin,
    {
        loop {
            let chunk = reader.fill_buf().await.map_err(|_| LineEnd::Closed)?;
            if chunk.is_empty() {
                return Err(LineEnd::Closed);
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(chunk.len(), |at| at + 1);
            self.partial.extend(chunk.iter().take(taken));
            reader.consume(taken);
            if self.partial.len() > self.longest {
                return Err(LineEnd::TooLong);
            }
            if end.is_some() {
                let line = std::mem::take(&mut self.partial);
                return serde_json::from_slice(&line).map_err(|_| LineEnd::Malformed);
            }
        }
    }
}
