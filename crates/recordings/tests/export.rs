//! Export and coverage.
#![allow(clippy::disallowed_methods, reason = "tests may write files")]

mod common;

use std::process::Command;
use std::sync::atomic::Ordering;

use common::*;
use moorline_core::coverage::{Held, RowKind};
use moorline_core::port::{Export, Recordings as _, RecordingsError};
use moorline_core::{Cause, TimeRange};
use proptest::prelude::*;

/// 2026-11-20T10:00:00Z.
const TEN: i64 = 1_795_168_800_000;

async fn whole(export: &mut dyn Export) -> Vec<u8> {
    let mut file = Vec::new();
    while let Some(bytes) = export.next().await.unwrap() {
        assert!(!bytes.is_empty() && bytes.len() <= 8 * 1024 * 1024);
        file.extend_from_slice(&bytes);
    }
    file
}

fn span(from: i64, to: i64) -> TimeRange {
    TimeRange::new(at(TEN + from), at(TEN + to))
}

/// What a range should give: every GOP that begins before its end, from the one that is running at its beginning.
struct Truth {
    /// Beginning and first picture of each GOP, and its segment.
    gops: Vec<(i64, u32, usize)>,
    /// Beginning and end of each segment.
    segments: Vec<(i64, i64)>,
}

impl Truth {
    fn pictures(&self, from: i64, to: i64) -> Vec<u32> {
        // The few milliseconds by which two segments part belong to neither.
        let begun = self.segments.iter().rposition(|(start, ..)| *start <= from);
        let running = begun.filter(|index| from < self.segments[*index].1);
        let first = match running {
            Some(segment) => self
                .gops
                .iter()
                .rposition(|(start, _, of)| *of == segment && *start <= from),
            None => self.gops.iter().position(|(start, ..)| *start >= from),
        };
        let gops = self.gops.iter().skip(first.unwrap_or(self.gops.len()));
        let inside = gops.take_while(|(start, ..)| *start < to);
        inside
            .flat_map(|(_, picture, _)| *picture..picture + FRAMES)
            .collect()
    }
}

/// Two takes of three segments with a gap of half a minute; the clock slews, so that segments overlap or part by some milliseconds. The
/// last segment is open, the one before it in the spool.
fn scene(slews: &[i64; 6]) -> (World, Truth) {
    let world = World::new(TEN + 400_000);
    let mut truth = Truth {
        gops: Vec::new(),
        segments: Vec::new(),
    };
    let (mut wall, mut picture) = (TEN, 0);
    for id in 1..=2_u32 {
        let mut take = Take::new(id, u64::from(id), init(0x1f));
        for index in 0..3 {
            let number = truth.segments.len();
            let start = wall;
            for _ in 0..20 {
                take.record(wall, picture);
                truth.gops.push((wall - TEN, picture, number));
                wall += 1000;
                picture += FRAMES;
            }
            truth.segments.push((start - TEN, wall - TEN));
            wall += slews[number];
            match (id, index) {
                (2, 2) => take.sync(&world.spool),
                (2, 1) => take.seal_into(&world.spool, 0),
                _ => {
                    let (key, file) = take.seal(0);
                    world.store.put(&key, file);
                }
            }
        }
        wall += 30_000;
    }
    let (_, end) = truth.segments[2];
    let (start, _) = truth.segments[3];
    world.gap(TEN + end, TEN + start, Cause::TunnelDown);
    (world, truth)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_export_has_the_pictures_of_its_range_once_and_in_order(
        slews in proptest::array::uniform6(-30_i64..40),
        from in -5_000_i64..160_000, length in 1_i64..160_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let (world, truth) = scene(&slews);
            let expected = truth.pictures(from, from + length);
            match world.archive.export(&camera(), None, span(from, from + length)).await {
                Err(RecordingsError::Nothing) => assert_eq!(expected, Vec::<u32>::new()),
                Err(other) => panic!("{other}"),
                Ok(mut export) => {
                    let file = whole(&mut *export).await;
                    assert_eq!(numbers(&file), expected, "from {from} for {length}");
                    let rows = &export.coverage().rows;
                    assert_eq!(rows.first().map(|row| row.range.from), Some(span(from, from).from));
                    assert!(export.estimated_bytes() > 0);
                }
            }
        });
    }
}

