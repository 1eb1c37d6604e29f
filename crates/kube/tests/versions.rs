//! Resources of a newer release, as an older replica reads them: during an upgrade, and after a step back.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::time::Duration;

use moorline_core::camera::Enabled;
use moorline_core::port::{CameraDirectory as _, Claims as _};
use serde_json::{Value, json};
use support::workloads::{Replica, announced, both, cluster};
use support::{Api, CAMERAS, Mon, camera, condition, server, session, yard};

const TENANTS: &str = "/apis/moorline.dev/v1alpha1/tenants";

fn enabled(mon: &Mon) -> Option<Enabled> {
    Some(mon.directory.snapshot().get(&yard())?.enabled)
}

#[tokio::test(start_paused = true)]
async fn a_field_of_a_newer_release_ends_no_session() {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let mon = Mon::new(&api, &clock, 0).await;
    let newer = json!({"spec": {"quietHours": ["22-06"], "sources": {"main": {"rotation": 90}}}});
    api.patch(CAMERAS, "t-acme", "yard", &newer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(enabled(&mon), Some(Enabled::Yes));
}

/// It may be suspended: nobody can say.
#[tokio::test(start_paused = true)]
async fn cameras_of_a_tenant_that_cannot_be_read_are_not_served() {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let tenant = |cameras: Value| {
        json!({"apiVersion": "moorline.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": "acme"},
            "spec": {"suspended": true, "cameras": cameras}})
    };
    api.put(TENANTS, tenant(json!("as many as it likes")));
    let mon = Mon::new(&api, &clock, 0).await;
    assert_eq!(enabled(&mon), Some(Enabled::Disabled));
    let fine = json!({"spec": {"suspended": false, "cameras": 20}});
    api.patch(TENANTS, "", "acme", &fine);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(enabled(&mon), Some(Enabled::Yes));
    api.patch(TENANTS, "", "acme", &json!({"spec": {"cameras": "none"}}));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(enabled(&mon), Some(Enabled::Disabled));
    api.remove(TENANTS, "", "acme");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        enabled(&mon),
        Some(Enabled::Yes),
        "as where there is no tenant"
    );
}

/// What a newer release has in the yard's status, at each place where this one writes.
fn newer(api: &Api) -> [Value; 4] {
    let yard = api.get(CAMERAS, "t-acme", "yard").unwrap();
    let status = &yard["status"];
    [
        &status["newest"],
        &status["session"]["epoch"],
        &status["found"]["main"]["rotation"],
        &status["enrolledKey"]["device"],
    ]
    .map(Value::clone)
}

/// After a step back: the newer definitions are still there, and one of their rules may refuse every status without what the newer release wrote.
#[tokio::test(start_paused = true)]
async fn every_write_of_a_status_keeps_what_a_newer_release_wrote() {
    let (api, clock) = cluster();
    let written = json!({"status": {
        "newest": {"of": ["all"]},
        "session": {"generation": 4, "epoch": 9},
        "found": {"main": {"path": "/ch0", "rotation": 90}},
        "enrolledKey": {
            "key": "ssh-ed25519 AAAA", "tokenHash": "sha256:00", "since": "2026-11-20T00:00:00.000Z",
            "device": {"serial": "7"},
        },
    }});
    api.patch(CAMERAS, "t-acme", "yard", &written);
    let before = newer(&api);
    assert!(before.iter().all(|field| !field.is_null()), "{before:?}");
    let replica = Replica::new(&api, &clock, 0).await;

    let generation = replica.claim(1).await;
    assert_eq!(session(&api, "acme", "yard")["generation"], 5);
    assert_eq!(newer(&api), before, "a claim");
    let instance = replica.start(generation);
    announced(&api, &replica).await;
    assert_eq!(newer(&api), before, "the relay's key");
    let (_, archiver) = both(&api).await;
    let claims = &replica.mon.claims;
    claims.release(&yard(), generation).await.unwrap();
    replica.drain(instance);
    tokio::time::sleep(Duration::from_secs(5)).await;
    replica.said_drained(&archiver);
    api.until("the end", |api| {
        condition(api, "acme", "yard", "Connected") == Some(("False".into(), "Absent".into()))
    })
    .await;
    assert_eq!(newer(&api), before, "the end of a session");
}

/// S4: a change of something else, by a command of this release, must not open what the owner of a camera has closed by a field of a newer one.
#[tokio::test(start_paused = true)]
async fn a_change_of_a_camera_keeps_what_a_newer_release_knows_of_it() {
    use moorline_core::port::{CameraAdmin as _, CameraChange};
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let mon = Mon::new(&api, &clock, 0).await;
    let newer = json!({"spec": {"quietHours": ["22-06"]}});
    api.patch(CAMERAS, "t-acme", "yard", &newer);
    let titled = CameraChange {
        title: Some("Yard, behind".into()),
        ..CameraChange::default()
    };
    mon.admin.set(&yard(), titled).await.unwrap();
    let spec = api.get(CAMERAS, "t-acme", "yard").unwrap()["spec"].clone();
    assert_eq!(spec["title"], "Yard, behind");
    assert_eq!(spec["quietHours"], json!(["22-06"]));
}
