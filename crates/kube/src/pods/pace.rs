//! How often pods are made (rule S5): of one camera, then of one tenant, before the places that all cameras of this replica share.
//!
//! Claims are damped, and a container that ends is begun anew by its kubelet, which paces itself. But nobody paces a pod that is over: a node may refuse
//! what the scheduler gives it, or evict it, and an owner may shape the pods anew again and again. Each asks for a successor at once.
//!
//! Pure: instants are arguments.

use std::time::{Duration, Instant};

use moorline_base::rate::Limiter;
use moorline_core::{CameraId, TenantId};

use super::view::Trouble;

/// So often in a second, and so often at once, pods of one camera are made: more than its claims need, which come down to five a minute, each with a relay
/// and an archiver that may be made one after the other.
const CAMERA_RATE: (f64, u32) = (0.2, 12);
/// The same of one tenant: as many as it may claim.
const TENANT_RATE: (f64, u32) = (25.0, 200);
/// Cameras and tenants that are remembered.
const REMEMBERED: usize = 10_000;
/// Whoever waits for others of the tenant asks again after so long at the earliest: a thousand cameras must not ask all the time.
const AGAIN: Duration = Duration::from_secs(1);

/// The buckets.
#[derive(Debug)]
pub(super) struct Pace {
    cameras: Limiter<CameraId>,
    tenants: Limiter<TenantId>,
}

impl Default for Pace {
    fn default() -> Self {
        let (camera, tenant) = (CAMERA_RATE, TENANT_RATE);
        Self {
            cameras: Limiter::new(camera.1, camera.0, REMEMBERED),
            tenants: Limiter::new(tenant.1, tenant.0, REMEMBERED),
        }
    }
}

impl Pace {
    /// Pods of that camera are to be made.
    ///
    /// # Errors
    /// How long to wait, and why: nothing was taken.
    pub(super) fn turn(
        &mut self,
        camera: &CameraId,
        now: Instant,
    ) -> Result<(), (Duration, Trouble)> {
        let late = |wait: Duration, message: &str| {
            let trouble = Trouble {
                reason: "TooManyStarts",
                message: message.to_owned(),
            };
            (wait, trouble)
        };
        let of_camera = self.cameras.try_take(camera.clone(), now);
        of_camera.map_err(|wait| late(wait, "pods of this camera are made again and again"))?;
        let of_tenant = self.tenants.try_take(camera.tenant().clone(), now);
        of_tenant.map_err(|wait| {
            self.cameras.give_back(camera);
            let message = "pods of many cameras of the tenant are made at once: its turn comes";
            late(wait.max(AGAIN), message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> CameraId {
        text.parse().unwrap()
    }

    #[test]
    fn s5_pods_of_one_camera_are_made_a_few_times_at_once_and_then_twelve_times_a_minute() {
        let (start, yard) = (Instant::now(), id("acme/yard"));
        let mut pace = Pace::default();
        let mut made = |seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            (0..100).filter(|_| pace.turn(&yard, now).is_ok()).count()
        };
        assert_eq!(made(0), 12);
        assert_eq!((1..=600).map(made).sum::<usize>(), 120);
    }

    #[test]
    fn s5_a_tenant_whose_pods_end_all_the_time_takes_nothing_from_the_others() {
        let now = Instant::now();
        let mut pace = Pace::default();
        let flood: Vec<CameraId> = (0..1_000).map(|n| id(&format!("acme/cam-{n}"))).collect();
        let late: Vec<&CameraId> = flood
            .iter()
            .filter(|camera| pace.turn(camera, now).is_err())
            .collect();
        assert_eq!(late.len(), 800);
        assert!(pace.turn(&id("shop/door"), now).is_ok());
        // What waited for its tenant has lost no turn of its own.
        let later = now + Duration::from_secs(8);
        let turns = (0..100).filter(|_| pace.turn(late[0], later).is_ok());
        assert_eq!(turns.count(), 12);
    }
}
