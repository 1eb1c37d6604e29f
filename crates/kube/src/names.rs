//! Names of what Moorline makes in a cluster. The way from a camera to its pods is these functions and the watch, never the parsing of a
//! pod's name.

use moorline_core::id::Label;
use moorline_core::lifecycle::Role;
use moorline_core::{CameraId, TenantId};
use sha2::{Digest as _, Sha256};

/// What a tenant's namespace is called.
pub fn namespace(tenant: &TenantId) -> String {
    format!("t-{tenant}")
}

/// Whose namespace this is; `None` for one that is no tenant's.
pub fn tenant(namespace: &str) -> Option<TenantId> {
    namespace.strip_prefix("t-")?.parse().ok()
}

/// The camera of that name in that namespace; `None` if no camera can have it.
pub fn camera(namespace: &str, name: &str) -> Option<CameraId> {
    Some(CameraId::new(
        tenant(namespace)?,
        name.parse::<Label>().ok()?,
    ))
}

/// The service account of a role's pods, in each tenant's namespace.
pub fn account(role: Role) -> String {
    format!("moorline-{role}", role = role.as_str())
}

/// The ConfigMap of a tenant's namespace that tells pods and people how the installation is reached.
pub const CONFIG: &str = "moorline";

/// The ConfigMap of the installation's namespace that says how far each release of the agent is rolled out.
pub const AGENT_ROLLOUT: &str = "moorline-agent-rollout";

/// The ConfigMap with a release of the agent. Targets have characters that no name of an object has.
pub fn agent_release(target: &str, version: &str) -> String {
    format!("moorline-agent-{version}-{}", digest([target]))
}

/// The Secret with a camera's own passwords.
pub fn password_secret(camera: &str) -> String {
    format!("{camera}-rtsp")
}

/// What shapes a camera's pods, as one text: two versions of mon agree on it, since it is made of fields of Camera and CameraClass, not of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape(String);

impl Shape {
    /// The shape of the pods of the camera with this uid, by the fields that shape them, in a fixed order.
    pub fn new<'a>(uid: &'a str, fields: impl IntoIterator<Item = &'a str>) -> Self {
        Self(digest(["1", uid].into_iter().chain(fields)))
    }

    /// Ten hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a role's pod. `predecessor` is the uid of the pod that it succeeds: so a successor is possible while that one is still
/// terminating, and whoever sees the same predecessor chooses the same name, so that *already exists* is a lock.
pub fn pod(camera: &str, role: Role, shape: &Shape, predecessor: Option<&str>) -> String {
    let hash = digest([shape.as_str(), role.as_str(), predecessor.unwrap_or("")]);
    format!("cam-{camera}-{}-{hash}", role.as_str())
}

fn digest<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for field in fields {
        // With its length: no two lists of fields run together.
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field.as_bytes());
    }
    let mut text = hex::encode(hash.finalize());
    text.truncate(10);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fixed_by_what_shapes_a_pod_and_by_its_predecessor() {
        let shape = |image| Shape::new("u-1", [image, "64Mi"]);
        let first = pod("yard", Role::Relay, &shape("a"), None);
        assert_eq!(first, pod("yard", Role::Relay, &shape("a"), None));
        assert!(first.starts_with("cam-yard-relay-"), "{first}");
        assert_ne!(first, pod("yard", Role::Relay, &shape("b"), None));
        assert_ne!(first, pod("yard", Role::Relay, &shape("a"), Some("p-1")));
        assert_ne!(Shape::new("u", ["ab", "c"]), Shape::new("u", ["a", "bc"]));
    }

    #[test]
    fn a_namespace_is_a_tenants_or_nobodys() {
        let acme: TenantId = "acme".parse().unwrap();
        assert_eq!(tenant(&namespace(&acme)), Some(acme));
        assert_eq!(tenant("kube-system"), None);
        assert_eq!(camera("t-acme", "yard"), "acme/yard".parse().ok());
        assert_eq!(camera("t-acme", "yard.1"), None);
    }
}
