//! AAC in RTP (RFC 3640, modes AAC-hbr and AAC-lbr).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{MAX_UNIT, Unit};
use crate::nal::BitReader;
use crate::octets::{from, u16_at};
use crate::rtp::RtpHeader;
use crate::sdp::Media;

/// AudioSpecificConfig (ISO 14496-3 §1.6.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioConfig {
    /// The bytes of `config=`, for `esds`.
    pub raw: Bytes,
    /// Audio object type: 2 is AAC-LC.
    pub object_type: u8,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels; 0 where the stream says it.
    pub channels: u8,
    /// Samples of one frame: 1024 or 960.
    pub frame_length: u32,
}

const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000,
    7350,
];

impl AudioConfig {
    /// Reads the configuration; `None` if it ends too early or names no rate.
    #[must_use]
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let mut r = BitReader::new(raw);
        let object_type = match r.bits(5)? {
            31 => 32 + r.bits(6)?,
            other => other,
        };
        let sample_rate = match r.bits(4)? {
            15 => r.bits(24)?,
            index => *RATES.get(usize::try_from(index).ok()?)?,
        };
        let channels = r.bits(4)?;
        let frame_length = if r.bit().unwrap_or(false) { 960 } else { 1024 };
        Some(Self {
            raw: Bytes::copy_from_slice(raw.get(..raw.len().min(64))?),
            object_type: u8::try_from(object_type).ok()?,
            sample_rate: Some(sample_rate).filter(|rate| *rate > 0)?,
            channels: u8::try_from(channels).ok()?,
            frame_length,
        })
    }
}

#[derive(Debug)]
pub(super) struct AacAssembler {
    config: AudioConfig,
    size_bits: u32,
    index_bits: u32,
    delta_bits: u32,
    /// A frame that comes in several packets: its size and what is there.
    partial: Option<(u32, usize, BytesMut)>,
}

/// Frames of one packet.
const MAX_FRAMES: usize = 64;

impl AacAssembler {
    pub(super) fn new(media: &Media) -> Option<Self> {
        let config = AudioConfig::parse(&hex::decode(media.fmtp_parameter("config")?).ok()?)?;
        let low = media
            .fmtp_parameter("mode")
            .is_some_and(|mode| mode.eq_ignore_ascii_case("AAC-lbr"));
        let bits = |name, default| -> Option<u32> {
            media
                .fmtp_parameter(name)
                .map_or(Some(default), |text| text.parse().ok())
                .filter(|bits| *bits <= 16)
        };
        Some(Self {
            config,
            size_bits: bits("sizelength", if low { 6 } else { 13 })?,
            index_bits: bits("indexlength", if low { 2 } else { 3 })?,
            delta_bits: bits("indexdeltalength", if low { 2 } else { 3 })?,
            partial: None,
        })
    }

    pub(super) fn config(&self) -> &AudioConfig {
        &self.config
    }

    pub(super) fn push(
        &mut self,
        header: &RtpHeader,
        payload: &Bytes,
        broken: bool,
        units: &mut VecDeque<Unit>,
    ) {
        if broken {
            self.partial = None;
        }
        let Some((sizes, data_start)) = self.sizes(payload) else {
            return;
        };
        let mut at = data_start;
        let mut timestamp = header.timestamp;
        for size in sizes {
            let rest = payload.len().saturating_sub(at);
            if size > rest {
                self.fragment(timestamp, size, from(payload, at), units);
                return;
            }
            self.partial = None;
            if size > 0 {
                units.push_back(Unit::audio(timestamp, payload.slice(at..at + size)));
            }
            at += size;
            timestamp = timestamp.wrapping_add(self.config.frame_length);
        }
    }

    /// A frame larger than its packet: the size stands in each of its packets, the timestamp is the same.
    fn fragment(&mut self, timestamp: u32, size: usize, data: &[u8], units: &mut VecDeque<Unit>) {
        let partial = self
            .partial
            .take()
            .filter(|(started, expected, _)| *started == timestamp && *expected == size);
        let mut buffer = partial.map(|(_, _, buffer)| buffer).unwrap_or_default();
        if size > MAX_UNIT {
            return;
        }
        let missing = size.saturating_sub(buffer.len());
        buffer.extend_from_slice(data.get(..data.len().min(missing)).unwrap_or_default());
        if buffer.len() == size {
            units.push_back(Unit::audio(timestamp, buffer.freeze()));
        } else {
            self.partial = Some((timestamp, size, buffer));
        }
    }

    /// Sizes of the frames and where they begin.
    fn sizes(&self, payload: &[u8]) -> Option<(Vec<usize>, usize)> {
        let header_bits = usize::from(u16_at(payload, 0)?);
        let data_start = 2 + header_bits.div_ceil(8);
        let mut r = BitReader::new(payload.get(2..data_start)?);
        let mut sizes = Vec::new();
        let mut used = 0;
        while sizes.len() < MAX_FRAMES {
            let index = if sizes.is_empty() {
                self.index_bits
            } else {
                self.delta_bits
            };
            used += usize::try_from(self.size_bits + index).ok()?;
            if used > header_bits || self.size_bits == 0 {
                break;
            }
            sizes.push(usize::try_from(r.bits(self.size_bits)?).ok()?);
            r.bits(index)?;
        }
        Some((sizes, data_start))
    }
}
