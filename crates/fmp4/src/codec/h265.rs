//! H.265: what `hvc1`/`hvcC` (ISO/IEC 14496-15 §8.3.3) need from the parameter sets.

use crate::boxes::BoxWriter;
use crate::codec::bits::{BitReader, cropped, unescape};
use crate::codec::{SampleEntry, visual};
use crate::error::ReadError;

/// The fields of a sequence parameter set (H.265 §7.3.2.2) that the container repeats.
struct Sps {
    /// general_profile_space … general_level_idc, as they stand in the SPS.
    profile_tier_level: [u8; 12],
    layers: u8,
    nested: bool,
    chroma: u8,
    luma_depth: u8,
    chroma_depth: u8,
    width: u16,
    height: u16,
}

const WHAT: &str = "H.265 SPS";

pub(super) fn entry(vps: &[u8], sps: &[u8], pps: &[u8]) -> Result<SampleEntry, ReadError> {
    let sets = [
        (32u8, vps, "H.265 VPS"),
        (33, sps, WHAT),
        (34, pps, "H.265 PPS"),
    ];
    for (kind, nal, what) in sets {
        if nal.len() < 3 || nal.first().is_none_or(|head| head >> 1 & 0x3f != kind) {
            return Err(ReadError::Malformed {
                what,
                why: "it has another NAL type",
            });
        }
        if nal.len() > 4096 {
            return Err(ReadError::TooLarge { what, limit: 4096 });
        }
    }
    let info = parse(sps)?;
    let mut out = BoxWriter::default();
    out.boxed(b"hvc1", |w| {
        visual(w, info.width, info.height);
        w.boxed(b"hvcC", |w| {
            w.u8(1);
            w.bytes(&info.profile_tier_level);
            w.u16(0xf000); // no spatial segmentation told
            w.bytes(&[
                0xfc,
                0xfc | info.chroma,
                0xf8 | info.luma_depth,
                0xf8 | info.chroma_depth,
            ]);
            w.u16(0); // average frame rate unknown
            w.u8(info.layers << 3 | u8::from(info.nested) << 2 | 3); // 4-byte NAL lengths
            w.u8(sets.len() as u8);
            for (kind, nal, _) in sets {
                w.u8(0x80 | kind); // complete: parameter sets are in the sample entry only
                w.u16(1);
                w.u16(nal.len() as u16); // at most 4096, checked above
                w.bytes(nal);
            }
        });
    });
    SampleEntry::from_box(&out.into_inner())
}

fn parse(nal: &[u8]) -> Result<Sps, ReadError> {
    let rbsp = unescape(nal, WHAT)?;
    let mut r = BitReader::new(&rbsp, WHAT);
    r.skip(16 + 4)?; // NAL header, sps_video_parameter_set_id
    let sub_layers = r.bits(3)?;
    let nested = r.bit()?;
    let mut profile_tier_level = [0u8; 12];
    for byte in &mut profile_tier_level {
        *byte = r.bits(8)? as u8;
    }
    skip_sub_layers(&mut r, sub_layers)?;
    r.ue()?; // sps_seq_parameter_set_id
    let chroma = r.ue()?;
    let separate = chroma == 3 && r.bit()?;
    let (coded_width, coded_height) = (r.ue()?, r.ue()?);
    let (mut left, mut right, mut top, mut bottom) = (0, 0, 0, 0);
    if r.bit()? {
        (left, right, top, bottom) = (r.ue()?, r.ue()?, r.ue()?, r.ue()?);
    }
    let (luma_depth, chroma_depth) = (r.ue()?, r.ue()?);
    if chroma > 3 || luma_depth > 7 || chroma_depth > 7 {
        return Err(r.malformed("chroma format or bit depth is out of range"));
    }
    let (unit_x, unit_y) = match (separate, chroma) {
        (false, 1) => (2, 2),
        (false, 2) => (2, 1),
        _ => (1, 1),
    };
    Ok(Sps {
        profile_tier_level,
        layers: sub_layers as u8 + 1,
        nested,
        chroma: chroma as u8,
        luma_depth: luma_depth as u8,
        chroma_depth: chroma_depth as u8,
        width: cropped(coded_width, unit_x, left, right, WHAT)?,
        height: cropped(coded_height, unit_y, top, bottom, WHAT)?,
    })
}

/// The sub-layer part of profile_tier_level (§7.3.3).
fn skip_sub_layers(r: &mut BitReader<'_>, sub_layers: u32) -> Result<(), ReadError> {
    let mut present = Vec::with_capacity(8);
    for _ in 0..sub_layers {
        present.push((r.bit()?, r.bit()?));
    }
    if sub_layers > 0 {
        r.skip(2 * (8 - sub_layers))?;
    }
    for (profile, level) in present {
        r.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_codec_string_come_from_the_parameter_sets() {
        // the parameter sets of an x265 still of 1280x856 (Main, level 4, constraint 0x90)
        let vps = [
            64, 1, 12, 1, 255, 255, 1, 96, 0, 0, 3, 0, 144, 0, 0, 3, 0, 0, 3, 0, 120, 153, 138, 2,
            64,
        ];
        let sps = [
            66, 1, 1, 1, 96, 0, 0, 3, 0, 144, 0, 0, 3, 0, 0, 3, 0, 120, 160, 2, 128, 128, 53, 159,
            89, 102, 98, 164, 145, 38, 191, 252, 26, 176, 26, 172, 4, 0, 0, 3, 0, 4, 0, 0, 3, 0,
            100, 32,
        ];
        let entry = entry(&vps, &sps, &[68, 1, 193, 114, 182, 98, 64]).unwrap();
        assert_eq!(entry.codec(), "hvc1.1.6.L120.90");
        assert_eq!(entry.dimensions().unwrap().0, 1280);
    }
}
