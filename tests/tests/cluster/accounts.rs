//! What the accounts of the installation may do, each tried as if it had been taken over (rules S18, S21, S23), and that what they are for
//! still works. The policies of the chart judge; no pod of the accounts is touched.

use moorline_testkit::cluster::SOON;
use serde_json::{Value, json};

use crate::support::{Moorline, Tenant};

const SYSTEM: &str = "moorline-system";

/// What the API server said to `account` of the installation for `object`, created as a dry run.
async fn create_as(moorline: &Moorline, account: &str, object: &Value) -> Result<(), String> {
    let place = moorline_testkit::temp_dir().unwrap();
    let path = place.path().join("object.json");
    std::fs::write(&path, object.to_string()).unwrap();
    let path = path.display().to_string();
    kubectl_as(
        moorline,
        account,
        &[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "-f",
            &path,
        ],
    )
    .await
}

async fn kubectl_as(moorline: &Moorline, account: &str, words: &[&str]) -> Result<(), String> {
    let who = format!("--as=system:serviceaccount:{account}");
    let mut all = vec![
        &*who,
        "--as-group=system:serviceaccounts",
        "--as-group=system:authenticated",
    ];
    all.extend(words);
    let output = moorline.cluster().try_kubectl(&all).await.unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn refused(what: &str, answer: Result<(), String>, why: &str) {
    let Err(said) = answer else {
        panic!("{what} was let through");
    };
    assert!(said.contains(why), "{what}: {said}");
}

fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

fn binding(space: &str, role: &str, subject: Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "tried", "namespace": space},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": [subject],
    })
}

/// S21: the account that makes namespaces makes tenants', and nothing of the cluster's own.
#[tokio::test(flavor = "multi_thread")]
async fn the_tenants_account_is_kept_to_tenants_namespaces() {
    let Some(moorline) = Moorline::anywhere().await else {
        return;
    };
    let tenant = moorline.tenant("kept").await;
    let own = tenant.space.name();
    let account = format!("{SYSTEM}:moorline-tenants");
    let restricted = |tenant: &str| json!({"moorline.dev/tenant": tenant, "pod-security.kubernetes.io/enforce": "restricted"});
    let mine = json!({"kind": "ServiceAccount", "name": "moorline-tenants", "namespace": SYSTEM});
    let mon = json!({"kind": "ServiceAccount", "name": "moorline-mon", "namespace": SYSTEM});
    let people = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": format!("moorline:tenant:{name}")});
    let config = |space: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tried", "namespace": space}});
    for (what, object, why) in [
        (
            "a namespace of another kind",
            namespace("evil", restricted("evil")),
            "namespaces t-*",
        ),
        (
            "a namespace without pod security",
            namespace("t-loose", json!({"moorline.dev/tenant": "loose"})),
            "restricted",
        ),
        (
            "a namespace that exists",
            namespace(SYSTEM, restricted("moorline-system")),
            "namespaces t-*",
        ),
        (
            "mon's role for itself",
            binding(own, "moorline-mon-workloads", mine.clone()),
            "nobody else",
        ),
        (
            "mon's role in kube-system",
            binding("kube-system", "moorline-mon-workloads", mon.clone()),
            "namespaces t-*",
        ),
        (
            "another tenant's people",
            binding(own, "moorline-tenant", people("bystander")),
            "nobody else",
        ),
        (
            "a ConfigMap of the system",
            config(SYSTEM),
            "namespaces t-*",
        ),
    ] {
        refused(what, create_as(&moorline, &account, &object).await, why);
    }
    let away = kubectl_as(
        &moorline,
        &account,
        &["delete", "namespace", SYSTEM, "--dry-run=server"],
    );
    refused(
        "the system's namespace deleted",
        away.await,
        "namespaces t-*",
    );
    for (what, object) in [
        ("its namespace", namespace("t-fresh", restricted("fresh"))),
        ("mon's binding", binding(own, "moorline-mon-workloads", mon)),
        (
            "the people's binding",
            binding(own, "moorline-tenant", people(&tenant.name)),
        ),
        ("a ConfigMap", config(own)),
    ] {
        let answer = create_as(&moorline, &account, &object).await;
        assert_eq!(answer, Ok(()), "{what}");
    }
}

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

/// The front door, which the Internet reaches, changes cameras and destroys no recording; a tenant's bounds that were lowered hold for what changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_erased_by_its_people_and_let_go_under_lowered_bounds() {
    let Some(moorline) = Moorline::anywhere().await else {
        return;
    };
    let tenant = moorline.tenant("erasing").await;
    let own = tenant.space.name();
    let camera = json!({"apiVersion": "moorline.dev/v1alpha1", "kind": "Camera", "metadata": {"name": "yard"}, "spec": {"retention": "20d"}});
    tenant.space.apply(&camera).await.unwrap();
    let patch = async |account: &str, patch: &str| {
        let account = format!("{SYSTEM}:moorline-{account}");
        let words = [
            "patch",
            "camera",
            "yard",
            "-n",
            own,
            "--type=merge",
            "-p",
            patch,
        ];
        kubectl_as(&moorline, &account, &words).await
    };
    let erase = r#"{"spec":{"onDelete":"erase"}}"#;
    let title = r#"{"spec":{"title":"Yard"}}"#;
    let front = moorline.system.get(&["deployment", "moorline-frontdoor"]);
    if !front.await.unwrap().is_null() {
        refused(
            "the page erases",
            patch("frontdoor", erase).await,
            "mayErase",
        );
        assert_eq!(patch("frontdoor", title).await, Ok(()));
        let refer = r#"{"spec":{"streampoint":{"user":"acme/yard","host":"b.example.com","port":2222,"keys":["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT"]}}}"#;
        refused(
            "the page leads a stream away",
            patch("frontdoor", refer).await,
            "another server",
        );
        let words = ["patch", "camera", "yard", "--type=merge", "-p", refer];
        tenant.space.kubectl(&words).await.unwrap();
        assert_eq!(patch("frontdoor", title).await, Ok(()));
        let here = r#"{"spec":{"streampoint":null}}"#;
        assert_eq!(patch("frontdoor", here).await, Ok(()));
    }
    // The bounds are lowered below what the camera has: its finalizers can still be written, another retention cannot.
    let lower = [
        "annotate",
        "namespace",
        own,
        "--overwrite",
        "moorline.dev/max-retention-days=7",
        "moorline.dev/classes=small",
    ];
    moorline.cluster().kubectl(&lower).await.unwrap();
    let finalizer = r#"{"metadata":{"finalizers":[]}}"#;
    assert_eq!(patch("mon", finalizer).await, Ok(()));
    let longer = tenant
        .space
        .try_kubectl(&[
            "patch",
            "camera",
            "yard",
            "--type=merge",
            "-p",
            r#"{"spec":{"retention":"25d"}}"#,
        ])
        .await
        .unwrap();
    assert!(!longer.status.success());
    tenant
        .space
        .kubectl(&["patch", "camera", "yard", "--type=merge", "-p", title])
        .await
        .unwrap();
}

