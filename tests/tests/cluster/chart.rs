//! The chart: what it renders is what the API server and PodSecurity accept, with every setting switched; wrong values are told by name; and an
//! installation that records is upgraded to other values and back.

use std::collections::BTreeSet;

use moorline_testkit::cluster::{Cluster, Namespace, Security};
use serde_json::{Value, json};

use crate::{
    placed::{OF_THE_CLUSTER, misplaced},
    powers::{documents, strange},
    support::{Helm, Moorline, established, lab_values, merge, now_us},
};

/// A release that is rendered and never installed.
const TRIAL: &str = "trial";

/// A rule of a NetworkPolicy for what goes out to one place.
fn out(network: &str, port: u16) -> Value {
    json!({"to": [{"ipBlock": {"cidr": network}}], "ports": [{"protocol": "TCP", "port": port}]})
}

/// Everything switched on, each value another than the chart's own.
fn everything(cluster: &Cluster) -> Value {
    let mut values = lab_values(cluster);
    let more = json!({
        "keys": "cctv",
        "mon": {
            "replicas": 3, "memory": "300Mi", "cpu": "200m", "terminationGracePeriodSeconds": 200,
            "service": {
                "type": "NodePort", "port": 2022, "nodePort": 30222, "externalTrafficPolicy": "Cluster",
                "annotations": {"example.com/name": "cameras"},
            },
        },
        "signer": {"replicas": 3, "memory": "150Mi", "cpu": "60m"},
        "frontdoor": {
            "enabled": true, "replicas": 3, "memory": "600Mi", "cpu": "200m", "cameraChanges": true, "mayErase": true,
            "publicHost": "watch.example.com", "tlsSecret": "moorline-public",
            "service": {
                "type": "NodePort", "rtspPort": 554, "httpsPort": 8443, "rtspNodePort": 30554, "httpsNodePort": 30443,
                "annotations": {"example.com/name": "viewers"}, "externalTrafficPolicy": "Cluster",
            },
        },
        "people": {"postgres": {"tls": "verify", "authority": true, "connections": 4}},
        "tenants": {"memory": "80Mi", "cpu": "20m"},
        "sweeper": {"secret": "moorline-store-delete", "every": "5m", "pace": 50, "memory": "80Mi", "cpu": "20m"},
        "cameras": {"relay": {"memory": "60Mi", "cpu": "20m"}, "archiver": {"memory": "80Mi", "cpu": "20m"}},
        "alert": {"after": "60s", "environmentSecret": "alarms"},
        "log": "debug",
        "networkPolicies": {
            "enabled": true, "monitoring": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
            "dns": [{
                "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}}],
                "ports": [{"protocol": "UDP", "port": 5353}, {"protocol": "TCP", "port": 5353}],
            }],
            "apiServer": [out("10.0.0.1/32", 6443)],
            "store": [out("10.0.0.2/32", 9000)],
            "postgres": [out("10.0.0.3/32", 5432)],
            "alarms": [out("10.0.0.4/32", 25)],
        },
        "admissionPolicies": {"enabled": true, "images": ["registry.example.com/ours"], "priorityClasses": ["cameras-first"]},
        "podMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
        "alertRules": {"enabled": true},
        "test": {"tenant": "acme"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "cameras", "operator": "Exists"}],
    });
    merge(&mut values, more);
    values
}

/// What may be switched off is off.
fn nothing(cluster: &Cluster) -> Value {
    let mut values = lab_values(cluster);
    merge(
        &mut values,
        json!({
            "mon": {"replicas": 1},
            "signer": {"replicas": 1},
            "frontdoor": {"enabled": false},
            "tenants": {"ownStores": {"enabled": false, "private": [], "http": false}},
            "sweeper": {"secret": ""},
            "networkPolicies": {"enabled": false, "monitoring": []},
            "admissionPolicies": {"enabled": false},
        }),
    );
    values
}

/// Nothing deletes recordings, and policies say so.
fn without_a_sweeper(cluster: &Cluster) -> Value {
    let mut values = lab_values(cluster);
    merge(&mut values, json!({"sweeper": {"secret": ""}}));
    values
}

