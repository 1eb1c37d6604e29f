//! What a decoder must know before the first unit.

use bytes::Bytes;

use super::aac::AudioConfig;
use super::g711::Law;
use crate::nal::{Sps264, Sps265};

/// The parameters of a track. Raw parameter sets are what `avcC` and `hvcC` are built of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameters {
    /// H.264.
    H264 {
        /// The SPS with its NAL header.
        sps: Bytes,
        /// The PPSs with their NAL headers; at least one.
        pps: Vec<Bytes>,
        /// The SPS, read.
        info: Sps264,
    },
    /// H.265.
    H265 {
        /// The VPS with its NAL header.
        vps: Bytes,
        /// The SPS with its NAL header.
        sps: Bytes,
        /// The PPSs with their NAL headers; at least one.
        pps: Vec<Bytes>,
        /// The SPS, read.
        info: Sps265,
    },
    /// AAC.
    Aac(AudioConfig),
    /// G.711.
    G711 {
        /// Which law.
        law: Law,
        /// Samples per second.
        rate: u32,
        /// Channels.
        channels: u16,
    },
    /// Opus, 48 kHz always.
    Opus {
        /// Channels.
        channels: u16,
    },
}

impl Parameters {
    /// The codec of RFC 6381 for the `codecs` parameter of a media type. G.711 goes out as FLAC, and is told so.
    #[must_use]
    pub fn codec_string(&self) -> String {
        match self {
            Self::H264 { info, .. } => info.codec_string(),
            Self::H265 { info, .. } => info.codec_string(),
            Self::Aac(config) => format!("mp4a.40.{}", config.object_type),
            Self::G711 { .. } => "flac".to_owned(),
            Self::Opus { .. } => "opus".to_owned(),
        }
    }

    /// Width and height of the picture in pixels; `None` for audio.
    #[must_use]
    pub fn size(&self) -> Option<(u32, u32)> {
        match self {
            Self::H264 { info, .. } => Some((info.width, info.height)),
            Self::H265 { info, .. } => Some((info.width, info.height)),
            _ => None,
        }
    }
}
