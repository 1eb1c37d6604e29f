//! Replicas of mon come and go: any of them takes any camera, and no pod of a camera is touched.

use std::time::Duration;

use moorline_testkit::{child::Signal, cluster::SOON};

use crate::support::{Moorline, now_us};

/// From the order to the end of the old session, with room for a busy machine: the bar of the design is 1 s.
const TAKEN_OVER: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_takes_over_from_a_stopped_dbclient() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("takeover").await;
    let [first, second] = moorline.pair().await;
    let yard = tenant.camera("yard", 51).await;
    let mut old = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    let pods = tenant.pair(&yard).await;

    old.child.freeze();
    let called = now_us();
    let _new = yard.call(&moorline, &second);
    tenant.until_held(&yard, 2, &second.name).await;
    let held = Duration::from_micros(now_us() - called);
    assert!(held < TAKEN_OVER, "claimed after {held:?}");
    // The old one was ended by the other replica, which it sees as soon as it looks.
    old.child.thaw();
    let status = old.child.wait(TAKEN_OVER).await.unwrap();
    assert!(
        !status.success(),
        "the old dbclient believes that all is well"
    );
    tenant.goes_on(&yard, now_us(), &["tunnel_down"]).await;
    assert_eq!(tenant.pair(&yard).await, pods, "a takeover touches no pod");
}

/// Each of two connections of one camera is claimed for at another replica in the same moment: one of them stays, whichever it is, and pods are made once.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_that_are_called_at_once_one_has_the_camera() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("at-once").await;
    let [first, second] = moorline.pair().await;
    for (name, number) in [("yard", 52), ("gate", 53)] {
        let camera = tenant.camera(name, number).await;
        let mut one = camera.call(&moorline, &first);
        let mut other = camera.call(&moorline, &second);
        let first_ended = tokio::select! {
            ended = one.child.wait(SOON) => ended.map(|_| true),
            ended = other.child.wait(SOON) => ended.map(|_| false),
        };
        let holder = if first_ended.unwrap() {
            &second
        } else {
            &first
        };
        let seen = tenant.until_recorded(&camera).await;
        let session = &seen["status"]["session"];
        assert_eq!(session["mon"], holder.name.as_str(), "{session:#}");
        assert!(session["generation"].as_u64() <= Some(2), "{session:#}");
        // The earlier one came first and was taken over from, or it gave way before it was served.
        let told = ["Moved", "NewerConnection"];
        tenant.until_event_of(&camera, &told).await;
        tenant.goes_on(&camera, now_us(), &["tunnel_down"]).await;
        tenant.pair(&camera).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_leaves_its_cameras_to_the_other() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("mon-dies").await;
    let [first, second] = moorline.pair().await;
    let yard = tenant.camera("yard", 61).await;
    let mut call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    let pods = tenant.pair(&yard).await;
    moorline.signal(&first.node, &first.uid, "KILL").await;
    call.child.wait(SOON).await.unwrap();
    let _call = yard.call(&moorline, &second);
    tenant.until_held(&yard, 2, &second.name).await;
    let event = tenant.until_event(&yard, "Moved").await;
    let note = event["note"].as_str().unwrap_or_default();
    assert!(note.contains(&first.name), "{event:#}");
    tenant.goes_on(&yard, now_us(), &["tunnel_down"]).await;
    assert_eq!(tenant.pair(&yard).await, pods, "its death touches no pod");
    moorline.until_ready().await;
}

/// Nobody calls back: the replica that comes up anew finds what its predecessor held, waits the grace, drains.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_died_drains_what_does_not_come_back() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("mon-adopts").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 62).await;
    let mut call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    tenant.pair(&yard).await;
    tenant.until_stored(&yard).await;
    moorline.signal(&first.node, &first.uid, "KILL").await;
    call.child.wait(SOON).await.unwrap();
    let died = now_us();
    let seen = tenant.until_gone(&yard).await;
    assert_eq!(seen["status"]["session"]["generation"], 1, "{seen:#}");
    let event = tenant.until_event(&yard, "HolderGone").await;
    let note = event["note"].as_str().unwrap_or_default();
    assert!(note.contains(&first.name), "{event:#}");
    tenant.until_without_pods(&yard).await;
    let archive = tenant.archive(&yard);
    archive.assert_covered();
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    assert!(
        pictures.last().unwrap().sent_us + 1_500_000 > died,
        "{archive:#?}"
    );
    moorline.until_ready().await;
}

/// As `helm upgrade` does it: each replica ends its tunnels, cameras redial, no pod of a camera is touched.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_of_mon_under_live_tunnels_touches_no_pod_of_a_camera() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("rollout").await;
    let address = moorline.ssh_service().await;
    let mut cameras = Vec::new();
    for (name, number) in [("yard", 71), ("gate", 72), ("shop", 73)] {
        let camera = tenant.camera(name, number).await;
        let caller = camera.keeps_calling(&moorline, address);
        cameras.push((camera, caller));
    }
    let mut pods = Vec::new();
    for (camera, _) in &cameras {
        tenant.until_recorded(camera).await;
        pods.push(tenant.pair(camera).await);
    }
    let before = moorline.pair().await;
    let restart = ["rollout", "restart", "statefulset/moorline-mon"];
    moorline.system.kubectl(&restart).await.unwrap();
    moorline.until_ready().await;
    let after = moorline.pair().await;
    for (old, new) in before.iter().zip(&after) {
        assert_ne!(old.uid, new.uid, "{} was not replaced", old.name);
    }
    let done = now_us();
    for ((camera, _), pods) in cameras.iter().zip(pods) {
        tenant.until_recorded(camera).await;
        tenant.goes_on(camera, done, &["tunnel_down"]).await;
        assert_eq!(tenant.pair(camera).await, pods);
    }
}

/// A replica that stands still keeps its connections and knows nothing: the camera is taken from it, and it lets go when it runs again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_replica_is_taken_over_from_and_lets_go_when_it_runs_again() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("mon-stops").await;
    let [first, second] = moorline.pair().await;
    let yard = tenant.camera("yard", 81).await;
    let mut old = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    let pods = tenant.pair(&yard).await;
    let stopped = moorline.stop(&first.node, &first.uid).await;
    let _new = yard.call(&moorline, &second);
    tenant.until_held(&yard, 2, &second.name).await;
    tenant.goes_on(&yard, now_us(), &["tunnel_down"]).await;
    stopped.now();
    old.child.wait(SOON).await.unwrap();
    tenant.goes_on(&yard, now_us(), &["tunnel_down"]).await;
    assert_eq!(tenant.pair(&yard).await, pods);
    tenant.until_held(&yard, 2, &second.name).await;
    moorline.until_ready().await;
}

/// A camera whose connection is stopped with the client's process alive is lost by the server's keepalive; nothing waits for it longer than that.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the keepalive of the SSH server takes three quarters of a minute"]
async fn a_silent_camera_is_lost_and_drained() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("silent").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 91).await;
    let call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    // Told to record is not recorded: its first picture may not be there yet.
    tenant.until_stored(&yard).await;
    call.child.signal(Signal::STOP);
    let gone = moorline_testkit::eventually("its pods' end", SOON * 3, || async {
        tenant.pods(&yard).await.is_empty().then_some(())
    });
    gone.await;
    tenant.until_gone(&yard).await;
    tenant.archive(&yard).assert_covered();
}
