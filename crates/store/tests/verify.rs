//! `segments verify` on both adapters, and the sweeper on a directory.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod common;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use common::*;
use moorline_base::{CancellationToken, SimulatedClock, SystemClock};
use moorline_core::TimeRange;
use moorline_core::coverage::Held;
use moorline_core::port::{
    OpenSegment, OpenSegments, Page, SealedFile, SegmentSink as _, SegmentStore, StoreError,
};
use moorline_core::segment::{GapKey, ObjectKey, Retention, Tier};
use moorline_core::{CameraId, Cause};
use moorline_store::verify::{Depth, Digests, Finding, Report, Request, Torn, verify};
use moorline_store::{DirectoryStore, SweepPolicy, SweepState, Sweeper};
use moorline_testkit::s3::S3Server;

const CLASSES: [Retention; 2] = [Retention::Days(30), Retention::Keep];

struct Holding(Vec<OpenSegment>);

#[async_trait]
impl OpenSegments for Holding {
    fn of(&self, _: &CameraId, _: Tier) -> (Vec<OpenSegment>, Vec<GapKey>) {
        (self.0.clone(), Vec::new())
    }

    async fn read(&self, segment: &OpenSegment, _: Range<u64>) -> Result<Bytes, StoreError> {
        Err(StoreError::Missing(segment.key.to_string()))
    }
}

async fn look(
    store: &dyn SegmentStore,
    depth: Depth,
    spool: Option<&dyn OpenSegments>,
    digests: Option<&dyn Digests>,
) -> Report {
    let camera = camera();
    let request = Request {
        camera: &camera,
        classes: &CLASSES,
        tier: Tier::Full,
        range: TimeRange::new(at("2026-11-20T00:00:00Z"), at("2026-11-21T00:00:00Z")),
        depth,
        spool,
        digests,
    };
    verify(store, &request).await.unwrap()
}

fn minute(minute: u32, sequence: u32) -> ObjectKey {
    segment(
        "r030",
        &format!("2026/11/20/10{minute:02}00.000"),
        1,
        sequence,
        "full",
    )
}

struct Archive {
    folder: tempfile::TempDir,
    store: DirectoryStore,
    spool: Spool,
}

impl Archive {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store =
            DirectoryStore::open(&folder.path().join("archive"), SystemClock::shared()).unwrap();
        let spool = Spool::at(&folder.path().join("spool"));
        Self {
            folder,
            store,
            spool,
        }
    }

    async fn hold(&self, key: &ObjectKey) {
        self.store
            .put(&self.spool.seal(key, &media(1_000)))
            .await
            .unwrap();
    }
}

/// A disk with a bad sector under one object, or one that is away.
struct Hurt {
    store: DirectoryStore,
    key: String,
    away: bool,
}

#[async_trait]
impl SegmentStore for Hurt {
    async fn list(&self, prefix: &str, after: &str) -> Result<Page, StoreError> {
        self.store.list(prefix, after).await
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        match key == self.key {
            true => Err(StoreError::Unavailable("Input/output error".to_owned())),
            false => self.store.get(key, range).await,
        }
    }

