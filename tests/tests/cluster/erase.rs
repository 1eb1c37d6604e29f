//! Recordings where their owner wants them, and gone when their owner wants that.

use moorline_testkit::{cluster::SOON, eventually};

use crate::support::{Archive, Bucket, Moorline, assert_in_order, now_us};

/// The keys are in one namespace for each purpose; nobody is restarted.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_records_to_a_bucket_of_its_own() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let own = Bucket::apart(moorline.cluster().lab().unwrap()).await;
    let tenant = moorline.tenant_with_own("own-bucket", &own).await;
    tenant.until_true("StoreSweepable").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 221).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    let archive = eventually("two segments in the own bucket", SOON, || async {
        let archive = Archive::of(&own, &tenant.storage, &yard.name);
        let whole = archive.segments.len() >= 2 && archive.uncovered().is_none();
        whole.then_some(archive)
    })
    .await;
    archive.pictures(&own, yard.number).await;
    let elsewhere = tenant.archive(&yard);
    assert!(elsewhere.segments.is_empty(), "{elsewhere:#?}");

    // Its sweeper's key is its own too.
    let id = format!("{}/yard", tenant.name);
    moorline
        .cli(&["camera", "rm", &id, "--erase", "--yes"])
        .await;
    eventually("nothing of it in the own bucket", SOON * 2, || async {
        let folder = format!("/{}/yard/", tenant.storage);
        let left = own.keys().iter().any(|key| key.contains(&folder));
        (!left).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_records_is_removed_with_all_that_was_recorded_and_no_other() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("erase").await;
    let [first, second] = moorline.pair().await;
    let (yard, gate) = (
        tenant.camera("yard", 231).await,
        tenant.camera("gate", 232).await,
    );
    let mut call = yard.call(&moorline, &first);
    let _gate = gate.call(&moorline, &second);
    for camera in [&yard, &gate] {
        tenant.until_stored(camera).await;
    }
    let id = format!("{}/yard", tenant.name);
    moorline
        .cli(&["camera", "rm", &id, "--erase", "--yes"])
        .await;
    // It is let in no more, drains, and goes when nothing is left.
    call.child.wait(SOON).await.unwrap();
    let gone = tenant.space.until_gone("camera/yard", SOON * 2);
    gone.await.unwrap();
    let folder = format!("/{}/yard/", tenant.storage);
    let keys = moorline.bucket.keys();
    let left: Vec<_> = keys.iter().filter(|key| key.contains(&folder)).collect();
    assert_eq!(left, Vec::<&String>::new());
    let erased = now_us();
    let archive = tenant.until_goes_on(&gate, erased).await;
    assert_in_order(
        &archive.pictures(&moorline.bucket, gate.number).await,
        gate.number,
    );
}
