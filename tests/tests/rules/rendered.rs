//! The plain manifests of `deploy/k8s`: that they can be applied as its page says, and that a lost or a full node takes no more than it has to.

use std::fs;

use moorline_tests::repository;
use serde_json::{Value, json};

use crate::{placed::misplaced, powers::documents};

const RELEASE: &str = "moorline";

fn overlays() -> [(&'static str, Vec<Value>); 2] {
    ["digitalocean", "single-node"].map(|overlay| {
        let path = repository().join(format!("deploy/k8s/{overlay}/moorline.yaml"));
        (overlay, documents(&fs::read_to_string(path).unwrap()))
    })
}

#[test]
fn every_object_says_where_it_lies_and_every_pod_is_placed_with_care() {
    for (overlay, objects) in overlays() {
        assert!(objects.len() > 40, "{overlay}: {} objects", objects.len());
        assert_eq!(
            misplaced(&objects, RELEASE),
            Vec::<String>::new(),
            "{overlay}"
        );
    }
}

/// kubectl refuses what names another namespace than `-n` says, and there is such: keys of tenants' own buckets.
#[test]
fn the_page_applies_the_manifests_as_they_are() {
    let page = fs::read_to_string(repository().join("deploy/k8s/README.md")).unwrap();
    let applied: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("kubectl "))
        .collect();
    assert!(applied.len() >= 2, "the commands were not found");
    for line in applied {
        assert!(line.starts_with("apply -f deploy/k8s/"), "{line}");
        let file = line.rsplit(' ').next().unwrap();
        assert!(repository().join(file).is_file(), "{line}");
    }
}

/// What the rule is for.
#[test]
fn what_is_in_the_wrong_place_is_told() {
    let [(_, whole), _] = overlays();
    let at = |kind: &str, name: &str| {
        let is_it = |object: &Value| object["kind"] == kind && object["metadata"]["name"] == name;
        whole.iter().position(is_it).unwrap()
    };
    let signer = at("Deployment", "moorline-signer");
    let workloads = at("PriorityClass", "moorline-workloads");
    let account = at("ServiceAccount", "moorline-mon");
    let budget = at("PodDisruptionBudget", "moorline-signer");
    for (object, path, value, told) in [
        (
            signer,
            "/spec/template/spec/priorityClassName",
            json!("moorline-workloads"),
            "priority",
        ),
        (
            signer,
            "/spec/template/spec/topologySpreadConstraints",
            json!([]),
            "on one node",
        ),
        (
            signer,
            "/spec/template/spec/tolerations",
            json!([]),
            "five minutes",
        ),
        (
            signer,
            "/spec/template/metadata/labels",
            json!({"helm.sh/chart": "moorline-0.1.0"}),
            "restarts its pods",
        ),
        (
            workloads,
            "/preemptionPolicy",
            json!("PreemptLowerPriority"),
            "priorities",
        ),
        (workloads, "/value", json!(300_000), "priorities"),
        (account, "/metadata/namespace", json!(null), "namespace"),
        (
            budget,
            "/spec/maxUnavailable",
            json!(2),
            "all replicas at once",
        ),
    ] {
        let mut objects = whole.clone();
        *objects[object].pointer_mut(path).unwrap() = value;
        let wrong = misplaced(&objects, RELEASE).join("\n");
        assert!(wrong.contains(told), "{path}: {told} is not in: {wrong}");
    }
}
