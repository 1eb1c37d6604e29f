//! An upgrade that cannot run, and the step back from it: cameras are recorded all the time, and `helm rollback` brings what was there before.

use std::process::Stdio;

use moorline_testkit::cluster::{Cluster, SOON};
use serde_json::{Value, json};

use crate::support::{Helm, Moorline, lab_values, merge, now_us};

const RELEASE: [&str; 3] = ["moorline", "--namespace", "moorline-system"];
const POLICY: &str = "validatingadmissionpolicy/moorline-erasing";

/// A test that fails leaves the installation as it was, for those that come after it.
struct Left {
    cluster: Cluster,
    revision: String,
}

impl Drop for Left {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut helm = std::process::Command::new("helm");
            helm.arg("--kubeconfig").arg(self.cluster.kubeconfig());
            helm.args(["rollback", RELEASE[0], &self.revision])
                .args(&RELEASE[1..]);
            let _ = helm.stdin(Stdio::null()).status();
        }
    }
}

/// The newest entry of the release's history.
async fn newest(helm: &Helm) -> Value {
    let words = [&["history", "--output", "json"], &RELEASE[..]].concat();
    let history: Value = serde_json::from_str(&helm.run(&words).await).unwrap();
    history.as_array().unwrap().last().unwrap().clone()
}

/// What is installed, as Helm keeps it: the objects, and the values.
async fn installed(helm: &Helm) -> [String; 2] {
    let manifest = [&["get", "manifest"], &RELEASE[..]].concat();
    let values = [&["get", "values"], &RELEASE[..]].concat();
    [helm.run(&manifest).await, helm.run(&values).await]
}

/// Whether Cameras that ask for erasing are refused, as where there is no sweeper.
async fn refuses_erasing(cluster: &Cluster) -> bool {
    let words = ["get", POLICY, "--ignore-not-found", "-o", "name"];
    !cluster.kubectl(&words).await.unwrap().is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_heals_an_upgrade_whose_parts_do_not_start() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let cluster = moorline.cluster();
    let tenant = moorline.tenant("back").await;
    let yard = tenant.camera("yard", 183).await;
    let _call = yard.keeps_calling(&moorline, moorline.ssh_service().await);
    tenant.until_recorded(&yard).await;
    tenant.until_stored(&yard).await;
    let pods = tenant.pair(&yard).await;
    let helm = Helm::new(cluster);
    let before = installed(&helm).await;
    let revision = newest(&helm).await["revision"].to_string();
    let left = Left {
        cluster: cluster.clone(),
        revision: revision.clone(),
    };

    // Secrets that nobody made: pods wait for them without a word, and no other replica is replaced meanwhile.
    let mut values = lab_values(cluster);
    merge(
        &mut values,
        json!({"keys": "not-made", "sweeper": {"secret": ""}, "frontdoor": {"enabled": false}}),
    );
    let file = helm.values("not-made", &values);
    let words = ["upgrade", RELEASE[0], "charts/moorline", "--values", &*file];
    helm.run(&[&words, &RELEASE[1..]].concat()).await;
    let halved = |set: &Value| {
        let (status, generation) = (&set["status"], &set["metadata"]["generation"]);
        let current = status["observedGeneration"] == *generation;
        (current && status["updatedReplicas"] == 1 && status["readyReplicas"] == 1).then_some(())
    };
    let object = "statefulset/moorline-mon";
    let seen = moorline
        .system
        .until(object, "half of it waits", SOON * 3, halved);
    seen.await.unwrap();
    assert!(refuses_erasing(cluster).await);
    let upgraded = now_us();
    tenant.until_recorded(&yard).await;
    tenant.goes_on(&yard, upgraded, &["tunnel_down"]).await;
    assert_eq!(tenant.pair(&yard).await, pods);

    let words = ["rollback", RELEASE[0], &*revision];
    helm.run(&[&words, &RELEASE[1..]].concat()).await;
    moorline.no_front_door().await;
    moorline.until_ready().await;
    let entry = newest(&helm).await;
    assert_eq!(entry["status"], "deployed", "{entry:#}");
    assert_eq!(
        entry["description"],
        format!("Rollback to {revision}"),
        "{entry:#}"
    );
    assert_eq!(installed(&helm).await, before);
    assert!(!refuses_erasing(cluster).await);
    let back = now_us();
    tenant.until_recorded(&yard).await;
    tenant.goes_on(&yard, back, &["tunnel_down"]).await;
    assert_eq!(tenant.pair(&yard).await, pods);
    // The part that makes tenants waited too.
    moorline.tenant("again").await;
    drop(left);
}
