//! RTP, RTCP and every depacketizer: packets in any order, of any content. A unit never exceeds its bound.
#![no_main]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use moorline_rtsp::depacketize::{Depacketizer, MAX_UNIT};
use moorline_rtsp::nal::TrackMarker;
use moorline_rtsp::rtp::rtcp::{RtcpPacket, parse_compound};
use moorline_rtsp::rtp::{ReceiverStatistics, RtpHeader, RtpPatch, append_frame, patch};
use moorline_rtsp::sdp::Sdp;

const SDP: &str = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
m=video 0 RTP/AVP 97\r\na=rtpmap:97 H265/90000\r\n\
m=audio 0 RTP/AVP 98\r\na=rtpmap:98 MPEG4-GENERIC/16000/1\r\na=fmtp:98 mode=AAC-hbr;config=1408;sizeLength=13;indexLength=3;indexDeltaLength=3\r\n\
m=audio 0 RTP/AVP 8\r\nm=audio 0 RTP/AVP 99\r\na=rtpmap:99 opus/48000/2\r\n";

/// Packets framed as on the wire: `$`, channel, length.
fn packets(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while let Some(([_, _, high, low], rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (packet, rest) = rest.split_at(length);
        packets.push(packet);
        bytes = rest;
    }
    packets
}

fuzz_target!(|bytes: &[u8]| {
    let sdp = Sdp::parse(SDP.as_bytes()).expect("the SDP of this target");
    let packets = packets(bytes);
    for media in &sdp.media {
        let mut depacketizer = Depacketizer::new(media).expect("a codec of live view");
        let mut marker = TrackMarker::new(media.codec());
        for packet in &packets {
            let marks = marker.mark(packet);
            depacketizer.push(
                &Bytes::copy_from_slice(packet),
                marks.is_some_and(|marks| marks.damaged),
            );
            while let Some(unit) = depacketizer.pop() {
                assert!(unit.data.len() <= MAX_UNIT);
            }
            if let Some(parameters) = depacketizer.parameters() {
                let _ = (parameters.codec_string(), parameters.size());
            }
        }
    }
    let (mut statistics, mut now) = (ReceiverStatistics::new(90_000), Duration::ZERO);
    for packet in &packets {
        now += Duration::from_millis(7);
        if let Some(header) = RtpHeader::parse(packet) {
            assert!(header.payload(packet).len() <= packet.len());
            statistics.packet(header.ssrc, header.sequence, header.timestamp, now);
            let mut copy = packet.to_vec();
            let numbers = RtpPatch {
                ssrc: 1,
                sequence: 2,
                timestamp: 3,
            };
            assert!(patch(&mut copy, numbers));
            let mut out = BytesMut::new();
            assert!(append_frame(&mut out, 0, packet, Some(numbers)));
            assert_eq!(&out[4..], &copy[..]);
        }
        for report in parse_compound(packet) {
            if let RtcpPacket::SenderReport(report) = report {
                statistics.sender_report(&report, now);
            }
        }
        let _ = statistics.report(now);
    }
});
