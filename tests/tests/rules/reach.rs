//! Who reaches which port of the installation's own pods, by its network policies. The cluster lab's network enforces none unless it is told to, in
//! the long tier: a wrong label would show late. The policies of tenants' namespaces name these parts and ports too; what they say is a test of `crates/kube`. Where these
//! pods may go themselves is [`leave`](crate::leave)'s.

use std::fs;

use moorline_tests::repository;
use serde_json::{Value, json};

use crate::powers::documents;

/// For cameras and viewers, wherever they are.
const OPEN: [&str; 3] = ["frontdoor/https", "frontdoor/rtsp", "mon/ssh"];

/// A pod that calls.
pub(crate) struct Caller {
    /// The labels of its namespace.
    pub(crate) namespace: Value,
    pub(crate) labels: Value,
}

impl Caller {
    pub(crate) fn new(namespace: &str, labels: Value) -> Self {
        let mut caller = Self {
            namespace: json!({"kubernetes.io/metadata.name": namespace}),
            labels,
        };
        if let Some(tenant) = namespace.strip_prefix("t-") {
            caller.namespace["moorline.dev/tenant"] = tenant.into();
        }
        caller
    }

    /// One of the installation's own.
    pub(crate) fn part(component: &str) -> Self {
        let labels = json!({
            "app.kubernetes.io/name": "moorline", "app.kubernetes.io/instance": "moorline", "app.kubernetes.io/component": component,
        });
        Self::new("moorline-system", labels)
    }

    /// A camera's.
    pub(crate) fn of_a_camera(namespace: &str, role: &str) -> Self {
        Self::new(
            namespace,
            json!({"moorline.dev/role": role, "moorline.dev/camera": "yard"}),
        )
    }

    pub(crate) fn is_of(&self, namespace: &str) -> bool {
        self.namespace["kubernetes.io/metadata.name"] == namespace
    }
}

/// Whether a label selector selects these labels.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let mut equal = selector["matchLabels"].as_object().into_iter().flatten();
    let mut expressions = list(&selector["matchExpressions"]).iter();
    equal.all(|(name, value)| labels[name] == *value)
        && expressions.all(|expression| {
            let label = &labels[text(&expression["key"])];
            match text(&expression["operator"]) {
                "Exists" => !label.is_null(),
                "In" => list(&expression["values"]).contains(label),
                other => panic!("{other} is not known here"),
            }
        })
}

/// Whether a rule of a policy in that namespace lets the caller in at a port.
fn admits(rule: &Value, namespace: &str, port: &str, caller: &Caller) -> bool {
    let at_port = list(&rule["ports"]).iter().any(|one| one["port"] == port);
    let mut peers = list(&rule["from"]).iter();
    let is_peer = |peer: &Value| {
        let spaces = &peer["namespaceSelector"];
        let there = match spaces.is_null() {
            true => caller.is_of(namespace),
            false => selects(spaces, &caller.namespace),
        };
        there && selects(&peer["podSelector"], &caller.labels)
    };
    at_port && (rule["from"].is_null() || peers.any(is_peer))
}

/// What a caller reaches: `part/port`.
pub(crate) fn reached(objects: &[Value], caller: &Caller) -> Vec<String> {
    let mut found = Vec::new();
    for workload in objects {
        let template = &workload["spec"]["template"];
        let labels = &template["metadata"]["labels"];
        let part = text(&labels["app.kubernetes.io/component"]);
        let policies: Vec<&Value> = objects
            .iter()
            .filter(|object| object["kind"] == "NetworkPolicy")
            .filter(|policy| selects(&policy["spec"]["podSelector"], labels))
            .collect();
        for port in list(&template["spec"]["containers"][0]["ports"]) {
            let port = text(&port["name"]);
            let lets_in = |policy: &&Value| {
                let namespace = text(&policy["metadata"]["namespace"]);
                let mut rules = list(&policy["spec"]["ingress"]).iter();
                rules.any(|rule| admits(rule, namespace, port, caller))
            };
            // Without a policy of its own a pod is open to all.
            if policies.is_empty() || policies.iter().any(lets_in) {
                found.push(format!("{part}/{port}"));
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn overlay(name: &str) -> Vec<Value> {
    let path = repository().join(format!("deploy/k8s/{name}/moorline.yaml"));
    documents(&fs::read_to_string(path).unwrap())
}

/// S18: what is not for cameras and viewers is reached by whom it is for alone.
#[test]
fn each_part_is_reached_by_whom_it_is_for() {
    let metrics =
        ["frontdoor", "mon", "signer", "sweeper", "tenants"].map(|part| format!("{part}/admin"));
    let metrics: Vec<&str> = metrics.iter().map(String::as_str).collect();
    let (gateway, signer) = ("mon/gateway", "signer/signer");
    for (what, caller, more) in [
        (
            "a relay",
            Caller::of_a_camera("t-acme", "relay"),
            &[gateway][..],
        ),
        (
            "an archiver",
            Caller::of_a_camera("t-acme", "archiver"),
            &[gateway, signer],
        ),
        (
            "another pod of a tenant",
            Caller::new("t-acme", json!({})),
            &[],
        ),
        ("a stranger", Caller::new("default", json!({})), &[]),
        (
            "a stranger that calls itself a relay",
            Caller::of_a_camera("default", "relay"),
            &[],
        ),
        (
            "a stranger that calls itself a part",
            Caller::new("default", Caller::part("mon").labels),
            &[],
        ),
        ("mon", Caller::part("mon"), &[gateway]),
        ("the front door", Caller::part("frontdoor"), &[signer]),
        ("the signer", Caller::part("signer"), &[]),
        ("the tenants' part", Caller::part("tenants"), &[]),
        ("the sweeper", Caller::part("sweeper"), &[]),
        ("helm test", Caller::part("test"), &[gateway, signer]),
        (
            "who collects metrics",
            Caller::new("monitoring", json!({})),
            &metrics,
        ),
    ] {
        let mut wanted = [&OPEN[..], more].concat();
        wanted.sort_unstable();
        for name in ["digitalocean", "single-node"] {
            assert_eq!(reached(&overlay(name), &caller), wanted, "{what}, {name}");
        }
    }
}

/// What the rule is for.
#[test]
fn a_policy_that_is_missing_and_a_wrong_label_show() {
    let whole = overlay("digitalocean");
    let policy = |name: &str| {
        let is_it = |object: &Value| {
            object["kind"] == "NetworkPolicy" && object["metadata"]["name"] == name
        };
        whole.iter().position(is_it).unwrap()
    };
    let stranger = Caller::new("default", json!({}));
    let mut objects = whole.clone();
    objects.remove(policy("moorline-sweeper"));
    let told = reached(&objects, &stranger);
    assert!(told.contains(&"sweeper/admin".to_owned()), "{told:?}");

    let mut objects = whole.clone();
    let roles = "/spec/ingress/0/from/0/podSelector/matchExpressions/0/values";
    *objects[policy("moorline-signer")]
        .pointer_mut(roles)
        .unwrap() = json!(["archivers"]);
    let told = reached(&objects, &Caller::of_a_camera("t-acme", "archiver"));
    assert!(!told.contains(&"signer/signer".to_owned()), "{told:?}");
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
