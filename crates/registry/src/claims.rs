//! Generations of cameras: strictly increasing per name, durable before they are answered (promise P1).

use async_trait::async_trait;
use moorline_core::port::{ClaimError, Claims, PortError};
use moorline_core::{CameraId, Generation, SessionId};

use crate::group::{GroupCommit, Write};

/// `Claims` over the registry. A generation outlives the camera's record, a crash and a restored backup.
#[derive(Debug)]
pub struct ClaimBook {
    group: GroupCommit,
}

impl ClaimBook {
    pub(crate) fn new(group: GroupCommit) -> Self {
        Self { group }
    }
}

#[async_trait]
impl Claims for ClaimBook {
    async fn claim(&self, camera: &CameraId, session: SessionId) -> Result<Generation, ClaimError> {
        let write = Write::Claim {
            camera: camera.clone(),
            session,
        };
        let generation = self.group.write("claim a camera", write).await?;
        generation.ok_or_else(|| ClaimError::Unknown(camera.clone()))
    }

    async fn release(&self, camera: &CameraId, generation: Generation) -> Result<(), PortError> {
        let write = Write::Release {
            camera: camera.clone(),
            generation,
        };
        self.group
            .write("release a camera", write)
            .await
            .map(|_| ())
    }
}
