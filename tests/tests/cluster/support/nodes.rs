//! What is done to nodes and to the processes of pods on them, beyond what the lab itself does: signals, memory, the way to the API server.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

use moorline_testkit::temp_dir;
use serde_json::json;

use super::{Moorline, Pod, Replica};

/// Where the API server listens.
const API: &str = "10.98.0.1";

impl Moorline {
    /// Signals the process of a pod of ours, on its node. The container is started again if it ends.
    pub(crate) async fn signal(&self, node: &str, pod: &str, signal: &str) {
        let said = self.at_process(node, pod, &kill(signal)).await;
        assert_eq!(said.trim(), "signalled", "pod {pod} on {node}");
    }

    /// Stops the process of a pod of ours until the returned value is given to [`Undo::now`], or dropped.
    pub(crate) async fn stop(&self, node: &str, pod: &str) -> Undo {
        self.signal(node, pod, "STOP").await;
        let script = at_process(pod, &kill("CONT"));
        let heal = self.cluster().lab().unwrap().node(number(node));
        Undo(vec![heal.blocking(&["sh", "-c", &script])])
    }

    /// The same of all pods of a part.
    pub(crate) async fn stop_all(&self, part: &str) -> Vec<Undo> {
        let mut stopped = Vec::new();
        for pod in self.parts(part).await {
            stopped.push(self.stop(&pod.node, &pod.uid).await);
        }
        assert!(!stopped.is_empty(), "no pod of {part}");
        stopped
    }

    /// What a pod of ours finds in a file.
    pub(crate) async fn file_of(&self, node: &str, pod: &str, file: &str) -> String {
        let read = format!("cat $process/root{file}\nbreak");
        self.at_process(node, pod, &read).await
    }

    /// `/proc/<pid>/status` of the process of a pod of ours.
    pub(crate) async fn status_of(&self, node: &str, pod: &str) -> String {
        self.at_process(node, pod, "cat $process/status").await
    }

    /// Takes so much memory in the container of a pod that the kernel ends its process, as if it had taken that itself.
    pub(crate) async fn exhaust(&self, pod: &Pod, mebibytes: u32) {
        // A buffer that is filled once, in the container's group: the kernel ends the process that the kubelet marked (`oom_score_adj`), which is the
        // container's. Version 2 has one path, version 1 the memory controller's.
        let hog = format!(
            "group=$(sed -n 's/^[0-9]*:memory://p; s/^0:://p' $process/cgroup | head -1)
             for root in /sys/fs/cgroup/memory /sys/fs/cgroup; do
                 [ -e $root$group/cgroup.procs ] && break
             done
             (echo 0 >$root$group/cgroup.procs && dd if=/dev/zero of=/dev/null bs={mebibytes}M count=1) 2>/dev/null
             echo taken
             break"
        );
        // Who joined the group may be ended with the rest of it.
        let said = self.at_process(&pod.node, &pod.uid, &hog).await;
        assert_eq!(said.trim(), "taken", "{pod:?}");
    }

    /// To which of these a pod comes by TCP: from its own network, whatever its image holds.
    pub(crate) async fn comes_to(&self, node: &str, pod: &str, goals: &[SocketAddr]) -> Vec<bool> {
        // At once, since where nobody answers it takes seconds. The pause process is there too.
        let tries = goals.iter().map(|goal| {
            let (host, port) = (goal.ip(), goal.port());
            format!("(timeout 3 bash -c '</dev/tcp/{host}/{port}' && echo {goal}) 2>/dev/null &\n")
        });
        let script = format!(
            "process=$(grep -ls {pod} /proc/[0-9]*/cgroup | head -1 | cut -d/ -f3)
             nsenter --target $process --net sh -s <<END
{}wait
END",
            tries.collect::<String>()
        );
        let node = self.cluster().lab().unwrap().node(number(node));
        let said = node.exec(&["sh", "-c", &script]).await.unwrap();
        let reached: Vec<&str> = said.lines().collect();
        let is_reached = |goal: &SocketAddr| reached.contains(&&*goal.to_string());
        goals.iter().map(is_reached).collect()
    }

