//! A namespace of one test, with what tests ask of the pods in it.

use std::{net::SocketAddr, process::Output, process::Stdio, time::Duration};

use serde_json::{Value, json};

use super::{Cluster, SOON, condition, succeeded};
use crate::{Error, child::Child};

/// What pods of a namespace may ask for (PodSecurity).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Everything: for pods that stand for somebody else.
    Privileged,
    /// What the namespaces of tenants enforce.
    Restricted,
}

/// A namespace. When the test fails, its pods and events are shown.
#[derive(Debug)]
pub struct Namespace {
    cluster: Cluster,
    name: String,
    /// It ends with this value.
    own: bool,
}

impl Namespace {
    pub(super) async fn new(
        cluster: Cluster,
        purpose: &str,
        security: Security,
    ) -> Result<Self, Error> {
        let level = match security {
            Security::Privileged => "privileged",
            Security::Restricted => "restricted",
        };
        let unique = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        let name = format!("moorline-test-{purpose}-{unique:x}");
        cluster
            .apply(&json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {
                    "name": name,
                    "labels": { "pod-security.kubernetes.io/enforce": level },
                },
            }))
            .await?;
        let namespace = Self {
            cluster,
            name,
            own: true,
        };
        // Pods are refused until the account that they run as is there.
        namespace
            .until("serviceaccount/default", "its account", SOON, |account| {
                account.is_object().then_some(())
            })
            .await?;
        Ok(namespace)
    }

    pub(super) fn of_others(cluster: Cluster, name: String) -> Self {
        Self {
            cluster,
            name,
            own: false,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster in which it lies.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn with<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments);
        all
    }

    /// Runs `kubectl -n <this namespace>`; a refusal is the caller's to judge.
    ///
    /// # Errors
    /// As [`Cluster::try_kubectl`].
    pub async fn try_kubectl(&self, arguments: &[&str]) -> Result<Output, Error> {
        self.cluster.try_kubectl(&self.with(arguments)).await
    }

    /// Runs `kubectl -n <this namespace>` and gives what it printed.
    ///
    /// # Errors
    /// As [`Cluster::kubectl`].
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, Error> {
        self.cluster.kubectl(&self.with(arguments)).await
    }

    /// Creates or changes an object in it.
    ///
    /// # Errors
    /// [`Error::Refused`] with the API server's reason.
    pub async fn apply(&self, object: &Value) -> Result<(), Error> {
        let arguments = self.with(&["apply", "-f", "-"]);
        self.cluster
            .feed(&arguments, &object.to_string())
            .await
            .map(drop)
    }

    /// One object (`kind/name`) or a list (`pods`, `-l`, `a=b`); `Null` if there is no such object.
    ///
    /// # Errors
    /// As [`Cluster::kubectl`].
    pub async fn get(&self, object: &[&str]) -> Result<Value, Error> {
        let mut arguments = self.with(&["get", "-o", "json", "--ignore-not-found"]);
        arguments.extend(object);
        let text = self.cluster.kubectl(&arguments).await?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Waits until `pick` takes a value from `object` (`kind/name`); it sees `Null` while there is no such object.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the object as it was last seen.
    pub async fn until<T>(
        &self,
        object: &str,
        what: &str,
        deadline: Duration,
        pick: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T, Error> {
        let arguments = self.with(&[object]);
        self.cluster.until(&arguments, what, deadline, pick).await
    }

    /// Waits until a pod is Ready, and gives it.
    ///
    /// # Errors
    /// As [`Namespace::until`].
    pub async fn until_ready(&self, pod: &str) -> Result<Value, Error> {
        self.until(&format!("pod/{pod}"), "Ready", SOON, |pod| {
            (condition(pod, "Ready") == Some("True")).then(|| pod.clone())
        })
        .await
    }

    /// Waits until a pod that runs to its end has ended, and gives its exit code and what it printed.
    ///
    /// # Errors
    /// As [`Namespace::until`].
    pub async fn until_ended(&self, pod: &str) -> Result<(i64, String), Error> {
        let code = self
            .until(&format!("pod/{pod}"), "ended", SOON, |pod| {
                pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64()
            })
            .await?;
        Ok((code, self.logs(pod).await?))
    }

    /// Waits until an object is gone.
    ///
    /// # Errors
    /// As [`Namespace::until`].
    pub async fn until_gone(&self, object: &str, deadline: Duration) -> Result<(), Error> {
        self.until(object, "gone", deadline, |seen| {
            seen.is_null().then_some(())
        })
        .await
    }

    /// What a pod has printed.
    ///
    /// # Errors
    /// As [`Cluster::kubectl`].
    pub async fn logs(&self, pod: &str) -> Result<String, Error> {
        self.kubectl(&["logs", pod]).await
    }

    /// Runs a command in a pod and gives what it printed.
    ///
    /// # Errors
    /// [`Error::Refused`] when it exits with another code than 0.
    pub async fn exec(&self, pod: &str, words: &[&str]) -> Result<String, Error> {
        succeeded("kubectl exec", self.try_exec(pod, words).await?)
    }

    /// Runs a command in a pod; its exit code is the caller's to judge.
    ///
    /// # Errors
    /// As [`Cluster::try_kubectl`].
    pub async fn try_exec(&self, pod: &str, words: &[&str]) -> Result<Output, Error> {
        let mut arguments = vec!["exec", pod, "--"];
        arguments.extend(words);
        self.try_kubectl(&arguments).await
    }

    /// A way from the test to a port of a service: its own address in the lab, forwarded by kubectl elsewhere.
    ///
    /// # Errors
    /// When there is no such service.
    pub async fn reach(&self, service: &str, port: u16) -> Result<Reach, Error> {
        if self.cluster.lab().is_ok() {
            let object = self.get(&[&format!("service/{service}")]).await?;
            let address = object["spec"]["clusterIP"]
                .as_str()
                .and_then(|text| text.parse().ok());
            let address = address.ok_or_else(|| Error::Refused {
                peer: "service",
                message: format!("{service} has no address: {object}"),
            })?;
            return Ok(Reach {
                address: SocketAddr::new(address, port),
                _forwarded: None,
            });
        }
        let mut command = self.cluster.command();
        command
            .args([
                "-n",
                &self.name,
                "port-forward",
                &format!("service/{service}"),
            ])
            .arg(format!(":{port}"));
        let child = Child::spawn("kubectl port-forward", command)?;
        let address = child
            .wait_for_after(0, "the forwarded port", SOON, |line| {
                line.strip_prefix("Forwarding from ")?
                    .split_once(" -> ")?
                    .0
                    .parse()
                    .ok()
            })
            .await?;
        Ok(Reach {
            address,
            _forwarded: Some(child),
        })
    }

    /// The spec of a pod that PodSecurity `restricted` accepts: Moorline's image with `arguments`, run once.
    #[must_use]
    pub fn moorline_pod(&self, name: &str, arguments: &[&str]) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "labels": { "app": name } },
            "spec": {
                "restartPolicy": "Never",
                "enableServiceLinks": false,
                "securityContext": {
                    "runAsNonRoot": true,
                    "seccompProfile": { "type": "RuntimeDefault" },
                },
                "volumes": [{ "name": "scratch", "emptyDir": {} }],
                "containers": [{
                    "name": "moorline",
                    "image": self.cluster.image(),
                    "imagePullPolicy": self.cluster.pull_policy(),
                    "args": arguments,
                    "workingDir": "/scratch",
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true,
                        "capabilities": { "drop": ["ALL"] },
                    },
                    "volumeMounts": [{ "name": "scratch", "mountPath": "/scratch" }],
                }],
            },
        })
    }

    /// The spec of a pod with a shell that stands for somebody else, in a privileged namespace.
    #[must_use]
    pub fn shell_pod(&self, name: &str, script: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "labels": { "app": name } },
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "shell",
                    "image": self.cluster.helper_image(),
                    "imagePullPolicy": self.cluster.pull_policy(),
                    "command": ["sh", "-c", script],
                }],
            },
        })
    }

    /// For the end of a test, where nothing can be awaited.
    fn blocking(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.cluster.command().into_std();
        command
            .arg("--request-timeout=10s")
            .args(arguments)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for arguments in [
                &["get", "pods", "-o", "wide"][..],
                &["get", "events", "--sort-by=.lastTimestamp"],
            ] {
                let _ = self.blocking(&self.with(arguments)).status();
            }
        }
        if !self.own {
            return;
        }
        let mut delete = self.blocking(&["delete", "namespace", &self.name, "--wait=false"]);
        let _ = delete.stdout(Stdio::null()).status();
    }
}

/// An address at which a service is reached as long as this lives.
#[derive(Debug)]
pub struct Reach {
    /// The address.
    pub address: SocketAddr,
    _forwarded: Option<Child>,
}
