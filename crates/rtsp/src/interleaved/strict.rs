//! The server's side: requests with `$` RTCP in between. Anything else ends the connection.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use crate::message::{Message, MessageError, MessageParser};
use crate::octets::{u8_at, u16_at};

/// Longest frame that is taken from a reader, in bytes: receiver reports have some dozen.
pub const MAX_READER_FRAME: usize = 16 * 1024;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A request or response.
    Message(Message),
    /// A frame's channel and payload.
    Frame(u8, Bytes),
}

/// Why a connection cannot be read further.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StrictError {
    /// Neither message nor frame.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A frame above the limit.
    #[error("an interleaved frame of {0} bytes; {1} are allowed")]
    FrameTooLong(usize, usize),
}

/// Takes messages and frames off a buffer. Needs at most 64 KiB of it at a time.
#[derive(Debug)]
pub struct StrictDemux {
    parser: MessageParser,
    in_message: bool,
    max_frame: usize,
}

impl Default for StrictDemux {
    fn default() -> Self {
        Self::new(MAX_READER_FRAME)
    }
}

impl StrictDemux {
    /// A demultiplexer that refuses frames longer than `max_frame` bytes (65,535 takes all).
    #[must_use]
    pub fn new(max_frame: usize) -> Self {
        Self {
            parser: MessageParser::new(),
            in_message: false,
            max_frame,
        }
    }

    /// The next item; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are neither; the connection is then over.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Item>, StrictError> {
        if !self.in_message {
            let padding = buf
                .iter()
                .take_while(|b| matches!(b, b'\r' | b'\n'))
                .count();
            buf.advance(padding);
            match u8_at(buf, 0) {
                None => return Ok(None),
                Some(b'$') => return self.frame(buf),
                Some(_) => self.in_message = true,
            }
        }
        let message = self.parser.parse(buf)?;
        self.in_message = message.is_none();
        Ok(message.map(Item::Message))
    }

    fn frame(&self, buf: &mut BytesMut) -> Result<Option<Item>, StrictError> {
        let (Some(channel), Some(length)) = (u8_at(buf, 1), u16_at(buf, 2)) else {
            return Ok(None);
        };
        let length = usize::from(length);
        if length > self.max_frame {
            return Err(StrictError::FrameTooLong(length, self.max_frame));
        }
        if buf.len() < 4 + length {
            return Ok(None);
        }
        buf.advance(4);
        Ok(Some(Item::Frame(channel, buf.split_to(length).freeze())))
    }
}