/// One front door with its people in a file.
fn one_machine(cluster: &Cluster) -> Value {
    let mut values = lab_values(cluster);
    merge(
        &mut values,
        json!({
            "frontdoor": {"replicas": 1, "cameraChanges": false},
            "people": {"store": "sqlite", "sqlite": {"claim": "people"}},
        }),
    );
    values
}

/// The Prometheus operator's kinds, which the lab has not: any object of these kinds is accepted.
fn monitoring() -> Value {
    let definition = |kind: &str, plural: &str| {
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.monitoring.coreos.com")},
            "spec": {
                "group": "monitoring.coreos.com", "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
            },
        })
    };
    json!({"apiVersion": "v1", "kind": "List", "items": [
        definition("PodMonitor", "podmonitors"),
        definition("PrometheusRule", "prometheusrules"),
    ]})
}

/// Sends objects to the API server for judgement; nothing is kept. It warns of what PodSecurity would refuse later.
async fn judged(space: &Namespace, helm: &Helm, name: &str, objects: &[Value]) {
    let placed = objects.iter().cloned().map(|mut object| {
        let is_placed = object["metadata"]["namespace"].is_string();
        if !is_placed && !OF_THE_CLUSTER.iter().any(|kind| object["kind"] == *kind) {
            object["metadata"]["namespace"] = json!(space.name());
        }
        object
    });
    let items: Vec<Value> = placed.collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let file = helm.values(&format!("objects of {name}"), &list);
    let output = space
        .cluster()
        .try_kubectl(&[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            &file,
        ])
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    assert!(!said.contains("Warning"), "{name}: {said}");
}

/// The pods that a chart's workloads would make, each to be judged itself.
fn pods(objects: &[Value]) -> Vec<Value> {
    let mut found = Vec::new();
    for object in objects {
        let (metadata, mut spec) = match object["kind"].as_str() {
            Some("Pod") => (object["metadata"].clone(), object["spec"].clone()),
            Some("Deployment" | "StatefulSet") => {
                let template = &object["spec"]["template"];
                let metadata = json!({"name": object["metadata"]["name"], "labels": template["metadata"]["labels"]});
                (metadata, template["spec"].clone())
            }
            _ => continue,
        };
        // Its account and its priority are not there.
        for field in ["serviceAccountName", "priorityClassName"] {
            spec.as_object_mut().unwrap().remove(field);
        }
        found.push(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": metadata["name"], "labels": metadata["labels"]}, "spec": spec,
        }));
    }
    found
}

