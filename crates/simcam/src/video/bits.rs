//! Writing bits, Exp-Golomb codes and NAL units (ITU-T H.264, 7.2, 7.3.1 and 9.1).

use bytes::Bytes;

/// Writes an RBSP bit by bit, most significant first.
#[derive(Debug, Default)]
pub(crate) struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    /// The lowest `count` bits of `value`.
    pub(crate) fn put(&mut self, count: u32, value: u32) -> &mut Self {
        for shift in (0..count).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let bit = ((value >> shift) & 1) as u8;
            if let Some(last) = self.bytes.last_mut() {
                *last |= bit << (7 - self.used);
            }
            self.used = (self.used + 1) % 8;
        }
        self
    }

    /// What was written, the last byte filled with zeros.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// `ue(v)`
    pub(super) fn ue(&mut self, value: u32) -> &mut Self {
        let code = value + 1;
        let length = 32 - code.leading_zeros();
        self.put(length - 1, 0).put(length, code)
    }

    /// `se(v)`
    pub(super) fn se(&mut self, value: i32) -> &mut Self {
        let code = if value > 0 {
            value.unsigned_abs() * 2 - 1
        } else {
            value.unsigned_abs() * 2
        };
        self.ue(code)
    }

    /// Adds the trailing bits and wraps the RBSP into a NAL unit.
    pub(super) fn into_nal(mut self, header: u8) -> Bytes {
        self.put(1, 1);
        nal(header, &self.bytes)
    }
}

/// A NAL unit of an RBSP: 0x03 after two zero bytes before 0x00 to 0x03.
pub(super) fn nal(header: u8, rbsp: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(rbsp.len() + rbsp.len() / 64 + 2);
    out.push(header);
    let mut zeros = 0;
    for byte in rbsp {
        if zeros >= 2 && *byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out.into()
}

/// The RBSP of a NAL unit's payload: the inverse of [`nal`].
pub(super) fn rbsp(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    let mut zeros = 0;
    for byte in payload {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_are_those_of_the_standard() {
        let mut bits = Bits::default();
        bits.ue(0).ue(1).ue(2).ue(3).se(1).se(-1);
        // 1 010 011 00100 010 011
        assert_eq!(bits.bytes, [0b1010_0110, 0b0100_0100, 0b1100_0000]);
    }

    #[test]
    fn emulation_is_prevented_and_undone() {
        let payload = [0, 0, 0, 0, 0, 1, 0, 0, 3, 7];
        let unit = nal(6, &payload);
        assert!(
            !unit
                .windows(3)
                .any(|window| window[..2] == [0, 0] && window[2] < 3)
        );
        assert_eq!(rbsp(&unit[1..]), payload);
    }
}
