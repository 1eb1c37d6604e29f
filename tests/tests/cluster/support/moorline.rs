//! The installation that all tests of a run share: the charts by the real helm, the keys by `moorline keys init`.

use std::{net::IpAddr, net::SocketAddr, path::Path, sync::Mutex, time::Duration};

use moorline_testkit::{
    authority,
    child::run,
    cluster::{Cluster, Namespace, SOON, Store},
    or_skip, skip, temp_dir,
};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Bucket, bucket, door, nodes::Undo};
use moorline_testkit::s3::S3Server;

/// The installation's namespace.
pub(crate) const SYSTEM: &str = "moorline-system";
/// Its release.
const RELEASE: &str = "moorline";
/// Says that the installation was made, and which host keys cameras pin. The label of the namespace that these tests made.
const MARK: &str = "moorline-test-installation";
/// How long the pods of a lost camera wait for it, in this installation.
pub(crate) const GRACE: Duration = Duration::from_secs(8);

/// The installation, and the bucket of this test.
pub(crate) struct Moorline {
    cluster: Cluster,
    /// Its namespace.
    pub(crate) system: Namespace,
    /// Where it records to, empty at the start of each test.
    pub(crate) bucket: Bucket,
    /// The host keys that cameras pin.
    host_keys: Mutex<Vec<String>>,
}

/// A pod of a part of the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) node: String,
    pub(crate) ip: IpAddr,
}

impl Replica {
    /// Where cameras call it.
    pub(crate) fn ssh(&self) -> SocketAddr {
        SocketAddr::new(self.ip, 2222)
    }
}

impl Moorline {
    /// The installation, ready, in the lab, where cameras, bucket and players of a test are servers that pods reach. `None` where there is none and
    /// the test is skipped.
    pub(crate) async fn installed() -> Option<Self> {
        let cluster = crate::cluster().await?;
        let Ok(lab) = cluster.lab() else {
            skip(
                "its cameras, bucket and players are servers of the cluster lab (docs/design/cluster-lab.md says what runs on a cluster of your own)",
            );
            return None;
        };
        let bucket = Bucket::open(&cluster, lab).await;
        Self::ready(cluster, bucket).await
    }

    /// The same on whichever cluster the run has, for tests that ask the API server alone, or let pods do the rest. Without the lab it records to the
    /// bucket that the caller named, and [`Moorline::bucket`] is nobody's.
    pub(crate) async fn anywhere() -> Option<Self> {
        let cluster = crate::cluster().await?;
        if cluster.lab().is_ok() {
            return Self::installed().await;
        }
        or_skip(Store::named())?;
        if is_somebodys(&cluster.namespace_of_others(SYSTEM)).await {
            skip(
                "moorline-system is there already, and not of these tests: they install Moorline themselves",
            );
            return None;
        }
        Self::ready(cluster, Bucket::of_nobody().await).await
    }

    async fn ready(cluster: Cluster, bucket: Bucket) -> Option<Self> {
        let system = cluster.namespace_of_others(SYSTEM);
        let mark = format!("configmap/{MARK}");
        let mut found = system.get(&[&mark]).await.unwrap();
        if found.is_null() {
            install(&cluster, &system).await;
            found = system.get(&[&mark]).await.unwrap();
        }
        let lines = found["data"]["host_keys"].as_str().unwrap();
        let moorline = Self {
            host_keys: Mutex::new(lines.lines().map(str::to_owned).collect()),
            cluster,
            system,
            bucket,
        };
        moorline.until_ready().await;
        Some(moorline)
    }

    /// The cluster.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Runs `moorline --cluster` of whoever administers the cluster, which has to succeed, and gives what it printed.
    pub(crate) async fn cli(&self, words: &[&str]) -> Value {
        let place = temp_dir().unwrap();
        let mut command = Command::new(moorline_tests::moorline());
        command.current_dir(place.path()).args(["--output", "json"]);
        command.args(words).arg("--kubeconfig");
        command.arg(self.cluster.kubeconfig());
        let printed = checked("moorline", command).await;
        serde_json::from_slice(&printed).unwrap_or(Value::Null)
    }

    /// Lines of a camera's `known_hosts` for the server at this address.
    pub(crate) fn known_hosts(&self, host: IpAddr) -> String {
        let keys = self.host_keys.lock().unwrap();
        keys.iter().map(|key| format!("{host} {key}\n")).collect()
    }

    /// From now on cameras that call pin these host keys; gives those that they have pinned so far.
    pub(crate) fn pin(&self, host_keys: Vec<String>) -> Vec<String> {
        std::mem::replace(&mut self.host_keys.lock().unwrap(), host_keys)
    }

