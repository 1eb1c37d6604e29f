//! The picture's size from an H.264 sequence parameter set (ITU-T H.264, 7.3.2.1.1). H.265 is not read: its size is left unknown.

/// Width and height, of an SPS with its NAL header.
#[must_use]
pub fn size(nal: &[u8]) -> Option<(u16, u16)> {
    let mut bits = Bits::of(nal)?;
    let profile = bits.take(8)?;
    // Constraints and level.
    bits.take(16)?;
    bits.exp_golomb()?;
    let mut chroma = 1;
    if matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    ) {
        chroma = bits.exp_golomb()?;
        if chroma == 3 {
            bits.take(1)?;
        }
        bits.exp_golomb()?;
        bits.exp_golomb()?;
        bits.take(1)?;
        // Scaling lists are rare and long: a size that would be wrong is worse than none.
        if bits.take(1)? == 1 {
            return None;
        }
    }
    bits.exp_golomb()?;
    match bits.exp_golomb()? {
        0 => {
            bits.exp_golomb()?;
        }
        1 => {
            bits.take(1)?;
            bits.exp_golomb()?;
            bits.exp_golomb()?;
            let cycle = bits.exp_golomb()?;
            for _ in 0..cycle.min(256) {
                bits.exp_golomb()?;
            }
        }
        _ => {}
    }
    bits.exp_golomb()?;
    bits.take(1)?;
    let width = (bits.exp_golomb()?.checked_add(1)?).checked_mul(16)?;
    let map_units = bits.exp_golomb()?.checked_add(1)?;
    let frames_only = bits.take(1)?;
    if frames_only == 0 {
        bits.take(1)?;
    }
    let height = map_units.checked_mul(16 * (2 - frames_only))?;
    bits.take(1)?;
    let (mut across, mut down) = (0, 0);
    if bits.take(1)? == 1 {
        let mut crop = || bits.exp_golomb();
        let (left, right, top, bottom) = (crop()?, crop()?, crop()?, crop()?);
        let (unit_x, unit_y) = match chroma {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        across = left.checked_add(right)?.checked_mul(unit_x)?;
        down = top
            .checked_add(bottom)?
            .checked_mul(unit_y * (2 - frames_only))?;
    }
    let width = u16::try_from(width.checked_sub(across)?).ok()?;
    Some((width, u16::try_from(height.checked_sub(down)?).ok()?))
}

/// Bits of a payload from which the emulation prevention was taken.
struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn of(nal: &[u8]) -> Option<Self> {
        let (head, rest) = nal.split_first()?;
        if head & 31 != 7 {
            return None;
        }
        let (mut bytes, mut zeros) = (Vec::with_capacity(rest.len()), 0);
        for byte in rest.iter().take(256) {
            if zeros >= 2 && *byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if *byte == 0 { zeros + 1 } else { 0 };
            bytes.push(*byte);
        }
        Some(Bits { bytes, at: 0 })
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        self.take(zeros)?.checked_add((1u32 << zeros) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cropped_and_a_plain_size() {
        // x264: 1920x1080 (1088 cropped by 8), High; 1280x720 stands in the test of sdp.
        let sps = [
            0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00,
            0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xc8, 0x3c, 0x60, 0xc6, 0x58,
        ];
        assert_eq!(size(&sps), Some((1920, 1080)));
        assert_eq!(size(&sps[..8]), None);
        assert_eq!(size(&[0x68, 0xeb]), None, "no SPS");
    }

    proptest! {
        #[test]
        fn nothing_panics(mut bytes: Vec<u8>) {
            bytes.insert(0, 0x67);
            let _ = size(&bytes);
        }
    }
}
