use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use moorline_base::SystemClock;
use moorline_core::{Generation, SourceName};
use moorline_rtsp::client::{ClientEvent, PlayingTrack};
use moorline_rtsp::interleaved::{Item, StrictDemux};
use moorline_rtsp::nal::{Marks, TrackMarker};
use moorline_rtsp::sdp::{Codec, Sdp};
use moorline_rtsp::server::SetUpTrack;

use super::*;
use crate::config::RingLimits;
use crate::metrics::ProxyMetrics;
use crate::source::Publisher;

const SDP: &[u8] = b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
/// Packets of one picture, and pictures of one group.
const PACKETS: u32 = 40;
const GROUP: u32 = 5;

pub(in crate::reader) fn playing(limits: RingLimits) -> (Arc<Source>, Publisher) {
    let source = Source::new(
        "yard".parse().unwrap(),
        SourceName::Main,
        SystemClock::shared(),
        limits,
        ProxyMetrics::default(),
    );
    let publisher = Publisher::new(&source, Generation(1));
    let media = Sdp::parse(SDP).unwrap().media.remove(0);
    let track = PlayingTrack {
        media_index: 0,
        media,
        rtp_info: None,
    };
    publisher.publish(&mut vec![ClientEvent::Playing(vec![track])]);
    (source, publisher)
}

/// One picture of a camera: 40 packets of 1000 bytes.
pub(in crate::reader) fn picture(publisher: &Publisher, number: u32) {
    for packet in 0..PACKETS {
        let mut bytes = vec![0x80, 96];
        bytes.extend(((number * PACKETS + packet) as u16).to_be_bytes());
        bytes.extend((number * 3600).to_be_bytes());
        bytes.extend(9u32.to_be_bytes());
        let key = number.is_multiple_of(GROUP);
        bytes.push(if key { 0x65 } else { 0x41 });
        bytes.resize(1000, 7);
        let marks = Marks {
            sequence: (number * PACKETS + packet) as u16,
            timestamp: number * 3600,
            ssrc: 9,
            au_start: packet == 0,
            au_end: packet + 1 == PACKETS,
            idr: key && packet == 0,
            parameter_sets: false,
            disposable: false,
            damaged: false,
            gap: 0,
            jumped: false,
        };
        let packet = Bytes::from(bytes);
        publisher.publish(&mut vec![ClientEvent::Packet {
            track: 0,
            packet,
            marks,
        }]);
    }
}

pub(in crate::reader) fn feed(source: &Arc<Source>, rtp: u8) -> Feed {
    reader(source, rtp, Wanted::Group)
}

fn reader(source: &Arc<Source>, rtp: u8, wanted: Wanted) -> Feed {
    let layout = source.ready().expect("it plays");
    let track = SetUpTrack {
        track: 0,
        rtp,
        rtcp: rtp + 1,
    };
    Feed::new(source, &layout, &[track], wanted).0
}

/// One of the packets of a picture without end: a byte of media.
fn tiny(publisher: &Publisher, number: u32) {
    let sequence = (PACKETS + number) as u16;
    let mut bytes = vec![0x80, 96];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(3600u32.to_be_bytes());
    bytes.extend(9u32.to_be_bytes());
    bytes.push(0x41);
    let marks = Marks {
        sequence,
        timestamp: 3600,
        ssrc: 9,
        au_start: number == 0,
        au_end: false,
        idr: false,
        parameter_sets: false,
        disposable: false,
        damaged: false,
        gap: 0,
        jumped: false,
    };
    publisher.publish(&mut vec![ClientEvent::Packet {
        track: 0,
        packet: Bytes::from(bytes),
        marks,
    }]);
}

/// What a reader gets of media: channel and marks.
fn seen(mut bytes: BytesMut) -> Vec<(u8, Marks)> {
    let mut demux = StrictDemux::new(65_535);
    let mut marker = TrackMarker::new(Codec::H264);
    let mut all = Vec::new();
    while let Some(item) = demux.next(&mut bytes).expect("whole frames") {
        let Item::Frame(channel, packet) = item else {
            panic!("no message");
        };
        let is_report = !channel.is_multiple_of(2);
        if is_report {
            continue;
        }
        all.push((channel, marker.mark(&packet).expect("RTP")));
    }
    assert!(bytes.is_empty(), "nothing is cut");
    all
}

