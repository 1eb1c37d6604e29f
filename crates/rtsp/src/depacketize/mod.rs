//! RTP packets to access units and frames, for live view. (The archiver has retina's.)
//!
//! [`Depacketizer`] takes the packets of one track in the order of their arrival and gives units. Loss is told, never hidden: a unit that lacks bytes is
//! marked damaged. Memory: one access unit of at most [`MAX_UNIT`] bytes, and a queue that the caller empties after each packet.

mod aac;
pub mod g711;
mod parameters;
mod unpack;
mod video;

pub use aac::AudioConfig;
pub use parameters::Parameters;

use std::collections::VecDeque;

use bytes::Bytes;

use crate::rtp::RtpHeader;
use crate::sdp::{Codec, Media};

/// Longest unit; what is longer is cut and marked damaged. An IDR of a 4K camera has about 1 MB.
pub const MAX_UNIT: usize = 4 * 1024 * 1024;

/// An access unit of video, or a frame of audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// RTP timestamp.
    pub timestamp: u32,
    /// Video: NAL units, each behind its length in 4 bytes, without parameter sets and delimiters. AAC: one raw frame. G.711: samples as they came
    /// ([`g711::decode`]). Opus and others: the payload.
    pub data: Bytes,
    /// Decoding can begin here: an IDR; audio always.
    pub random_access: bool,
    /// Nothing refers to this picture.
    pub disposable: bool,
    /// Bytes of it are missing.
    pub damaged: bool,
    /// Packets lost since the unit before, as far as the sequence numbers say.
    pub lost: u16,
    /// The parameters changed with this unit ([`Depacketizer::parameters`]).
    pub parameters_changed: bool,
}

/// Makes units of one track's packets.
#[derive(Debug)]
pub struct Depacketizer {
    kind: Kind,
    sequence: Option<(u32, u16)>,
    lost: u16,
    units: VecDeque<Unit>,
}

#[derive(Debug)]
enum Kind {
    Video(video::VideoAssembler),
    Aac(aac::AacAssembler),
    /// One packet, one unit.
    Plain(Parameters),
}

impl Depacketizer {
    /// For a track; `None` for codecs that live view does not show (MP3, unknown ones, AAC without a usable configuration).
    #[must_use]
    pub fn new(media: &Media) -> Option<Self> {
        let channels = media
            .rtpmap
            .as_ref()
            .and_then(|map| map.channels)
            .unwrap_or(1);
        let kind = match media.codec() {
            codec @ (Codec::H264 | Codec::H265) => {
                Kind::Video(video::VideoAssembler::new(codec, media))
            }
            Codec::Aac => Kind::Aac(aac::AacAssembler::new(media)?),
            Codec::Pcma => Kind::Plain(Parameters::G711 {
                law: g711::Law::A,
                rate: media.clock_rate(),
                channels,
            }),
            Codec::Pcmu => Kind::Plain(Parameters::G711 {
                law: g711::Law::Mu,
                rate: media.clock_rate(),
                channels,
            }),
            Codec::Opus => Kind::Plain(Parameters::Opus { channels }),
            Codec::Mp3 | Codec::Other => return None,
        };
        Some(Self {
            kind,
            sequence: None,
            lost: 0,
            units: VecDeque::new(),
        })
    }

    /// Takes one packet. `damaged`: its access unit is known to have lost bytes ([`crate::nal::Marks::damaged`]). What is no RTP is ignored.
    pub fn push(&mut self, packet: &Bytes, damaged: bool) {
        let Some(header) = RtpHeader::parse(packet) else {
            return;
        };
        let mut gap = 0;
        let mut restarted = false;
        if let Some((ssrc, sequence)) = self.sequence {
            let step = header.sequence.wrapping_sub(sequence);
            if ssrc != header.ssrc {
                restarted = true;
            } else if step == 0 {
                return;
            } else if step < 0x8000 {
                gap = step - 1;
            }
        }
        self.sequence = Some((header.ssrc, header.sequence));
        self.lost = self.lost.saturating_add(gap);
        let payload = packet.slice(header.payload_start..header.payload_end);
        let broken = gap > 0 || restarted;
        match &mut self.kind {
            Kind::Video(video) => video.push(&header, &payload, broken, damaged, &mut self.units),
            Kind::Aac(aac) => aac.push(&header, &payload, broken, &mut self.units),
            Kind::Plain(_) if payload.is_empty() => {}
            Kind::Plain(_) => self.units.push_back(Unit::audio(header.timestamp, payload)),
        }
        if let Some(unit) = self.units.front_mut() {
            unit.lost = unit.lost.saturating_add(std::mem::take(&mut self.lost));
        }
    }

    /// The next unit.
    pub fn pop(&mut self) -> Option<Unit> {
        self.units.pop_front()
    }

    /// What a decoder must know; `None` while it is not known.
    #[must_use]
    pub fn parameters(&self) -> Option<Parameters> {
        match &self.kind {
            Kind::Video(video) => video.parameters(),
            Kind::Aac(aac) => Some(Parameters::Aac(aac.config().clone())),
            Kind::Plain(parameters) => Some(parameters.clone()),
        }
    }
}

impl Unit {
    fn audio(timestamp: u32, data: Bytes) -> Self {
        Self {
            timestamp,
            data,
            random_access: true,
            disposable: false,
            damaged: false,
            lost: 0,
            parameters_changed: false,
        }
    }
}
