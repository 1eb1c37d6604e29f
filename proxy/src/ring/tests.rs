use std::time::Duration;

use bytes::Bytes;
use moorline_rtsp::nal::Marks;
use proptest::prelude::*;

use super::{Fetch, FrameKind, MOST_CHUNKS, MOST_FRAMES, Position, Ring};
use crate::config::RingLimits;

const FRAME: Duration = Duration::from_millis(40);

fn marks(sequence: u16, timestamp: u32) -> Marks {
    Marks {
        sequence,
        timestamp,
        ssrc: 7,
        au_start: true,
        au_end: true,
        idr: false,
        parameter_sets: false,
        disposable: false,
        damaged: false,
        gap: 0,
        jumped: false,
    }
}

/// Pushes pictures of so many packets; every `gop`-th is a key frame.
fn push(ring: &mut Ring, number: u32, packets: u32, size: usize, gop: u32) {
    let now = FRAME * number;
    for packet in 0..packets {
        let marks = Marks {
            au_start: packet == 0,
            au_end: packet + 1 == packets,
            // The slice of a key frame comes behind its parameter sets.
            idr: number.is_multiple_of(gop) && packet == packets.min(2) - 1,
            ..marks((number * packets + packet) as u16, number * 3600)
        };
        ring.packet(now, 0, &vec![0x80; size.max(12)], marks, true);
    }
}

fn bytes_kept(ring: &Ring) -> usize {
    ring.marks_from(Position { chunk: 0, frame: 0 })
        .map(|(_, mark)| mark.end - mark.start)
        .sum()
}

#[test]
fn chunks_end_with_pictures_and_at_16_kib() {
    let mut ring = Ring::new(RingLimits::default());
    push(&mut ring, 0, 3, 1000, 10);
    assert_eq!(ring.next_index(), 1);
    push(&mut ring, 1, 40, 1000, 10);
    assert_eq!(ring.next_index(), 4, "16, 16 and 8 KiB");
    let Fetch::Chunk(chunk) = ring.fetch(0) else {
        panic!("it is there");
    };
    assert_eq!(&chunk.data[..4], [b'$', 0, 3, 0xe8]);
    assert_eq!(&chunk.data[12..16], [0, 0, 0, 7], "our SSRC");
    assert!(chunk.frames[0].key, "the first packet of a key picture");
    assert!(matches!(ring.fetch(4), Fetch::NotYet));
}

#[test]
fn the_last_group_is_pinned_up_to_its_bounds() {
    let mut ring = Ring::new(RingLimits::default());
    // A group of 8 s: older than what laggards get, younger than the bound.
    for number in 0..200 {
        push(&mut ring, number, 1, 1000, 1000);
    }
    assert_eq!(ring.last_key(), Some(Position { chunk: 0, frame: 0 }));
    for number in 200..300 {
        push(&mut ring, number, 1, 1000, 1000);
    }
    assert_eq!(
        ring.last_key(),
        None,
        "12 s: a new reader waits for the next"
    );
    assert!(matches!(ring.fetch(0), Fetch::Overrun));
    let young = ring.next_index() - 70;
    assert!(
        matches!(ring.fetch(young), Fetch::Chunk(_)),
        "laggards have 3 s"
    );
}

#[test]
fn a_new_read_of_the_camera_offers_no_old_beginning() {
    let mut ring = Ring::new(RingLimits::default());
    push(&mut ring, 0, 2, 100, 5);
    assert!(ring.last_key().is_some());
    ring.new_epoch(FRAME);
    assert_eq!(ring.last_key(), None);
    push(&mut ring, 6, 2, 100, 5);
    assert_eq!(ring.last_key(), None, "no key frame yet");
    push(&mut ring, 10, 2, 100, 5);
    let Fetch::Chunk(chunk) = ring.fetch(ring.last_key().unwrap().chunk) else {
        panic!("it is there");
    };
    assert_eq!(chunk.epoch, 1);
}

#[test]
fn a_key_frame_that_comes_short_is_no_beginning() {
    let mut ring = Ring::new(RingLimits::default());
    push(&mut ring, 0, 2, 100, 5);
    let good = ring.last_key();
    ring.packet(
        FRAME,
        0,
        &[0x80; 100],
        Marks {
            idr: true,
            au_end: false,
            ..marks(9, 9)
        },
        true,
    );
    ring.lost(0, Some(9), false, true);
    ring.flush(FRAME);
    assert_eq!(ring.last_key(), good);
    let lost = ring
        .marks_from(good.unwrap())
        .any(|(_, mark)| matches!(mark.kind, FrameKind::Lost { .. }));
    assert!(lost, "readers are told");
}

/// P9: what packets cost beside their bytes is bounded too.
#[test]
fn a_camera_of_tiny_packets_fills_no_memory() {
    let mut ring = Ring::new(RingLimits::default());
    // With a key frame before it all of it is pinned, by its bytes and age.
    push(&mut ring, 0, 1, 100, 1000);
    for number in 0..2 * MOST_CHUNKS as u32 {
        ring.packet(FRAME, 1, &[0x80; 13], marks(number as u16, number), false);
    }
    assert_eq!(ring.chunks.len(), MOST_CHUNKS, "of sound, each a chunk");
    for number in 0..2 * MOST_FRAMES as u32 {
        let part = Marks {
            au_start: false,
            au_end: false,
            ..marks(number as u16, 7)
        };
        ring.packet(FRAME, 0, &[0x80; 13], part, true);
    }
    ring.flush(FRAME);
    assert!(ring.frames <= MOST_FRAMES, "{} of a picture", ring.frames);
    let kept: usize = ring.chunks.iter().map(|chunk| chunk.frames.len()).sum();
    assert_eq!(ring.frames, kept);
    let last = ring.next_index() - 1;
    assert!(matches!(ring.fetch(last), Fetch::Chunk(_)), "the present");
    ring.clear(FRAME);
    assert_eq!((ring.frames, ring.bytes), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn memory_is_bounded_and_every_chunk_is_there_or_forgotten(
        pictures in prop::collection::vec((1u32..20, 12usize..1400), 1..300),
        gop in 1u32..400,
        bound in 10_000usize..200_000,
    ) {
        let limits = RingLimits {
            pinned_bytes: bound,
            history_bytes: bound / 2,
            ..RingLimits::default()
        };
        let mut ring = Ring::new(limits);
        for (number, (packets, size)) in pictures.into_iter().enumerate() {
            push(&mut ring, number as u32, packets, size, gop);
            prop_assert_eq!(ring.bytes, bytes_kept(&ring));
            prop_assert!(ring.bytes <= bound, "{} kept", ring.bytes);
            if let Some(key) = ring.last_key() {
                prop_assert!(matches!(ring.fetch(key.chunk), Fetch::Chunk(_)));
            }
            let mut seen = false;
            for index in 0..ring.next_index() {
                let there = matches!(ring.fetch(index), Fetch::Chunk(_));
                prop_assert!(there || !seen, "no hole behind what is kept");
                seen |= there;
            }
        }
    }
}

#[test]
fn what_a_reader_holds_outlives_the_ring() {
    let mut ring = Ring::new(RingLimits::default());
    push(&mut ring, 0, 1, 500, 1);
    let Fetch::Chunk(chunk) = ring.fetch(0) else {
        panic!("it is there");
    };
    let held: Bytes = chunk.data.slice(..);
    ring.clear(FRAME);
    assert!(matches!(ring.fetch(0), Fetch::Overrun));
    assert_eq!(held.len(), 504);
}