/// The Secrets that pods do not start without.
fn secrets(pods: &[Value]) -> BTreeSet<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found = BTreeSet::new();
    for pod in pods {
        let mounted = list(&pod["spec"]["volumes"]);
        let mounted = mounted
            .iter()
            .map(|volume| volume["secret"]["secretName"].clone());
        let read = list(&pod["spec"]["containers"][0]["envFrom"]);
        let read = read.iter().map(|from| from["secretRef"]["name"].clone());
        let names = mounted.chain(read);
        found.extend(names.filter_map(|name| name.as_str().map(str::to_owned)));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_switched_on_or_off_the_cluster_takes_what_is_rendered() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let cluster = moorline.cluster();
    let helm = Helm::new(cluster);
    let space = cluster
        .namespace("chart", Security::Restricted)
        .await
        .unwrap();
    let label = "pod-security.kubernetes.io/warn=restricted";
    cluster
        .kubectl(&["label", "namespace", space.name(), label])
        .await
        .unwrap();
    cluster.apply(&monitoring()).await.unwrap();
    for plural in ["podmonitors", "prometheusrules"] {
        established(cluster, &format!("{plural}.monitoring.coreos.com")).await;
    }

    helm.run(&["lint", "--strict", "charts/moorline-crds"])
        .await;
    let ours = [
        ("as-tested", lab_values(cluster)),
        ("everything", everything(cluster)),
        ("nothing", nothing(cluster)),
        ("without-a-sweeper", without_a_sweeper(cluster)),
        ("one-machine", one_machine(cluster)),
    ]
    .map(|(name, values)| (name, helm.values(name, &values)));
    let overlays = ["single-node", "digitalocean"]
        .map(|name| (name, format!("deploy/k8s/{name}/values.yaml")));
    for (name, file) in ours.into_iter().chain(overlays) {
        let with = [
            "charts/moorline",
            "--namespace",
            space.name(),
            "--values",
            &file,
        ];
        helm.run(&[&["lint", "--strict"], &with[..]].concat()).await;
        let rendered = helm.run(&[&["template", TRIAL], &with[..]].concat()).await;
        let all = documents(&rendered);
        // The test's role is bound in a tenant's namespace, which is not there.
        let lasting: Vec<Value> = all
            .iter()
            .filter(|object| object["metadata"]["annotations"]["helm.sh/hook"].is_null())
            .cloned()
            .collect();
        assert_eq!(strange(&lasting, TRIAL), Vec::<String>::new(), "{name}");
        assert_eq!(misplaced(&lasting, TRIAL), Vec::<String>::new(), "{name}");
        judged(&space, &helm, name, &lasting).await;
        let pods = pods(&all);
        assert!(pods.len() >= 3, "{name}: {} pods", pods.len());
        judged(&space, &helm, &format!("pods of {name}"), &pods).await;
        let monitored = lasting.iter().filter(|object| {
            matches!(
                object["kind"].as_str(),
                Some("PodMonitor" | "PrometheusRule")
            )
        });
        let expected = if name == "everything" { 2 } else { 0 };
        assert_eq!(monitored.count(), expected, "{name}");
        // As Helm itself would do it, but for what the tests' own installation owns.
        let install = ["install", TRIAL, "--dry-run=server", "--take-ownership"];
        let told = helm.run(&[&install, &with[..]].concat()).await;
        // It looks at the cluster, where none of its Secrets is.
        let missing = told.lines().find(|line| line.contains("MISSING"));
        let missing = missing.unwrap_or_else(|| panic!("{name}: {told}"));
        for secret in secrets(&pods) {
            assert!(missing.contains(&secret), "{name}: {secret}: {missing}");
        }
    }
    let words = [
        "delete",
        "crd",
        "podmonitors.monitoring.coreos.com",
        "prometheusrules.monitoring.coreos.com",
    ];
    cluster.kubectl(&words).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_wrong_is_named() {
    let Some(moorline) = Moorline::anywhere().await else {
        return;
    };
    let helm = Helm::new(moorline.cluster());
    for (wrong, told) in [
        (json!({"publicHost": ""}), "publicHost"),
        (json!({"publicHots": "cctv.example.com"}), "publicHots"),
        (json!({"mon": {"replicas": 0}}), "replicas"),
        (json!({"mon": {"replica": 2}}), "replica"),
        (json!({"mon": {"memory": "256"}}), "memory"),
        (
            json!({"mon": {"terminationGracePeriodSeconds": 5}}),
            "terminationGracePeriodSeconds",
        ),
        (json!({"image": {"pullPolicy": "Always"}}), "pullPolicy"),
        (json!({"cameras": {"grace": "30"}}), "grace"),
        (
            json!({"cameras": {"archiver": {"segment": "1h30"}}}),
            "segment",
        ),
        (
            json!({"cameras": {"archiver": {"segment": "0s"}}}),
            "segment",
        ),
        (
            json!({"cameras": {"archiver": {"segment": "6m"}}}),
            "segment",
        ),
        (json!({"cameras": {"archiver": {"spool": "0Mi"}}}), "spool"),
        (json!({"cameras": {"relay": {"memory": "0Mi"}}}), "memory"),
        (json!({"people": {"store": "mysql"}}), "store"),
        (json!({"frontdoor": {"mayErase": "yes"}}), "mayErase"),
        (json!({"networkPolicies": {"apiServer": []}}), "apiServer"),
        // As `helm upgrade --reuse-values` from a chart that had none.
        (
            json!({"networkPolicies": {"apiServer": null}}),
            "--reset-then-reuse-values",
        ),
        (
            json!({"frontdoor": {"replicas": 2}, "people": {"store": "sqlite", "sqlite": {"claim": "people"}}}),
            "frontdoor.replicas",
        ),
        (
            json!({"frontdoor": {"replicas": 1}, "people": {"store": "sqlite"}}),
            "people.sqlite.claim",
        ),
    ] {
        let mut values = lab_values(moorline.cluster());
        merge(&mut values, wrong.clone());
        let file = helm.values("wrong", &values);
        let words = ["template", TRIAL, "charts/moorline", "--values", &file];
        let Err(said) = helm.try_run(&words).await else {
            panic!("{wrong} was let through");
        };
        assert!(said.contains(told), "{wrong}: {said}");
    }
}

/// What shapes pods of cameras is in no part's settings, and the chart's version in none of its labels: neither ends a tunnel.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_cameras_pods_are_made_of_restarts_no_part() {
    let Some(moorline) = Moorline::anywhere().await else {
        return;
    };
    let helm = Helm::new(moorline.cluster());
    let before = everything(moorline.cluster());
    let mut after = before.clone();
    merge(
        &mut after,
        json!({"cameras": {
            "drainPatience": "5m",
            "relay": {"memory": "70Mi", "cpu": "30m"},
            "archiver": {"memory": "90Mi", "cpu": "30m", "spool": "256Mi", "segment": "10s"},
        }}),
    );
    let mut rendered = Vec::new();
    for (name, values) in [("before", &before), ("after", &after)] {
        let file = helm.values(name, values);
        let words = ["template", TRIAL, "charts/moorline", "--values", &file];
        rendered.push(documents(&helm.run(&words).await));
    }
    let of = |objects: &[Value], kinds: &[&str]| -> Vec<Value> {
        let wanted = |object: &&Value| kinds.iter().any(|kind| object["kind"] == *kind);
        let found = objects.iter().filter(wanted);
        found.map(|object| object["spec"].clone()).collect()
    };
    let [before, after] = &rendered[..] else {
        panic!("two were rendered");
    };
    let parts = ["Deployment", "StatefulSet"];
    assert_eq!(of(before, &parts), of(after, &parts));
    assert_eq!(of(before, &parts).len(), 5, "the parts were not found");
    assert_ne!(of(before, &["CameraClass"]), of(after, &["CameraClass"]));
}

