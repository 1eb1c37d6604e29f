//! A pod, cut down to what is decided by.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use moorline_core::CameraId;
use moorline_core::lifecycle::Role;
use moorline_core::port::PodUid;

use crate::names;
use crate::resource::{CAMERA_LABEL, ROLE_LABEL};

/// The annotation with a pod's shape.
pub(crate) const SHAPE: &str = "moorline.dev/shape";

/// What keeps a pod from running, for condition and event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// From a closed set.
    pub reason: &'static str,
    /// What the cluster says.
    pub message: String,
}

/// A pod of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Its identity.
    pub uid: PodUid,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The camera that its label and namespace name.
    pub camera: CameraId,
    /// The uid of the Camera that controls it.
    pub owner: Option<String>,
    /// Its role, from its label.
    pub role: Role,
    /// Its service account.
    pub account: String,
    /// What it was made of.
    pub shape: Option<String>,
    /// When it was made, in seconds.
    pub created: i64,
    /// It is being deleted.
    pub deleting: bool,
    /// When it is to have ended (its deletionTimestamp, the grace included), in seconds by the API server's clock; known once the watch tells.
    pub ends: Option<i64>,
    /// It ran to its end, or was evicted: it will not run again.
    pub over: bool,
    /// It is ready.
    pub ready: bool,
    /// It has no place yet, or has not started.
    pub pending: bool,
    /// Its container has never run: nothing can be in its spool.
    pub untouched: bool,
    /// Its address.
    pub address: Option<IpAddr>,
    /// What keeps it from running.
    pub trouble: Option<Trouble>,
    /// How often its container was begun anew.
    pub restarts: i32,
    /// How the container before this one ended.
    pub ended: Option<String>,
    /// Why the cluster takes it away: its node is lost or drained, or has no room left.
    pub disrupted: Option<String>,
}

impl PodView {
    /// What of a pod counts; `None` for one that is not a camera's.
    pub fn of(pod: &Pod) -> Option<Self> {
        let metadata = &pod.metadata;
        let label = |name: &str| metadata.labels.as_ref()?.get(name).map(String::as_str);
        let namespace = metadata.namespace.clone()?;
        let role = match label(ROLE_LABEL)? {
            "relay" => Role::Relay,
            "archiver" => Role::Archiver,
            _ => return None,
        };
        let owners = metadata.owner_references.iter().flatten();
        let mut cameras =
            owners.filter(|owner| owner.kind == "Camera" && owner.controller == Some(true));
        let status = pod.status.clone().unwrap_or_default();
        let phase = status.phase.as_deref().unwrap_or("Pending");
        let condition = |kind: &str| {
            let mut all = status.conditions.iter().flatten();
            all.find(|condition| condition.type_ == kind)
        };
        let containers = || status.container_statuses.iter().flatten();
        Some(Self {
            uid: PodUid(metadata.uid.clone()?),
            name: metadata.name.clone()?,
            camera: names::camera(&namespace, label(CAMERA_LABEL)?)?,
            namespace,
            owner: cameras.next().map(|owner| owner.uid.clone()),
            role,
            account: pod
                .spec
                .as_ref()
                .and_then(|spec| spec.service_account_name.clone())
                .unwrap_or_default(),
            shape: metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get(SHAPE).cloned()),
            created: metadata
                .creation_timestamp
                .as_ref()
                .map_or(0, |time| time.0.as_second()),
            deleting: metadata.deletion_timestamp.is_some(),
            ends: metadata
                .deletion_timestamp
                .as_ref()
                .map(|time| time.0.as_second()),
            over: matches!(phase, "Succeeded" | "Failed"),
            ready: condition("Ready").is_some_and(|ready| ready.status == "True"),
            pending: phase == "Pending",
            untouched: phase == "Pending" && !containers().any(has_run),
            address: status
                .pod_ip
                .as_deref()
                .and_then(|address| address.parse().ok()),
            trouble: trouble(
                condition("PodScheduled").filter(|scheduled| scheduled.status == "False"),
                status.container_statuses.as_deref().unwrap_or_default(),
            ),
            restarts: containers().map(|container| container.restart_count).sum(),
            ended: containers().find_map(ended),
            disrupted: condition("DisruptionTarget")
                .filter(|target| target.status == "True")
                .map(|target| {
                    let words = [target.reason.as_deref(), target.message.as_deref()];
                    words.into_iter().flatten().collect::<Vec<_>>().join(": ")
                }),
        })
    }
}

