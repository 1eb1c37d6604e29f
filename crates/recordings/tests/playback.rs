//! Playing: seeking, crossing segments, takes and gaps, following the live edge while segments move.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod common;

use std::sync::atomic::Ordering;

use common::*;
use moorline_core::Cause;
use moorline_core::port::{PlayItem, Playback, Recordings as _, RecordingsError};
use moorline_core::segment::Tier;
use proptest::prelude::*;

/// 2026-11-20T10:00:00Z.
const TEN: i64 = 1_795_168_800_000;

#[derive(Debug, PartialEq)]
enum Seen {
    Init,
    Pictures(Vec<u32>),
    Gap(i64, i64, Option<Cause>),
}

/// Everything up to the end, with neighbouring pictures together. Checks that times go on.
async fn watch(playback: &mut dyn Playback) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    let mut media_end = None;
    for _ in 0..10_000 {
        match playback.next().await.unwrap() {
            PlayItem::End => return seen,
            PlayItem::Init { mime, bytes } => {
                assert_eq!(mime, "video/mp4; codecs=\"avc1.64001f\"");
                assert_eq!(&bytes[4..8], b"ftyp");
                seen.push(Seen::Init);
                media_end = None;
            }
            PlayItem::Fragment {
                bytes,
                media_ms,
                duration_ms,
                ..
            } => {
                assert!(
                    media_end.is_none_or(|end| end <= media_ms),
                    "media time goes back: {media_end:?} {media_ms}"
                );
                media_end = Some(media_ms + u64::from(duration_ms));
                match seen.last_mut() {
                    Some(Seen::Pictures(pictures)) => pictures.extend(numbers(&bytes)),
                    _ => seen.push(Seen::Pictures(numbers(&bytes))),
                }
            }
            PlayItem::Gap { range, cause } => {
                seen.push(Seen::Gap(
                    range.from.as_millis() - TEN,
                    range.to.as_millis() - TEN,
                    cause,
                ));
            }
        }
    }
    panic!("it does not end")
}

/// Ten segments of a minute that begin at ten; pictures are numbered from 0, a GOP a second.
fn ten_minutes(size: usize) -> World {
    let world = World::new(TEN + 3_600_000);
    let mut take = Take::new(1, 1, init(0x1f));
    take.size = size;
    for second in 0..600 {
        take.record(TEN + i64::from(second) * 1000, second * FRAMES);
        if second % 60 == 59 {
            let (key, file) = take.seal(0);
            world.store.put(&key, file);
        }
    }
    world
}

#[tokio::test]
async fn any_instant_is_three_requests_away_from_its_first_picture() {
    // 2 Mbit/s: 250 kB a second.
    let world = ten_minutes(50_000);
    let mut playback = world
        .archive
        .play(&camera(), None, at(TEN + 247_600))
        .await
        .unwrap();
    assert!(matches!(
        playback.next().await.unwrap(),
        PlayItem::Init { .. }
    ));
    let PlayItem::Fragment {
        bytes,
        wall,
        media_ms,
        duration_ms,
    } = playback.next().await.unwrap()
    else {
        panic!("a picture follows the init")
    };
    assert_eq!(
        numbers(&bytes),
        (247 * FRAMES..248 * FRAMES).collect::<Vec<_>>()
    );
    assert_eq!(
        (wall, media_ms, duration_ms),
        (at(TEN + 247_000), 252_000, 1000)
    );
    let asked = world.store.asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_eq!(
        (asked[0].as_str(), asked[1].as_str()),
        ("LIST v1/r014/home/yard/", "GET 0..65536")
    );
}

#[tokio::test]
async fn reads_are_bounded_and_segments_are_crossed() {
    let world = ten_minutes(50_000);
    let mut playback = world.archive.play(&camera(), None, at(TEN)).await.unwrap();
    let seen = watch(&mut *playback).await;
    assert_eq!(
        seen,
        [Seen::Init, Seen::Pictures((0..600 * FRAMES).collect())]
    );
    let asked = world.store.asked();
    // 15 MB a minute in reads of 2 MiB, a head each, and two listings: at the beginning and at the end.
    assert!(asked.len() <= 10 * 11 + 2, "{} requests", asked.len());
}

