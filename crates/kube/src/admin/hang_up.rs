//! Ends a camera's tunnel: the replica that holds it is told by an annotation, and answers by the status.

use std::time::Duration;

use kube::api::PostParams;
use moorline_core::CameraId;
use moorline_core::port::CameraAdminError;

use super::{CONFLICTS, KubeAdmin, refused};
use crate::call::{CALL, Fault, call};
use crate::resource::{self, ConditionKind, HANG_UP_ANNOTATION};

/// A tunnel that is to end has ended within this: its replica hears of it by its watch, and says so within 5 s.
const HANGING_UP: Duration = Duration::from_secs(20);

impl KubeAdmin {
    /// Orders the replica that holds the tunnel to end it, and waits until it has.
    pub(super) async fn end_tunnel(&self, id: &CameraId) -> Result<(), CameraAdminError> {
        let Some(generation) = self.order_hang_up(id).await? else {
            return Ok(());
        };
        let until = self.clock.monotonic() + HANGING_UP;
        loop {
            let object = match self.get(id).await {
                Ok(object) => object,
                // It is being removed, and its tunnel with it.
                Err(CameraAdminError::Unknown(_)) => return Ok(()),
                Err(error) => return Err(error),
            };
            let Some(replica) = up(&object, generation) else {
                self.directory.cache().saw_camera(object);
                return Ok(());
            };
            if self.clock.monotonic() >= until {
                return Err(CameraAdminError::Unavailable(format!(
                    "{replica} holds the tunnel, is told to end it, and has not done so within {} s: see whether that pod runs",
                    HANGING_UP.as_secs()
                )));
            }
            self.pause().await;
        }
    }

    /// Says in the resource that the tunnel of its present generation is to end, and gives that generation. `None`: nobody holds one.
    async fn order_hang_up(&self, id: &CameraId) -> Result<Option<u64>, CameraAdminError> {
        for _ in 0..CONFLICTS {
            let mut object = self.get(id).await?;
            let Some((generation, _)) = held(&object) else {
                return Ok(None);
            };
            let annotations = object.metadata.annotations.get_or_insert_default();
            annotations.insert(HANG_UP_ANNOTATION.into(), generation.to_string());
            let (api, parameters) = (self.api(id), PostParams::default());
            let replaced = api.replace(id.name(), &parameters, &object);
            match call(&*self.clock, CALL, replaced).await {
                Ok(object) => {
                    self.directory.cache().saw_camera(object);
                    return Ok(Some(generation));
                }
                // A claim came between: it is the tunnel that is there now which is meant.
                Err(Fault::Conflict) => {}
                Err(Fault::Missing) => return Err(CameraAdminError::Unknown(id.clone())),
                Err(fault) => return Err(refused(fault)),
            }
        }
        Err(refused(Fault::Busy(
            "others change this camera all the time".into(),
        )))
    }
}

/// The generation that is held, and the replica that holds it, pods that wait or drain included.
fn held(object: &resource::Camera) -> Option<(u64, &str)> {
    let session = object.status.as_ref()?.session.as_ref()?;
    Some((session.generation, session.mon.as_deref()?))
}

/// The replica whose tunnel of this generation is up.
fn up(object: &resource::Camera, generation: u64) -> Option<&str> {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    let mut connected = conditions.filter(|one| one.type_ == ConditionKind::Connected.as_str());
    let lost = connected.any(|connected| connected.status != "True");
    let (present, replica) = held(object)?;
    (present == generation && !lost).then_some(replica)
}
