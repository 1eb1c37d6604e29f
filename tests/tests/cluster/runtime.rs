//! What runs a node's containers dies or stands still under them: containerd, the kubelet. Containers do not need them; what has to be begun or ended
//! waits.

use moorline_testkit::{
    cluster::{Loss, SOON, condition},
    eventually,
};
use serde_json::Value;

use crate::support::{Camera, Moorline, Tenant, assert_in_order, now_us};

/// Everything that a camera has filmed since its first segment is stored, and no cause was needed for anything.
async fn whole(moorline: &Moorline, tenant: &Tenant<'_>, camera: &Camera) {
    let archive = tenant.goes_on(camera, now_us(), &[]).await;
    let pictures = archive.pictures(&moorline.bucket, camera.number).await;
    assert_in_order(&pictures, camera.number);
}

/// Waits until the condition Ready of a node is this word.
async fn until_node(moorline: &Moorline, node: &str, word: &str) {
    let is = |node: &Value| (condition(node, "Ready") == Some(word)).then_some(());
    let object = ["node", node];
    let seen = moorline.cluster().until(&object, word, SOON, is);
    seen.await.unwrap();
}

/// Dead it comes up again, as systemd would have it. A camera that hangs up while it stands still is drained, and its pods go afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_containerd_that_dies_or_stands_still_touches_no_container() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("containerd").await;
    let [first, second] = moorline.pair().await;
    let (yard, gate) = (
        tenant.camera("yard", 381).await,
        tenant.camera("gate", 382).await,
    );
    let _yard = yard.call(&moorline, &first);
    let mut hangs_up = gate.call_with_agent(&moorline, &second);
    for camera in [&yard, &gate] {
        tenant.until_recorded(camera).await;
        tenant.until_stored(camera).await;
    }
    let pods = [tenant.pair(&yard).await, tenant.pair(&gate).await];
    let lab = moorline.cluster().lab().unwrap();
    let lose = async |loss: Loss| {
        let mut lost = Vec::new();
        for number in [1, 2] {
            lost.push(lab.node(number).lose(loss).await.unwrap());
        }
        lost
    };

    let dead = lose(Loss::ContainerdKill).await;
    yard.filmed(100).await;
    for fault in dead {
        fault.heal().await.unwrap();
    }
    for camera in [&yard, &gate] {
        whole(&moorline, &tenant, camera).await;
    }
    let now = [tenant.pair(&yard).await, tenant.pair(&gate).await];
    assert_eq!(now, pods, "no container was touched");

    let still = lose(Loss::ContainerdFreeze).await;
    hangs_up.child.write(b"BYE\n").await.unwrap();
    let bye = now_us();
    hangs_up.child.wait(SOON).await.unwrap();
    // Nobody needs it to be told to drain, nor to upload.
    tenant.until_gone(&gate).await;
    let ending = tenant.pods(&gate).await;
    assert!(
        ending.len() == 2 && ending.iter().all(|pod| pod.deleting),
        "somebody else ends containers: {ending:?}"
    );
    let archive = tenant.archive(&gate);
    archive.assert_covered();
    let pictures = archive.pictures(&moorline.bucket, gate.number).await;
    assert_in_order(&pictures, gate.number);
    assert!(
        pictures.last().unwrap().sent_us + 1_500_000 > bye,
        "recorded until the end: {archive:#?}"
    );
    for fault in still {
        fault.heal().await.unwrap();
    }
    tenant.until_without_pods(&gate).await;
    whole(&moorline, &tenant, &yard).await;
    let [at_yard, _] = pods;
    assert_eq!(
        tenant.pair(&yard).await,
        at_yard,
        "no container was touched"
    );
    for node in ["n1", "n2"] {
        until_node(&moorline, node, "True").await;
    }
    moorline.until_ready().await;
}

