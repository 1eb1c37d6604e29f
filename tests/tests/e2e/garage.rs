//! A whole recording to Garage, the S3 server that people run at home: recorded, browsed, exported, verified; the server away and back; a
//! wrong key.

use moorline_testkit::{eventually, garage::Garage, or_skip};
use serde_json::Value;

use crate::faults_device::small;
use crate::faults_rig::{SOON, Server, notes};
use crate::faults_store::{recorded_to, refusal, stands_still};

fn bucket(garage: &Garage, secret: &str) -> String {
    let place = [Garage::REGION, Garage::BUCKET, Garage::ACCESS_KEY, secret];
    recorded_to(&garage.endpoint(), place)
}

/// Waits until nothing of the camera is in the spool any more that was recorded before this call.
pub(crate) async fn all_stored(server: &Server) -> Vec<Value> {
    let to = crate::faults_rig::rfc3339_now();
    eventually("the spool is not stored", SOON, || async {
        let list = ["segments", "list", "yard", "--from", "1h", "--to", &to];
        let rows = server.cli(&list).await.as_array()?.clone();
        let recorded = rows.iter().filter(|row| row["kind"] == "recorded");
        let stored = recorded.clone().all(|row| row["held"] == "store");
        (stored && recorded.count() > 0).then_some(rows)
    })
    .await
}

#[tokio::test]
#[ignore = "long: Garage has to be built first"]
async fn garage_holds_a_whole_recording_and_loses_nothing_while_it_is_away() {
    let Some(mut garage) = or_skip(Garage::start().await) else {
        return;
    };
    let server = Server::start(&bucket(&garage, Garage::SECRET_KEY)).await;
    let _camera = server.healthy("yard", 4).await;

    // Browsed: every stored row names an object that is there, and can be had by its key.
    let rows = all_stored(&server).await;
    let key = rows.iter().find_map(|row| row["key"].as_str()).unwrap();
    let file = server.data().with_extension("one.mp4");
    let path = file.to_str().unwrap();
    server.cli(&["segments", "get", key, "-f", path]).await;
    let one = std::fs::read(&file).unwrap();
    assert_eq!(&one[4..8], b"ftyp");

    // Frozen: sockets stay open and nothing is answered. Then it goes on.
    garage.child().freeze();
    refusal(&server, "").await;
    stands_still(&server).await;
    garage.child().thaw();
    server
        .until("yard", "the refusal is still shown", |camera| {
            (notes(camera) == "[]").then_some(())
        })
        .await;

    // Exported without a missing picture, listed without a gap, and what the bucket holds is what was sent.
    server.nothing_lost("yard", 4).await;
    assert_eq!(server.gaps("yard").await, Vec::<String>::new());
    let found = server.cli(&["segments", "verify", "--full"]).await;
    assert_eq!(found["findings"], Value::Array(Vec::new()));
    assert!(found["read"].as_u64().unwrap() > 3, "{found}");
    let doctor = server.command(&["doctor"]).await;
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        doctor.contains("ok       store: bucket"),
        "no alarm about the bucket: {doctor}"
    );
    server.stop().await;
}

#[tokio::test]
#[ignore = "long: Garage has to be built first"]
async fn what_waited_for_the_right_key_of_garage_is_stored_with_it() {
    let Some(garage) = or_skip(Garage::start().await) else {
        return;
    };
    let place = moorline_testkit::temp_dir().unwrap();
    let data = place.path().join("data");
    let server = Server::start_in(&data, &bucket(&garage, &"0".repeat(64))).await;
    let camera = server.device("yard", small(5), &[]).await;
    refusal(&server, "the store refused: 403").await;
    let synced = server
        .until("yard", "nothing is synced", |camera| {
            let synced = camera["status"]["archive"]["synced_until"].as_str()?;
            (camera["status"]["durable_until"].as_str() < Some(synced)).then(|| synced.to_owned())
        })
        .await;
    drop(camera);
    server.stop().await;

    let server = Server::start_in(&data, &bucket(&garage, Garage::SECRET_KEY)).await;
    all_stored(&server).await;
    server.stored_until("yard", &synced).await;
    server.stop().await;
}
