//! The lab is a cluster: what the other tests rest on.

use std::{io::ErrorKind, time::Duration};

use moorline_testkit::{
    cluster::{Namespace, SOON, Security},
    or_skip,
};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, net::TcpStream};

use crate::cluster;

/// A pod on a certain node that answers HTTP on 8080 with its name.
fn web_server(space: &Namespace, name: &str, node: &str) -> Value {
    let script =
        "mkdir /tmp/web && hostname > /tmp/web/index.html && exec httpd -f -p 8080 -h /tmp/web";
    let mut pod = space.shell_pod(name, script);
    pod["spec"]["nodeName"] = json!(node);
    pod["spec"]["containers"][0]["readinessProbe"] =
        json!({ "httpGet": { "path": "/", "port": 8080 }, "periodSeconds": 1 });
    pod
}

#[tokio::test]
async fn pods_of_two_nodes_reach_each_other_by_name() {
    let Some(cluster) = cluster().await else {
        return;
    };
    if or_skip(cluster.lab()).is_none() {
        return;
    }
    let space = cluster
        .namespace("network", Security::Privileged)
        .await
        .unwrap();
    for (name, node) in [("one", "n1"), ("two", "n2")] {
        space.apply(&web_server(&space, name, node)).await.unwrap();
        space
            .apply(&json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": { "name": name },
                "spec": { "selector": { "app": name }, "ports": [{ "port": 80, "targetPort": 8080 }] },
            }))
            .await
            .unwrap();
    }
    for name in ["one", "two"] {
        space.until_ready(name).await.unwrap();
    }
    for (from, to) in [("one", "two"), ("two", "one")] {
        // kube-proxy learns of the endpoint a moment after the pod is Ready.
        let fetch = format!("until wget -qO- http://{to}/; do sleep 0.1; done");
        let answer = space
            .exec(from, &["timeout", "20", "sh", "-c", &fetch])
            .await
            .unwrap();
        assert_eq!(answer.trim(), to);
    }
    // The test itself stands inside too.
    let reach = space.reach("two", 80).await.unwrap();
    let mut stream = TcpStream::connect(reach.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("two\n"), "{answer}");
}

#[tokio::test]
async fn nothing_leads_out_of_the_lab() {
    let Some(cluster) = cluster().await else {
        return;
    };
    if or_skip(cluster.lab()).is_none() {
        return;
    }
    // An address for documentation: it is nobody's.
    let error = TcpStream::connect("192.0.2.1:80").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
    let space = cluster
        .namespace("out", Security::Privileged)
        .await
        .unwrap();
    space
        .apply(&space.shell_pod("inside", "sleep 3600"))
        .await
        .unwrap();
    space.until_ready("inside").await.unwrap();
    let words = ["timeout", "5", "wget", "-qO-", "http://192.0.2.1/"];
    let output = space.try_exec("inside", &words).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("Network is unreachable"), "{errors}");
}

#[tokio::test]
async fn a_pod_reaches_a_server_of_the_test() {
    let Some(cluster) = cluster().await else {
        return;
    };
    let Some(lab) = or_skip(cluster.lab()) else {
        return;
    };
    let listener = tokio::net::TcpListener::bind((lab.host(), 0))
        .await
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    let space = cluster
        .namespace("host", Security::Privileged)
        .await
        .unwrap();
    let script = format!("exec nc {} {port}", lab.host());
    space
        .apply(&space.shell_pod("caller", &script))
        .await
        .unwrap();
    let accepted = tokio::time::timeout(moorline_testkit::patience(SOON), listener.accept());
    let (_, caller) = accepted.await.unwrap().unwrap();
    let pod = space.get(&["pod/caller"]).await.unwrap();
    let address = space
        .until("pod/caller", "its address", SOON, |pod| {
            pod["status"]["podIP"].as_str().map(str::to_owned)
        })
        .await
        .unwrap();
    assert_eq!(caller.ip().to_string(), address, "{pod:#}");
}

#[tokio::test]
async fn a_frozen_api_server_answers_again_once_it_thaws() {
    use moorline_testkit::cluster::{Outage, Part};
    let Some(cluster) = cluster().await else {
        return;
    };
    let Some(lab) = or_skip(cluster.lab()) else {
        return;
    };
    let asked = ["get", "--raw", "/readyz", "--request-timeout=2s"];
    let frozen = lab.lose(Part::ApiServer, Outage::Freeze).await.unwrap();
    let output = cluster.try_kubectl(&asked).await.unwrap();
    assert!(!output.status.success(), "a stopped server answered");
    frozen.heal().await.unwrap();
    assert_eq!(cluster.kubectl(&asked).await.unwrap(), "ok");

    let killed = lab.lose(Part::ApiServer, Outage::Kill).await.unwrap();
    let output = cluster.try_kubectl(&asked).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    // Nobody listens, or the sockets of the killed process are just being closed.
    let is_dead = errors.contains("refused") || errors.contains("reset by peer");
    assert!(is_dead, "{errors}");
    killed.heal().await.unwrap();
    moorline_testkit::eventually("a new API server", Duration::from_secs(60), || async {
        let output = cluster.try_kubectl(&asked).await.unwrap();
        output.status.success().then_some(())
    })
    .await;
}
