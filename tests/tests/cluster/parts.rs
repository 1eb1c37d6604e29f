//! Parts through which no stream of a camera goes die or stand still: signers, who makes tenants and sweeps, scheduler, controllers, names, a kubelet.
//! What they do waits and is done afterwards; nothing that is recorded hears of it.

use std::sync::atomic::{AtomicBool, Ordering};

use moorline_testkit::{
    cluster::{Loss, Outage, Part, SOON, condition},
    eventually,
};

use crate::support::{Camera, Moorline, Tenant, assert_in_order, now_us};

/// Everything that a camera has filmed since its first segment is stored, and no cause was needed for anything.
async fn whole(moorline: &Moorline, tenant: &Tenant<'_>, camera: &Camera) {
    let archive = tenant.goes_on(camera, now_us(), &[]).await;
    let pictures = archive.pictures(&moorline.bucket, camera.number).await;
    assert_in_order(&pictures, camera.number);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_and_erasures_wait_for_who_makes_and_sweeps_them() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("steady").await;
    let [first, _] = moorline.pair().await;
    let (yard, gate) = (
        tenant.camera("yard", 311).await,
        tenant.camera("gate", 312).await,
    );
    let _yard = yard.call(&moorline, &first);
    let _gate = gate.call(&moorline, &first);
    for camera in [&yard, &gate] {
        tenant.until_recorded(camera).await;
        tenant.until_stored(camera).await;
    }
    let mut stopped = moorline.stop_all("tenants").await;
    stopped.extend(moorline.stop_all("sweeper").await);
    let id = format!("{}/gate", tenant.name);
    let remove = ["camera", "rm", &id, "--erase", "--yes"];
    moorline.cli(&remove).await;
    let meanwhile = async {
        tenant.until_without_pods(&gate).await;
        yard.filmed(100).await;
        let words = ["get", "namespaces", "--output=name"];
        let namespaces = moorline.cluster().kubectl(&words).await.unwrap();
        assert!(!namespaces.contains("/t-late-"), "{namespaces}");
        let kept = tenant.archive(&gate);
        assert!(!kept.segments.is_empty(), "somebody else erases");
        let seen = tenant.space.get(&["camera/gate"]).await.unwrap();
        assert!(!seen.is_null(), "it is gone, and not what it recorded");
        stopped.clear();
    };
    let (late, ()) = tokio::join!(moorline.tenant("late"), meanwhile);
    let gone = tenant.space.until_gone("camera/gate", SOON * 2);
    gone.await.unwrap();
    let folder = format!("/{}/gate/", tenant.storage);
    let keys = moorline.bucket.keys();
    assert!(!keys.iter().any(|key| key.contains(&folder)), "{keys:#?}");
    let shop = late.camera("shop", 313).await;
    let _shop = shop.call(&moorline, &first);
    late.until_stored(&shop).await;
    whole(&moorline, &tenant, &yard).await;
    moorline.until_ready().await;
}

/// Connections to it are given up, and the Service leads to the other one: for puts, and for the tickets of new readers.
#[tokio::test(flavor = "multi_thread")]
async fn one_signer_of_two_that_stands_still_holds_up_nobody() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("one-signer").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 321).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    tenant.until_stored(&yard).await;
    let [relay, _] = tenant.pair(&yard).await;
    let signers = moorline.parts("signer").await;
    assert_eq!(signers.len(), 2, "{signers:?}");
    // Whichever of them it spoke with last.
    let still = moorline.stop(&signers[0].node, &signers[0].uid).await;
    whole(&moorline, &tenant, &yard).await;
    still.now();
    moorline.until_ready().await;
    let still = moorline.stop(&signers[1].node, &signers[1].uid).await;
    moorline.signal(&relay.node, &relay.uid, "KILL").await;
    tenant.until_restarted(&yard, &relay).await;
    tenant.goes_on(&yard, now_us(), &["restart"]).await;
    still.now();
    moorline.until_ready().await;
}

/// A camera that calls meanwhile has its tunnel, and waits for a place.
#[tokio::test(flavor = "multi_thread")]
async fn scheduler_controllers_and_names_that_are_away_cost_nothing_that_was_recorded() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("unplaced").await;
    let [first, second] = moorline.pair().await;
    let (yard, gate) = (
        tenant.camera("yard", 331).await,
        tenant.camera("gate", 332).await,
    );
    let _yard = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    tenant.until_stored(&yard).await;
    let pods = tenant.pair(&yard).await;
    let lab = moorline.cluster().lab().unwrap();
    let mut away = Vec::new();
    for (part, outage) in [
        (Part::Scheduler, Outage::Freeze),
        // What follows when one stood still has a test of its own.
        (Part::ControllerManager, Outage::Kill),
        (Part::CoreDns, Outage::Kill),
    ] {
        away.push(lab.lose(part, outage).await.unwrap());
    }
    let _gate = gate.call(&moorline, &second);
    tenant
        .until(&gate, "its tunnel", |camera| {
            (condition(camera, "Connected") == Some("True")).then_some(())
        })
        .await;
    eventually("its pods", SOON, || async {
        (tenant.pods(&gate).await.len() == 2).then_some(())
    })
    .await;
    yard.filmed(160).await;
    let waiting = tenant.pods(&gate).await;
    let placed = waiting.iter().find(|pod| !pod.node.is_empty());
    assert!(placed.is_none(), "the scheduler runs: {placed:?}");
    for fault in away {
        fault.heal().await.unwrap();
    }
    let back = now_us();
    tenant.until_recorded(&gate).await;
    let archive = tenant.until_goes_on(&gate, back).await;
    archive.pictures(&moorline.bucket, gate.number).await;
    whole(&moorline, &tenant, &yard).await;
    assert_eq!(tenant.pair(&yard).await, pods, "no pod was touched");
    moorline.until_ready().await;
}

