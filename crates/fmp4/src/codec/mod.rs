//! Sample entries (ISO/IEC 14496-12 §8.5.2): how a track says what is in it.
//!
//! An entry is kept as the bytes of its box, whoever built it: so what retina or a camera's parameter sets gave travels
//! unchanged into the file and into the init hash, and reading our own file back gives the same value.

mod audio;
pub(crate) mod bits;
mod h264;
mod h265;

use std::fmt::Write as _;

use bytes::Bytes;

use crate::boxes::{BoxWriter, need, walk};
use crate::error::ReadError;
use crate::reader::Reader;

/// Whether a track shows or sounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Media {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// What one track carries: a whole sample entry box and what can be read from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleEntry {
    bytes: Bytes,
    codec: String,
    media: Media,
    dimensions: Option<(u16, u16)>,
}

/// The largest sample entry we take; real ones have 100–500 bytes.
const MAX_ENTRY: usize = 64 * 1024;
const WHAT: &str = "sample entry";

impl SampleEntry {
    /// H.264 from one SPS and one PPS, without start codes. Samples must have 4-byte NAL lengths.
    ///
    /// # Errors
    /// If the NAL types are wrong or the SPS cannot be read (H.264 §7.3.2.1.1).
    pub fn h264(sps: &[u8], pps: &[u8]) -> Result<Self, ReadError> {
        h264::entry(sps, pps)
    }

    /// H.265 from one VPS, SPS and PPS, without start codes. Samples must have 4-byte NAL lengths and no parameter sets.
    ///
    /// # Errors
    /// If the NAL types are wrong or the SPS cannot be read (H.265 §7.3.2.2).
    pub fn h265(vps: &[u8], sps: &[u8], pps: &[u8]) -> Result<Self, ReadError> {
        h265::entry(vps, sps, pps)
    }

    /// AAC from its AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2), which RTP's `config=` carries. Samples are raw access
    /// units, without ADTS.
    ///
    /// # Errors
    /// If the configuration is cut off, reserved or longer than 64 bytes.
    pub fn aac(audio_specific_config: &[u8]) -> Result<Self, ReadError> {
        audio::aac(audio_specific_config)
    }

    /// FLAC from its STREAMINFO (RFC 9639 §8.2), as [`crate::flac::Encoder::stream_info`] gives it. One sample is one
    /// FLAC frame.
    ///
    /// # Errors
    /// None for a STREAMINFO of our encoder.
    pub fn flac(stream_info: &[u8; 34]) -> Result<Self, ReadError> {
        audio::flac(stream_info)
    }

    /// Opus (for live view; timescale 48,000). `pre_skip` in samples of 48 kHz (RFC 7845 §5.1), 0 for a stream that was joined.
    ///
    /// # Errors
    /// If there are neither one nor two channels.
    pub fn opus(channels: u8, pre_skip: u16, input_rate: u32) -> Result<Self, ReadError> {
        audio::opus(channels, pre_skip, input_rate)
    }

    /// A whole box that somebody else built (`avc1`, `avc3`, `hvc1`, `hev1`, `mp4a`, `fLaC`, `Opus`).
    ///
    /// # Errors
    /// If it is not exactly one box of these kinds with its configuration inside, or larger than 64 KiB.
    pub fn from_box(bytes: &[u8]) -> Result<Self, ReadError> {
        if bytes.len() > MAX_ENTRY {
            return Err(ReadError::TooLarge {
                what: WHAT,
                limit: MAX_ENTRY as u64,
            });
        }
        let mut boxes = walk(bytes);
        let entry = boxes.next().ok_or(ReadError::Missing { what: WHAT })??;
        if boxes.next().is_some() {
            return Err(ReadError::Malformed {
                what: WHAT,
                why: "bytes follow the box",
            });
        }
        let (codec, media, dimensions) = describe(&entry.kind, entry.body)?;
        Ok(Self {
            bytes: Bytes::copy_from_slice(bytes),
            codec,
            media,
            dimensions,
        })
    }

    /// The whole box.
    pub fn as_box(&self) -> &[u8] {
        &self.bytes
    }

    /// The codec as MSE and HLS want it (RFC 6381): `avc1.64001f`, `hvc1.1.6.L120.90`, `mp4a.40.2`, `flac`, `opus`.
    pub fn codec(&self) -> &str {
        &self.codec
    }

    /// Whether the track shows or sounds.
    pub fn media(&self) -> Media {
        self.media
    }

