//! Random pictures, sounds and answers against random reading: what leaves is whole, and goes on where a decoder may begin.

use std::time::Duration;

use proptest::prelude::*;

use crate::relay::pool::{Next, Pool};
use crate::relay::queue::Kind;

/// One picture: whether a decoder may begin with it, how many frames, how big each.
#[derive(Debug, Clone)]
struct Picture {
    idr: bool,
    /// Whether a delimiter leads to it: its first frame.
    led: bool,
    frames: u8,
    size: usize,
}

#[derive(Debug, Clone)]
enum Step {
    Picture(Picture),
    Audio,
    Answer,
    /// The uplink takes so many batches.
    Read(u8),
    /// Time passes, in milliseconds.
    Pass(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let picture = (
        prop::bool::weighted(0.2),
        any::<bool>(),
        1u8..6,
        1usize..400,
    )
        .prop_map(|(idr, led, frames, size)| {
            let frames = frames + u8::from(led);
            Step::Picture(Picture {
                idr,
                led,
                frames,
                size,
            })
        });
    let step = prop_oneof![
        6 => picture,
        1 => Just(Step::Audio),
        1 => Just(Step::Answer),
        3 => (0u8..6).prop_map(Step::Read),
        1 => (0u16..900).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..200)
}

/// What was put into a frame, read back from what left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag {
    what: u8,
    number: u32,
    part: u8,
}

const LENGTH: usize = 8;

fn frame(tag: Tag, size: usize) -> Vec<u8> {
    let mut bytes = vec![tag.what];
    bytes.extend(tag.number.to_be_bytes());
    bytes.push(tag.part);
    bytes.extend(u16::try_from(size).unwrap().to_be_bytes());
    bytes.resize(LENGTH + size, 7);
    bytes
}

fn unpack(mut bytes: &[u8]) -> Vec<Tag> {
    let mut tags = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<LENGTH>() {
        let size = usize::from(u16::from_be_bytes([head[6], head[7]]));
        tags.push(Tag {
            what: head[0],
            number: u32::from_be_bytes([head[1], head[2], head[3], head[4]]),
            part: head[5],
        });
        bytes = rest.get(size..).expect("half a frame left the queue");
    }
    assert_eq!(bytes, b"", "half a frame left the queue");
    tags
}

const LIMIT: usize = 3_000;