    async fn head(&self, key: &str) -> Result<u64, StoreError> {
        match self.away {
            true => Err(StoreError::Unavailable("it is away".to_owned())),
            false => self.store.head(key).await,
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.store.delete(key).await
    }

    async fn copy(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.store.copy(from, to).await
    }
}

#[tokio::test]
async fn an_object_on_a_bad_sector_is_found_and_the_others_are_looked_at() {
    let archive = Archive::new();
    for sequence in 0..3 {
        archive.hold(&minute(sequence, sequence)).await;
    }
    let mut hurt = Hurt {
        store: archive.store.clone(),
        key: minute(1, 1).to_string(),
        away: false,
    };
    for depth in [Depth::Heads { every: 1 }, Depth::Whole] {
        let report = look(&hurt, depth, None, None).await;
        assert_eq!(report.read, 3);
        let bad = Finding::Unreadable {
            key: hurt.key.clone(),
        };
        assert!(report.findings.contains(&bad), "{report:?}");
    }
    hurt.away = true;
    let camera = camera();
    let request = Request {
        camera: &camera,
        classes: &CLASSES,
        tier: Tier::Full,
        range: TimeRange::new(at("2026-11-20T00:00:00Z"), at("2026-11-21T00:00:00Z")),
        depth: Depth::Heads { every: 1 },
        spool: None,
        digests: None,
    };
    assert!(
        verify(&hurt, &request).await.is_err(),
        "no finding, an outage"
    );
}

#[tokio::test]
async fn a_number_that_is_missing_inside_a_take_was_lost_by_the_store() {
    let archive = Archive::new();
    for (at, sequence) in [(58, 0), (59, 1)] {
        archive.hold(&minute(at, sequence)).await;
    }
    archive
        .hold(&segment("r030", "2026/11/20/110200.000", 1, 4, "full"))
        .await;
    let report = look(&archive.store, Depth::Listing, None, None).await;
    assert_eq!((report.segments, report.bytes, report.read), (3, 3_000, 0));
    let [
        Finding::Lost {
            first: 2,
            last: 3,
            range,
            ..
        },
    ] = report.findings[..]
    else {
        panic!("{report:?}")
    };
    assert_eq!(
        range,
        TimeRange::new(at("2026-11-20T11:00:00Z"), at("2026-11-20T11:02:00Z"))
    );

    // The gap is written, and each later verify tells of it: a second look does not make the loss good.
    assert_eq!(report.mark(&archive.store).await.unwrap(), 1);
    let marker = report.markers().remove(0);
    assert_eq!(marker.cause, Cause::StoreLost);
    for _ in 0..2 {
        let again = look(&archive.store, Depth::Listing, None, None).await;
        let still = Finding::StillLost {
            key: marker.to_string(),
            range,
        };
        assert_eq!((again.gaps, &again.findings), (1, &vec![still]));
        assert_eq!(again.mark(&archive.store).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_loss_at_the_seam_of_two_stretches_is_found_once() {
    let archive = Archive::new();
    archive.hold(&minute(57, 0)).await;
    archive.hold(&minute(59, 2)).await;
    let camera = camera();
    let seam = at("2026-11-20T10:58:30Z");
    let mut found = Vec::new();
    for range in [
        TimeRange::new(at("2026-11-20T10:00:00Z"), seam),
        TimeRange::new(seam, at("2026-11-20T12:00:00Z")),
    ] {
        let request = Request {
            camera: &camera,
            classes: &CLASSES,
            tier: Tier::Full,
            range,
            depth: Depth::Listing,
            spool: None,
            digests: None,
        };
        let report = verify(&archive.store, &request).await.unwrap();
        assert_eq!(report.segments, 1, "each is counted once");
        found.extend(report.findings);
    }
    assert!(
        matches!(
            found[..],
            [Finding::Lost {
                first: 1,
                last: 1,
                ..
            }]
        ),
        "{found:?}"
    );
}

#[tokio::test]
async fn what_the_spool_holds_or_a_marker_explains_is_not_lost() {
    let archive = Archive::new();
    archive.hold(&minute(0, 0)).await;
    archive.hold(&minute(2, 2)).await;
    archive
        .hold(&marker("r030", "2026/11/20/100300.000", "spool_full"))
        .await;
    archive.hold(&minute(4, 4)).await;
    let ObjectKey::Segment(key) = minute(1, 1) else {
        unreachable!()
    };
    let spool = Holding(vec![OpenSegment {
        key,
        held: Held::Spool,
        bytes: 10,
    }]);
    assert_eq!(
        look(&archive.store, Depth::Listing, Some(&spool), None)
            .await
            .findings,
        []
    );
    assert_eq!(
        look(&archive.store, Depth::Listing, None, None)
            .await
            .findings
            .len(),
        1
    );
}

#[tokio::test]
async fn a_lost_hour_is_marked_in_pieces_of_full_hours() {
    let archive = Archive::new();
    archive.hold(&minute(30, 0)).await;
    archive
        .hold(&segment("r030", "2026/11/20/123000.000", 1, 100, "full"))
        .await;
    let report = look(&archive.store, Depth::Listing, None, None).await;
    let minutes: Vec<_> = report
        .markers()
        .iter()
        .map(|key| key.duration.as_secs() / 60)
        .collect();
    assert_eq!(minutes, [29, 60, 30]);
}

#[tokio::test]
async fn empty_short_and_foreign_objects_are_found_as_deep_as_asked() {
    let archive = Archive::new();
    for sequence in 0..4 {
        archive.hold(&minute(sequence, sequence)).await;
    }
    let file = |sequence| {
        archive
            .store
            .path()
            .join(minute(sequence, sequence).to_string())
    };
    std::fs::write(file(0), b"").unwrap();
    std::fs::write(file(1), b"not a segment at all").unwrap();
    std::fs::write(file(2), &media(1_000)[..700]).unwrap();
    std::fs::write(
        archive
            .store
            .path()
            .join("v1/r030/home/yard/2026/11/20/110000.txt"),
        b"?",
    )
    .unwrap();

    let kinds = |report: Report| -> Vec<Torn> {
        let torn = |finding: &Finding| match finding {
            Finding::Torn { why, .. } => *why,
            other => panic!("{other:?}"),
        };
        report.findings.iter().map(torn).collect()
    };
    let listing = look(&archive.store, Depth::Listing, None, None).await;
    assert_eq!(listing.foreign, 1);
    assert_eq!(kinds(listing), [Torn::Empty]);
    let heads = look(&archive.store, Depth::Heads { every: 1 }, None, None).await;
    assert_eq!(kinds(heads), [Torn::Empty, Torn::NoInit]);
    let spots = look(&archive.store, Depth::Heads { every: 3 }, None, None).await;
    assert_eq!(spots.read, 1);
    let whole = look(&archive.store, Depth::Whole, None, None).await;
    assert_eq!(kinds(whole), [Torn::Empty, Torn::NoInit, Torn::Cut]);
}

#[tokio::test]
async fn a_bit_that_turned_in_the_bucket_is_found_by_its_digest() {
    let server = S3Server::start().await.unwrap();
    let store = s3(server.endpoint());
    store.probe().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::at(folder.path());
    for sequence in 0..2 {
        store
            .put(&spool.seal(&minute(sequence, sequence), &media(9_000)))
            .await
            .unwrap();
    }
    assert_eq!(
        look(&store, Depth::Whole, None, Some(&store))
            .await
            .findings,
        []
    );
    let spoiled = minute(1, 1).to_string();
    server.spoil(&spoiled).unwrap();
    assert_eq!(
        look(&store, Depth::Whole, None, None).await.findings,
        [],
        "the outline is whole"
    );
    let report = look(
        &store,
        Depth::Whole,
        None,
        Some(&Stored(&store, [(spoiled.clone(), media(9_000))])),
    )
    .await;
    assert_eq!(report.findings, [Finding::Spoiled { key: spoiled }]);
}

/// s3s-fs computes the ETag anew from the file that was spoiled; a real store keeps the one of the put.
struct Stored<'a>(&'a moorline_store::S3Store, [(String, Vec<u8>); 1]);

#[async_trait]
impl Digests for Stored<'_> {
    async fn md5(&self, key: &str) -> Result<Option<[u8; 16]>, StoreError> {
        use md5::{Digest as _, Md5};
        match self.1.iter().find(|(known, _)| known == key) {
            Some((_, content)) => Ok(Some(Md5::digest(content).into())),
            None => self.0.md5(key).await,
        }
    }
}

#[tokio::test]
async fn the_sweeper_deletes_what_expired_and_leaves_spool_and_strangers_alone() {
    let archive = Archive::new();
    let old = segment("r001", "2026/11/18/100000.000", 1, 0, "full");
    let kept = segment("keep", "2026/11/18/100000.000", 1, 0, "full");
    let young = minute(0, 0);
    for key in [&old, &kept, &young] {
        archive.hold(key).await;
    }
    let waiting: SealedFile = archive.spool.seal(
        &segment("r001", "2026/11/17/100000.000", 2, 0, "full"),
        &media(100),
    );
    let stranger = archive.store.path().join("v1/r001/notes.txt");
    std::fs::write(&stranger, b"mine").unwrap();
    let clock = SimulatedClock::new(at("2026-11-20T12:00:00Z").as_millis());
    let policy = SweepPolicy {
        max_percent: 100,
        min_free: 0,
        ..SweepPolicy::default()
    };
    let sweeper = Sweeper::of_directory(
        archive.store.clone(),
        policy,
        SweepState::in_memory(),
        Arc::new(clock.clone()),
    );
    assert_eq!(sweeper.run_once().await.unwrap().objects, 1);
    is_missing(archive.store.head(&old.to_string()).await);
    for key in [&kept, &young] {
        archive.store.head(&key.to_string()).await.unwrap();
    }
    assert!(waiting.path.exists() && stranger.exists());

    // The same by age alone, as for a bucket; time passes, and cancelling ends it.
    clock.set_wall_ms(at("2026-12-20T10:01:00Z").as_millis());
    let by_age = Sweeper::by_age(
        Arc::new(archive.store.clone()),
        policy,
        SweepState::in_memory(),
        Arc::new(clock.clone()),
    );
    let cancel = CancellationToken::new();
    let ended = async {
        clock.sleepers(1).await;
        cancel.cancel();
    };
    tokio::time::timeout(Duration::from_secs(60), async {
        tokio::join!(by_age.run(&cancel), ended)
    })
    .await
    .expect("it ends");
    is_missing(archive.store.head(&young.to_string()).await);
    archive.store.head(&kept.to_string()).await.unwrap();
}

#[tokio::test]
async fn room_is_made_by_the_oldest_and_remembered_first() {
    let archive = Archive::new();
    for sequence in 0..10 {
        archive.hold(&minute(sequence, sequence)).await;
    }
    let path = archive.folder.path().join("swept.json");
    let state = SweepState::open(path.clone()).unwrap();
    let clock = Arc::new(SimulatedClock::new(at("2026-11-20T12:00:00Z").as_millis()));
    let available = archive.store.space().await.unwrap().available;
    // Much more than these few kilobytes is to be free: all but what is younger than an hour goes.
    let policy = SweepPolicy {
        min_free: available.saturating_mul(2),
        spare: Duration::from_secs(115 * 60),
        ..SweepPolicy::default()
    };
    let sweeper =
        Sweeper::of_directory(archive.store.clone(), policy, state.clone(), clock.clone());
    let swept = sweeper.run_once().await.unwrap();
    assert_eq!((swept.objects, swept.bytes), (5, 5_000));
    assert!(swept.short > 0);
    let expected = Some(at("2026-11-20T10:05:00Z"));
    assert_eq!(
        (
            state.room_before(),
            SweepState::open(path).unwrap().room_before()
        ),
        (expected, expected)
    );
    // A state that cannot be written down keeps the recordings.
    let unwritable = SweepState::open(archive.folder.path().join("missing/swept.json")).unwrap();
    let policy = SweepPolicy {
        spare: Duration::ZERO,
        ..policy
    };
    let sweeper = Sweeper::of_directory(archive.store.clone(), policy, unwritable, clock);
    assert!(sweeper.run_once().await.is_err());
    assert_eq!(
        archive.store.list("v1/", "").await.unwrap().objects.len(),
        5
    );
}
