//! A Kubernetes cluster to test on: the lab of `cargo xtask test --cluster`, or one that the caller of that command named.
//!
//! Everything goes through the real `kubectl`. In the lab the test itself runs inside: it reaches pods and services by their addresses,
//! pods reach servers of the test that are bound to [`Lab::host`], and nothing leads out. Objects are JSON ([`serde_json::Value`]).
//!
//! ```no_run
//! # async fn test() -> Result<(), moorline_testkit::Error> {
//! use moorline_testkit::{cluster::{Cluster, Security}, or_skip};
//! use serde_json::json;
//! let Some(cluster) = or_skip(Cluster::find().await) else { return Ok(()) };
//! let space = cluster.namespace("demo", Security::Restricted).await?;
//! space.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})).await?;
//! space.until_ready("a").await?;
//! # Ok(()) }
//! ```

use std::{path::PathBuf, process::Output, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::process::Command;

use crate::{Error, child};

mod lab;
mod namespace;
#[cfg(feature = "s3")]
mod store;

pub use lab::{Fault, Lab, Loss, Node, Outage, Part};
pub use namespace::{Namespace, Reach, Security};
#[cfg(feature = "s3")]
pub use store::Store;

/// The deadline of what a quiet cluster does within seconds.
pub const SOON: Duration = Duration::from_secs(60);

/// A cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cluster(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kubeconfig: PathBuf,
    image: String,
    lab: Option<Lab>,
}

impl Cluster {
    /// The cluster that this test run has. In the lab it is whole when this returns, whatever a former test did: every node is Ready.
    ///
    /// # Errors
    /// [`Error::Unavailable`] outside `cargo xtask test --cluster`; others when the cluster does not answer.
    pub async fn find() -> Result<Self, Error> {
        let variable = |name: &str| std::env::var(name).ok();
        let (Some(kubeconfig), Some(image)) = (
            variable("MOORLINE_CLUSTER_KUBECONFIG"),
            variable("MOORLINE_CLUSTER_IMAGE"),
        ) else {
            return Err(Error::Unavailable {
                peer: "a cluster",
                reason: "`cargo xtask test --cluster` brings one".to_owned(),
            });
        };
        let scripts = variable("MOORLINE_CLUSTER_LAB").map(PathBuf::from);
        let kubeconfig = PathBuf::from(kubeconfig);
        let lab = scripts.map(|scripts| {
            // The administrator's credentials lie in the directory of the running lab.
            Lab::new(scripts, kubeconfig.parent().unwrap_or(&kubeconfig))
        });
        let cluster = Self(Arc::new(Inner {
            kubeconfig,
            image,
            lab,
        }));
        if let Some(lab) = &cluster.0.lab {
            lab.heal(&cluster).await?;
        }
        let version = cluster.json(&["version", "-o", "json"]).await?;
        let version = version["serverVersion"]["gitVersion"].as_str();
        crate::peer::announce("Kubernetes", version.unwrap_or_default());
        Ok(cluster)
    }

    /// The lab.
    ///
    /// # Errors
    /// [`Error::Unavailable`] on a cluster of the caller's own: its nodes and its control plane are not touched.
    pub fn lab(&self) -> Result<&Lab, Error> {
        self.0.lab.as_ref().ok_or_else(|| Error::Unavailable {
            peer: "the cluster lab",
            reason: "nodes and control plane of a cluster of your own are not touched".to_owned(),
        })
    }

