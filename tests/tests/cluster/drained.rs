//! Parts are moved by eviction, as before a node's upgrade: front doors with their viewers, who makes tenants, who sweeps.

use std::{net::SocketAddr, time::Duration};

use moorline_testkit::{child::Child, cluster::SOON, eventually, peer};
use serde_json::Value;

use crate::support::{Moorline, Replica, assert_in_order, ffmpeg, now_us, plays};

const TCP: &[&str] = &["-rtsp_transport", "tcp"];
/// From the eviction to the end of a viewer: five seconds in which load balancers hear of it, six for goodbyes, and room. Short of the pod's grace, after
/// which the kernel ends connections.
const GOODBYE: Duration = Duration::from_secs(30);

/// Waits until the budget of front doors lets so many go.
async fn until_allowed(moorline: &Moorline, disruptions: u64) {
    let allowed = |budget: &Value| {
        let allowed = &budget["status"]["disruptionsAllowed"];
        (*allowed == disruptions).then_some(())
    };
    let object = "poddisruptionbudget/moorline-frontdoor";
    let seen = moorline
        .system
        .until(object, "so many disruptions", SOON, allowed);
    seen.await.unwrap();
}

/// Waits until a pod of a part is gone and its successor is ready.
async fn until_succeeded(moorline: &Moorline, part: &str, evicted: &Replica) {
    let object = format!("pod/{}", evicted.name);
    moorline.system.until_gone(&object, SOON).await.unwrap();
    let ready = |object: &Value| {
        let status = &object["status"];
        let wanted = &object["spec"]["replicas"];
        (status["readyReplicas"] == *wanted && status["replicas"] == *wanted).then_some(())
    };
    let object = format!("deployment/moorline-{part}");
    let seen = moorline.system.until(&object, "ready", SOON * 2, ready);
    seen.await.unwrap();
}

/// Where players find a front door, and no other.
fn rtsp(door: &Replica) -> SocketAddr {
    SocketAddr::new(door.ip, 8554)
}

/// The budget lets one go while the other serves. Its viewers are told goodbye and connect again; the other's see every picture.
#[tokio::test(flavor = "multi_thread")]
async fn a_front_door_that_is_drained_says_goodbye_to_its_own_viewers_alone() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("doors-drained").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 391).await;
    let _call = yard.call(&moorline, &first);
    let door = moorline.front_door().await;
    let anna = door.user(&tenant, "anna").await;
    tenant.until_recorded(&yard).await;
    let doors = moorline.parts("frontdoor").await;
    let [one, other] = <[Replica; 2]>::try_from(doors).unwrap();
    let url = |door: &Replica| anna.url("rtsp", rtsp(door), "yard");

    until_allowed(&moorline, 1).await;
    let still = moorline.stop(&other.node, &other.uid).await;
    until_allowed(&moorline, 0).await;
    let refusal = moorline.evict(&one).await.unwrap_err();
    assert!(refusal.contains("disruption budget"), "{refusal}");
    still.now();
    until_allowed(&moorline, 1).await;

    let at_other = ffmpeg(TCP, &url(&other));
    at_other.pictures(40).await;
    let mut watch = peer::FFMPEG.command().unwrap();
    watch
        .args(["-nostdin", "-nostats"])
        .args(TCP)
        .args(["-i", &url(&one)]);
    watch.args(["-map", "0:v", "-c", "copy", "-f", "null", "-"]);
    let mut at_one = Child::spawn("a viewer", watch).unwrap();
    at_one.wait_for_line("Output #0", SOON).await.unwrap();
    let cordon = moorline.cordon(&one.node).await;
    let evicted = now_us();
    moorline.evict(&one).await.unwrap();
    at_one.wait(SOON).await.unwrap();
    let ended = Duration::from_micros(now_us() - evicted);
    println!("the viewer of the drained one ended after {ended:?}");
    assert!(ended < GOODBYE, "it was left hanging: {ended:?}");
    // A player that connects again finds the one that stays, or the successor.
    let service = anna.url("rtsp", door.rtsp, "yard");
    eventually("pictures for who connects again", SOON, || async {
        plays(&service).await.then_some(())
    })
    .await;
    let again = ffmpeg(TCP, &service);
    assert_in_order(&again.pictures(40).await, yard.number);
    until_succeeded(&moorline, "frontdoor", &one).await;
    let seen = at_other.wait_for("pictures all the time", |seen| {
        let after = seen.iter().filter(|stamp| stamp.sent_us > evicted);
        after.count() >= 60
    });
    assert_in_order(&seen.await, yard.number);
    let now = moorline.parts("frontdoor").await;
    assert!(
        now.contains(&other)
            && !now
                .iter()
                .any(|door| door.node == one.node && door.uid != other.uid),
        "the other stays, the successor is elsewhere: {now:?}"
    );
    cordon.now();

    let archive = tenant.goes_on(&yard, now_us(), &[]).await;
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    assert_in_order(&pictures, yard.number);
}

/// One Pod each: its successor begins elsewhere and does what it would have done.
#[tokio::test(flavor = "multi_thread")]
async fn tenants_and_sweeper_that_are_drained_have_successors_that_go_on() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("moved").await;
    let [first, _] = moorline.pair().await;
    let (yard, gate) = (
        tenant.camera("yard", 392).await,
        tenant.camera("gate", 393).await,
    );
    let _calls = (yard.call(&moorline, &first), gate.call(&moorline, &first));
    for camera in [&yard, &gate] {
        tenant.until_recorded(camera).await;
        tenant.until_stored(camera).await;
    }
    for part in ["tenants", "sweeper"] {
        let parts = moorline.parts(part).await;
        assert_eq!(parts.len(), 1, "{parts:?}");
        let cordon = moorline.cordon(&parts[0].node).await;
        moorline.evict(&parts[0]).await.unwrap();
        until_succeeded(&moorline, part, &parts[0]).await;
        let now = moorline.parts(part).await;
        assert!(
            now.len() == 1 && now[0].node != parts[0].node,
            "elsewhere: {now:?}"
        );
        cordon.now();
    }
    let id = format!("{}/gate", tenant.name);
    let remove = ["camera", "rm", &id, "--erase", "--yes"];
    moorline.cli(&remove).await;
    let gone = tenant.space.until_gone("camera/gate", SOON * 2);
    gone.await.unwrap();
    let folder = format!("/{}/gate/", tenant.storage);
    let keys = moorline.bucket.keys();
    assert!(!keys.iter().any(|key| key.contains(&folder)), "{keys:#?}");
    let late = moorline.tenant("after-move").await;
    let shop = late.camera("shop", 394).await;
    let _shop = shop.call(&moorline, &first);
    late.until_stored(&shop).await;
    let archive = tenant.goes_on(&yard, now_us(), &[]).await;
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    assert_in_order(&pictures, yard.number);
    moorline.until_ready().await;
}
