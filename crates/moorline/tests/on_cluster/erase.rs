//! A camera that is removed with its recordings: whoever sweeps the store has to see it.

use serde_json::json;

use crate::cluster::{CAMERAS, Cluster};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_is_erased_stays_until_its_recordings_are_gone() {
    let cluster = Cluster::new("").await;
    cluster.run(&["tenant", "add", "acme"]).await.well();
    cluster.run(&["camera", "add", "acme/yard"]).await.well();
    let err = cluster
        .run(&["camera", "rm", "acme/yard", "--erase"])
        .await
        .refused();
    assert!(err.contains("hint: add --yes"), "{err}");
    let told = cluster
        .run(&["camera", "rm", "acme/yard", "--erase", "--yes"])
        .await
        .well();
    assert!(
        told.contains("its recordings are erased once it has drained"),
        "{told}"
    );
    let camera = cluster.api.get(CAMERAS, "t-acme", "yard").unwrap();
    assert_eq!(camera["spec"]["onDelete"], "erase");
    assert!(!camera["metadata"]["deletionTimestamp"].is_null());
    let finalizers = &camera["metadata"]["finalizers"];
    assert_eq!(
        finalizers,
        &json!(["moorline.dev/archive", "moorline.dev/recordings"])
    );
}
