//! A node is lost and comes back: what the lab promises to the tests of Moorline's own pods.

use std::time::Duration;

use moorline_testkit::{
    cluster::{Cluster, Loss, Namespace, SOON, Security, condition},
    or_skip,
};
use serde_json::{Value, json};

use crate::cluster;

/// Two pods, one on each node while both are there, which leave a lost node after three seconds.
async fn deployment(cluster: &Cluster) -> Namespace {
    let space = cluster
        .namespace("loss", Security::Privileged)
        .await
        .unwrap();
    let mut pod = space.shell_pod("unused", "trap 'exit 0' TERM; sleep 3600 & wait");
    let spec = &mut pod["spec"];
    let gone = |key: &str| {
        json!({
            "key": format!("node.kubernetes.io/{key}"),
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 3,
        })
    };
    spec["tolerations"] = json!([gone("unreachable"), gone("not-ready")]);
    spec["topologySpreadConstraints"] = json!([{
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": { "matchLabels": { "app": "worker" } },
    }]);
    space
        .apply(&json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": "worker" },
            "spec": {
                "replicas": 2,
                "selector": { "matchLabels": { "app": "worker" } },
                "template": { "metadata": { "labels": { "app": "worker" } }, "spec": spec },
            },
        }))
        .await
        .unwrap();
    space
        .until("deployment/worker", "two pods", SOON, |deployment| {
            (deployment["status"]["readyReplicas"] == 2).then_some(())
        })
        .await
        .unwrap();
    space
}

/// Names of the pods on a node that are not being deleted.
async fn pods_on(space: &Namespace, node: &str) -> Vec<String> {
    let list = space.get(&["pods", "-l", "app=worker"]).await.unwrap();
    let on_node = |pod: &&Value| {
        pod["spec"]["nodeName"] == node && pod["metadata"]["deletionTimestamp"].is_null()
    };
    let items = list["items"].as_array().into_iter().flatten();
    items
        .filter(on_node)
        .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn a_frozen_node_is_replaced_and_taken_back() {
    let Some(cluster) = cluster().await else {
        return;
    };
    let Some(lab) = or_skip(cluster.lab()) else {
        return;
    };
    let space = deployment(&cluster).await;
    let node = lab.node(2);
    let lost = pods_on(&space, &node.name()).await;
    let [lost] = lost.as_slice() else {
        panic!("one pod on each node is wanted: {lost:?}")
    };
    let fault = node.lose(Loss::Freeze).await.unwrap();
    // The controller-manager waits 12 s for a sign of life, the pod 3 s more.
    let unknown = |node: &Value| (condition(node, "Ready") == Some("Unknown")).then_some(());
    let name = node.name();
    cluster
        .until(&["node", &name], "lost", SOON, unknown)
        .await
        .unwrap();
    space
        .until(&format!("pod/{lost}"), "evicted", SOON, |pod| {
            pod["metadata"]["deletionTimestamp"].as_str().map(drop)
        })
        .await
        .unwrap();
    moorline_testkit::eventually("both pods on n1", Duration::from_secs(60), || async {
        (pods_on(&space, "n1").await.len() == 2).then_some(())
    })
    .await;
    // It cannot end before its node is back.
    assert!(
        !space
            .get(&[&format!("pod/{lost}")])
            .await
            .unwrap()
            .is_null()
    );

    fault.heal().await.unwrap();
    cluster
        .until(&["node", &name], "Ready again", SOON, |node| {
            (condition(node, "Ready") == Some("True")).then_some(())
        })
        .await
        .unwrap();
    space
        .until_gone(&format!("pod/{lost}"), SOON)
        .await
        .unwrap();
}
