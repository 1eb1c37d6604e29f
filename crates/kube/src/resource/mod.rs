//! The resources of the group `moorline.dev/v1alpha1`, and the names by which everything of Moorline's in a cluster is found.
//!
//! A [`Camera`] is the contract: its spec is the owner's and Moorline never changes it, its status is Moorline's. The YAML of the three
//! definitions is made from these types by [`definitions()`], checked in below `charts/moorline-crds` and compared by CI.

#[expect(unreachable_pub, reason = "what the derive of KubeSchema makes")]
mod camera;
#[expect(unreachable_pub, reason = "what the derive of KubeSchema makes")]
mod class;
mod conditions;
mod definitions;
pub(crate) mod ready;
#[expect(unreachable_pub, reason = "what the derive of KubeSchema makes")]
mod tenant;

pub(crate) use camera::GREATEST_GENERATION;
pub use camera::{
    AgentUpgrade, Away, Camera, CameraSpec, CameraStatus, EnrolledKey, EnrolmentSpec, Found,
    FoundSource, LoginSpec, PasswordReference, RelayStatus, ReusedToken, Session, SourceSpec,
    Sources, StreampointSpec, UplinkStatus,
};
pub use class::{ArchiverSpec, CameraClass, CameraClassSpec, RelaySpec};
pub use conditions::{ConditionKind, set_condition};
pub use definitions::definitions;
use tenant::on_delete_schema;
pub use tenant::{OnDelete, Tenant, TenantSpec, TenantStatus, TenantStore};

/// The fields of a status, or of a Camera's spec, that this release does not know. Whoever writes one replaces it whole, and passes them on: definitions
/// stay after a step back, and with them what a newer release wrote and a rule may keep from being removed, or what an owner wrote, such as whom a
/// camera is kept from.
pub type Newer = std::collections::BTreeMap<String, serde_json::Value>;

/// The API group.
pub const GROUP: &str = "moorline.dev";
/// What `app.kubernetes.io/managed-by` says on everything that Moorline makes.
pub const MANAGED_BY: &str = "moorline";
/// The label that carries it.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The label of a pod's role: `relay` or `archiver`.
pub const ROLE_LABEL: &str = "moorline.dev/role";
/// The label of a pod's camera, by name.
pub const CAMERA_LABEL: &str = "moorline.dev/camera";
/// The label of a tenant's namespace.
pub const TENANT_LABEL: &str = "moorline.dev/tenant";
/// Keeps a deleted Camera until its archiver has drained.
pub const ARCHIVE_FINALIZER: &str = "moorline.dev/archive";
/// Keeps a deleted Tenant until its recordings are gone, or kept on purpose, and a deleted Camera until its recordings are erased.
pub const RECORDINGS_FINALIZER: &str = "moorline.dev/recordings";
/// The annotation of a Camera whose tunnel is to end: the generation of that tunnel, and of no later one.
pub const HANG_UP_ANNOTATION: &str = "moorline.dev/hang-up";
/// The class of a Camera that names none.
pub const DEFAULT_CLASS: &str = "standard";

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn comes_back<T: Serialize + DeserializeOwned>(written: Value) {
        let read: T = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), written);
    }

    /// A status is replaced whole: what is not read is removed.
    #[test]
    fn what_a_newer_release_wrote_into_a_status_is_written_again() {
        let (since, hash) = ("2026-11-20T21:10:05.250Z", "sha256:00");
        comes_back::<CameraStatus>(json!({
            "observedGeneration": 3,
            "session": {"generation": 7, "mon": "moorline-mon-0", "since": since, "newer": 1},
            "away": {"since": since, "cause": "tunnel_down", "newer": [2]},
            "relay": {"uid": "uid-1", "spki": hash, "newer": {"of": 3}},
            "found": {"main": {"path": "/ch0", "codec": "h264", "newer": 4}, "newer": 5},
            "uplink": {"since": since, "newer": 6},
            "upgrade": {"target": "mipsel", "version": "0.2.0", "state": "offered", "newer": 9},
            "enrolledKey": {
                "key": "ssh-ed25519 AAAA", "tokenHash": hash, "since": since, "newer": 7,
                "reused": {"at": since, "from": "192.0.2.1", "key": "SHA256:a", "times": 2, "newer": 8},
            },
            "classes": ["r014"],
            "newest": {"of": {"all": true}},
        }));
        comes_back::<TenantStatus>(json!({"storageId": "a", "erased": false, "newest": [1, 2]}));
    }
}
