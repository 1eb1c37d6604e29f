//! Makes a camera, and takes back what was made here: all of it or nothing, and no other camera of the same name.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::Resource as _;
use kube::api::{DeleteParams, PostParams, Preconditions};
use moorline_core::camera::Camera;
use moorline_core::port::CameraAdminError;
use moorline_core::{CameraId, check};

use super::{KubeAdmin, UNCOUNTED, refused};
use crate::call::{CALL, Fault, call};
use crate::convert::{is_timezone, to_spec};
use crate::resource::{self, ARCHIVE_FINALIZER};

/// A name whose camera is still draining is waited for so long.
const DRAINING: Duration = Duration::from_secs(30);
/// What was made when the answer to it was lost is looked for so long.
const LOOKING: Duration = Duration::from_secs(10);
/// A camera is taken back in so many tries.
const TAKES: usize = 2;
/// After so many cameras in a row whose deletion has no answer the others are not tried: a thousand of them would be waited for for hours.
const SILENT: usize = 3;

/// A camera that was made here, and no other of its name.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) id: CameraId,
    uid: Option<String>,
}

impl Made {
    fn new(id: &CameraId, object: &resource::Camera) -> Self {
        Self {
            id: id.clone(),
            uid: object.metadata.uid.clone(),
        }
    }
}

impl KubeAdmin {
    /// What is wrong with a new camera, as far as it shows here.
    pub(crate) fn prepare(&self, camera: &mut Camera) -> Result<(), CameraAdminError> {
        let mut seen = BTreeSet::new();
        camera.keys.retain(|key| seen.insert(key.key.clone()));
        if self.directory.cache().records().get(&camera.id).is_some() {
            return Err(CameraAdminError::Exists(camera.id.clone()));
        }
        check::camera(camera, is_timezone)?;
        self.free(camera, &[])
    }

    /// Makes a camera with its password, or nothing.
    pub(super) async fn make(&self, camera: &Camera) -> Result<Made, CameraAdminError> {
        let created = self.create(camera, None).await?;
        let made = Made::new(&camera.id, &created);
        let owner = created.controller_owner_ref(&());
        if let Err(error) = self.write_passwords(camera, owner).await {
            // All or nothing: a camera whose password is nowhere would only fail at its relay.
            if let Err(fault) = self.take_back(&made).await {
                tracing::warn!(camera = %camera.id, %fault, "a camera without its password was not taken back");
            }
            return Err(error);
        }
        self.directory.cache().saw_camera(created);
        Ok(made)
    }

    /// Makes a camera that has a token and no password.
    pub(crate) async fn make_with_token(
        &self,
        camera: &Camera,
        token: resource::EnrolmentSpec,
    ) -> Result<Made, CameraAdminError> {
        let created = self.create(camera, Some(token)).await?;
        let made = Made::new(&camera.id, &created);
        self.directory.cache().saw_camera(created);
        Ok(made)
    }

    /// Deletes a camera that was made here. One of the same name that somebody made since stays.
    async fn take_back(&self, made: &Made) -> Result<(), Fault> {
        let api = self.api(&made.id);
        let parameters = DeleteParams::default().preconditions(Preconditions {
            uid: made.uid.clone(),
            resource_version: None,
        });
        let mut tries = TAKES;
        loop {
            tries -= 1;
            let deleted = api.delete(made.id.name(), &parameters);
            match call(&*self.clock, CALL, deleted).await {
                Ok(answer) => {
                    match answer.left() {
                        Some(object) => self.directory.cache().saw_camera(object),
                        None => self.gone(made),
                    }
                    return Ok(());
                }
                // The name is another camera's by now, or nobody's.
                Err(Fault::Missing | Fault::Conflict) => {
                    self.gone(made);
                    return Ok(());
                }
                Err(Fault::Unknown(_) | Fault::Busy(_)) if tries > 0 => self.pause().await,
                Err(fault) => return Err(fault),
            }
        }
    }

    fn gone(&self, made: &Made) {
        let cache = self.directory.cache();
        cache.camera_gone(&made.id, made.uid.as_deref());
    }

