//! Cameras as a front door reads them: at their relays, which know path and login. Nothing is pulled unless somebody watches here, and no key
//! and no login of a camera is in this process' rings.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use moorline_core::camera::{Access, Camera, CameraSet, Record, Source};
use moorline_core::port::CameraDirectory;

/// A directory of what there is at the relays.
pub(super) struct AtRelays {
    cameras: Arc<dyn CameraDirectory>,
    /// The last set, of which version it was made.
    made: Mutex<Option<(u64, Arc<CameraSet>)>>,
}

impl AtRelays {
    pub(super) fn new(cameras: Arc<dyn CameraDirectory>) -> Self {
        Self {
            cameras,
            made: Mutex::default(),
        }
    }
}

/// A camera as its relay shows it.
pub(super) fn at_relay(camera: &Camera) -> Camera {
    Camera {
        keys: Vec::new(),
        access: Access::Tunnel {
            forwards: Vec::new(),
        },
        main: Source::default(),
        sub: camera.sub.as_ref().map(|_| Source::default()),
        record: Record::Off,
        ..camera.clone()
    }
}

#[async_trait]
impl CameraDirectory for AtRelays {
    fn snapshot(&self) -> Arc<CameraSet> {
        // Before the set: a change between the two makes it once more, and never shows an old one as new.
        let version = self.cameras.version();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, set)) = &*made
            && *of == version
        {
            return Arc::clone(set);
        }
        let all = self.cameras.snapshot();
        let set = Arc::new(CameraSet::new(all.iter().map(|camera| at_relay(camera))));
        *made = Some((version, Arc::clone(&set)));
        set
    }

    async fn changed(&self, seen: u64) -> u64 {
        self.cameras.changed(seen).await
    }

    fn version(&self) -> u64 {
        self.cameras.version()
    }
}
