//! Boxes of ISO/IEC 14496-12 §4.2: a writer, and a bounded walker.
//!
//! The walker never allocates and never recurses: whoever wants a nested box walks the body of its parent. A size of
//! zero ("to the end of the file") is refused, because in our files it can only be what a power cut left behind.

use crate::error::ReadError;
use crate::reader::Reader;

/// The four characters that name a box.
pub type Kind = [u8; 4];

/// A box inside a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxRef<'a> {
    /// Its name.
    pub kind: Kind,
    /// Where it begins in the walked slice.
    pub offset: usize,
    /// 8, or 16 for a box with a 64-bit size.
    pub header_len: usize,
    /// Its content, without the header.
    pub body: &'a [u8],
}

impl BoxRef<'_> {
    /// The offset behind the box in the walked slice.
    pub fn end(&self) -> usize {
        self.body_offset() + self.body.len()
    }

    /// The offset of its content in the walked slice.
    pub fn body_offset(&self) -> usize {
        self.offset + self.header_len
    }
}

/// The size and name at the start of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxHeader {
    /// Its name.
    pub kind: Kind,
    /// 8 or 16.
    pub header_len: usize,
    /// Size of the whole box, header included; at least `header_len`.
    pub size: u64,
}

impl BoxHeader {
    /// Reads a header from the start of `bytes`, of which 16 are always enough.
    ///
    /// # Errors
    /// `Truncated` if more bytes are needed, `Malformed` for a size of zero or one smaller than the header.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes, "box header");
        let size = reader.u32()?;
        let kind = reader.array()?;
        let (header_len, size) = match size {
            0 => return Err(reader.malformed("size is zero")),
            1 => (16, reader.u64()?),
            size => (8, u64::from(size)),
        };
        if size < header_len as u64 {
            return Err(reader.malformed("size is smaller than the header"));
        }
        Ok(Self {
            kind,
            header_len,
            size,
        })
    }
}

/// Walks the boxes that lie side by side in `bytes`. Ends after the last, or with one error.
pub fn walk(bytes: &[u8]) -> Boxes<'_> {
    Boxes {
        bytes,
        offset: 0,
        failed: false,
    }
}

/// The iterator of [`walk`].
#[derive(Debug, Clone)]
pub struct Boxes<'a> {
    bytes: &'a [u8],
    offset: usize,
    failed: bool,
}

impl<'a> Boxes<'a> {
    fn step(&mut self) -> Result<BoxRef<'a>, ReadError> {
        const CUT: ReadError = ReadError::Truncated { what: "box" };
        let rest = self.bytes.get(self.offset..).ok_or(CUT)?;
        let header = BoxHeader::parse(rest)?;
        let size = usize::try_from(header.size).map_err(|_| CUT)?;
        let body = rest.get(header.header_len..size).ok_or(CUT)?;
        let found = BoxRef {
            kind: header.kind,
            offset: self.offset,
            header_len: header.header_len,
            body,
        };
        self.offset = self.offset.saturating_add(size);
        Ok(found)
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<BoxRef<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.offset >= self.bytes.len() {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        Some(step)
    }
}

/// The first box of this kind; errors before it count, what comes behind it is not read.
pub(crate) fn find<'a>(bytes: &'a [u8], kind: &Kind) -> Result<Option<BoxRef<'a>>, ReadError> {
    for found in walk(bytes) {
        let found = found?;
        if found.kind == *kind {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Like [`find`], but the box must be there.
pub(crate) fn need<'a>(
    bytes: &'a [u8],
    kind: &Kind,
    what: &'static str,
) -> Result<BoxRef<'a>, ReadError> {
    find(bytes, kind)?.ok_or(ReadError::Missing { what })
}

/// Appends boxes to a buffer; sizes are filled in when a box closes.
#[derive(Debug, Default)]
pub(crate) struct BoxWriter {
    out: Vec<u8>,
}

impl BoxWriter {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            out: Vec::with_capacity(capacity),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn into_inner(self) -> Vec<u8> {
        self.out
    }

    pub(crate) fn boxed(&mut self, kind: &Kind, body: impl FnOnce(&mut Self)) {
        let start = self.out.len();
        self.u32(0);
        self.bytes(kind);
        body(self);
        let size = (self.out.len() - start) as u32; // every caller bounds its content far below 4 GiB
        overwrite(&mut self.out, start, &size.to_be_bytes());
    }

    pub(crate) fn full(
        &mut self,
        kind: &Kind,
        version: u8,
        flags: u32,
        body: impl FnOnce(&mut Self),
    ) {
        self.boxed(kind, |w| {
            w.u32(u32::from(version) << 24 | flags & 0x00ff_ffff);
            body(w);
        });
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn zeros(&mut self, n: usize) {
        self.out.resize(self.out.len() + n, 0);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }
}

/// Replaces bytes in place; `false` if they lie outside.
pub(crate) fn overwrite(buffer: &mut [u8], offset: usize, bytes: &[u8]) -> bool {
    let Some(slot) = offset
        .checked_add(bytes.len())
        .and_then(|end| buffer.get_mut(offset..end))
    else {
        return false;
    };
    slot.copy_from_slice(bytes);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_small_and_large_headers_and_stops_at_the_cut() {
        let mut bytes = b"\0\0\0\x09freeA".to_vec();
        bytes.extend_from_slice(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x12BC");
        let found: Vec<_> = walk(&bytes)
            .map(|b| b.map(|b| (b.kind, b.offset, b.body)))
            .collect();
        assert_eq!(
            found,
            [Ok((*b"free", 0, &b"A"[..])), Ok((*b"mdat", 9, &b"BC"[..]))]
        );

        bytes.extend_from_slice(b"\0\0\0\x09skip");
        assert_eq!(
            walk(&bytes).last(),
            Some(Err(ReadError::Truncated { what: "box" }))
        );
        assert_eq!(walk(&bytes).count(), 3, "one error, then the end");
    }

    #[test]
    fn a_size_of_zero_or_below_the_header_is_refused() {
        for bytes in [
            &b"\0\0\0\0mdatABCD"[..],
            b"\0\0\0\x07mdat",
            b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f",
        ] {
            assert!(
                matches!(walk(bytes).next(), Some(Err(ReadError::Malformed { .. }))),
                "{bytes:?}"
            );
        }
    }
}
