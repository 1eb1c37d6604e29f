//! What a Tenant's namespace holds: a pure function of the Tenant and the installation.
//!
//! Everything is applied as a whole each time (server-side apply, one field manager), so what is left out is dropped.

use serde_json::{Value, json};

use crate::names;
use crate::resource::{MANAGED_BY, MANAGED_BY_LABEL, ROLE_LABEL, TENANT_LABEL, Tenant};

/// The annotation with the classes that a tenant's cameras may name; a policy judges by it.
pub const CLASSES: &str = "moorline.dev/classes";
/// The annotation with the greatest retention, in days, 0 for keep.
pub const MAX_RETENTION_DAYS: &str = "moorline.dev/max-retention-days";
/// The ResourceQuota.
pub(super) const QUOTA: &str = "moorline";
/// What of it bounds the number of Cameras.
pub(super) const COUNTED: &str = "count/cameras.moorline.dev";
/// What a rollout and a drain need beyond two pods per camera: so many pods more, and a tenth. Successors of both pods of four cameras at each of
/// four replicas.
const SURGE: u32 = 32;
/// Secrets beyond one per camera.
const OTHER_SECRETS: u32 = 10;

/// What all tenants of the installation share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantSettings {
    /// The installation's namespace.
    pub namespace: String,
    /// mon's service account there.
    pub mon_account: String,
    /// The ClusterRole that mon has in each tenant's namespace.
    pub mon_role: String,
    /// The ClusterRole of the tenant's own people, bound to the group `moorline:tenant:<id>`.
    pub owner_role: String,
    /// What the ConfigMap `moorline` says to pods and to `camera add`: `public_host`, host keys, the gateway's CA. No secrets.
    pub config: std::collections::BTreeMap<String, String>,
    /// Where a tenant's own store may lie.
    pub outside: moorline_core::outside::Outside,
    /// Whether the installation has a sweeper.
    pub sweeper: bool,
    /// How pods come to names, as egress rules of a NetworkPolicy. None: kube-dns of kube-system.
    pub dns: Vec<Value>,
    /// The S3 endpoint of the installation's store; none is Amazon's. Of it the port is used.
    pub store_endpoint: Option<String>,
}

/// An object, and where it is applied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Made {
    pub(crate) plural: &'static str,
    pub(crate) object: Value,
}

/// The objects of a tenant, the namespace first.
pub(crate) fn objects(tenant: &Tenant, name: &str, settings: &TenantSettings) -> Vec<Made> {
    let namespace = format!("t-{name}");
    let spec = &tenant.spec;
    let labels = json!({MANAGED_BY_LABEL: MANAGED_BY, TENANT_LABEL: name});
    let meta = |name: &str| json!({"name": name, "namespace": namespace, "labels": labels});
    let pods = spec.cameras * 2 + spec.cameras.div_ceil(10) + SURGE;
    let days = spec.max_retention.strip_suffix('d').unwrap_or("0");
    let made = |plural, object| Made { plural, object };
    let mut all = vec![
        made(
            "namespaces",
            json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {
                    "name": namespace,
                    "labels": {
                        MANAGED_BY_LABEL: MANAGED_BY, TENANT_LABEL: name,
                        "pod-security.kubernetes.io/enforce": "restricted",
                        "pod-security.kubernetes.io/warn": "restricted",
                    },
                    "annotations": {CLASSES: spec.classes.join(","), MAX_RETENTION_DAYS: days},
                },
            }),
        ),
        made(
            "resourcequotas",
            json!({
                "apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta(QUOTA),
                // One password each, and what the cluster itself keeps there.
                "spec": {"hard": {COUNTED: spec.cameras.to_string(), "pods": pods.to_string(), "count/secrets": (spec.cameras + OTHER_SECRETS).to_string()}},
            }),
        ),
        made(
            "limitranges",
            json!({
                "apiVersion": "v1", "kind": "LimitRange", "metadata": meta("moorline"),
                "spec": {"limits": [{"type": "Container", "max": {"memory": "512Mi"}, "default": {"memory": "64Mi"}, "defaultRequest": {"memory": "64Mi", "cpu": "10m"}}]},
            }),
        ),
        made(
            "configmaps",
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("moorline"), "data": settings.config,
            }),
        ),
    ];
    for role in [
        moorline_core::lifecycle::Role::Relay,
        moorline_core::lifecycle::Role::Archiver,
    ] {
        all.push(made("serviceaccounts", json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(&names::account(role)),
            "automountServiceAccountToken": false,
        })));
    }
    let binding = |name: &str, role: &str, subject: Value| {
        made(
            "rolebindings",
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta(name),
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [subject],
            }),
        )
    };
    all.push(binding(
        "moorline-mon",
        &settings.mon_role,
        json!({
            "kind": "ServiceAccount", "name": settings.mon_account, "namespace": settings.namespace,
        }),
    ));
    all.push(binding("moorline-owner", &settings.owner_role, json!({
        "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": format!("moorline:tenant:{name}"),
    })));
    let own = spec
        .store
        .as_ref()
        .and_then(|store| store.endpoint.as_deref());
    let ports: std::collections::BTreeSet<u16> = [settings.store_endpoint.as_deref(), own]
        .into_iter()
        .map(store_port)
        .collect();
    all.extend(policies(&namespace, &labels, settings, &ports));
    all
}

