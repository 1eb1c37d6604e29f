//! Pictures for browsers: the live feed as fragmented MP4, and the still picture of a camera.
//!
//! **Owns** one browser's way through the ring, depacketizing and muxing. **Does not own** the WebSocket (`web`) nor the bytes of MP4
//! (`moorline-fmp4`). A feed is pulled: what a slow browser does not fetch is forgotten by the ring, and it goes on with a key frame (P5).
//! No tasks: a feed ends when it is dropped, or with its relay.

mod feed;
mod muxer;
mod poster;
mod sound;
mod timeline;

pub(crate) use feed::open;
pub(crate) use poster::poster;

use moorline_fmp4::{ReadError, SampleEntry};
use moorline_rtsp::depacketize::Parameters;

/// The sample entry of a video track; `None` for parameters without one.
fn video_entry(parameters: &Parameters) -> Option<Result<SampleEntry, ReadError>> {
    match parameters {
        Parameters::H264 { sps, pps, .. } => Some(SampleEntry::h264(sps, pps.first()?)),
        Parameters::H265 { vps, sps, pps, .. } => Some(SampleEntry::h265(vps, sps, pps.first()?)),
        Parameters::Aac(_) | Parameters::G711 { .. } | Parameters::Opus { .. } => None,
    }
}
