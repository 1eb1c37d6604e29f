//! What changes under live cameras: the image and the settings of their pods, a spool that is full, parts of the system that die.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use moorline_testkit::{cluster::SOON, or_skip};
use serde_json::{Value, json};

use crate::support::{
    Camera, Moorline, Pod, Tenant, assert_in_order, longest_silence, merge, now_us,
};

/// What going over to pods that stand by may cost, with room for a busy machine: a second or two is the design's.
const CUT: Duration = Duration::from_secs(10);

/// A class of one test's, with the settings that the others have and some of its own. It goes with this value.
struct Class<'a> {
    moorline: &'a Moorline,
    name: String,
}

impl<'a> Class<'a> {
    async fn new(moorline: &'a Moorline, more: Value) -> Self {
        let name = format!("own-{:x}", now_us());
        let class = Self { moorline, name };
        class.set(more).await;
        class
    }

    /// Changes it, as an upgrade does.
    async fn set(&self, more: Value) {
        let cluster = self.moorline.cluster();
        let words = ["get", "cameraclass", "standard", "-o", "json"];
        let mut spec = cluster.json(&words).await.unwrap()["spec"].clone();
        merge(&mut spec, more);
        let class = json!({
            "apiVersion": "moorline.dev/v1alpha1", "kind": "CameraClass",
            "metadata": {"name": self.name}, "spec": spec,
        });
        cluster.apply(&class).await.unwrap();
    }

    /// A tenant whose cameras may be of it.
    async fn tenant(&self, purpose: &str) -> Tenant<'a> {
        let classes = json!({"classes": ["standard", self.name]});
        self.moorline.tenant_with(purpose, classes).await
    }
}

impl Drop for Class<'_> {
    fn drop(&mut self) {
        let mut command = self.moorline.cluster().command().into_std();
        command.args(["--request-timeout=10s", "delete", "cameraclass", &self.name]);
        command
            .arg("--wait=false")
            .stdin(std::process::Stdio::null());
        let _ = command.stdout(std::process::Stdio::null()).status();
    }
}

/// The images that the containers of a camera's pods really run: digests, whatever a pod calls them.
async fn digests(tenant: &Tenant<'_>, camera: &Camera) -> BTreeSet<String> {
    let label = format!("moorline.dev/camera={}", camera.name);
    let list = tenant.space.get(&["pods", "-l", &label]).await.unwrap();
    let pods = list["items"].as_array().into_iter().flatten();
    let of = |pod: &Value| {
        let id = pod["status"]["containerStatuses"][0]["imageID"].as_str()?;
        Some(id.to_owned())
    };
    pods.filter_map(of).collect()
}

/// Another version of the image: each camera gets new pods while it films.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_rolls_through_live_cameras_and_costs_each_one_cut() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let Some(lab) = or_skip(moorline.cluster().lab()) else {
        return;
    };
    let Some(next) = or_skip(lab.next_image().await) else {
        return;
    };
    let class = Class::new(&moorline, json!({})).await;
    let tenant = class.tenant("rolls").await;
    let [first, second] = moorline.pair().await;
    let mut cameras = Vec::new();
    for (name, number, replica) in [
        ("yard", 241, &first),
        ("gate", 242, &second),
        ("hall", 243, &first),
    ] {
        let camera = tenant.camera_of(&class.name, name, number, 300_000).await;
        let call = camera.call(&moorline, replica);
        cameras.push((camera, call));
    }
    let mut before = Vec::new();
    let mut images = BTreeSet::new();
    for (camera, _) in &cameras {
        tenant.until_recorded(camera).await;
        tenant.until_stored(camera).await;
        before.push(tenant.pair(camera).await);
        images.extend(digests(&tenant, camera).await);
    }
    assert_eq!(images.len(), 1, "all run one image: {images:?}");

    let changed = now_us();
    class.set(json!({"image": next})).await;
    let replaced = cameras.iter().zip(&before).map(|((camera, _), before)| {
        moorline_testkit::eventually("both pods are new", SOON * 3, || async {
            let now = tenant.pods(camera).await;
            let new = |pod: &&Pod| before.iter().all(|old| old.uid != pod.uid);
            (now.len() == 2 && now.iter().filter(new).count() == 2).then_some(())
        })
    });
    join_all(replaced).await;
    for (camera, _) in &cameras {
        tenant.until_recorded(camera).await;
        let now = digests(&tenant, camera).await;
        assert!(
            now.len() == 1 && now.is_disjoint(&images),
            "another image, before {images:?}: {now:?}"
        );
        let archive = tenant.goes_on(camera, now_us(), &["restart"]).await;
        let pictures = archive.pictures(&moorline.bucket, camera.number).await;
        let missing = longest_silence(&pictures, changed);
        println!(
            "{} rolled over: missing {missing:?}, {:?}",
            camera.name,
            archive.causes()
        );
        assert!(missing < CUT, "{missing:?}: {archive:#?}");
    }
}

