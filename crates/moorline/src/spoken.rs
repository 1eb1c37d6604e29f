//! Cameras that say what a test has them say, for the tests of what listens to them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use moorline_core::port::Statuses;
use moorline_core::status::{CameraStatus, LinkStatus};
use moorline_core::{CameraId, TenantId, Timestamp};

/// What each connected camera says, key by key. Nothing else is known of them, and nobody hears of a change who does not ask.
#[derive(Default)]
pub struct Spoken(pub Mutex<BTreeMap<CameraId, BTreeMap<&'static str, String>>>);

#[async_trait]
impl Statuses for Spoken {
    fn get(&self, camera: &CameraId) -> Option<CameraStatus> {
        let all = self.0.lock().unwrap();
        let said = all.get(camera)?.iter();
        Some(CameraStatus {
            said: said
                .map(|(key, value)| ((*key).to_owned(), value.clone()))
                .collect(),
            ..CameraStatus::new(camera.clone(), LinkStatus::Absent, Timestamp::default())
        })
    }

    fn list(&self, _: &TenantId) -> Vec<CameraStatus> {
        Vec::new()
    }

    async fn changed(&self, _: u64) -> u64 {
        std::future::pending().await
    }

    fn version(&self) -> u64 {
        0
    }

    fn hang_up(&self, _: &CameraId) {}
}
