//! Parts stand still, are cut off, run out of memory, are moved: who looks after what, row by row of docs/design/cluster.md. Each time the frame checker
//! says that nothing that was recorded is lost, and that what is missing is explained.

use std::time::Duration;

use moorline_testkit::{
    child::{Signal, run},
    cluster::SOON,
};

use crate::support::{Archive, Camera, Moorline, Pod, assert_in_order, longest_silence, now_us};

/// The longest time without a picture since `instant`.
async fn missing(
    moorline: &Moorline,
    archive: &Archive,
    camera: &Camera,
    instant: u64,
) -> Duration {
    let pictures = archive.pictures(&moorline.bucket, camera.number).await;
    longest_silence(&pictures, instant)
}

/// It serves what it has and knows nothing new: its camera calls another replica, and what it believes then harms nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_cut_off_from_the_api_server_does_no_harm() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("cut-off").await;
    let [first, second] = moorline.pair().await;
    let yard = tenant.camera("yard", 191).await;
    let mut call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    let pods = tenant.pair(&yard).await;
    let cut = moorline.cut_off(&first).await;
    call.child.signal(Signal::KILL);
    call.child.wait(SOON).await.unwrap();
    let _call = yard.call(&moorline, &second);
    tenant.until_held(&yard, 2, &second.name).await;
    // Longer than the grace that the other still believes in, and than its Lease lasts.
    tenant.goes_on(&yard, now_us(), &["tunnel_down"]).await;
    let object = format!("lease/{}", first.name);
    let renewed = async || {
        let lease = moorline.system.get(&[&object]).await.unwrap();
        lease["spec"]["renewTime"].as_str().unwrap().to_owned()
    };
    let last = renewed().await;
    yard.filmed(400).await;
    assert_eq!(renewed().await, last, "it is not cut off");
    tenant.goes_on(&yard, now_us(), &["tunnel_down"]).await;
    cut.now();
    moorline.until_ready().await;
    yard.filmed(100).await;
    tenant.goes_on(&yard, now_us(), &["tunnel_down"]).await;
    assert_eq!(tenant.pair(&yard).await, pods, "no pod was touched");
    let seen = tenant.until_recorded(&yard).await;
    let session = &seen["status"]["session"];
    assert_eq!(session["generation"], 2, "{session:#}");
    assert_eq!(session["mon"], second.name.as_str(), "{session:#}");
    // Its watch was cut too: soon it knows what was made meanwhile, and takes a camera that keeps calling.
    let gate = tenant.camera("gate", 192).await;
    let _gate = gate.keeps_calling(&moorline, first.ssh());
    let seen = tenant.until_recorded(&gate).await;
    let session = &seen["status"]["session"];
    assert_eq!(session["mon"], first.name.as_str(), "{session:#}");
}

/// SIGSTOP of signer, archiver and relay in turn.
#[tokio::test(flavor = "multi_thread")]
async fn parts_that_stand_still_for_a_while_lose_nothing_that_was_recorded() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("still").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 201).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    let [relay, archiver] = tenant.pair(&yard).await;
    tenant.until_stored(&yard).await;

    let mut stopped = moorline.stop_all("signer").await;
    assert_eq!(stopped.len(), 2);
    let stored = tenant.archive(&yard).segments.len();
    yard.filmed(200).await;
    let waiting = tenant.archive(&yard).segments.len();
    assert!(
        waiting <= stored + 1,
        "stored without a signer: {stored}, {waiting}"
    );
    stopped.clear();
    let archive = tenant.goes_on(&yard, now_us(), &[]).await;
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    assert_in_order(&pictures, yard.number);

    let still = moorline.stop(&archiver.node, &archiver.uid).await;
    let instant = now_us();
    yard.filmed(200).await;
    still.now();
    let archive = tenant.goes_on(&yard, now_us(), &["overrun"]).await;
    println!(
        "without archiver: {:?}",
        missing(&moorline, &archive, &yard, instant).await
    );

    let still = moorline.stop(&relay.node, &relay.uid).await;
    let instant = now_us();
    moorline_testkit::eventually("ten seconds", SOON, || async {
        (now_us() > instant + 10_000_000).then_some(())
    })
    .await;
    still.now();
    let known = ["overrun", "camera_silent", "rtsp_error", "tunnel_down"];
    let archive = tenant.goes_on(&yard, now_us(), &known).await;
    println!(
        "without relay: {:?}, {:?}",
        missing(&moorline, &archive, &yard, instant).await,
        archive.causes()
    );
    assert_eq!(
        tenant.pair(&yard).await,
        [relay, archiver],
        "nothing was restarted"
    );
}

/// Nobody wakes it: the kubelet ends the process and begins it anew in its pod.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a probe gives up after a minute and a half"]
async fn a_relay_that_stands_still_is_begun_anew_by_itself() {
    begun_anew_by_itself("stuck-relay", 211, "relay").await;
}

/// The same, and what was recorded waits in its volume meanwhile.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a probe gives up after a minute and a half"]
async fn an_archiver_that_stands_still_is_begun_anew_by_itself_and_keeps_its_spool() {
    begun_anew_by_itself("stuck-archiver", 212, "archiver").await;
}

