//! Enrolment (S3): strangers with a token, by real dbclient.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use moorline_core::key::KeyAlgorithm;
use moorline_core::port::{EnrollAsked, EnrollError, Enrolment};
use moorline_core::{CameraId, PublicKey};
use moorline_testkit::child::Child;
use moorline_tunnel::TunnelConfig;
use moorline_tunnel::keyfile::PrivateKey;

use crate::support::{Rig, SOON, Seen, camera, config};

const TOKEN: &str = "abcdefghijklmnopqrstuv";

/// One token for the camera `yard`.
#[derive(Default)]
struct Book(Mutex<HashMap<PublicKey, u32>>);

#[async_trait]
impl Enrolment for Book {
    async fn enroll(&self, asked: EnrollAsked) -> Result<CameraId, EnrollError> {
        if asked.token.reveal() != TOKEN {
            return Err(EnrollError::Refused("unknown"));
        }
        let mut spent = self.0.lock().unwrap();
        if !spent.is_empty() && !spent.contains_key(&asked.key) {
            return Err(EnrollError::Spent {
                camera: "yard".parse().ok(),
            });
        }
        *spent.entry(asked.key).or_default() += 1;
        Ok("yard".parse().unwrap())
    }
}

async fn rig(config: TunnelConfig) -> (Rig, Arc<Book>) {
    let rig = Rig::new(config, vec![]).await;
    let book = Arc::new(Book::default());
    rig.tunnel.enrol_by(Arc::clone(&book) as Arc<dyn Enrolment>);
    (rig, book)
}

fn stranger(rig: &Rig, options: &[&str]) -> (Child, PrivateKey) {
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let client = rig.dbclient(&key, "enroll", &[&["-T"], options].concat(), &[]);
    (client, key)
}

async fn says(client: &mut Child, token: &str) {
    client
        .wait_for_line("MOORLINE/1 enroll -", SOON)
        .await
        .unwrap();
    let line = format!("ENROLL {token} xiaofang 00:01:02:03:04:05\n");
    client.write(line.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_token_makes_a_stranger_a_camera_that_calls_again_as_one() {
    let (rig, _) = rig(config()).await;
    let (mut client, key) = stranger(&rig, &[]);
    says(&mut client, TOKEN).await;
    client
        .wait_for_line("ENROLLED home/yard", SOON)
        .await
        .unwrap();
    client.wait(SOON).await.unwrap();
    assert_eq!(rig.all(), [], "the monitor knows nothing of strangers");
    rig.directory.set(vec![camera("yard", &[key.public()])]);
    let _tunnel = rig.dbclient(&key, "home/yard", &["-N", "-R", "0:127.0.0.1:1"], &[]);
    rig.up(0).await;
}

#[tokio::test]
async fn the_same_key_may_repeat_a_second_one_is_told_nothing() {
    let (rig, book) = rig(config()).await;
    let (mut client, key) = stranger(&rig, &[]);
    says(&mut client, TOKEN).await;
    client.wait_for_line("ENROLLED", SOON).await.unwrap();
    // It is the camera's key by now; the answer may have been lost all the same.
    rig.directory.set(vec![camera("yard", &[key.public()])]);
    let mut again = rig.dbclient(&key, "enroll", &["-T"], &[]);
    says(&mut again, TOKEN).await;
    again.wait_for_line("ENROLLED", SOON).await.unwrap();
    let (mut other, _) = stranger(&rig, &[]);
    says(&mut other, TOKEN).await;
    other.wait(SOON).await.unwrap();
    assert!(!other.tail().contains("ENROLLED"), "{}", other.tail());
    rig.told("S3: that a second key used the token", |seen| {
        let yard = "yard".parse().unwrap();
        seen.iter()
            .any(|seen| matches!(seen, Seen::TokenSpent(id, client) if *id == yard && client.contains("dropbear")))
            .then_some(())
    })
    .await;
    assert_eq!(
        *book.0.lock().unwrap(),
        HashMap::from([(key.public().clone(), 2)])
    );
}

#[tokio::test]
async fn an_enrolment_has_no_forward_no_second_channel_and_one_try() {
    let (rig, book) = rig(config()).await;
    let (mut client, _) = stranger(&rig, &["-R", "0:127.0.0.1:1"]);
    client
        .wait_for_line("Remote TCP forward request failed", SOON)
        .await
        .unwrap();
    says(&mut client, "wrong-wrong-wrong-wrong").await;
    let second = format!("ENROLL {TOKEN} xiaofang 00:01:02:03:04:05\n");
    // Whatever it still says: its one ENROLL was said.
    let _ = client.write(second.as_bytes()).await;
    client.wait(SOON).await.unwrap();
    assert!(!client.tail().contains("ENROLLED"), "{}", client.tail());
    assert!(book.0.lock().unwrap().is_empty());
    assert!(
        !rig.all()
            .iter()
            .any(|seen| matches!(seen, Seen::Up(..) | Seen::Opened(..)))
    );
}

#[tokio::test]
async fn who_proves_a_key_and_says_nothing_is_gone_with_the_grace() {
    let (rig, _) = rig(TunnelConfig {
        // Longer than a handshake of unoptimised code takes on a loaded machine.
        login_grace: Duration::from_secs(15),
        ..config()
    })
    .await;
    let (mut client, _) = stranger(&rig, &[]);
    client
        .wait_for_line("MOORLINE/1 enroll -", SOON)
        .await
        .unwrap();
    client.wait(SOON).await.unwrap();
}

#[tokio::test]
async fn a_wrong_token_is_a_failed_login_that_holds_its_network_off() {
    let (rig, _) = rig(TunnelConfig {
        penalties: true,
        ..config()
    })
    .await;
    for tries in 0..10 {
        let (mut client, _) = stranger(&rig, &[]);
        if client
            .wait_for_line("MOORLINE/1 enroll -", SOON)
            .await
            .is_err()
        {
            assert!(tries >= 2, "held off after {tries} wrong tokens");
            return;
        }
        let line = "ENROLL wrong-wrong-wrong-wrong xiaofang 00:01:02:03:04:05\n";
        client.write(line.as_bytes()).await.unwrap();
        client.wait(SOON).await.unwrap();
    }
    panic!("ten wrong tokens, and let in again");
}

#[tokio::test]
async fn where_nobody_enrols_the_name_is_a_stranger_s_like_any_other() {
    let rig = Rig::new(config(), vec![]).await;
    let (mut client, _) = stranger(&rig, &[]);
    client
        .wait_for_line("No auth methods could be used", SOON)
        .await
        .unwrap();
    client.wait(SOON).await.unwrap();
}
