//! Where the objects of rendered manifests lie, and how the installation's own pods are placed. For the rules of the repository, and for the cluster
//! tests, which render the chart with everything switched on.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Kinds that lie in no namespace.
pub(crate) const OF_THE_CLUSTER: [&str; 8] = [
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "PriorityClass",
    "CameraClass",
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// Parts of which a lost node may take one replica and not all.
const SPREAD: [&str; 3] = ["mon", "signer", "frontdoor"];

/// What is in the wrong place, or would be.
pub(crate) fn misplaced(objects: &[Value], release: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut priorities = BTreeMap::new();
    for object in objects {
        let name = format!("{} {}", text(&object["kind"]), name(object));
        let of_the_cluster = OF_THE_CLUSTER.iter().any(|kind| object["kind"] == *kind);
        // kubectl takes `-n` for what names no namespace, and refuses it for what names another one: so each says its own.
        if object["metadata"]["namespace"].is_string() == of_the_cluster {
            wrong.push(format!(
                "{name}: namespace {}",
                object["metadata"]["namespace"]
            ));
        }
        match text(&object["kind"]) {
            "PriorityClass" => {
                priorities.insert(self::name(object), object);
            }
            "Deployment" | "StatefulSet" => {
                let told = placement(object, release);
                wrong.extend(told.into_iter().map(|told| format!("{name}: {told}")));
                if SPREAD.contains(&part(object)) && !goes_one_by_one(object, objects) {
                    wrong.push(format!("{name}: a drain may take all replicas at once"));
                }
            }
            _ => {}
        }
    }
    wrong.extend(order(&priorities, release));
    wrong
}

/// On a full cluster a camera's pod waits, and puts nobody out; what all cameras need finds its place.
fn order(priorities: &BTreeMap<&str, &Value>, release: &str) -> Option<String> {
    let class = |name: &str| priorities.get(&*format!("{release}-{name}")).copied();
    let (Some(cameras), Some(parts)) = (class("workloads"), class("parts")) else {
        return Some(format!(
            "a priority is missing: {:?}",
            priorities.keys().collect::<Vec<_>>()
        ));
    };
    let first = parts["value"].as_i64() > cameras["value"].as_i64();
    let waits = cameras["preemptionPolicy"] == "Never" && parts["preemptionPolicy"].is_null();
    (!first || !waits).then(|| format!("priorities: {cameras} {parts}"))
}

fn placement(workload: &Value, release: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let (template, selector) = (
        &workload["spec"]["template"],
        &workload["spec"]["selector"]["matchLabels"],
    );
    let (labels, spec) = (&template["metadata"]["labels"], &template["spec"]);
    if spec["priorityClassName"] != format!("{release}-parts") {
        wrong.push(format!("priority {}", spec["priorityClassName"]));
    }
    // What an upgrade of the chart changes although nothing of the part did.
    for versioned in ["helm.sh/chart", "app.kubernetes.io/version"] {
        if !labels[versioned].is_null() {
            wrong.push(format!("{versioned} restarts its pods"));
        }
    }
    let spread = &spec["topologySpreadConstraints"][0];
    let apart = spread["topologyKey"] == "kubernetes.io/hostname"
        && spread["labelSelector"]["matchLabels"] == *selector;
    if SPREAD.contains(&part(workload)) && !apart {
        wrong.push("all replicas may lie on one node".to_owned());
    }
    let tolerations = spec["tolerations"].as_array();
    let moves = |condition: &str| {
        let wanted = json!({
            "key": format!("node.kubernetes.io/{condition}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30,
        });
        tolerations.is_some_and(|all| all.contains(&wanted))
    };
    // A StatefulSet's pod has no successor while its node is only cut off.
    let may_move = workload["kind"] == "Deployment";
    if moves("not-ready") != may_move || moves("unreachable") != may_move {
        wrong.push("a lost node keeps it for five minutes, or it leaves one too soon".to_owned());
    }
    wrong
}

/// Whether drained nodes take one of its pods at a time.
fn goes_one_by_one(workload: &Value, objects: &[Value]) -> bool {
    objects.iter().any(|object| {
        object["kind"] == "PodDisruptionBudget"
            && object["metadata"]["namespace"] == workload["metadata"]["namespace"]
            && object["spec"]["selector"] == workload["spec"]["selector"]
            && object["spec"]["maxUnavailable"] == 1
    })
}

/// Which part of the installation a workload is.
fn part(workload: &Value) -> &str {
    text(&workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"])
}

fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