/// The TCP port of an S3 endpoint: what the URL names, or its scheme's.
fn store_port(endpoint: Option<&str>) -> u16 {
    let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) else {
        return 443;
    };
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    // What follows the last colon, unless that stands inside an IPv6 address.
    let named = host
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']'));
    let default = if scheme.eq_ignore_ascii_case("http") {
        80
    } else {
        443
    };
    named
        .and_then(|(_, port)| port.parse().ok())
        .unwrap_or(default)
}

/// Nothing reaches a tenant's pods and they reach nothing, but for what they are made for.
fn policies(
    namespace: &str,
    labels: &Value,
    settings: &TenantSettings,
    ports: &std::collections::BTreeSet<u16>,
) -> Vec<Made> {
    let system = json!({"matchLabels": {"kubernetes.io/metadata.name": settings.namespace}});
    let part = |component: &str| json!({"namespaceSelector": system, "podSelector": {"matchLabels": {"app.kubernetes.io/component": component}}});
    let role = |role: &str| json!({"podSelector": {"matchLabels": {ROLE_LABEL: role}}});
    let kube_dns = json!({
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    });
    let with_names = |rules: &[&Value]| {
        let mut all: Vec<Value> = rules.iter().copied().cloned().collect();
        match settings.dns.is_empty() {
            true => all.push(kube_dns.clone()),
            false => all.extend(settings.dns.iter().cloned()),
        }
        all
    };
    let policy = |name: &str, spec: Value| Made {
        plural: "networkpolicies",
        object: json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec,
        }),
    };
    let gateway = json!({"to": [part("mon")], "ports": [{"protocol": "TCP", "port": "gateway"}]});
    let signer = json!({"to": [part("signer")], "ports": [{"protocol": "TCP", "port": "signer"}]});
    let relays = json!({"to": [role("relay")], "ports": [{"protocol": "TCP", "port": crate::pods::RELAY_PORT}]});
    // The stores' addresses are not known here and may change: their ports are.
    let stores = json!({"ports": ports.iter().map(|port| json!({"protocol": "TCP", "port": port})).collect::<Vec<_>>()});
    vec![
        policy(
            "moorline-deny",
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
        ),
        policy(
            "moorline-relay",
            json!({
                "podSelector": {"matchLabels": {ROLE_LABEL: "relay"}}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [part("frontdoor"), role("archiver")], "ports": [{"protocol": "TCP", "port": crate::pods::RELAY_PORT}]}],
                "egress": with_names(&[&gateway]),
            }),
        ),
        policy(
            "moorline-archiver",
            json!({
                "podSelector": {"matchLabels": {ROLE_LABEL: "archiver"}}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [],
                "egress": with_names(&[&gateway, &signer, &relays, &stores]),
            }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> Tenant {
        let spec = json!({"cameras": 20, "classes": ["standard", "big"], "maxRetention": "90d", "store": {"bucket": "abc", "secret": "s"}});
        Tenant::new("acme", serde_json::from_value(spec).unwrap())
    }

    fn settings() -> TenantSettings {
        TenantSettings {
            namespace: "moorline-system".into(),
            mon_account: "moorline-mon".into(),
            mon_role: "moorline-mon-workloads".into(),
            owner_role: "moorline-tenant".into(),
            config: [("public_host".to_owned(), "cctv.example.com".to_owned())].into(),
            outside: moorline_core::outside::Outside::default(),
            sweeper: true,
            dns: Vec::new(),
            store_endpoint: Some("http://minio.example.com:9000".into()),
        }
    }

    fn made() -> Vec<Made> {
        objects(&tenant(), "acme", &settings())
    }

    #[test]
    fn pods_come_to_names_where_the_cluster_has_them() {
        let egress = |settings: &TenantSettings, name: &str| {
            let all = objects(&tenant(), "acme", settings);
            let policy = all.into_iter().find(|made| {
                made.object["metadata"]["name"] == name && made.plural == "networkpolicies"
            });
            policy.unwrap().object["spec"]["egress"].to_string()
        };
        let local = json!({"to": [{"ipBlock": {"cidr": "169.254.20.10/32"}}]});
        for policy in ["moorline-relay", "moorline-archiver"] {
            let mut settings = settings();
            assert!(egress(&settings, policy).contains("kube-dns"), "{policy}");
            settings.dns = vec![local.clone()];
            let told = egress(&settings, policy);
            assert!(
                told.contains("169.254.20.10/32") && !told.contains("kube-dns"),
                "{told}"
            );
        }
    }

    #[test]
    fn an_archiver_reaches_the_ports_of_its_stores_and_no_others() {
        let all = made();
        let archiver = all
            .iter()
            .find(|made| {
                made.object["metadata"]["name"] == "moorline-archiver"
                    && made.plural == "networkpolicies"
            })
            .unwrap();
        let egress = archiver.object["spec"]["egress"].as_array().unwrap();
        let anywhere: Vec<&Value> = egress
            .iter()
            .filter(|rule| rule.get("to").is_none())
            .collect();
        assert_eq!(anywhere.len(), 1, "{egress:#?}");
        let port = |port: u16| json!({"protocol": "TCP", "port": port});
        assert_eq!(anywhere[0]["ports"], json!([port(443), port(9000)]));
        assert!(
            egress.iter().all(|rule| rule.get("ports").is_some()),
            "{egress:#?}"
        );
    }

    #[test]
    fn the_port_of_an_endpoint_is_what_it_names() {
        for (endpoint, port) in [
            (None, 443),
            (Some(""), 443),
            (Some("https://s3.example.com"), 443),
            (Some("http://s3.example.com/path"), 80),
            (Some("https://s3.example.com:9000/"), 9000),
            (Some("https://[2001:db8::1]"), 443),
            (Some("https://[2001:db8::1]:8443"), 8443),
            (Some("s3.example.com"), 443),
        ] {
            assert_eq!(store_port(endpoint), port, "{endpoint:?}");
        }
    }

    #[test]
    fn a_namespace_is_restricted_and_says_what_its_cameras_may() {
        let all = made();
        let metadata = &all[0].object["metadata"];
        assert_eq!(metadata["name"], "t-acme");
        assert_eq!(
            metadata["labels"]["pod-security.kubernetes.io/enforce"],
            "restricted"
        );
        assert_eq!(metadata["annotations"][CLASSES], "standard,big");
        assert_eq!(metadata["annotations"][MAX_RETENTION_DAYS], "90");
        let quota = all
            .iter()
            .find(|made| made.plural == "resourcequotas")
            .unwrap();
        assert_eq!(
            quota.object["spec"]["hard"]["count/cameras.moorline.dev"],
            "20"
        );
        assert_eq!(quota.object["spec"]["hard"]["pods"], "74");
        assert_eq!(quota.object["spec"]["hard"]["count/secrets"], "30");
    }

    #[test]
    fn nothing_may_talk_to_a_pod_but_what_it_is_made_for() {
        let all = made();
        let policy = |name: &str| {
            let found = all.iter().find(|made| {
                made.plural == "networkpolicies" && made.object["metadata"]["name"] == name
            });
            found.unwrap().object["spec"].clone()
        };
        assert_eq!(
            policy("moorline-deny"),
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
        );
        assert_eq!(policy("moorline-archiver")["ingress"], json!([]));
        assert!(!policy("moorline-relay").to_string().contains("signer"));
        assert!(
            all.iter().all(|made| made.plural == "namespaces"
                || made.object["metadata"]["namespace"] == "t-acme")
        );
    }
}
