//! RTSP messages and interleaved framing, strict and with resync: the same result however the reads are cut, and bounded work.
#![no_main]

use std::time::Duration;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use moorline_rtsp::header::{RtpInfo, SessionHeader, TransportSpec};
use moorline_rtsp::interleaved::{ChannelMap, Event, MAX_READER_FRAME, ResyncDemux, StrictDemux};
use moorline_rtsp::message::{MAX_BODY, MAX_HEAD, Message, MessageParser};
use moorline_rtsp::url::Target;

/// The messages, and how it ended, as text: errors are compared too.
fn messages(bytes: &[u8], cut: usize) -> (Vec<Message>, Option<String>) {
    let (mut parser, mut buffer, mut all) = (MessageParser::new(), BytesMut::new(), Vec::new());
    for piece in bytes.chunks(cut) {
        buffer.extend_from_slice(piece);
        loop {
            match parser.parse(&mut buffer) {
                Ok(Some(message)) => all.push(message),
                Ok(None) => break,
                Err(error) => return (all, Some(error.to_string())),
            }
        }
        assert!(buffer.len() <= MAX_HEAD + MAX_BODY + cut);
    }
    (all, None)
}

fn strict(bytes: &[u8], cut: usize) -> (Vec<String>, Option<String>) {
    let (mut demux, mut buffer, mut all) = (StrictDemux::default(), BytesMut::new(), Vec::new());
    for piece in bytes.chunks(cut) {
        buffer.extend_from_slice(piece);
        loop {
            match demux.next(&mut buffer) {
                Ok(Some(item)) => all.push(format!("{item:?}")),
                Ok(None) => break,
                Err(error) => return (all, Some(error.to_string())),
            }
        }
        assert!(buffer.len() <= MAX_HEAD + MAX_BODY + MAX_READER_FRAME + cut);
    }
    (all, None)
}

/// Resync may need to look ahead, so a cut may change what it finds; what it gives never is more than what came.
fn resync(bytes: &[u8], cut: usize) {
    let mut map = ChannelMap::default();
    map.add(0, 1, &[96]);
    map.add(2, 3, &[8]);
    let (mut demux, mut buffer) = (ResyncDemux::default(), BytesMut::new());
    demux.set_channels(map);
    let (mut given, mut now) = (0, Duration::ZERO);
    for piece in bytes.chunks(cut) {
        buffer.extend_from_slice(piece);
        while let Ok(Some(event)) = demux.next(&mut buffer, now) {
            if let Event::Frame(frame) = event {
                assert!(demux.channels().track(frame.channel).is_some());
                given += frame.packet.len();
            }
        }
        now += Duration::from_millis(40);
    }
    assert!(given <= bytes.len());
}

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, rest)) = bytes.split_last() else {
        return;
    };
    let (cut, whole) = (usize::from(*cut).max(1), rest.len().max(1));
    let (all, ended) = messages(rest, whole);
    assert_eq!((all.clone(), ended), messages(rest, cut));
    for message in all {
        let mut printed = BytesMut::new();
        message.encode(&mut printed);
        let again = MessageParser::new().parse(&mut printed);
        assert!(matches!(again, Ok(Some(_))), "{message:?}: {again:?}");
    }
    assert_eq!(strict(rest, whole), strict(rest, cut));
    resync(rest, whole);
    resync(rest, cut);
    let text = String::from_utf8_lossy(rest);
    let _ = (
        TransportSpec::parse_list(&text),
        SessionHeader::parse(&text),
        RtpInfo::parse_list(&text),
        Target::parse(&text).base("rtsp://x"),
    );
});