    /// Gives the installation other SSH host keys, as an operator does, until the returned value is dropped: then it has its own again, at once, in new
    /// pods. Gives the lines that cameras pin too.
    pub(crate) async fn exchange_host_keys(&self) -> (Vec<String>, Undo) {
        let secret = self.system.get(&["secret/moorline-host-keys"]).await;
        let files = secret.unwrap()["data"].clone();
        assert!(files.is_object(), "no host keys: {files}");
        let usual = json!({"data": files}).to_string();
        let (name, system) = ("moorline-host-keys", self.system.name());
        let patch = ["-n", system, "patch", "secret", name, "--type=merge", "-p"];
        let mut back = patch.to_vec();
        back.push(&usual);
        let mon = "statefulset/moorline-mon";
        let anew = self.later(&["-n", system, "rollout", "restart", mon]);
        let undo = self.later(&back).then(anew);
        let place = temp_dir().unwrap();
        let file = place.path().join("secrets.yaml");
        let made = make_keys(&file).await;
        let text = std::fs::read_to_string(&file).unwrap();
        // One document a Secret, each of them JSON.
        let mut secrets = text
            .split("\n---\n")
            .map(|document| serde_json::from_str::<Value>(document).unwrap());
        let ours = secrets.find(|secret| secret["metadata"]["name"] == name);
        let now = json!({"stringData": ours.unwrap()["stringData"]}).to_string();
        let mut words = patch.to_vec();
        words.push(&now);
        self.cluster.kubectl(&words).await.unwrap();
        (host_keys_of(&made), undo)
    }

    /// Waits until all parts are as the chart wants them.
    pub(crate) async fn until_ready(&self) {
        for object in [
            "statefulset/moorline-mon",
            "deployment/moorline-signer",
            "deployment/moorline-tenants",
            "deployment/moorline-sweeper",
        ] {
            self.system
                .until(object, "ready", SOON * 2, |object| {
                    let wanted = &object["spec"]["replicas"];
                    let status = &object["status"];
                    let current = status["observedGeneration"] == object["metadata"]["generation"];
                    let all = |field: &str| &status[field] == wanted;
                    (current && all("readyReplicas") && all("updatedReplicas")).then_some(())
                })
                .await
                .unwrap();
        }
    }

    /// The pods of `moorline mon` that are not being deleted, by name.
    pub(crate) async fn replicas(&self) -> Vec<Replica> {
        self.parts("mon").await
    }

