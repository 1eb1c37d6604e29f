//! An API server in memory behind a port, a kubeconfig that names it, and the binary.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use moorline_base::CancellationToken;
use moorline_base::clock::SystemClock;
use moorline_kube::{KubeDirectory, TenantSettings, Tenants};
use moorline_testkit::child::Child;
use serde_json::Value;
use tower::Service as _;

use crate::api::Api;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_moorline");
pub(crate) const CAMERAS: &str = "/apis/moorline.dev/v1alpha1/cameras";
pub(crate) const CONFIGMAPS: &str = "/api/v1/configmaps";
pub(crate) const TENANTS: &str = "/apis/moorline.dev/v1alpha1/tenants";

/// A cluster whose tenants are reconciled.
pub(crate) struct Cluster {
    pub(crate) api: Api,
    pub(crate) directory: tempfile::TempDir,
    stop: CancellationToken,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    #[track_caller]
    pub(crate) fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let out = self.well();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    #[track_caller]
    pub(crate) fn refused(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        self.err
    }
}

/// Runs the binary without a terminal, in `directory`.
pub(crate) async fn run(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = tokio::process::Command::new(BINARY);
    command
        .args(arguments)
        .current_dir(directory)
        .env_remove("KUBECONFIG")
        .env("HOME", directory)
        .stdin(std::process::Stdio::null());
    ended(command).await
}

/// Runs a command to its end.
pub(crate) async fn ended(mut command: tokio::process::Command) -> Ended {
    let patience = moorline_testkit::patience(Duration::from_secs(60));
    let output = tokio::time::timeout(patience, command.output()).await;
    Ended::of(&output.expect("the command ends").unwrap())
}

/// A server on the directory `data` of a place, with these arguments and this environment beside.
pub(crate) async fn serve(place: &Path, more: &[&str], environment: &[(&str, &str)]) -> Child {
    let mut command = tokio::process::Command::new(BINARY);
    command.args(["serve", "--data", "data", "--output", "json"]);
    for listener in ["ssh", "rtsp", "https", "admin"] {
        command.args([&*format!("--listen-{listener}"), "127.0.0.1:0"]);
    }
    command
        .args(more)
        .envs(environment.iter().copied())
        .current_dir(place);
    let server = Child::spawn("moorline serve", command).unwrap();
    let ready = server.wait_for_line("\"page\"", Duration::from_secs(60));
    ready.await.unwrap();
    server
}

impl Cluster {
    /// With what the operator told: public hosts, ports, host keys.
    pub(crate) async fn new(known_hosts: &str) -> Self {
        let api = Api::new(|| moorline_base::Clock::wall_ms(&SystemClock));
        let stop = CancellationToken::new();
        let clock = SystemClock::shared();
        let directory = KubeDirectory::new(api.client(), Arc::clone(&clock));
        let settings = TenantSettings {
            namespace: "moorline-system".into(),
            mon_account: "moorline-mon".into(),
            mon_role: "moorline-mon-workloads".into(),
            owner_role: "moorline-tenant".into(),
            config: [
                ("public_host", "cctv.example.com"),
                ("public_viewer_host", "watch.example.com"),
                ("ssh_port", "2200"),
                ("rtsp_port", "554"),
                ("known_hosts", known_hosts),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
            outside: moorline_core::outside::Outside::default(),
            sweeper: true,
            dns: Vec::new(),
            store_endpoint: None,
        };
        let tenants = Tenants::new(directory.clone(), settings, clock);
        let cancel = stop.clone();
        tokio::spawn(async move { directory.run(cancel).await });
        let cancel = stop.clone();
        tokio::spawn(async move { tenants.run(cancel).await });
        let cluster = Self {
            directory: tempfile::tempdir().unwrap(),
            api,
            stop,
        };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "operator",
            "clusters": [{"name": "memory", "cluster": {"server": format!("http://{}", listener.local_addr().unwrap())}}],
            "users": [{"name": "somebody", "user": {"token": "t"}}],
            "contexts": [
                {"name": "operator", "context": {"cluster": "memory", "user": "somebody"}},
                {"name": "owner", "context": {"cluster": "memory", "user": "somebody", "namespace": "t-acme"}},
            ],
        });
        std::fs::write(cluster.kubeconfig(), kubeconfig.to_string()).unwrap();
        // As the chart makes it.
        let labels = serde_json::json!({"app.kubernetes.io/name": "moorline", "app.kubernetes.io/component": "config"});
        let settings = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "moorline-config", "namespace": "moorline-system", "labels": labels}, "data": {"moorline.toml": ""},
        });
        cluster.api.put(CONFIGMAPS, settings);
        let (api, cancel) = (cluster.api.clone(), cluster.stop.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = tokio::select! {
                    () = cancel.cancelled() => return,
                    accepted = listener.accept() => accepted.unwrap(),
                };
                let api = api.clone();
                tokio::spawn(async move {
                    let service =
                        hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
                            let mut api = api.clone();
                            async move {
                                let (head, body) = request.into_parts();
                                let bytes = body.collect().await.map(|body| body.to_bytes());
                                let body =
                                    kube::client::Body::from(bytes.unwrap_or_default().to_vec());
                                Ok::<_, Infallible>(
                                    api.call(hyper::Request::from_parts(head, body))
                                        .await
                                        .unwrap(),
                                )
                            }
                        });
                    let served = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    let _ = served.await;
                });
            }
        });
        cluster
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Runs a command on it, by the operator's context unless another is named.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        let mut all = arguments.to_vec();
        all.extend(["--kubeconfig", "kubeconfig"]);
        run(self.directory.path(), &all).await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
