//! Tenants made, suspended, deleted and made again.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod support;

use std::sync::Arc;

use moorline_core::camera::Enabled;
use moorline_core::port::CameraDirectory as _;
use moorline_kube::{TenantSettings, Tenants};
use serde_json::{Value, json};
use support::{Api, CAMERAS, Mon, camera, events, server, until_told};

const TENANTS: &str = "/apis/moorline.dev/v1alpha1/tenants";

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
        store_endpoint: None,
    }
}

async fn with_tenants() -> (Api, Mon, Arc<Tenants>) {
    with(settings()).await
}

async fn with(settings: TenantSettings) -> (Api, Mon, Arc<Tenants>) {
    let (api, clock) = server();
    let mon = Mon::new(&api, &clock, 0).await;
    let tenants = Arc::new(Tenants::new(mon.directory.clone(), settings, clock));
    let (cancel, running) = (mon.stop.clone(), Arc::clone(&tenants));
    tokio::spawn(async move { running.run(cancel).await });
    (api, mon, tenants)
}

async fn world() -> (Api, Mon) {
    let (api, mon, _) = with_tenants().await;
    (api, mon)
}

#[tokio::test(start_paused = true)]
async fn what_pods_and_people_are_told_is_brought_up_to_date_without_a_restart() {
    let (api, _mon, tenants) = with_tenants().await;
    api.put(TENANTS, acme(false, "keep"));
    api.until("the tenant", |api| ready(api) == Some(json!("Ready")))
        .await;
    let told = |api: &Api| {
        let config = api.get("/api/v1/configmaps", "t-acme", "moorline").unwrap();
        config["data"]["public_host"].clone()
    };
    assert_eq!(told(&api), "cctv.example.com");
    let moved = "cameras.example.com";
    tenants.tell([("public_host".to_owned(), moved.to_owned())].into());
    api.until("the new name", |api| told(api) == moved).await;
}

fn acme(suspended: bool, on_delete: &str) -> Value {
    json!({
        "apiVersion": "moorline.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": "acme"},
        "spec": {"suspended": suspended, "onDelete": on_delete, "store": {"bucket": "acme", "secret": "acme"}},
    })
}

fn ready(api: &Api) -> Option<Value> {
    let tenant = api.get(TENANTS, "", "acme")?;
    Some(tenant["status"]["conditions"][0]["reason"].clone())
}

