use async_trait::async_trait;

use crate::alarm::Alarm;
use crate::id::{CameraId, TenantId};
use crate::status::CameraStatus;

/// What cameras are doing. From memory; never blocks.
#[async_trait]
pub trait Statuses: Send + Sync {
    /// One camera; `None` if there is no such camera.
    fn get(&self, camera: &CameraId) -> Option<CameraStatus>;

    /// All cameras of a tenant, by id.
    fn list(&self, tenant: &TenantId) -> Vec<CameraStatus>;

    /// Waits until any status differs from what it was at `seen`, and returns the new count. Cancel-safe; no deadline.
    async fn changed(&self, seen: u64) -> u64;

    /// Counts changes. Never blocks.
    fn version(&self) -> u64;

    /// The operator hangs up on a camera: the session ends and its workloads drain. Idempotent.
    fn hang_up(&self, camera: &CameraId);

    /// Whether [`Statuses::hang_up`] does it: not where another process holds the tunnels.
    fn can_hang_up(&self) -> bool {
        true
    }

    /// Asks the camera's agent what is wrong; it answers in [`CameraStatus::said`], as `diag.…` and `diag.asked`. At most once a minute; else,
    /// and without an agent, nothing happens.
    fn diagnose(&self, camera: &CameraId) {
        let _ = camera;
    }
}

/// Why a message did not get out, by channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{channel}: {why}")]
pub struct NotifyError {
    /// `webhook` or `email`.
    pub channel: &'static str,
    /// Why, in words; no secrets.
    pub why: String,
}

/// Tells somebody.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Sends by every configured channel; each tries again on its own for at most 10 minutes. Returns how each channel ended; empty if none
    /// is configured.
    async fn tell(&self, alarm: &Alarm) -> Vec<Result<&'static str, NotifyError>>;
}