/// Its node is called lost, and it is back before the node is given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_that_stands_still_for_a_while_touches_no_container() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("still-kubelet").await;
    let [first, second] = moorline.pair().await;
    let (yard, gate) = (
        tenant.camera("yard", 383).await,
        tenant.camera("gate", 384).await,
    );
    let _calls = (yard.call(&moorline, &first), gate.call(&moorline, &second));
    for camera in [&yard, &gate] {
        tenant.until_recorded(camera).await;
        tenant.until_stored(camera).await;
    }
    let pods = [tenant.pair(&yard).await, tenant.pair(&gate).await];
    let lab = moorline.cluster().lab().unwrap();
    let still = lab.node(2).lose(Loss::KubeletFreeze).await.unwrap();
    until_node(&moorline, "n2", "Unknown").await;
    yard.filmed(40).await;
    still.heal().await.unwrap();
    until_node(&moorline, "n2", "True").await;
    for camera in [&yard, &gate] {
        whole(&moorline, &tenant, camera).await;
    }
    let now = [tenant.pair(&yard).await, tenant.pair(&gate).await];
    assert_eq!(now, pods, "no pod was touched");
    moorline.until_ready().await;
}

/// Its node is given up and nobody ends what runs there: the old pods record on until their time is over, beside their successors. What two have recorded
/// is there twice, and nothing is missing.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a node is given up after three quarters of a minute"]
async fn a_kubelet_that_is_left_standing_still_has_its_pods_replaced_without_a_loss() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("stuck-kubelet").await;
    let [first, second] = moorline.pair().await;
    let stays = if first.node == "n1" { &first } else { &second };
    assert_eq!(stays.node, "n1", "a replica on each node");
    let yard = tenant.camera("yard", 385).await;
    let cordon = moorline.cordon("n1").await;
    let _call = yard.call(&moorline, stays);
    tenant.until_recorded(&yard).await;
    let pods = tenant.pair(&yard).await;
    cordon.now();
    assert!(pods.iter().all(|pod| pod.node == "n2"), "{pods:?}");
    tenant.until_stored(&yard).await;

    let lab = moorline.cluster().lab().unwrap();
    let still = lab.node(2).lose(Loss::KubeletFreeze).await.unwrap();
    for pod in &pods {
        let object = format!("pod/{}", pod.name);
        let deleting = |pod: &Value| pod["metadata"]["deletionTimestamp"].as_str().map(drop);
        let given_up = tenant.space.until(&object, "given up", SOON * 2, deleting);
        given_up.await.unwrap();
    }
    eventually("successors", SOON, || async {
        let mut now = tenant.pods(&yard).await;
        now.retain(|pod| !pod.deleting);
        let are_there = now.len() == 2 && now.iter().all(|pod| pod.node == "n1");
        are_there.then_some(())
    })
    .await;
    // The old relay's time is over within half a minute: what is filmed from there on is the successors'. Both are counted meanwhile.
    yard.filmed(1_200).await;
    tenant.until_goes_on(&yard, now_us()).await;
    let successors = tenant.pair(&yard).await;
    still.heal().await.unwrap();
    let back = now_us();
    for pod in &pods {
        let object = format!("pod/{}", pod.name);
        tenant.space.until_gone(&object, SOON * 2).await.unwrap();
    }
    let archive = tenant.until_goes_on(&yard, back).await;
    let pictures = archive.pictures_once(&moorline.bucket, yard.number).await;
    let steps = pictures
        .windows(2)
        .map(|pair| pair[1].frame - pair[0].frame);
    let missing = steps.max().unwrap() - 1;
    println!("missing: {missing}, causes {:?}", archive.causes());
    // Fifteen seconds, if the old pods were cut off before their successors had a picture.
    assert!(missing < 300, "{missing} are missing: {archive:#?}");
    let known = ["tunnel_down", "restart", "camera_silent", "rtsp_error"];
    let mut strange = archive.causes();
    strange.retain(|cause| !known.contains(&cause.as_str()));
    assert_eq!(strange, Vec::<String>::new(), "{archive:#?}");
    assert_eq!(
        tenant.pair(&yard).await,
        successors,
        "its return touches nothing"
    );
    until_node(&moorline, "n2", "True").await;
    moorline.until_ready().await;
}