    /// Moorline's image, as a pod names it.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.0.image
    }

    /// An image with BusyBox and a shell, for pods that stand for somebody else.
    #[must_use]
    pub fn helper_image(&self) -> &'static str {
        match self.0.lab {
            Some(_) => "localhost/lab/busybox:1",
            None => "busybox:1.36",
        }
    }

    /// Where pods have their images from: in the lab they are there, and there is no registry.
    #[must_use]
    pub fn pull_policy(&self) -> &'static str {
        match self.0.lab {
            Some(_) => "Never",
            None => "IfNotPresent",
        }
    }

    /// A `kubectl` command for this cluster.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(&self.0.kubeconfig);
        command
    }

    /// Where the credentials of the cluster's administrator stand: for the command line and the charts.
    #[must_use]
    pub fn kubeconfig(&self) -> &std::path::Path {
        &self.0.kubeconfig
    }

    /// Runs `kubectl` to its end; a refusal is the caller's to judge.
    ///
    /// # Errors
    /// When it cannot be started or does not end within a minute.
    pub async fn try_kubectl(&self, arguments: &[&str]) -> Result<Output, Error> {
        let mut command = self.command();
        command.args(arguments);
        child::run("kubectl", command, SOON).await
    }

    /// Runs `kubectl` and gives what it printed.
    ///
    /// # Errors
    /// [`Error::Refused`] with what it said.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, Error> {
        succeeded("kubectl", self.try_kubectl(arguments).await?)
    }

    /// The same for commands that print JSON.
    ///
    /// # Errors
    /// As [`Cluster::kubectl`].
    pub async fn json(&self, arguments: &[&str]) -> Result<Value, Error> {
        let text = self.kubectl(arguments).await?;
        serde_json::from_str(&text).map_err(|error| Error::Refused {
            peer: "kubectl",
            message: format!("{error}: {text}"),
        })
    }

    /// Creates or changes one object, or the items of a `List`, that name their namespaces themselves.
    ///
    /// # Errors
    /// [`Error::Refused`] with the API server's reason.
    pub async fn apply(&self, object: &Value) -> Result<(), Error> {
        self.feed(&["apply", "-f", "-"], &object.to_string())
            .await
            .map(drop)
    }

    /// Runs `kubectl` with `input` on its standard input.
    pub(crate) async fn feed(&self, arguments: &[&str], input: &str) -> Result<String, Error> {
        // By a file, since kubectl may end before it has read all.
        let file = tempfile::NamedTempFile::new()
            .and_then(|file| std::fs::write(file.path(), input).map(|()| file))
            .map_err(|source| Error::io("write a manifest", source))?;
        let path = file.path().display().to_string();
        let arguments: Vec<&str> = arguments
            .iter()
            .map(|&word| if word == "-" { path.as_str() } else { word })
            .collect();
        self.kubectl(&arguments).await
    }

    /// Waits until `pick` takes a value from an object. `object` is `kind/name` or `-l label=value kind`, as arguments of `get`.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the object as it was last seen.
    pub async fn until<T>(
        &self,
        object: &[&str],
        what: &str,
        deadline: Duration,
        mut pick: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T, Error> {
        let deadline = crate::patience(deadline);
        let start = std::time::Instant::now();
        let mut arguments = vec!["get", "-o", "json", "--ignore-not-found"];
        arguments.extend(object);
        loop {
            // What cannot be asked for now (the API server is away) may be there later.
            let seen = match self.kubectl(&arguments).await {
                Ok(text) => serde_json::from_str(&text).unwrap_or(Value::Null),
                Err(error) => Value::String(error.to_string()),
            };
            if let Some(value) = pick(&seen) {
                return Ok(value);
            }
            if start.elapsed() > deadline {
                return Err(Error::Timeout {
                    what: format!("{}: {what}", object.join(" ")),
                    patience: deadline,
                    detail: format!("{seen:#}"),
                });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A namespace that somebody else makes and deletes. Its pods and events are shown too when the test fails.
    #[must_use]
    pub fn namespace_of_others(&self, name: impl Into<String>) -> Namespace {
        Namespace::of_others(self.clone(), name.into())
    }

    /// A namespace of this test's own. It is deleted when the value is dropped.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn namespace(&self, purpose: &str, security: Security) -> Result<Namespace, Error> {
        Namespace::new(self.clone(), purpose, security).await
    }
}

/// The output of a command that had to succeed.
fn succeeded(peer: &'static str, output: Output) -> Result<String, Error> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Refused {
        peer,
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// The status of a condition (`True`, `False`, `Unknown`) of any object that has conditions.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)?["status"]
        .as_str()
}
