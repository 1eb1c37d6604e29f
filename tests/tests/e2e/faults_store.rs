//! Stores that refuse, stall, lie and are busy: `durable_until` stands still and moves again, and every picture is there.

use std::time::Duration;

use hyper::Method;
use moorline_testkit::{
    eventually,
    s3::S3Server,
    s3fault::{S3Fault, S3FaultProxy},
};
use serde_json::Value;

use crate::faults_device::Device;
use crate::faults_rig::{SOON, Server, notes};

fn bucket(endpoint: &str, secret: &str) -> String {
    let (region, bucket, access) = (S3Server::REGION, S3Server::BUCKET, S3Server::ACCESS_KEY);
    recorded_to(endpoint, [region, bucket, access, secret])
}

/// The configuration that records 2 s segments to a bucket.
pub(crate) fn recorded_to(endpoint: &str, [region, bucket, access, secret]: [&str; 4]) -> String {
    format!(
        "[archive]\nstore = \"s3\"\nsegment = \"2s\"\ndrain = \"5s\"\n\
         [s3]\nendpoint = \"{endpoint}\"\nregion = \"{region}\"\nbucket = \"{bucket}\"\naccess_key = \"{access}\"\nsecret_key = \"{secret}\"\n",
    )
}

struct Rig {
    _s3: S3Server,
    proxy: S3FaultProxy,
    server: Server,
    _camera: Device,
}

async fn rig() -> Rig {
    let s3 = S3Server::start().await.unwrap();
    let proxy = S3FaultProxy::start(s3.address()).await.unwrap();
    let server = Server::start(&bucket(&proxy.endpoint(), S3Server::SECRET_KEY)).await;
    let camera = server.healthy("yard", 2).await;
    Rig {
        _s3: s3,
        proxy,
        server,
        _camera: camera,
    }
}

pub(crate) fn instant<'a>(camera: &'a Value, name: &str) -> Option<&'a str> {
    camera["status"]["archive"][name].as_str()
}

/// While the store is in trouble pictures are still synced, and nothing is called durable.
pub(crate) async fn stands_still(server: &Server) -> String {
    let durable = |camera: &Value| {
        camera["status"]["durable_until"]
            .as_str()
            .map(str::to_owned)
    };
    let before = server.camera("yard").await;
    let (stood, synced) = (
        durable(&before).unwrap(),
        instant(&before, "synced_until").unwrap().to_owned(),
    );
    for _ in 0..2 {
        let synced = server
            .camera("yard")
            .await
            .pointer("/status/archive/synced_until")
            .and_then(Value::as_str)
            .unwrap()
            .to_owned();
        server
            .until("yard", "recording stopped with the store", |camera| {
                (instant(camera, "synced_until")? > synced.as_str()).then_some(())
            })
            .await;
    }
    let after = server.camera("yard").await;
    assert_eq!(durable(&after).unwrap(), stood, "durable without a store");
    assert!(instant(&after, "synced_until").unwrap() > synced.as_str());
    stood
}

/// Everything is stored, listed without a gap, and what the store has is what was sent.
async fn all_there(rig: &Rig) {
    rig.server.nothing_lost("yard", 2).await;
    assert_eq!(rig.server.gaps("yard").await, Vec::<String>::new());
    let found = rig.server.cli(&["segments", "verify", "--full"]).await;
    assert_eq!(found["findings"], Value::Array(Vec::new()));
    assert!(found["objects"].as_u64().unwrap() > 0);
}

pub(crate) async fn refusal(server: &Server, part: &str) {
    server
        .until("yard", "the store's refusal is not shown", |camera| {
            let note = notes(camera);
            (note.contains("nothing can be stored") && note.contains(part)).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_busy_store_is_waited_for() {
    let rig = rig().await;
    rig.proxy.set(S3Fault::SlowDown);
    refusal(&rig.server, "SlowDown").await;
    stands_still(&rig.server).await;
    rig.proxy.clear();
    all_there(&rig).await;
    rig.server
        .until("yard", "the refusal is still shown", |camera| {
            (notes(camera) == "[]").then_some(())
        })
        .await;
    rig.server.stop().await;
}

#[tokio::test]
async fn a_store_that_refuses_is_told_with_its_reason() {
    let rig = rig().await;
    rig.proxy.set(S3Fault::ClockSkew);
    refusal(&rig.server, "RequestTimeTooSkewed").await;
    stands_still(&rig.server).await;
    rig.proxy.clear();
    all_there(&rig).await;
    rig.server.stop().await;
}

#[tokio::test]
async fn a_store_that_stalls_holds_nothing_else_up() {
    let rig = rig().await;
    let stall = S3Fault::Stall(Duration::from_secs(20));
    rig.proxy.forget();
    rig.proxy.add(Some(Method::PUT), "", stall, Some(2));
    eventually("no put stalls", SOON, || async {
        (rig.proxy.count(&Method::PUT, "") > 0).then_some(())
    })
    .await;
    stands_still(&rig.server).await;
    all_there(&rig).await;
    rig.server.stop().await;
}

#[tokio::test]
async fn a_store_that_answers_200_and_keeps_nothing_is_caught() {
    let rig = rig().await;
    rig.proxy
        .add(Some(Method::PUT), "", S3Fault::LoseObject, None);
    refusal(&rig.server, "does not have it").await;
    stands_still(&rig.server).await;
    rig.proxy.clear();
    all_there(&rig).await;
    rig.server.stop().await;
}

#[tokio::test]
async fn a_wrong_secret_is_told_and_what_waited_is_stored_after_the_right_one() {
    let s3 = S3Server::start().await.unwrap();
    let place = moorline_testkit::temp_dir().unwrap();
    let data = place.path().join("data");
    let server = Server::start_in(&data, &bucket(&s3.endpoint(), "not the secret")).await;
    let camera = server
        .device("yard", crate::faults_device::small(2), &[])
        .await;
    // A store that closes before it has read the body shows as a broken pipe first; the refusal comes with a later try.
    refusal(&server, "the store refused: 403").await;
    let doctor = server.command(&["doctor"]).await;
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("hint:"), "{doctor}");
    let looked = server
        .refused(&["segments", "list", "yard", "--from", "1h"])
        .await;
    assert!(looked.contains("the store refused"), "{looked}");
    // The store may have refused before there was a picture.
    let synced = server
        .until("yard", "nothing is synced", |camera| {
            let synced = instant(camera, "synced_until")?;
            (camera["status"]["durable_until"].as_str() < Some(synced)).then(|| synced.to_owned())
        })
        .await;
    drop(camera);
    server.stop().await;

    let server = Server::start_in(&data, &bucket(&s3.endpoint(), S3Server::SECRET_KEY)).await;
    eventually("the spool is not stored", SOON, || async {
        let rows = server
            .cli(&["segments", "list", "yard", "--from", "1h"])
            .await;
        let rows: Vec<Value> = rows.as_array()?.clone();
        let recorded = rows.iter().filter(|row| row["kind"] == "recorded");
        let stored = recorded.clone().all(|row| row["held"] == "store");
        (stored && recorded.count() > 0).then_some(())
    })
    .await;
    server.stored_until("yard", &synced).await;
    server.stop().await;
}
