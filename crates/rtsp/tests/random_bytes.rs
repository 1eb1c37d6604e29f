//! No bytes make a parser panic, and the seeds of our own (tests/seeds) neither, nor what is one mutation away from them. This is the project's fuzzing
//! on stable: `PROPTEST_CASES=100000 cargo test -p moorline-rtsp --test random_bytes` runs it longer.
#![allow(missing_docs)]

mod common;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use moorline_rtsp::auth::{Challenge, ClientAuth, Credentials, ServerAuth};
use moorline_rtsp::client::{ClientEvent, ClientSession};
use moorline_rtsp::depacketize::{AudioConfig, Depacketizer};
use moorline_rtsp::header::{RtpInfo, SessionHeader, TransportSpec};
use moorline_rtsp::interleaved::{ChannelMap, ResyncDemux, StrictDemux};
use moorline_rtsp::message::MessageParser;
use moorline_rtsp::nal::{Sps264, Sps265, TrackMarker};
use moorline_rtsp::rtp::RtpHeader;
use moorline_rtsp::rtp::rtcp::parse_compound;
use moorline_rtsp::sdp::{Codec, Rewrite, Sdp, control};
use moorline_rtsp::server::{ServerConfig, ServerSession};
use moorline_rtsp::url::Target;
use proptest::prelude::*;

/// Everything that reads foreign bytes.
fn all_parsers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut buf = BytesMut::from(bytes);
    let mut parser = MessageParser::new();
    while let Ok(Some(_)) = parser.parse(&mut buf) {}
    let mut buf = BytesMut::from(bytes);
    let mut strict = StrictDemux::default();
    while let Ok(Some(_)) = strict.next(&mut buf) {}
    let mut map = ChannelMap::default();
    map.add(0, 1, &[96]);
    map.add(2, 3, &[8]);
    let mut resync = ResyncDemux::default();
    resync.set_channels(map);
    let mut buf = BytesMut::from(bytes);
    while let Ok(Some(_)) = resync.next(&mut buf, Duration::ZERO) {}

    let _ = (
        TransportSpec::parse_list(&text),
        SessionHeader::parse(&text),
        RtpInfo::parse_list(&text),
    );
    let _ = (
        Challenge::parse_list(&text),
        Target::parse(&text).base("rtsp://x"),
        control::resolve(&text, Some(&text)),
    );
    let _ = control::base("rtsp://h/p", Some(&text), None);
    let _ = ServerAuth::new("r", "n", true).attempt(&text, "PLAY", "rtsp://h/p");
    let credentials = Credentials {
        user: "u".into(),
        password: "p".into(),
    };
    let mut auth = ClientAuth::new(Some(credentials), true, [0; 16]);
    if auth.challenge([&*text].into_iter()).is_ok() {
        let _ = auth.authorize("PLAY", &text);
    }
    if let Ok(sdp) = Sdp::parse(bytes) {
        let _ = Rewrite {
            base: &text,
            title: &text,
            session_id: 0,
            extras: &[],
        }
        .print_public(&sdp);
        for media in &sdp.media {
            if let Some(mut depacketizer) = Depacketizer::new(media) {
                depacketizer.push(&Bytes::copy_from_slice(bytes), false);
            }
        }
    }
    let _ = (RtpHeader::parse(bytes), parse_compound(bytes));
    let _ = (
        Sps264::parse(bytes),
        Sps265::parse(bytes),
        AudioConfig::parse(bytes),
    );
    for codec in [Codec::H264, Codec::H265, Codec::Aac] {
        let mut marker = TrackMarker::new(codec);
        for packet in bytes.chunks(40) {
            marker.mark(packet);
        }
    }
}

fn sessions(bytes: &[u8], split: usize) {
    let mut server = ServerSession::new(ServerConfig::new("r", "n", "s"), Duration::ZERO);
    let mut camera = common::Camera::new();
    let mut client = ClientSession::new(common::config(), Duration::ZERO);
    let mut playing = ClientSession::new(common::config(), Duration::ZERO);
    common::playing(&mut playing, &mut camera, common::SDP);
    let mut ends = 0;
    for read in bytes.chunks(split.max(1)) {
        server.buffer().extend_from_slice(read);
        while server.poll(Duration::ZERO).is_some() {
            server.reject(404, None);
            server.secret(None, || true);
        }
        for session in [&mut client, &mut playing] {
            session.buffer().extend_from_slice(read);
            let events = common::events(session, Duration::ZERO);
            ends += events
                .iter()
                .filter(|event| matches!(event, ClientEvent::Closed(_)))
                .count();
            session.take_output();
        }
    }
    assert!(ends <= 2);
}

fn seeds() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seeds");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

#[test]
fn seeds_and_each_cut_of_them() {
    for seed in seeds() {
        sessions(&seed, seed.len());
        for end in 0..=seed.len() {
            all_parsers(&seed[..end]);
        }
    }
}

proptest! {
    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), split in 1usize..400) {
        all_parsers(&bytes);
        sessions(&bytes, split);
    }

    #[test]
    fn mutated_seeds(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..8, prop::collection::vec(any::<u8>(), 0..8)), 0..6),
        split in 1usize..2000,
    ) {
        let seeds = seeds();
        let mut bytes = which.get(&seeds).clone();
        for (at, remove, insert) in edits {
            let at = at.index(bytes.len() + 1);
            let to = (at + remove).min(bytes.len());
            bytes.splice(at..to, insert);
        }
        all_parsers(&bytes);
        sessions(&bytes, split);
    }
}
