//! What the accounts of the installation may do, each tried as if it had been taken over (rules S18, S21, S23), and that what they are for
//! still works. The policies of the chart judge; no pod of the accounts is touched. What mon makes of pods is a theme of its own (`workloads`).

use serde_json::{Value, json};

use crate::support::{Moorline, SYSTEM, kubectl_as, refused};

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