/// Tenants' archivers have it by the ConfigMap of their namespace, which `moorline tenants` writes anew from the mounted file.
#[tokio::test(flavor = "multi_thread")]
async fn another_authority_of_the_store_restarts_the_parts_that_speak_to_it_alone() {
    let Some(moorline) = Moorline::anywhere().await else {
        return;
    };
    let helm = Helm::new(moorline.cluster());
    let mut rendered = Vec::new();
    for authority in ["Zmlyc3Q=", "c2Vjb25k"] {
        let pem = format!("-----BEGIN CERTIFICATE-----\n{authority}\n-----END CERTIFICATE-----\n");
        let mut values = everything(moorline.cluster());
        merge(&mut values, json!({"store": {"authority": pem}}));
        let file = helm.values("authority", &values);
        let words = ["template", TRIAL, "charts/moorline", "--values", &file];
        let all = documents(&helm.run(&words).await);
        let config = all.iter().find(|object| {
            object["kind"] == "ConfigMap" && object["metadata"]["name"] == "trial-config"
        });
        let data = &config.unwrap()["data"];
        assert_eq!(data["store-ca.crt"], pem.as_str());
        let settings = data["moorline.toml"].as_str().unwrap();
        let named = "authority = \"/etc/moorline/config/store-ca.crt\"";
        assert!(settings.contains(named), "{settings}");
        rendered.push(all);
    }
    let templates = |all: &[Value]| -> Vec<(String, Value)> {
        let parts = all
            .iter()
            .filter(|object| object["spec"]["template"].is_object());
        let named = parts.map(|part| {
            let name = part["metadata"]["name"].as_str().unwrap();
            (name.to_owned(), part["spec"]["template"].clone())
        });
        named.collect()
    };
    let [first, second] = [0, 1].map(|number| templates(&rendered[number]));
    let changed = first
        .iter()
        .zip(&second)
        .filter(|(one, other)| one != other);
    let changed: BTreeSet<&str> = changed.map(|((name, _), _)| name.as_str()).collect();
    let expected = ["signer", "frontdoor", "sweeper"].map(|part| format!("{TRIAL}-{part}"));
    let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    assert_eq!(changed, expected);
}

