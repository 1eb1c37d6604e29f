//! S4: the networks from which a camera of a cluster may call, as its owner lists them.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::net::IpAddr;
use std::time::Duration;

use moorline_core::PublicKey;
use moorline_core::camera::Refusal;
use moorline_core::port::{CameraAdmin as _, CameraChange, CameraDirectory as _};
use serde_json::json;
use support::{CAMERAS, KEY, Mon, camera, server, yard};

/// What a replica makes of a call from that address with the camera's key.
fn call(mon: &Mon, from: &str) -> Result<(), Refusal> {
    let (key, from): (PublicKey, IpAddr) = (KEY.parse().unwrap(), from.parse().unwrap());
    let cameras = mon.directory.snapshot();
    cameras.login_by_name("acme/yard", &key, from).map(|_| ())
}

fn elsewhere(allowed: &str) -> Result<(), Refusal> {
    Err(Refusal::Elsewhere {
        camera: yard(),
        allowed: allowed.to_owned(),
    })
}

#[tokio::test(start_paused = true)]
async fn s4_a_camera_of_a_cluster_calls_from_its_owners_networks_alone() {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let spec = json!({"spec": {"keys": [KEY]}});
    api.patch(CAMERAS, "t-acme", "yard", &spec);
    let mon = Mon::new(&api, &clock, 0).await;
    assert_eq!(call(&mon, "198.51.100.9"), Ok(()), "one without a list");

    let spec = json!({"spec": {"allowFrom": ["192.0.2.0/24", "2001:db8::7"]}});
    api.patch(CAMERAS, "t-acme", "yard", &spec);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for inside in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7"] {
        assert_eq!(call(&mon, inside), Ok(()), "{inside}");
    }
    let told = "192.0.2.0/24,2001:db8::7";
    assert_eq!(call(&mon, "198.51.100.9"), elsewhere(told));

    // As `camera set --allow-from` and the page write it.
    let set = |networks: &[&str]| CameraChange {
        allow_from: Some(networks.iter().map(|text| text.parse().unwrap()).collect()),
        ..CameraChange::default()
    };
    let change = set(&["198.51.100.0/24"]);
    mon.admin.set(&yard(), change).await.unwrap();
    assert_eq!(call(&mon, "198.51.100.9"), Ok(()), "at once");
    assert_eq!(call(&mon, "192.0.2.7"), elsewhere("198.51.100.0/24"));
    let spec = || api.get(CAMERAS, "t-acme", "yard").unwrap()["spec"].clone();
    assert_eq!(spec()["allowFrom"], json!(["198.51.100.0/24"]));
    mon.admin.set(&yard(), set(&[])).await.unwrap();
    assert_eq!(call(&mon, "192.0.2.7"), Ok(()));
    assert!(spec().get("allowFrom").is_none(), "{}", spec());
}
