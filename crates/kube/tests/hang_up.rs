//! A hang-up that is ordered in the resource: the monitor of whoever holds that tunnel is told once, and of no later tunnel.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use moorline_core::port::{CameraAdmin as _, CameraAdminError, Claims as _};
use moorline_core::{CameraId, Generation};
use moorline_kube::resource::ConditionKind;
use moorline_kube::{KubeHangUps, Note};
use serde_json::json;
use support::{CAMERAS, Fault, Mon, camera, server, within, yard};
use tokio::sync::watch;

/// What a replica is told to hang up.
#[derive(Default)]
struct Told(watch::Sender<Vec<(CameraId, Generation)>>);

impl Told {
    /// Hears of the orders for what a replica holds.
    fn at(mon: &Mon) -> Arc<Self> {
        let told = Arc::new(Self::default());
        let hang_ups = KubeHangUps::new(mon.directory.cache().clone(), mon.owned.clone());
        let (heard, stop) = (Arc::clone(&told), mon.stop.clone());
        tokio::spawn(async move {
            let hang_up = |camera: &CameraId, generation| {
                let order = (camera.clone(), generation);
                heard.0.send_modify(|told| told.push(order));
            };
            hang_ups.run(hang_up, stop).await;
        });
        told
    }

    fn times(&self) -> usize {
        self.0.borrow().len()
    }

    async fn until(&self, times: usize) {
        let mut told = self.0.subscribe();
        let waited = told.wait_for(|told| told.len() >= times);
        within("the order", waited).await.unwrap();
    }
}

/// A replica does as it is told: its camera drains.
async fn ends(mon: &Mon, told: &Told, times: usize, generation: u64) {
    told.until(times).await;
    let (yard, generation) = (yard(), Generation(generation));
    let over = Note::condition(ConditionKind::Connected, false, "Draining", "hung up");
    let noted = mon.writer.noted(&yard, generation, over);
    within("the note", noted).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hang_up_reaches_the_holder_once_and_never_the_next_tunnel() {
    let ((api, clock), yard) = (server(), yard());
    api.put(CAMERAS, camera("acme", "yard"));
    let (left, right) = (
        Mon::new(&api, &clock, 0).await,
        Mon::new(&api, &clock, 1).await,
    );
    let (at_left, at_right) = (Told::at(&left), Told::at(&right));
    let first = left.up(&yard, 1);
    left.claims.claim(&yard, first).await.unwrap();
    let ordered = right.admin.hang_up(&yard);
    let (ordered, ()) = tokio::join!(ordered, ends(&left, &at_left, 1, 1));
    ordered.unwrap();
    let object = api.get(CAMERAS, "t-acme", "yard").unwrap();
    let order = &object["metadata"]["annotations"]["moorline.dev/hang-up"];
    assert_eq!(order, "1");

    tokio::time::advance(Duration::from_secs(3)).await;
    let second = right.up(&yard, 2);
    let claimed = right.claims.claim(&yard, second).await.unwrap();
    assert_eq!(claimed, Generation(2));
    assert_eq!(at_right.times(), 0, "the order was for the tunnel before");
    let ordered = left.admin.hang_up(&yard);
    let (ordered, ()) = tokio::join!(ordered, ends(&right, &at_right, 1, 2));
    ordered.unwrap();
    assert_eq!(*at_left.0.borrow(), [(yard.clone(), Generation(1))]);
    assert_eq!(*at_right.0.borrow(), [(yard, Generation(2))]);
}

#[tokio::test(start_paused = true)]
async fn without_a_tunnel_nothing_is_written_and_an_unknown_camera_is_told() {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let mon = Mon::new(&api, &clock, 0).await;
    api.forget_requests();
    mon.admin.hang_up(&yard()).await.unwrap();
    assert_eq!(api.writes(), Vec::<String>::new());
    let refused = mon.admin.hang_up(&"acme/gate".parse().unwrap()).await;
    assert!(
        matches!(refused, Err(CameraAdminError::Unknown(_))),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_does_not_obey_is_named() {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let mon = Mon::new(&api, &clock, 0).await;
    let tunnel = mon.up(&yard(), 1);
    mon.claims.claim(&yard(), tunnel).await.unwrap();
    let refused = mon.admin.hang_up(&yard()).await.unwrap_err();
    assert!(
        matches!(&refused, CameraAdminError::Unavailable(why) if why.starts_with("moorline-mon-0 holds the tunnel")),
        "{refused}"
    );
}

/// P1: what ends is the tunnel that is there when the order is written.
#[tokio::test(start_paused = true)]
async fn a_claim_that_comes_between_is_the_one_that_is_hung_up() {
    let (api, clock) = server();
    api.put(CAMERAS, camera("acme", "yard"));
    let mon = Mon::new(&api, &clock, 0).await;
    let tunnel = mon.up(&yard(), 1);
    mon.claims.claim(&yard(), tunnel).await.unwrap();
    let newer = json!({"status": {
        "session": {"generation": 2, "mon": "moorline-mon-1"},
        "conditions": [{"type": "Connected", "status": "False", "reason": "Lost", "message": "", "lastTransitionTime": "2026-11-20T21:10:05Z"}],
    }});
    let overtaken = Fault::Overtaken(newer);
    api.trap(Method::PUT, "cameras/yard", 1, overtaken);
    mon.admin.hang_up(&yard()).await.unwrap();
    let object = api.get(CAMERAS, "t-acme", "yard").unwrap();
    let order = &object["metadata"]["annotations"]["moorline.dev/hang-up"];
    assert_eq!(order, "2");
}
