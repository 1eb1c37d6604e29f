//! What rendered manifests allow: who may change what, and who may read a Secret. For the rules of the repository, and for the cluster tests, which
//! render the chart with everything switched on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Which account may change which resources by which verbs; of Secrets, reading counts too. A resource that is not here is read at most.
const POWERS: &[(&str, &[(&str, &str)])] = &[
    (
        "mon",
        &[
            ("cameras", "patch"),
            ("cameras/status", "update"),
            // The one that says how far releases of the agent are.
            ("configmaps", "update"),
            ("leases", "create update"),
            ("tokenreviews", "create"),
        ],
    ),
    (
        "mon-workloads",
        &[("events", "create"), ("pods", "create delete")],
    ),
    (
        "tenant",
        &[
            ("cameras", "create delete patch update"),
            ("secrets", "create patch"),
        ],
    ),
    (
        "signer",
        &[
            ("secrets", "get list watch"),
            ("tenants/status", "update"),
            ("tokenreviews", "create"),
        ],
    ),
    (
        "sweeper",
        &[
            ("cameras", "patch"),
            ("secrets", "get list watch"),
            ("tenants/status", "patch update"),
        ],
    ),
    (
        "frontdoor",
        &[
            ("cameras", "create delete patch update"),
            ("secrets", "get list watch"),
        ],
    ),
    (
        "tenants",
        &[
            ("cameras", "delete"),
            ("clusterroles", "bind"),
            ("configmaps", "create patch"),
            // Of Tenants, in the namespace default.
            ("events", "create"),
            ("limitranges", "create patch"),
            ("namespaces", "create delete patch"),
            ("networkpolicies", "create patch"),
            ("resourcequotas", "create delete patch"),
            ("rolebindings", "create patch"),
            ("serviceaccounts", "create patch"),
            ("tenants", "patch"),
            ("tenants/status", "update"),
        ],
    ),
];

/// Where the keys of tenants' own buckets lie, and who reads them there.
const STORES: [(&str, &str); 3] = [
    ("moorline-store-put", "signer"),
    ("moorline-store-get", "frontdoor"),
    ("moorline-store-delete", "sweeper"),
];

/// The objects of a stream of YAML documents.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    all.into_iter().filter(Value::is_object).collect()
}

/// What the roles and bindings of a release give away that the table does not know.
pub(crate) fn strange(objects: &[Value], release: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut found: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for object in objects {
        let kind = text(&object["kind"]);
        match kind {
            "ClusterRole" | "Role" => {
                let name = part(&object["metadata"]["name"], release);
                role(
                    object,
                    &name,
                    found.entry(name.clone()).or_default(),
                    &mut wrong,
                );
            }
            "ClusterRoleBinding" | "RoleBinding" => binding(object, release, &mut wrong),
            _ => {}
        }
    }
    for (name, powers) in found {
        let known = POWERS.iter().find(|(known, _)| *known == name);
        for (resource, verbs) in powers {
            let verbs = verbs.into_iter().collect::<Vec<_>>().join(" ");
            let allowed = known.and_then(|(_, powers)| {
                let power = powers.iter().find(|(known, _)| *known == resource);
                power.map(|(_, verbs)| *verbs)
            });
            if allowed != Some(&*verbs) {
                wrong.push(format!("{name} may {verbs} {resource}"));
            }
        }
    }
    wrong
}

fn role(
    object: &Value,
    name: &str,
    powers: &mut BTreeMap<String, BTreeSet<String>>,
    wrong: &mut Vec<String>,
) {
    let namespace = text(&object["metadata"]["namespace"]);
    for rule in list(&object["rules"]) {
        let words = |field: &str| -> Vec<&str> { list(&rule[field]).iter().map(text).collect() };
        for field in ["apiGroups", "resources", "verbs", "nonResourceURLs"] {
            if words(field).iter().any(|word| word.contains('*')) {
                wrong.push(format!("{name}: a wildcard in {rule}"));
            }
        }
        let named = words("resourceNames");
        for resource in words("resources") {
            for verb in words("verbs") {
                let reads = matches!(verb, "get" | "list" | "watch");
                if resource == "secrets" && reads && !STORES.contains(&(namespace, name)) {
                    wrong.push(format!("{name} may {verb} Secrets in {namespace:?}"));
                }
                if verb == "bind" && (named.len() != 2 || named.iter().any(|role| role.is_empty()))
                {
                    wrong.push(format!("{name} may bind {named:?}"));
                }
                if !reads || resource == "secrets" {
                    let verbs = powers.entry(resource.to_owned()).or_default();
                    verbs.insert(verb.to_owned());
                }
            }
        }
    }
}

/// A role is its account's alone; the two of a tenant's namespace are bound there, by the account that makes it, and nowhere else.
fn binding(object: &Value, release: &str, wrong: &mut Vec<String>) {
    let name = part(&object["metadata"]["name"], release);
    let role = part(&object["roleRef"]["name"], release);
    let subjects = list(&object["subjects"]);
    let account = subjects.iter().map(|subject| {
        let is_account = subject["kind"] == "ServiceAccount";
        is_account.then(|| part(&subject["name"], release))
    });
    let account: Vec<_> = account.collect();
    if role != name || account != [Some(name.clone())] {
        wrong.push(format!("binding {name}: {role} to {account:?}"));
    }
    if role == "mon-workloads" || role == "tenant" {
        wrong.push(format!("{role} is bound by the chart"));
    }
}

/// A name without its release.
fn part(name: &Value, release: &str) -> String {
    let name = text(name);
    let rest = name.strip_prefix(release);
    let rest = rest.and_then(|rest| rest.strip_prefix('-'));
    rest.unwrap_or(name).to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