/// P5, P6.
#[test]
fn a_stalled_reader_holds_little_and_gets_whole_pictures_and_a_key_frame() {
    let limits = RingLimits {
        pinned_bytes: 250_000,
        history_bytes: 250_000,
        ..RingLimits::default()
    };
    let (source, publisher) = playing(limits);
    let mut feed = feed(&source, 0);
    let mut outbox = Outbox::default();
    let mut most = 0;
    for number in 0..60 {
        picture(&publisher, number);
        if feed.wants(&outbox) {
            feed.fill(&mut outbox).unwrap();
        }
        most = most.max(outbox.bytes());
    }
    assert!(most < 2 * QUEUED, "{most} bytes are held");
    // It reads again, and falls behind by nothing more.
    let mut got = BytesMut::new();
    loop {
        drain(&mut outbox, &mut got);
        if !feed.fill(&mut outbox).unwrap() {
            break;
        }
    }
    assert_eq!(feed.jumps, 1);
    let seen = seen(got);
    let pictures: Vec<_> = seen
        .chunk_by(|a, b| a.1.timestamp == b.1.timestamp)
        .collect();
    assert!(
        pictures
            .iter()
            .all(|packets| packets.len() == PACKETS as usize),
        "whole pictures"
    );
    let gap = pictures
        .iter()
        .position(|packets| packets[0].1.gap > 0)
        .expect("a jump");
    assert!(gap > 0 && pictures[gap][0].1.idr);
    assert_eq!(
        pictures.len() - gap,
        GROUP as usize,
        "from the last key frame to the present"
    );
}

/// All that is there for this reader, picture by picture.
fn read_on(feed: &mut Feed) -> Vec<Vec<Marks>> {
    let mut outbox = Outbox::default();
    let mut got = BytesMut::new();
    while feed.fill(&mut outbox).unwrap() {
        drain(&mut outbox, &mut got);
    }
    drain(&mut outbox, &mut got);
    let marks: Vec<Marks> = seen(got).into_iter().map(|(_, marks)| marks).collect();
    marks
        .chunk_by(|a, b| a.timestamp == b.timestamp)
        .map(<[Marks]>::to_vec)
        .collect()
}

/// Room for 22 pictures that no machine is too slow for.
fn four_groups() -> RingLimits {
    RingLimits {
        pinned_bytes: 250_000,
        history_bytes: 900_000,
        history_time: Duration::from_secs(3600),
        ..RingLimits::default()
    }
}

#[track_caller]
fn assert_whole(pictures: &[Vec<Marks>]) {
    let mut packets = pictures.iter().map(Vec::len);
    assert!(packets.all(|packets| packets == PACKETS as usize));
    let mut within = pictures.iter().flatten().skip(1);
    assert!(within.all(|marks| marks.gap == 0), "nothing is left out");
}

#[test]
fn an_archiver_that_comes_back_begins_with_the_first_key_frame_that_it_has_not_read() {
    let (source, publisher) = playing(four_groups());
    let mut first = reader(&source, 0, Wanted::Unread);
    for number in 0..8 {
        picture(&publisher, number);
    }
    assert_eq!(read_on(&mut first).len(), 8);
    drop(first);
    for number in 8..24 {
        picture(&publisher, number);
    }
    let mut second = reader(&source, 0, Wanted::Unread);
    let pictures = read_on(&mut second);
    assert!(pictures[0][0].idr);
    assert_eq!(pictures.len(), 14, "from the eleventh on, and none twice");
    assert_whole(&pictures);
}

#[test]
fn an_archiver_that_falls_behind_goes_on_with_the_oldest_key_frame_that_is_kept() {
    let (source, publisher) = playing(four_groups());
    let mut archiver = reader(&source, 0, Wanted::Unread);
    for number in 0..60 {
        picture(&publisher, number);
    }
    let pictures = read_on(&mut archiver);
    assert_eq!(archiver.jumps, 1);
    assert!(pictures[0][0].idr);
    assert_eq!(pictures.len(), 4 * GROUP as usize, "all whole groups");
    assert_whole(&pictures);
}

/// P5.
#[test]
fn a_stalled_reader_of_tiny_packets_holds_few_slices() {
    let (source, publisher) = playing(RingLimits::default());
    picture(&publisher, 0);
    // Two slices of each packet: the reader's own header, and the rest.
    let mut feed = feed(&source, 10);
    let mut outbox = Outbox::default();
    for number in 0..30_000 {
        tiny(&publisher, number);
        feed.fill(&mut outbox).unwrap();
    }
    let slices = outbox.slices();
    assert!((SLICES..SLICES * 5 / 4).contains(&slices), "{slices}");
    assert!(outbox.bytes() < PICTURE / 4, "{}", outbox.bytes());
    assert!(
        !feed.wants(&outbox),
        "nobody calls it until some is written"
    );
}

fn drain(outbox: &mut Outbox, into: &mut BytesMut) {
    while !outbox.is_done() {
        let mut sink = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        outbox.write_now(&mut sink, &mut context).unwrap();
        into.extend_from_slice(&sink);
    }
}

#[test]
fn another_channel_costs_the_reader_its_own_headers_only() {
    let (source, publisher) = playing(RingLimits::default());
    let mut feed = feed(&source, 10);
    let mut outbox = Outbox::default();
    picture(&publisher, 0);
    feed.fill(&mut outbox).unwrap();
    let mut got = BytesMut::new();
    drain(&mut outbox, &mut got);
    let seen = seen(got);
    assert_eq!(seen.len(), PACKETS as usize);
    assert!(seen.iter().all(|(channel, _)| *channel == 10));
    assert!(seen.windows(2).all(|pair| pair[1].1.gap == 0));
}
