//! Bits of an RBSP: unescaping, fixed-width and Exp-Golomb fields (H.264 §7.3.1, §9.1; H.265 §9.2).

use crate::error::ReadError;

/// The longest parameter set we look at. Real ones have 10–200 bytes.
const MAX_NAL: usize = 4096;

/// A NAL unit without its emulation prevention bytes (`00 00 03` → `00 00`).
pub(crate) fn unescape(nal: &[u8], what: &'static str) -> Result<Vec<u8>, ReadError> {
    if nal.len() > MAX_NAL {
        return Err(ReadError::TooLarge {
            what,
            limit: MAX_NAL as u64,
        });
    }
    let mut out = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    Ok(out)
}

/// Reads bits, most significant first.
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
    what: &'static str,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self {
            bytes,
            position: 0,
            what,
        }
    }

    pub(crate) fn malformed(&self, why: &'static str) -> ReadError {
        ReadError::Malformed {
            what: self.what,
            why,
        }
    }

    pub(crate) fn bit(&mut self) -> Result<bool, ReadError> {
        let byte = self
            .bytes
            .get(self.position / 8)
            .ok_or(ReadError::Truncated { what: self.what })?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Ok(bit == 1)
    }

    /// Up to 32 bits.
    pub(crate) fn bits(&mut self, n: u32) -> Result<u32, ReadError> {
        let mut value = 0u32;
        for _ in 0..n {
            value = value << 1 | u32::from(self.bit()?);
        }
        Ok(value)
    }

    pub(crate) fn skip(&mut self, n: u32) -> Result<(), ReadError> {
        for _ in 0..n {
            self.bit()?;
        }
        Ok(())
    }

    /// ue(v), of at most 31 leading zeros.
    pub(crate) fn ue(&mut self) -> Result<u32, ReadError> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return Err(self.malformed("an Exp-Golomb code is longer than 32 bits"));
            }
        }
        let suffix = self.bits(zeros)?;
        Ok(((1u64 << zeros) - 1 + u64::from(suffix)) as u32)
    }

    /// se(v).
    pub(crate) fn se(&mut self) -> Result<i32, ReadError> {
        let code = i64::from(self.ue()?);
        let magnitude = (code + 1) / 2;
        Ok(if code % 2 == 0 { -magnitude } else { magnitude } as i32)
    }
}

/// A picture's side from coded size and cropping, in pixels.
pub(crate) fn cropped(
    coded: u32,
    unit: u32,
    before: u32,
    after: u32,
    what: &'static str,
) -> Result<u16, ReadError> {
    let crop = before
        .checked_add(after)
        .and_then(|units| units.checked_mul(unit));
    crop.and_then(|crop| coded.checked_sub(crop))
        .and_then(|side| u16::try_from(side).ok())
        .filter(|&side| side > 0)
        .ok_or(ReadError::Malformed {
            what,
            why: "the picture's size is out of range",
        })
}
