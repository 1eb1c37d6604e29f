//! The H.264 sequence parameter set (§7.3.2.1.1), as far as a player's description needs it.

use super::bits::{BitReader, unescape};

/// What an SPS says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps264 {
    /// profile_idc, constraint flags, level_idc.
    pub profile: [u8; 3],
    /// Width of the picture in pixels, cropped.
    pub width: u32,
    /// Height of the picture in pixels, cropped.
    pub height: u32,
    /// Pictures may be shown in another order than sent (B frames): not for WHEP. Told by `pic_order_cnt_type`, so it may say yes too often.
    pub reorders: bool,
}

impl Sps264 {
    /// Reads an SPS with its NAL header; `None` if it is no SPS or ends too early.
    #[must_use]
    pub fn parse(nal: &[u8]) -> Option<Self> {
        if nal.first()? & 0x1f != 7 {
            return None;
        }
        let bytes = unescape(nal.get(1..)?);
        let mut r = BitReader::new(&bytes);
        let profile = [
            u8::try_from(r.bits(8)?).ok()?,
            u8::try_from(r.bits(8)?).ok()?,
            u8::try_from(r.bits(8)?).ok()?,
        ];
        let [profile_idc, ..] = profile;
        r.ue()?;
        let mut chroma = 1;
        if matches!(
            profile_idc,
            100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
        ) {
            chroma = r.ue()?;
            if chroma == 3 {
                r.bit()?;
            }
            r.ue()?;
            r.ue()?;
            r.bit()?;
            if r.bit()? {
                for list in 0..if chroma == 3 { 12 } else { 8 } {
                    if r.bit()? {
                        skip_scaling_list(&mut r, if list < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        r.ue()?;
        let order = r.ue()?;
        if order == 0 {
            r.ue()?;
        } else if order == 1 {
            r.bit()?;
            r.se()?;
            r.se()?;
            for _ in 0..r.ue()?.min(255) {
                r.se()?;
            }
        }
        r.ue()?;
        r.bit()?;
        let width_mbs = r.ue()?.checked_add(1)?;
        let height_units = r.ue()?.checked_add(1)?;
        let frames_only = r.bit()?;
        if !frames_only {
            r.bit()?;
        }
        r.bit()?;
        let field_factor = if frames_only { 1 } else { 2 };
        let (mut width, mut height) = (
            width_mbs.checked_mul(16)?,
            height_units.checked_mul(16 * field_factor)?,
        );
        if r.bit()? {
            let (unit_x, unit_y) = match chroma {
                1 => (2, 2),
                2 => (2, 1),
                _ => (1, 1),
            };
            let (left, right, top, bottom) = (r.ue()?, r.ue()?, r.ue()?, r.ue()?);
            width = width.checked_sub(left.checked_add(right)?.checked_mul(unit_x)?)?;
            height = height.checked_sub(
                top.checked_add(bottom)?
                    .checked_mul(unit_y * field_factor)?,
            )?;
        }
        Some(Self {
            profile,
            width,
            height,
            reorders: order != 2 && profile_idc != 66,
        })
    }

    /// The codec of RFC 6381: `avc1.640028`.
    #[must_use]
    pub fn codec_string(&self) -> String {
        format!("avc1.{}", hex::encode(self.profile))
    }
}

fn skip_scaling_list(r: &mut BitReader<'_>, size: u32) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            next = (last.wrapping_add(r.se()?).wrapping_add(256)).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bits for SPSs of our own.
    #[derive(Default)]
    struct Bits(Vec<bool>);

    impl Bits {
        fn u(mut self, count: u32, value: u32) -> Self {
            self.0.extend((0..count).rev().map(|n| value >> n & 1 == 1));
            self
        }
        fn ue(self, value: u32) -> Self {
            let bits = 32 - (value + 1).leading_zeros();
            self.u(bits - 1, 0).u(bits, value + 1)
        }
        fn bytes(mut self) -> Vec<u8> {
            self.0.push(true);
            self.0
                .chunks(8)
                .map(|c| {
                    c.iter()
                        .enumerate()
                        .fold(0, |b, (n, bit)| b | u8::from(*bit) << (7 - n))
                })
                .collect()
        }
    }

    #[test]
    fn baseline_and_high_with_cropping() {
        let mut baseline = vec![0x67, 66, 0xc0, 31];
        baseline.extend(
            Bits::default()
                .ue(0)
                .ue(0)
                .ue(2)
                .ue(1)
                .u(1, 0)
                .ue(39)
                .ue(29)
                .u(3, 0b110)
                .u(2, 0)
                .bytes(),
        );
        let sps = Sps264::parse(&baseline).unwrap();
        assert_eq!((sps.width, sps.height, sps.reorders), (640, 480, false));
        assert_eq!(sps.codec_string(), "avc1.42c01f");

        let mut high = vec![0x67, 100, 0, 40];
        let bits = Bits::default().ue(0).ue(1).ue(0).ue(0).u(1, 0).u(1, 0);
        let bits = bits
            .ue(0)
            .ue(0)
            .ue(0)
            .ue(2)
            .u(1, 0)
            .ue(119)
            .ue(67)
            .u(2, 0b11)
            .u(1, 1);
        high.extend(bits.ue(0).ue(0).ue(0).ue(4).u(1, 0).bytes());
        let sps = Sps264::parse(&high).unwrap();
        assert_eq!((sps.width, sps.height, sps.reorders), (1920, 1080, true));
        for cut in 0..high.len() - 1 {
            let _ = Sps264::parse(&high[..cut]);
        }
        assert_eq!(Sps264::parse(&[0x68, 1, 2, 3]), None);
    }
}
