//! `moorline agent-release` against a cluster: the words of `serve`, and what stands in the cluster then.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::Fault;
use crate::cluster::{CAMERAS, CONFIGMAPS, Cluster, run, serve};
use crate::same::alike;

const SYSTEM: &str = "moorline-system";

/// Signs a program that says that it is of this version, and is so large.
async fn release(place: &Path, file: &str, version: &str, bytes: usize) {
    let mut program = format!("moorline-agent-stamp {version} mipsel\n{file}").into_bytes();
    program.resize(program.len().max(bytes), b'x');
    std::fs::write(place.join("program"), program).unwrap();
    if !place.join("agent-release.key").exists() {
        run(place, &["agent-release", "keygen"]).await.well();
    }
    let sign = ["agent-release", "sign", "program", "--out", file];
    run(place, &sign).await.well();
}

async fn releases(place: &Path) {
    release(place, "first", "0.2.0", 0).await;
    release(place, "other", "0.2.0", 0).await;
    release(place, "later", "0.10.0", 0).await;
    std::fs::write(place.join("none"), "no release\n").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_are_kept_and_let_go_by_the_words_of_serve() {
    let serving = tempfile::tempdir().unwrap();
    let server = serve(serving.path(), &[], &[]).await;
    let cluster = Cluster::new("").await;
    releases(serving.path()).await;
    releases(cluster.directory.path()).await;
    let typed: &[&[&str]] = &[
        &["list"],
        &["add", "first"],
        &["add", "first"],
        &["add", "other"],
        &["add", "none"],
        &["add", "nowhere"],
        &["roll-out", "0.2.0", "--to", "one"],
        &["add", "later"],
        &["list"],
        &["roll-out", "0.10.0", "--to", "1%"],
        &["list"],
        &["roll-out", "0.10.0", "--to", "off"],
        &["roll-out", "0.10.0", "--to", "some"],
        &["roll-out", "0.9.0", "--to", "all"],
        &["roll-out", "0.2.0", "--to", "all", "--target", "arm"],
        &["list"],
    ];
    for words in typed {
        let words = [&["agent-release"][..], *words].concat();
        let on_cluster = cluster.run(&words).await;
        let on_serve = [&words[..], &["--data", "data"]].concat();
        let on_serve = run(serving.path(), &on_serve).await;
        assert_eq!(
            alike(&on_cluster),
            alike(&on_serve),
            "{words:?}\n{on_cluster:?}\n{on_serve:?}"
        );
    }
    server.end(Duration::from_secs(60)).await.unwrap();
}

/// The name of the object that has a release.
fn kept_of(cluster: &Cluster, version: &str) -> String {
    let all = cluster.api.list(CONFIGMAPS);
    let mut all = all.iter().map(|object| &object["metadata"]);
    let is_it = |metadata: &&Value| metadata["annotations"]["moorline.dev/version"] == version;
    let found = all.find(is_it).unwrap();
    found["name"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_never_changes_and_how_far_it_is_stands_beside_it() {
    let cluster = Cluster::new("").await;
    let place = cluster.directory.path();
    releases(place).await;
    for file in ["first", "later"] {
        cluster.run(&["agent-release", "add", file]).await.well();
    }
    let kept = cluster.api.list(CONFIGMAPS);
    let kept = kept
        .iter()
        .filter(|object| object["binaryData"]["release"].is_string());
    assert_eq!(kept.clone().count(), 2);
    for object in kept {
        assert_eq!(object["immutable"], true, "{object:#}");
        assert_eq!(object["metadata"]["namespace"], SYSTEM);
    }
    let roll_out = async |version: &str, to: &str| {
        let words = ["agent-release", "roll-out", version, "--to", to];
        cluster.run(&words).await.well()
    };
    roll_out("0.2.0", "all").await;
    let going = |version: &str| -> Value {
        let object = cluster
            .api
            .get(CONFIGMAPS, SYSTEM, "moorline-agent-rollout");
        let object = object.unwrap();
        let text = object["data"][format!("{version}-mipsel")].as_str();
        serde_json::from_str(text.unwrap()).unwrap()
    };
    assert_eq!(going("0.2.0"), json!({"stage": "all"}));

    // A replica stopped it; cameras have it, or took it back.
    let stopped =
        json!({"stage": "all", "first": "acme/yard", "stopped": "camera acme/yard took it back"});
    let data = json!({"data": {"0.2.0-mipsel": stopped.to_string()}});
    cluster
        .api
        .patch(CONFIGMAPS, SYSTEM, "moorline-agent-rollout", &data);
    for (camera, version, state) in [
        ("yard", "0.2.0", "rolledBack"),
        ("gate", "0.2.0", "updated"),
        ("roof", "0.2.0", "offered"),
        ("shed", "0.1.0", "updated"),
    ] {
        let object = json!({
            "apiVersion": "moorline.dev/v1alpha1", "kind": "Camera",
            "metadata": {"name": camera, "namespace": "t-acme"}, "spec": {"keys": []},
            "status": {"upgrade": {"target": "mipsel", "version": version, "state": state}},
        });
        cluster.api.put(CAMERAS, object);
    }
    let list = ["agent-release", "list", "--output", "json"];
    let listed = cluster.run(&list).await.json();
    assert_eq!(listed[0]["version"], "0.2.0", "{listed:#}");
    assert_eq!(listed[0]["cameras"], json!(["acme/gate", "acme/roof"]));
    assert_eq!(listed[0]["updated"], json!(["acme/gate"]));
    assert_eq!(listed[0]["failed"], json!(["acme/yard"]));
    assert_eq!(listed[0]["stopped"], "camera acme/yard took it back");

    // Whoever goes on has thought of it; and of one target one release goes at a time.
    roll_out("0.2.0", "all").await;
    assert_eq!(
        going("0.2.0"),
        json!({"stage": "all", "first": "acme/yard"})
    );
    // Of a first camera that was removed nothing more is to be heard: another one has its place.
    let gone = json!({"stage": "one", "first": "acme/gone"});
    let data = json!({"data": {"0.2.0-mipsel": gone.to_string()}});
    cluster
        .api
        .patch(CONFIGMAPS, SYSTEM, "moorline-agent-rollout", &data);
    roll_out("0.2.0", "one").await;
    assert_eq!(going("0.2.0"), json!({"stage": "one"}));
    roll_out("0.10.0", "one").await;
    assert_eq!(going("0.2.0")["stage"], "off");
    assert_eq!(going("0.10.0"), json!({"stage": "one"}));

    // One that was removed and is brought again rests.
    let release = kept_of(&cluster, "0.10.0");
    cluster.api.remove(CONFIGMAPS, SYSTEM, &release);
    cluster.run(&["agent-release", "add", "later"]).await.well();
    let listed = cluster.run(&list).await.json();
    assert_eq!(listed[1]["version"], "0.10.0", "{listed:#}");
    assert_eq!(listed[1]["roll_out"], "off", "{listed:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_without_an_installation_gets_no_release_that_nobody_would_read() {
    let cluster = Cluster::new("").await;
    let place = cluster.directory.path();
    release(place, "first", "0.2.0", 0).await;
    cluster.run(&["agent-release", "add", "first"]).await.well();
    let before = cluster.api.list(CONFIGMAPS);
    for words in [
        &["add", "first"][..],
        &["roll-out", "0.2.0", "--to", "all"],
        &["list"],
    ] {
        let words = [&["agent-release"][..], words, &["--namespace", "elsewhere"]].concat();
        let err = cluster.run(&words).await.refused();
        assert!(err.contains("--namespace = \"elsewhere\""), "{err}");
        assert!(
            err.contains("no installation of Moorline is there"),
            "{err}"
        );
    }
    assert_eq!(cluster.api.list(CONFIGMAPS), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cluster_does_not_keep_or_the_caller_may_not_is_told_with_the_cure() {
    let cluster = Cluster::new("").await;
    let place = cluster.directory.path();
    release(place, "large", "0.2.0", 1_100_000).await;
    let err = cluster.run(&["agent-release", "add", "large"]).await;
    let err = err.refused();
    assert!(
        err.contains("more than a cluster keeps of an agent"),
        "{err}"
    );
    assert!(err.contains("hint: strip the program"), "{err}");

    release(place, "small", "0.2.0", 0).await;
    let message = "configmaps is forbidden: User \"somebody\" cannot create resource";
    let refused = Fault::Refused(403, "Forbidden", message.to_owned());
    cluster
        .api
        .trap(http::Method::POST, "/configmaps", 1, refused);
    let err = cluster.run(&["agent-release", "add", "small"]).await;
    let err = err.refused();
    assert!(err.contains("cannot create resource"), "{err}");
    assert!(
        err.contains("ConfigMaps in the namespace moorline-system"),
        "{err}"
    );
}
