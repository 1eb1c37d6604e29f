//! A stranger who holds a Camera's token: what is written, by whom, and what becomes of it when others write too (rule S3).
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::time::Duration;

use http::Method;
use moorline_base::SharedClock;
use moorline_core::port::{
    CameraAdmin as _, CameraChange, CameraDirectory as _, Claims as _, EnrollAsked, EnrollError,
    EnrollTokens as _, Enrolment as _, NewToken, TokenInfo, TokenMakes,
};
use moorline_core::{CameraId, Masked, PublicKey, Timestamp};
use moorline_kube::KubeEnrolment;
use serde_json::{Value, json};
use support::{Api, CAMERAS, Fault, Mon, START, server, yard};

const STATUS: &str = "PUT /apis/moorline.dev/v1alpha1/namespaces/t-acme/cameras/yard/status";

fn key(seed: u8) -> PublicKey {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend([seed; 32]);
    PublicKey::from_blob(&blob).unwrap()
}

fn asks(token: &str, seed: u8) -> EnrollAsked {
    EnrollAsked {
        token: Masked::new(token.to_owned()),
        key: key(seed),
        model: "xiaofang".into(),
        mac: "00:01:02:03:04:05".into(),
        peer: "192.0.2.7:40000".parse().unwrap(),
    }
}

/// A token for the yard that is good for an hour.
async fn issued(mon: &Mon) -> (String, TokenInfo) {
    let new = support::new_token(TokenMakes::Camera(yard()));
    let (token, info) = mon.admin.issue(new).await.unwrap();
    (token.reveal().clone(), info)
}

/// A replica, and a token for the yard.
async fn world() -> (Api, SharedClock, Mon, String) {
    let (api, clock) = server();
    let mon = Mon::new(&api, &clock, 0).await;
    let (token, _) = issued(&mon).await;
    api.forget_requests();
    (api, clock, mon, token)
}

async fn enrolled(mon: &Mon, token: &str, seed: u8) -> Result<CameraId, EnrollError> {
    let enrolment = KubeEnrolment::new(mon.writer.clone());
    enrolment.enroll(asks(token, seed)).await
}

fn object(api: &Api) -> Value {
    api.get(CAMERAS, "t-acme", "yard").unwrap()
}

