//! The H.265 sequence parameter set (§7.3.2.2.1), as far as a player's description needs it.

use super::bits::{BitReader, unescape};

/// What an SPS says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps265 {
    /// general_profile_space, tier flag and profile_idc: the first byte of profile_tier_level.
    pub profile: u8,
    /// general_profile_compatibility_flags.
    pub compatibility: u32,
    /// The six bytes of constraint flags.
    pub constraints: [u8; 6],
    /// general_level_idc: 30 times the level.
    pub level: u8,
    /// chroma_format_idc.
    pub chroma: u8,
    /// bit_depth_luma_minus8 and bit_depth_chroma_minus8.
    pub depth_minus8: [u8; 2],
    /// sps_max_sub_layers_minus1 + 1.
    pub sub_layers: u8,
    /// sps_temporal_id_nesting_flag.
    pub nested: bool,
    /// Width in pixels, inside the conformance window.
    pub width: u32,
    /// Height in pixels, inside the conformance window.
    pub height: u32,
}

impl Sps265 {
    /// Reads an SPS with its two-byte NAL header; `None` if it is no SPS or ends too early.
    #[must_use]
    pub fn parse(nal: &[u8]) -> Option<Self> {
        if (nal.first()? >> 1) & 0x3f != 33 {
            return None;
        }
        let bytes = unescape(nal.get(2..)?);
        let mut r = BitReader::new(&bytes);
        r.bits(4)?;
        let sub_layers_minus1 = r.bits(3)?;
        let nested = r.bit()?;
        let profile = byte(&mut r)?;
        let compatibility = r.bits(32)?;
        let mut constraints = [0; 6];
        for constraint in &mut constraints {
            *constraint = byte(&mut r)?;
        }
        let level = byte(&mut r)?;
        skip_sub_layers(&mut r, sub_layers_minus1)?;
        r.ue()?;
        let chroma = r.ue()?;
        if chroma > 3 {
            return None;
        }
        if chroma == 3 {
            r.bit()?;
        }
        let (mut width, mut height) = (r.ue()?, r.ue()?);
        if r.bit()? {
            let (unit_x, unit_y) = match chroma {
                1 => (2, 2),
                2 => (2, 1),
                _ => (1, 1),
            };
            let (left, right, top, bottom) = (r.ue()?, r.ue()?, r.ue()?, r.ue()?);
            width = width.checked_sub(left.checked_add(right)?.checked_mul(unit_x)?)?;
            height = height.checked_sub(top.checked_add(bottom)?.checked_mul(unit_y)?)?;
        }
        let depth_minus8 = [u8::try_from(r.ue()?).ok()?, u8::try_from(r.ue()?).ok()?];
        Some(Self {
            profile,
            compatibility,
            constraints,
            level,
            chroma: u8::try_from(chroma).ok()?,
            depth_minus8,
            sub_layers: u8::try_from(sub_layers_minus1 + 1).ok()?,
            nested,
            width,
            height,
        })
    }

    /// The codec of ISO 14496-15 annex E: `hvc1.1.6.L120.B0`.
    #[must_use]
    pub fn codec_string(&self) -> String {
        let space = ["", "A", "B", "C"]
            .get(usize::from(self.profile >> 6))
            .copied()
            .unwrap_or_default();
        let tier = if self.profile & 0x20 == 0 { 'L' } else { 'H' };
        let mut text = format!(
            "hvc1.{space}{}.{:X}.{tier}{}",
            self.profile & 0x1f,
            self.compatibility.reverse_bits(),
            self.level
        );
        let used = self
            .constraints
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        for byte in self.constraints.iter().take(used) {
            text.push_str(&format!(".{byte:X}"));
        }
        text
    }
}

fn byte(r: &mut BitReader<'_>) -> Option<u8> {
    u8::try_from(r.bits(8)?).ok()
}

fn skip_sub_layers(r: &mut BitReader<'_>, count: u32) -> Option<()> {
    let mut present = Vec::new();
    for _ in 0..count {
        present.push((r.bit()?, r.bit()?));
    }
    if count > 0 {
        r.skip(2 * (8 - usize::try_from(count).ok()?))?;
    }
    for (profile, level) in present {
        r.skip(if profile { 88 } else { 0 })?;
        r.skip(if level { 8 } else { 0 })?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_profile_1080p() {
        // Header, then by hand: 0 sub-layers nested; Main, compat 0x60000000, constraints 0x90, level 4.0;
        // ue(0) id, ue(1) chroma, ue(1920), ue(1088), window with bottom 4, depths 0.
        let mut nal = vec![
            0x42, 0x01, 0x01, 0x01, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 120,
        ];
        let mut bits = String::from("1010");
        for value in [1920u32, 1088] {
            let code = format!("{:b}", value + 1);
            bits.push_str(&"0".repeat(code.len() - 1));
            bits.push_str(&code);
        }
        bits.push_str("1111");
        bits.push_str("00101");
        bits.push_str("111");
        while bits.len() % 8 != 0 {
            bits.push('0');
        }
        nal.extend(
            bits.as_bytes()
                .chunks(8)
                .map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 2).unwrap()),
        );
        let sps = Sps265::parse(&nal).unwrap();
        assert_eq!(
            (sps.width, sps.height, sps.level, sps.sub_layers),
            (1920, 1080, 120, 1)
        );
        assert_eq!(sps.codec_string(), "hvc1.1.6.L120.90");
        for cut in 0..nal.len() - 1 {
            let _ = Sps265::parse(&nal[..cut]);
        }
    }
}
