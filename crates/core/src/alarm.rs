//! What somebody is told.

use serde::Serialize;

use crate::cause::Cause;
use crate::id::{CameraId, TenantId};
use crate::time::Timestamp;

/// A camera in an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlarmCamera {
    /// Which.
    pub id: CameraId,
    /// What people call it.
    pub title: String,
    /// Since when recording stands still (or stood still, in an all-clear).
    pub since: Timestamp,
    /// Why.
    pub cause: Cause,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// Whose cameras.
    pub tenant: TenantId,
    /// When it was raised.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: AlarmKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "alarm")]
pub enum AlarmKind {
    /// `durable until` stands still although the cameras are enabled.
    RecordingStopped {
        /// The site whose cameras failed together; `None` for a camera without one.
        site: Option<String>,
        /// The cameras, at least one.
        cameras: Vec<AlarmCamera>,
    },
    /// The all-clear of an earlier [`AlarmKind::RecordingStopped`].
    RecordingResumed {
        /// The site.
        site: Option<String>,
        /// The cameras, at least one.
        cameras: Vec<AlarmCamera>,
    },
    /// One key connects from two places again and again.
    KeyInTwoPlaces {
        /// Which camera.
        camera: CameraId,
        /// Both addresses, untrusted only in that NAT may stand before them.
        peers: Vec<String>,
    },
    /// `moorline alert test`.
    Test,
}