#[tokio::test]
async fn coverage_joins_store_spool_and_markers() {
    let (world, truth) = scene(&[0; 6]);
    let coverage = world
        .archive
        .coverage(&camera(), None, span(-3_600_000, 3_600_000))
        .await
        .unwrap();
    let told: Vec<String> = coverage
        .rows
        .iter()
        .map(|row| match &row.kind {
            RowKind::Recorded {
                held: Held::Store, ..
            } => "store".to_owned(),
            RowKind::Recorded {
                held: Held::Spool, ..
            } => "spool".to_owned(),
            RowKind::Recorded {
                held: Held::Open, ..
            } => "open".to_owned(),
            RowKind::Gap { cause, .. } => cause.to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            "Unexplained",
            "store",
            "store",
            "store",
            "tunnel_down",
            "store",
            "spool",
            "open",
            "Unexplained"
        ]
    );
    assert_eq!(coverage.recorded().as_secs(), 120);
    assert_eq!(
        coverage.rows.last().unwrap().range.to,
        at(TEN + 400_000),
        "clipped to now"
    );
    assert_eq!(truth.segments.len(), 6);
    assert_eq!(world.store.asked().len(), 1, "one listing");
    // What the class has outlived is expired and not a bug.
    world.clock.set_wall_ms(TEN + 20 * 24 * 3_600_000);
    let late = world
        .archive
        .coverage(&camera(), None, span(-3_600_000, 0))
        .await
        .unwrap();
    assert_eq!(late.rows[0].kind, RowKind::Expired);
}

