//! The contract of `SegmentStore` and `SegmentSink` as one suite, and what the tests of every adapter share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use md5::{Digest as _, Md5};
use moorline_base::SystemClock;
use moorline_core::port::{SealedFile, SegmentSink, SegmentStore, StoreError};
use moorline_core::segment::{ObjectKey, Retention, Tier};
use moorline_core::{CameraId, Timestamp};
use moorline_store::{S3Config, S3Store};
use moorline_testkit::s3::S3Server;

pub(crate) fn camera() -> CameraId {
    "home/yard".parse().unwrap()
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A segment of a minute of `home/yard` that starts at `2026/11/20/211005.250` and the like.
pub(crate) fn segment(class: &str, start: &str, take: u32, sequence: u32, tier: &str) -> ObjectKey {
    let key = format!(
        "v1/{class}/home/yard/{start}Z_00060000_g0000000007_{take:08x}_{sequence:06}_b41d0e_{tier}.mp4"
    );
    key.parse().unwrap()
}

pub(crate) fn marker(class: &str, start: &str, cause: &str) -> ObjectKey {
    let key = format!("v1/{class}/home/yard/{start}Z_00060000_g0000000007_gap_{cause}_full.json");
    key.parse().unwrap()
}

/// Bytes with the outline of a segment.
pub(crate) fn media(length: usize) -> Vec<u8> {
    let mut bytes = b"\0\0\0\x0cftypiso6\0\0\0\x08moov".to_vec();
    let rest = length.saturating_sub(bytes.len());
    bytes.extend_from_slice(&u32::try_from(rest).unwrap().to_be_bytes());
    bytes.extend_from_slice(b"mdat");
    bytes.extend((0..rest - 8).map(|index| (index % 251) as u8));
    bytes
}

/// A spool of one folder.
pub(crate) struct Spool(PathBuf);

impl Spool {
    pub(crate) fn at(path: &Path) -> Self {
        std::fs::create_dir_all(path).unwrap();
        Self(path.to_owned())
    }

    pub(crate) fn seal(&self, key: &ObjectKey, content: &[u8]) -> SealedFile {
        let path = self.0.join(key.to_string().replace('/', "_"));
        std::fs::write(&path, content).unwrap();
        SealedFile {
            path,
            key: key.clone(),
            bytes: content.len() as u64,
            md5: Some(Md5::digest(content).into()),
        }
    }
}

pub(crate) fn s3(endpoint: String) -> S3Store {
    S3Store::new(s3_config(endpoint), SystemClock::shared()).unwrap()
}

pub(crate) fn s3_config(endpoint: String) -> S3Config {
    S3Config {
        endpoint: Some(endpoint),
        region: S3Server::REGION.to_owned(),
        bucket: S3Server::BUCKET.to_owned(),
        access_key: S3Server::ACCESS_KEY.to_owned(),
        secret_key: S3Server::SECRET_KEY.to_owned().into(),
        path_style: None,
        digest: Default::default(),
        verify: Default::default(),
        authority: None,
    }
}

pub(crate) fn keys(page: &moorline_core::port::Page) -> Vec<&str> {
    page.objects
        .iter()
        .map(|object| object.key.as_str())
        .collect()
}

#[track_caller]
pub(crate) fn is_missing<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Missing(_))), "{result:?}");
}

#[track_caller]
pub(crate) fn is_refused<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
}

/// How many objects get into a store at once.
#[derive(Clone, Copy)]
pub(crate) enum Seed<'a> {
    /// The adapter's objects lie here as files.
    Files(&'a Path),
    /// One put, and copies inside the store.
    Copies,
}

impl Seed<'_> {
    async fn all<S: SegmentStore + SegmentSink>(self, store: &S, spool: &Spool, keys: &[String]) {
        match self {
            Self::Files(files) => {
                for key in keys {
                    let file = files.join(key);
                    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                    std::fs::write(file, b"x").unwrap();
                }
            }
            Self::Copies => {
                let seed = segment("r001", "2026/11/20/000000.000", 1, 0, "full");
                store.put(&spool.seal(&seed, b"x")).await.unwrap();
                let seed = seed.to_string();
                let copies = keys.iter().map(|key| store.copy(&seed, key));
                let mut copies = futures::stream::iter(copies).buffer_unordered(16);
                while let Some(copied) = copies.next().await {
                    copied.unwrap();
                }
                store.delete(&seed).await.unwrap();
            }
        }
    }
}

