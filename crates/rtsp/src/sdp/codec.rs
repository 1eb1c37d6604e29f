//! Which codec a track carries, as far as anything of ours treats it differently.

use super::Media;

/// The codec of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// H.264 (RFC 6184).
    H264,
    /// H.265 (RFC 7798).
    H265,
    /// AAC as `mpeg4-generic` (RFC 3640).
    Aac,
    /// G.711 A-law.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
    /// Opus (RFC 7587).
    Opus,
    /// MPEG audio (RFC 2250): Dafang's default. Passed to viewers, not recorded.
    Mp3,
    /// Anything else: passed, never looked into.
    Other,
}

impl Codec {
    /// The codec of a media section: by rtpmap, else by the static payload type (RFC 3551).
    #[must_use]
    pub fn of(media: &Media) -> Self {
        if let Some(map) = &media.rtpmap {
            return match map.encoding.to_ascii_lowercase().as_str() {
                "h264" => Self::H264,
                "h265" | "hevc" => Self::H265,
                "mpeg4-generic" => Self::Aac,
                "pcma" => Self::Pcma,
                "pcmu" => Self::Pcmu,
                "opus" => Self::Opus,
                "mpa" | "mp3" => Self::Mp3,
                _ => Self::Other,
            };
        }
        match media.payload_types.first() {
            Some(0) => Self::Pcmu,
            Some(8) => Self::Pcma,
            Some(14) => Self::Mp3,
            _ => Self::Other,
        }
    }

    /// A short name for logs and pages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "H.264",
            Self::H265 => "H.265",
            Self::Aac => "AAC",
            Self::Pcma => "G.711 A-law",
            Self::Pcmu => "G.711 µ-law",
            Self::Opus => "Opus",
            Self::Mp3 => "MP3",
            Self::Other => "unknown",
        }
    }
}
