//! What a camera leans on goes away and comes back: the store, its own pods, the API server, a node. Nothing that was recorded is lost.

use std::time::Duration;

use moorline_simcam::video::Stamp;
use moorline_testkit::{
    child::Signal,
    cluster::{Loss, Outage, Part, SOON, condition},
    eventually,
};
use serde_json::Value;

use crate::support::{Moorline, assert_in_order, longest_silence, now_us};

/// What may be missing after `kill -9` of an archiver: what was not yet synced, and what passed before its container ran again.
const LOST_BY_A_KILL: Duration = Duration::from_secs(10);

/// What is recorded meanwhile waits in its spool.
async fn store_away(still: bool, purpose: &str, number: u32) {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant(purpose).await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", number).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    tenant.until_stored(&yard).await;
    if still {
        moorline.bucket.stands_still().await;
    } else {
        moorline.bucket.away().await;
    }
    // Three segments' worth.
    yard.filmed(300).await;
    let returned = now_us();
    moorline.bucket.back().await;
    // What hung is given up after some forty seconds.
    let archive = eventually(
        "recordings that go on, without a hole",
        SOON * 2,
        || async {
            let archive = tenant.archive(&yard);
            let goes_on = archive.goes_on_after(returned) && archive.uncovered().is_none();
            goes_on.then_some(archive)
        },
    )
    .await;
    let pairs = archive.segments.windows(2);
    let is_whole = pairs.into_iter().all(|pair| pair[0].precedes(&pair[1]));
    assert!(is_whole, "{archive:#?}");
    assert_eq!(archive.causes(), Vec::<String>::new(), "{archive:#?}");
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    assert_in_order(&pictures, yard.number);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_away_gets_everything_once_it_is_back() {
    store_away(false, "store-away", 101).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: uploads that hang are given up after their deadline"]
async fn a_store_that_stood_still_gets_everything_once_it_answers_again() {
    store_away(true, "store-stands", 102).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_archiver_finds_its_spool_again() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("archiver-dies").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 111).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    // What it has recorded is on its disk alone when it dies.
    moorline.bucket.away().await;
    yard.filmed(160).await;
    let [_, archiver] = tenant.pair(&yard).await;
    moorline.signal(&archiver.node, &archiver.uid, "KILL").await;
    let killed = now_us();
    moorline.bucket.back().await;
    tenant.until_restarted(&yard, &archiver).await;
    let event = tenant.until_event(&yard, "ArchiverRestarted").await;
    assert_eq!(event["type"], "Warning", "{event:#}");
    let archive = tenant.until_goes_on(&yard, killed).await;
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    let before = pictures
        .iter()
        .rfind(|stamp| stamp.sent_us < killed)
        .unwrap();
    // Fragments are synced as they end, two a second: P3.
    assert!(before.sent_us + 2_000_000 > killed, "{archive:#?}");
    let after = pictures
        .iter()
        .find(|stamp| stamp.sent_us > killed)
        .unwrap();
    let missing = Duration::from_micros(after.sent_us - before.sent_us);
    assert!(
        missing < LOST_BY_A_KILL,
        "{missing:?} are missing: {archive:#?}"
    );
    let known = ["restart", "crash_recovered"];
    let causes = archive.causes();
    let strange = causes.iter().find(|cause| !known.contains(&cause.as_str()));
    assert!(strange.is_none(), "{archive:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relay_is_read_again_under_the_same_pods() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("relay-dies").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 121).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    yard.filmed(60).await;
    let [relay, archiver] = tenant.pair(&yard).await;
    moorline.signal(&relay.node, &relay.uid, "KILL").await;
    let killed = now_us();
    tenant.until_restarted(&yard, &relay).await;
    let event = tenant.until_event(&yard, "RelayRestarted").await;
    assert_eq!(event["type"], "Warning", "{event:#}");
    let archive = tenant.until_goes_on(&yard, killed).await;
    archive.pictures(&moorline.bucket, yard.number).await;
    // Not the camera's doing, and shorter than a second it is a hole.
    let mut strange = archive.causes();
    strange.retain(|cause| cause != "restart");
    assert_eq!(strange, Vec::<String>::new(), "{archive:#?}");
    let [relay_now, archiver_now] = tenant.pair(&yard).await;
    assert_eq!((relay_now.uid, archiver_now), (relay.uid, archiver));
}

/// Tunnels and recordings do not need the API server, nor what it keeps its objects in; a camera that calls meanwhile is known from memory.
async fn api_server_away(part: Part, outage: Outage, pictures: u64, purpose: &str) {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant(purpose).await;
    let [first, _] = moorline.pair().await;
    let (yard, gate) = (
        tenant.camera("yard", 131).await,
        tenant.camera("gate", 132).await,
    );
    let _yard = yard.call(&moorline, &first);
    let mut call = gate.call(&moorline, &first);
    for camera in [&yard, &gate] {
        tenant.until_recorded(camera).await;
    }
    let pods = [tenant.pair(&yard).await, tenant.pair(&gate).await];
    let lab = moorline.cluster().lab().unwrap();
    let away = lab.lose(part, outage).await.unwrap();
    // One of them redials.
    call.child.signal(Signal::KILL);
    call.child.wait(SOON).await.unwrap();
    let _again = gate.call(&moorline, &first);
    let plays = gate.source.counters().plays;
    eventually("its relay reads it again", SOON, || async {
        (gate.source.counters().plays > plays).then_some(())
    })
    .await;
    yard.filmed(pictures).await;
    let back = now_us();
    away.heal().await.unwrap();
    // The control plane takes its time after some of these.
    let claimed = |camera: &Value| {
        let session = &camera["status"]["session"];
        (session["generation"] == 2 && session["mon"] == first.name).then_some(())
    };
    let claim = tenant
        .space
        .until("camera/gate", "its claim", SOON * 2, claimed);
    claim.await.unwrap();
    tenant.until_event(&gate, "ApiServerAway").await;
    for (camera, pods) in [&yard, &gate].into_iter().zip(pods) {
        let archive = tenant.until_goes_on(camera, back).await;
        let pictures = archive.pictures(&moorline.bucket, camera.number).await;
        if camera.number == yard.number {
            assert_in_order(&pictures, camera.number);
        }
        assert_eq!(tenant.pair(camera).await, pods);
    }
    moorline.until_ready().await;
}

/// S19: that replica has not been told of its relay's token, and goes by the cluster's keys. The one that lost the camera drains nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_calls_another_replica_while_the_api_server_is_away_is_recorded_on() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("api-moves").await;
    let [first, second] = moorline.pair().await;
    let yard = tenant.camera("yard", 133).await;
    let mut call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    tenant.until_stored(&yard).await;
    let pods = tenant.pair(&yard).await;
    let lab = moorline.cluster().lab().unwrap();
    let away = lab.lose(Part::ApiServer, Outage::Kill).await.unwrap();
    call.child.signal(Signal::KILL);
    call.child.wait(SOON).await.unwrap();
    let plays = yard.source.counters().plays;
    let _again = yard.call(&moorline, &second);
    eventually("its relay reads it again", SOON, || async {
        (yard.source.counters().plays > plays).then_some(())
    })
    .await;
    let read = now_us();
    // Longer than the grace that the first replica counts.
    yard.filmed(300).await;
    let back = now_us();
    away.heal().await.unwrap();
    tenant.until_held(&yard, 2, &second.name).await;
    tenant.until_event(&yard, "ApiServerAway").await;
    let archive = tenant.until_goes_on(&yard, back).await;
    // What was filmed before the server was back has waited in the spool.
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    let meanwhile = |stamp: &&Stamp| stamp.sent_us > read && stamp.sent_us < back;
    let there = pictures.iter().filter(meanwhile).count();
    assert!(there > 200, "{there}: {archive:#?}");
    assert_eq!(tenant.pair(&yard).await, pods, "no pod was touched");
    moorline.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recording_goes_on_while_the_api_server_is_away() {
    api_server_away(Part::ApiServer, Outage::Kill, 160, "api-away").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the API server stands still for a minute"]
async fn recording_goes_on_while_the_api_server_stands_still_for_a_minute() {
    api_server_away(Part::ApiServer, Outage::Freeze, 1_200, "api-stands").await;
}

/// The API server answers what it has in memory, and takes no write: half an outage.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: etcd stands still for a minute"]
async fn recording_goes_on_while_etcd_stands_still_for_a_minute() {
    api_server_away(Part::Etcd, Outage::Freeze, 1_200, "etcd-stands").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the control plane needs its time after it"]
async fn recording_goes_on_while_etcd_is_dead() {
    api_server_away(Part::Etcd, Outage::Kill, 160, "etcd-dies").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a node is given up after three quarters of a minute"]
async fn a_lost_node_costs_its_cameras_a_gap_and_no_more() {
    lost_node(Loss::Freeze, "node-lost", 141).await;
}

/// Its pods run on, and nobody hears them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a node is given up after three quarters of a minute"]
async fn a_node_without_a_network_costs_its_cameras_a_gap_and_no_more() {
    lost_node(Loss::Unplug, "node-unplugged", 145).await;
}

/// A lost node's pods get successors elsewhere, and what the node comes back with harms nothing.
async fn lost_node(loss: Loss, purpose: &str, number: u32) {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant(purpose).await;
    let [first, second] = moorline.pair().await;
    let yard = tenant.camera("yard", number).await;
    // The tunnel is held on the node that stays; services are reached through it too. Both pods are on the other.
    let stays = if first.node == "n1" { &first } else { &second };
    assert_eq!(stays.node, "n1", "a replica on each node");
    let cordon = moorline.cordon("n1").await;
    let _call = yard.call(&moorline, stays);
    tenant.until_recorded(&yard).await;
    let pods = tenant.pair(&yard).await;
    cordon.now();
    assert!(pods.iter().all(|pod| pod.node == "n2"), "{pods:?}");
    tenant.until_stored(&yard).await;
    let (cluster, lab) = (moorline.cluster(), moorline.cluster().lab().unwrap());
    let since = now_us();
    let lost = lab.node(2).lose(loss).await.unwrap();
    let unknown = |node: &Value| (condition(node, "Ready") == Some("Unknown")).then_some(());
    cluster
        .until(&["node", "n2"], "lost", SOON, unknown)
        .await
        .unwrap();
    for pod in &pods {
        let object = format!("pod/{}", pod.name);
        let deleting = |pod: &Value| pod["metadata"]["deletionTimestamp"].as_str().map(drop);
        let given_up = tenant.space.until(&object, "given up", SOON * 2, deleting);
        given_up.await.unwrap();
    }
    let event = tenant.until_event(&yard, "PodDisrupted").await;
    let note = event["note"].as_str().unwrap_or_default();
    assert!(note.contains("kubectl get nodes"), "{event:#}");
    let archive = eventually("recordings by the successors", SOON * 2, || async {
        let archive = tenant.archive(&yard);
        archive.goes_on_after(since + 10_000_000).then_some(archive)
    })
    .await;
    let successors = tenant.pair(&yard).await;
    for (before, now) in pods.iter().zip(&successors) {
        assert!(
            before.uid != now.uid && now.node == "n1",
            "{before:?} {now:?}"
        );
    }
    archive.pictures(&moorline.bucket, yard.number).await;
    lost.heal().await.unwrap();
    let back = now_us();
    for pod in &pods {
        let object = format!("pod/{}", pod.name);
        tenant.space.until_gone(&object, SOON * 2).await.unwrap();
    }
    let archive = tenant.until_goes_on(&yard, back).await;
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    // What was stored before the loss is there, and what is missing is as long as it took to give the node up.
    let missing = longest_silence(&pictures, since);
    println!("missing: {missing:?}, causes {:?}", archive.causes());
    assert!(missing < SOON * 2, "{missing:?} are missing: {archive:#?}");
    assert_eq!(
        tenant.pair(&yard).await,
        successors,
        "its return touches nothing"
    );
    moorline.until_ready().await;
}

/// Power is back after a moment: the same pods begin anew where they were, and upload what their volumes have.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a node boots"]
async fn a_node_without_power_for_a_moment_keeps_what_was_on_its_disk() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("power").await;
    let [first, second] = moorline.pair().await;
    let stays = if first.node == "n1" { &first } else { &second };
    assert_eq!(stays.node, "n1", "a replica on each node");
    let yard = tenant.camera("yard", 144).await;
    let cordon = moorline.cordon("n1").await;
    let _call = yard.call(&moorline, stays);
    tenant.until_recorded(&yard).await;
    let pods = tenant.pair(&yard).await;
    cordon.now();
    assert!(pods.iter().all(|pod| pod.node == "n2"), "{pods:?}");
    tenant.until_stored(&yard).await;
    // From here on it is on the disk of the node alone.
    moorline.bucket.away().await;
    yard.filmed(160).await;
    let lab = moorline.cluster().lab().unwrap();
    let crashed = now_us();
    let lost = lab.node(2).lose(Loss::Crash).await.unwrap();
    lost.heal().await.unwrap();
    moorline.bucket.back().await;
    let back = now_us();
    let archive = eventually("recordings by the same pods", SOON * 3, || async {
        let archive = tenant.archive(&yard);
        let goes_on = archive.goes_on_after(back) && archive.uncovered().is_none();
        goes_on.then_some(archive)
    })
    .await;
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    let before = pictures.iter().rfind(|stamp| stamp.sent_us < crashed);
    // P3, as with a process that is killed.
    assert!(
        before.unwrap().sent_us + 2_000_000 > crashed,
        "{archive:#?}"
    );
    let missing = longest_silence(&pictures, crashed);
    println!("missing: {missing:?}, causes {:?}", archive.causes());
    assert!(missing < SOON * 2, "{missing:?} are missing: {archive:#?}");
    let uids = tenant.pair(&yard).await.map(|pod| pod.uid);
    assert_eq!(uids, pods.map(|pod| pod.uid), "in their places");
    moorline.until_ready().await;
    tenant.until_recorded(&yard).await;
}

/// The node of the replica that holds their tunnels stands still. A camera that calls another replica goes on with its pods; one that does not call is
/// drained once the Lease of its replica and its grace are over.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a Lease runs out, and what was connected to the lost node finds another way"]
async fn a_lost_node_of_mon_costs_its_cameras_their_tunnels_and_no_pod() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("mon-lost").await;
    let [first, second] = moorline.pair().await;
    let (stays, goes) = if first.node == "n1" {
        (&first, &second)
    } else {
        (&second, &first)
    };
    assert_eq!((&*stays.node, &*goes.node), ("n1", "n2"));
    let (yard, gate) = (
        tenant.camera("yard", 142).await,
        tenant.camera("gate", 143).await,
    );
    let cordon = moorline.cordon("n2").await;
    let _yard = yard.call(&moorline, goes);
    let _gate = gate.call(&moorline, goes);
    for camera in [&yard, &gate] {
        tenant.until_recorded(camera).await;
        tenant.until_stored(camera).await;
    }
    let pods = tenant.pair(&yard).await;
    assert!(pods.iter().all(|pod| pod.node == "n1"), "{pods:?}");

    let since = now_us();
    let lab = moorline.cluster().lab().unwrap();
    let lost = lab.node(2).lose(Loss::Freeze).await.unwrap();
    let _again = yard.call(&moorline, stays);
    tenant.until_held(&yard, 2, &stays.name).await;
    let archive = eventually("recordings of the newer session", SOON * 3, || async {
        let archive = tenant.archive(&yard);
        let goes_on = archive.goes_on_after(since + 10_000_000) && archive.uncovered().is_none();
        goes_on.then_some(archive)
    })
    .await;
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    println!(
        "missing: {:?}, causes {:?}",
        longest_silence(&pictures, since),
        archive.causes()
    );
    eventually("the end of the other's pods", SOON * 3, || async {
        tenant.pods(&gate).await.is_empty().then_some(())
    })
    .await;
    let seen = tenant.until_gone(&gate).await;
    assert_eq!(seen["status"]["session"]["generation"], 1, "{seen:#}");
    tenant.until_event(&yard, "Moved").await;
    tenant.until_event(&gate, "HolderGone").await;
    let archive = tenant.archive(&gate);
    archive.assert_covered();
    archive.pictures(&moorline.bucket, gate.number).await;

    lost.heal().await.unwrap();
    cordon.now();
    moorline.until_ready().await;
    let known = ["tunnel_down", "restart", "camera_silent"];
    tenant.goes_on(&yard, now_us(), &known).await;
    tenant.until_held(&yard, 2, &stays.name).await;
    assert_eq!(tenant.pair(&yard).await, pods, "no pod was touched");
    moorline.spread().await;
}
