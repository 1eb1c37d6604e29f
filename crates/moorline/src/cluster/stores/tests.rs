use moorline_core::port::{PutRequest, PutSigner as _};
use moorline_core::segment::ObjectKey;
use moorline_store::s3::TenantPuts;
use moorline_testkit::s3::S3Server;
use serde_json::json;

use super::super::testing::{SECRETS, TENANTS, World, secret, tenant};
use super::*;

const PUT: &str = "moorline-store-put";

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_records_to_its_own_bucket_once_its_keys_work_and_with_new_keys_without_a_restart()
{
    let world = World::new(Keys::Put, PUT).await;
    world.keep_stores().await;
    let own = S3Server::start().await.unwrap();
    let spec = json!({"store": {"bucket": S3Server::BUCKET, "endpoint": own.endpoint(), "secret": "acme"}});
    world.api.put(TENANTS, tenant("acme", "k7q2w9d4", spec));
    let same = json!({"store": {"bucket": S3Server::BUCKET, "secret": "unused"}});
    world.api.put(TENANTS, tenant("other", "zzzzzzzz", same));
    world
        .until("the word that keys are missing", || {
            world.condition("acme", "StoreReady").is_some()
        })
        .await;
    let [status, reason, message] = world.condition("acme", "StoreReady").unwrap();
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "SecretMissing")
    );
    assert!(
        message.contains("kubectl -n moorline-store-put create secret generic acme"),
        "{message}"
    );
    assert!(
        world.stores.find(&acme()).is_none(),
        "nothing is put to the installation's bucket instead"
    );

    world.api.put(SECRETS, secret(PUT, "acme", "wrong", "keys"));
    world
        .until("the refusal", || {
            world
                .condition("acme", "StoreReady")
                .is_some_and(|[_, reason, _]| reason == "StoreRefused")
        })
        .await;
    assert!(world.stores.find(&acme()).is_none());

    world.api.put(
        SECRETS,
        secret(PUT, "acme", S3Server::ACCESS_KEY, S3Server::SECRET_KEY),
    );
    world
        .until("a store that works", || {
            world.stores.find(&acme()).is_some()
        })
        .await;
    world
        .until("the word of it", || {
            world
                .condition("acme", "StoreReady")
                .is_some_and(|[status, ..]| status == "True")
        })
        .await;
    let stores = world.stores.clone();
    let puts = TenantPuts::new(Arc::new(move |tenant| stores.find(tenant)));
    let key = |tenant: &str| -> ObjectKey {
        let key = format!(
            "v1/r030/{tenant}/yard/2026/11/20/211005.250Z_00060000_g0000000007_7f3a9c21_000042_b41d0e_full.mp4"
        );
        key.parse().unwrap()
    };
    let sign = async |tenant: &str| {
        let request = PutRequest {
            key: key(tenant),
            bytes: 4,
            md5: [7; 16],
        };
        puts.sign_put(&request).await.unwrap().url.reveal().clone()
    };
    let url = sign("acme").await;
    assert!(
        url.starts_with(&own.endpoint()) && url.contains("/v1/r030/k7q2w9d4/yard/"),
        "{url}"
    );
    let url = sign("other").await;
    assert!(url.starts_with(&world.server.endpoint()), "{url}");
    let store = world.stores.find(&acme()).unwrap().store;
    assert!(
        store.profile().is_some(),
        "it was tried: an ETag is known for what it is"
    );

    // New keys that do not work: the old ones stay.
    world.api.put(SECRETS, secret(PUT, "acme", "new", "broken"));
    world
        .until("the second refusal", || {
            world
                .condition("acme", "StoreReady")
                .is_some_and(|[status, ..]| status == "False")
        })
        .await;
    assert!(world.stores.find(&acme()).is_some());
    // Another bucket: the old one is nobody's any more.
    let moved = json!({"metadata": {"generation": 2}, "spec": {"store": {"bucket": "elsewhere"}}});
    world.api.patch(TENANTS, "", "acme", &moved);
    world
        .until("the move", || world.stores.find(&acme()).is_none())
        .await;
}

