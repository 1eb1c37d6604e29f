//! Cameras call: their pods come, their relays play, their pictures lie in the bucket under the tenant's storage id.

use moorline_testkit::cluster::condition;

use crate::support::{Call, Camera, Moorline, assert_in_order};

/// More than two segments' worth of pictures: 20 a second, 5 s a segment.
const SEGMENTS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn three_cameras_are_recorded_each_under_its_own_name() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("connect").await;
    let [first, second] = moorline.pair().await;
    let mut cameras: Vec<(Camera, Call)> = Vec::new();
    for (number, (name, replica)) in [("yard", &first), ("gate", &second), ("shop", &first)]
        .into_iter()
        .enumerate()
    {
        let number = u32::try_from(number + 1).unwrap();
        let camera = tenant.camera(name, number).await;
        let call = camera.call(&moorline, replica);
        cameras.push((camera, call));
    }
    for (camera, _call) in &cameras {
        let seen = tenant.until_recorded(camera).await;
        assert_eq!(seen["status"]["session"]["generation"], 1, "{seen:#}");
        let [relay, archiver] = tenant.pair(camera).await;
        assert_eq!((relay.restarts, archiver.restarts), (0, 0));
        let archive = tenant
            .until_archived(camera, "two segments in the bucket", |archive| {
                archive.segments.len() >= SEGMENTS && archive.uncovered().is_none()
            })
            .await;
        let pictures = archive.pictures(&moorline.bucket, camera.number).await;
        assert_in_order(&pictures, camera.number);
        // One reader pulls the camera, whoever reads the relay.
        assert_eq!(camera.source.counters().plays, 1);
    }
    for key in moorline.bucket.keys() {
        let ours = key.starts_with(&format!("v1/r014/{}/", tenant.storage));
        assert!(ours || key.starts_with('.'), "{key}");
    }
    let listed = tenant.space.get(&["cameras"]).await.unwrap();
    for camera in listed["items"].as_array().unwrap() {
        assert_eq!(condition(camera, "Ready"), Some("True"), "{camera:#}");
    }
}
