//! NAL units and parameter sets: read or refused, and what is read stays within what a decoder takes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moorline_fmp4::SampleEntry;
use moorline_rtsp::depacketize::AudioConfig;
use moorline_rtsp::nal::{Sps264, Sps265, TrackMarker, ViewerGate, classify_h264, classify_h265};
use moorline_rtsp::sdp::Codec;

fuzz_target!(|bytes: &[u8]| {
    if let Some(sps) = Sps264::parse(bytes) {
        assert!(sps.codec_string().starts_with("avc1."));
    }
    if let Some(sps) = Sps265::parse(bytes) {
        assert!(sps.codec_string().starts_with("hvc1."));
    }
    let _ = AudioConfig::parse(bytes);
    let _ = SampleEntry::h264(bytes, &[0x68, 1]);
    let _ = SampleEntry::h265(&[0x40, 1, 1], bytes, &[0x44, 1, 1]);
    let _ = SampleEntry::aac(bytes);
    for byte in bytes {
        let _ = (classify_h264(*byte), classify_h265(*byte));
    }
    for codec in [Codec::H264, Codec::H265, Codec::Aac] {
        let (mut marker, mut gate) = (TrackMarker::new(codec), ViewerGate::default());
        for packet in bytes.chunks(48) {
            if let Some(marks) = marker.mark(packet) {
                let _ = gate.admit(&marks);
            }
        }
    }
});
