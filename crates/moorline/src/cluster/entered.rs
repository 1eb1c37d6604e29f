//! Pods of an installation that are entered: the API of a front door or of a replica of `moorline mon`, spoken over `kubectl exec` with the socket that
//! its own commands use.
//!
//! ```text
//! moorline user … --cluster            ┐
//! moorline audit … --cluster           ┤ HTTP over pipes ─▶ kubectl exec ─ API server, kubelet ─▶ moorline attach ─▶ the Unix socket of the process there
//! moorline camera pending … --cluster  ┘
//! ```
//! So whoever may enter a front door's pod administers people and reads the audit, whoever may enter those of `mon` sees who was refused, speaks to
//! cameras' agents and reaches their own pages, and nobody else: no port, no login and no key of its own. Texts, JSON and errors are made by the same code as against `moorline
//! serve`; a password travels in the body, never among arguments, which an audit log would keep.
//! Alternative: `exec` of the Kubernetes client that is linked in already, which would bring a second WebSocket stack; kubectl is on the desk
//! of whoever installed a cluster.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::bail;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use moorline_base::Untrusted;
use moorline_base::error::Hinted;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, Join};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::choice::{Installation, OnFrontDoor, Which};

/// Answers are lists of some hundreds of people, or of a thousand entries of the audit.
const LARGEST_ANSWER: usize = 16 << 20;
/// What kubectl says on its standard error is a line or two; whoever runs in the pod can say more.
const MOST_SAID: usize = 64 << 10;
/// A replica answers from memory, so one that stands still is given up after this; `--pod-running-timeout` is part of it. A front door may have to
/// read a bucket.
const REPLICA_ANSWERS: Duration = Duration::from_secs(30);

/// Whose pod it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Any front door.
    FrontDoor,
    /// The replica of `moorline mon` of this name.
    Replica(String),
}

/// A process of an installation.
pub struct Entered {
    which: Which,
    at: Installation,
    part: Part,
    typed: String,
}

impl Entered {
    /// A front door. Nothing is asked yet.
    pub fn front_door(on: OnFrontDoor) -> Self {
        Self::new(on.which, on.at, Part::FrontDoor)
    }

    /// The replica of this name. Nothing is asked yet.
    pub fn replica(which: Which, at: Installation, name: String) -> Self {
        Self::new(which, at, Part::Replica(name))
    }

    fn new(which: Which, at: Installation, part: Part) -> Self {
        Self {
            typed: which.typed(),
            which,
            at,
            part,
        }
    }

    /// The options by which its cluster was chosen.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// There is no kubectl, it is refused, no such process runs, or a replica does not answer.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Body>> {
        let Part::Replica(name) = &self.part else {
            return self.exec(request).await;
        };
        let answered = tokio::time::timeout(REPLICA_ANSWERS, self.exec(request)).await;
        answered.unwrap_or_else(|_| {
            let what = format!(
                "{name} does not answer within {} s",
                REPLICA_ANSWERS.as_secs()
            );
            Err(Hinted::new(what, self.look()).into())
        })
    }

    async fn exec(&self, mut request: Request<Full<Bytes>>) -> anyhow::Result<Response<Body>> {
        // The answer's end ends the process in the pod, and with it kubectl.
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let (child, stream) = self.enter()?;
        let (answer, ended) = tokio::join!(exchange(stream, request), ended(child));
        let ended = ended?;
        match answer {
            Ok(response) => Ok(response),
            Err(error) if ended.status.success() => Err(error),
            Err(_) => Err(self.failed(&ended)),
        }
    }

    /// Sends a request that is answered by a stream, which lives until one of its sides ends it.
    ///
    /// # Errors
    /// As [`Entered::ask`].
    pub async fn open(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Body>> {
        let (child, stream) = self.enter()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection.with_upgrades());
        match sender.send_request(request).await {
            Ok(response) => {
                // It ends with its standard input, which the stream holds.
                tokio::spawn(ended(child));
                Ok(response.map(Body::new))
            }
            Err(error) => {
                connection.abort();
                let ended = ended(child).await?;
                match ended.status.success() {
                    true => Err(error.into()),
                    false => Err(self.failed(&ended)),
                }
            }
        }
    }

    /// Runs the command in the pod, and gives both its ends as one stream.
    fn enter(&self) -> anyhow::Result<(Child, Join<ChildStdout, ChildStdin>)> {
        let mut kubectl = kubectl(&self.which, &self.at);
        kubectl
            .args(["exec", "--stdin", "--quiet", "--pod-running-timeout=20s"])
            .args([&*self.object(), "--", "moorline", "attach"])
            .stdin(Stdio::piped());
        let mut child = kubectl.spawn().map_err(missing)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("kubectl has no pipes");
        };
        Ok((child, tokio::io::join(output, input)))
    }

    /// What kubectl enters.
    fn object(&self) -> String {
        match &self.part {
            Part::FrontDoor => format!("deployment/{}-frontdoor", self.at.release),
            Part::Replica(name) => format!("pod/{name}"),
        }
    }

    /// Why there was no answer, in the words of kubectl or of what it ran.
    fn failed(&self, ended: &Ended) -> anyhow::Error {
        let line = reason(ended);
        let namespace = &self.at.namespace;
        let (who, missing) = match &self.part {
            Part::FrontDoor => (
                "no front door answers".to_owned(),
                "frontdoor.enabled of the chart makes one; --namespace and --release name another installation",
            ),
            Part::Replica(name) => (
                format!("{name} does not answer"),
                "it has gone meanwhile: try again",
            ),
        };
        let hint = if line.contains("NotFound") {
            missing.to_owned()
        } else if line.contains("orbidden") {
            forbidden(namespace)
        } else if line.contains("unrecognized subcommand") || self.takes_none(&line) {
            self.older()
        } else {
            self.look()
        };
        Hinted::new(format!("{who}: {line}"), hint).into()
    }

    fn look(&self) -> String {
        format!(
            "kubectl -n {} get pods tells whether it runs",
            self.at.namespace
        )
    }

    /// Whether it is a replica of before, which takes no commands.
    fn takes_none(&self, line: &str) -> bool {
        matches!(self.part, Part::Replica(_)) && line.starts_with("no server runs on")
    }

    /// What to do where the process knows less than this program.
    fn older(&self) -> String {
        let (namespace, object) = (&self.at.namespace, self.object());
        match self.part {
            Part::FrontDoor => format!(
                "the front door is older than this program: kubectl -n {namespace} exec {object} -- moorline … is typed there"
            ),
            Part::Replica(_) => format!(
                "the replica is older than this program: kubectl -n {namespace} logs {object} tells who was refused and why"
            ),
        }
    }
}

