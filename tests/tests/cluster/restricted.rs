//! What the namespaces of tenants enforce.

use moorline_testkit::cluster::Security;
use serde_json::json;

use crate::cluster;

#[tokio::test]
async fn a_pod_that_would_run_as_root_is_refused() {
    let Some(cluster) = cluster().await else {
        return;
    };
    let space = cluster
        .namespace("root", Security::Restricted)
        .await
        .unwrap();
    let mut pod = space.moorline_pod("root", &["--version"]);
    pod["spec"]["securityContext"]["runAsNonRoot"] = json!(false);
    pod["spec"]["securityContext"]["runAsUser"] = json!(0);
    let refusal = space.apply(&pod).await.unwrap_err().to_string();
    assert!(
        refusal.contains(r#"violates PodSecurity "restricted"#),
        "{refusal}"
    );
    assert!(space.get(&["pod/root"]).await.unwrap().is_null());
}
