//! What the routes work with: ports, and values about this installation.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::StatusCode;
use bytes::Bytes;
use moorline_base::clock::SharedClock;
use moorline_core::CameraId;
use moorline_core::camera::Camera;
use moorline_core::port::{
    Audit, CameraAdmin, CameraDirectory, EnrollTokens, Landings, Recordings, Relays, SegmentStore,
    Statuses, Strangers, Users, WebSessions,
};
use moorline_core::segment::{Retention, Tier};
use moorline_core::{TimeRange, Timestamp};

use crate::api::{AgentReleaseView, AlertResult, DiskView, DoctorFinding, Ports, VerifyView};
use crate::problem::Problem;

/// Everything behind the routes. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    /// All cameras.
    pub cameras: Arc<dyn CameraDirectory>,
    /// Changes cameras.
    pub admin: Arc<dyn CameraAdmin>,
    /// Tokens by which strangers become cameras.
    pub tokens: Arc<dyn EnrollTokens>,
    /// People.
    pub users: Arc<dyn Users>,
    /// Signed-in browsers.
    pub sessions: Arc<dyn WebSessions>,
    /// Who did what.
    pub audit: Arc<dyn Audit>,
    /// What cameras are doing.
    pub statuses: Arc<dyn Statuses>,
    /// Live streams.
    pub relays: Arc<dyn Relays>,
    /// Byte streams to cameras, where this process holds their tunnels.
    pub landings: Option<Arc<dyn Landings>>,
    /// The archive.
    pub recordings: Arc<dyn Recordings>,
    /// Stored objects, for `segments get` and erasing.
    pub store: Arc<dyn SegmentStore>,
    /// Refused strangers.
    pub strangers: Arc<dyn Strangers>,
    /// What only the whole process can do.
    pub operations: Arc<dyn Operations>,
    /// Time.
    pub clock: SharedClock,
    /// Names and ports as the outside sees them.
    pub place: Arc<Place>,
}

impl Site {
    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.wall_ms())
    }

    /// How long recordings of a new camera are kept, unless whoever adds it says otherwise.
    pub fn retention(&self) -> Retention {
        let now = self.operations.retention();
        now.unwrap_or(self.place.retention)
    }

    /// The host keys as lines for a camera's `known_hosts`: as the process sees them now, else as it was told at the start.
    pub fn known_hosts(&self) -> Vec<String> {
        let now = self.operations.known_hosts();
        now.unwrap_or_else(|| self.place.known_hosts.clone())
    }

    /// The host keys that come next, likewise.
    pub fn next_host_keys(&self) -> Vec<String> {
        let now = self.operations.next_host_keys();
        now.unwrap_or_else(|| self.place.next_host_keys.clone())
    }
}

/// Names and ports as the outside sees them.
#[derive(Debug, Clone)]
pub struct Place {
    /// The host name in printed commands, which cameras know.
    pub public_host: String,
    /// The host name in the URLs of page and streams, which viewers know; mostly the same.
    pub viewer_host: String,
    /// Further host names and addresses under which the page is asked for (rule S13); loopback and literal addresses always are.
    pub hosts: Vec<String>,
    /// Ports as the outside sees them.
    pub ports: Ports,
    /// Lines for a camera's `known_hosts`, as they were at the start.
    pub known_hosts: Vec<String>,
    /// As [`Operations::next_host_keys`], likewise.
    pub next_host_keys: Vec<String>,
    /// `directory …` or `s3 …`, without secrets.
    pub store: String,
    /// The program's version.
    pub version: &'static str,
    /// The retention of a new camera, as it was at the start.
    pub retention: Retention,
}

/// What only the whole process can do. Local operators alone reach most of it.
#[async_trait]
pub trait Operations: Send + Sync {
    /// The disk with recordings, if they lie on one.
    fn disk(&self) -> Option<DiskView>;

    /// Whether several tenants share this server: then one has at most half of its places (P9).
    fn shared(&self) -> bool {
        false
    }

    /// Whether nobody set the host name that everybody is told.
    fn host_guessed(&self) -> bool {
        false
    }

    /// The retention of a new camera, where it may change while the process runs; else it stays [`Place::retention`].
    fn retention(&self) -> Option<Retention> {
        None
    }

    /// Lines for a camera's `known_hosts`, where they may change while the process runs; else they stay [`Place::known_hosts`].
    fn known_hosts(&self) -> Option<Vec<String>> {
        None
    }

    /// The public halves of the host keys that this server will have next, as base64 of their blobs, empty where none were made; likewise, else they
    /// stay [`Place::next_host_keys`].
    fn next_host_keys(&self) -> Option<Vec<String>> {
        None
    }

    /// What a camera's media was expired before, by retention.
    fn expired_before(&self, camera: &Camera) -> Timestamp;

    /// Looks for what the store lost or spoiled in a stretch, of one tier or of all that the camera has used; `full` reads every object.
    ///
    /// # Errors
    /// The store fails.
    async fn verify(
        &self,
        camera: &CameraId,
        tier: Option<Tier>,
        range: TimeRange,
        full: bool,
    ) -> Result<VerifyView, Problem>;

    /// Deletes all recordings of a camera. Idempotent.
    ///
    /// # Errors
    /// The store fails; what was deleted stays deleted.
    async fn erase(&self, camera: &CameraId) -> Result<u64, Problem>;

    /// Sends a test alarm by every configured channel.
    async fn alert_test(&self) -> Vec<AlertResult>;

    /// Looks at the whole installation.
    async fn doctor(&self) -> Vec<DoctorFinding>;

    /// Packs what a backup holds, not encrypted.
    ///
    /// # Errors
    /// A file cannot be read.
    async fn backup(&self) -> Result<Bytes, Problem>;

    /// A backup was written.
    fn backup_done(&self);

    /// Changes what is logged.
    ///
    /// # Errors
    /// The filter is wrong.
    fn set_log(&self, filter: &str) -> Result<(), Problem>;

    /// The releases of the on-camera agent that are here.
    ///
    /// # Errors
    /// They are kept elsewhere: by a cluster itself.
    async fn agent_releases(&self) -> Result<Vec<AgentReleaseView>, Problem> {
        Err(no_releases())
    }

    /// Takes a release file. The same one again changes nothing.
    ///
    /// # Errors
    /// It is none, or they are kept elsewhere.
    async fn add_agent_release(&self, _file: Vec<u8>) -> Result<AgentReleaseView, Problem> {
        Err(no_releases())
    }

    /// Sets how far a release goes.
    ///
    /// # Errors
    /// There is no such release or stage, or they are kept elsewhere.
    async fn roll_out(
        &self,
        _target: &str,
        _version: &str,
        _to: &str,
    ) -> Result<AgentReleaseView, Problem> {
        Err(no_releases())
    }
}

fn no_releases() -> Problem {
    let title =
        "a cluster itself keeps the releases of agents, and no part of it is asked for them";
    Problem::new(StatusCode::NOT_IMPLEMENTED, "elsewhere", title)
        .hint("moorline agent-release … --cluster speaks with the API server")
}
