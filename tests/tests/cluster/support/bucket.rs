//! The bucket of a test under a name that all tests share: the installation's settings stay, and each test's bucket is empty. And buckets that are
//! nobody's yet.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

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
    /// Its name.
    pub(crate) const NAME: &str = S3Server::BUCKET;
    /// The key that may everything from the start, and its secret.
    pub(crate) const KEYS: (&str, &str) = (S3Server::ACCESS_KEY, S3Server::SECRET_KEY);
    /// Where it says that it lies.
    pub(crate) const REGION: &str = S3Server::REGION;

    /// The Service leads to this test's server from now on.
    pub(super) async fn open(cluster: &Cluster, lab: &Lab) -> Self {
        let bucket = Self::apart(lab).await;
        serve_as(cluster, "bucket", PORT, bucket.before.address()).await;
        bucket
    }

    /// An empty bucket at this machine's loopback, where no pod comes: of a run on a cluster that records to its caller's.
    pub(super) async fn of_nobody() -> Self {
        let server = S3Server::start().await.unwrap();
        let before = FaultProxy::start(server.address()).await.unwrap();
        Self { server, before }
    }

    /// An empty bucket that no Service leads to.
    pub(crate) async fn apart(lab: &Lab) -> Self {
        Self::reached(S3Server::start().await.unwrap(), lab).await
    }

    /// The same over TLS, with a certificate of the authority that the installation was told.
    pub(crate) async fn with_tls(lab: &Lab) -> Self {
        let name = lab.host().to_string();
        Self::reached(S3Server::start_tls(&name).await.unwrap(), lab).await
    }

    async fn reached(server: S3Server, lab: &Lab) -> Self {
        let before = FaultProxy::start_on(lab.host(), server.address());
        let before = before.await.unwrap();
        Self { server, before }
    }

    /// The Service leads to it at the Service's own port, as long as the returned value lives. A network policy judges by the port of the server behind
    /// a Service, and archivers are let out to the one that the installation was told. It is nobody else's: a lab has addresses of its own.
    pub(crate) async fn at_its_port(&self, cluster: &Cluster) -> FaultProxy {
        let at = SocketAddr::from((cluster.lab().unwrap().host(), PORT));
        let proxy = FaultProxy::start_at(at, self.server.address());
        let proxy = proxy.await.unwrap();
        serve_as(cluster, "bucket", PORT, at).await;
        proxy
    }

    /// Where pods reach it, whatever the installation was told.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.server.scheme(), self.before.address())
    }

    /// Takes the store away: connections are refused, those that are up break.
    pub(crate) async fn away(&self) {
        self.before.set(Fault::Refuse).await;
    }

    /// Lets the store stand still: connections stay open, and nothing answers.
    pub(crate) async fn stands_still(&self) {
        self.before.set(Fault::BlackHole).await;
    }

    /// Gives it back.
    pub(crate) async fn back(&self) {
        self.before.set(Fault::None).await;
    }

    /// From now on this key may everything too.
    pub(crate) fn allow(&self, (key, secret): (&str, &str)) {
        self.server.allow(key, secret);
    }

    /// From now on this key may nothing.
    pub(crate) fn revoke(&self, (key, _): (&str, &str)) {
        self.server.revoke(key);
    }

    /// Whether anybody came with this key.
    pub(crate) fn is_used_with(&self, (key, _): (&str, &str)) -> bool {
        self.server.requests_with(key) > 0
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

/// A Service without pods leads to a server of this test from now on.
pub(super) async fn serve_as(cluster: &Cluster, name: &str, port: u16, server: SocketAddr) {
    cluster
        .apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            {
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"ports": [{"port": port}]},
            },
            {
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "name": name, "namespace": NAMESPACE,
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv4",
                "ports": [{"port": server.port()}],
                "endpoints": [{"addresses": [server.ip().to_string()]}],
            },
        ]}))
        .await
        .unwrap();
}

fn key(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap().display().to_string()
}