/// The Secret is as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_revoked_at_the_store_is_told_when_it_is_tried_again() {
    let world = World::new(Keys::Put, PUT).await;
    world.keep_stores().await;
    let own = S3Server::start().await.unwrap();
    let spec = json!({"store": {"bucket": S3Server::BUCKET, "endpoint": own.endpoint(), "secret": "acme"}});
    world.api.put(TENANTS, tenant("acme", "k7q2w9d4", spec));
    let key = (S3Server::ACCESS_KEY, S3Server::SECRET_KEY);
    world.api.put(SECRETS, secret(PUT, "acme", key.0, key.1));
    let until_ready = async |wanted: &str| {
        let told = || {
            let condition = world.condition("acme", "StoreReady");
            condition.is_some_and(|[status, ..]| status == wanted)
        };
        world.until(wanted, told).await;
    };
    // Its keeper looks at whatever changes of a tenant. Nobody else does: of two who try at once the later one may know less.
    let is_time = |look: u32| {
        world.stores.own(|own| {
            let own = own.get_mut(&acme()).unwrap();
            assert!(own.again > world.clock.monotonic());
            own.again = world.clock.monotonic();
        });
        let changed = json!({"metadata": {"annotations": {"look": look.to_string()}}});
        world.api.patch(TENANTS, "", "acme", &changed);
    };
    until_ready("True").await;
    own.revoke(key.0);
    is_time(1);
    until_ready("False").await;
    let [_, reason, message] = world.condition("acme", "StoreReady").unwrap();
    assert_eq!(reason, "StoreRefused", "{message}");
    assert!(
        world.stores.find(&acme()).is_some(),
        "nothing is put elsewhere"
    );
    own.allow(key.0, key.1);
    is_time(2);
    until_ready("True").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_on_an_address_that_must_not_be_reached_is_not_dialled() {
    let world = World::new(Keys::Put, PUT).await;
    let wanted = |endpoint: String| Wanted {
        bucket: S3Server::BUCKET.to_owned(),
        endpoint: Some(endpoint),
        region: None,
        secret: "acme".to_owned(),
    };
    let credential = || {
        Ok(Credential {
            access_key: S3Server::ACCESS_KEY.to_owned(),
            secret_key: moorline_core::Masked::new(S3Server::SECRET_KEY.to_owned()),
            version: "1".to_owned(),
        })
    };
    let port = world.server.address().port();
    let by_name = format!("http://localhost:{port}");
    let works = world
        .stores
        .try_out(&wanted(by_name.clone()), credential())
        .await;
    assert!(
        works.is_ok(),
        "the operator lists loopback here: {:?}",
        works.err()
    );
    let clock = Arc::clone(&world.clock);
    let strict = Stores::with(
        (world.api.client(), world.directory.cache().clone()),
        Keys::Put,
        PUT,
        (world.stores.installation().clone(), None),
        Outside::new(&[], true).unwrap(),
        clock,
    );
    let (reason, message) = strict
        .try_out(&wanted(by_name), credential())
        .await
        .unwrap_err();
    assert_eq!(reason, "StoreUnavailable", "{message}");
    let (reason, message) = strict
        .try_out(&wanted(format!("http://127.0.0.1:{port}")), credential())
        .await
        .unwrap_err();
    assert_eq!(reason, "StoreRefused");
    assert!(
        message.contains("spec.store.endpoint") && message.contains("no public address"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_installations_key_is_exchanged_without_a_restart_once_the_new_one_works() {
    let world = World::new(|_| Keys::Get, PUT).await;
    let mount = tempfile::tempdir().unwrap();
    let put = |access: &str, secret: &str| {
        std::fs::write(mount.path().join("access-key"), access).unwrap();
        std::fs::write(mount.path().join("secret-key"), format!("{secret}\n")).unwrap();
    };
    put("old", "old-secret");
    let settings = crate::settings::S3 {
        endpoint: world.server.endpoint(),
        region: S3Server::REGION.to_owned(),
        bucket: S3Server::BUCKET.to_owned(),
        key_dir: mount.path().to_string_lossy().into_owned(),
        ..crate::settings::S3::default()
    };
    let all = crate::settings::Settings {
        s3: settings.clone(),
        ..crate::settings::Settings::default()
    };
    let bucket = crate::serve::parts::s3_store(&all, &world.clock).unwrap();
    let stores = Stores::with(
        (world.api.client(), world.directory.cache().clone()),
        |_| Keys::Get,
        PUT,
        (bucket.clone(), Mounted::of(&settings)),
        Outside::new(&[], true).unwrap(),
        Arc::clone(&world.clock),
    );
    let works = async || bucket.list("v1/", "").await.is_ok();
    assert!(!works().await, "the store knows no such key");
    stores.pass().await;
    put("newer", "wrong");
    stores.pass().await;
    assert!(!works().await);
    put(S3Server::ACCESS_KEY, S3Server::SECRET_KEY);
    stores.pass().await;
    assert!(works().await, "also of clones that were made before");
    put("newest", "broken");
    stores.pass().await;
    assert!(works().await, "a key that does not work takes nothing away");
}