#[tokio::test]
async fn takes_and_gaps_are_told() {
    let world = World::new(TEN + 3_600_000);
    for (id, generation, from) in [(1, 1, 0), (2, 2, 90), (3, 2, 200)] {
        let mut take = Take::new(id, generation, init(0x1f));
        for second in from..from + 60 {
            take.record(TEN + i64::from(second) * 1000, second * FRAMES);
        }
        let (key, file) = take.seal(0);
        world.store.put(&key, file);
    }
    world.gap(TEN + 60_000, TEN + 90_000, Cause::TunnelDown);
    let mut playback = world
        .archive
        .play(&camera(), None, at(TEN - 5_000_000))
        .await
        .unwrap();
    let pictures = |from: u32| Seen::Pictures((from * FRAMES..(from + 60) * FRAMES).collect());
    let expected = [
        Seen::Init,
        pictures(0),
        Seen::Gap(60_000, 90_000, Some(Cause::TunnelDown)),
        Seen::Init,
        pictures(90),
        Seen::Gap(150_000, 200_000, None),
        Seen::Init,
        pictures(200),
    ];
    assert_eq!(watch(&mut *playback).await, expected);
    // From inside a gap: the next key frame, at once.
    let mut playback = world
        .archive
        .play(&camera(), None, at(TEN + 70_000))
        .await
        .unwrap();
    assert_eq!(watch(&mut *playback).await, expected[3..]);
    let nothing = world.archive.play(&camera(), None, at(TEN + 300_000)).await;
    assert!(matches!(nothing, Err(RecordingsError::Nothing)));
    let nothing = world
        .archive
        .play(&camera(), Some(Tier::Low), at(TEN))
        .await;
    assert!(matches!(nothing, Err(RecordingsError::Nothing)));
}

#[tokio::test]
async fn an_archive_of_many_pages_is_played_through() {
    let world = World::new(TEN + 30 * 24 * 3_600_000);
    world.store.page.store(7, Ordering::SeqCst);
    let mut expected = Vec::new();
    for day in 0..5 {
        let start = TEN + day * 24 * 3_600_000;
        let mut take = Take::new(day as u32 + 1, 1, init(0x1f));
        for segment in 0..20 {
            take.record(start + segment * 1000, (day * 20 + segment) as u32 * FRAMES);
            let (key, file) = take.seal(0);
            world.store.put(&key, file);
        }
        expected.extend(day as u32 * 20 * FRAMES..(day as u32 + 1) * 20 * FRAMES);
    }
    let mut playback = world
        .archive
        .play(&camera(), None, at(TEN - 100 * 24 * 3_600_000))
        .await
        .unwrap();
    let seen = watch(&mut *playback).await;
    let pictures = seen.iter().filter_map(|seen| match seen {
        Seen::Pictures(pictures) => Some(pictures.clone()),
        _ => None,
    });
    assert_eq!(pictures.collect::<Vec<_>>().concat(), expected);
}

#[tokio::test]
async fn the_newer_generation_is_shown_where_two_overlap() {
    let world = World::new(TEN + 3_600_000);
    let mut old = Take::new(1, 1, init(0x1f));
    (0..60).for_each(|second| old.record(TEN + i64::from(second) * 1000, second * FRAMES));
    let mut new = Take::new(2, 2, init(0x1f));
    (0..60).for_each(|second| {
        new.record(
            TEN + 20_000 + i64::from(second) * 1000,
            1000 + second * FRAMES,
        )
    });
    for take in [&mut old, &mut new] {
        let (key, file) = take.seal(0);
        world.store.put(&key, file);
    }
    let mut playback = world.archive.play(&camera(), None, at(TEN)).await.unwrap();
    let seen = watch(&mut *playback).await;
    let old = Seen::Pictures((0..20 * FRAMES).collect());
    let new = Seen::Pictures((1000..1000 + 60 * FRAMES).collect());
    assert_eq!(seen, [Seen::Init, old, Seen::Init, new]);
}