/// Containers do not need it: it finds them as they were.
#[tokio::test(flavor = "multi_thread")]
async fn kubelets_that_die_touch_no_container() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("kubelets").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 341).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    tenant.until_stored(&yard).await;
    let pods = tenant.pair(&yard).await;
    let lab = moorline.cluster().lab().unwrap();
    let mut dead = Vec::new();
    for number in [1, 2] {
        dead.push(lab.node(number).lose(Loss::KubeletKill).await.unwrap());
    }
    yard.filmed(100).await;
    for fault in dead {
        fault.heal().await.unwrap();
    }
    whole(&moorline, &tenant, &yard).await;
    assert_eq!(tenant.pair(&yard).await, pods, "no container was touched");
    moorline.until_ready().await;
}

/// When it goes on it has heard of no node for longer than it believes one, and the nodes say at once that they are there: nothing is moved.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: it stands still for longer than it takes to give a node up"]
async fn controllers_that_stood_still_give_no_node_up_when_they_go_on() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("controllers").await;
    let [first, second] = moorline.pair().await;
    let (yard, gate) = (
        tenant.camera("yard", 354).await,
        tenant.camera("gate", 355).await,
    );
    let _calls = (yard.call(&moorline, &first), gate.call(&moorline, &second));
    for camera in [&yard, &gate] {
        tenant.until_recorded(camera).await;
        tenant.until_stored(camera).await;
    }
    let pods = [tenant.pair(&yard).await, tenant.pair(&gate).await];
    let lab = moorline.cluster().lab().unwrap();
    let still = lab
        .lose(Part::ControllerManager, Outage::Freeze)
        .await
        .unwrap();
    // A minute: the grace of a node and the tolerations of its pods, and more.
    yard.filmed(1_200).await;
    let back = now_us();
    still.heal().await.unwrap();
    // As long again: a node that was given up would have lost its pods by then.
    let called_lost = AtomicBool::new(false);
    eventually("another minute", SOON * 2, || async {
        let words = ["get", "nodes", "-o", "json"];
        let nodes = moorline.cluster().json(&words).await.unwrap();
        let all = nodes["items"].as_array().unwrap();
        let lost = all
            .iter()
            .any(|node| condition(node, "Ready") != Some("True"));
        called_lost.fetch_or(lost, Ordering::Relaxed);
        (now_us() > back + 60_000_000).then_some(())
    })
    .await;
    println!("a node was called lost for a while: {called_lost:?}");
    for camera in [&yard, &gate] {
        whole(&moorline, &tenant, camera).await;
    }
    let now = [tenant.pair(&yard).await, tenant.pair(&gate).await];
    assert_eq!(now, pods, "no pod was touched");
    assert_eq!(moorline.pair().await, [first, second]);
    moorline.until_ready().await;
}

/// Nobody wakes them: their kubelets begin them anew. A camera calls the other replica of mon meanwhile.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: probes give up after a minute"]
async fn parts_that_stand_still_are_begun_anew_by_themselves() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("stuck-parts").await;
    let [first, second] = moorline.pair().await;
    let (yard, gate) = (
        tenant.camera("yard", 351).await,
        tenant.camera("gate", 352).await,
    );
    let _yard = yard.call(&moorline, &second);
    let _gate = gate.call(&moorline, &first);
    for camera in [&yard, &gate] {
        tenant.until_recorded(camera).await;
        tenant.until_stored(camera).await;
    }
    let pods = [tenant.pair(&yard).await, tenant.pair(&gate).await];
    let mut stuck = vec![first];
    for part in ["signer", "tenants", "sweeper"] {
        stuck.extend(moorline.parts(part).await);
    }
    let restarts = async |name: &str| {
        let object = format!("pod/{name}");
        let pod = moorline.system.get(&[&object]).await.unwrap();
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"].as_u64().unwrap_or_default()
    };
    let mut before = Vec::new();
    for part in &stuck {
        before.push(restarts(&part.name).await);
        moorline.signal(&part.node, &part.uid, "STOP").await;
    }
    let _again = gate.call(&moorline, &second);
    tenant.until_held(&gate, 2, &second.name).await;
    for (part, before) in stuck.iter().zip(before) {
        // The minute of the probe, and a quarter of one to end by itself.
        eventually(&format!("{} begun anew", part.name), SOON * 3, || async {
            (restarts(&part.name).await > before).then_some(())
        })
        .await;
    }
    moorline.until_ready().await;
    // Without a signer puts wait, and nothing else.
    whole(&moorline, &tenant, &yard).await;
    tenant.goes_on(&gate, now_us(), &["tunnel_down"]).await;
    let now = [tenant.pair(&yard).await, tenant.pair(&gate).await];
    assert_eq!(now, pods, "no pod of a camera was touched");
    let late = moorline.tenant("after-stuck").await;
    let shop = late.camera("shop", 353).await;
    let _shop = shop.call(&moorline, &second);
    late.until_stored(&shop).await;
}
