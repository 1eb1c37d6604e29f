//! A tenant of one test: its namespace, its cameras, and what an operator would look at.

use std::{collections::BTreeMap, process::Stdio, sync::Mutex, time::Duration};

use moorline_simcam::SourceConfig;
use moorline_testkit::{
    child::Child,
    cluster::{Namespace, SOON, condition},
};
use serde_json::{Value, json};

use super::{Archive, Camera, Moorline};

/// The quota controller hears of a new kind of resource within half a minute; the first tenant of a run waits for it.
const READY: Duration = Duration::from_secs(90);

/// A tenant. It is deleted with its value; when the test fails its cameras, pods, events and logs are shown.
pub(crate) struct Tenant<'a> {
    pub(super) moorline: &'a Moorline,
    pub(crate) name: String,
    /// `t-<name>`.
    pub(crate) space: Namespace,
    /// What its objects' keys begin with.
    pub(crate) storage: String,
    /// What its pods have said, also those that are gone by now: `kubectl logs -f` of each that was seen.
    logs: Mutex<BTreeMap<String, Child>>,
}

impl Moorline {
    /// A tenant of this test's own, ready.
    pub(crate) async fn tenant(&self, purpose: &str) -> Tenant<'_> {
        self.tenant_with(purpose, json!({})).await
    }

    /// The same with further fields of its spec.
    pub(crate) async fn tenant_with(&self, purpose: &str, more: Value) -> Tenant<'_> {
        let name = format!("{purpose}-{:x}", super::now_us());
        let mut spec = json!({});
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        self.cluster()
            .apply(&json!({
                "apiVersion": "moorline.dev/v1alpha1", "kind": "Tenant",
                "metadata": {"name": name}, "spec": spec,
            }))
            .await
            .unwrap();
        // From here on it is deleted whatever happens.
        let mut tenant = Tenant {
            moorline: self,
            space: self.cluster().namespace_of_others(format!("t-{name}")),
            storage: String::new(),
            logs: Mutex::default(),
            name,
        };
        let ready = |tenant: &Value| {
            let id = tenant["status"]["storageId"].as_str()?.to_owned();
            (condition(tenant, "Ready") == Some("True")).then_some(id)
        };
        let object = ["tenant", &*tenant.name];
        let found = self.cluster().until(&object, "Ready", READY, ready).await;
        tenant.storage = found.unwrap();
        tenant
    }
}

