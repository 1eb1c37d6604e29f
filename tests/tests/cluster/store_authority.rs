//! A store whose certificate is of an authority of the operator's own, which the chart was given (`store.authority`).

use crate::support::{Bucket, Moorline};

/// Signer and archiver are two programs with a TLS client each.
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_recorded_to_a_store_of_the_operators_own_authority() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let own = Bucket::with_tls(moorline.cluster().lab().unwrap()).await;
    assert!(own.url().starts_with("https://"), "{}", own.url());
    let tenant = moorline.tenant_with_own("tls", &own).await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 395).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    tenant.whole_in(&own, &yard, 0).await;
    // The sweeper believes it too.
    tenant.until_true("StoreSweepable").await;
    let elsewhere = tenant.archive(&yard);
    assert!(elsewhere.segments.is_empty(), "{elsewhere:#?}");
}
