//! The whole way on whichever cluster the run has: a simulated camera in a pod, as `helm test` has it. It needs the cluster and its bucket, and no server
//! of the test.

use std::process::Stdio;

use moorline_testkit::{
    cluster::{Cluster, SOON},
    eventually,
};
use serde_json::{Value, json};

use crate::{
    powers::documents,
    support::{Helm, Moorline, lab_values, merge},
};

/// What the test of a release makes, but for what lies in the tenant's namespace. It goes with this value.
struct Made(Cluster);

impl Drop for Made {
    fn drop(&mut self) {
        for words in [
            &["-n", "moorline-system", "delete", "pod,serviceaccount"][..],
            &["delete", "clusterrole,clusterrolebinding"],
        ] {
            let mut command = self.0.command().into_std();
            command.arg("--request-timeout=20s").args(words);
            command.args(["moorline-test", "--ignore-not-found", "--wait=false"]);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            let _ = command.status();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_camera_of_a_pod_goes_the_whole_way_to_the_bucket() {
    if let Some(moorline) = Moorline::anywhere().await {
        goes_the_whole_way(&moorline).await;
    }
}

/// The test of the release, of a tenant.
pub(crate) async fn goes_the_whole_way(moorline: &Moorline) {
    let cluster = moorline.cluster();
    let tenant = moorline.tenant("checked").await;
    let helm = Helm::new(cluster);
    let mut values = lab_values(cluster);
    merge(&mut values, json!({"test": {"tenant": tenant.name}}));
    let file = helm.values("checked", &values);
    let words = [
        "template",
        "moorline",
        "charts/moorline",
        "--namespace",
        "moorline-system",
        "--values",
        &file,
        "--show-only",
        "templates/test.yaml",
    ];
    let objects = documents(&helm.run(&words).await);
    assert_eq!(objects.len(), 5, "{objects:#?}");
    // What a test of the release left.
    let left = ["delete", "pod", "moorline-test", "--ignore-not-found"];
    moorline.system.kubectl(&left).await.unwrap();
    let made = Made(cluster.clone());
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    cluster.apply(&list).await.unwrap();
    let ended = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64()
    };
    let object = "pod/moorline-test";
    let code = moorline.system.until(object, "ended", SOON * 3, ended);
    let code = code.await.unwrap();
    let said = moorline.system.logs("moorline-test").await.unwrap();
    assert_eq!(code, 0, "{said}");
    eventually("its camera is removed", SOON, || async {
        // Of an empty list nothing is printed.
        let left = tenant.space.get(&["cameras"]).await.unwrap();
        left.is_null().then_some(())
    })
    .await;
    drop(made);
}
