//! Accounts of an installation may what they are for: no wildcard, no Secret that is not theirs, and each power is one that the table knows.

use std::fs;

use moorline_tests::repository;
use serde_json::{Value, json};

use crate::powers::{documents, strange};

const RELEASE: &str = "moorline";

#[test]
fn the_manifests_give_no_account_more_than_the_table_says() {
    let mut seen = 0;
    for overlay in ["digitalocean", "single-node"] {
        let path = repository().join(format!("deploy/k8s/{overlay}/moorline.yaml"));
        let objects = documents(&fs::read_to_string(path).unwrap());
        let roles = objects.iter().filter(|object| {
            object["kind"]
                .as_str()
                .is_some_and(|kind| kind.ends_with("Role"))
        });
        seen += roles.count();
        assert_eq!(
            strange(&objects, RELEASE),
            Vec::<String>::new(),
            "{overlay}"
        );
    }
    assert!(seen > 15, "the roles were not found: {seen}");
}

fn role(name: &str, namespace: &str, rule: Value) -> Value {
    json!({
        "kind": "Role", "metadata": {"name": format!("moorline-{name}"), "namespace": namespace},
        "rules": [rule],
    })
}

/// What the rule is for.
#[test]
fn a_role_that_may_more_is_told() {
    for (object, told) in [
        (
            role(
                "mon",
                "",
                json!({"apiGroups": [""], "resources": ["*"], "verbs": ["get"]}),
            ),
            "a wildcard",
        ),
        (
            role(
                "mon",
                "",
                json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}),
            ),
            "mon may list Secrets",
        ),
        (
            role(
                "frontdoor",
                "moorline-store-put",
                json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}),
            ),
            "frontdoor may get Secrets in \"moorline-store-put\"",
        ),
        (
            role(
                "mon",
                "",
                json!({"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}),
            ),
            "mon may create pods/exec",
        ),
        (
            role(
                "tenants",
                "",
                json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["bind"]}),
            ),
            "tenants may bind []",
        ),
        (
            json!({
                "kind": "ClusterRoleBinding", "metadata": {"name": "moorline-mon"},
                "roleRef": {"name": "cluster-admin"},
                "subjects": [{"kind": "ServiceAccount", "name": "moorline-mon"}],
            }),
            "cluster-admin",
        ),
    ] {
        let wrong = strange(&[object], RELEASE).join("\n");
        assert!(wrong.contains(told), "{told} is not in: {wrong}");
    }
}
