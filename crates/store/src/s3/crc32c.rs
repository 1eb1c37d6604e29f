//! CRC-32C (Castagnoli, RFC 3720 appendix B.4), for stores that take it in place of MD5.

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                0x82f6_3b78 ^ (value >> 1)
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

/// A running checksum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crc32c(u32);

impl Crc32c {
    pub(super) fn new() -> Self {
        Self(!0)
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let index = (self.0 as u8 ^ byte) as usize;
            self.0 = TABLE[index] ^ (self.0 >> 8); // an u8 is a place in the table
        }
    }

    pub(super) fn finish(self) -> [u8; 4] {
        (!self.0).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue() {
        let mut sum = Crc32c::new();
        sum.update(b"1234");
        sum.update(b"56789");
        assert_eq!(sum.finish(), 0xe306_9283_u32.to_be_bytes());
    }
}
