//! The people of a cluster, and what they did: a front door's API, spoken over `kubectl exec` with the socket that its own commands use.
//!
//! ```text
//! moorline user … --cluster  ┐
//! moorline audit … --cluster ┴ HTTP over pipes ─▶ kubectl exec ─ API server, kubelet ─▶ moorline attach ─▶ the front door's Unix socket
//! ```
//! So whoever may enter the front door's pod administers people and reads the audit, and nobody else: no port, no login and no key of its own.
//! Texts, JSON and errors are made by the same code as against `moorline serve`; a password travels in the body, never among arguments, which an
//! audit log would keep.
//! Alternative: `exec` of the Kubernetes client that is linked in already, which would bring a second WebSocket stack; kubectl is on the desk
//! of whoever installed a cluster.

use std::process::{Output, Stdio};

use anyhow::bail;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use moorline_base::Untrusted;
use moorline_base::error::Hinted;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Command;

use super::choice::OnFrontDoor;

/// Answers are lists of some hundreds of people, or of a thousand entries of the audit.
const LARGEST_ANSWER: usize = 16 << 20;

/// A front door of a cluster.
pub struct Door {
    on: OnFrontDoor,
    typed: String,
}

impl Door {
    /// The one that was chosen. Nothing is asked yet.
    pub fn new(on: OnFrontDoor) -> Self {
        Self {
            typed: on.which.typed(),
            on,
        }
    }

    /// The options by which its cluster was chosen.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// There is no kubectl, it is refused, or no front door runs.
    pub async fn ask(&self, mut request: Request<Full<Bytes>>) -> anyhow::Result<Response<Body>> {
        // The answer's end ends the process in the pod, and with it kubectl.
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let mut kubectl = Command::new("kubectl");
        kubectl
            .args(self.words())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = kubectl.spawn().map_err(|cause| {
            Hinted::new(
                format!("cannot run kubectl: {cause}"),
                "the front door of a cluster is reached by kubectl exec: put kubectl where PATH finds it",
            )
        })?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("kubectl has no pipes");
        };
        let stream = tokio::io::join(output, input);
        let (answer, ended) = tokio::join!(exchange(stream, request), child.wait_with_output());
        let ended = ended?;
        match answer {
            Ok(response) => Ok(response),
            Err(error) if ended.status.success() => Err(error),
            Err(_) => Err(self.failed(&ended)),
        }
    }

    /// What kubectl is told.
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(file) = &self.on.which.kubeconfig {
            words.extend(["--kubeconfig".to_owned(), file.display().to_string()]);
        }
        if let Some(context) = &self.on.which.context {
            words.extend(["--context".to_owned(), context.clone()]);
        }
        words.extend(["--namespace".to_owned(), self.on.namespace.clone()]);
        words
            .extend(["exec", "--stdin", "--quiet", "--pod-running-timeout=20s"].map(str::to_owned));
        words.push(self.deployment());
        words.extend(["--", "moorline", "attach"].map(str::to_owned));
        words
    }

    fn deployment(&self) -> String {
        format!("deployment/{}-frontdoor", self.on.release)
    }

    /// Why there was no answer, in the words of kubectl or of what it ran.
    fn failed(&self, ended: &Output) -> anyhow::Error {
        let errors = String::from_utf8_lossy(&ended.stderr);
        let lines = errors.lines().map(str::trim);
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        let found = lines
            .iter()
            .find(|line| line.starts_with("error:") || line.starts_with("Error from"));
        let line = found.or(lines.last()).copied();
        let line = line.unwrap_or("kubectl says nothing");
        let line = line.strip_prefix("error: ").unwrap_or(line);
        let namespace = &self.on.namespace;
        let hint = if line.contains("NotFound") {
            "frontdoor.enabled of the chart makes one; --namespace and --release name another installation".to_owned()
        } else if line.contains("orbidden") {
            format!("it takes the right to create pods/exec in the namespace {namespace}")
        } else if line.contains("unrecognized subcommand") {
            format!(
                "the front door is older than this program: kubectl -n {namespace} exec {} -- moorline … is typed there",
                self.deployment()
            )
        } else {
            format!("kubectl -n {namespace} get pods tells whether a front door runs")
        };
        let told = Untrusted::new(line);
        Hinted::new(format!("no front door answers: {told}"), hint).into()
    }
}

/// One request over a stream, and its whole answer.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Response<Body>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let asked = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer ended early: {error}"))?;
        let body = Body::from(body.to_bytes());
        Ok::<_, anyhow::Error>(Response::from_parts(head, body))
    };
    // What the connection ends by shows in the answer.
    let (answer, _) = tokio::join!(asked, connection);
    answer
}