async fn begun_anew_by_itself(tenant: &str, number: u32, role: &str) {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant(tenant).await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", number).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    tenant.until_stored(&yard).await;
    let pair = tenant.pair(&yard).await;
    let stuck = pair.iter().find(|pod| pod.role == role).unwrap();
    let instant = now_us();
    moorline.signal(&stuck.node, &stuck.uid, "STOP").await;
    tenant.until_restarted(&yard, stuck).await;
    let known = [
        "overrun",
        "camera_silent",
        "rtsp_error",
        "restart",
        "crash_recovered",
        "tunnel_down",
    ];
    let archive = tenant.goes_on(&yard, now_us(), &known).await;
    archive.assert_covered();
    let missing = missing(&moorline, &archive, &yard, instant).await;
    println!("{role} stuck: {missing:?}, {:?}", archive.causes());
    assert!(missing < SOON * 3, "{missing:?}: {archive:#?}");
    let uids = |pair: &[Pod; 2]| pair.clone().map(|pod| pod.uid);
    assert_eq!(
        uids(&tenant.pair(&yard).await),
        uids(&pair),
        "in their places"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_memory_comes_back_and_its_owner_is_told_when_it_is_no_accident() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("memory").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 221).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    tenant.until_stored(&yard).await;
    let [relay, archiver] = tenant.pair(&yard).await;
    moorline.exhaust(&relay, 47).await;
    tenant.until_restarted(&yard, &relay).await;
    let known = ["restart"];
    tenant.goes_on(&yard, now_us(), &known).await;

    let [again, _] = tenant.pair(&yard).await;
    moorline.exhaust(&again, 47).await;
    let message = tenant.until_told(&yard, "OutOfMemory").await;
    assert!(message.contains("raise the memory"), "{message}");
    let event = tenant.until_event(&yard, "OutOfMemory").await;
    assert_eq!(event["type"], "Warning", "{event:#}");
    tenant.until_recorded(&yard).await;
    let archive = tenant.goes_on(&yard, now_us(), &known).await;
    println!("out of memory twice: {:?}", archive.causes());
    let [relay_now, archiver_now] = tenant.pair(&yard).await;
    assert_eq!((relay_now.uid, archiver_now), (relay.uid, archiver));
}

/// What it has recorded is in its volume alone when the kernel ends it, and in the bucket once the store is back (P3).
#[tokio::test(flavor = "multi_thread")]
async fn an_archiver_without_memory_finds_its_spool_again_and_its_owner_is_told() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("archiver-memory").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 222).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    tenant.until_stored(&yard).await;
    moorline.bucket.away().await;
    yard.filmed(160).await;
    let [relay, archiver] = tenant.pair(&yard).await;
    let exhausted = now_us();
    moorline.exhaust(&archiver, 63).await;
    tenant.until_restarted(&yard, &archiver).await;
    let event = tenant.until_event(&yard, "ArchiverRestarted").await;
    let note = event["note"].as_str().unwrap_or_default();
    for part in ["OOMKilled", "raise archiver.memory"] {
        assert!(note.contains(part), "{part}: {event:#}");
    }
    let back = now_us();
    moorline.bucket.back().await;
    let known = ["restart", "crash_recovered"];
    let archive = tenant.goes_on(&yard, back, &known).await;
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    let before = pictures.iter().rfind(|stamp| stamp.sent_us < exhausted);
    // Fragments are synced as they end, two a second.
    assert!(
        before.unwrap().sent_us + 2_000_000 > exhausted,
        "{archive:#?}"
    );
    let [relay_now, archiver_now] = tenant.pair(&yard).await;
    assert_eq!((relay_now, archiver_now.uid), (relay, archiver.uid));
}

/// `kubectl drain`, as before a node's upgrade: everything leaves it by eviction.
#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_is_left_with_everything_stored() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("drained").await;
    let [first, second] = moorline.pair().await;
    let yard = tenant.camera("yard", 231).await;
    let (stays, goes) = if first.node == "n1" {
        (&first, &second)
    } else {
        (&second, &first)
    };
    assert_eq!((&*stays.node, &*goes.node), ("n1", "n2"));
    let cordon = moorline.cordon("n1").await;
    let _call = yard.keeps_calling(&moorline, stays.ssh());
    tenant.until_recorded(&yard).await;
    let pods = tenant.pair(&yard).await;
    cordon.now();
    assert!(pods.iter().all(|pod| pod.node == "n2"), "{pods:?}");
    tenant.until_stored(&yard).await;

    let cordon = moorline.cordon("n2").await;
    let drained = now_us();
    let mut drain = moorline.cluster().command();
    drain.args([
        "drain",
        "n2",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
    ]);
    let output = run("kubectl drain", drain, SOON * 3).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let took = Duration::from_micros(now_us() - drained);
    let archive = tenant.goes_on(&yard, now_us(), &["restart"]).await;
    let left = missing(&moorline, &archive, &yard, drained).await;
    println!(
        "drained in {took:?}, missing {left:?}, {:?}",
        archive.causes()
    );
    // Eviction is an order to upload first, not a loss: only the move itself is missing.
    assert!(left < SOON / 2, "{left:?}: {archive:#?}");
    let successors = tenant.pair(&yard).await;
    assert!(
        successors.iter().all(|pod| pod.node == "n1"),
        "{successors:?}"
    );
    cordon.now();
    moorline.spread().await;
    tenant.until_recorded(&yard).await;
}
