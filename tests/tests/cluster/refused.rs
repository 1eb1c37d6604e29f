//! Pods that cannot run: the owner is told why, nothing is hammered, and it recovers by itself.

use moorline_testkit::cluster::{SOON, condition};
use serde_json::{Value, json};

use crate::support::{Camera, Moorline, Tenant};

/// Waits until the condition WorkloadsReady has this reason; gives its message.
async fn until_told(tenant: &Tenant<'_>, camera: &Camera, reason: &str) -> String {
    tenant
        .until(camera, reason, |camera| {
            let all = camera["status"]["conditions"].as_array()?;
            let ready = all.iter().find(|one| one["type"] == "WorkloadsReady")?;
            let told = ready["status"] == "False" && ready["reason"] == reason;
            told.then(|| ready["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
}

/// Waits for an Event of the camera with this reason.
async fn until_event(tenant: &Tenant<'_>, camera: &Camera, reason: &str) -> Value {
    moorline_testkit::eventually("the Event", SOON, || async {
        let list = tenant.space.get(&["events.events.k8s.io"]).await.unwrap();
        let items = list["items"].as_array()?;
        let ours = |event: &&Value| {
            event["regarding"]["name"] == camera.name.as_str() && event["reason"] == reason
        };
        items.iter().find(ours).cloned()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_used_up_is_told_and_recovers() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("quota").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 151).await;
    let pods = |count: &str| {
        let patch = json!({"spec": {"hard": {"pods": count}}}).to_string();
        let space = &tenant.space;
        async move {
            space
                .kubectl(&[
                    "patch",
                    "resourcequota",
                    "moorline",
                    "--type=merge",
                    "-p",
                    &patch,
                ])
                .await
                .unwrap();
            let counted = |quota: &Value| {
                (quota["status"]["hard"]["pods"] == quota["spec"]["hard"]["pods"]).then_some(())
            };
            let object = "resourcequota/moorline";
            space.until(object, "counted", SOON, counted).await.unwrap();
        }
    };
    pods("1").await;
    let _call = yard.call(&moorline, &first);
    let message = until_told(&tenant, &yard, "QuotaExceeded").await;
    assert!(message.contains("pods"), "{message}");
    let event = until_event(&tenant, &yard, "QuotaExceeded").await;
    assert_eq!(event["type"], "Warning", "{event:#}");
    let made = tenant.pods(&yard).await;
    pods("20").await;
    let seen = tenant.until_recorded(&yard).await;
    assert_eq!(condition(&seen, "Ready"), Some("True"));
    // What had been made was kept.
    let now = tenant.pods(&yard).await;
    for pod in made {
        assert!(now.iter().any(|now| now.uid == pod.uid), "{pod:?} is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_missing_is_told_and_the_right_one_heals_it() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let class = format!("broken-{:x}", crate::support::now_us());
    let object = |image: &str| {
        json!({
            "apiVersion": "moorline.dev/v1alpha1", "kind": "CameraClass",
            "metadata": {"name": class},
            "spec": {
                "image": image, "imagePullPolicy": moorline.cluster().pull_policy(),
                "archiver": {"segment": "5s", "spool": "64Mi"},
            },
        })
    };
    let cluster = moorline.cluster();
    cluster.apply(&object("localhost/nothing:1")).await.unwrap();
    let tenant = moorline
        .tenant_with("image", json!({"classes": ["standard", class]}))
        .await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 161).await;
    let patch = json!({"spec": {"class": class}}).to_string();
    let words = ["patch", "camera", "yard", "--type=merge", "-p", &patch];
    tenant.space.kubectl(&words).await.unwrap();
    let _call = yard.call(&moorline, &first);
    let message = until_told(&tenant, &yard, "ImageMissing").await;
    assert!(message.contains("localhost/nothing:1"), "{message}");
    until_event(&tenant, &yard, "ImageMissing").await;
    cluster.apply(&object(cluster.image())).await.unwrap();
    tenant.until_recorded(&yard).await;
    cluster
        .kubectl(&["delete", "cameraclass", &class])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_namespace_takes_restricted_pods_alone() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("restricted").await;
    let mut pod = tenant.space.shell_pod("root", "id");
    pod["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    let error = tenant.space.apply(&pod).await.unwrap_err().to_string();
    assert!(error.contains("violates PodSecurity"), "{error}");

    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 171).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    for pod in tenant.pair(&yard).await {
        let object = format!("pod/{}", pod.name);
        let pod = tenant.space.get(&[&object]).await.unwrap();
        let spec = &pod["spec"];
        assert_eq!(spec["securityContext"]["runAsUser"], 65532, "{spec:#}");
        assert_eq!(spec["automountServiceAccountToken"], false, "{spec:#}");
    }
}