/// Runs the steps; gives the pictures that came in, what left, and the count of dropped pictures.
fn run(steps: &[Step]) -> (Vec<Picture>, Vec<Tag>, u64, u32, bool) {
    let mut pool = Pool::new(LIMIT);
    pool.open(1);
    let (mut now, mut left, mut dropped) = (Duration::from_secs(1), Vec::new(), 0);
    let (mut pictures, mut answers, mut overflow) = (Vec::<Picture>::new(), 0, false);
    for step in steps {
        let mut push = |pool: &mut Pool, bytes, kind| {
            let pushed = pool.push(1, bytes, kind, now);
            dropped += pushed.dropped;
            overflow |= pushed.overflow.is_some();
            assert!(pool.bytes() <= LIMIT, "the bound: {}", pool.bytes());
        };
        match step {
            Step::Picture(picture) => {
                let number = u32::try_from(pictures.len()).unwrap();
                for part in 0..picture.frames {
                    // As H.264 does: only the first packet of a picture shows what it is.
                    let kind = Kind::Video {
                        channel: 0,
                        timestamp: number,
                        random_access: picture.idr && part == u8::from(picture.led),
                        prefix: picture.led && part == 0,
                    };
                    push(
                        &mut pool,
                        frame(
                            Tag {
                                what: b'v',
                                number,
                                part,
                            },
                            picture.size,
                        ),
                        kind,
                    );
                }
                pictures.push(picture.clone());
            }
            Step::Audio => {
                let tag = Tag {
                    what: b'a',
                    number: 0,
                    part: 0,
                };
                push(&mut pool, frame(tag, 40), Kind::Audio(now));
            }
            Step::Answer => {
                let tag = Tag {
                    what: b't',
                    number: answers,
                    part: 0,
                };
                push(&mut pool, frame(tag, 1), Kind::Kept);
                answers += 1;
            }
            Step::Read(batches) => {
                for _ in 0..*batches {
                    if let Next::Bytes(bytes) = pool.next(1, 300) {
                        left.extend(unpack(&bytes));
                    }
                }
            }
            Step::Pass(millis) => now += Duration::from_millis(u64::from(*millis)),
        }
        if overflow {
            break;
        }
    }
    while let Next::Bytes(bytes) = pool.next(1, 300) {
        left.extend(unpack(&bytes));
    }
    (pictures, left, dropped.into(), answers, overflow)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn only_whole_pictures_leave_and_after_each_gap_the_next_one_begins_a_decoder(steps in steps()) {
        let (pictures, left, dropped, answers, overflow) = run(&steps);
        // Answers alone may not exceed the bound here: then the connection ends, and what left is still whole.
        prop_assume!(!overflow);
        let video: Vec<Tag> = left.iter().filter(|tag| tag.what == b'v').copied().collect();
        let mut seen: Vec<u32> = Vec::new();
        for tag in &video {
            if seen.last() != Some(&tag.number) {
                seen.push(tag.number);
            }
        }
        for pair in seen.windows(2) {
            prop_assert!(pair[0] < pair[1], "order: {pair:?}");
            let next = &pictures[usize::try_from(pair[1]).unwrap()];
            prop_assert!(pair[1] == pair[0] + 1 || next.idr, "picture {} follows {} and begins nothing", pair[1], pair[0]);
        }
        for number in &seen {
            let parts: Vec<u8> = video.iter().filter(|tag| tag.number == *number).map(|tag| tag.part).collect();
            let picture = &pictures[usize::try_from(*number).unwrap()];
            let all: Vec<u8> = (0..picture.frames).collect();
            // Where sending goes on, the delimiter before the picture was still dropped: nobody misses it.
            let whole = parts == all || (picture.led && parts == all[1..]);
            prop_assert!(whole, "picture {number} is not whole: {parts:?}");
        }
        let texts: Vec<u32> = left.iter().filter(|tag| tag.what == b't').map(|tag| tag.number).collect();
        prop_assert_eq!(texts, (0..answers).collect::<Vec<_>>(), "an answer was lost");
        prop_assert_eq!(u64::try_from(pictures.len() - seen.len()).unwrap(), dropped, "each dropped picture is counted once");
    }

    #[test]
    fn a_reader_that_keeps_up_loses_nothing(steps in steps()) {
        let reading: Vec<Step> = steps.iter().flat_map(|step| [step.clone(), Step::Read(60)]).collect();
        let (pictures, left, dropped, ..) = run(&reading);
        let frames: usize = pictures.iter().map(|picture| usize::from(picture.frames)).sum();
        prop_assert_eq!(dropped, 0);
        prop_assert_eq!(left.iter().filter(|tag| tag.what == b'v').count(), frames);
    }
}

fn video(timestamp: u32, random_access: bool) -> Kind {
    Kind::Video {
        channel: 0,
        timestamp,
        random_access,
        prefix: false,
    }
}