#[tokio::test]
async fn a_damaged_segment_is_told_and_passed() {
    let world = ten_minutes(60);
    let keys = world.store.segments();
    let spoil = |index: usize, spoil: &dyn Fn(&mut Vec<u8>)| {
        let mut objects = world.store.objects.lock().unwrap();
        let object = objects.get_mut(&keys[index]).unwrap();
        let mut bytes = object.to_vec();
        spoil(&mut bytes);
        *object = bytes.into();
    };
    spoil(1, &|bytes| bytes.truncate(100));
    spoil(3, &|bytes| bytes.truncate(bytes.len() - 10));
    spoil(5, &|bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    });
    spoil(7, &|bytes| bytes.fill(0));
    let mut playback = world.archive.play(&camera(), None, at(TEN)).await.unwrap();
    let (mut pictures, mut damaged) = (Vec::new(), Vec::new());
    loop {
        match playback.next().await {
            Ok(PlayItem::End) => break,
            Ok(PlayItem::Fragment { bytes, .. }) => pictures.extend(numbers(&bytes)),
            Ok(_) => {}
            Err(RecordingsError::Damaged { key, .. }) => damaged.push(key),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(
        damaged,
        [1, 3, 5, 7].map(|index: usize| keys[index].clone())
    );
    let lost = |picture: &u32| {
        let second = picture / FRAMES;
        matches!(second / 60, 1 | 7) || matches!(second, 239 | 359)
    };
    assert_eq!(
        pictures,
        (0..600 * FRAMES)
            .filter(|picture| !lost(picture))
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_damaged_fragment_costs_itself_and_not_the_rest_of_its_segment() {
    let world = ten_minutes(500);
    let keys = world.store.segments();
    world.store.spoil(&keys[2], |bytes, at| {
        bytes[at[10] + 300] ^= 1;
        bytes[at[20]..at[23]].fill(0);
    });
    let mut playback = world.archive.play(&camera(), None, at(TEN)).await.unwrap();
    let (mut pictures, mut damaged) = (Vec::new(), 0);
    loop {
        match playback.next().await {
            Ok(PlayItem::End) => break,
            Ok(PlayItem::Fragment { bytes, .. }) => pictures.extend(numbers(&bytes)),
            Ok(_) => {}
            Err(RecordingsError::Damaged { key, .. }) => {
                assert_eq!(key, keys[2]);
                damaged += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(damaged, 2, "each stretch is told once");
    let lost = |picture: &u32| matches!(picture / FRAMES, 130 | 140..143);
    assert_eq!(
        pictures,
        (0..600 * FRAMES)
            .filter(|picture| !lost(picture))
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn the_live_edge_costs_no_request_while_the_spool_knows() {
    let world = World::new(TEN);
    let mut take = Take::new(1, 1, init(0x1f));
    take.record(TEN, 0);
    take.sync(&world.spool);
    world.clock.set_wall_ms(TEN + 1_500);
    let mut playback = world
        .archive
        .play(&camera(), None, at(TEN + 500))
        .await
        .unwrap();
    assert_eq!(
        watch(&mut *playback).await,
        [Seen::Init, Seen::Pictures((0..FRAMES).collect())]
    );
    world.store.asked();
    for second in 1..200_u32 {
        take.record(TEN + i64::from(second) * 1000, second * FRAMES);
        world
            .clock
            .set_wall_ms(TEN + i64::from(second) * 1000 + 1_500);
        if second % 60 == 59 {
            take.seal_into(&world.spool, 0);
        } else {
            take.sync(&world.spool);
        }
        let expected = (second * FRAMES..(second + 1) * FRAMES).collect();
        assert_eq!(
            watch(&mut *playback).await,
            [Seen::Pictures(expected)],
            "second {second}"
        );
    }
    // One listing at the end of each sealed segment whose successor has not begun.
    assert!(world.store.asked().len() <= 3);
}

#[tokio::test]
async fn a_segment_that_is_too_large_for_one_read_moves_while_it_is_read() {
    for (sealed, uploads) in [(true, true), (true, false), (false, true), (false, false)] {
        let world = World::new(TEN + 61_000);
        let mut take = Take::new(1, 1, init(0x1f));
        take.size = 50_000;
        (0..60).for_each(|second| take.record(TEN + i64::from(second) * 1000, second * FRAMES));
        match sealed {
            true => take.seal_into(&world.spool, 0),
            false => take.sync(&world.spool),
        }
        let mut playback = world.archive.play(&camera(), None, at(TEN)).await.unwrap();
        let mut pictures = Vec::new();
        for _ in 0..20 {
            if let PlayItem::Fragment { bytes, .. } = playback.next().await.unwrap() {
                pictures.extend(numbers(&bytes));
            }
        }
        if !sealed {
            take.record(TEN + 60_000, 60 * FRAMES);
            take.seal_into(&world.spool, -25);
        }
        if uploads {
            upload(&world.spool, &world.store);
        }
        for seen in watch(&mut *playback).await {
            match seen {
                Seen::Pictures(more) => pictures.extend(more),
                other => panic!("{other:?}"),
            }
        }
        let expected = if sealed { 60 } else { 61 };
        assert_eq!(
            pictures,
            (0..expected * FRAMES).collect::<Vec<_>>(),
            "sealed {sealed}, uploads {uploads}"
        );
    }
}

#[tokio::test]
async fn what_vanished_in_the_middle_is_told_and_passed() {
    let world = ten_minutes(50_000);
    let keys = world.store.segments();
    let mut playback = world.archive.play(&camera(), None, at(TEN)).await.unwrap();
    playback.next().await.unwrap();
    // Retention, or a person, removed two: the one that is played, and the one after it.
    for key in &keys[..2] {
        world.store.objects.lock().unwrap().remove(key);
    }
    let mut told = Vec::new();
    let first = loop {
        match playback.next().await {
            Ok(PlayItem::Fragment { bytes, .. }) if told.is_empty() => {
                assert!(numbers(&bytes)[0] < 60 * FRAMES)
            }
            Ok(PlayItem::Fragment { bytes, .. }) => break numbers(&bytes)[0],
            Ok(item) => assert!(!matches!(item, PlayItem::End)),
            Err(RecordingsError::Damaged { key, .. }) => told.push(key),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!((told, first), (vec![keys[0].clone()], 120 * FRAMES));
}

#[tokio::test]
async fn calls_that_are_cancelled_lose_nothing() {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    let world = ten_minutes(9_000);
    let mut playback = world.archive.play(&camera(), None, at(TEN)).await.unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let (mut pictures, mut cancelled) = (Vec::new(), 0);
    'items: for patience in (0_usize..).map(|index| index % 4) {
        let item = {
            let mut call = pin!(playback.next());
            let mut polls = (0..patience).map(|_| call.as_mut().poll(&mut context));
            match polls.find(Poll::is_ready) {
                Some(Poll::Ready(item)) => item.unwrap(),
                _ => {
                    cancelled += 1;
                    continue 'items;
                }
            }
        };
        match item {
            PlayItem::Fragment { bytes, .. } => pictures.extend(numbers(&bytes)),
            PlayItem::End => break,
            _ => {}
        }
    }
    assert!(cancelled > 100);
    assert_eq!(pictures, (0..600 * FRAMES).collect::<Vec<_>>());
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Record,
    Seal,
    Upload,
    Play(u8),
    NewTake,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => Just(Act::Record),
        2 => Just(Act::Seal),
        2 => Just(Act::Upload),
        4 => (0_u8..12).prop_map(Act::Play),
        1 => Just(Act::NewTake),
    ];
    proptest::collection::vec(act, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever moves from open to sealed to stored in the middle of a playback: every picture once, in order.
    #[test]
    fn nothing_is_lost_or_doubled_while_segments_move(acts in acts(), shift in -40_i64..40, race in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let world = World::new(TEN);
            *world.store.race.lock().unwrap() = race.then(|| world.spool.clone());
            let (mut second, mut wall) = (1, TEN);
            let mut take = Take::new(1, 1, init(0x1f));
            take.record(wall, 0);
            take.sync(&world.spool);
            world.clock.set_wall_ms(wall + 1_200);
            let mut empty = false;
            let mut playback = world.archive.play(&camera(), None, at(TEN + 700)).await.unwrap();
            let mut seen = Vec::new();
            let note = |item: PlayItem, seen: &mut Vec<u32>| if let PlayItem::Fragment { bytes, .. } = item { seen.extend(numbers(&bytes)) };
            for act in acts {
                match act {
                    Act::Record => {
                        wall += 1_000;
                        take.record(wall, second * FRAMES);
                        take.sync(&world.spool);
                        second += 1;
                        empty = false;
                        world.clock.set_wall_ms(wall + 1_200);
                    }
                    Act::Seal if !empty => {
                        // The clock of a take is fixed when its first segment is sealed.
                        let shift = if take.sequence == 0 { shift } else { 0 };
                        take.seal_into(&world.spool, shift);
                        empty = true;
                    }
                    Act::NewTake => {
                        if !empty {
                            take.seal_into(&world.spool, 0);
                        }
                        wall += 4_000;
                        take = Take::new(take.id + 1, take.generation + 1, init(0x1f));
                        empty = true;
                    }
                    Act::Upload => { upload(&world.spool, &world.store); }
                    Act::Play(items) => {
                        for _ in 0..items {
                            note(playback.next().await.unwrap(), &mut seen);
                        }
                    }
                    Act::Seal => {}
                }
            }
            world.clock.set_wall_ms(wall + 10_000);
            for _ in 0..10_000 {
                match playback.next().await.unwrap() {
                    PlayItem::End => break,
                    item => note(item, &mut seen),
                }
            }
            assert_eq!(seen, (0..second * FRAMES).collect::<Vec<_>>());
        });
    }

    /// Seeking begins at the key frame at or before the instant, wherever the segment is.
    #[test]
    fn a_seek_lands_on_the_key_frame_before(second in 0_u32..120, within in 0_i64..1000, uploaded in 0_u32..3) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let world = World::new(TEN + 121_000);
            let mut take = Take::new(1, 1, init(0x1f));
            for second in 0..120 {
                take.record(TEN + i64::from(second) * 1000, second * FRAMES);
                if second == 59 {
                    take.seal_into(&world.spool, 0);
                }
            }
            match uploaded {
                0 => take.sync(&world.spool),
                _ => take.seal_into(&world.spool, 0),
            }
            (0..uploaded).for_each(|_| { upload(&world.spool, &world.store); });
            let from = at(TEN + i64::from(second) * 1000 + within);
            let mut playback = world.archive.play(&camera(), None, from).await.unwrap();
            let seen = watch(&mut *playback).await;
            assert_eq!(seen, [Seen::Init, Seen::Pictures((second * FRAMES..120 * FRAMES).collect())]);
        });
    }
}
