//! The pods of a camera: as small and as shut in as they can be.
//!
//! Each *must* stands beside its field. Tokens are projected with one audience per receiver, the account's own is not mounted; passwords are
//! mounted into the relay alone; nothing is written but to the scratch and the spool.

use k8s_openapi::api::core::v1::Pod;
use kube::Resource as _;
use moorline_core::CameraId;
use moorline_core::lifecycle::Role;
use serde_json::{Value, json};

use super::view::SHAPE;
use crate::names::{self, Shape};
use crate::resource::{
    CAMERA_LABEL, Camera, CameraClassSpec, MANAGED_BY, MANAGED_BY_LABEL, ROLE_LABEL,
};

/// The audience of tokens for the tunnel gateway.
pub const GATEWAY_AUDIENCE: &str = "moorline-gateway";
/// The audience of tokens for the signer.
pub const SIGNER_AUDIENCE: &str = "moorline-signer";
/// Where a relay serves RTSP over TLS.
pub const RELAY_PORT: u16 = 8554;
/// Where probes and metrics are answered.
const ADMIN_PORT: u16 = 9464;
/// What runs in both, and not the image's entrypoint: a small process. The admission policy of the chart knows it by this path.
const PROGRAM: &str = "/usr/bin/moorline-workload";
/// The user of every container.
const USER: u32 = 65_532;
/// What the spool may fill of its volume, in hundredths: a pod over the volume's limit is evicted, spool and all.
const SPOOL_SHARE: u64 = 90;

/// What all pods of the installation share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSettings {
    /// Host and port of the tunnel gateway's Service; TLS verifies this name, whatever address is dialled.
    pub gateway: String,
    /// Host and port of the signer's Service.
    pub signer: String,
}

/// What shapes a camera's pods: the fields of Camera and CameraClass, in a fixed order.
pub(crate) fn shape(camera: &Camera, class: &CameraClassSpec) -> Shape {
    let uid = camera.metadata.uid.as_deref().unwrap_or_default();
    let mut fields = vec![
        &*class.image,
        &*class.image_pull_policy,
        class.priority_class.as_deref().unwrap_or_default(),
        &*class.relay.memory,
        &*class.relay.cpu,
        &*class.archiver.memory,
        &*class.archiver.cpu,
        &*class.archiver.spool,
        &*class.archiver.segment,
    ];
    fields.extend(
        logins(camera)
            .into_iter()
            .flat_map(|(source, key)| [source, key]),
    );
    Shape::new(uid, fields)
}

/// Which sources have a login, and the key of its password.
fn logins(camera: &Camera) -> Vec<(&'static str, &str)> {
    let sources = &camera.spec.sources;
    let named = [("main", Some(&sources.main)), ("sub", sources.sub.as_ref())];
    let logins = named.into_iter().filter_map(|(name, source)| {
        let login = source?.login.as_ref()?;
        Some((name, login.password_secret_ref.key.as_str()))
    });
    logins.collect()
}

