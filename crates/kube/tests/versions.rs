//! Resources of a newer release, as an older replica reads them: during an upgrade, and after a step back.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::time::Duration;

use moorline_core::CameraId;
use moorline_core::camera::Enabled;
use moorline_core::port::CameraDirectory as _;
use serde_json::json;
use support::{CAMERAS, Mon, camera, server};

const TENANTS: &str = "/apis/moorline.dev/v1alpha1/tenants";

fn yard() -> CameraId {
    "acme/yard".parse().unwrap()
}

fn enabled(mon: &Mon) -> Option<Enabled> {
    Some(mon.directory.snapshot().get(&yard())?.enabled)
}

#[tokio::test(start_paused = true)]
async fn a_field_of_a_newer_release_ends_no_session() {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let mon = Mon::new(&api, &clock, 0).await;
    let newer =
        json!({"spec": {"allowFrom": ["203.0.113.0/24"], "sources": {"main": {"rotation": 90}}}});
    api.patch(CAMERAS, "t-acme", "yard", &newer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(enabled(&mon), Some(Enabled::Yes));
}

/// It may be suspended: nobody can say.
#[tokio::test(start_paused = true)]
async fn cameras_of_a_tenant_that_cannot_be_read_are_not_served() {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let tenant = |cameras: serde_json::Value| {
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
