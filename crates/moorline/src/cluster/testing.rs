//! A cluster in memory and an S3 server, for the tests of what brings both together.

#[path = "../../../kube/tests/support/api/mod.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
pub(super) mod api;

use std::sync::Arc;
use std::time::Duration;

use moorline_base::clock::SystemClock;
use moorline_base::{CancellationToken, Clock as _, Secret, SharedClock};
use moorline_core::outside::Outside;
use moorline_kube::KubeDirectory;
use moorline_store::{S3Config, S3Store};
use moorline_testkit::s3::S3Server;
use serde_json::{Value, json};

use super::stores::{Keys, Stores};
use api::Api;
use moorline_kube::KubeTenants;

pub(super) const CAMERAS: &str = "/apis/moorline.dev/v1alpha1/cameras";
pub(super) const TENANTS: &str = "/apis/moorline.dev/v1alpha1/tenants";
pub(super) const SECRETS: &str = "/api/v1/secrets";

pub(super) struct World {
    pub(super) api: Api,
    pub(super) clock: SharedClock,
    pub(super) directory: KubeDirectory,
    pub(super) stores: Stores,
    /// The installation's.
    pub(super) server: S3Server,
    pub(super) stop: CancellationToken,
}

/// A bucket of that server.
pub(super) fn bucket(server: &S3Server, clock: &SharedClock) -> S3Store {
    let config = S3Config {
        endpoint: Some(server.endpoint()),
        region: S3Server::REGION.to_owned(),
        bucket: S3Server::BUCKET.to_owned(),
        access_key: S3Server::ACCESS_KEY.to_owned(),
        secret_key: Secret::new(S3Server::SECRET_KEY.to_owned()),
        path_style: Some(true),
        digest: moorline_store::s3::Digest::Md5,
        verify: moorline_store::s3::Verify::Head,
        authority: None,
    };
    S3Store::new(config, Arc::clone(clock)).unwrap()
}

impl World {
    /// Watches run; tenants' own stores may lie on loopback.
    pub(super) async fn new(keys: impl FnOnce(KubeTenants) -> Keys, namespace: &str) -> Self {
        let clock = SystemClock::shared();
        let api = Api::new(|| SystemClock.wall_ms());
        let stop = CancellationToken::new();
        let directory = KubeDirectory::new(api.client(), Arc::clone(&clock));
        let server = S3Server::start().await.unwrap();
        let stores = Stores::with(
            (api.client(), directory.cache().clone()),
            keys,
            namespace,
            (bucket(&server, &clock), None),
            Outside::new(&["127.0.0.0/8".to_owned()], true).unwrap(),
            Arc::clone(&clock),
        );
        let world = Self {
            api,
            clock,
            directory,
            stores,
            server,
            stop,
        };
        let (directory, cancel) = (world.directory.clone(), world.stop.clone());
        tokio::spawn(async move { directory.run(cancel).await });
        world.directory.listed().await;
        world
    }

    /// Keeps tenants' stores right from now on.
    pub(super) async fn keep_stores(&self) {
        let (stores, cancel) = (self.stores.clone(), self.stop.clone());
        tokio::spawn(async move { stores.run(cancel).await });
        self.stores.listed().await;
    }

    /// Waits until it holds.
    pub(super) async fn until(&self, what: &str, wanted: impl Fn() -> bool) {
        let patience = Duration::from_secs(30);
        moorline_testkit::eventually(what, patience, || {
            let holds = wanted();
            async move { holds.then_some(()) }
        })
        .await;
    }

    /// The tenant's condition of that kind: status, reason, message.
    pub(super) fn condition(&self, tenant: &str, kind: &str) -> Option<[String; 3]> {
        let tenant = self.api.get(TENANTS, "", tenant)?;
        let all = tenant["status"]["conditions"].as_array()?.clone();
        let found = all
            .into_iter()
            .find(|condition| condition["type"] == kind)?;
        Some(
            ["status", "reason", "message"]
                .map(|field| found[field].as_str().unwrap_or_default().to_owned()),
        )
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A tenant with a storage id.
pub(super) fn tenant(name: &str, storage_id: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "moorline.dev/v1alpha1", "kind": "Tenant",
        "metadata": {"name": name, "finalizers": ["moorline.dev/recordings"]},
        "spec": spec, "status": {"storageId": storage_id},
    })
}

pub(super) fn camera(tenant: &str, name: &str, finalizers: Value) -> Value {
    json!({
        "apiVersion": "moorline.dev/v1alpha1", "kind": "Camera",
        "metadata": {"name": name, "namespace": format!("t-{tenant}"), "finalizers": finalizers},
        "spec": {"keys": []},
    })
}

/// A Secret with an access key, as the API server has it.
pub(super) fn secret(namespace: &str, name: &str, access: &str, secret: &str) -> Value {
    let encoded = |text: &str| k8s(text);
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
        "data": {"access-key": encoded(access), "secret-key": encoded(secret)},
    })
}

/// Base64 of a few bytes.
fn k8s(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().enumerate().fold(0_u32, |bits, (at, byte)| {
            bits | u32::from(*byte) << (16 - 8 * at)
        });
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            encoded.push(if place > chunk.len() {
                '='
            } else {
                char::from(letter)
            });
        }
    }
    encoded
}