/// Whether a container runs or has run.
fn has_run(container: &ContainerStatus) -> bool {
    let waits = |state: &ContainerState| state.running.is_none() && state.terminated.is_none();
    let never = |state: &Option<ContainerState>| state.as_ref().is_none_or(waits);
    container.restart_count > 0 || !never(&container.state) || !never(&container.last_state)
}

/// How a container ended before it was begun anew.
fn ended(container: &ContainerStatus) -> Option<String> {
    let last = container.last_state.as_ref()?.terminated.as_ref()?;
    let reason = last.reason.as_deref().unwrap_or("it ended");
    Some(format!("{reason}, exit code {}", last.exit_code))
}

fn trouble(
    unscheduled: Option<&k8s_openapi::api::core::v1::PodCondition>,
    containers: &[ContainerStatus],
) -> Option<Trouble> {
    if let Some(unscheduled) = unscheduled
        && unscheduled.reason.as_deref() == Some("Unschedulable")
    {
        return Some(Trouble {
            reason: "Unschedulable",
            message: unscheduled.message.clone().unwrap_or_default(),
        });
    }
    containers.iter().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let killed = container
            .last_state
            .as_ref()
            .and_then(|last| last.terminated.as_ref());
        // The kubelet says so of an image without the program, or for another processor; its words stand with the attempt.
        let unstarted = killed.filter(|last| last.reason.as_deref() == Some("StartError"));
        let reason = match waiting.reason.as_deref()? {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                "ImageMissing"
            }
            "CreateContainerConfigError" => "ConfigMissing",
            "RunContainerError" | "CrashLoopBackOff" if unstarted.is_some() => "CannotStart",
            "CrashLoopBackOff"
                if killed.is_some_and(|last| last.reason.as_deref() == Some("OOMKilled")) =>
            {
                "OutOfMemory"
            }
            "CrashLoopBackOff" => "Crashing",
            _ => return None,
        };
        let words = unstarted.and_then(|last| last.message.as_ref());
        let words = words.or(waiting.message.as_ref());
        Some(Trouble {
            reason,
            message: words.cloned().unwrap_or_default(),
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_image_without_the_program_is_told_in_the_kubelets_words_and_not_as_a_crash() {
        let words = "exec: \"/usr/bin/moorline-workload\": stat: no such file or directory";
        let of = |waiting: &str, ended: &str| {
            let container = json!({
                "name": "relay", "image": "a", "imageID": "", "ready": false, "restartCount": 1,
                "state": {"waiting": {"reason": waiting, "message": "back-off"}},
                "lastState": {"terminated": {"exitCode": 128, "reason": ended, "message": words}},
            });
            let pod = json!({
                "metadata": {
                    "name": "relay", "namespace": "t-acme", "uid": "p-1",
                    "labels": {ROLE_LABEL: "relay", CAMERA_LABEL: "yard"},
                },
                "status": {"phase": "Running", "containerStatuses": [container]},
            });
            let pod = PodView::of(&serde_json::from_value(pod).unwrap());
            let trouble = pod.unwrap().trouble.unwrap();
            (trouble.reason, trouble.message)
        };
        for waiting in ["RunContainerError", "CrashLoopBackOff"] {
            assert_eq!(of(waiting, "StartError"), ("CannotStart", words.to_owned()));
        }
        assert_eq!(
            of("CrashLoopBackOff", "Error"),
            ("Crashing", "back-off".to_owned())
        );
    }
}