    /// Width and height in pixels, of video.
    pub fn dimensions(&self) -> Option<(u16, u16)> {
        self.dimensions
    }
}

type Description = (String, Media, Option<(u16, u16)>);

/// The fixed fields of a VisualSampleEntry and an AudioSampleEntry, before their boxes.
const VISUAL_LEN: usize = 78;
const AUDIO_LEN: usize = 28;

fn describe(kind: &[u8; 4], body: &[u8]) -> Result<Description, ReadError> {
    let mut r = Reader::new(body, WHAT);
    let name = String::from_utf8_lossy(kind).into_owned();
    match kind {
        b"avc1" | b"avc3" | b"hvc1" | b"hev1" => {
            let fields = r.take(VISUAL_LEN)?;
            let mut fields = Reader::new(fields.get(24..).unwrap_or_default(), WHAT);
            let dimensions = Some((fields.u16()?, fields.u16()?));
            let boxes = r.take(r.remaining())?;
            let codec = if kind.starts_with(b"avc") {
                let config = need(boxes, b"avcC", "avcC")?;
                let [_, profile, compatibility, level] =
                    Reader::new(config.body, "avcC").array()?;
                format!("{name}.{profile:02x}{compatibility:02x}{level:02x}")
            } else {
                hevc_codec(name, need(boxes, b"hvcC", "hvcC")?.body)?
            };
            Ok((codec, Media::Video, dimensions))
        }
        b"mp4a" | b"fLaC" | b"Opus" => {
            r.take(AUDIO_LEN)?;
            let boxes = r.take(r.remaining())?;
            let codec = match kind {
                b"mp4a" => audio::aac_codec(need(boxes, b"esds", "esds")?.body)?,
                b"fLaC" => need(boxes, b"dfLa", "dfLa").map(|_| "flac".to_owned())?,
                _ => need(boxes, b"dOps", "dOps").map(|_| "opus".to_owned())?,
            };
            Ok((codec, Media::Audio, None))
        }
        _ => Err(ReadError::Malformed {
            what: WHAT,
            why: "the codec is not known",
        }),
    }
}

/// ISO/IEC 14496-15 annex E.3.
fn hevc_codec(mut name: String, hvcc: &[u8]) -> Result<String, ReadError> {
    let mut r = Reader::new(hvcc, "hvcC");
    r.u8()?;
    let profile = r.u8()?;
    let compatibility = r.u32()?;
    let constraints: [u8; 6] = r.array()?;
    let level = r.u8()?;
    let space = match profile >> 6 {
        1 => "A",
        2 => "B",
        3 => "C",
        _ => "",
    };
    let tier = if profile & 0x20 == 0 { 'L' } else { 'H' };
    // writing to a String cannot fail
    let _ = write!(
        name,
        ".{space}{}.{:x}.{tier}{level}",
        profile & 0x1f,
        compatibility.reverse_bits()
    );
    let used = constraints
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    for byte in constraints.iter().take(used) {
        let _ = write!(name, ".{byte:x}");
    }
    Ok(name)
}

/// VisualSampleEntry, ISO/IEC 14496-12 §12.1.3.
fn visual(w: &mut BoxWriter, width: u16, height: u16) {
    w.zeros(6);
    w.u16(1); // data_reference_index
    w.zeros(16);
    w.u16(width);
    w.u16(height);
    w.u32(0x0048_0000); // 72 dpi
    w.u32(0x0048_0000);
    w.zeros(4);
    w.u16(1); // frame_count
    w.zeros(32); // compressorname
    w.u16(0x0018);
    w.u16(0xffff);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aac_config_gives_its_object_type() {
        assert_eq!(
            SampleEntry::aac(&[0x15, 0x88]).unwrap().codec(),
            "mp4a.40.2",
            "AAC-LC, 8 kHz, mono"
        );
        assert_eq!(
            SampleEntry::aac(&[0x2b, 0x92, 0x08, 0x00]).unwrap().codec(),
            "mp4a.40.5",
            "HE-AAC"
        );
        assert!(SampleEntry::aac(&[0x10]).is_err());
    }

    #[test]
    fn an_entry_read_back_is_the_same() {
        let entry = SampleEntry::opus(2, 312, 48_000).unwrap();
        assert_eq!(entry.codec(), "opus");
        assert_eq!(SampleEntry::from_box(entry.as_box()).unwrap(), entry);
        let mut longer = entry.as_box().to_vec();
        longer.push(0);
        assert!(SampleEntry::from_box(&longer).is_err());
    }
}
