//! `CameraAdmin` of a process that changes no camera.

use async_trait::async_trait;
use moorline_core::camera::{Camera, CameraKey};
use moorline_core::port::{CameraAdmin, CameraAdminError, CameraChange};
use moorline_core::{CameraId, PublicKey};

/// Refuses every change, and says why.
pub(super) struct Unchanged(&'static str);

impl Unchanged {
    /// Where the owner wants cameras to be changed by kubectl or GitOps alone.
    pub(super) const BY_THE_PAGE: Self =
        Self("cameras are changed by kubectl or GitOps here, not by the page");
    /// What the Internet reaches changes no camera (rule S18).
    pub(super) const BY_A_REPLICA: Self =
        Self("a replica of mon changes no camera: moorline camera … --cluster does");

    fn refusal(&self) -> CameraAdminError {
        CameraAdminError::Refused(self.0.to_owned())
    }
}

#[async_trait]
impl CameraAdmin for Unchanged {
    async fn add(&self, _: Camera) -> Result<(), CameraAdminError> {
        Err(self.refusal())
    }

    async fn set(&self, _: &CameraId, _: CameraChange) -> Result<Camera, CameraAdminError> {
        Err(self.refusal())
    }

    async fn remove(&self, _: &CameraId) -> Result<(), CameraAdminError> {
        Err(self.refusal())
    }

    async fn hang_up(&self, _: &CameraId) -> Result<(), CameraAdminError> {
        Err(self.refusal())
    }

    async fn add_key(&self, _: &CameraId, _: CameraKey) -> Result<(), CameraAdminError> {
        Err(self.refusal())
    }

    async fn revoke_key(&self, _: &CameraId, _: &PublicKey) -> Result<(), CameraAdminError> {
        Err(self.refusal())
    }
}
