//! Pods that cannot run: the owner is told why, nothing is hammered, and it recovers by itself.

use moorline_testkit::{
    cluster::{Cluster, SOON, condition},
    or_skip,
};
use serde_json::{Value, json};

use crate::support::Moorline;

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_used_up_is_told_and_recovers() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("quota").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 151).await;
    let pods = |count: &str| {
        let patch = json!({"spec": {"hard": {"pods": count}}}).to_string();
        let space = &tenant.space;
        async move {
            space
                .kubectl(&[
                    "patch",
                    "resourcequota",
                    "moorline",
                    "--type=merge",
                    "-p",
                    &patch,
                ])
                .await
                .unwrap();
            let counted = |quota: &Value| {
                (quota["status"]["hard"]["pods"] == quota["spec"]["hard"]["pods"]).then_some(())
            };
            let object = "resourcequota/moorline";
            space.until(object, "counted", SOON, counted).await.unwrap();
        }
    };
    pods("1").await;
    let _call = yard.call(&moorline, &first);
    let message = tenant.until_told(&yard, "QuotaExceeded").await;
    assert!(message.contains("pods"), "{message}");
    let event = tenant.until_event(&yard, "QuotaExceeded").await;
    assert_eq!(event["type"], "Warning", "{event:#}");
    let made = tenant.pods(&yard).await;
    pods("20").await;
    let seen = tenant.until_recorded(&yard).await;
    assert_eq!(condition(&seen, "Ready"), Some("True"));
    // What had been made was kept.
    let now = tenant.pods(&yard).await;
    for pod in made {
        assert!(now.iter().any(|now| now.uid == pod.uid), "{pod:?} is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_pods_from_running_is_told_and_a_class_put_right_heals_it() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let class = format!("broken-{:x}", crate::support::now_us());
    let object = |image: &str, cpu: &str| {
        json!({
            "apiVersion": "moorline.dev/v1alpha1", "kind": "CameraClass",
            "metadata": {"name": class},
            "spec": {
                "image": image, "imagePullPolicy": moorline.cluster().pull_policy(),
                "relay": {"cpu": cpu},
                "archiver": {"segment": "5s", "spool": "64Mi"},
            },
        })
    };
    let cluster = moorline.cluster();
    let foreign = object("localhost/nothing:1", "10m");
    cluster.apply(&foreign).await.unwrap();
    let tenant = moorline
        .tenant_with("image", json!({"classes": ["standard", class]}))
        .await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera_of(&class, "yard", 161, 300_000).await;
    let _call = yard.call(&moorline, &first);
    // Another's image, which the policy does not let run.
    let message = tenant.until_told(&yard, "Invalid").await;
    for part in ["localhost/nothing:1", "admissionPolicies.images"] {
        assert!(message.contains(part), "{message}");
    }
    tenant.until_event(&yard, "Invalid").await;

    let missing = format!("{}@sha256:{}", cluster.image(), "0".repeat(64));
    cluster.apply(&object(&missing, "10m")).await.unwrap();
    let message = tenant.until_told(&yard, "ImageMissing").await;
    for part in [&*missing, "the image of the CameraClass"] {
        assert!(message.contains(part), "{message}");
    }
    tenant.until_event(&yard, "ImageMissing").await;

    // The image is there, and no node has room for the relay.
    let vast = object(cluster.image(), "900");
    cluster.apply(&vast).await.unwrap();
    let message = tenant.until_told(&yard, "Unschedulable").await;
    for part in ["cpu", "add a node"] {
        assert!(message.contains(part), "{message}");
    }
    let event = tenant.until_event(&yard, "Unschedulable").await;
    assert_eq!(event["type"], "Warning", "{event:#}");

    let right = object(cluster.image(), "10m");
    cluster.apply(&right).await.unwrap();
    tenant.until_recorded(&yard).await;
    moorline_testkit::eventually("pods that never ran are not waited for", SOON, || async {
        let pods = tenant.pods(&yard).await;
        let stand = pods.iter().filter(|pod| !pod.deleting).count();
        (stand == 2).then_some(())
    })
    .await;
    cluster
        .kubectl(&["delete", "cameraclass", &class])
        .await
        .unwrap();
}

/// What a node may give to pods of its disk, in MiB: of the node that has least.
async fn disk(cluster: &Cluster) -> u64 {
    let nodes = cluster.json(&["get", "nodes", "-o", "json"]).await.unwrap();
    let of = |node: &Value| {
        let text = node["status"]["allocatable"]["ephemeral-storage"].as_str()?;
        match text.strip_suffix("Ki") {
            Some(kibibytes) => kibibytes.parse::<u64>().ok().map(|count| count >> 10),
            None => text.parse::<u64>().ok().map(|bytes| bytes >> 20),
        }
    };
    let least = nodes["items"].as_array().unwrap().iter().filter_map(of);
    least.min().unwrap()
}

/// The spools of a node's archivers never sum up to more than its disk: who would be one too many waits for another node, and no pod is evicted.
#[tokio::test(flavor = "multi_thread")]
async fn spools_beyond_the_disks_of_all_nodes_wait_for_room() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let cluster = moorline.cluster();
    if or_skip(cluster.lab()).is_none() {
        return;
    }
    let class = format!("large-{:x}", crate::support::now_us());
    // One fits on each of the two nodes.
    let spool = format!("{}Mi", disk(cluster).await * 6 / 10);
    let words = ["get", "cameraclass", "standard", "-o", "json"];
    let mut spec = cluster.json(&words).await.unwrap()["spec"].clone();
    spec["archiver"]["spool"] = spool.into();
    let large = json!({
        "apiVersion": "moorline.dev/v1alpha1", "kind": "CameraClass",
        "metadata": {"name": class}, "spec": spec,
    });
    cluster.apply(&large).await.unwrap();
    let tenant = moorline
        .tenant_with("disk", json!({"classes": ["standard", class]}))
        .await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera_of(&class, "yard", 173, 300_000).await;
    let gate = tenant.camera_of(&class, "gate", 174, 300_000).await;
    let hall = tenant.camera_of(&class, "hall", 175, 300_000).await;
    let _calls = [yard.call(&moorline, &first), gate.call(&moorline, &first)];
    let mut nodes = Vec::new();
    for camera in [&yard, &gate] {
        tenant.until_recorded(camera).await;
        let [_, archiver] = tenant.pair(camera).await;
        nodes.push(archiver.node);
    }
    assert_ne!(nodes[0], nodes[1]);
    let _third = hall.call(&moorline, &first);
    let message = tenant.until_told(&hall, "Unschedulable").await;
    for part in ["ephemeral-storage", "add a node"] {
        assert!(message.contains(part), "{message}");
    }
    // Where one goes, there is room.
    let words = ["delete", "camera", "yard", "--wait=false"];
    tenant.space.kubectl(&words).await.unwrap();
    tenant.until_recorded(&hall).await;
    cluster
        .kubectl(&["delete", "cameraclass", &class])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_namespace_takes_restricted_pods_alone() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("restricted").await;
    let mut pod = tenant.space.shell_pod("root", "id");
    pod["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    let error = tenant.space.apply(&pod).await.unwrap_err().to_string();
    assert!(error.contains("violates PodSecurity"), "{error}");

    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 171).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    for pod in tenant.pair(&yard).await {
        let object = format!("pod/{}", pod.name);
        let pod = tenant.space.get(&[&object]).await.unwrap();
        let spec = &pod["spec"];
        assert_eq!(spec["securityContext"]["runAsUser"], 65532, "{spec:#}");
        assert_eq!(spec["automountServiceAccountToken"], false, "{spec:#}");
    }
}