    async fn at_process(&self, node: &str, pod: &str, command: &str) -> String {
        let lab = self.cluster().lab().unwrap();
        let words = ["sh", "-c", &at_process(pod, command)];
        lab.node(number(node)).exec(&words).await.unwrap()
    }

    /// Nothing new is placed on a node until the returned value is dropped.
    pub(crate) async fn cordon(&self, node: &str) -> Undo {
        let undo = self.later(&["uncordon", node]);
        self.cluster().kubectl(&["cordon", node]).await.unwrap();
        undo
    }

    /// Asks the API server to evict a pod of a part, as `kubectl drain` does.
    ///
    /// # Errors
    /// Its refusal: a budget of disruptions does not let the pod go.
    pub(crate) async fn evict(&self, part: &Replica) -> Result<(), String> {
        let place = temp_dir().unwrap();
        let file = place.path().join("eviction.json");
        let space = self.system.name();
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": part.name, "namespace": space},
        });
        std::fs::write(&file, eviction.to_string()).unwrap();
        let path = format!("/api/v1/namespaces/{space}/pods/{}/eviction", part.name);
        let file = file.display().to_string();
        let words = ["create", "--raw", &path, "-f", &file];
        let answer = self.cluster().try_kubectl(&words).await.unwrap();
        match answer.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&answer.stderr).into_owned()),
        }
    }

    /// A pod on its node reaches everything but the API server until the returned value is dropped.
    pub(crate) async fn cut_off(&self, replica: &Replica) -> Undo {
        let node = self.cluster().lab().unwrap().node(number(&replica.node));
        let undo = Undo(vec![
            node.blocking(&["nft", "delete", "table", "inet", "cut"]),
        ]);
        let rules = format!(
            "nft -f - <<END
table inet cut {{
    chain forward {{
        type filter hook forward priority -300;
        ip saddr {} ip daddr {API} drop
    }}
}}
END",
            replica.ip
        );
        node.exec(&["sh", "-c", &rules]).await.unwrap();
        undo
    }

    /// A command of the administrator's, for the end of a test or of a part of it.
    pub(crate) fn later(&self, words: &[&str]) -> Undo {
        let mut command = self.cluster().command().into_std();
        command.arg("--request-timeout=20s").args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Undo(vec![command])
    }

    /// No front doors: they are there while a test has a database for them.
    pub(crate) async fn no_front_door(&self) {
        let none = ["scale", super::door::DEPLOYMENT, "--replicas=0"];
        self.system.kubectl(&none).await.unwrap();
    }

    /// A replica on each node again, after one was emptied.
    pub(crate) async fn spread(&self) {
        let [one, other] = self.pair().await;
        if one.node == other.node {
            let object = format!("pod/{}", other.name);
            self.system.kubectl(&["delete", &object]).await.unwrap();
        }
        self.until_ready().await;
        let [one, other] = self.pair().await;
        assert_ne!(one.node, other.node, "a replica on each node");
    }
}

/// A shell command that runs `command` with `$process` set to the `/proc/<pid>` of a pod of ours: its control group carries its uid.
fn at_process(pod: &str, command: &str) -> String {
    format!(
        "for file in /proc/[0-9]*/cgroup; do
            process=${{file%/cgroup}}
            # Of a longer name the kernel keeps fifteen letters.
            case \"$(cat $process/comm 2>/dev/null)\" in moorline | moorline-worklo) ;; *) continue ;; esac
            grep -q {pod} $file || continue
            {command}
        done"
    )
}

fn kill(signal: &str) -> String {
    format!("kill -{signal} ${{process#/proc/}} && echo signalled")
}

/// `n2` is node 2.
fn number(node: &str) -> u8 {
    node.trim_start_matches('n').parse().unwrap()
}

/// What was taken away comes back when this is dropped.
pub(crate) struct Undo(Vec<Command>);

impl Undo {
    /// This first, then that.
    pub(super) fn then(mut self, mut later: Self) -> Self {
        self.0.append(&mut later.0);
        self
    }

    /// Gives it back.
    pub(crate) fn now(self) {
        drop(self);
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for undo in &mut self.0 {
            let _ = undo.status();
        }
    }
}
