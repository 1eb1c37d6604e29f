//! H.264: what `avc1`/`avcC` (ISO/IEC 14496-15 §5.3.3) need from the parameter sets.

use crate::boxes::BoxWriter;
use crate::codec::bits::{BitReader, cropped, unescape};
use crate::codec::{SampleEntry, visual};
use crate::error::ReadError;

/// The fields of a sequence parameter set (H.264 §7.3.2.1.1) that the container repeats.
struct Sps {
    profile: u8,
    width: u16,
    height: u16,
    chroma: u8,
    luma_depth: u8,
    chroma_depth: u8,
}

/// Profiles whose parameter sets carry chroma format and bit depths.
const HIGH: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
const WHAT: &str = "H.264 SPS";

pub(super) fn entry(sps: &[u8], pps: &[u8]) -> Result<SampleEntry, ReadError> {
    let &[head, profile, compatibility, level, ..] = sps else {
        return Err(ReadError::Truncated { what: WHAT });
    };
    if head & 0x1f != 7 {
        return Err(ReadError::Malformed {
            what: WHAT,
            why: "the NAL type is not 7",
        });
    }
    if pps.first().is_none_or(|head| head & 0x1f != 8) {
        return Err(ReadError::Malformed {
            what: "H.264 PPS",
            why: "the NAL type is not 8",
        });
    }
    let info = parse(sps)?;
    let sps_len = u16::try_from(sps.len()).map_err(|_| ReadError::TooLarge {
        what: WHAT,
        limit: 65_535,
    })?;
    let pps_len = u16::try_from(pps.len()).map_err(|_| ReadError::TooLarge {
        what: "H.264 PPS",
        limit: 65_535,
    })?;

    let mut out = BoxWriter::default();
    out.boxed(b"avc1", |w| {
        visual(w, info.width, info.height);
        w.boxed(b"avcC", |w| {
            w.bytes(&[1, profile, compatibility, level, 0xff, 0xe1]); // 4-byte NAL lengths, one SPS
            w.u16(sps_len);
            w.bytes(sps);
            w.u8(1);
            w.u16(pps_len);
            w.bytes(pps);
            if HIGH.contains(&info.profile) {
                w.bytes(&[
                    0xfc | info.chroma,
                    0xf8 | info.luma_depth,
                    0xf8 | info.chroma_depth,
                    0,
                ]);
            }
        });
    });
    SampleEntry::from_box(&out.into_inner())
}

fn parse(nal: &[u8]) -> Result<Sps, ReadError> {
    let rbsp = unescape(nal, WHAT)?;
    let mut r = BitReader::new(&rbsp, WHAT);
    r.skip(8)?;
    let profile = r.bits(8)? as u8;
    r.skip(16)?; // constraints, level
    r.ue()?; // seq_parameter_set_id
    let (mut chroma, mut luma_depth, mut chroma_depth, mut separate) = (1, 0, 0, false);
    if HIGH.contains(&profile) {
        chroma = r.ue()?;
        separate = chroma == 3 && r.bit()?;
        (luma_depth, chroma_depth) = (r.ue()?, r.ue()?);
        r.bit()?; // lossless transform bypass
        if r.bit()? {
            scaling_lists(&mut r, if chroma == 3 { 12 } else { 8 })?;
        }
    }
    if chroma > 3 || luma_depth > 6 || chroma_depth > 6 {
        return Err(r.malformed("chroma format or bit depth is out of range"));
    }
    r.ue()?; // log2_max_frame_num
    match r.ue()? {
        0 => {
            r.ue()?;
        }
        1 => {
            r.bit()?;
            r.se()?;
            r.se()?;
            let count = r.ue()?;
            if count > 255 {
                return Err(r.malformed("more than 255 frames in a picture order cycle"));
            }
            for _ in 0..count {
                r.se()?;
            }
        }
        _ => {}
    }
    r.ue()?; // max_num_ref_frames
    r.bit()?;
    let across = r.ue()?;
    let down = r.ue()?;
    let frames_only = r.bit()?;
    if !frames_only {
        r.bit()?;
    }
    r.bit()?; // direct_8x8_inference
    let (mut left, mut right, mut top, mut bottom) = (0, 0, 0, 0);
    if r.bit()? {
        (left, right, top, bottom) = (r.ue()?, r.ue()?, r.ue()?, r.ue()?);
    }
    if across > 1024 || down > 1024 {
        return Err(r.malformed("the picture is larger than 16,400 pixels"));
    }
    let field = if frames_only { 1 } else { 2 };
    let (unit_x, unit_y) = match (separate, chroma) {
        (false, 1) => (2, 2 * field),
        (false, 2) => (2, field),
        _ => (1, field),
    };
    Ok(Sps {
        profile,
        width: cropped((across + 1) * 16, unit_x, left, right, WHAT)?,
        height: cropped((down + 1) * 16 * field, unit_y, top, bottom, WHAT)?,
        chroma: chroma as u8,
        luma_depth: luma_depth as u8,
        chroma_depth: chroma_depth as u8,
    })
}

fn scaling_lists(r: &mut BitReader<'_>, lists: usize) -> Result<(), ReadError> {
    for list in 0..lists {
        if !r.bit()? {
            continue;
        }
        let (mut last, mut next) = (8i32, 8i32);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = last.wrapping_add(r.se()?).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_codec_string_come_from_the_parameter_sets() {
        // x264, High@3.1, 1280x720
        let sps = [
            0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x6a, 0x02, 0x02,
            0x02, 0x80, 0x00, 0x00, 0x03, 0x00, 0x80, 0x00, 0x00, 0x1e, 0x07, 0x8c, 0x18, 0xcb,
        ];
        let entry = entry(&sps, &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0]).unwrap();
        assert_eq!(entry.codec(), "avc1.64001f");
        assert_eq!(entry.dimensions(), Some((1280, 720)));
    }

    #[test]
    fn cropping_makes_1080_lines_of_1088() {
        // live555's sample, Baseline@4.0-like: 1920x1080 with 8 lines cropped
        let sps = [
            0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00,
            0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
        ];
        assert_eq!(
            entry(&sps, &[0x68, 0xce]).unwrap().dimensions(),
            Some((1920, 1080))
        );
    }
}
