//! The head of a segment: `ftyp moov uuid(layout) [reserved]`, everything before the first fragment.
//!
//! The reserved area is a `free` box until [`Head::seal`] fills it. The layout box says where it ends, so that recovery finds
//! the first fragment even where a power cut tore the area while it was being sealed.

use bytes::Bytes;

use crate::boxes::{BoxWriter, overwrite, walk};
use crate::error::ReadError;
use crate::init::{Init, MAX_INIT_LEN};
use crate::reader::Reader;

/// Bytes that are reserved for `sidx` and holes unless the caller says otherwise: 250 fragments and 25 holes, for example.
pub const RESERVED: usize = 4096;
const MIN_RESERVED: usize = 256;
const MAX_RESERVED: usize = 256 * 1024;

/// The largest head we read.
pub const MAX_HEAD_LEN: usize = MAX_INIT_LEN + LAYOUT_LEN + MAX_RESERVED;

pub(crate) const LAYOUT: [u8; 16] = *b"moorline.layout\x01";
const LAYOUT_LEN: usize = 28;

/// Where the parts of a head lie, and its init.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    init: Init,
    len: usize,
}

impl Head {
    /// Reads a head at the start of `bytes`; the reserved area is not looked at.
    ///
    /// # Errors
    /// `Truncated` if `bytes` end before the first fragment would begin, others if this is no segment of ours.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        const WHAT: &str = "layout box";
        let init = Init::parse(bytes)?;
        let at = init.bytes().len();
        let layout = walk(bytes.get(at..).unwrap_or_default())
            .next()
            .ok_or(ReadError::Truncated { what: WHAT })??;
        if &layout.kind != b"uuid" {
            return Err(ReadError::Missing { what: WHAT });
        }
        let mut r = Reader::new(layout.body, WHAT);
        if r.array()? != LAYOUT {
            return Err(ReadError::Missing { what: WHAT });
        }
        let len = r.u32()? as usize;
        let reserved = len.checked_sub(at + LAYOUT_LEN);
        if reserved.is_none_or(|reserved| !(MIN_RESERVED..=MAX_RESERVED).contains(&reserved))
            || r.remaining() > 0
        {
            return Err(r.malformed("the reserved area is out of range"));
        }
        if bytes.len() < len {
            return Err(ReadError::Truncated { what: "head" });
        }
        Ok(Self { init, len })
    }

    /// The init, take-wide; [`Init::start`] tells where this segment starts.
    pub fn init(&self) -> &Init {
        &self.init
    }

    /// Bytes before the first fragment.
    #[expect(clippy::len_without_is_empty, reason = "a head is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where the reserved area begins; it ends at [`Head::len`].
    pub(crate) fn reserved_at(&self) -> usize {
        self.init.bytes().len() + LAYOUT_LEN
    }
}

impl Init {
    /// The head of a new segment that starts at `start` (take-relative, in the reference track's timescale): its layout and
    /// the bytes to write first. `reserved` is the room for `sidx` and holes: [`RESERVED`] for segments of 60 s, 20 bytes
    /// per fragment for longer ones; it is brought into 256 bytes … 256 KiB.
    pub fn head(&self, start: u64, reserved: usize) -> (Head, Bytes) {
        let reserved = reserved.clamp(MIN_RESERVED, MAX_RESERVED);
        let len = self.bytes().len() + LAYOUT_LEN + reserved;
        let mut w = BoxWriter::with_capacity(len);
        w.bytes(self.bytes());
        w.boxed(b"uuid", |w| {
            w.bytes(&LAYOUT);
            w.u32(len as u32); // at most MAX_HEAD_LEN
        });
        w.boxed(b"free", |w| w.zeros(reserved - 8));
        let mut bytes = w.into_inner();
        for (offset, time) in self.edits_for(start) {
            overwrite(&mut bytes, offset, &time);
        }
        (
            Head {
                init: self.starting_at(start),
                len,
            },
            Bytes::from(bytes),
        )
    }
}