/// Where the parts may go is what the values say. What the chart's own defaults let through is a rule of the repository.
#[tokio::test(flavor = "multi_thread")]
async fn each_part_goes_out_to_what_the_values_name() {
    let Some(moorline) = Moorline::anywhere().await else {
        return;
    };
    let helm = Helm::new(moorline.cluster());
    let mut values = everything(moorline.cluster());
    let (api_server, store, people, alarms) = (
        out("10.0.0.1/32", 6443),
        out("10.0.0.2/32", 9000),
        out("10.0.0.3/32", 5432),
        out("10.0.0.4/32", 25),
    );
    let egress = |rendered: &str, part: &str| {
        let name = format!("{TRIAL}-{part}");
        let is_it = |object: &&Value| {
            object["kind"] == "NetworkPolicy" && object["metadata"]["name"] == name.as_str()
        };
        let all = documents(rendered);
        let policy = all.iter().find(is_it).unwrap_or_else(|| panic!("{name}"));
        policy["spec"]["egress"].as_array().unwrap().clone()
    };
    let file = helm.values("named", &values);
    let words = ["template", TRIAL, "charts/moorline", "--values", &file];
    let rendered = helm.run(&words).await;
    for (part, wanted) in [
        ("mon", &[&api_server, &alarms][..]),
        ("signer", &[&api_server, &store]),
        ("frontdoor", &[&api_server, &store, &people]),
        ("sweeper", &[&api_server, &store]),
        ("tenants", &[&api_server]),
        ("test", &[&api_server, &store]),
    ] {
        let rules = egress(&rendered, part);
        for rule in [&api_server, &store, &people, &alarms] {
            let there = rules.contains(rule);
            assert_eq!(there, wanted.contains(&rule), "{part}: {rule}: {rules:#?}");
        }
    }

    // Unnamed: the bucket by its port, alarms to what is public; without a Secret for alarms nowhere.
    merge(
        &mut values,
        json!({
            "store": {"endpoint": "http://s3.example.com:9001"},
            "tenants": {"ownStores": {"private": ["10.9.0.0/16", "192.168.3.4"]}},
            "networkPolicies": {"store": [], "alarms": []},
        }),
    );
    let file = helm.values("unnamed", &values);
    let words = ["template", TRIAL, "charts/moorline", "--values", &file];
    let rendered = helm.run(&words).await;
    let port = json!({"ports": [{"protocol": "TCP", "port": 9001}]});
    let blocks = |rules: &[Value]| -> BTreeSet<String> {
        let peers = rules
            .iter()
            .flat_map(|rule| rule["to"].as_array().into_iter().flatten());
        let networks = peers.filter_map(|peer| peer["ipBlock"]["cidr"].as_str());
        networks.map(str::to_owned).collect()
    };
    for part in ["signer", "frontdoor", "sweeper"] {
        let rules = egress(&rendered, part);
        assert!(rules.contains(&port), "{part}: {rules:#?}");
        let networks = blocks(&rules);
        for network in ["0.0.0.0/0", "10.9.0.0/16", "192.168.3.4/32"] {
            assert!(networks.contains(network), "{part}: {networks:?}");
        }
    }
    // What is tried is the installation's bucket.
    let rules = egress(&rendered, "test");
    assert!(rules.contains(&port), "{rules:#?}");
    assert!(!blocks(&rules).contains("0.0.0.0/0"), "{rules:#?}");
    let rules = egress(&rendered, "mon");
    assert!(!rules.contains(&port), "{rules:#?}");
    assert!(blocks(&rules).contains("0.0.0.0/0"), "{rules:#?}");
    assert!(!blocks(&rules).contains("10.9.0.0/16"), "{rules:#?}");
    merge(&mut values, json!({"alert": {"environmentSecret": ""}}));
    let file = helm.values("silent", &values);
    let words = ["template", TRIAL, "charts/moorline", "--values", &file];
    let rules = egress(&helm.run(&words).await, "mon");
    assert!(!blocks(&rules).contains("0.0.0.0/0"), "{rules:#?}");
}

