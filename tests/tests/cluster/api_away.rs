//! The API server is away for minutes: longer than Leases last, than watches wait, and than a node is believed that says nothing.

use std::{net::SocketAddr, time::Duration};

use moorline_testkit::{
    child::Signal,
    cluster::{Outage, Part, SOON},
    eventually,
};
use serde_json::Value;

use crate::support::{
    Camera, Inside, Moorline, Person, Tenant, assert_in_order, ffmpeg, now_us, plays,
};

const MINUTES: Duration = Duration::from_secs(240);

/// Waits until the relay of a camera has begun to read it so often, and once more.
async fn read_again(camera: &Camera, often: u64) {
    eventually("its relay reads it again", SOON, || async {
        (camera.source.counters().plays > often).then_some(())
    })
    .await;
}

/// Waits until the claim of this replica is written: once it has noticed that the API server is back.
async fn until_claimed(tenant: &Tenant<'_>, camera: &Camera, generation: u64, mon: &str) {
    let object = format!("camera/{}", camera.name);
    let claimed = |camera: &Value| {
        let session = &camera["status"]["session"];
        (session["generation"] == generation && session["mon"] == mon).then_some(())
    };
    let seen = tenant
        .space
        .until(&object, "its claim", SOON * 2, claimed)
        .await;
    seen.unwrap();
}

/// Who records records on, who watches watches on, who is known gets in: cameras by their keys, pods by their tokens, people by their passwords.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the API server is away for four minutes"]
async fn four_minutes_without_the_api_server_cost_no_picture_of_a_tunnel_that_stands() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("minutes").await;
    let [first, second] = moorline.pair().await;
    let (yard, gate, shop) = (
        tenant.camera("yard", 361).await,
        tenant.camera("gate", 362).await,
        tenant.camera("shop", 363).await,
    );
    let _yard = yard.call(&moorline, &first);
    let mut at_gate = gate.call(&moorline, &first);
    let mut at_shop = shop.call(&moorline, &first);
    let mut pods = Vec::new();
    for camera in [&yard, &gate, &shop] {
        tenant.until_recorded(camera).await;
        tenant.until_stored(camera).await;
        pods.push(tenant.pair(camera).await);
    }
    let door = moorline.front_door().await;
    let anna = door.user(&tenant, "anna").await;
    // Who comes meanwhile is shown what a front door reads already.
    let doors = moorline.parts("frontdoor").await;
    let url = anna.url("rtsp", SocketAddr::new(doors[0].ip, 8554), "yard");
    let player = ffmpeg(&["-rtsp_transport", "tcp"], &url);
    player.pictures(40).await;
    // A token that is good, and that nobody has been shown yet.
    let [relay, _] = &pods[0];
    let token = tenant.token_for(relay, Inside::Gateway).await;
    let gateway = moorline.way(Inside::Gateway).await;
    let head = format!(
        "CONNECT {}/yard HTTP/1.1\r\nHost: moorline-mon.moorline-system.svc\r\nAuthorization: Bearer {token}\r\n",
        tenant.name
    );

    let lab = moorline.cluster().lab().unwrap();
    let away = lab.lose(Part::ApiServer, Outage::Kill).await.unwrap();
    let since = now_us();
    for call in [&mut at_gate, &mut at_shop] {
        call.child.signal(Signal::KILL);
        call.child.wait(SOON).await.unwrap();
    }
    // At the replica that it had, its key is known and the token of its relay too.
    let often = gate.source.counters().plays;
    let _gate = gate.call(&moorline, &first);
    read_again(&gate, often).await;
    // At the other one its key is known, and the cluster's own keys tell whose token its relay shows.
    let mut at_other = shop.call(&moorline, &second);
    // A kubelet begins a container anew by itself, and the token in the pod is the one that is known.
    let [relay, _] = &pods[1];
    let often = gate.source.counters().plays;
    moorline.signal(&relay.node, &relay.uid, "KILL").await;
    read_again(&gate, often).await;
    let answer = gateway.ask(&head, "").await;
    assert!([200, 307].contains(&answer.status), "{answer:?}");
    assert!(plays(&url).await, "a viewer who comes meanwhile");
    Person::sign_in(door.https, &anna.name, &anna.password).await;
    let end = since + u64::try_from(MINUTES.as_micros()).unwrap();
    eventually("the end of the outage", MINUTES + SOON, || async {
        (now_us() > end).then_some(())
    })
    .await;
    let ended = at_other.child.wait(Duration::from_secs(1)).await;
    assert!(ended.is_err(), "it was sent away: {ended:?}");
    let seen = player.wait_for("pictures until the end", |seen| {
        seen.last().is_some_and(|stamp| stamp.sent_us > end)
    });
    assert_in_order(&seen.await, yard.number);

    let back = now_us();
    away.heal().await.unwrap();
    for (camera, generation, mon) in [
        (&yard, 1, &first.name),
        (&gate, 2, &first.name),
        (&shop, 2, &second.name),
    ] {
        until_claimed(&tenant, camera, generation, mon).await;
        tenant.until_recorded(camera).await;
    }
    let archive = tenant.goes_on(&yard, back, &[]).await;
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    assert_in_order(&pictures, yard.number);
    let known = ["tunnel_down", "restart", "camera_silent", "rtsp_error"];
    for camera in [&gate, &shop] {
        // Pauses have grown.
        eventually("recordings that go on", SOON * 3, || async {
            let archive = tenant.archive(camera);
            (archive.goes_on_after(back) && archive.uncovered().is_none()).then_some(())
        })
        .await;
        let archive = tenant.goes_on(camera, back, &known).await;
        println!("{}: {:?}", camera.name, archive.causes());
    }
    // The replica that had the third one could not hear that it is elsewhere, and drained nothing.
    for (camera, before) in [&yard, &gate, &shop].into_iter().zip(pods) {
        let now = tenant.pair(camera).await.map(|pod| pod.uid);
        assert_eq!(now, before.map(|pod| pod.uid), "{}", camera.name);
    }
    moorline.until_ready().await;
    assert_eq!(moorline.pair().await, [first, second]);
}