/// The names of the replicas of `moorline mon` that run.
///
/// # Errors
/// There is no kubectl, it is refused, or none runs.
pub async fn replicas(which: &Which, at: &Installation) -> anyhow::Result<Vec<String>> {
    let selector = format!(
        "--selector=app.kubernetes.io/instance={},app.kubernetes.io/component=mon",
        at.release
    );
    let mut kubectl = kubectl(which, at);
    kubectl
        .args(["get", "pods", &selector])
        .args(["--field-selector=status.phase=Running", "--output=name"])
        .arg("--request-timeout=20s")
        .stdin(Stdio::null());
    let mut child = kubectl.spawn().map_err(missing)?;
    let names = child.stdout.take();
    let (names, ended) = tokio::join!(bounded(names, LARGEST_ANSWER), ended(child));
    let ended = ended?;
    let namespace = &at.namespace;
    if !ended.status.success() {
        let line = reason(&ended);
        let hint = match line.contains("orbidden") {
            true => format!("{}, and to list its pods", forbidden(namespace)),
            false => "check --kubeconfig and --context: kubectl get pods has to work".to_owned(),
        };
        bail!(Hinted::new(
            format!("the replicas of mon are not known: {line}"),
            hint
        ));
    }
    let printed = String::from_utf8_lossy(&names);
    let names = printed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pod/"));
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.is_empty() {
        bail!(Hinted::new(
            format!("no replica of mon runs in the namespace {namespace}"),
            "--namespace and --release name another installation"
        ));
    }
    Ok(names)
}

/// kubectl, told which cluster and which namespace.
fn kubectl(which: &Which, at: &Installation) -> Command {
    let mut kubectl = Command::new("kubectl");
    if let Some(file) = &which.kubeconfig {
        kubectl.arg("--kubeconfig").arg(file);
    }
    if let Some(context) = &which.context {
        kubectl.args(["--context", context]);
    }
    kubectl
        .args(["--namespace", &at.namespace])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    kubectl
}

fn missing(cause: std::io::Error) -> Hinted {
    Hinted::new(
        format!("cannot run kubectl: {cause}"),
        "the pods of an installation are reached by kubectl exec: put kubectl where PATH finds it",
    )
}

fn forbidden(namespace: &str) -> String {
    format!("it takes the right to create pods/exec in the namespace {namespace}")
}

/// How kubectl ended, and the beginning of what it said.
struct Ended {
    status: ExitStatus,
    said: Vec<u8>,
}

/// Waits until kubectl has ended.
async fn ended(mut child: Child) -> std::io::Result<Ended> {
    let errors = child.stderr.take();
    let (said, status) = tokio::join!(bounded(errors, MOST_SAID), child.wait());
    let status = status?;
    Ok(Ended { status, said })
}

/// The beginning of what somebody writes. The rest is read and let go, so that they never wait for room.
async fn bounded(from: Option<impl AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut from) = from {
        let _ = (&mut from).take(most as u64).read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    }
    kept
}

/// The line by which kubectl, or what it ran, says what is wrong; without characters that a terminal obeys.
fn reason(ended: &Ended) -> String {
    let errors = String::from_utf8_lossy(&ended.said);
    let lines = errors.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let found = lines
        .iter()
        .find(|line| line.starts_with("error:") || line.starts_with("Error from"));
    let line = found.or(lines.last()).copied();
    let line = line.unwrap_or("kubectl says nothing");
    Untrusted::new(line.strip_prefix("error: ").unwrap_or(line)).to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_what_is_said_without_end_the_beginning_is_kept_and_the_rest_is_read() {
        let said = vec![b'x'; 3 * MOST_SAID];
        let mut rest: &[u8] = &said;
        assert_eq!(bounded(Some(&mut rest), MOST_SAID).await.len(), MOST_SAID);
        assert!(rest.is_empty(), "who writes does not wait for room");
        assert_eq!(bounded(None::<&[u8]>, MOST_SAID).await, b"");
    }
}
