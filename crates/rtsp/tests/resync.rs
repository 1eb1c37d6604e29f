//! Framing of a camera that loses bytes (docs/design/relay.md, Resync). Also the same result however the reads are split.
#![allow(missing_docs)]

mod common;

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use bytes::BytesMut;
use common::{Piece, SSRC, frame, rtp, stream};
use moorline_rtsp::interleaved::{ChannelMap, Event, ResyncDemux, ResyncLimits};
use proptest::prelude::*;

fn demux() -> ResyncDemux {
    let mut map = ChannelMap::default();
    map.add(0, 1, &[96]);
    map.add(2, 3, &[8]);
    let mut demux = ResyncDemux::new(ResyncLimits {
        max_per_minute: 100_000,
        ..ResyncLimits::default()
    });
    demux.set_channels(map);
    demux
}

/// Feeds reads one after the other.
fn run(demux: &mut ResyncDemux, reads: &[&[u8]]) -> Vec<Event> {
    let mut buf = BytesMut::new();
    let mut all = Vec::new();
    for read in reads {
        buf.extend_from_slice(read);
        while let Some(event) = demux
            .next(&mut buf, Duration::ZERO)
            .expect("no limit is reached")
        {
            all.push(event);
        }
    }
    all
}

fn frames(events: &[Event]) -> Vec<(u8, Vec<u8>)> {
    let frame = |event: &Event| match event {
        Event::Frame(frame) => Some((frame.channel, frame.packet.to_vec())),
        _ => None,
    };
    events.iter().filter_map(frame).collect()
}

fn bytes(pieces: &[Piece]) -> Vec<u8> {
    pieces
        .iter()
        .flat_map(|piece| piece.bytes.clone())
        .collect()
}

fn sent(pieces: &[Piece]) -> Vec<(u8, Vec<u8>)> {
    pieces
        .iter()
        .map(|piece| (piece.channel, piece.bytes[4..].to_vec()))
        .collect()
}

/// Access units of which a video or audio frame is missing, and whether all that came was sent so.
fn lost_units(pieces: &[Piece], got: &[(u8, Vec<u8>)]) -> BTreeSet<usize> {
    let all = sent(pieces);
    for frame in got {
        assert!(
            all.contains(frame),
            "a frame that was never sent: {frame:?}"
        );
    }
    pieces
        .iter()
        .zip(&all)
        .filter(|(_, frame)| !got.contains(frame))
        .map(|(piece, _)| piece.unit)
        .collect()
}

#[test]
fn every_split_gives_the_same_frames() {
    let pieces = stream(9);
    let whole = bytes(&pieces);
    for at in 0..=whole.len() {
        let events = run(&mut demux(), &[&whole[..at], &whole[at..]]);
        assert_eq!(frames(&events), sent(&pieces), "split at {at}");
    }
    let single: Vec<&[u8]> = whole.chunks(1).collect();
    assert_eq!(frames(&run(&mut demux(), &single)), sent(&pieces));
}

#[test]
fn the_tail_of_any_frame_lost_costs_one_picture_and_never_delivers_a_wrong_length() {
    let pieces = stream(9);
    let first = 6; // one IDR and its audio have come whole: the sources are known
    // A frame that is cut right before the stream ends may end exactly there; nothing can tell then.
    for (index, piece) in pieces.iter().enumerate().take(pieces.len() - 4).skip(first) {
        for keep in 0..piece.bytes.len() {
            // The lost tail is exactly as long as the frames that follow: the false end is a true start, and nothing can tell.
            let lost = piece.bytes.len() - keep;
            let mut behind = 0;
            if pieces[index + 1..].iter().any(|next| {
                behind += next.bytes.len();
                behind == lost
            }) {
                continue;
            }
            let mut cut = pieces.clone();
            cut[index].bytes.truncate(keep);
            let whole = bytes(&cut);
            for reads in [
                vec![&whole[..]],
                whole.chunks(1).collect(),
                whole.chunks(97).collect(),
            ] {
                let mut demux = demux();
                let events = run(&mut demux, &reads);
                let mut got = frames(&events);
                // Where a read ends exactly at the false end, one frame of a wrong length may pass (step 3).
                if reads.len() > 1 {
                    got.retain(|frame| sent(&pieces).contains(frame));
                }
                let lost = lost_units(&pieces, &got);
                let reads = reads.len();
                assert!(
                    lost.len() <= 1,
                    "frame {index} cut to {keep}, {reads} reads: lost {lost:?} {demux:?}"
                );
            }
        }
    }
}

