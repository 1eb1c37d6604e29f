//! The port `Recordings` over a store and a spool.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moorline_base::SharedClock;
use moorline_core::coverage::Coverage;
use moorline_core::port::{
    Export, OpenSegments, Playback, Recordings, RecordingsError, SegmentStore,
};
use moorline_core::segment::{Retention, Tier};
use moorline_core::{CameraId, TimeRange, Timestamp};

use crate::export::Exporter;
use crate::listing::View;
use crate::player::Player;

/// What of a camera may still be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Every retention class that the camera has used.
    pub classes: Vec<Retention>,
    /// What lies before this instant was removed by retention, or is about to be.
    pub expired_before: Timestamp,
}

/// Tells what of a camera is kept, at an instant. In memory, never blocking.
type Keeping = dyn Fn(&CameraId, Timestamp) -> Kept + Send + Sync;

/// The recordings of all cameras. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    pub(crate) store: Arc<dyn SegmentStore>,
    pub(crate) spool: Arc<dyn OpenSegments>,
    kept: Arc<Keeping>,
    clock: SharedClock,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").finish_non_exhaustive()
    }
}

impl Archive {
    /// Reads `store` and `spool`; `kept` knows classes and expiry of each camera.
    pub fn new(
        store: Arc<dyn SegmentStore>,
        spool: Arc<dyn OpenSegments>,
        kept: impl Fn(&CameraId, Timestamp) -> Kept + Send + Sync + 'static,
        clock: SharedClock,
    ) -> Self {
        Self {
            store,
            spool,
            kept: Arc::new(kept),
            clock,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.wall_ms())
    }

    pub(crate) async fn pause(&self, pause: Duration) {
        let until = self.clock.monotonic() + pause;
        self.clock.sleep_until(until).await;
    }

    pub(crate) fn kept(&self, camera: &CameraId) -> Kept {
        (self.kept)(camera, self.now())
    }

    fn view(&self, camera: &CameraId, tier: Option<Tier>) -> View {
        View {
            archive: self.clone(),
            camera: camera.clone(),
            tier,
        }
    }
}

#[async_trait]
impl Recordings for Archive {
    async fn coverage(
        &self,
        camera: &CameraId,
        tier: Option<Tier>,
        range: TimeRange,
    ) -> Result<Coverage, RecordingsError> {
        let range = TimeRange::new(range.from, range.to.min(self.now()));
        let found = self.view(camera, tier).range(range).await?;
        Ok(found.coverage)
    }

    async fn play(
        &self,
        camera: &CameraId,
        tier: Option<Tier>,
        from: Timestamp,
    ) -> Result<Box<dyn Playback>, RecordingsError> {
        Ok(Box::new(
            Player::start(self.view(camera, tier), from).await?,
        ))
    }

    async fn export(
        &self,
        camera: &CameraId,
        tier: Option<Tier>,
        range: TimeRange,
    ) -> Result<Box<dyn Export>, RecordingsError> {
        let range = TimeRange::new(range.from, range.to.min(self.now()));
        Ok(Box::new(
            Exporter::start(self.view(camera, tier), range).await?,
        ))
    }
}
