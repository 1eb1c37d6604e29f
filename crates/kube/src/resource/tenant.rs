use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::Newer;

/// Who owns cameras: from this its namespace is made. The operator's: cluster-scoped; its name is the tenant's id.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "moorline.dev",
    version = "v1alpha1",
    kind = "Tenant",
    category = "moorline",
    status = "TenantStatus",
    derive = "PartialEq",
    doc = "Who owns cameras. Its namespace t-<name>, quota, policies and accounts are made from it. The operator's.",
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "SUSPENDED", type_ = "boolean", json_path = ".spec.suspended"),
    printcolumn(name = "CAMERAS", type_ = "integer", json_path = ".spec.cameras"),
    printcolumn(name = "STORAGE", type_ = "string", json_path = ".status.storageId"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 61 && !self.metadata.name.contains('.')").message("a tenant's name is a DNS label of at most 61 characters: its namespace is t-<name>"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.storageId) || (has(self.status) && has(self.status.storageId) && self.status.storageId == oldSelf.status.storageId)").message("a tenant's storage id never changes"),
)]
#[serde(rename_all = "camelCase")]
pub struct TenantSpec {
    /// No camera of it may connect until it is resumed. Nothing is deleted.
    #[serde(default)]
    pub suspended: bool,
    /// The greatest number of cameras.
    #[serde(default = "cameras")]
    #[schemars(range(min = 0, max = 3000))]
    pub cameras: u32,
    /// The classes that its cameras may name.
    #[serde(default = "classes")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)))]
    pub classes: Vec<String>,
    /// The greatest retention that its cameras may ask for: days from 1d to 999d, or keep.
    #[serde(default = "retention")]
    #[schemars(regex(pattern = r"^([1-9][0-9]{0,2}d|keep)$"))]
    pub max_retention: String,
    /// A bucket of its own; without one it records to the installation's, under its storage id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<TenantStore>,
    /// What becomes of its recordings when it is deleted: keep or erase.
    #[serde(default)]
    #[schemars(schema_with = "on_delete_schema")]
    pub on_delete: OnDelete,
}

impl Default for TenantSpec {
    fn default() -> Self {
        Self {
            suspended: false,
            cameras: cameras(),
            classes: classes(),
            max_retention: retention(),
            store: None,
            on_delete: OnDelete::default(),
        }
    }
}

/// A bucket of the owner's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantStore {
    /// The bucket.
    #[schemars(length(min = 3, max = 63))]
    pub bucket: String,
    /// The S3 endpoint: https, and no private address unless the operator lists it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = r"^https?://"))]
    pub endpoint: Option<String>,
    /// The region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// The Secret with the credentials, one of this name in each of the namespaces moorline-store-put, -get and -delete.
    #[schemars(length(min = 1, max = 253))]
    pub secret: String,
}

/// What becomes of the recordings of a deleted tenant or camera.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDelete {
    /// They stay in the bucket.
    #[default]
    Keep,
    /// The sweeper erases them; the Tenant goes when it has said so.
    Erase,
}

/// What Moorline knows of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantStatus {
    /// The metadata.generation that this status belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The prefix of its objects: random, never used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_id: Option<String>,
    /// The sweeper's word that nothing of it is left in the store.
    #[serde(default)]
    pub erased: bool,
    /// Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Fields of a newer release.
    #[serde(flatten)]
    #[schemars(skip)]
    pub newer: Newer,
}

fn cameras() -> u32 {
    200
}

fn classes() -> Vec<String> {
    vec![super::DEFAULT_CLASS.into()]
}

fn retention() -> String {
    "30d".into()
}

pub(crate) fn on_delete_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["keep", "erase"]})
}
