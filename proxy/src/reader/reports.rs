//! RTCP that a reader gets of us.

use bytes::{Bytes, BytesMut};
use moorline_rtsp::rtp::append_frame_header;
use moorline_rtsp::rtp::rtcp::{APP_MOOR, SenderReport, encode_app, encode_bye};
use moorline_rtsp::server::SetUpTrack;

use crate::source::CNAME;

fn framed(channel: u8, compound: &BytesMut) -> Bytes {
    let mut out = BytesMut::with_capacity(compound.len() + 4);
    if let Ok(length) = u16::try_from(compound.len()) {
        append_frame_header(&mut out, channel, length);
        out.extend_from_slice(compound);
    }
    out.freeze()
}

/// SR and SDES on the track's channel.
pub(super) fn sender_report(track: SetUpTrack, report: &SenderReport) -> Bytes {
    let mut compound = BytesMut::new();
    report.encode(CNAME, &mut compound);
    framed(track.rtcp, &compound)
}

/// BYE: nothing more will come of this source.
pub(super) fn bye(track: SetUpTrack, ssrc: u32) -> Bytes {
    let mut compound = BytesMut::new();
    encode_bye(ssrc, &mut compound);
    framed(track.rtcp, &compound)
}

/// APP `MOOR` for the archiver: `event` is `boundary` (media is no longer continuous: the take ends), `clock_step` (the same: the camera's clock jumped),
/// `end` (the relay ends) or `overrun`
/// (the archiver was moved to a later key frame; the take goes on).
pub(super) fn event(track: SetUpTrack, ssrc: u32, event: &str) -> Bytes {
    let mut compound = BytesMut::new();
    encode_app(ssrc, APP_MOOR, event.as_bytes(), &mut compound);
    framed(track.rtcp, &compound)
}