    /// The same of another part: `signer`, `frontdoor`.
    pub(crate) async fn parts(&self, part: &str) -> Vec<Replica> {
        let label = format!("app.kubernetes.io/component={part}");
        let list = self.system.get(&["pods", "-l", &label]).await.unwrap();
        let replica = |pod: &Value| {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let metadata = &pod["metadata"];
            metadata["deletionTimestamp"].is_null().then_some(())?;
            Some(Replica {
                name: text(&metadata["name"])?,
                uid: text(&metadata["uid"])?,
                node: text(&pod["spec"]["nodeName"])?,
                ip: pod["status"]["podIP"].as_str()?.parse().ok()?,
            })
        };
        let items = list["items"].as_array().into_iter().flatten();
        let mut all: Vec<Replica> = items.filter_map(replica).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Where cameras call whichever replica the cluster chooses.
    pub(crate) async fn ssh_service(&self) -> SocketAddr {
        self.system
            .reach("moorline-mon-ssh", 2222)
            .await
            .unwrap()
            .address
    }

    /// The two of them.
    pub(crate) async fn pair(&self) -> [Replica; 2] {
        let all = self.replicas().await;
        <[Replica; 2]>::try_from(all).unwrap_or_else(|all| panic!("two replicas: {all:?}"))
    }
}

/// The settings with which the charts are installed.
pub(crate) fn lab_values(cluster: &Cluster) -> Value {
    // Apart, since admission policies know the name, whatever its tag is. A digest belongs to the name.
    let image = cluster.image();
    let (name, tag) = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') && !name.contains('@') => (name, tag),
        _ => (image, ""),
    };
    let store = match cluster.lab() {
        Ok(_) => json!({
            "endpoint": bucket::endpoint(), "region": S3Server::REGION, "bucket": S3Server::BUCKET,
            // Of tenants' own, where a test has one with TLS.
            "authority": authority::pem().unwrap(),
        }),
        // Without one no test comes so far.
        Err(_) => {
            let named = Store::named().unwrap();
            json!({"endpoint": named.endpoint, "region": named.region, "bucket": named.bucket})
        }
    };
    // Where names, the database and tenants' buckets are, for policies and the parts.
    let (outside, policies) = match cluster.lab() {
        Ok(lab) => {
            let host = json!([{"ipBlock": {"cidr": format!("{}/32", lab.host())}}]);
            let names = json!([{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]);
            let policies =
                json!({"dns": [{"to": host, "ports": names}], "postgres": [{"to": host}]});
            (format!("{}/32", lab.host()), policies)
        }
        Err(_) => ("10.0.0.0/8".to_owned(), json!({})),
    };
    json!({
        "publicHost": "moorline.test",
        "image": {"name": name, "tag": tag, "pullPolicy": cluster.pull_policy()},
        "mon": {"service": {"type": "ClusterIP"}},
        "store": store,
        "sweeper": {"secret": "moorline-store-delete"},
        // Buckets of tenants' own are the test's too.
        "tenants": {"ownStores": {"private": [outside], "http": true}},
        "networkPolicies": policies,
        "frontdoor": {"enabled": true, "service": {"type": "NodePort"}},
        "people": {"postgres": {"tls": "off"}},
        "cameras": {
            "grace": format!("{}s", GRACE.as_secs()),
            // What a test leaves behind ends soon, although its bucket is gone.
            "drainPatience": "3m",
            // Of cameras that are left to it, which are one test's.
            "uplink": {"after": "2s", "back": "5s"},
            "archiver": {"segment": "5s", "spool": "64Mi"},
        },
    })
}

/// Waits until the API server takes resources of this definition.
pub(crate) async fn established(cluster: &Cluster, definition: &str) {
    let resource = format!("crd/{definition}");
    let words = [
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        &resource,
    ];
    cluster.kubectl(&words).await.unwrap();
}

/// Whether the installation's namespace is there and none of these tests made it.
async fn is_somebodys(system: &Namespace) -> bool {
    let object = format!("namespace/{SYSTEM}");
    let found = system.get(&[&object]).await.unwrap();
    !found.is_null() && found["metadata"]["labels"][MARK].is_null()
}

async fn install(cluster: &Cluster, system: &Namespace) {
    let key = |name: &str| match cluster.lab() {
        Ok(_) => store_key(name, SYSTEM),
        Err(_) => {
            let named = Store::named().unwrap();
            store_key_of(name, SYSTEM, (&named.access_key, &named.secret_key))
        }
    };
    cluster
        .apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {
                    "name": SYSTEM,
                    "labels": {"pod-security.kubernetes.io/enforce": "restricted", MARK: "true"},
                },
            },
            key("moorline-store-put"),
            key("moorline-store-get"),
            key("moorline-store-delete"),
            {
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": "moorline-postgres", "namespace": SYSTEM},
                "stringData": {"url": door::people()},
            },
        ]}))
        .await
        .unwrap();
    let place = temp_dir().unwrap();
    let secrets = place.path().join("secrets.yaml");
    let made = make_keys(&secrets).await;
    let secrets = secrets.display().to_string();
    cluster.kubectl(&["apply", "-f", &secrets]).await.unwrap();
    let file = place.path().join("values.json");
    std::fs::write(&file, lab_values(cluster).to_string()).unwrap();
    helm(cluster, "moorline-crds", &[]).await;
    for kind in ["cameras", "cameraclasses", "tenants"] {
        established(cluster, &format!("{kind}.moorline.dev")).await;
    }
    let file = file.display().to_string();
    helm(
        cluster,
        RELEASE,
        &["--namespace", SYSTEM, "--values", &file],
    )
    .await;
    // Front doors are there while a test has a database for them.
    let none = ["scale", door::DEPLOYMENT, "--replicas=0"];
    system.kubectl(&none).await.unwrap();
    let lines = host_keys_of(&made);
    system
        .apply(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MARK},
            "data": {"host_keys": lines.join("\n")},
        }))
        .await
        .unwrap();
}

/// Makes the Secrets of an installation, into a file; gives what was printed.
async fn make_keys(file: &Path) -> Value {
    let mut keys = Command::new(moorline_tests::moorline());
    keys.args(["--output", "json", "keys", "init", "--namespace", SYSTEM])
        .args(["--release", RELEASE, "--out"])
        .arg(file);
    serde_json::from_slice(&checked("moorline keys init", keys).await).unwrap()
}

/// What cameras pin, of what `moorline keys init` printed.
fn host_keys_of(made: &Value) -> Vec<String> {
    let lines = made["host_keys"].as_array().unwrap().iter();
    let lines = lines.map(|line| line.as_str().unwrap().to_owned());
    lines.collect()
}

/// The Secret with a key of a test's own bucket.
fn store_key(name: &str, namespace: &str) -> Value {
    store_key_of(name, namespace, Bucket::KEYS)
}

/// The same with another key, and its secret.
pub(crate) fn store_key_of(name: &str, namespace: &str, (key, secret): (&str, &str)) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {"access-key": key, "secret-key": secret},
    })
}

/// Installs a chart of the repository, or changes what is installed.
async fn helm(cluster: &Cluster, chart: &str, more: &[&str]) {
    let mut command = Command::new("helm");
    command
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(["upgrade", "--install", chart])
        .arg(moorline_tests::repository().join("charts").join(chart))
        .args(more);
    checked("helm", command).await;
}

/// The output of a program that has to succeed.
pub(super) async fn checked(name: &str, command: Command) -> Vec<u8> {
    let output = run(name, command, SOON).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {errors}");
    output.stdout
}
