//! The stories of all cameras, told by a watch while the bench measures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use moorline_core::CameraId;
use moorline_kube::resource::{self, ConditionKind};
use moorline_kube::{Sight, names};

use super::story::{Fact, Story, Version};

/// Stories by camera. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stories(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    cameras: BTreeMap<CameraId, Story>,
    broke: usize,
}

impl Stories {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was seen.
    pub fn add(&self, at: Instant, sight: Sight) {
        let (camera, fact) = match sight {
            Sight::Camera(object) => {
                let metadata = &object.metadata;
                let namespace = metadata.namespace.as_deref().unwrap_or_default();
                let name = metadata.name.as_deref().unwrap_or_default();
                let Some(camera) = names::camera(namespace, name) else {
                    return;
                };
                (camera, Fact::Camera(version(&object)))
            }
            Sight::Pod(pod) => {
                let (uid, leaving) = (pod.uid.0.clone(), pod.deleting);
                (pod.camera.clone(), Fact::Pod { uid, leaving })
            }
            Sight::PodGone { camera, uid } => (camera, Fact::PodGone { uid: uid.0 }),
            Sight::Broke => {
                self.lock().broke += 1;
                return;
            }
        };
        let mut told = self.lock();
        told.cameras.entry(camera).or_default().add(at, fact);
    }

    /// Looks at what was told of a camera so far.
    pub fn of<T>(&self, camera: &CameraId, look: impl FnOnce(&Story) -> T) -> T {
        match self.lock().cameras.get(camera) {
            Some(story) => look(story),
            None => look(&Story::default()),
        }
    }

    /// How often a watch broke.
    pub fn broke(&self) -> usize {
        self.lock().broke
    }
}

fn version(camera: &resource::Camera) -> Version {
    let status = camera.status.clone().unwrap_or_default();
    let session = status.session.unwrap_or_default();
    let archives = ConditionKind::Archiving.as_str();
    let (hold, do_not) = status
        .conditions
        .iter()
        .partition::<Vec<_>, _>(|condition| condition.status == "True");
    let wrong = do_not.into_iter().map(|condition| {
        let (kind, reason) = (&condition.type_, &condition.reason);
        format!("{kind} ({reason}) {}", condition.message)
    });
    Version {
        number: camera.metadata.resource_version.clone().unwrap_or_default(),
        generation: session.generation,
        mon: session.mon,
        archives: hold.iter().any(|condition| condition.type_ == archives),
        recorded: status
            .away
            .is_some_and(|away| away.recorded_until.is_some()),
        wrong: wrong.collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_camera_tells_by_its_status() {
        let condition = |kind: &str, status: &str, message: &str| {
            json!({
                "type": kind, "status": status, "reason": "Told", "message": message,
                "lastTransitionTime": "2026-11-30T12:00:00Z",
            })
        };
        let object = json!({
            "apiVersion": "moorline.dev/v1alpha1", "kind": "Camera",
            "metadata": {"name": "c0", "namespace": "t-bench", "resourceVersion": "7"},
            "spec": {},
            "status": {
                "session": {"generation": 3, "mon": "moorline-mon-1"},
                "away": {"since": "2026-11-30T12:00:00Z", "cause": "tunnel_down", "recordedUntil": "2026-11-30T12:00:00Z"},
                "conditions": [condition("Archiving", "True", ""), condition("RelayReady", "False", "401")],
            },
        });
        let stories = Stories::default();
        let object = Box::new(serde_json::from_value(object).unwrap());
        stories.add(Instant::now(), Sight::Camera(object));
        let camera = "bench/c0".parse().unwrap();
        let newest = stories.of(&camera, |story| story.newest().cloned());
        let wanted = Version {
            number: "7".to_owned(),
            generation: 3,
            mon: Some("moorline-mon-1".to_owned()),
            archives: true,
            recorded: true,
            wrong: vec!["RelayReady (Told) 401".to_owned()],
        };
        assert_eq!(newest, Some(wanted));
        stories.add(Instant::now(), Sight::Broke);
        assert_eq!(stories.broke(), 1);
    }
}
