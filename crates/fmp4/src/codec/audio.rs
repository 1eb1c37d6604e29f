//! Audio sample entries: AAC (`mp4a`/`esds`), FLAC (`fLaC`/`dfLa`), Opus (`Opus`/`dOps`).

use crate::boxes::BoxWriter;
use crate::codec::SampleEntry;
use crate::codec::bits::BitReader;
use crate::error::ReadError;

/// AudioSampleEntry, ISO/IEC 14496-12 §12.2.3. Rates that do not fit 16 bits are written as 0: the codec's own box holds.
fn audio(w: &mut BoxWriter, channels: u16, bits: u16, rate: u32) {
    w.zeros(6);
    w.u16(1); // data_reference_index
    w.zeros(8);
    w.u16(channels);
    w.u16(bits);
    w.zeros(4);
    w.u16(u16::try_from(rate).unwrap_or(0));
    w.u16(0);
}

/// Sampling frequencies by index, ISO/IEC 14496-3 table 1.18.
const RATES: [u32; 13] = [
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
];

pub(super) fn aac(config: &[u8]) -> Result<SampleEntry, ReadError> {
    const WHAT: &str = "AudioSpecificConfig";
    if config.len() > 64 {
        return Err(ReadError::TooLarge {
            what: WHAT,
            limit: 64,
        });
    }
    let mut r = BitReader::new(config, WHAT);
    object_type(&mut r)?;
    let rate = match r.bits(4)? {
        15 => r.bits(24)?,
        index => *RATES
            .get(index as usize)
            .ok_or_else(|| r.malformed("the frequency index is reserved"))?,
    };
    let channels = match r.bits(4)? {
        7 => 8,
        n => n as u16,
    };
    let len = config.len() as u8; // at most 64, checked above; so every descriptor length fits 7 bits
    let mut out = BoxWriter::default();
    out.boxed(b"mp4a", |w| {
        audio(w, channels, 16, rate);
        w.full(b"esds", 0, 0, |w| {
            w.bytes(&[3, 3 + 15 + 2 + len + 3, 0, 0, 0]); // ES_Descriptor, ISO/IEC 14496-1 §7.2.6.5
            w.bytes(&[4, 13 + 2 + len, 0x40, 0x15]); // DecoderConfigDescriptor: MPEG-4 audio stream
            w.zeros(11); // buffer size and bitrates unknown
            w.bytes(&[5, len]);
            w.bytes(config);
            w.bytes(&[6, 1, 2]); // SLConfigDescriptor: as MP4 requires
        });
    });
    SampleEntry::from_box(&out.into_inner())
}

/// audioObjectType, ISO/IEC 14496-3 §1.6.2.1.
fn object_type(r: &mut BitReader<'_>) -> Result<u32, ReadError> {
    Ok(match r.bits(5)? {
        31 => 32 + r.bits(6)?,
        kind => kind,
    })
}

pub(super) fn flac(stream_info: &[u8; 34]) -> Result<SampleEntry, ReadError> {
    let mut r = BitReader::new(stream_info, "FLAC STREAMINFO");
    r.skip(80)?;
    let rate = r.bits(20)?;
    let channels = r.bits(3)? as u16 + 1;
    let bits = r.bits(5)? as u16 + 1;
    let mut out = BoxWriter::default();
    out.boxed(b"fLaC", |w| {
        audio(w, channels, bits, rate);
        w.full(b"dfLa", 0, 0, |w| {
            w.u32(0x8000_0000 | stream_info.len() as u32); // last metadata block, type STREAMINFO
            w.bytes(stream_info);
        });
    });
    SampleEntry::from_box(&out.into_inner())
}

pub(super) fn opus(channels: u8, pre_skip: u16, input_rate: u32) -> Result<SampleEntry, ReadError> {
    if !(1..=2).contains(&channels) {
        return Err(ReadError::Malformed {
            what: "Opus",
            why: "only mono and stereo need no channel mapping",
        });
    }
    let mut out = BoxWriter::default();
    out.boxed(b"Opus", |w| {
        audio(w, u16::from(channels), 16, 48_000);
        w.boxed(b"dOps", |w| {
            w.bytes(&[0, channels]);
            w.u16(pre_skip);
            w.u32(input_rate);
            w.bytes(&[0, 0, 0]); // no gain, mapping family 0
        });
    });
    SampleEntry::from_box(&out.into_inner())
}

/// `mp4a.40.<object type>` from the body of an `esds` box (RFC 6381 §3.3).
pub(super) fn aac_codec(esds: &[u8]) -> Result<String, ReadError> {
    const WHAT: &str = "esds";
    let mut r = BitReader::new(esds, WHAT);
    r.skip(32)?;
    let header = |r: &mut BitReader<'_>, tag: u32| -> Result<(), ReadError> {
        if r.bits(8)? != tag {
            return Err(r.malformed("a descriptor is missing"));
        }
        for _ in 0..4 {
            if !r.bit()? {
                return r.skip(7);
            }
            r.skip(7)?;
        }
        Err(r.malformed("a descriptor's length has more than four bytes"))
    };
    header(&mut r, 3)?;
    r.skip(16)?;
    if r.bits(8)? & 0xe0 != 0 {
        return Err(r.malformed("the stream depends on another"));
    }
    header(&mut r, 4)?;
    let indication = r.bits(8)?;
    r.skip(12 * 8)?;
    if indication != 0x40 {
        return Ok(format!("mp4a.{indication:02x}"));
    }
    header(&mut r, 5)?;
    Ok(format!("mp4a.40.{}", object_type(&mut r)?))
}
