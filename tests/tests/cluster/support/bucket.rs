//! The bucket of a test under a name that all tests share: the installation's settings stay, and each test's bucket is empty.

use std::path::{Path, PathBuf};

use moorline_testkit::{
    cluster::{Cluster, Lab},
    fault::{Fault, FaultProxy},
    s3::S3Server,
};
use serde_json::json;

/// Where the Service of the bucket lies.
pub(super) const NAMESPACE: &str = "moorline-test-store";
/// The Service's port.
const PORT: u16 = 9000;

/// The endpoint that the installation is told.
pub(super) fn endpoint() -> String {
    format!("http://bucket.{NAMESPACE}.svc:{PORT}")
}

/// An empty bucket, and a network before it that fails on order.
pub(crate) struct Bucket {
    server: S3Server,
    before: FaultProxy,
}

impl Bucket {
    /// The Service leads to this test's server from now on.
    pub(super) async fn open(cluster: &Cluster, lab: &Lab) -> Self {
        let server = S3Server::start().await.unwrap();
        let before = FaultProxy::start_on(lab.host(), server.address())
            .await
            .unwrap();
        let (ip, port) = (before.address().ip(), before.address().port());
        cluster
            .apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
                // A Service without pods: its address is the test's.
                {
                    "apiVersion": "v1", "kind": "Service",
                    "metadata": {"name": "bucket", "namespace": NAMESPACE},
                    "spec": {"ports": [{"port": PORT}]},
                },
                {
                    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                    "metadata": {
                        "name": "bucket", "namespace": NAMESPACE,
                        "labels": {"kubernetes.io/service-name": "bucket"},
                    },
                    "addressType": "IPv4",
                    "ports": [{"port": port}],
                    "endpoints": [{"addresses": [ip.to_string()]}],
                },
            ]}))
            .await
            .unwrap();
        Self { server, before }
    }

    /// Takes the store away: connections are refused, those that are up break.
    pub(crate) async fn away(&self) {
        self.before.set(Fault::Refuse).await;
    }

    /// Gives it back.
    pub(crate) async fn back(&self) {
        self.before.set(Fault::None).await;
    }

    /// The keys of all objects, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let root = self.server.object_file("");
        let mut keys = Vec::new();
        let mut left = vec![root.clone()];
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(&directory)
                .into_iter()
                .flatten()
                .flatten()
            {
                let path = entry.path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    keys.push(key(&root, &path));
                }
            }
        }
        keys.sort();
        keys
    }

    /// The file of an object.
    pub(crate) fn file(&self, key: &str) -> PathBuf {
        self.server.object_file(key)
    }
}

fn key(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap().display().to_string()
}