fn storage_id(api: &Api) -> String {
    let tenant = api.get(TENANTS, "", "acme").unwrap();
    tenant["status"]["storageId"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_tenant_gets_its_namespace_and_keeps_its_storage_id() {
    let (api, _mon) = world().await;
    api.put(TENANTS, acme(false, "keep"));
    api.until("the tenant", |api| ready(api) == Some(json!("Ready")))
        .await;
    assert_eq!(storage_id(&api).len(), 12);
    assert!(api.get("/api/v1/namespaces", "", "t-acme").is_some());
    for (collection, name) in [
        ("/api/v1/resourcequotas", "moorline"),
        ("/api/v1/serviceaccounts", "moorline-relay"),
        ("/api/v1/serviceaccounts", "moorline-archiver"),
        ("/api/v1/configmaps", "moorline"),
        (
            "/apis/networking.k8s.io/v1/networkpolicies",
            "moorline-deny",
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/rolebindings",
            "moorline-mon",
        ),
    ] {
        assert!(
            api.get(collection, "t-acme", name).is_some(),
            "{collection} {name}"
        );
    }
    let before = storage_id(&api);
    let writes = api.writes().len();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(
        api.writes().len(),
        writes,
        "a tenant that is as it should be costs nothing"
    );
    assert_eq!(storage_id(&api), before);
}

/// By a slip, or by whoever has more rights there than they should.
#[tokio::test(start_paused = true)]
async fn what_somebody_takes_from_a_tenants_namespace_is_made_again_within_ten_minutes() {
    const POLICIES: &str = "/apis/networking.k8s.io/v1/networkpolicies";
    const QUOTAS: &str = "/api/v1/resourcequotas";
    let (api, _mon) = world().await;
    api.put(TENANTS, acme(false, "keep"));
    api.until("the tenant", |api| ready(api) == Some(json!("Ready")))
        .await;
    let found = |api: &Api| {
        let policy = api.get(POLICIES, "t-acme", "moorline-deny")?;
        let quota = api.get(QUOTAS, "t-acme", "moorline")?;
        Some([policy["spec"].clone(), quota["spec"].clone()])
    };
    let before = found(&api).unwrap();
    api.remove(POLICIES, "t-acme", "moorline-deny");
    let more = json!({"spec": {"hard": {"pods": "5000"}}});
    api.patch(QUOTAS, "t-acme", "moorline", &more);
    tokio::time::sleep(std::time::Duration::from_secs(610)).await;
    assert_eq!(found(&api), Some(before));
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_nobody_counts_is_made_again_until_somebody_does() {
    let (api, _mon) = world().await;
    api.cameras_unknown(true);
    api.put(TENANTS, acme(false, "keep"));
    api.until("the reason", |api| {
        ready(api) == Some(json!("QuotaUnknown"))
    })
    .await;
    let uid = |api: &Api| {
        let quota = api.get("/api/v1/resourcequotas", "t-acme", "moorline");
        quota.map(|quota| quota["metadata"]["uid"].clone())
    };
    let first = uid(&api);
    api.until("another quota", |api| uid(api) != first).await;
    api.cameras_unknown(false);
    api.until("the tenant", |api| ready(api) == Some(json!("Ready")))
        .await;
    let counted = uid(&api);
    tokio::time::sleep(std::time::Duration::from_secs(1800)).await;
    assert_eq!(uid(&api), counted, "a quota that is counted stays");
}

#[tokio::test(start_paused = true)]
async fn a_suspended_tenants_cameras_are_disabled_until_it_is_resumed() {
    let (api, mon) = world().await;
    api.put(TENANTS, acme(false, "keep"));
    api.put(CAMERAS, camera("acme", "yard"));
    let enabled = || {
        mon.directory
            .snapshot()
            .get(&"acme/yard".parse().unwrap())
            .map(|camera| camera.enabled)
    };
    let turned = async |wanted| {
        while enabled() != Some(wanted) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    support::within("the camera", turned(Enabled::Yes)).await;
    api.patch(
        TENANTS,
        "",
        "acme",
        &json!({"metadata": {"generation": 2}, "spec": {"suspended": true}}),
    );
    support::within("the suspension", turned(Enabled::Disabled)).await;
    api.until("the condition", |api| {
        ready(api) == Some(json!("Suspended"))
    })
    .await;
    api.patch(
        TENANTS,
        "",
        "acme",
        &json!({"metadata": {"generation": 3}, "spec": {"suspended": false}}),
    );
    support::within("the resumption", turned(Enabled::Yes)).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_tenant_goes_after_its_cameras_and_its_recordings_and_comes_back_as_another() {
    let (api, _mon) = world().await;
    api.put(TENANTS, acme(false, "erase"));
    api.put(CAMERAS, camera("acme", "yard"));
    let mut odd = camera("acme", "odd");
    odd["spec"]["keys"] = "none".into();
    api.put(CAMERAS, odd);
    api.until("the tenant", |api| ready(api) == Some(json!("Ready")))
        .await;
    let before = storage_id(&api);
    api.patch(
        TENANTS,
        "",
        "acme",
        &json!({"metadata": {"deletionTimestamp": "2026-11-20T00:00:00Z"}}),
    );
    api.until("the draining", |api| ready(api) == Some(json!("Draining")))
        .await;
    let camera = api.get(CAMERAS, "t-acme", "yard").unwrap();
    assert!(!camera["metadata"]["deletionTimestamp"].is_null());
    let odd = api.get(CAMERAS, "t-acme", "odd").unwrap();
    assert!(
        !odd["metadata"]["deletionTimestamp"].is_null(),
        "one that cannot be read goes too"
    );
    api.remove(CAMERAS, "t-acme", "odd");
    api.remove(CAMERAS, "t-acme", "yard");
    api.until("the erasing", |api| ready(api) == Some(json!("Erasing")))
        .await;
    assert!(api.get("/api/v1/namespaces", "", "t-acme").is_some());
    api.patch(TENANTS, "", "acme", &json!({"status": {"erased": true}}));
    api.until("the tenant's end", |api| {
        api.get(TENANTS, "", "acme").is_none()
    })
    .await;
    assert!(api.get("/api/v1/namespaces", "", "t-acme").is_none());
    api.put(TENANTS, acme(false, "keep"));
    api.until("the tenant again", |api| ready(api) == Some(json!("Ready")))
        .await;
    assert_ne!(storage_id(&api), before);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_nothing_can_erase_says_so_and_goes_when_its_recordings_are_kept() {
    let without = TenantSettings {
        sweeper: false,
        ..settings()
    };
    let (api, _mon, _) = with(without).await;
    let mut tenant = acme(false, "erase");
    tenant["metadata"]["deletionTimestamp"] = "2026-11-20T00:00:00Z".into();
    tenant["metadata"]["finalizers"] = json!(["moorline.dev/recordings"]);
    api.put(TENANTS, tenant);
    api.until("the word", |api| ready(api) == Some(json!("NoSweeper")))
        .await;
    let said = api.get(TENANTS, "", "acme").unwrap();
    let message = said["status"]["conditions"][0]["message"].as_str().unwrap();
    for what in [
        "sweeper.secret",
        "moorline tenant set acme --on-delete keep",
    ] {
        assert!(message.contains(what), "{message}");
    }
    let kept = json!({"metadata": {"generation": 2}, "spec": {"onDelete": "keep"}});
    api.patch(TENANTS, "", "acme", &kept);
    api.until("the tenant's end", |api| {
        api.get(TENANTS, "", "acme").is_none()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_must_not_be_reached_is_told_with_what_would_be_right() {
    let (api, _mon) = world().await;
    let mut tenant = acme(false, "keep");
    tenant["spec"]["store"]["endpoint"] = "https://169.254.169.254".into();
    api.put(TENANTS, tenant);
    api.until("the refusal", |api| {
        ready(api) == Some(json!("StoreRefused"))
    })
    .await;
    let said = api.get(TENANTS, "", "acme").unwrap();
    let message = said["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("spec.store.endpoint") && message.contains("no public address"),
        "{message}"
    );
    let better = json!({"metadata": {"generation": 2}, "spec": {"store": {"endpoint": "https://s3.example.com"}}});
    api.patch(TENANTS, "", "acme", &better);
    api.until("the tenant", |api| ready(api) == Some(json!("Ready")))
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_with_a_tenant_and_is_well_again_is_an_event_that_says_what_to_do() {
    let (api, _mon) = world().await;
    api.put(TENANTS, acme(false, "keep"));
    api.until("the tenant", |api| ready(api) == Some(json!("Ready")))
        .await;
    let all = |api: &Api| api.list("/apis/events.k8s.io/v1/events");
    assert_eq!(all(&api), [Value::Null; 0], "a beginning is no trouble");
    let endpoint = |generation: u64, endpoint: &str| json!({"metadata": {"generation": generation}, "spec": {"store": {"endpoint": endpoint}}});
    api.patch(TENANTS, "", "acme", &endpoint(2, "https://169.254.169.254"));
    until_told(&api, "StoreRefused", "Warning", "spec.store.endpoint").await;
    api.patch(TENANTS, "", "acme", &endpoint(3, "https://s3.example.com"));
    until_told(&api, "Ready", "Normal", "Ready holds again").await;
    // Another part wrote it.
    let mut status = api.get(TENANTS, "", "acme").unwrap()["status"].clone();
    let own = json!({
        "type": "StoreReady", "status": "False", "reason": "SecretMissing", "message": "kubectl create secret",
        "lastTransitionTime": "2026-11-20T00:00:00Z",
    });
    status["conditions"].as_array_mut().unwrap().push(own);
    api.patch(TENANTS, "", "acme", &json!({"status": status}));
    until_told(&api, "SecretMissing", "Warning", "kubectl create secret").await;
    for event in all(&api) {
        assert_eq!(event["regarding"]["kind"], "Tenant", "{event}");
        assert_eq!(event["regarding"]["name"], "acme", "{event}");
        assert_eq!(event["metadata"]["namespace"], "default", "{event}");
        assert_eq!(event["reportingController"], "moorline.dev/tenants");
    }
    assert_eq!(events(&api, "SecretMissing").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_cannot_be_made_is_told_once_and_with_what_to_do() {
    let (api, _mon) = world().await;
    let refused = support::Fault::Refused(403, "Forbidden", "no namespaces here".into());
    api.trap(
        http::Method::PATCH,
        "/namespaces/t-acme",
        usize::MAX,
        refused,
    );
    api.put(TENANTS, acme(false, "keep"));
    until_told(
        &api,
        "Forbidden",
        "Warning",
        "the account of moorline tenants",
    )
    .await;
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    assert_eq!(events(&api, "Forbidden").len(), 1, "nothing has changed");
}
