//! A camera whose recording changed between its full picture and its smaller stream: one archive of both.

mod common;

use moorline_core::coverage::{Coverage, RowKind};
use moorline_core::port::{Export, PlayItem, Recordings as _, RecordingsError};
use moorline_core::segment::Tier;
use moorline_core::{Cause, TimeRange};

use common::{FRAMES, MemorySpool, Take, World, at, camera, init};

/// 2027-01-15 08:00:00 UTC.
const TEN: i64 = 1_800_000_000_000;

fn span(from: i64, to: i64) -> TimeRange {
    TimeRange::new(at(TEN + from), at(TEN + to))
}

/// Records seconds `from..to` in a tier and stores them as one segment.
fn record(world: &World, id: u32, tier: Tier, seconds: std::ops::Range<i64>) {
    let level = if tier == Tier::Full { 0x1f } else { 0x15 };
    let mut take = Take::new(id, u64::from(id), init(level));
    for second in seconds {
        take.record(TEN + second * 1000, second as u32 * FRAMES);
    }
    let (mut key, file) = take.seal(0);
    key.place.tier = tier;
    world.store.put(&key, file);
}

/// Full, then the smaller stream, then full again; around the first change both run for 2 s.
fn changed() -> World {
    let world = World::new(TEN + 60_000);
    record(&world, 1, Tier::Full, 0..20);
    record(&world, 2, Tier::Low, 18..40);
    record(&world, 3, Tier::Full, 40..60);
    world
}

fn told(coverage: &Coverage) -> Vec<(i64, i64, String)> {
    let row = |row: &moorline_core::coverage::Row| {
        let what = match &row.kind {
            RowKind::Recorded { key, .. } => key.place.tier.to_string(),
            RowKind::Gap { cause, .. } => cause.to_string(),
            other => format!("{other:?}"),
        };
        let since = |at: moorline_core::Timestamp| (at.as_millis() - TEN) / 1000;
        (since(row.range.from), since(row.range.to), what)
    };
    coverage.rows.iter().map(row).collect()
}

fn rows(expected: &[(i64, i64, &str)]) -> Vec<(i64, i64, String)> {
    let owned = |(from, to, what): &(i64, i64, &str)| (*from, *to, (*what).to_owned());
    expected.iter().map(owned).collect()
}

async fn bytes(export: &mut dyn Export) -> usize {
    let mut count = 0;
    while let Some(bytes) = export.next().await.unwrap() {
        count += bytes.len();
    }
    count
}

#[tokio::test]
async fn the_best_that_was_recorded_is_shown_and_one_tier_can_be_chosen() {
    let world = changed();
    let look = async |tier| {
        let yard = camera();
        let coverage = world.archive.coverage(&yard, tier, span(0, 60_000));
        told(&coverage.await.unwrap())
    };
    assert_eq!(
        look(None).await,
        rows(&[(0, 20, "full"), (20, 40, "low"), (40, 60, "full")])
    );
    assert_eq!(
        look(Some(Tier::Full)).await,
        rows(&[(0, 20, "full"), (20, 40, "disabled"), (40, 60, "full")]),
        "what is missing of one tier has a cause too"
    );
    assert_eq!(
        look(Some(Tier::Low)).await,
        rows(&[(0, 18, "disabled"), (18, 40, "low"), (40, 60, "disabled")])
    );
}

#[tokio::test]
async fn an_outage_of_one_tier_is_an_outage_of_the_camera() {
    let world = World::new(TEN + 60_000);
    record(&world, 1, Tier::Full, 0..20);
    world.gap(TEN + 20_000, TEN + 30_000, Cause::TunnelDown);
    record(&world, 2, Tier::Low, 30..60);
    for tier in [None, Some(Tier::Low)] {
        let yard = camera();
        let coverage = world.archive.coverage(&yard, tier, span(0, 60_000));
        let coverage = coverage.await.unwrap();
        assert!(coverage.unexplained().is_empty());
        assert_eq!(
            told(&coverage)[1],
            (20, 30, "tunnel_down".to_owned()),
            "{tier:?}"
        );
    }
}

#[tokio::test]
async fn what_waits_in_the_spool_counts_whatever_its_tier() {
    let world = changed();
    let mut take = Take::new(4, 4, init(0x1f));
    (60..70).for_each(|second: u32| take.record(TEN + i64::from(second) * 1000, second * FRAMES));
    let spool: &MemorySpool = &world.spool;
    take.seal_into(spool, 0);
    for (open, _) in spool.segments.lock().unwrap().iter_mut() {
        open.key.place.tier = Tier::Low;
    }
    world.clock.set_wall_ms(TEN + 70_000);
    let yard = camera();
    let coverage = world.archive.coverage(&yard, None, span(40_000, 70_000));
    assert_eq!(
        told(&coverage.await.unwrap()),
        rows(&[(40, 60, "full"), (60, 70, "low")])
    );
}

#[tokio::test]
async fn an_export_across_a_change_of_tier_names_the_instants_to_split_at() {
    let world = changed();
    let refused = world.archive.export(&camera(), None, span(0, 60_000)).await;
    let Err(refused) = refused else {
        panic!("two formats in one file")
    };
    let RecordingsError::FormatChange { at: changes } = &refused else {
        panic!("{refused}")
    };
    assert_eq!(*changes, [at(TEN + 20_000), at(TEN + 40_000)]);
    let words = refused.to_string();
    assert!(
        words.contains("2027-01-15T08:00:20.000Z, 2027-01-15T08:00:40.000Z"),
        "{words}"
    );
    for range in [span(0, 20_000), span(20_000, 40_000), span(40_000, 60_000)] {
        let export = world.archive.export(&camera(), None, range).await;
        assert!(bytes(&mut *export.unwrap()).await > 0, "{range:?}");
    }
    let yard = camera();
    let one = world
        .archive
        .export(&yard, Some(Tier::Full), span(0, 60_000));
    assert!(
        bytes(&mut *one.await.unwrap()).await > 0,
        "one tier alone is one file"
    );
}

#[tokio::test]
async fn playback_goes_on_across_a_change_of_tier() {
    let world = changed();
    let playback = world.archive.play(&camera(), None, at(TEN)).await;
    let mut playback = playback.unwrap();
    let (mut inits, mut seconds) = (Vec::new(), Vec::new());
    loop {
        match playback.next().await.unwrap() {
            PlayItem::Init { bytes, .. } => inits.push((seconds.len(), bytes)),
            PlayItem::Fragment { wall, .. } => seconds.push((wall.as_millis() - TEN) / 1000),
            PlayItem::Gap { range, .. } => panic!("nothing is missing: {range:?}"),
            PlayItem::End => break,
        }
    }
    assert_eq!(seconds, (0..60).collect::<Vec<_>>());
    let begin: Vec<_> = inits.iter().map(|(at, _)| *at).collect();
    assert_eq!(begin, [0, 20, 40], "each format is announced");
    assert_ne!(inits[0].1, inits[1].1);
    assert_eq!(inits[0].1, inits[2].1);
}