#[test]
fn bytes_lost_inside_a_frame_cost_one_picture() {
    let pieces = stream(9);
    for (index, piece) in pieces.iter().enumerate().skip(6).take(20) {
        for from in 4..piece.bytes.len() {
            for count in [1, 2, 5, 13] {
                let mut cut = pieces.clone();
                let to = (from + count).min(piece.bytes.len());
                cut[index].bytes.drain(from..to);
                if pieces[index + 1].bytes.len() == to - from {
                    continue;
                }
                let whole = bytes(&cut);
                let events = run(&mut demux(), &[&whole]);
                let lost = lost_units(&pieces, &frames(&events));
                assert!(
                    lost.len() <= 1,
                    "frame {index}, {from}..{to}: lost {lost:?}"
                );
            }
        }
    }
}

#[test]
fn a_short_packet_is_told_as_damage_before_what_follows() {
    let pieces = stream(9);
    let mut cut = pieces.clone();
    let short = cut[14].bytes.len() - 5;
    cut[14].bytes.truncate(short);
    let events = run(&mut demux(), &[&bytes(&cut)]);
    let damage = events.iter().find_map(|event| match event {
        Event::Damaged(damage) => Some(damage.clone()),
        _ => None,
    });
    let damage = damage.expect("damage is told");
    let packet = &pieces[14].bytes[4..];
    assert_eq!(
        damage.sequence,
        Some(u16::from_be_bytes([packet[2], packet[3]]))
    );
    assert_eq!(
        damage.timestamp,
        Some(u32::from_be_bytes(packet[4..8].try_into().unwrap()))
    );
    assert!(!damage.published);
}

#[test]
fn a_repeated_write_loses_nothing() {
    let pieces = stream(9);
    for keep in 16..pieces[14].bytes.len() {
        let mut twice = pieces.clone();
        let begun = pieces[14].bytes[..keep].to_vec();
        twice[14].bytes = [begun, pieces[14].bytes.clone()].concat();
        let mut demux = demux();
        let events = run(&mut demux, &[&bytes(&twice)]);
        assert_eq!(frames(&events), sent(&pieces), "begun with {keep} bytes");
        assert!(
            !events
                .iter()
                .any(|event| matches!(event, Event::Damaged(_)))
        );
        assert_eq!(demux.statistics().resync_total, 1);
    }
}

#[test]
fn a_frame_that_comes_twice_is_delivered_once() {
    let pieces = stream(9);
    let mut twice = pieces.clone();
    twice[14].bytes = pieces[14].bytes.repeat(2);
    let mut demux = demux();
    assert_eq!(frames(&run(&mut demux, &[&bytes(&twice)])), sent(&pieces));
    assert_eq!(demux.statistics().repeated_frames, 1);
}

#[test]
fn a_read_that_ends_exactly_at_the_false_end_lets_one_through_and_says_so() {
    let pieces = stream(9);
    let short = 6 + pieces
        .iter()
        .skip(6)
        .position(|piece| piece.channel == 0)
        .unwrap();
    for keep in 16..pieces[short].bytes.len() {
        let mut cut = pieces.clone();
        cut[short].bytes.truncate(keep);
        let whole = bytes(&cut);
        let false_end = bytes(&cut[..short]).len() + pieces[short].bytes.len();
        let mut demux = demux();
        let events = run(&mut demux, &[&whole[..false_end], &whole[false_end..]]);
        let mut got = frames(&events);
        let before = got.len();
        got.retain(|frame| sent(&pieces).contains(frame));
        assert_eq!(before - got.len(), 1, "kept {keep}");
        assert_eq!(lost_units(&pieces, &got).len(), 1);
        let published =
            |event: &&Event| matches!(event, Event::Damaged(damage) if damage.published);
        assert_eq!(events.iter().filter(published).count(), 1);
        assert_eq!(demux.statistics().resync_total, 1);
    }
}

#[test]
fn a_reply_is_found_behind_lost_bytes() {
    let pieces = stream(5);
    let mut cut = bytes(&pieces);
    cut.truncate(cut.len() - 3);
    cut.extend(b"RTSP/1.0 200 OK\r\nCSeq: 9\r\n\r\n");
    cut.extend(bytes(&stream(1)));
    let events = run(&mut demux(), &[&cut]);
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Message(message) if message.cseq() == Some(9)))
    );
}

#[test]
fn strays_are_dropped_without_a_search() {
    let video = |sequence, pt| frame(0, &rtp(SSRC, pt, sequence, 5, true, &[0x41, 1, 2, 3]));
    let mut all = video(1, 96);
    all.extend(video(50, 50)); // pt=50
    all.extend(frame(9, &[0x80, 200, 0, 0, 1, 2, 3, 4]));
    all.extend(video(2, 96));
    let mut unknown_report = vec![0x80, 201, 0, 1];
    unknown_report.extend([9, 9, 9, 9]);
    all.extend(frame(1, &unknown_report)); // RTCP with an unknown SSRC
    let far = video(2u16.wrapping_add(0x9000), 96); // a sequence jump above 0x8000
    all.extend(far);
    let mut demux = demux();
    let events = run(&mut demux, &[&all]);
    assert_eq!(frames(&events).len(), 4);
    let statistics = demux.statistics();
    assert_eq!(
        (
            statistics.resync_total,
            statistics.stray_frames,
            statistics.bytes_skipped
        ),
        (0, 2, 0)
    );
}