/// The pod.
///
/// # Errors
/// What the API's types do not take: a bug, or a quantity of the class that is none.
pub(crate) fn pod(
    id: &CameraId,
    camera: &Camera,
    class: &CameraClassSpec,
    role: Role,
    name: &str,
    settings: &PodSettings,
) -> Result<Pod, String> {
    let owner = camera
        .controller_owner_ref(&())
        .ok_or("the Camera has no uid")?;
    let (memory, cpu) = match role {
        Role::Relay => (&class.relay.memory, &class.relay.cpu),
        Role::Archiver => (&class.archiver.memory, &class.archiver.cpu),
    };
    let mut requests = json!({"memory": memory, "cpu": cpu, "ephemeral-storage": "16Mi"});
    let mut mounts = vec![
        json!({"name": "gateway-token", "mountPath": "/run/moorline/gateway", "readOnly": true}),
        json!({"name": "config", "mountPath": "/etc/moorline", "readOnly": true}),
        json!({"name": "scratch", "mountPath": "/run/moorline/scratch"}),
    ];
    let mut volumes = vec![
        token("gateway-token", GATEWAY_AUDIENCE),
        json!({"name": "config", "configMap": {"name": "moorline"}}),
        json!({"name": "scratch", "emptyDir": {"sizeLimit": "16Mi"}}),
    ];
    let mut environment = vec![
        json!({"name": "MOORLINE_WORKLOAD__GATEWAY", "value": settings.gateway}),
        // A ticket names the pod that it is for.
        json!({"name": "MOORLINE_WORKLOAD__POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}),
    ];
    let mut ports = vec![json!({"name": "admin", "containerPort": ADMIN_PORT})];
    let (part, grace) = match role {
        Role::Relay => {
            ports.push(json!({"name": "rtsps", "containerPort": RELAY_PORT}));
            if let Some(secret) = passwords(id, camera) {
                volumes.push(secret);
                mounts.push(json!({"name": "passwords", "mountPath": "/run/moorline/passwords", "readOnly": true}));
            }
            ("proxy", 5)
        }
        Role::Archiver => {
            volumes.push(token("signer-token", SIGNER_AUDIENCE));
            mounts.push(json!({"name": "signer-token", "mountPath": "/run/moorline/signer", "readOnly": true}));
            volumes.push(json!({"name": "spool", "emptyDir": {"sizeLimit": class.archiver.spool}}));
            mounts.push(json!({"name": "spool", "mountPath": "/var/lib/moorline/spool"}));
            // As much as the volume may hold, so that the scheduler knows what an outage of the store costs the node.
            requests["ephemeral-storage"] = class.archiver.spool.clone().into();
            environment
                .push(json!({"name": "MOORLINE_WORKLOAD__SIGNER", "value": settings.signer}));
            environment.push(
                json!({"name": "MOORLINE_WORKLOAD__SEGMENT", "value": class.archiver.segment}),
            );
            environment.push(json!({"name": "MOORLINE_WORKLOAD__SPOOL_BYTES", "value": format!("{}B", spool_bytes(&class.archiver.spool)?)}));
            // A ceiling, not a wait: sealing and uploading take seconds while the store answers.
            ("archive", 600)
        }
    };
    let pod = json!({
        "metadata": {
            "name": name,
            "namespace": names::namespace(id.tenant()),
            "labels": {MANAGED_BY_LABEL: MANAGED_BY, ROLE_LABEL: role.as_str(), CAMERA_LABEL: id.name()},
            "annotations": {
                SHAPE: shape(camera, class).as_str(),
                // Pods without a controller of Kubernetes' own block the autoscaler's scale-down otherwise.
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
            },
            "ownerReferences": [owner],
        },
        "spec": {
            "serviceAccountName": names::account(role),
            "automountServiceAccountToken": false,
            // 2,000 Services in the environment are "argument list too long" (kubernetes#92615).
            "enableServiceLinks": false,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": grace,
            "priorityClassName": class.priority_class,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "tolerations": [toleration("not-ready"), toleration("unreachable")],
            "containers": [{
                "name": role.as_str(),
                "image": class.image,
                "imagePullPolicy": class.image_pull_policy,
                "command": [PROGRAM],
                "args": [part, "--camera", id.to_string()],
                "env": environment,
                "ports": ports,
                // No limit of processor time: a throttled relay drops pictures.
                "resources": {"requests": requests, "limits": {"memory": memory}},
                "startupProbe": STARTS.value(),
                "readinessProbe": READY.value(),
                "livenessProbe": LIVES.value(),
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    });
    serde_json::from_value(pod).map_err(|error| error.to_string())
}

fn token(name: &str, audience: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o440, "sources": [
        {"serviceAccountToken": {"audience": audience, "expirationSeconds": 3600, "path": "token"}},
    ]}})
}

/// The Secret `<camera>-rtsp` and no other, whatever the resource says (rule S23). The pod starts without it: the camera then says 401.
fn passwords(id: &CameraId, camera: &Camera) -> Option<Value> {
    let mut logins = logins(camera);
    // A sub stream that the camera's agent finds has the login of the main one: its password is there, and the pod of one shape, whatever is found.
    if camera.spec.sources.sub.is_none()
        && let Some((_, key)) = logins.first().copied()
    {
        logins.push(("sub", key));
    }
    let items: Vec<Value> = logins
        .iter()
        .map(|(source, key)| json!({"key": key, "path": source}))
        .collect();
    (!items.is_empty()).then(|| {
        json!({"name": "passwords", "secret": {
            "secretName": names::password_secret(id.name()), "defaultMode": 0o440, "optional": true, "items": items,
        }})
    })
}

/// The spool's own bound in bytes.
pub(super) fn spool_bytes(limit: &str) -> Result<u64, String> {
    let (digits, unit) = limit.split_at(limit.len().saturating_sub(2));
    let unit: u64 = match unit {
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => {
            return Err(format!(
                "archiver.spool = {limit:?}: use a size such as 2Gi"
            ));
        }
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("archiver.spool = {limit:?}: use a size such as 2Gi"))?;
    let bytes = number
        .checked_mul(unit)
        .and_then(|bytes| bytes.checked_mul(SPOOL_SHARE));
    bytes
        .map(|bytes| bytes / 100)
        .ok_or_else(|| format!("archiver.spool = {limit:?} is too much"))
}

/// A node that is gone is given up after 30 s, not after 300.
fn toleration(condition: &str) -> Value {
    json!({"key": format!("node.kubernetes.io/{condition}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30})
}

/// What the kubelet asks a container, and when it gives up.
struct Probe {
    path: &'static str,
    /// Seconds between two questions, and for an answer.
    period: u32,
    timeout: u32,
    /// So many failures in a row count.
    failures: u32,
    /// Whether the container is ended then.
    ends: bool,
}

/// A short period: a probe every 10 s adds up to 10 s to each start (knative#10973). Two minutes are for a node that is too busy to begin the process: an
/// archiver says the word before it reads what its spool holds, which may take longer than any bound, and is not ready until then.
const STARTS: Probe = Probe {
    path: "/healthz",
    period: 1,
    timeout: 1,
    failures: 120,
    ends: true,
};

const READY: Probe = Probe {
    path: "/readyz",
    period: 5,
    timeout: 1,
    failures: 3,
    ends: false,
};

/// Who has not said a constant word within 10 s, for a minute and a half, stands still: a pod that is merely slow answers one of nine. It is begun anew
/// in its place, so that an archiver finds its spool again.
const LIVES: Probe = Probe {
    path: "/healthz",
    period: 10,
    timeout: 10,
    failures: 9,
    ends: true,
};

/// What a container that does not answer gets to end by itself. Not the pod's own grace: an archiver would stand still for ten minutes more. What its spool
/// holds outlives it.
const ENDING: u32 = 15;

impl Probe {
    fn value(&self) -> Value {
        let mut probe = json!({
            "httpGet": {"path": self.path, "port": "admin"},
            "periodSeconds": self.period, "timeoutSeconds": self.timeout, "failureThreshold": self.failures,
        });
        if self.ends {
            // Refused for a readiness probe, which ends nothing.
            probe["terminationGracePeriodSeconds"] = ENDING.into();
        }
        probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(spec: Value) -> Camera {
        let mut camera = Camera::new("yard", serde_json::from_value(spec).unwrap());
        camera.metadata.uid = Some("u-1".into());
        camera.metadata.namespace = Some("t-acme".into());
        camera
    }

    fn class() -> CameraClassSpec {
        serde_json::from_value(json!({"image": "moorline@sha256:00"})).unwrap()
    }

    fn made(camera: &Camera, role: Role) -> Value {
        let settings = PodSettings {
            gateway: "moorline-mon.moorline:8443".into(),
            signer: "moorline-signer.moorline:8444".into(),
        };
        let id = "acme/yard".parse().unwrap();
        serde_json::to_value(pod(&id, camera, &class(), role, "x", &settings).unwrap()).unwrap()
    }

    #[test]
    fn a_pod_is_shut_in_as_podsecurity_restricted_wants_it() {
        for role in [Role::Relay, Role::Archiver] {
            let pod = made(&camera(json!({})), role);
            let (spec, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
            assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
            assert_eq!(
                spec["securityContext"]["seccompProfile"]["type"],
                "RuntimeDefault"
            );
            assert_eq!(
                container["securityContext"]["capabilities"]["drop"][0],
                "ALL"
            );
            assert_eq!(
                container["securityContext"]["allowPrivilegeEscalation"],
                false
            );
            assert_eq!(spec["automountServiceAccountToken"], false);
            assert_eq!(spec["enableServiceLinks"], false);
            assert!(container["resources"]["limits"]["cpu"].is_null());
            assert_eq!(
                container["resources"]["limits"]["memory"],
                container["resources"]["requests"]["memory"]
            );
            let kinds: Vec<&String> = spec["volumes"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|volume| {
                    volume
                        .as_object()
                        .unwrap()
                        .keys()
                        .filter(|key| *key != "name")
                })
                .collect();
            assert!(
                kinds
                    .iter()
                    .all(|kind| ["projected", "configMap", "emptyDir", "secret"]
                        .contains(&kind.as_str())),
                "{kinds:?}"
            );
        }
    }

    #[test]
    fn a_container_runs_what_the_admission_policy_lets_it_run() {
        let policy = include_str!("../../../../charts/moorline/templates/admission/workloads.yaml");
        assert!(policy.contains(&format!("command == [\"{PROGRAM}\"]")));
        for (role, part) in [(Role::Relay, "proxy"), (Role::Archiver, "archive")] {
            let pod = made(&camera(json!({})), role);
            let container = &pod["spec"]["containers"][0];
            assert_eq!(container["command"], json!([PROGRAM]));
            assert_eq!(container["args"], json!([part, "--camera", "acme/yard"]));
            assert!(policy.contains(&format!("\"{part}\"")), "{part}");
        }
    }

    #[test]
    fn a_relay_has_no_token_for_the_signer_and_an_archiver_no_password() {
        let login = json!({"sources": {"main": {"login": {"user": "a", "passwordSecretRef": {"name": "yard-rtsp", "key": "main"}}}}});
        let relay = made(&camera(login.clone()), Role::Relay).to_string();
        let archiver = made(&camera(login), Role::Archiver).to_string();
        assert!(relay.contains("yard-rtsp") && !relay.contains(SIGNER_AUDIENCE));
        assert!(archiver.contains(SIGNER_AUDIENCE) && !archiver.contains("yard-rtsp"));
    }

    #[test]
    fn the_relay_has_the_password_of_a_sub_stream_that_the_agent_may_find() {
        let login = |key: &str| json!({"login": {"user": "a", "passwordSecretRef": {"name": "yard-rtsp", "key": key}}});
        let items = |sources: Value| {
            let pod = made(&camera(json!({"sources": sources})), Role::Relay);
            let volumes = pod["spec"]["volumes"].as_array().unwrap();
            let volume = volumes.iter().find(|volume| volume["name"] == "passwords");
            volume.unwrap()["secret"]["items"].clone()
        };
        assert_eq!(
            items(json!({"main": login("main")})),
            json!([{"key": "main", "path": "main"}, {"key": "main", "path": "sub"}])
        );
        assert_eq!(
            items(json!({"main": login("main"), "sub": {"path": "/small"}})),
            json!([{"key": "main", "path": "main"}])
        );
    }

    #[test]
    fn a_pod_that_stands_still_is_begun_anew_in_its_place_and_a_slow_one_is_not() {
        for role in [Role::Relay, Role::Archiver] {
            let pod = made(&camera(json!({})), role);
            let container = &pod["spec"]["containers"][0];
            let [starts, ready, lives] = ["startupProbe", "readinessProbe", "livenessProbe"]
                .map(|probe| container[probe].clone());
            let number = |probe: &Value, field: &str| probe[field].as_u64().unwrap();
            let patience =
                |probe: &Value| number(probe, "periodSeconds") * number(probe, "failureThreshold");
            assert_eq!(lives["httpGet"]["path"], "/healthz", "{lives}");
            assert!((60..=120).contains(&patience(&lives)), "{lives}");
            assert_eq!(
                number(&lives, "timeoutSeconds"),
                number(&lives, "periodSeconds")
            );
            assert!(
                patience(&starts) >= 120,
                "a busy node begins it late: {starts}"
            );
            // A process under SIGSTOP hears no SIGTERM: until the kill it waits for all of the grace, 600 s in an archiver's pod.
            assert!(number(&lives, "terminationGracePeriodSeconds") <= 30);
            assert!(number(&starts, "terminationGracePeriodSeconds") <= 30);
            assert!(ready["terminationGracePeriodSeconds"].is_null(), "refused");
            assert_eq!(pod["spec"]["restartPolicy"], "Always");
            let volumes = pod["spec"]["volumes"].as_array().unwrap();
            let spool = volumes.iter().find(|volume| volume["name"] == "spool");
            assert!(
                spool.is_none_or(|spool| spool["emptyDir"].is_object()),
                "it outlives the container: {spool:?}"
            );
        }
    }

    #[test]
    fn the_spools_bound_lies_below_the_volumes_limit() {
        let pod = made(&camera(json!({})), Role::Archiver).to_string();
        assert!(
            pod.contains(&(2 * (1_u64 << 30) * 9 / 10).to_string()),
            "{pod}"
        );
        assert!(
            pod.contains("\"sizeLimit\":\"2Gi\"") && pod.contains("\"ephemeral-storage\":\"2Gi\"")
        );
        assert!(spool_bytes("2G").is_err() && spool_bytes("99999999999999999999Gi").is_err());
    }

    #[test]
    fn a_title_reshapes_nothing_and_an_image_does() {
        let before = shape(&camera(json!({})), &class());
        assert_eq!(before, shape(&camera(json!({"title": "Gate"})), &class()));
        let newer = CameraClassSpec {
            image: "moorline@sha256:11".into(),
            ..class()
        };
        assert_ne!(before, shape(&camera(json!({})), &newer));
    }
}