/// The rename into the store comes before the spool's forgetting.
#[tokio::test]
async fn an_export_follows_a_segment_that_has_just_left_the_spool() {
    let world = World::new(TEN + 61_000);
    let mut take = Take::new(1, 1, init(0x1f));
    (0..60).for_each(|second| take.record(TEN + i64::from(second) * 1000, second * FRAMES));
    take.seal_into(&world.spool, 0);
    let export = world.archive.export(&camera(), None, span(0, 61_000)).await;
    let mut export = export.unwrap();
    for (open, bytes) in world.spool.segments.lock().unwrap().iter() {
        world.store.put(&open.key, bytes.clone());
    }
    world.spool.left.store(true, Ordering::SeqCst);
    let pictures = numbers(&whole(&mut *export).await);
    assert_eq!(pictures, (0..60 * FRAMES).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_day_is_two_requests() {
    let world = World::new(TEN + 48 * 3_600_000);
    let midnight = at(TEN).floor_day().as_millis();
    let mut take = Take::new(1, 1, init(0x1f));
    take.record(midnight, 0);
    let (key, file) = take.seal(0);
    for minute in -120_i64..1_560 {
        let mut key = key.clone();
        key.start = at(midnight + minute * 60_000);
        key.duration = std::time::Duration::from_secs(60);
        key.sequence = (minute + 120) as u32;
        world.store.put(&key, file.clone());
    }
    let day = TimeRange::new(at(midnight), at(midnight + 24 * 3_600_000));
    let coverage = world.archive.coverage(&camera(), None, day).await.unwrap();
    assert_eq!(
        (coverage.rows.len(), coverage.unexplained()),
        (1_440, vec![])
    );
    assert_eq!(world.store.asked().len(), 2);
}

#[tokio::test]
async fn a_change_of_format_is_refused_before_the_first_byte() {
    let world = World::new(TEN + 400_000);
    for (id, level, from) in [(1, 0x1f, 0), (2, 0x28, 20)] {
        let mut take = Take::new(id, 1, init(level));
        (from..from + 20)
            .for_each(|second: u32| take.record(TEN + i64::from(second) * 1000, second * FRAMES));
        let (key, file) = take.seal(0);
        world.store.put(&key, file);
    }
    let refused = world
        .archive
        .export(&camera(), None, span(5_000, 30_000))
        .await;
    assert!(
        matches!(refused, Err(RecordingsError::FormatChange { at: changes }) if changes == [at(TEN + 20_000)])
    );
    for (range, pictures) in [
        (span(5_000, 20_000), 25..100),
        (span(20_000, 30_000), 100..150),
    ] {
        let mut export = world.archive.export(&camera(), None, range).await.unwrap();
        assert_eq!(
            numbers(&whole(&mut *export).await),
            pictures.collect::<Vec<_>>()
        );
    }
    let nothing = world
        .archive
        .export(&camera(), None, span(100_000, 200_000))
        .await;
    assert!(matches!(nothing, Err(RecordingsError::Nothing)));
}

/// The pictures of these seconds.
fn seconds(ranges: &[std::ops::Range<u32>]) -> Vec<u32> {
    let pictures = ranges
        .iter()
        .map(|range| range.start * FRAMES..range.end * FRAMES);
    pictures.flatten().collect()
}

#[tokio::test]
async fn what_cannot_be_read_is_passed_over_and_told() {
    let (world, _) = scene(&[0; 6]);
    let keys = world.store.segments();
    // A bit that turned, a file that was cut off, one that is gone, and a stretch of zeros in the second take.
    world
        .store
        .spoil(&keys[0], |bytes, at| bytes[at[7] + 250] ^= 1);
    world
        .store
        .spoil(&keys[1], |bytes, at| bytes.truncate(at[10] + 20));
    world
        .store
        .spoil(&keys[3], |bytes, at| bytes[at[5]..at[8]].fill(0));
    let mut export = world
        .archive
        .export(&camera(), None, span(0, 150_000))
        .await
        .unwrap();
    world.store.objects.lock().unwrap().remove(&keys[2]);
    let file = whole(&mut *export).await;
    let expected = seconds(&[0..7, 8..30, 60..65, 68..120]);
    assert_eq!(numbers(&file), expected);
    let told: Vec<_> = export
        .unread()
        .iter()
        .map(|unread| (unread.range, unread.key.clone()))
        .collect();
    assert_eq!(
        told,
        [
            (span(7_000, 8_000), keys[0].clone()),
            (span(30_000, 40_000), keys[1].clone()),
            (span(40_000, 60_000), keys[2].clone()),
            (span(95_000, 98_000), keys[3].clone()),
        ]
    );
    let why = |index: usize| export.unread()[index].why.as_str();
    assert!(why(0).contains("checksum"), "{}", why(0));
    assert!(why(1).contains("cut off"), "{}", why(1));
    assert_eq!(why(2), "it is gone");
}

#[tokio::test]
async fn an_export_of_which_nothing_can_be_read_is_an_error_with_a_name() {
    let world = World::new(TEN + 400_000);
    let mut take = Take::new(1, 1, init(0x1f));
    take.record(TEN, 0);
    let (key, _) = take.seal(0);
    world.store.put(&key, "no segment");
    let range = span(0, 1_000);
    let mut export = world.archive.export(&camera(), None, range).await.unwrap();
    let error = export.next().await.unwrap_err();
    assert!(
        matches!(&error, RecordingsError::Damaged { key: named, .. } if *named == key.to_string()),
        "{error}"
    );
}

/// The whole file, while the clock goes on for whoever waits.
async fn patient(world: &World, export: &mut dyn Export) -> Result<Vec<u8>, RecordingsError> {
    let time = async {
        loop {
            world.clock.sleepers(1).await;
            world.clock.advance(std::time::Duration::from_secs(1));
        }
    };
    let read = async {
        let mut file = Vec::new();
        while let Some(bytes) = export.next().await? {
            file.extend_from_slice(&bytes);
        }
        Ok(file)
    };
    tokio::select! {
        file = read => file,
        () = time => unreachable!(),
    }
}

#[tokio::test]
async fn one_object_on_a_bad_sector_is_passed_over_and_a_store_that_is_away_is_not() {
    for bad in 0..4 {
        let (world, _) = scene(&[0; 6]);
        let keys = world.store.segments();
        world.store.failing.lock().unwrap().push(keys[bad].clone());
        let range = span(0, 110_000);
        let mut export = world.archive.export(&camera(), None, range).await.unwrap();
        let file = patient(&world, &mut *export).await.unwrap();
        let lost = bad as u32 * 20..bad as u32 * 20 + 20;
        assert_eq!(
            numbers(&file),
            seconds(&[0..lost.start, lost.end..80]),
            "segment {bad}"
        );
        let unread = export.unread();
        assert_eq!((unread.len(), &unread[0].key), (1, &keys[bad]));
        assert!(unread[0].why.contains("Input/output error"));
    }
    let (world, _) = scene(&[0; 6]);
    let range = span(0, 110_000);
    let mut export = world.archive.export(&camera(), None, range).await.unwrap();
    export.next().await.unwrap();
    *world.store.failing.lock().unwrap() = world.store.segments();
    let away = patient(&world, &mut *export).await.unwrap_err();
    assert!(matches!(away, RecordingsError::Store(_)), "{away}");
    assert!(export.unread().is_empty());
    // It comes back while it is still asked.
    world.store.failing.lock().unwrap().clear();
    patient(&world, &mut *export).await.unwrap();
}

#[tokio::test]
async fn pictures_of_any_size_are_handed_out_in_bounded_pieces() {
    let world = World::new(TEN + 400_000);
    let mut take = Take::new(1, 1, init(0x1f));
    take.size = 2_000_000;
    (0..3).for_each(|second: u32| take.record(TEN + i64::from(second) * 1000, second * FRAMES));
    let (key, file) = take.seal(0);
    let length = file.len() as u64;
    world.store.put(&key, file);
    let mut export = world
        .archive
        .export(&camera(), None, span(0, 3_000))
        .await
        .unwrap();
    assert_eq!(export.estimated_bytes(), length);
    assert_eq!(
        numbers(&whole(&mut *export).await),
        (0..15).collect::<Vec<_>>()
    );
}

/// What it takes in memory does not depend on how long the stretch is.
#[tokio::test]
async fn an_export_reads_no_further_than_it_gives() {
    const PICTURES: usize = 60 * FRAMES as usize;
    let world = World::new(TEN + 700_000);
    let mut take = Take::new(1, 1, init(0x1f));
    take.size = 2_000;
    for second in 0..600_u32 {
        take.record(TEN + i64::from(second) * 1000, second * FRAMES);
        if second % 60 == 59 {
            let (key, file) = take.seal(0);
            world.store.put(&key, file);
        }
    }
    let range = span(0, 600_000);
    let mut export = world.archive.export(&camera(), None, range).await.unwrap();
    let (mut asked, mut given) = (0, 0);
    while let Some(bytes) = export.next().await.unwrap() {
        let requests = world.store.asked();
        asked += requests.iter().filter(|one| one.starts_with("GET")).count();
        given += numbers(&bytes).len();
        let begun = given.div_ceil(PICTURES).max(1);
        assert!(
            asked <= 4 * begun,
            "{asked} reads for {begun} of ten segments"
        );
    }
    assert_eq!(given, 10 * PICTURES);
    assert!(asked >= 10, "each is read: {asked}");
}

#[tokio::test]
async fn ffprobe_reads_an_export_across_a_gap_as_one_stretch() {
    let (world, _) = scene(&[0, 13, -20, 0, 5, 0]);
    let mut export = world
        .archive
        .export(&camera(), None, span(10_500, 100_000))
        .await
        .unwrap();
    let file = whole(&mut *export).await;
    let folder = moorline_testkit::temp_dir().unwrap();
    let path = folder.path().join("export.mp4");
    std::fs::write(&path, &file).unwrap();
    let probe = Command::new("ffprobe")
        .args([
            "-v",
            "quiet",
            "-select_streams",
            "v",
            "-show_entries",
            "packet=pts,flags",
            "-of",
            "csv=p=0",
        ])
        .arg(&path)
        .output()
        .expect("ffprobe is installed");
    let text = String::from_utf8(probe.stdout).unwrap();
    let packets: Vec<(u64, bool)> = text
        .lines()
        .map(|line| line.split_once(',').unwrap())
        .map(|(pts, flags)| (pts.parse().unwrap(), flags.starts_with('K')))
        .collect();
    let expected = numbers(&file).len();
    assert_eq!(packets.len(), expected);
    for (index, (pts, key)) in packets.iter().enumerate() {
        assert_eq!(
            (*pts, *key),
            (index as u64 * 18_000, index % FRAMES as usize == 0),
            "packet {index}"
        );
    }
}
