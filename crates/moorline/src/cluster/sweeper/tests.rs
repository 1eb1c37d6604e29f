use bytes::Bytes;
use moorline_core::Timestamp;
use moorline_core::port::SegmentStore as _;
use serde_json::json;

use super::super::testing::{CAMERAS, TENANTS, World, camera, tenant};
use super::*;

fn broom(world: &World) -> Broom {
    Broom {
        stores: world.stores.clone(),
        erasures: Erasures::new(&world.directory, Arc::clone(&world.clock)),
        pace: 1000,
        clock: Arc::clone(&world.clock),
    }
}

/// Keys of a minute of that camera, so many days ago.
fn key(class: &str, storage_id: &str, camera: &str, days: u64, world: &World) -> String {
    let at = Timestamp::from_millis(world.clock.wall_ms()) - Duration::from_secs(days * 86_400);
    let text = at.to_string();
    let (date, time) = text.split_once('T').unwrap();
    let time = time.replace(':', "");
    format!(
        "v1/{class}/{storage_id}/{camera}/{}/{time}_00060000_g0000000007_7f3a9c21_000042_b41d0e_full.mp4",
        date.replace('-', "/")
    )
}

async fn put(world: &World, keys: &[&str]) {
    for key in keys {
        let store = world.stores.installation();
        store
            .put_bytes(key, Bytes::from_static(b"media"))
            .await
            .unwrap();
    }
}

async fn left(world: &World) -> Vec<String> {
    let page = world.stores.installation().list("v1/", "").await.unwrap();
    page.objects.into_iter().map(|object| object.key).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_its_class_goes_and_the_second_pass_finds_nothing() {
    let world = World::new(Keys::Delete, "moorline-store-delete").await;
    let old = key("r001", "k7q2w9d4", "yard", 3, &world);
    let young = key("r030", "k7q2w9d4", "yard", 3, &world);
    let kept = key("keep", "k7q2w9d4", "yard", 900, &world);
    put(&world, &[&old, &young, &kept]).await;
    let (broom, stop) = (broom(&world), CancellationToken::new());
    broom.sweep(&stop).await;
    assert_eq!(left(&world).await, [kept.clone(), young.clone()]);
    broom.sweep(&stop).await;
    assert_eq!(left(&world).await, [kept, young]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_is_erased_after_it_has_drained_and_nothing_else() {
    let world = World::new(Keys::Delete, "moorline-store-delete").await;
    world
        .api
        .put(TENANTS, tenant("acme", "k7q2w9d4", json!({})));
    let mut yard = camera("acme", "yard", json!(["moorline.dev/archive"]));
    yard["spec"]["onDelete"] = "erase".into();
    world.api.put(CAMERAS, yard);
    let mine = [
        key("r001", "k7q2w9d4", "yard", 0, &world),
        key("keep", "k7q2w9d4", "yard", 9, &world),
        "v1/idx/k7q2w9d4/yard/2026-11-20.json.zst".to_owned(),
    ];
    let others = [
        key("r001", "k7q2w9d4", "yard-2", 0, &world),
        key("r001", "other", "yard", 0, &world),
    ];
    put(
        &world,
        &[&mine[0], &mine[1], &mine[2], &others[0], &others[1]],
    )
    .await;
    let (broom, stop) = (broom(&world), CancellationToken::new());
    let known = || {
        world
            .directory
            .cache()
            .camera(&"acme/yard".parse().unwrap())
    };
    world.until("the camera", || known().is_some()).await;
    broom.erase(&stop).await;
    let finalizers = |world: &World| {
        let yard = world.api.get(CAMERAS, "t-acme", "yard");
        yard.map(|yard| yard["metadata"]["finalizers"].clone())
    };
    let both = json!(["moorline.dev/archive", "moorline.dev/recordings"]);
    assert_eq!(
        finalizers(&world),
        Some(both),
        "kubectl delete waits for the erasing"
    );
    world.api.patch(
        CAMERAS,
        "t-acme",
        "yard",
        &json!({"metadata": {"deletionTimestamp": "2026-11-20T00:00:00Z"}}),
    );
    world
        .until("the deletion", || {
            known().is_some_and(|known| known.is_leaving())
        })
        .await;
    broom.erase(&stop).await;
    assert_eq!(
        left(&world).await.len(),
        5,
        "its archiver has not drained yet"
    );
    world.api.patch(
        CAMERAS,
        "t-acme",
        "yard",
        &json!({"metadata": {"finalizers": ["moorline.dev/recordings"]}}),
    );
    world
        .until("the draining's end", || !broom.erasures.due().is_empty())
        .await;
    broom.erase(&stop).await;
    let mut expected = others.to_vec();
    expected.sort();
    assert_eq!(left(&world).await, expected);
    assert_eq!(finalizers(&world), None, "it is gone");
    broom.erase(&stop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_tenants_recordings_go_and_the_sweeper_says_so() {
    let world = World::new(Keys::Delete, "moorline-store-delete").await;
    let mut acme = tenant("acme", "k7q2w9d4", json!({"onDelete": "erase"}));
    acme["metadata"]["deletionTimestamp"] = "2026-11-20T00:00:00Z".into();
    world.api.put(TENANTS, acme);
    world.api.put(
        CAMERAS,
        camera("acme", "yard", json!(["moorline.dev/archive"])),
    );
    let mut kept = tenant("kept", "zzzzzzzz", json!({"onDelete": "keep"}));
    kept["metadata"]["deletionTimestamp"] = "2026-11-20T00:00:00Z".into();
    world.api.put(TENANTS, kept);
    let stays = key("keep", "zzzzzzzz", "yard", 9, &world);
    put(
        &world,
        &[&key("keep", "k7q2w9d4", "yard", 9, &world), &stays],
    )
    .await;
    let (broom, stop) = (broom(&world), CancellationToken::new());
    let cache = world.directory.cache();
    world
        .until("both", || {
            cache.tenants().len() == 2 && cache.cameras().len() == 1
        })
        .await;
    broom.erase(&stop).await;
    assert_eq!(left(&world).await.len(), 2, "a camera still drains");
    world.api.remove(CAMERAS, "t-acme", "yard");
    world
        .until("the camera's end", || cache.cameras().is_empty())
        .await;
    broom.erase(&stop).await;
    assert_eq!(left(&world).await, [stays]);
    let erased = |name| world.api.get(TENANTS, "", name).unwrap()["status"]["erased"].clone();
    assert_eq!(erased("acme"), true);
    assert_eq!(erased("kept"), json!(null));
    assert!(broom.erasures.due().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_deleted_faster_than_the_pace() {
    let world = World::new(Keys::Delete, "moorline-store-delete").await;
    let mut keys = Vec::new();
    for minute in 0..5 {
        keys.push(key(
            "r001",
            "k7q2w9d4",
            &format!("yard-{minute}"),
            3,
            &world,
        ));
    }
    let all: Vec<&str> = keys.iter().map(String::as_str).collect();
    put(&world, &all).await;
    let slow = Broom {
        pace: 10,
        ..broom(&world)
    };
    let begun = world.clock.monotonic();
    slow.sweep(&CancellationToken::new()).await;
    assert!(left(&world).await.is_empty());
    let took = world.clock.monotonic() - begun;
    assert!(took >= Duration::from_millis(400), "{took:?}");
}