impl Tenant<'_> {
    /// A new camera with path `/main`, whose pictures are stamped with `number`. It does not call yet.
    pub(crate) async fn camera(&self, name: &str, number: u32) -> Camera {
        Camera::new(self, name, number, 300_000).await
    }

    /// A new camera with these streams, of which its resource says what `spec` says.
    pub(crate) async fn camera_filming(
        &self,
        name: &str,
        spec: Value,
        films: SourceConfig,
    ) -> Camera {
        Camera::filming(self, name, spec, films).await
    }

    /// A new camera of another class, which films `bitrate` bits a second.
    pub(crate) async fn camera_of(
        &self,
        class: &str,
        name: &str,
        number: u32,
        bitrate: u64,
    ) -> Camera {
        let camera = Camera::new(self, name, number, bitrate).await;
        let patch = json!({"spec": {"class": class}}).to_string();
        let words = ["patch", "camera", name, "--type=merge", "-p", &patch];
        self.space.kubectl(&words).await.unwrap();
        camera
    }

    /// A camera's resource, once `pick` takes a value from it.
    pub(crate) async fn until<T>(
        &self,
        camera: &Camera,
        what: &str,
        pick: impl FnMut(&Value) -> Option<T>,
    ) -> T {
        let object = format!("camera/{}", camera.name);
        let seen = self.space.until(&object, what, SOON, pick).await;
        seen.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until a camera's tunnel is claimed, its relay may be read and its archiver is there to record; gives the resource.
    pub(crate) async fn until_recorded(&self, camera: &Camera) -> Value {
        self.until(camera, "recorded", |camera| {
            let all = [
                "Connected",
                "WorkloadsReady",
                "RelayReady",
                "Archiving",
                "Ready",
            ];
            let true_ = |kind: &&str| condition(camera, kind) == Some("True");
            all.iter().all(true_).then(|| camera.clone())
        })
        .await
    }

    /// Waits until nothing of a camera runs and nobody holds it.
    pub(crate) async fn until_gone(&self, camera: &Camera) -> Value {
        self.until(camera, "nobody's, without pods", |camera| {
            let absent = camera["status"]["session"]["mon"].is_null();
            (absent && condition(camera, "Connected") == Some("False")).then(|| camera.clone())
        })
        .await
    }

    /// Waits until this replica holds a camera, under this generation.
    pub(crate) async fn until_held(&self, camera: &Camera, generation: u64, mon: &str) {
        self.until(camera, "the newer session", |camera| {
            let session = &camera["status"]["session"];
            (session["generation"] == generation && session["mon"] == mon).then_some(())
        })
        .await;
    }

    /// Waits until none of a camera's pods is there.
    pub(crate) async fn until_without_pods(&self, camera: &Camera) {
        moorline_testkit::eventually("its pods' end", SOON, || async {
            self.pods(camera).await.is_empty().then_some(())
        })
        .await;
    }

    /// Waits until the condition WorkloadsReady does not hold for this reason; gives its message.
    pub(crate) async fn until_told(&self, camera: &Camera, reason: &str) -> String {
        self.until(camera, reason, |camera| {
            let all = camera["status"]["conditions"].as_array()?;
            let ready = all.iter().find(|one| one["type"] == "WorkloadsReady")?;
            let told = ready["status"] == "False" && ready["reason"] == reason;
            told.then(|| ready["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }

    /// Waits for an Event of the camera with this reason.
    pub(crate) async fn until_event(&self, camera: &Camera, reason: &str) -> Value {
        self.until_event_of(camera, &[reason]).await
    }

    /// Waits for an Event of the camera with one of these reasons.
    pub(crate) async fn until_event_of(&self, camera: &Camera, reasons: &[&str]) -> Value {
        moorline_testkit::eventually("the Event", SOON, || async {
            let list = self.space.get(&["events.events.k8s.io"]).await.unwrap();
            let items = list["items"].as_array()?;
            let ours = |event: &&Value| {
                let reason = event["reason"].as_str().unwrap_or_default();
                event["regarding"]["name"] == camera.name.as_str() && reasons.contains(&reason)
            };
            items.iter().find(ours).cloned()
        })
        .await
    }

    /// Waits until the container of a pod runs again.
    pub(crate) async fn until_restarted(&self, camera: &Camera, pod: &Pod) {
        // A probe gives up after a minute and a half, and the process gets a quarter of one to end by itself.
        moorline_testkit::eventually("the container runs again", SOON * 3, || async {
            let pods = self.pods(camera).await;
            pods.iter()
                .any(|now| now.uid == pod.uid && now.restarts > pod.restarts)
                .then_some(())
        })
        .await;
    }

    /// Keeps what a pod says from now on.
    fn follow(&self, pod: &Pod) {
        let mut logs = self.logs.lock().unwrap();
        if pod.deleting || logs.contains_key(&pod.name) {
            return;
        }
        let mut command = self.space.cluster().command();
        command.args(["-n", self.space.name(), "logs", "-f", &pod.name]);
        let child = Child::spawn("kubectl logs", command).unwrap();
        logs.insert(pod.name.clone(), child);
    }

    /// The pods of a camera, those that are being deleted too.
    pub(crate) async fn pods(&self, camera: &Camera) -> Vec<Pod> {
        let label = format!("moorline.dev/camera={}", camera.name);
        let list = self.space.get(&["pods", "-l", &label]).await.unwrap();
        let items = list["items"].as_array().into_iter().flatten();
        let mut pods: Vec<Pod> = items.filter_map(Pod::of).collect();
        pods.sort_by(|a, b| (&a.role, &a.name).cmp(&(&b.role, &b.name)));
        pods.iter().for_each(|pod| self.follow(pod));
        pods
    }

    /// Its relay and its archiver: one each, not being deleted.
    pub(crate) async fn pair(&self, camera: &Camera) -> [Pod; 2] {
        let mut pods = self.pods(camera).await;
        pods.retain(|pod| !pod.deleting);
        let roles: Vec<&str> = pods.iter().map(|pod| pod.role.as_str()).collect();
        assert_eq!(roles, ["archiver", "relay"], "{pods:?}");
        let [archiver, relay] = <[Pod; 2]>::try_from(pods).unwrap();
        [relay, archiver]
    }

    /// What of a camera is in the bucket.
    pub(crate) fn archive(&self, camera: &Camera) -> Archive {
        Archive::of(&self.moorline.bucket, &self.storage, &camera.name)
    }

    /// Waits until the archive of a camera is as wanted.
    pub(crate) async fn until_archived(
        &self,
        camera: &Camera,
        what: &str,
        mut wanted: impl FnMut(&Archive) -> bool,
    ) -> Archive {
        moorline_testkit::eventually(what, SOON, || {
            let archive = self.archive(camera);
            let found = wanted(&archive).then_some(archive);
            async { found }
        })
        .await
    }

    /// Waits until the first segment of a camera is in the bucket.
    pub(crate) async fn until_stored(&self, camera: &Camera) -> Archive {
        self.until_archived(camera, "a segment", |archive| !archive.segments.is_empty())
            .await
    }

    /// Waits until a segment that begins after `instant` (microseconds) is in the bucket, and everything before it: several uploads are under way at
    /// once, and the newest may overtake what waits in the spool.
    pub(crate) async fn until_goes_on(&self, camera: &Camera, instant: u64) -> Archive {
        self.until_archived(camera, "recordings that go on, without a hole", |archive| {
            archive.goes_on_after(instant) && archive.uncovered().is_none()
        })
        .await
    }

    /// Checks what is stored once recording has gone on after `instant`: complete or explained, by these causes alone.
    pub(crate) async fn goes_on(&self, camera: &Camera, instant: u64, causes: &[&str]) -> Archive {
        let archive = self.until_goes_on(camera, instant).await;
        archive.pictures(&self.moorline.bucket, camera.number).await;
        let mut strange = archive.causes();
        strange.retain(|cause| !causes.contains(&cause.as_str()));
        assert_eq!(strange, Vec::<String>::new(), "{archive:#?}");
        archive
    }
}

/// A pod of a camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) role: String,
    pub(crate) node: String,
    pub(crate) restarts: i64,
    pub(crate) deleting: bool,
}

impl Pod {
    fn of(pod: &Value) -> Option<Self> {
        let metadata = &pod["metadata"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            name: text(&metadata["name"])?,
            uid: text(&metadata["uid"])?,
            role: text(&metadata["labels"]["moorline.dev/role"])?,
            node: text(&pod["spec"]["nodeName"]).unwrap_or_default(),
            restarts: pod["status"]["containerStatuses"][0]["restartCount"]
                .as_i64()
                .unwrap_or_default(),
            deleting: !metadata["deletionTimestamp"].is_null(),
        })
    }
}

impl Drop for Tenant<'_> {
    fn drop(&mut self) {
        let space = self.space.name().to_owned();
        let kubectl = |arguments: &[&str]| {
            let mut command = self.moorline.cluster().command().into_std();
            command.arg("--request-timeout=10s").args(arguments);
            command.stdin(Stdio::null());
            command
        };
        if std::thread::panicking() {
            for arguments in [
                &["-n", &space, "get", "cameras", "-o", "wide"][..],
                &["-n", &space, "get", "cameras", "-o", "yaml"],
                &[
                    "-n",
                    "moorline-system",
                    "logs",
                    "-l",
                    "app.kubernetes.io/name=moorline",
                    "--prefix",
                    "--since=3m",
                    "--tail=200",
                ],
                &["-n", "moorline-system", "get", "pods", "-o", "wide"],
            ] {
                println!("$ kubectl {}", arguments.join(" "));
                let _ = kubectl(arguments).status();
            }
            for (name, child) in self.logs.lock().unwrap().iter() {
                let lines = child.lines();
                let last = lines.iter().skip(lines.len().saturating_sub(60));
                println!("$ kubectl logs {name}");
                last.for_each(|line| println!("{line}"));
            }
            println!("bucket: {:#?}", self.moorline.bucket.keys());
        }
        // Its bucket ends with the test, so nothing is waited for: its pods end at once.
        for arguments in [
            &["delete", "tenant", &self.name, "--wait=false"][..],
            &[
                "-n",
                &space,
                "delete",
                "pods",
                "--all",
                "--force",
                "--grace-period=0",
                "--wait=false",
            ],
        ] {
            let mut command = kubectl(arguments);
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}
