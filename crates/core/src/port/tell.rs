use async_trait::async_trait;

use crate::alarm::{Alarm, NoticeKind, Untold};
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

    /// What each channel of the alarms has not told yet; a channel that has told everything is in it too. Never blocks. Empty where another
    /// process tells.
    fn untold(&self) -> Vec<Untold> {
        Vec::new()
    }

    /// The operator hangs up on a camera: the session ends and its workloads drain. Idempotent.
    fn hang_up(&self, camera: &CameraId);

    /// Whether this process holds the tunnels. Where another one does, [`Statuses::tell_agent`] and [`Statuses::diagnose`] reach no camera, and
    /// a hang-up is told to [`CameraAdmin::hang_up`].
    ///
    /// [`CameraAdmin::hang_up`]: super::CameraAdmin::hang_up
    fn holds_tunnels(&self) -> bool {
        true
    }

    /// Says a line of MOORLINE/1 to the camera's agent: `CONFIG …`, `REFER …`, `REKEY`, `REKEYED …` or `REBOOT`. It is sent once, to the session that serves or the newest
    /// one; what a camera keeps of it is the camera's. At most 16 wait.
    ///
    /// # Errors
    /// [`TellError`]; nothing is said then.
    fn tell_agent(&self, camera: &CameraId, line: &str) -> Result<(), TellError> {
        let _ = (camera, line);
        Err(TellError::Away)
    }

    /// Something about a camera that its owner should know: shown, logged and told as any notice. Never blocks; an unknown camera, and a
    /// process that watches none, does nothing.
    fn notice(&self, camera: &CameraId, what: NoticeKind) {
        let _ = (camera, what);
    }

    /// Asks the camera's agent what is wrong; it answers in [`CameraStatus::said`], as `diag.…` and `diag.asked`. At most once a minute; else,
    /// and without an agent, nothing happens.
    fn diagnose(&self, camera: &CameraId) {
        let _ = camera;
    }
}

/// Why nothing was said to a camera's agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    /// The line does not follow the grammar, or may not be said so: `<line>.<field>`.
    #[error("{0} is not right")]
    Wrong(String),
    /// No session with an agent is up.
    #[error("no agent of this camera is connected")]
    Away,
}

crate::words! {
    /// A way on which people are told, as the notifier calls it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum AlarmChannel {
        /// A request to a URL.
        Webhook = "webhook",
        /// A mail to each address.
        Email = "email",
    }
}

/// Why a message did not get out, by channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{channel}: {why}")]
pub struct NotifyError {
    /// The word of an [`AlarmChannel`].
    pub channel: &'static str,
    /// Why, in words; no secrets.
    pub why: String,
}

/// Tells somebody.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Sends by every configured channel; each tries again on its own for at most 10 minutes. Returns how each channel ended; empty if none
    /// is configured, or nobody is to be told by this process. A channel that reached some of its recipients has two results.
    async fn tell(&self, alarm: &Alarm) -> Vec<Result<&'static str, NotifyError>>;

    /// Whether any channel is configured: with none nobody is told, and nothing counts as told. Never blocks.
    fn reaches_anybody(&self) -> bool;

    /// Whether this process tells of that camera's recording: where several watch it, one of them does. May change at any time. Never blocks.
    fn tells_of(&self, camera: &CameraId) -> bool {
        let _ = camera;
        true
    }

    /// The ways on which a message goes out each by itself, so that whoever tells may keep a queue for each and one that is dead delays no
    /// other. One way for all, unless the adapter knows better.
    fn channels(&self) -> Vec<&'static str> {
        vec!["all"]
    }

    /// As [`Notifier::tell`], on one of [`Notifier::channels`].
    async fn tell_by(
        &self,
        _channel: &'static str,
        alarm: &Alarm,
    ) -> Vec<Result<&'static str, NotifyError>> {
        self.tell(alarm).await
    }
}