/// The oldest of what waits is given up, with its gap; the kubelet never evicts the pod; what is newer is complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_full_gives_up_the_oldest_and_keeps_its_pod() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let class = Class::new(&moorline, json!({"archiver": {"spool": "64Mi"}})).await;
    let tenant = class.tenant("full").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera_of(&class.name, "yard", 251, 12_000_000).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    tenant.until_stored(&yard).await;
    let pods = tenant.pair(&yard).await;
    moorline.bucket.away().await;
    // A minute of it is half as much again as the spool holds.
    yard.filmed(1_200).await;
    // Told while something can still be done, and not as a store that is merely away.
    let event = tenant.until_event(&yard, "SpoolFull").await;
    let note = event["note"].as_str().unwrap_or_default();
    assert!(note.contains("raise archiver.spool"), "{event:#}");
    let archiving = |camera: &Value| {
        let all = camera["status"]["conditions"].as_array()?;
        let found = all.iter().find(|one| one["type"] == "Archiving")?;
        Some([found["status"].clone(), found["reason"].clone()])
    };
    let told = |camera: &Value| (archiving(camera)? == ["False", "SpoolFull"]).then_some(());
    tenant.until(&yard, "the condition", told).await;
    let back = now_us();
    moorline.bucket.back().await;
    let archive = tenant.goes_on(&yard, back, &["spool_full"]).await;
    assert!(
        archive.causes().contains(&"spool_full".to_owned()),
        "{archive:#?}"
    );
    // The last seconds before the store came back were kept whole.
    let mut pictures = archive.pictures(&moorline.bucket, yard.number).await;
    pictures.retain(|stamp| stamp.sent_us + 10_000_000 > back);
    assert_in_order(&pictures, yard.number);
    assert_eq!(tenant.pair(&yard).await, pods, "no pod was evicted");
    // By itself; of one condition there is at most one word a minute.
    let well = |camera: &Value| (archiving(camera)?[0] == "True").then_some(());
    let object = "camera/yard";
    let well = tenant
        .space
        .until(object, "it archives again", SOON * 2, well);
    well.await.unwrap();
}

/// `kill -9` of every part that is not a camera's own, one kind after the other.
#[tokio::test(flavor = "multi_thread")]
async fn parts_that_die_come_back_and_cost_no_picture() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let tenant = moorline.tenant("parts-die").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 261).await;
    let _call = yard.call(&moorline, &first);
    tenant.until_recorded(&yard).await;
    tenant.until_stored(&yard).await;
    let pods = tenant.pair(&yard).await;
    for part in ["signer", "tenants", "sweeper"] {
        let label = format!("app.kubernetes.io/component={part}");
        let list = moorline.system.get(&["pods", "-l", &label]).await.unwrap();
        let list = list["items"].as_array().unwrap().clone();
        assert!(!list.is_empty(), "{part}");
        for pod in &list {
            let (node, uid) = (&pod["spec"]["nodeName"], &pod["metadata"]["uid"]);
            let (node, uid) = (node.as_str().unwrap(), uid.as_str().unwrap());
            moorline.signal(node, uid, "KILL").await;
        }
        let killed = now_us();
        moorline.until_ready().await;
        let archive = tenant.goes_on(&yard, killed, &[]).await;
        let pictures = archive.pictures(&moorline.bucket, yard.number).await;
        assert_in_order(&pictures, yard.number);
    }
    // What they do is done again: a tenant is made, a camera of it recorded.
    let other = moorline.tenant("after").await;
    let gate = other.camera("gate", 262).await;
    let _gate = gate.call(&moorline, &first);
    other.until_stored(&gate).await;
    assert_eq!(tenant.pair(&yard).await, pods);
}
