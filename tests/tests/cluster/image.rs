//! The image: it runs as a restricted pod, finds servers by name and knows whom to trust.

use moorline_testkit::{
    cluster::{Namespace, SOON, Security},
    eventually, or_skip,
};
use serde_json::{Value, json};

use crate::cluster;

#[tokio::test]
async fn the_image_runs_where_only_restricted_pods_may() {
    let Some(cluster) = cluster().await else {
        return;
    };
    let space = cluster
        .namespace("image", Security::Restricted)
        .await
        .unwrap();
    let pod = space.moorline_pod("version", &["--version"]);
    space.apply(&pod).await.unwrap();
    let (code, said) = space.until_ended("version").await.unwrap();
    assert_eq!((code, said.starts_with("moorline ")), (0, true), "{said}");
}

/// What `moorline doctor` finds about its store, asked in a restricted pod where `moorline serve` runs with these settings.
async fn doctor(space: &Namespace, name: &str, settings: &[(&str, &str)]) -> Value {
    let data = ["--data", "/scratch/data"];
    let mut pod = space.moorline_pod(
        name,
        &[&data[..], &["serve", "--public-host", "pod"]].concat(),
    );
    let settings = settings.iter().chain(&[("MOORLINE_ARCHIVE__STORE", "s3")]);
    pod["spec"]["containers"][0]["env"] = settings
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    space.apply(&pod).await.unwrap();
    space.until_ready(name).await.unwrap();
    let ask = [&["moorline"][..], &data, &["--output", "json", "doctor"]].concat();
    // The container runs a moment before the server has its data directory.
    let findings: Value = eventually("the server answers", SOON, || async {
        // Its status is 1 where it finds a problem.
        let output = space.try_exec(name, &ask).await.unwrap();
        serde_json::from_slice(&output.stdout).ok()
    })
    .await;
    let about_the_store = findings
        .as_array()
        .and_then(|findings| findings.iter().find(|finding| finding["check"] == "store"));
    about_the_store
        .unwrap_or_else(|| panic!("nothing about the store: {findings:#}"))
        .clone()
}

#[tokio::test]
async fn a_pod_finds_its_store_by_name() {
    let Some(cluster) = cluster().await else {
        return;
    };
    let Some(store) = or_skip(cluster.store().await) else {
        return;
    };
    let space = cluster
        .namespace("store", Security::Restricted)
        .await
        .unwrap();
    let mut endpoint = store.endpoint.clone();
    if let Some(server) = &store.server {
        // A service without pods: its address is the test's.
        let (ip, port) = (server.address().ip(), server.address().port());
        space
            .apply(&json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": { "name": "bucket" },
                "spec": { "ports": [{ "port": port }] },
            }))
            .await
            .unwrap();
        space
            .apply(&json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": { "name": "bucket", "labels": { "kubernetes.io/service-name": "bucket" } },
                "addressType": "IPv4",
                "ports": [{ "port": port }],
                "endpoints": [{ "addresses": [ip.to_string()] }],
            }))
            .await
            .unwrap();
        // The short name needs the search list of the pod's resolv.conf.
        endpoint = format!("http://bucket:{port}");
    }
    let finding = doctor(
        &space,
        "by-name",
        &[
            ("MOORLINE_S3__ENDPOINT", &endpoint),
            ("MOORLINE_S3__BUCKET", &store.bucket),
            ("MOORLINE_S3__REGION", &store.region),
            ("MOORLINE_S3__ACCESS_KEY", &store.access_key),
            ("MOORLINE_S3__SECRET_KEY", &store.secret_key),
        ],
    )
    .await;
    assert_eq!(finding["level"], "ok", "{finding:#}");
}

#[tokio::test]
async fn a_pod_trusts_the_authorities_of_the_web_and_those_that_it_is_told() {
    let Some(cluster) = cluster().await else {
        return;
    };
    let space = cluster
        .namespace("trust", Security::Restricted)
        .await
        .unwrap();
    // The API server is no bucket, but a TLS server with a name, whose authority every pod is given.
    let settings = [
        ("MOORLINE_S3__ENDPOINT", "https://kubernetes.default.svc"),
        ("MOORLINE_S3__BUCKET", "none"),
        ("MOORLINE_S3__ACCESS_KEY", "none"),
        ("MOORLINE_S3__SECRET_KEY", "none"),
    ];
    let stranger = doctor(&space, "stranger", &settings).await;
    let finding = stranger["finding"].as_str().unwrap_or_default();
    assert!(finding.contains("certificate"), "{stranger:#}");

    let authority = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
    let told: Vec<_> = settings
        .into_iter()
        .chain([("SSL_CERT_FILE", authority)])
        .collect();
    let known = doctor(&space, "known", &told).await;
    let finding = known["finding"].as_str().unwrap_or_default();
    // It answers by HTTP, or ends the connection of somebody whom it does not know before the answer is read (GOAWAY): over TLS that is trusted.
    let trusted = ["401", "403", "http2 error: connection error received"];
    assert!(
        trusted.iter().any(|answer| finding.contains(answer)),
        "{known:#}"
    );
}