#[test]
fn a_new_source_seen_twice_is_a_restart_and_seen_once_a_stray() {
    let packet = |ssrc, sequence| frame(0, &rtp(ssrc, 96, sequence, 5, true, &[0x41, 1, 2, 3]));
    let restart = [
        packet(SSRC, 1),
        packet(7, 100),
        packet(7, 101),
        packet(7, 102),
    ]
    .concat();
    let events = run(&mut demux(), &[&restart]);
    assert_eq!(frames(&events).len(), 4);
    let changed = events
        .iter()
        .position(|event| matches!(event, Event::SourceChanged { track: 0, ssrc: 7 }));
    assert_eq!(changed, Some(1));

    let stray = [
        packet(SSRC, 1),
        packet(7, 100),
        packet(SSRC, 2),
        packet(SSRC, 3),
    ]
    .concat();
    let mut demux = demux();
    assert_eq!(frames(&run(&mut demux, &[&stray])).len(), 3);
    assert_eq!(demux.statistics().stray_frames, 1);
}

#[test]
fn packets_of_10_000_bytes_pass() {
    let big = frame(0, &rtp(SSRC, 96, 1, 5, true, &vec![0x24; 10_000]));
    let all = [
        big.clone(),
        frame(0, &rtp(SSRC, 96, 2, 5, true, &[0x41; 10_000])),
    ]
    .concat();
    let reads: Vec<&[u8]> = all.chunks(1448).collect();
    assert_eq!(frames(&run(&mut demux(), &reads)).len(), 2);
}

#[test]
fn garbage_is_given_up_after_its_limits() {
    let mut demux = demux();
    let mut buf = BytesMut::new();
    let mut lost = None;
    for n in 0..600 {
        buf.extend_from_slice(&[0xab; 1024]);
        if let Err(error) = demux.next(&mut buf, Duration::from_millis(n)) {
            lost = Some(error);
            break;
        }
        assert!(buf.len() <= 300 * 1024);
    }
    assert!(lost.expect("gives up").skipped > 256 * 1024);

    let mut demux = self::demux();
    let mut buf = BytesMut::from(&[0xab; 1024][..]);
    assert_eq!(demux.next(&mut buf, Duration::ZERO), Ok(None));
    assert_eq!(demux.deadline(), Some(Duration::from_secs(2)));
    assert!(demux.next(&mut buf, Duration::from_secs(2)).is_err());

    let mut often = ResyncDemux::new(ResyncLimits {
        max_per_minute: 3,
        ..ResyncLimits::default()
    });
    often.set_channels(self::demux().channels().clone());
    let pieces = stream(20);
    let garbage = |n: usize| if n % 5 == 4 { vec![0xee; 3] } else { vec![] };
    let broken: Vec<u8> = pieces
        .iter()
        .enumerate()
        .flat_map(|(n, p)| [p.bytes.clone(), garbage(n)].concat())
        .collect();
    let mut buf = BytesMut::from(&broken[..]);
    let error = loop {
        match often.next(&mut buf, Duration::ZERO) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("three searches a minute are allowed"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason, "too many searches in a minute");
}

proptest! {
    #[test]
    fn any_splits_give_the_same(cuts in prop::collection::vec(0usize..4000, 0..12)) {
        let pieces = stream(12);
        let whole = bytes(&pieces);
        let mut places: Vec<usize> = cuts.into_iter().map(|cut| cut % whole.len()).collect();
        places.sort_unstable();
        let mut reads: Vec<&[u8]> = Vec::new();
        let mut from = 0;
        for place in places {
            reads.push(&whole[from..place]);
            from = place;
        }
        reads.push(&whole[from..]);
        prop_assert_eq!(frames(&run(&mut demux(), &reads)), sent(&pieces));
    }

    #[test]
    fn damaged_streams_never_panic_and_come_back(
        damage in prop::collection::vec((0usize..6000, 0usize..60, prop::collection::vec(any::<u8>(), 0..30)), 0..6),
        chunk in 8usize..2000,
    ) {
        let pieces = stream(640);
        let mut whole = bytes(&pieces);
        for (at, remove, insert) in damage {
            let to = (at + remove).min(whole.len());
            whole.splice(at..to, insert);
        }
        let reads: Vec<&[u8]> = whole.chunks(chunk).collect();
        let got: HashSet<_> = frames(&run(&mut demux(), &reads)).into_iter().collect();
        // The damage lies in the first 6 KB, and a length that was damaged is waited for: 64 KiB at most. The end of the stream arrives.
        let all = sent(&pieces);
        for frame in &all[all.len() * 3 / 4..] {
            prop_assert!(got.contains(frame), "{:?}", frame);
        }
    }
}
