//! The S3 store against Garage, the strictest teacher: it refuses the SDK's default checksums, and answers 200 to conditions that it ignores.
#![cfg(feature = "s3")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod common;

use common::*;
use moorline_base::SystemClock;
use moorline_core::port::{SegmentSink as _, SegmentStore as _};
use moorline_store::s3::{Digest, Verify};
use moorline_store::{S3Config, S3Store};
use moorline_testkit::garage::Garage;
use moorline_testkit::or_skip;

fn config(garage: &Garage) -> S3Config {
    S3Config {
        region: Garage::REGION.to_owned(),
        bucket: Garage::BUCKET.to_owned(),
        access_key: Garage::ACCESS_KEY.to_owned(),
        secret_key: Garage::SECRET_KEY.to_owned().into(),
        ..s3_config(garage.endpoint())
    }
}

#[tokio::test]
#[ignore = "long: Garage has to be built first"]
async fn garage_keeps_the_contract() {
    let Some(garage) = or_skip(Garage::start().await) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::at(folder.path());
    let store = S3Store::new(config(&garage), SystemClock::shared()).unwrap();
    suite(&store, &spool, Seed::Copies).await;
}

#[tokio::test]
#[ignore = "long: Garage has to be built first"]
async fn garage_takes_either_digest_and_is_known_after_a_probe() {
    let Some(garage) = or_skip(Garage::start().await) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::at(folder.path());
    for (digest, verify, minute) in [
        (Digest::Md5, Verify::Head, 1),
        (Digest::Crc32c, Verify::Head, 2),
        (Digest::Md5, Verify::Etag, 3),
    ] {
        let config = S3Config {
            digest,
            verify,
            ..config(&garage)
        };
        let store = S3Store::new(config, SystemClock::shared()).unwrap();
        let profile = store.probe().await.unwrap();
        assert!(profile.refuses_wrong_digest, "{digest:?}: {profile:?}");
        let alarms = profile
            .problems()
            .into_iter()
            .filter(|problem| problem.is_alarm());
        assert_eq!(alarms.count(), 0, "{profile:?}");
        let at = format!("2026/11/20/21{minute:02}05.250");
        let key = segment("r030", &at, 1, minute, "full");
        let content = media(2_000_000);
        store.put(&spool.seal(&key, &content)).await.unwrap();
        let stored = store.get(&key.to_string(), 0..3_000_000).await.unwrap();
        assert_eq!(stored, content);
    }
}

#[tokio::test]
#[ignore = "long: Garage has to be built first"]
async fn garage_refuses_another_secret_and_the_file_stays() {
    let Some(garage) = or_skip(Garage::start().await) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::at(folder.path());
    let config = S3Config {
        secret_key: "0".repeat(64).into(),
        ..config(&garage)
    };
    let store = S3Store::new(config, SystemClock::shared()).unwrap();
    let key = segment("r030", "2026/11/20/211005.250", 1, 0, "full");
    // So short that it is sent before Garage, which reads no body of a stranger, closes: else that is a broken pipe at first.
    let file = spool.seal(&key, &media(400));
    is_refused(store.put(&file).await);
    assert!(file.path.exists());
}