/// The whole contract, on an empty store.
pub(crate) async fn suite<S: SegmentStore + SegmentSink>(store: &S, spool: &Spool, seed: Seed<'_>) {
    a_put_is_stored_and_leaves_the_spool(store, spool).await;
    a_put_may_be_repeated(store, spool).await;
    a_file_that_changed_stays(store, spool).await;
    what_is_missing_is_told(store).await;
    objects_are_copied_and_deleted(store, spool).await;
    what_is_no_key_is_refused(store).await;
    the_newest_end_is_found_over_classes(store, spool).await;
    listings_come_in_pages_in_key_order(store, spool, seed).await;
}

async fn a_put_is_stored_and_leaves_the_spool<S: SegmentStore + SegmentSink>(
    store: &S,
    spool: &Spool,
) {
    let key = segment("r030", "2026/11/20/211005.250", 1, 0, "full");
    let content = media(300_000);
    let file = spool.seal(&key, &content);
    store.put(&file).await.unwrap();
    assert!(
        !file.path.exists(),
        "the spool's file stands after the acknowledgement"
    );
    let name = key.to_string();
    assert_eq!(store.head(&name).await.unwrap(), 300_000);
    assert_eq!(store.get(&name, 0..400_000).await.unwrap(), content);
    assert_eq!(store.get(&name, 10..14).await.unwrap(), &content[10..14]);
    assert_eq!(
        store.get(&name, 299_998..300_009).await.unwrap(),
        &content[299_998..]
    );
    assert_eq!(
        store.get(&name, 300_000..300_001).await.unwrap(),
        Bytes::new()
    );
    assert_eq!(store.get(&name, 7..7).await.unwrap(), Bytes::new());
    let page = store.list("v1/r030/home/yard/", "").await.unwrap();
    assert_eq!((keys(&page), page.more), (vec![name.as_str()], false));
    assert_eq!(page.objects[0].bytes, 300_000);
    let gap = spool.seal(&marker("r030", "2026/11/20/211105.250", "restart"), b"{}");
    store.put(&gap).await.unwrap();
    assert_eq!(store.head(&gap.key.to_string()).await.unwrap(), 2);
}

async fn a_put_may_be_repeated<S: SegmentStore + SegmentSink>(store: &S, spool: &Spool) {
    let key = segment("r030", "2026/11/20/211005.250", 1, 0, "full");
    let file = spool.seal(&key, &media(300_000));
    store.put(&file).await.unwrap();
    assert!(!file.path.exists());
    // Cancelled after the acknowledgement and come again.
    store.put(&file).await.unwrap();
    let never = SealedFile {
        key: segment("r030", "2026/11/20/220000.000", 9, 0, "full"),
        ..file
    };
    is_missing(store.put(&never).await);
}

async fn a_file_that_changed_stays<S: SegmentStore + SegmentSink>(store: &S, spool: &Spool) {
    let key = segment("r030", "2026/11/20/221005.250", 2, 0, "full");
    let file = spool.seal(&key, &media(5_000));
    let short = SealedFile {
        bytes: 6_000,
        ..file.clone()
    };
    let refused = store.put(&short).await;
    assert!(matches!(refused, Err(StoreError::Digest(_))), "{refused:?}");
    assert!(file.path.exists());
    is_missing(store.head(&key.to_string()).await);
    std::fs::remove_file(&file.path).unwrap();
}

async fn what_is_missing_is_told<S: SegmentStore>(store: &S) {
    let nothing = "v1/r030/home/yard/2026/11/20/nothing.mp4";
    is_missing(store.head(nothing).await);
    is_missing(store.get(nothing, 0..10).await);
    is_missing(store.get(nothing, 3..3).await);
    is_missing(store.copy(nothing, "v1/keep/x").await);
    store.delete(nothing).await.unwrap();
    assert_eq!(
        store.list("v1/r999/", "").await.unwrap(),
        Default::default()
    );
    assert_eq!(
        store
            .list("v1/r030/home/ya", "v1/r030/home/yb")
            .await
            .unwrap(),
        Default::default()
    );
}

async fn objects_are_copied_and_deleted<S: SegmentStore + SegmentSink>(store: &S, spool: &Spool) {
    let from = segment("r030", "2026/11/21/000000.000", 3, 0, "low");
    store.put(&spool.seal(&from, &media(70_000))).await.unwrap();
    let (from, to) = (
        from.to_string(),
        "v1/keep/home/yard/2026/11/21/held copy+1.mp4",
    );
    store.copy(&from, to).await.unwrap();
    store.copy(&from, to).await.unwrap();
    assert_eq!(store.get(to, 0..70_000).await.unwrap(), media(70_000));
    store.delete(&from).await.unwrap();
    store.delete(&from).await.unwrap();
    is_missing(store.head(&from).await);
    assert_eq!(store.head(to).await.unwrap(), 70_000);
    store.delete(to).await.unwrap();
    assert_eq!(
        store.list("v1/keep/", "").await.unwrap(),
        Default::default()
    );
}

