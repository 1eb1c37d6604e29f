//! Where nothing may delete recordings, nobody asks for it: the policy that an installation without a sweeper has, judged by the API server for everybody
//! who may write Cameras and Tenants. Who asked before it came is not held by it.

use std::process::Stdio;

use moorline_testkit::{
    cluster::{Cluster, SOON},
    eventually,
};
use serde_json::{Value, json};

use crate::{
    powers::documents,
    support::{Helm, Moorline, Tenant, lab_values, merge, refused},
};

/// The release of which the policy is. It is rendered and never installed.
const TRIAL: &str = "without-a-sweeper";
/// What it says.
const WHY: &str = "nothing here may delete recordings (sweeper.secret of the chart)";
const SYSTEM: &str = "system:serviceaccount:moorline-system";

/// The policy, beside the installation that has a sweeper. It goes with this value.
struct Policy(Cluster);

impl Policy {
    async fn new(cluster: &Cluster) -> Self {
        let helm = Helm::new(cluster);
        let mut values = lab_values(cluster);
        merge(&mut values, json!({"sweeper": {"secret": ""}}));
        let file = helm.values("without", &values);
        let words = [
            "template",
            TRIAL,
            "charts/moorline",
            "--values",
            &file,
            "--show-only",
            "templates/admission/erasing.yaml",
        ];
        let objects = documents(&helm.run(&words).await);
        assert_eq!(objects.len(), 2, "a policy and its binding: {objects:#?}");
        let policy = Self(cluster.clone());
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        cluster.apply(&list).await.unwrap();
        policy
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let name = format!("{TRIAL}-erasing");
        for kind in [
            "validatingadmissionpolicybinding",
            "validatingadmissionpolicy",
        ] {
            let mut command = self.0.command().into_std();
            command.args(["--request-timeout=10s", "delete", kind, &name]);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            let _ = command.status();
        }
    }
}

/// Somebody who asks: kubectl's words for it.
struct Asker(Vec<String>);

impl Asker {
    /// Who administers the cluster.
    fn operator() -> Self {
        Self(Vec::new())
    }

    fn people(tenant: &Tenant<'_>) -> Self {
        let group = format!("--as-group=moorline:tenant:{}", tenant.name);
        let all = ["--as=anna", &group, "--as-group=system:authenticated"];
        Self(all.map(str::to_owned).into())
    }

    fn account(part: &str) -> Self {
        let who = format!("--as={SYSTEM}:moorline-{part}");
        let groups = [
            "--as-group=system:serviceaccounts",
            "--as-group=system:authenticated",
        ];
        let all = [&*who, groups[0], groups[1]];
        Self(all.map(str::to_owned).into())
    }

    /// What the API server would say.
    async fn said(&self, cluster: &Cluster, words: &[&str]) -> Result<(), String> {
        let mut all: Vec<&str> = self.0.iter().map(String::as_str).collect();
        all.extend(words);
        all.push("--dry-run=server");
        let output = cluster.try_kubectl(&all).await.unwrap();
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    async fn creates(&self, cluster: &Cluster, object: &Value) -> Result<(), String> {
        let place = moorline_testkit::temp_dir().unwrap();
        let path = place.path().join("object.json");
        std::fs::write(&path, object.to_string()).unwrap();
        let path = path.display().to_string();
        self.said(cluster, &["create", "-f", &path]).await
    }

    async fn patches(&self, of: &Tenant<'_>, object: &str, patch: &Value) -> Result<(), String> {
        let (space, patch) = (of.space.name(), patch.to_string());
        let words = ["-n", space, "patch", object, "--type=merge", "-p", &patch];
        self.said(of.space.cluster(), &words).await
    }

    async fn deletes(&self, of: &Tenant<'_>, object: &str) -> Result<(), String> {
        let words = ["-n", of.space.name(), "delete", object];
        self.said(of.space.cluster(), &words).await
    }
}

fn on_delete(what: &str) -> Value {
    json!({"onDelete": what})
}

fn camera(tenant: &Tenant<'_>, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "moorline.dev/v1alpha1", "kind": "Camera",
        "metadata": {"name": name, "namespace": tenant.space.name()}, "spec": spec,
    })
}

fn tenant(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "moorline.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": name}, "spec": spec})
}

