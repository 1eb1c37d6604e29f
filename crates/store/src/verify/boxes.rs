//! The outline of a segment: ftyp, moov, then whole boxes up to the last byte, and fragments whose checksum holds. What else is in them is
//! `fmp4`'s matter.

use serde::Serialize;

use super::sum::Sum;

/// What is wrong with an object's outline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Torn {
    /// It has no bytes.
    Empty,
    /// It does not begin with ftyp and moov.
    NoInit,
    /// Its last box is cut off, or what follows is no box: a zero-filled tail, for example.
    Cut,
    /// A fragment is not what was written: its checksum is another, or its boxes are not in their order.
    Spoiled,
}

/// Walks the boxes of an object whose bytes come in pieces.
#[derive(Debug, Default)]
pub(super) struct Outline {
    header: Vec<u8>,
    /// Bytes of the present box that are still to come.
    rest: u64,
    boxes: usize,
    sum: Sum,
}

impl Outline {
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Torn> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let skipped = usize::try_from(self.rest)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let (passed, others) = bytes.split_at(skipped);
                self.sum.push(passed);
                self.rest -= skipped as u64;
                bytes = others;
                if self.rest == 0 {
                    self.sum.ends()?;
                }
                continue;
            }
            let (byte, others) = match bytes.split_first() {
                Some(split) => split,
                None => break,
            };
            self.header.push(*byte);
            bytes = others;
            self.read_header()?;
        }
        Ok(())
    }

    /// Whether ftyp and moov have begun; how much of the object was pushed does not matter.
    pub(super) fn has_init(&self) -> bool {
        self.boxes >= 2
    }

    /// At the end of the object.
    pub(super) fn finish(&self) -> Result<(), Torn> {
        match () {
            () if !self.has_init() => Err(Torn::NoInit),
            () if self.rest > 0 || !self.header.is_empty() => Err(Torn::Cut),
            () if !self.sum.is_complete() => Err(Torn::Cut),
            () => Ok(()),
        }
    }

    fn read_header(&mut self) -> Result<(), Torn> {
        let Some((size, kind)) = self.header.split_first_chunk::<4>() else {
            return Ok(());
        };
        let Some((kind, large)) = kind.split_first_chunk::<4>() else {
            return Ok(());
        };
        let size = match (u32::from_be_bytes(*size), large.first_chunk::<8>()) {
            (1, None) => return Ok(()),
            (1, Some(large)) => u64::from_be_bytes(*large),
            (size, _) => u64::from(size),
        };
        let expected = match self.boxes {
            0 => kind == b"ftyp",
            1 => kind == b"moov",
            _ => true,
        };
        if !expected {
            return Err(Torn::NoInit);
        }
        self.rest = size
            .checked_sub(self.header.len() as u64)
            .ok_or(Torn::Cut)?;
        self.sum.begins(*kind, size, &self.header)?;
        self.boxes += 1;
        self.header.clear();
        match self.rest {
            0 => self.sum.ends(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment() -> Vec<u8> {
        let mut bytes = b"\0\0\0\x0cftypiso6\0\0\0\x08moov".to_vec();
        bytes.extend_from_slice(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x12ab\0\0\0\x09freex");
        bytes
    }

    fn walk<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<(), Torn> {
        let mut outline = Outline::default();
        for piece in pieces {
            outline.push(piece)?;
        }
        outline.finish()
    }

    proptest! {
        #[test]
        fn every_cut_is_found_however_the_bytes_come(cut in 0_usize..47, piece in 1_usize..9) {
            let whole = segment();
            prop_assert_eq!(walk(whole.chunks(piece)), Ok(()));
            let between_boxes = [20, 38, whole.len()].contains(&cut);
            let cut = whole.get(..cut.min(whole.len())).unwrap_or_default();
            prop_assert_eq!(walk(cut.chunks(piece)).is_ok(), between_boxes || cut.len() == whole.len());
        }
    }

    #[test]
    fn a_zero_filled_tail_and_a_stranger_are_told_apart() {
        let mut tail = segment();
        tail.extend_from_slice(&[0; 64]);
        assert_eq!(walk([tail.as_slice()].into_iter()), Err(Torn::Cut));
        assert_eq!(
            walk([b"GIF89a and more".as_slice()].into_iter()),
            Err(Torn::NoInit)
        );
    }
}
