//! A camera of a cluster whose stream another server takes: it stands in the Camera, so each replica tells its agent so.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::time::Duration;

use moorline_core::port::{CameraAdmin as _, CameraAdminError, CameraChange, CameraDirectory as _};
use moorline_core::streampoint::Streampoint;
use serde_json::json;
use support::{CAMERAS, KEY, Mon, camera, server, yard};

fn refer(streampoint: Option<Streampoint>) -> CameraChange {
    CameraChange {
        streampoint: Some(streampoint),
        ..CameraChange::default()
    }
}

#[tokio::test(start_paused = true)]
async fn every_replica_knows_where_a_cameras_stream_goes() {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let (one, other) = (
        Mon::new(&api, &clock, 0).await,
        Mon::new(&api, &clock, 1).await,
    );
    let known = |mon: &Mon| {
        let cameras = mon.directory.snapshot();
        cameras.get(&yard()).unwrap().streampoint.clone()
    };
    assert_eq!(known(&other), None);
    let there = Streampoint {
        user: "acme/yard".into(),
        host: "b.example.com".into(),
        port: 2222,
        keys: vec![KEY.parse().unwrap()],
        ttl: Some(3_600),
    };
    let change = refer(Some(there.clone()));
    one.admin.set(&yard(), change).await.unwrap();
    assert_eq!(known(&one), Some(there.clone()), "at once");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(known(&other), Some(there.clone()));
    let spec = || api.get(CAMERAS, "t-acme", "yard").unwrap()["spec"].clone();
    let written = json!({
        "user": "acme/yard", "host": "b.example.com", "port": 2222, "keys": [KEY], "ttl": 3600,
    });
    assert_eq!(spec()["streampoint"], written);

    // What becomes an argument of dbclient on the camera is judged here (S7), and a slip changes nothing.
    let wrong = Streampoint {
        host: "-oProxyCommand=x".into(),
        ..there.clone()
    };
    let refused = one
        .admin
        .set(&yard(), refer(Some(wrong)))
        .await
        .unwrap_err();
    let field = match refused {
        CameraAdminError::Invalid { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(field, "streampoint.host");
    assert_eq!(known(&one), Some(there));

    one.admin.set(&yard(), refer(None)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(known(&other), None);
    assert!(spec().get("streampoint").is_none(), "{}", spec());
}

/// A policy lets the front door send no stream elsewhere: it compares what is written, and must not refuse a new title for it.
#[tokio::test(start_paused = true)]
async fn a_change_of_something_else_leaves_the_other_server_as_it_is_written() {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let mon = Mon::new(&api, &clock, 0).await;
    let there = json!({
        "user": "acme/yard", "host": "b.example.com", "port": 2222, "keys": [format!("{KEY} of b")],
    });
    let written = json!({"spec": {"streampoint": there}});
    api.patch(CAMERAS, "t-acme", "yard", &written);
    let titled = |title: &str| CameraChange {
        title: Some(title.to_owned()),
        ..CameraChange::default()
    };
    mon.admin.set(&yard(), titled("Yard")).await.unwrap();
    let spec = || api.get(CAMERAS, "t-acme", "yard").unwrap()["spec"].clone();
    assert_eq!(spec()["title"], "Yard");
    assert_eq!(spec()["streampoint"], there);
    let other = Streampoint {
        user: "acme/yard".into(),
        host: "c.example.com".into(),
        port: 22,
        keys: vec![KEY.parse().unwrap()],
        ttl: None,
    };
    mon.admin.set(&yard(), refer(Some(other))).await.unwrap();
    assert_eq!(spec()["streampoint"]["host"], "c.example.com");
    assert_eq!(spec()["streampoint"]["keys"], json!([KEY]));
}