    /// Takes cameras back that were made before one that could not be. Tells of those that stay, each by its place, and why.
    pub(crate) async fn unmake(&self, made: &[Made]) -> Vec<(usize, Fault)> {
        let (mut left, mut silent) = (Vec::new(), 0);
        for (at, made) in made.iter().enumerate() {
            let taken = match silent < SILENT {
                true => self.take_back(made).await,
                false => Err(Fault::Unknown(
                    "others before it were not taken back either".into(),
                )),
            };
            match taken {
                Ok(()) => silent = 0,
                Err(fault) => {
                    silent += usize::from(matches!(fault, Fault::Unknown(_) | Fault::Busy(_)));
                    left.push((at, fault));
                }
            }
        }
        left
    }

    /// Whether the API server would make it: its policies, the tenant's quota, the caller's rights.
    pub(super) async fn would_be_made(&self, camera: &Camera) -> Result<(), CameraAdminError> {
        let object = self.object(camera)?;
        let api = self.api(&camera.id);
        let parameters = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        match call(&*self.clock, CALL, api.create(&parameters, &object)).await {
            // A name that is still draining is waited for when it is made, and a quota that is not counted yet too.
            Ok(_) | Err(Fault::Exists) => Ok(()),
            Err(Fault::Forbidden(message)) if message.contains(UNCOUNTED) => Ok(()),
            Err(Fault::Missing) => Err(no_tenant(camera)),
            Err(fault) => Err(refused(fault)),
        }
    }

    /// The resource of a new camera.
    fn object(&self, camera: &Camera) -> Result<resource::Camera, CameraAdminError> {
        let mut object = resource::Camera::new(camera.id.name(), to_spec(camera, &self.class)?);
        object.metadata.finalizers = Some(vec![ARCHIVE_FINALIZER.into()]);
        Ok(object)
    }

    /// Makes the resource. A name whose camera is still draining is waited for, and where the answer is lost it is looked whether the camera is there.
    async fn create(
        &self,
        camera: &Camera,
        token: Option<resource::EnrolmentSpec>,
    ) -> Result<resource::Camera, CameraAdminError> {
        let mut object = self.object(camera)?;
        object.spec.enrolment = token;
        let until = self.clock.monotonic() + DRAINING;
        loop {
            let (api, parameters) = (self.api(&camera.id), PostParams::default());
            let created = api.create(&parameters, &object);
            match call(&*self.clock, CALL, created).await {
                Ok(created) => return Ok(created),
                Err(Fault::Exists) => {}
                Err(Fault::Missing) => return Err(no_tenant(camera)),
                // Where the resources are new, the cluster has not counted this tenant's cameras yet.
                Err(Fault::Forbidden(message))
                    if message.contains(UNCOUNTED) && self.clock.monotonic() < until =>
                {
                    self.pause().await;
                    continue;
                }
                Err(fault @ Fault::Unknown(_)) => {
                    let found = self.find(&camera.id, &object).await;
                    return found.ok_or_else(|| refused(fault));
                }
                Err(fault) => return Err(refused(fault)),
            }
            let stands = self.get(&camera.id).await;
            let now = self.clock.monotonic();
            if !matches!(stands, Err(CameraAdminError::Unknown(_))) || now >= until {
                return Err(CameraAdminError::Exists(camera.id.clone()));
            }
            self.pause().await;
        }
    }

    /// What came of a camera whose answer was lost. `None`: it is not there, or nobody knows. Nobody else makes one of the same keys, or of the same
    /// token.
    async fn find(&self, id: &CameraId, sent: &resource::Camera) -> Option<resource::Camera> {
        let until = self.clock.monotonic() + LOOKING;
        loop {
            let api = self.api(id);
            match call(&*self.clock, CALL, api.get(id.name())).await {
                Ok(found) => {
                    let stands = found.metadata.deletion_timestamp.is_none();
                    return (stands && found.spec == sent.spec).then_some(found);
                }
                Err(Fault::Unknown(_) | Fault::Busy(_)) if self.clock.monotonic() < until => {
                    self.pause().await;
                }
                Err(_) => return None,
            }
        }
    }
}

fn no_tenant(camera: &Camera) -> CameraAdminError {
    CameraAdminError::Invalid {
        field: "tenant",
        value: camera.id.tenant().to_string(),
        expected: "there is no such tenant: an operator makes it with `moorline tenant add --cluster`",
    }
}
