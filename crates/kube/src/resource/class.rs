use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

#[expect(clippy::duplicated_attributes, reason = "columns may be of one type")]
/// What the pods of a class of cameras are made of. The operator's: cluster-scoped.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "moorline.dev",
    version = "v1alpha1",
    kind = "CameraClass",
    plural = "cameraclasses",
    shortname = "camclass",
    category = "moorline",
    derive = "PartialEq",
    doc = "Image, resources and patience of the relay and archiver pods of a class of cameras. The operator's.",
    printcolumn(name = "IMAGE", type_ = "string", json_path = ".spec.image"),
    printcolumn(name = "SPOOL", type_ = "string", json_path = ".spec.archiver.spool"),
    printcolumn(
        name = "AGE",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct CameraClassSpec {
    /// The image of both pods, pinned by digest: of the release of mon, or of a newer one.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// When the image is pulled: IfNotPresent, or Never where it is loaded by hand.
    #[serde(default = "pull")]
    #[schemars(regex(pattern = r"^(IfNotPresent|Never)$"))]
    pub image_pull_policy: String,
    /// How long pods wait for a tunnel that was lost.
    #[serde(default = "grace")]
    #[schemars(regex(pattern = r"^[0-9]+(ms|s|m|h|d)$"))]
    pub grace: String,
    /// How long an archiver that cannot upload is waited for before its pod is deleted all the same.
    #[serde(default = "patience")]
    #[schemars(regex(pattern = r"^[0-9]+(ms|s|m|h|d)$"))]
    pub drain_patience: String,
    /// The PriorityClass of both pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class: Option<String>,
    /// The relay.
    #[serde(default)]
    pub relay: RelaySpec,
    /// The archiver.
    #[serde(default)]
    pub archiver: ArchiverSpec,
}

/// Resources of a relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelaySpec {
    /// Memory, requested and at most.
    #[serde(default = "relay_memory")]
    #[schemars(regex(pattern = r"^[1-9][0-9]*(Ki|Mi|Gi)$"))]
    pub memory: String,
    /// Processor time that is requested. There is no limit.
    #[serde(default = "cpu")]
    #[schemars(regex(pattern = r"^[0-9]+m?$"))]
    pub cpu: String,
}

/// Resources of an archiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
// As of `archive.segment`; and a spool that has no room for the open segment beside one that is being uploaded gives up what was just recorded.
#[x_kube(
    validation = Rule::new("duration(self.segment) >= duration('2s') && duration(self.segment) <= duration('300s')").message("archiver.segment lasts 2s to 300s"),
    validation = Rule::new("quantity(self.spool).asInteger() >= duration(self.segment).getSeconds() * 2000000").message("archiver.spool holds 2 MB for each second of archiver.segment at least: two segments of 8 Mbit/s"),
)]
pub struct ArchiverSpec {
    /// Memory, requested and at most.
    #[serde(default = "archiver_memory")]
    #[schemars(regex(pattern = r"^[1-9][0-9]*(Ki|Mi|Gi)$"))]
    pub memory: String,
    /// Processor time that is requested. There is no limit.
    #[serde(default = "cpu")]
    #[schemars(regex(pattern = r"^[0-9]+m?$"))]
    pub cpu: String,
    /// The limit of the spool's volume. The archiver's own bound is nine tenths of it: a pod over this limit is evicted, spool and all.
    #[serde(default = "spool")]
    #[schemars(length(max = 16), regex(pattern = r"^[1-9][0-9]*(Mi|Gi)$"))]
    pub spool: String,
    /// Length of a segment: what is lost of the open one with a node, and one request to the store for each.
    #[serde(default = "segment")]
    #[schemars(length(max = 16), regex(pattern = r"^[1-9][0-9]*(s|m)$"))]
    pub segment: String,
}

impl Default for RelaySpec {
    fn default() -> Self {
        Self {
            memory: relay_memory(),
            cpu: cpu(),
        }
    }
}

impl Default for ArchiverSpec {
    fn default() -> Self {
        Self {
            memory: archiver_memory(),
            cpu: cpu(),
            spool: spool(),
            segment: segment(),
        }
    }
}

fn pull() -> String {
    "IfNotPresent".into()
}

fn grace() -> String {
    "30s".into()
}

fn patience() -> String {
    "24h".into()
}

fn relay_memory() -> String {
    "48Mi".into()
}

fn archiver_memory() -> String {
    "64Mi".into()
}

fn cpu() -> String {
    "10m".into()
}

fn spool() -> String {
    "2Gi".into()
}

fn segment() -> String {
    "60s".into()
}