/// The class that cameras have by default.
async fn class(moorline: &Moorline) -> Value {
    let words = ["get", "cameraclass", "standard", "-o", "json"];
    moorline.cluster().json(&words).await.unwrap()["spec"].clone()
}

/// Settings of every part change, so each is rolled out, and later all of it is taken back. The camera is recorded all the time.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_to_other_values_and_back_touches_no_pod_of_a_camera() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("upgrade").await;
    let yard = tenant.camera("yard", 181).await;
    let _call = yard.keeps_calling(&moorline, moorline.ssh_service().await);
    tenant.until_recorded(&yard).await;
    let pods = tenant.pair(&yard).await;
    let helm = Helm::new(moorline.cluster());
    let before = lab_values(moorline.cluster());
    let mut after = before.clone();
    merge(
        &mut after,
        json!({
            "log": "debug",
            "frontdoor": {"enabled": false},
            "sweeper": {"every": "5m"},
            "signer": {"memory": "150Mi"},
            "cameras": {"grace": "9s"},
            "networkPolicies": {"enabled": false},
        }),
    );
    let class_before = class(&moorline).await;
    let first = moorline.pair().await;
    for (name, values) in [("after", &after), ("before", &before)] {
        let file = helm.values(name, values);
        let words = [
            "upgrade",
            "moorline",
            "charts/moorline",
            "--namespace",
            "moorline-system",
            "--values",
            &file,
        ];
        helm.run(&words).await;
        if name == "before" {
            moorline.no_front_door().await;
        }
        moorline.until_ready().await;
        let front = moorline
            .system
            .get(&["deployment/moorline-frontdoor"])
            .await
            .unwrap();
        assert_eq!(front.is_null(), name == "after", "{front:#}");
        let policy = moorline
            .system
            .get(&["networkpolicy/moorline-mon"])
            .await
            .unwrap();
        assert_eq!(policy.is_null(), name == "after", "{policy:#}");
        let done = now_us();
        tenant.until_recorded(&yard).await;
        tenant.goes_on(&yard, done, &["tunnel_down"]).await;
        assert_eq!(
            tenant.pair(&yard).await,
            pods,
            "{name}: an upgrade of settings touches no pod of a camera"
        );
        let grace = class(&moorline).await["grace"].clone();
        assert_eq!(grace == class_before["grace"], name == "before", "{grace}");
    }
    assert_eq!(class(&moorline).await, class_before, "all is as it was");
    for (old, new) in first.iter().zip(&moorline.pair().await) {
        assert_ne!(old.uid, new.uid, "{} was not replaced", old.name);
    }
}

/// Of an installation without a tenant for it: `helm test` tries what can be tried without a camera, and says what it left.
#[tokio::test(flavor = "multi_thread")]
async fn helm_test_without_a_tenant_tries_what_it_can_and_says_what_it_left() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let helm = Helm::new(moorline.cluster());
    let words = [
        "test",
        "moorline",
        "--namespace",
        "moorline-system",
        "--timeout",
        "2m",
    ];
    let said = helm.run(&words).await;
    assert!(said.contains("Succeeded"), "{said}");
    let told = moorline.system.logs("moorline-test").await.unwrap();
    for part in [
        "the bucket",
        "cameras",
        "the tunnel gateway",
        "the signer",
        "test.tenant",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }

    // What does not work fails it, by name.
    moorline.bucket.away().await;
    let failed = helm.try_run(&words).await.unwrap_err();
    assert!(failed.contains("moorline-test"), "{failed}");
    let told = moorline.system.logs("moorline-test").await.unwrap();
    assert!(told.contains("the bucket"), "{told}");
    moorline.bucket.back().await;
}