async fn what_is_no_key_is_refused<S: SegmentStore>(store: &S) {
    for bad in [
        "",
        "/etc/passwd",
        "../outside",
        "v1/../../outside",
        "v1//x",
        "v1/./x",
        "v1/x/",
    ] {
        is_refused(store.get(bad, 0..10).await);
        is_refused(store.head(bad).await);
        is_refused(store.delete(bad).await);
        is_refused(store.copy("v1/x", bad).await);
    }
    is_refused(store.list("../", "").await);
    is_refused(store.get("v1/x", 0..u64::MAX).await);
}

async fn the_newest_end_is_found_over_classes<S: SegmentStore + SegmentSink>(
    store: &S,
    spool: &Spool,
) {
    let classes = [Retention::Days(30), Retention::Days(14), Retention::Keep];
    let stranger: CameraId = "home/nobody".parse().unwrap();
    assert_eq!(
        store
            .last_end(&stranger, &classes, Tier::Full)
            .await
            .unwrap(),
        None
    );
    for key in [
        segment("r014", "2026/12/01/000001.000", 4, 0, "full"),
        segment("r014", "2026/12/01/000101.000", 4, 1, "full"),
        segment("r014", "2027/01/01/000000.000", 5, 0, "low"),
        marker("r014", "2026/12/01/000201.000", "restart"),
    ] {
        store.put(&spool.seal(&key, &media(100))).await.unwrap();
    }
    let end = |classes| async move {
        store
            .last_end(&camera(), classes, Tier::Full)
            .await
            .unwrap()
    };
    assert_eq!(
        end(&classes[..]).await,
        Some(at("2026-12-01T00:03:01Z")),
        "a marker counts, another tier does not"
    );
    assert_eq!(
        end(&classes[..1]).await,
        Some(at("2026-11-20T21:12:05.250Z"))
    );
    let low = store
        .last_end(&camera(), &classes, Tier::Low)
        .await
        .unwrap();
    assert_eq!(low, Some(at("2027-01-01T00:01:00Z")));
}

async fn listings_come_in_pages_in_key_order<S: SegmentStore + SegmentSink>(
    store: &S,
    spool: &Spool,
    seed: Seed<'_>,
) {
    let start = at("2026-11-20T00:00:00Z");
    let mut expected = Vec::new();
    for index in 0..1_440_u64 {
        let time = (start + Duration::from_secs(60 * index)).time_of_day();
        let name = format!(
            "{:02}{:02}00.000Z_00060000_g0000000001_00000001_{index:06}_000000_full.mp4",
            time.hour, time.minute
        );
        expected.push(format!("v1/r007/acme/gate/2026/11/20/{name}"));
    }
    // A camera whose name begins as another's: '-' sorts before '/'.
    let other = "v1/r007/acme/gate-2/2026/11/20/x.mp4".to_owned();
    let all: Vec<String> = expected.iter().cloned().chain([other]).collect();
    seed.all(store, spool, &all).await;

    let first = store.list("v1/r007/acme/gate/", "").await.unwrap();
    assert_eq!(
        (keys(&first), first.more),
        (expected[..1000].iter().map(String::as_str).collect(), true)
    );
    let second = store
        .list("v1/r007/acme/gate/", &expected[999])
        .await
        .unwrap();
    assert_eq!(
        (keys(&second), second.more),
        (expected[1000..].iter().map(String::as_str).collect(), false)
    );
    let seek = store
        .list(
            "v1/r007/acme/gate/2026/11/20/",
            "v1/r007/acme/gate/2026/11/20/2355",
        )
        .await
        .unwrap();
    assert_eq!(
        keys(&seek),
        expected[1435..]
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
    );
    let both = store
        .list("v1/r007/acme/", "v1/r007/acme/gate")
        .await
        .unwrap();
    assert_eq!(both.objects[0].key, "v1/r007/acme/gate-2/2026/11/20/x.mp4");
    assert_eq!(both.objects[1].key, expected[0]);
    assert_eq!(
        keys(&store.list("v1/r007/acme/gate-", "").await.unwrap()).len(),
        1
    );
}