/// Waits until a camera that asks for erasing has the marks of those who look after it, so that nobody writes it meanwhile.
async fn until_marked(tenant: &Tenant<'_>, camera: &str) {
    let marked = |seen: &Value| {
        let marks = seen["metadata"]["finalizers"].as_array()?;
        let has = |name: &str| marks.iter().any(|mark| mark == name);
        (has("moorline.dev/archive") && has("moorline.dev/recordings")).then_some(())
    };
    let object = format!("camera/{camera}");
    let seen = tenant.space.until(&object, "both marks", SOON, marked);
    seen.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sweeper_nobody_begins_to_ask_for_erasing() {
    let Some(moorline) = Moorline::anywhere().await else {
        return;
    };
    let cluster = moorline.cluster();
    let plain = moorline.tenant("asks").await;
    let before = moorline.tenant_with("asked", on_delete("erase")).await;
    for (name, spec) in [("yard", json!({})), ("old", on_delete("erase"))] {
        let camera = camera(&plain, name, spec);
        cluster.apply(&camera).await.unwrap();
    }
    until_marked(&plain, "old").await;
    let policy = Policy::new(cluster).await;
    let operator = Asker::operator();
    let asks = camera(&plain, "new", on_delete("erase"));
    eventually("the policy holds", SOON, || async {
        operator.creates(cluster, &asks).await.err()
    })
    .await;

    let change = |spec: Value| json!({"spec": spec});
    let (erase, keep) = (change(on_delete("erase")), change(on_delete("keep")));
    let title = change(json!({"title": "Yard"}));
    for (who, asker) in [
        ("the operator", &operator),
        ("the tenant's people", &Asker::people(&plain)),
    ] {
        refused(who, asker.creates(cluster, &asks).await, WHY);
        refused(who, asker.patches(&plain, "camera/yard", &erase).await, WHY);
        // Whatever does not ask, and what asked before, goes on: it can be changed, let go, and no longer asked.
        for spec in [json!({}), on_delete("keep")] {
            let camera = camera(&plain, "new", spec);
            assert_eq!(asker.creates(cluster, &camera).await, Ok(()), "{who}");
        }
        for (name, patch) in [
            ("camera/yard", &title),
            ("camera/yard", &keep),
            ("camera/old", &title),
            ("camera/old", &keep),
            ("camera/old", &erase),
        ] {
            let answer = asker.patches(&plain, name, patch).await;
            assert_eq!(answer, Ok(()), "{who}: {name}: {patch}");
        }
        for name in ["camera/yard", "camera/old"] {
            assert_eq!(asker.deletes(&plain, name).await, Ok(()), "{who}: {name}");
        }
    }

    // Tenants are the operator's.
    let (own, old) = (
        format!("tenant/{}", plain.name),
        format!("tenant/{}", before.name),
    );
    let asks = tenant("asks-too", on_delete("erase"));
    refused("a tenant", operator.creates(cluster, &asks).await, WHY);
    let answer = operator.patches(&plain, &own, &erase).await;
    refused("a change of a tenant", answer, WHY);
    let fewer = change(json!({"cameras": 3}));
    for (object, patch) in [(&own, &fewer), (&old, &fewer), (&old, &keep)] {
        let answer = operator.patches(&plain, object, patch).await;
        assert_eq!(answer, Ok(()), "{object}: {patch}");
    }
    assert_eq!(operator.deletes(&plain, &old).await, Ok(()));
    let people = Asker::people(&plain);
    let answer = people.patches(&plain, &own, &keep).await;
    refused("people of a tenant", answer, "orbidden");

    // Those who look after them write their marks as before, and begin to ask for nothing.
    let marks = |names: &[&str]| json!({"metadata": {"finalizers": names}});
    for (part, object, patch) in [
        ("mon", "camera/old", marks(&["moorline.dev/recordings"])),
        ("sweeper", "camera/old", marks(&["moorline.dev/archive"])),
        ("tenants", &*old, marks(&[])),
    ] {
        let answer = Asker::account(part).patches(&plain, object, &patch).await;
        assert_eq!(answer, Ok(()), "{part}");
    }
    let part = Asker::account("tenants");
    let answer = part.patches(&plain, &own, &erase).await;
    refused("the tenants' part", answer, WHY);

    // With a sweeper again, what asked for it is erased.
    drop(policy);
    let words = ["delete", "camera", "old", "--wait=false"];
    plain.space.kubectl(&words).await.unwrap();
    let gone = plain.space.until_gone("camera/old", SOON * 2);
    gone.await.unwrap();
}