/// The keys by which the yard gets in, as that replica knows them.
fn lets_in(mon: &Mon) -> Vec<PublicKey> {
    let camera = mon.directory.snapshot().get(&yard()).cloned().unwrap();
    camera.keys.iter().map(|key| key.key.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_spent_by_one_write_of_the_status_and_its_camera_is_known_then() {
    let (api, _clock, mon, token) = world().await;
    let spec = object(&api)["spec"].clone();
    assert!(!object(&api).to_string().contains(&token), "its hash alone");
    assert_eq!(enrolled(&mon, &token, 1).await.unwrap(), yard());
    assert_eq!(lets_in(&mon), [key(1)], "before its camera is answered");
    assert_eq!(api.writes(), [STATUS]);
    assert_eq!(object(&api)["spec"], spec, "which is its owner's");
    let spent = object(&api)["status"]["enrolledKey"].clone();
    assert_eq!(spent["tokenHash"], spec["enrolment"]["tokenHash"]);
    // The first tunnel writes that status too.
    let tunnel = mon.up(&yard(), 1);
    mon.claims.claim(&yard(), tunnel).await.unwrap();
    assert_eq!(lets_in(&mon), [key(1)]);
    assert_eq!(object(&api)["status"]["session"]["generation"], 1);
}

/// S9.
#[tokio::test(start_paused = true)]
async fn whoever_guesses_costs_no_call() {
    let (api, _clock, mon, token) = world().await;
    let wrong = format!("{token}x");
    for seed in 1..20 {
        let refused = enrolled(&mon, &wrong, seed).await;
        assert!(
            matches!(refused, Err(EnrollError::Refused("unknown"))),
            "{refused:?}"
        );
    }
    assert_eq!(api.requests(), Vec::<String>::new());
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let late = enrolled(&mon, &token, 1).await;
    assert!(
        matches!(late, Err(EnrollError::Refused("expired"))),
        "{late:?}"
    );
    assert_eq!(api.writes(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn of_two_who_call_two_replicas_with_one_token_one_becomes_the_camera() {
    let (api, clock, left, token) = world().await;
    let right = Mon::new(&api, &clock, 1).await;
    let (first, second) = tokio::join!(enrolled(&left, &token, 1), enrolled(&right, &token, 2));
    let is_spent = |refused: &EnrollError| matches!(refused, EnrollError::Spent { .. });
    let (became, refused) = match (first, second) {
        (Ok(_), Err(refused)) => (key(1), refused),
        (Err(refused), Ok(_)) => (key(2), refused),
        both => panic!("{both:?}"),
    };
    assert!(is_spent(&refused), "{refused:?}");
    let spent = object(&api)["status"]["enrolledKey"].clone();
    let line = spent["key"].as_str().unwrap();
    assert!(line.starts_with(&became.to_string()), "{spent}");
    // The owner is told what the log of a replica alone would say.
    assert_eq!(spent["reused"]["from"], "192.0.2.7");
    assert_eq!(spent["reused"]["times"], 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_given_again() {
    let (api, _clock, mon, token) = world().await;
    api.trap(Method::PUT, "/status", 1, Fault::AnswerLost);
    assert_eq!(enrolled(&mon, &token, 1).await.unwrap(), yard());
    assert_eq!(enrolled(&mon, &token, 1).await.unwrap(), yard());
    assert_eq!(api.writes(), [STATUS], "it is written once");
    assert_eq!(lets_in(&mon), [key(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_taken_back_meanwhile_lets_nobody_in() {
    let (api, _clock, mon, token) = world().await;
    let revoked = json!({"spec": {"enrolment": {"revoked": true}}});
    api.trap(Method::PUT, "/status", 1, Fault::Overtaken(revoked));
    let refused = enrolled(&mon, &token, 1).await;
    assert!(
        matches!(refused, Err(EnrollError::Refused("revoked"))),
        "{refused:?}"
    );
    assert_eq!(object(&api)["status"]["enrolledKey"], Value::Null);
    assert_eq!(lets_in(&mon), []);
}

/// Whoever may read a Camera knows the hash of its token.
#[tokio::test(start_paused = true)]
async fn a_hash_that_another_tenant_copied_makes_no_camera_of_theirs() {
    let (api, _clock, mon, token) = world().await;
    let mut copy = support::camera("other", "yard");
    copy["spec"]["enrolment"] = object(&api)["spec"]["enrolment"].clone();
    api.put(CAMERAS, copy);
    let theirs: CameraId = "other/yard".parse().unwrap();
    let mut version = mon.directory.cache().version();
    let seen = version.wait_for(|_| mon.directory.snapshot().get(&theirs).is_some());
    support::within("their camera", seen).await.unwrap();
    let refused = enrolled(&mon, &token, 1).await;
    assert!(
        matches!(refused, Err(EnrollError::Refused(why)) if why.contains("two tenants")),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_token_made_stays_when_its_camera_is_changed_and_the_token_taken_back() {
    let (api, _clock, mon, token) = world().await;
    enrolled(&mon, &token, 1).await.unwrap();
    let titled = CameraChange {
        title: Some("Back yard".into()),
        ..CameraChange::default()
    };
    mon.admin.set(&yard(), titled).await.unwrap();
    let info = mon.admin.list(yard().tenant()).await.unwrap().remove(0);
    assert_eq!(info.cameras, [yard()]);
    assert!(mon.admin.revoke(yard().tenant(), info.id).await.unwrap());
    assert_eq!(lets_in(&mon), [key(1)]);
    let kept = object(&api)["spec"]["keys"][0].as_str().unwrap().to_owned();
    let note = "enrolled: xiaofang 00:01:02:03:04:05";
    assert_eq!(kept, format!("{} {note}", key(1)));
    // Another device besides, by a token of its own.
    let (again, _) = issued(&mon).await;
    enrolled(&mon, &again, 2).await.unwrap();
    assert_eq!(lets_in(&mon), [key(1), key(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_made_whole_or_not_at_all() {
    let (api, _clock, mon, _) = world().await;
    let info = mon.admin.list(yard().tenant()).await.unwrap().remove(0);
    let batch = NewToken {
        makes: TokenMakes::Batch {
            prefix: "shop".into(),
            count: 3,
        },
        ..info.token
    };
    // Somebody else makes it at this moment: nobody here has heard of it, nor will by the watches that are open.
    api.cut_off(true);
    api.cut_off(false);
    api.put(CAMERAS, support::camera("acme", "shop-3"));
    let refused = mon.admin.issue(batch).await.unwrap_err();
    assert!(
        refused.to_string().contains("acme/shop-3 exists already"),
        "{refused}"
    );
    let all = api.list(CAMERAS);
    let stay = all
        .iter()
        .filter(|camera| camera["metadata"]["deletionTimestamp"].is_null());
    let names: Vec<&Value> = stay.map(|camera| &camera["metadata"]["name"]).collect();
    assert_eq!(names, ["shop-3", "yard"]);
}

/// A batch of the yard's tenant, by the number of its token.
async fn batch(mon: &Mon, count: u32) -> (String, i64) {
    let new = NewToken {
        makes: TokenMakes::Batch {
            prefix: "shop".into(),
            count,
        },
        ..issued(mon).await.1.token
    };
    let (token, info) = mon.admin.issue(new).await.unwrap();
    (token.reveal().clone(), info.id)
}

async fn token_of(mon: &Mon, id: i64) -> TokenInfo {
    let all = mon.admin.list(yard().tenant()).await.unwrap();
    all.into_iter().find(|info| info.id == id).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_revoked_closes_its_own_camera_of_a_batch_and_no_other() {
    let (_api, _clock, mon, _) = world().await;
    let (token, id) = batch(&mon, 2).await;
    let first: CameraId = "acme/shop-1".parse().unwrap();
    assert_eq!(enrolled(&mon, &token, 1).await.unwrap(), first);
    mon.admin.revoke_key(&first, &key(1)).await.unwrap();
    let info = token_of(&mon, id).await;
    let left = info.left(Timestamp::from_millis(START));
    assert_eq!((info.revoked, left), (false, 1), "another device may come");
    let refused = enrolled(&mon, &token, 1).await;
    assert!(
        matches!(refused, Err(EnrollError::Refused("revoked"))),
        "{refused:?}"
    );
    let second = enrolled(&mon, &token, 2).await.unwrap();
    assert_eq!(second.name(), "shop-2");
    assert!(mon.admin.revoke(yard().tenant(), id).await.unwrap());
    assert!(token_of(&mon, id).await.revoked);
}

#[tokio::test(start_paused = true)]
async fn a_camera_with_a_wrong_field_holds_up_no_other_when_their_token_is_taken_back() {
    let (api, _clock, mon, _) = world().await;
    let (token, id) = batch(&mon, 3).await;
    let wrong = json!({"spec": {"timezone": "Europe/Nowhere"}});
    api.patch(CAMERAS, "t-acme", "shop-1", &wrong);
    let mut version = mon.directory.cache().version();
    let first: CameraId = "acme/shop-1".parse().unwrap();
    let seen = version.wait_for(|_| mon.directory.snapshot().get(&first).is_none());
    support::within("the wrong field", seen).await.unwrap();
    let info = token_of(&mon, id).await;
    let TokenMakes::Batch { count, .. } = info.token.makes else {
        panic!("{info:?}");
    };
    assert_eq!(count, 3, "a token in a camera with a wrong field is listed");
    let refused = mon.admin.revoke(yard().tenant(), id).await.unwrap_err();
    let refused = refused.to_string();
    for word in ["acme/shop-1", "spec.timezone", "Europe/Nowhere"] {
        assert!(refused.contains(word), "{refused}");
    }
    let is_revoked = |name: &str| {
        let camera = api.get(CAMERAS, "t-acme", name).unwrap();
        camera["spec"]["enrolment"]["revoked"] == true
    };
    let revoked = ["shop-1", "shop-2", "shop-3"].map(is_revoked);
    assert_eq!(revoked, [false, true, true]);
    let mended = json!({"spec": {"timezone": "UTC"}});
    api.patch(CAMERAS, "t-acme", "shop-1", &mended);
    assert!(mon.admin.revoke(yard().tenant(), id).await.unwrap());
    assert!(is_revoked("shop-1"));
    let refused = enrolled(&mon, &token, 1).await;
    assert!(
        matches!(refused, Err(EnrollError::Refused("revoked"))),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_of_an_older_camera_holds_up_no_token_that_is_taken_back() {
    let (api, _clock, mon, _) = world().await;
    let id = mon.admin.list(yard().tenant()).await.unwrap()[0].id;
    let mut gate = support::camera("acme", "gate");
    gate["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    gate["spec"]["keys"] = json!([key(9).to_string()]);
    api.put(CAMERAS, gate);
    let both = json!({"spec": {"keys": [key(9).to_string()]}});
    api.patch(CAMERAS, "t-acme", "yard", &both);
    let mut version = mon.directory.cache().version();
    let older: CameraId = "acme/gate".parse().unwrap();
    let seen = version.wait_for(|_| mon.directory.snapshot().get(&older).is_some());
    support::within("the older camera", seen).await.unwrap();
    assert!(mon.admin.revoke(yard().tenant(), id).await.unwrap());
    assert_eq!(object(&api)["spec"]["enrolment"]["revoked"], true);
}

/// S9.
#[tokio::test(start_paused = true)]
async fn whoever_has_a_copy_of_the_file_and_keys_without_end_costs_few_writes() {
    let (api, _clock, mon, token) = world().await;
    let enrolment = KubeEnrolment::new(mon.writer.clone());
    enrolment.enroll(asks(&token, 1)).await.unwrap();
    api.forget_requests();
    for seed in 2..40 {
        let refused = enrolment.enroll(asks(&token, seed)).await;
        assert!(
            matches!(refused, Err(EnrollError::Spent { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(api.writes(), [STATUS; 4]);
    tokio::time::advance(Duration::from_secs(60)).await;
    let _ = enrolment.enroll(asks(&token, 40)).await;
    let reused = object(&api)["status"]["enrolledKey"]["reused"].clone();
    assert_eq!(
        (&reused["times"], &reused["key"]),
        (&json!(5), &json!(key(40).fingerprint()))
    );
}

#[tokio::test(start_paused = true)]
async fn devices_of_a_batch_that_are_given_power_together_cost_a_write_each() {
    const DEVICES: u8 = 30;
    let (api, _clock, mon, _) = world().await;
    let (token, _) = batch(&mon, DEVICES.into()).await;
    api.forget_requests();
    let enrolment = KubeEnrolment::new(mon.writer.clone());
    let calls = (1..=DEVICES).map(|seed| enrolment.enroll(asks(&token, seed)));
    let mut became = Vec::new();
    for called in futures::future::join_all(calls).await {
        became.push(called.unwrap());
    }
    became.sort();
    became.dedup();
    assert_eq!(became.len(), usize::from(DEVICES), "a camera each");
    assert_eq!(api.writes().len(), usize::from(DEVICES));
}
