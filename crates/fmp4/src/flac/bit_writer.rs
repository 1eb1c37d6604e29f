//! Bits of a FLAC frame and its two checksums (RFC 9639 §9.1.8, §9.3).

/// Appends bits, most significant first.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    out: Vec<u8>,
    /// Bits that do not fill a byte yet, in the low `filled` bits.
    partial: u64,
    filled: u32,
}

impl BitWriter {
    /// The low `n` bits of `value`, at most 32.
    pub(super) fn bits(&mut self, value: u32, n: u32) {
        let mask = (1u64 << n.min(32)) - 1;
        self.partial = self.partial << n | u64::from(value) & mask;
        self.filled += n;
        while self.filled >= 8 {
            self.filled -= 8;
            self.out.push((self.partial >> self.filled) as u8);
        }
        self.partial &= 0xff;
    }

    /// `zeros` zeros, then a one.
    pub(super) fn unary(&mut self, mut zeros: u32) {
        while zeros >= 32 {
            self.bits(0, 32);
            zeros -= 32;
        }
        self.bits(1, zeros + 1);
    }

    pub(super) fn align(&mut self) {
        if self.filled > 0 {
            self.bits(0, 8 - self.filled);
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.out
    }

    pub(super) fn into_inner(self) -> Vec<u8> {
        self.out
    }
}

/// Polynomial x⁸+x²+x+1, from 0.
pub(super) fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| {
            if crc & 0x80 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 7
            }
        })
    })
}

/// Polynomial x¹⁶+x¹⁵+x²+1, from 0.
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let crc = crc ^ u16::from(*byte) << 8;
        (0..8).fold(crc, |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x8005
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_match_their_published_check_values() {
        assert_eq!(crc8(b"123456789"), 0xf4); // CRC-8/SMBUS
        assert_eq!(crc16(b"123456789"), 0xfee8); // CRC-16/UMTS
    }
}
