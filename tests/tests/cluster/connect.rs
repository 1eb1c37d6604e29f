//! Cameras call: their pods come, their relays play, their pictures lie in the bucket under the tenant's storage id.

use moorline_testkit::cluster::{SOON, condition};
use serde_json::{Value, json};

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

/// Reason and message of what a camera says of keys that an older one has, once that has this status.
fn duplicate(camera: &Value, status: &str) -> Option<[String; 2]> {
    let all = camera["status"]["conditions"].as_array()?;
    let is_it = |one: &&Value| one["type"] == "DuplicateKey" && one["status"] == status;
    let found = all.iter().find(is_it)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some([text("reason"), text("message")])
}

/// Somebody wrote a camera's key into an older camera too, and takes it out again.
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_whose_key_an_older_one_has_is_told_so_and_gets_in_once_it_is_its_own_again() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("one-key").await;
    let [first, _] = moorline.pair().await;
    let gate = tenant.camera("gate", 396).await;
    let hall = tenant.camera("hall", 397).await;
    let mut keys = Vec::new();
    for camera in [&gate, &hall] {
        let object = format!("camera/{}", camera.name);
        let seen = tenant.space.get(&[&object]).await.unwrap();
        keys.push(seen["spec"]["keys"][0].as_str().unwrap().to_owned());
    }
    let give_gate = async |keys: &[String]| {
        let patch = json!({"spec": {"keys": keys}}).to_string();
        let words = ["patch", "camera", "gate", "--type=merge", "-p", &*patch];
        tenant.space.kubectl(&words).await.unwrap();
    };
    give_gate(&keys[..]).await;
    let [reason, message] = tenant
        .until(&hall, "the word of its key", |camera| {
            duplicate(camera, "True")
        })
        .await;
    assert_eq!(reason, "KeyOfOlderCamera");
    let older = format!("the older camera {}/gate", tenant.name);
    let event = tenant.until_event(&hall, "KeyOfOlderCamera").await;
    assert_eq!(event["type"], "Warning", "{event:#}");
    let note = event["note"].as_str().unwrap();
    for part in [&*older, "SHA256:", "give this camera a key of its own"] {
        assert!(message.contains(part) && note.contains(part), "{event:#}");
    }
    let mut refused = hall.call(&moorline, &first);
    let ended = refused.child.wait(SOON).await.unwrap();
    assert!(!ended.success(), "{}", refused.child.tail());

    give_gate(&keys[..1]).await;
    let _call = hall.keeps_calling(&moorline, first.ssh());
    let [reason, _] = tenant
        .until(&hall, "the end of it", |camera| duplicate(camera, "False"))
        .await;
    assert_eq!(reason, "KeysOfItsOwn");
    let event = tenant.until_event(&hall, "KeysOfItsOwn").await;
    assert_eq!(event["type"], "Normal", "{event:#}");
    tenant.until_recorded(&hall).await;
    let seen = tenant.space.get(&["camera/gate"]).await.unwrap();
    assert_eq!(condition(&seen, "DuplicateKey"), None, "{seen:#}");
}
