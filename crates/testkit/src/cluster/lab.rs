//! The lab's own verbs: taking nodes and parts of the control plane away and giving them back.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tokio::process::Command;

use super::{Cluster, SOON, condition, succeeded};
use crate::{Error, child};

/// The lab: `tests/kubelab` in the repository, with two nodes.
#[derive(Debug)]
pub struct Lab {
    scripts: PathBuf,
    /// What the API server was asked to write.
    audit: PathBuf,
}

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The whole machine stands still, containers too.
    Freeze,
    /// Its network cable is pulled; containers run on.
    Unplug,
    /// Power loss: everything on it dies. Healing boots it again.
    Crash,
    /// Only the kubelet stands still; containers run on.
    KubeletFreeze,
    /// Only the kubelet dies; containers run on.
    KubeletKill,
    /// Only containerd stands still; containers run on under their shims.
    ContainerdFreeze,
    /// Only containerd dies; containers run on under their shims.
    ContainerdKill,
}

/// A part of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are Kubernetes' own")]
pub enum Part {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    CoreDns,
}

/// What happens to a part of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Connections stay open and nothing answers.
    Freeze,
    /// Connections are refused.
    Kill,
}

impl Lab {
    /// `state` is the directory of the running lab.
    pub(super) fn new(scripts: PathBuf, state: &Path) -> Self {
        let audit = state.join("audit.log");
        Self { scripts, audit }
    }

    /// What the parts of an installation in `moorline-system` have written so far, as the API server's audit log has it: Events of
    /// `audit.k8s.io/v1`, in order.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn writes(&self) -> Result<Vec<Value>, Error> {
        let text = std::fs::read_to_string(&self.audit)
            .map_err(|source| Error::io("read the audit log", source))?;
        // The last line may be half written.
        let whole = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        Ok(whole.collect())
    }

    /// The address at which pods reach servers of the test: bind to it explicitly, on port 0.
    #[must_use]
    pub fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 98, 0, 1)
    }

    /// A node: 1 or 2.
    #[must_use]
    pub fn node(&self, number: u8) -> Node<'_> {
        Node { lab: self, number }
    }

    /// Takes a part of the control plane away until the returned value heals it.
    ///
    /// # Errors
    /// [`Error::Refused`] with what the script said.
    pub async fn lose(&self, part: Part, outage: Outage) -> Result<Fault, Error> {
        let name = match part {
            Part::Etcd => "etcd",
            Part::ApiServer => "apiserver",
            Part::ControllerManager => "controller-manager",
            Part::Scheduler => "scheduler",
            Part::CoreDns => "coredns",
        };
        let (lose, heal) = match outage {
            Outage::Freeze => ("freeze", "thaw"),
            Outage::Kill => ("kill", "start"),
        };
        let script = self.scripts.join("part.sh");
        let fault = Fault::new(&script, &[heal, name]);
        run(&script, &[lose, name]).await?;
        Ok(fault)
    }

    /// Nodes without machines, each for 110 pods that "run" at once (kwok): all new pods go there until the returned value takes them away.
    ///
    /// # Errors
    /// [`Error::Refused`] with what the script said.
    pub async fn without_machines(&self, nodes: u32) -> Result<Fault, Error> {
        let script = self.scripts.join("kwok.sh");
        let fault = Fault::new(&script, &["down"]);
        run(&script, &["up", &nodes.to_string(), "open"]).await?;
        Ok(fault)
    }

    /// The nodes enforce network policies (kube-router) until the returned value is given back. What changes in the cluster they follow a moment later,
    /// which is for the test to await; what was connected before stays so.
    ///
    /// # Errors
    /// [`Error::Refused`] with what the script said.
    pub async fn enforce_policies(&self) -> Result<Fault, Error> {
        let script = self.scripts.join("policies.sh");
        let fault = Fault::new(&script, &["off"]);
        run(&script, &["on"]).await?;
        Ok(fault)
    }

    /// Puts another version of Moorline's image on both nodes: the same program under another name and digest. Gives the name.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where `cargo xtask test` did not make one; others when a node does not take it.
    pub async fn next_image(&self) -> Result<String, Error> {
        let told = |name: &str| {
            std::env::var(name).map_err(|_| Error::Unavailable {
                peer: "another version of the image",
                reason: format!("{name} is not set: `cargo xtask test --cluster` makes one"),
            })
        };
        let name = told("MOORLINE_CLUSTER_NEXT_IMAGE")?;
        let file = PathBuf::from(told("MOORLINE_CLUSTER_NEXT_IMAGE_FILE")?);
        for number in [1, 2] {
            self.node(number).import(&file).await?;
        }
        Ok(name)
    }

    /// Undoes whatever a former test left: parts answer, nodes run, enforce no network policies and are Ready.
    pub(super) async fn heal(&self, cluster: &Cluster) -> Result<(), Error> {
        let script = self.scripts.join("part.sh");
        for name in [
            "etcd",
            "apiserver",
            "controller-manager",
            "scheduler",
            "coredns",
        ] {
            run(&script, &["start", name]).await?;
            run(&script, &["thaw", name]).await?;
        }
        for number in [1, 2] {
            self.node(number).run(&["heal"]).await?;
            cluster
                .until(
                    &["node", &self.node(number).name()],
                    "Ready",
                    SOON,
                    |node| (condition(node, "Ready") == Some("True")).then_some(()),
                )
                .await?;
        }
        Ok(())
    }
}

