//! `moorline tenant`, from its first word to its last.

use serde_json::json;

use crate::cluster::{CAMERAS, Cluster, TENANTS, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_added_shown_changed_suspended_resumed_and_removed() {
    let cluster = Cluster::new("").await;
    let none = cluster.run(&["tenant", "list"]).await.well();
    assert!(
        none.starts_with(
            "no tenants yet\nAdd one: moorline tenant add NAME --kubeconfig kubeconfig"
        ),
        "{none}"
    );
    let added = cluster
        .run(&["tenant", "add", "acme", "--cameras", "20"])
        .await
        .well();
    assert!(
        added.starts_with("tenant acme added\n") && added.contains("moorline camera add acme/NAME"),
        "{added}"
    );
    let err = cluster.run(&["tenant", "add", "acme"]).await.refused();
    assert!(err.contains("tenant acme exists already\nhint: "), "{err}");
    let shown = cluster
        .run(&["tenant", "show", "acme", "--output", "json"])
        .await
        .json();
    assert_eq!(
        (&shown["ready"], &shown["cameras"], &shown["store"]),
        (&json!(true), &json!(20), &json!(null))
    );
    assert_eq!(shown["storage_id"].as_str().unwrap().len(), 12);
    cluster
        .run(&[
            "tenant",
            "set",
            "acme",
            "--max-keep",
            "90d",
            "--bucket",
            "acme-video",
            "--endpoint",
            "https://s3.example.com",
        ])
        .await
        .well();
    let spec = cluster.api.get(TENANTS, "", "acme").unwrap()["spec"].clone();
    assert_eq!(
        spec["store"],
        json!({"bucket": "acme-video", "endpoint": "https://s3.example.com", "secret": "acme"})
    );
    assert_eq!(spec["maxRetention"], "90d");
    let err = cluster.run(&["tenant", "set", "acme"]).await.refused();
    assert!(err.contains("nothing to change"), "{err}");
    let err = cluster
        .run(&["tenant", "set", "acme", "--max-keep", "ever"])
        .await
        .refused();
    assert!(
        err.contains("--max-keep \"ever\" is no number of days\nhint: write 1d to 999d"),
        "{err}"
    );
    let err = cluster.run(&["tenant", "show", "nobody"]).await.refused();
    assert!(
        err.contains("there is no tenant nobody\nhint: moorline tenant list"),
        "{err}"
    );
    cluster.run(&["tenant", "suspend", "acme"]).await.well();
    let listed = cluster.run(&["tenant", "list"]).await.well();
    assert!(
        listed
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("acme    suspended  20"),
        "{listed}"
    );
    cluster.run(&["tenant", "resume", "acme"]).await.well();
    assert_eq!(
        cluster.api.get(TENANTS, "", "acme").unwrap()["spec"]["suspended"],
        false
    );
    let err = cluster.run(&["tenant", "rm", "acme"]).await.refused();
    assert!(
        err.contains("not asked whether to delete tenant acme and its cameras\nhint: add --yes"),
        "{err}"
    );
    cluster.run(&["camera", "add", "acme/yard"]).await.well();
    let told = cluster
        .run(&["tenant", "rm", "acme", "--yes", "--erase"])
        .await
        .well();
    assert!(
        told.contains("its cameras drain, the sweeper erases its recordings"),
        "{told}"
    );
    let tenant = cluster.api.get(TENANTS, "", "acme").unwrap();
    assert_eq!(tenant["spec"]["onDelete"], "erase");
    assert!(!tenant["metadata"]["deletionTimestamp"].is_null());
    let listed = cluster.run(&["tenant", "list"]).await.well();
    assert!(listed.contains("leaving"), "{listed}");
    assert_eq!(cluster.api.list(CAMERAS).len(), 1, "it drains first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_cluster_there_is_one_tenant() {
    let directory = tempfile::tempdir().unwrap();
    let err = run(directory.path(), &["tenant", "list"]).await.refused();
    assert!(
        err.contains("moorline serve has one tenant, home")
            && err.contains("hint: choose a cluster with --cluster"),
        "{err}"
    );
}
