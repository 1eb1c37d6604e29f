//! A tenant that records to a bucket of its own.

use moorline_testkit::{
    cluster::{SOON, condition},
    eventually,
};
use serde_json::Value;

use super::{Archive, Bucket, Camera, Moorline, Tenant, assert_in_order, store_key_of};

impl Moorline {
    /// A tenant that records to this bucket with the key that may everything from the start; the signer believes it and has tried that.
    pub(crate) async fn tenant_with_own(&self, purpose: &str, own: &Bucket) -> Tenant<'_> {
        let tenant = self.tenant(purpose).await;
        tenant.hand_over(Bucket::KEYS).await;
        let url = own.url();
        self.cli(&[
            "tenant",
            "set",
            &tenant.name,
            "--bucket",
            Bucket::NAME,
            "--endpoint",
            &url,
            "--region",
            Bucket::REGION,
        ])
        .await;
        tenant.until_true("StoreReady").await;
        tenant
    }
}

impl Tenant<'_> {
    /// Writes the Secrets of its bucket, as an operator does.
    pub(crate) async fn hand_over(&self, key: (&str, &str)) {
        for namespace in [
            "moorline-store-put",
            "moorline-store-get",
            "moorline-store-delete",
        ] {
            let secret = store_key_of(&self.name, namespace, key);
            self.moorline.cluster().apply(&secret).await.unwrap();
        }
    }

    /// Waits until this condition of it holds.
    pub(crate) async fn until_true(&self, kind: &str) {
        let holds = |tenant: &Value| (condition(tenant, kind) == Some("True")).then_some(());
        let object = ["tenant", &*self.name];
        let cluster = self.moorline.cluster();
        cluster.until(&object, kind, SOON, holds).await.unwrap();
    }

    /// Waits until what was filmed after `instant` is in the bucket with all before it, and nothing was lost on the way.
    pub(crate) async fn whole_in(&self, own: &Bucket, camera: &Camera, instant: u64) {
        let archive = eventually(
            "recordings that go on, without a hole",
            SOON * 2,
            || async {
                let archive = Archive::of(own, &self.storage, &camera.name);
                let whole = archive.goes_on_after(instant) && archive.uncovered().is_none();
                whole.then_some(archive)
            },
        )
        .await;
        assert_eq!(archive.causes(), Vec::<String>::new(), "{archive:#?}");
        let pictures = archive.pictures(own, camera.number).await;
        assert_in_order(&pictures, camera.number);
    }
}