#[test]
fn the_last_queued_random_access_point_stays_and_the_oldest_pictures_go_first() {
    let now = Duration::from_secs(1);
    let mut pool = Pool::new(1_000);
    pool.open(1);
    let tag = |number| Tag {
        what: b'v',
        number,
        part: 0,
    };
    // An old group, a newer one: over the bound the old one goes.
    for number in 0..6 {
        pool.push(
            1,
            frame(tag(number), 140),
            video(number, number % 3 == 0),
            now,
        );
    }
    let Next::Bytes(bytes) = pool.next(1, 10_000) else {
        panic!("nothing left")
    };
    let numbers: Vec<u32> = unpack(&bytes).iter().map(|tag| tag.number).collect();
    assert_eq!(numbers, [3, 4, 5]);
    // Only one random access point in the queue: it stays, what follows it goes up to the next.
    for number in 6..14 {
        pool.push(
            1,
            frame(tag(number), 140),
            video(number, number == 6 || number == 13),
            now,
        );
    }
    let Next::Bytes(bytes) = pool.next(1, 10_000) else {
        panic!("nothing left")
    };
    let numbers: Vec<u32> = unpack(&bytes).iter().map(|tag| tag.number).collect();
    assert_eq!(numbers, [6, 13]);
}

#[test]
fn a_random_access_point_behind_a_delimiter_ends_the_gap() {
    let now = Duration::from_secs(1);
    let mut pool = Pool::new(1_000);
    pool.open(1);
    let mut push = |number: u32, part: u8, random_access: bool, prefix: bool| {
        let kind = Kind::Video {
            channel: 0,
            timestamp: number,
            random_access,
            prefix,
        };
        let tag = Tag {
            what: b'v',
            number,
            part,
        };
        pool.push(1, frame(tag, 140), kind, now);
    };
    for number in 0..12 {
        push(number, 0, false, true);
        push(number, 1, number == 11, false);
    }
    let Next::Bytes(bytes) = pool.next(1, 10_000) else {
        panic!("the gap goes on")
    };
    let last = unpack(&bytes).pop().unwrap();
    assert_eq!((last.number, last.part), (11, 1));
}

#[test]
fn one_bound_holds_for_all_connections_and_the_fullest_makes_room() {
    let now = Duration::from_secs(1);
    let mut pool = Pool::new(2_000);
    pool.open(1);
    pool.open(2);
    for number in 0..20u32 {
        let tag = Tag {
            what: b'v',
            number,
            part: 0,
        };
        pool.push(1, frame(tag, 140), video(number, number % 5 == 0), now);
        assert!(pool.bytes() <= 2_000);
    }
    let tag = Tag {
        what: b't',
        number: 0,
        part: 0,
    };
    pool.push(2, frame(tag, 300), Kind::Kept, now);
    assert!(pool.bytes() <= 2_000);
    let Next::Bytes(bytes) = pool.next(2, 10_000) else {
        panic!("the small one lost its answer")
    };
    assert_eq!(unpack(&bytes), [tag]);
}

#[test]
fn what_may_not_be_dropped_ends_its_connection_at_the_bound() {
    let mut pool = Pool::new(1_000);
    pool.open(1);
    let answer = |pool: &mut Pool| pool.push(1, vec![b't'; 300], Kind::Kept, Duration::ZERO);
    assert_eq!(answer(&mut pool).overflow, None);
    assert_eq!(answer(&mut pool).overflow, None);
    assert_eq!(answer(&mut pool).overflow, Some(1));
    assert_eq!(pool.next(1, 100), Next::End);
}

#[test]
fn a_camera_without_random_access_points_is_shown_again_after_30_s() {
    let mut pool = Pool::new(1_000);
    pool.open(1);
    for number in 0..20u32 {
        let tag = Tag {
            what: b'v',
            number,
            part: 0,
        };
        pool.push(1, frame(tag, 140), video(number, false), Duration::ZERO);
    }
    while pool.next(1, 10_000) != Next::Wait {}
    let tag = Tag {
        what: b'v',
        number: 21,
        part: 0,
    };
    pool.push(
        1,
        frame(tag, 140),
        video(21, false),
        Duration::from_secs(29),
    );
    assert_eq!(pool.next(1, 100), Next::Wait);
    pool.push(
        1,
        frame(tag, 140),
        video(22, false),
        Duration::from_secs(31),
    );
    assert_ne!(pool.next(1, 100), Next::Wait);
}