/// S18: mon, which the Internet reaches, and the sweeper may patch Cameras, and of each the one finalizer that is theirs.
#[tokio::test(flavor = "multi_thread")]
async fn mon_and_the_sweeper_come_by_their_own_finalizer_of_a_camera() {
    let Some(moorline) = Moorline::anywhere().await else {
        return;
    };
    let tenant = moorline.tenant("finalizers").await;
    let (archive, recordings) = ("moorline.dev/archive", "moorline.dev/recordings");
    // With the mark that the janitor would make, so that it makes none meanwhile.
    let camera = json!({
        "apiVersion": "moorline.dev/v1alpha1", "kind": "Camera",
        "metadata": {"name": "yard", "labels": {"site": "a"}, "finalizers": [archive]}, "spec": {},
    });
    tenant.space.apply(&camera).await.unwrap();
    let patch = async |account: &str, patch: &Value| {
        let account = format!("{SYSTEM}:moorline-{account}");
        let patch = patch.to_string();
        let words = [
            "patch",
            "camera",
            "yard",
            "-n",
            tenant.space.name(),
            "--type=merge",
            "--dry-run=server",
            "-p",
            &patch,
        ];
        kubectl_as(&moorline, &account, &words).await
    };
    let finalizers = |names: &[&str]| json!({"metadata": {"finalizers": names}});
    let key =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT evil";
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "00000000-0000-4000-8000-000000000000"});
    for (account, own, wanted, unwanted) in [
        (
            "mon",
            archive,
            finalizers(&[]),
            finalizers(&[archive, recordings]),
        ),
        (
            "sweeper",
            recordings,
            finalizers(&[archive, recordings]),
            finalizers(&[]),
        ),
    ] {
        let own = format!("this account changes {own} alone");
        for (what, change, why) in [
            ("a key", json!({"spec": {"keys": [key]}}), "change no spec"),
            (
                "an owner that is not there",
                json!({"metadata": {"ownerReferences": [owner]}}),
                "give a Camera no owner",
            ),
            (
                "a label",
                json!({"metadata": {"labels": {"site": "b"}}}),
                "neither labels nor annotations",
            ),
            (
                "an annotation",
                json!({"metadata": {"annotations": {"tried": "1"}}}),
                "neither labels nor annotations",
            ),
            ("the other's finalizer", unwanted, &*own),
            (
                "a finalizer of nobody's",
                finalizers(&[archive, "example.com/other"]),
                &*own,
            ),
        ] {
            refused(what, patch(account, &change).await, why);
        }
        assert_eq!(patch(account, &wanted).await, Ok(()), "{account}");
    }
}

/// A tenant's people write their cameras' passwords, and store nothing else in Secrets.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_people_write_passwords_alone() {
    let Some(moorline) = Moorline::anywhere().await else {
        return;
    };
    let tenant = moorline.tenant("passwords").await;
    let own = tenant.space.name();
    // As the chart binds `helm test`.
    let test = json!({"kind": "ServiceAccount", "name": "moorline-test", "namespace": SYSTEM});
    let bound = binding(own, "moorline-tenant", test);
    moorline.cluster().apply(&bound).await.unwrap();
    let group = format!("--as-group=moorline:tenant:{}", tenant.name);
    let test = format!("--as=system:serviceaccount:{SYSTEM}:moorline-test");
    for who in [&["--as=anna", &*group][..], &[&*test]] {
        let create = async |name: &str, kind: &str, value: &str| {
            let literal = format!("--from-literal=password={value}");
            let kind = format!("--type={kind}");
            let words = [
                "--as-group=system:authenticated",
                "-n",
                own,
                "create",
                "secret",
                "generic",
                name,
                &*kind,
                &*literal,
                "--dry-run=server",
            ];
            let words = [who, &words[..]].concat();
            let output = moorline.cluster().try_kubectl(&words).await.unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            output.status.success().then_some(()).ok_or(said)
        };
        assert_eq!(create("yard-rtsp", "Opaque", "secret").await, Ok(()));
        refused(
            "another name",
            create("other", "Opaque", "x").await,
            "alone",
        );
        refused(
            "another type",
            create("yard-rtsp", "example.com/other", "x").await,
            "alone",
        );
        let large = "a".repeat(5000);
        refused(
            "a large one",
            create("yard-rtsp", "Opaque", &large).await,
            "at most",
        );
    }
}
