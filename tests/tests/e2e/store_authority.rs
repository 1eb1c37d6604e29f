//! A bucket whose certificate is of an authority of the operator's own: told with what to do while that is not named, and then nothing is lost.

use moorline_testkit::{authority, s3::S3Server, temp_dir};

use crate::faults_device::small;
use crate::faults_rig::Server;
use crate::faults_store::{recorded_to, refusal};
use crate::garage::all_stored;

#[tokio::test]
async fn what_waited_for_a_bucket_of_an_unknown_authority_is_stored_once_that_is_named() {
    let s3 = S3Server::start_tls("127.0.0.1").await.unwrap();
    let place = temp_dir().unwrap();
    let data = place.path().join("data");
    let bucket = [
        S3Server::REGION,
        S3Server::BUCKET,
        S3Server::ACCESS_KEY,
        S3Server::SECRET_KEY,
    ];
    let config = recorded_to(&s3.endpoint(), bucket);
    let server = Server::start_in(&data, &config).await;
    let camera = server.device("yard", small(9), &[]).await;
    refusal(&server, "s3.authority").await;
    let doctor = server.command(&["doctor"]).await;
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("s3.authority"), "{doctor}");
    let synced = server
        .until("yard", "nothing is synced", |camera| {
            let synced = camera["status"]["archive"]["synced_until"].as_str()?;
            Some(synced.to_owned())
        })
        .await;
    drop(camera);
    server.stop().await;
    let recordings = s3.object_file("v1");
    assert!(!recordings.exists(), "it was believed");

    let file = place.path().join("store-ca.pem");
    std::fs::write(&file, authority::pem().unwrap()).unwrap();
    let config = format!("{config}authority = \"{}\"\n", file.display());
    let server = Server::start_in(&data, &config).await;
    all_stored(&server).await;
    server.stored_until("yard", &synced).await;
    let found = server.cli(&["segments", "verify", "--full"]).await;
    assert_eq!(found["findings"], serde_json::json!([]), "{found}");
    assert!(recordings.exists());
    server.stop().await;
}