/// A node of the lab.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    lab: &'a Lab,
    number: u8,
}

impl Node<'_> {
    /// As Kubernetes calls it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("n{}", self.number)
    }

    /// Loses it in one way, until the returned value heals it.
    ///
    /// # Errors
    /// [`Error::Refused`] with what the script said.
    pub async fn lose(&self, loss: Loss) -> Result<Fault, Error> {
        let (lose, heal) = match loss {
            Loss::Freeze => ("freeze", "thaw"),
            Loss::Unplug => ("unplug", "plug"),
            Loss::Crash => ("crash", "up"),
            Loss::KubeletFreeze => ("kubelet-freeze", "kubelet-thaw"),
            Loss::KubeletKill => ("kubelet-kill", "kubelet-start"),
            Loss::ContainerdFreeze => ("containerd-freeze", "containerd-thaw"),
            Loss::ContainerdKill => ("containerd-kill", "containerd-start"),
        };
        let number = self.number.to_string();
        let fault = Fault::new(&self.script(), &[heal, &number]);
        self.run(&[lose]).await?;
        Ok(fault)
    }

    /// Runs a command on it and gives what it printed: `nft list ruleset`, `ctr -n k8s.io images list`.
    ///
    /// # Errors
    /// [`Error::Refused`] when it fails.
    pub async fn exec(&self, words: &[&str]) -> Result<String, Error> {
        let mut arguments = vec!["exec"];
        arguments.extend(words);
        self.run(&arguments).await
    }

    /// The same as a command that is not started yet, for the end of a test, where nothing can be awaited.
    #[must_use]
    pub fn blocking(&self, words: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(self.script());
        command.arg("exec").arg(self.number.to_string()).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Puts an image on it, from a tar file.
    ///
    /// # Errors
    /// When the file cannot be read or containerd refuses it.
    pub async fn import(&self, image: &Path) -> Result<(), Error> {
        let file = std::fs::File::open(image)
            .map_err(|source| Error::io(format!("read {}", image.display()), source))?;
        let mut command = Command::new(self.script());
        command.args(["import", &self.number.to_string()]);
        child::run_fed("node.sh", command, file.into(), SOON)
            .await
            .and_then(|output| succeeded("containerd", output))
            .map(drop)
    }

    fn script(&self) -> PathBuf {
        self.lab.scripts.join("node.sh")
    }

    /// Runs a verb of `node.sh` on it.
    async fn run(&self, words: &[&str]) -> Result<String, Error> {
        let number = self.number.to_string();
        let mut arguments: Vec<&str> = words.to_vec();
        arguments.insert(1.min(words.len()), &number);
        run(&self.script(), &arguments).await
    }
}

/// Runs a verb of a script.
async fn run(script: &Path, arguments: &[&str]) -> Result<String, Error> {
    let mut command = Command::new(script);
    command.args(arguments);
    let output = child::run(&script.display().to_string(), command, SOON * 2).await?;
    succeeded("the lab", output).map_err(|error| match error {
        Error::Refused { message, .. } => Error::Refused {
            peer: "the lab",
            message: format!("{}: {message}", arguments.join(" ")),
        },
        other => other,
    })
}

/// Something that was taken away. It is given back by [`Fault::heal`], or, when a test fails, by dropping it.
#[derive(Debug)]
#[must_use = "dropping it heals at once"]
pub struct Fault {
    script: PathBuf,
    /// Empty once healed.
    heal: Vec<String>,
}

impl Fault {
    fn new(script: &Path, heal: &[&str]) -> Self {
        Self {
            script: script.to_owned(),
            heal: heal.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    /// Gives it back. What then has to happen (Ready, answers) is for the test to await.
    ///
    /// # Errors
    /// [`Error::Refused`] with what the script said.
    pub async fn heal(mut self) -> Result<(), Error> {
        let words = std::mem::take(&mut self.heal);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run(&self.script, &words).await.map(drop)
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        if !self.heal.is_empty() {
            let mut heal = std::process::Command::new(&self.script);
            let _ = heal.args(&self.heal).stdin(Stdio::null()).status();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A script that writes its arguments into a file beside it.
    fn script(directory: &Path, exit: u8) -> PathBuf {
        let path = directory.join("verb.sh");
        let text = format!("#!/bin/sh\necho \"$@\" >> \"$0.log\"\necho no >&2\nexit {exit}\n");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn log(script: &Path) -> String {
        std::fs::read_to_string(format!("{}.log", script.display())).unwrap_or_default()
    }

    #[tokio::test]
    async fn what_was_taken_away_is_given_back_once() {
        let directory = crate::temp_dir().unwrap();
        let script = script(directory.path(), 0);
        Fault::new(&script, &["thaw", "2"]).heal().await.unwrap();
        assert_eq!(log(&script), "thaw 2\n");
        drop(Fault::new(&script, &["plug", "1"]));
        assert_eq!(log(&script), "thaw 2\nplug 1\n");
    }

    #[tokio::test]
    async fn a_verb_that_fails_says_why() {
        let directory = crate::temp_dir().unwrap();
        let script = script(directory.path(), 1);
        let lab = Lab::new(directory.path().to_owned(), directory.path());
        let error = run(&script, &["freeze", "2"]).await.unwrap_err();
        assert_eq!(error.to_string(), "the lab: freeze 2: no");
        assert!(lab.node(2).lose(Loss::Freeze).await.is_err());
    }
}
