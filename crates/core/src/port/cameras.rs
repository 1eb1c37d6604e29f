use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::PortError;
use crate::alarm::Notice;
use crate::camera::{Access, Camera, CameraKey, CameraSet, Enabled, Record, RecordBy, Source};
use crate::id::{CameraId, Generation, SessionId};
use crate::key::PublicKey;
use crate::network::Network;
use crate::segment::{Retention, Tier};
use crate::status::OpenGap;
use crate::streampoint::Streampoint;
use crate::time::Timestamp;

/// All cameras, in memory (promise P7): used on the SSH handler's path.
#[async_trait]
pub trait CameraDirectory: Send + Sync {
    /// The present set. Never blocks.
    fn snapshot(&self) -> Arc<CameraSet>;

    /// Waits until [`CameraDirectory::version`] differs from `seen`, and returns it. Cancel-safe; no deadline. Several changes may be
    /// seen as one: compare snapshots.
    async fn changed(&self, seen: u64) -> u64;

    /// Counts changes. Never blocks.
    fn version(&self) -> u64;
}

/// What changes a camera record.
#[async_trait]
pub trait CameraAdmin: Send + Sync {
    /// Adds a camera.
    ///
    /// # Errors
    /// [`CameraAdminError::Exists`], [`CameraAdminError::KeyTaken`]; nothing is stored then.
    async fn add(&self, camera: Camera) -> Result<(), CameraAdminError>;

    /// Adds all of these cameras or none (promise P11). `dry_run`: none, and what would refuse them is told all the same.
    ///
    /// # Errors
    /// [`ImportError`]; nothing is stored then.
    async fn import(&self, cameras: Vec<Camera>, dry_run: bool) -> Result<(), ImportError> {
        let _ = (cameras, dry_run);
        Err(ImportError::NotHere)
    }

    /// Changes the fields that are given; all or none. Returns the record as it is now.
    ///
    /// # Errors
    /// [`CameraAdminError::Unknown`], [`CameraAdminError::Changed`].
    async fn set(&self, id: &CameraId, change: CameraChange) -> Result<Camera, CameraAdminError>;

    /// Removes the record; its recordings stay. Its claims are forgotten, but its generation goes on should the name return.
    ///
    /// # Errors
    /// [`CameraAdminError::Unknown`].
    async fn remove(&self, id: &CameraId) -> Result<(), CameraAdminError>;

    /// Before [`CameraAdmin::remove`]: its recordings are to go with it. `true`: whoever keeps the records sees to that by itself from then on
    /// (in a cluster the sweeper). `false`: nobody does, and the caller erases them. Idempotent.
    ///
    /// # Errors
    /// [`CameraAdminError::Unknown`].
    async fn erase_with_it(&self, id: &CameraId) -> Result<bool, CameraAdminError> {
        let _ = id;
        Ok(false)
    }

    /// Ends the tunnel that a camera has now, where another process holds it ([`Statuses::holds_tunnels`]): whoever does is told, and this returns once it has.
    /// Without a tunnel nothing changes. The camera may come back.
    ///
    /// [`Statuses::holds_tunnels`]: super::Statuses::holds_tunnels
    ///
    /// # Errors
    /// [`CameraAdminError::Unknown`]; [`CameraAdminError::Unavailable`]: its holder has not ended it yet. It is still to be ended then.
    async fn hang_up(&self, id: &CameraId) -> Result<(), CameraAdminError> {
        let _ = id;
        let why = "whoever holds the tunnel is not told of it here";
        Err(CameraAdminError::Refused(why.to_owned()))
    }

    /// Adds a key. Adding one that the camera has changes nothing.
    ///
    /// # Errors
    /// [`CameraAdminError::Unknown`], [`CameraAdminError::KeyTaken`].
    async fn add_key(&self, id: &CameraId, key: CameraKey) -> Result<(), CameraAdminError>;

    /// Takes a key away, so that its sessions end.
    ///
    /// # Errors
    /// [`CameraAdminError::Unknown`], [`CameraAdminError::UnknownKey`].
    async fn revoke_key(&self, id: &CameraId, key: &PublicKey) -> Result<(), CameraAdminError>;
}

/// Fields of a camera to be changed; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CameraChange {
    /// New title.
    pub title: Option<String>,
    /// New site; `Some(None)` clears it.
    pub site: Option<Option<String>>,
    /// New time zone.
    pub timezone: Option<String>,
    /// New way of access.
    pub access: Option<Access>,
    /// New main source.
    pub main: Option<Source>,
    /// New sub source; `Some(None)` clears it.
    pub sub: Option<Option<Source>>,
    /// What to record from now on.
    pub record: Option<Record>,
    /// Who chose that.
    pub record_by: Option<RecordBy>,
    /// How long to keep what is recorded from now on.
    pub retention: Option<Retention>,
    /// Whether it may connect.
    pub enabled: Option<Enabled>,
    /// New server for its stream; `Some(None)`: this one again.
    pub streampoint: Option<Option<Streampoint>>,
    /// New networks from which alone its tunnels are taken; empty: from anywhere.
    pub allow_from: Option<Vec<Network>>,
    /// The record on which the change was decided, if it depends on it: if the record is another one by now, nothing is changed
    /// ([`CameraAdminError::Changed`]), and the caller decides anew. So two changes at once both stay.
    pub decided_on: Option<Box<Camera>>,
}

impl CameraChange {
    /// Carries the change out on a record.
    pub fn apply(self, camera: &mut Camera) {
        fn put<T>(field: &mut T, new: Option<T>) {
            if let Some(new) = new {
                *field = new;
            }
        }
        put(&mut camera.title, self.title);
        put(&mut camera.site, self.site);
        put(&mut camera.timezone, self.timezone);
        put(&mut camera.access, self.access);
        put(&mut camera.main, self.main);
        put(&mut camera.sub, self.sub);
        put(&mut camera.record, self.record);
        put(&mut camera.record_by, self.record_by);
        put(&mut camera.retention, self.retention);
        put(&mut camera.enabled, self.enabled);
        put(&mut camera.streampoint, self.streampoint);
        put(&mut camera.allow_from, self.allow_from);
    }
}

/// Why a change was refused. Nothing is half applied.
#[derive(Debug, thiserror::Error)]
pub enum CameraAdminError {
    /// The name is taken.
    #[error("camera {0} exists already")]
    Exists(CameraId),
    /// There is no such camera.
    #[error("there is no camera {0}")]
    Unknown(CameraId),
    /// The camera has no such key.
    #[error("camera {camera} has no key {fingerprint}")]
    UnknownKey {
        /// The camera.
        camera: CameraId,
        /// The key's fingerprint.
        fingerprint: String,
    },
    /// The record is not the one on which the change was decided.
    #[error("camera {0} was changed by somebody else meanwhile")]
    Changed(CameraId),
    /// Keys are unique (rule S2).
    #[error("the key {fingerprint} belongs to {owner} already")]
    KeyTaken {
        /// The key's fingerprint.
        fingerprint: String,
        /// Whose it is.
        owner: String,
    },
    /// A field is wrong.
    #[error("{field} = {value:?}: {expected}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Whoever keeps the records refused: a policy, a quota, the caller's rights, in its own words. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// Whoever keeps the records does not answer: it may have been done or not.
    #[error("{0}")]
    Unavailable(String),
    /// The adapter failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Why none of several cameras was added.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Some cannot be added: each by its place in the list, with why, in the list's order.
    #[error("{} of the cameras cannot be added", .0.len())]
    Cameras(Vec<(usize, CameraAdminError)>),
    /// Whoever keeps the records cannot add several at once or none.
    #[error("no cameras are added here")]
    NotHere,
    /// The adapter failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// A class and a tier in which something of a camera was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UsedClass {
    /// The retention class: where a LIST begins.
    pub retention: Retention,
    /// The tier.
    pub tier: Tier,
}

/// Where recordings of a camera may lie: one LIST per class, and none elsewhere. Adding and changing a camera notes what it records from
/// then on, together with the record; the list outlives the record, as recordings do.
#[async_trait]
pub trait UsedClasses: Send + Sync {
    /// All that a camera has used, ascending. It may name one in which nothing is stored (any more); it leaves none out, once
    /// [`UsedClasses::is_complete`]. In memory, never blocks.
    fn of(&self, camera: &CameraId) -> Vec<UsedClass>;

    /// Notes what the store was found to hold. Idempotent; all or nothing. The cameras need not exist (any more).
    ///
    /// # Errors
    /// [`PortError`].
    async fn note(&self, found: &[(CameraId, UsedClass)]) -> Result<(), PortError>;

    /// Everything of a camera was erased: what is left is what it records now. Idempotent.
    ///
    /// # Errors
    /// [`PortError`].
    async fn forget(&self, camera: &CameraId) -> Result<(), PortError>;

    /// Whether the store was searched for what may have been recorded before this registry was made, or restored. Never blocks.
    fn is_complete(&self) -> bool;

    /// It was. Idempotent.
    ///
    /// # Errors
    /// [`PortError`].
    async fn completed(&self) -> Result<(), PortError>;
}

/// Who may serve a camera: a compare-and-swap per tunnel, persisted, strictly increasing.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Takes the next generation of a camera for a session. Deadline: 5 s. Not idempotent: each call gives a newer one. A session that was claimed
    /// before takes nothing from another process that was given the camera since.
    ///
    /// # Errors
    /// [`ClaimError`]; the session is to be ended then.
    async fn claim(&self, camera: &CameraId, session: SessionId) -> Result<Generation, ClaimError>;

    /// Gives a claim back. Idempotent; an older generation than the present one changes nothing.
    ///
    /// # Errors
    /// [`PortError`]; the claim is superseded by the next one anyway.
    async fn release(&self, camera: &CameraId, generation: Generation) -> Result<(), PortError>;

    /// Gives a claim back for which nothing was started here. What another process had started for the camera waits for it, as after any loss.
    /// Idempotent; where there is no other process it is a release.
    ///
    /// # Errors
    /// As [`Claims::release`].
    async fn give_back(&self, camera: &CameraId, generation: Generation) -> Result<(), PortError> {
        self.release(camera, generation).await
    }

    /// What the process that had the camera before has left of it, as the claim of that generation read it: the news of it ([`Memories::news`]) may
    /// still be under way. `None` where there is no other process. In memory, never blocks.
    fn left(&self, _camera: &CameraId, _generation: Generation) -> Option<Memory> {
        None
    }

    /// How much longer what was started for a lost camera waits for it although its grace is over: another process may have been given the camera,
    /// and this one could not hear of it. To be asked again then, not before. Zero where there is no other process, and in ordinary times. In memory,
    /// never blocks.
    fn hold(&self) -> Duration {
        Duration::ZERO
    }
}

/// Why a claim failed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The camera was removed meanwhile.
    #[error("there is no camera {0}")]
    Unknown(CameraId),
    /// The adapter failed or took too long.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What the monitor must know again after a restart (promise P4): persisted per camera.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// The instant up to which everything was durable or explained.
    pub durable_until: Option<Timestamp>,
    /// The end of the newest recording that was durable; `None`: none is known.
    pub recorded_until: Option<Timestamp>,
    /// The stretches without media since `durable_until`, each with its end, in order; the last may be open. At most 1,000: older ones merge.
    pub gaps: Vec<(OpenGap, Option<Timestamp>)>,
    /// The alarm that was raised and not yet cleared: since when recording stood still.
    pub alarmed_since: Option<Timestamp>,
    /// The networks that the camera last came from, by their first address, and the version lines of its last SSH clients (rule S4): at most
    /// 8 of each, oldest first.
    pub networks: Vec<IpAddr>,
    /// See `networks`.
    pub clients: Vec<String>,
    /// The last notices, at most 8, oldest first.
    pub notices: Vec<Notice>,
    /// Up to when this is known to be true: the last sign of life before the process ended. Given by [`Memories::load`] from
    /// [`Memories::alive`]; `None` if there was none. Not stored with the memory itself.
    pub alive_until: Option<Timestamp>,
}

/// Keeps [`Memory`].
#[async_trait]
pub trait Memories: Send + Sync {
    /// All that is remembered. Called once, at start.
    ///
    /// # Errors
    /// [`PortError`].
    async fn load(&self) -> Result<Vec<(CameraId, Memory)>, PortError>;

    /// Remembers; replaces what was there. Idempotent. A camera that does not exist is ignored.
    ///
    /// # Errors
    /// [`PortError`]; the caller tries again with the next change.
    async fn store(&self, camera: &CameraId, memory: &Memory) -> Result<(), PortError>;

    /// Waits for what other processes have remembered of cameras since [`Memories::load`], and returns it. Cancel-safe; no deadline. Never returns where
    /// there is no other process.
    async fn news(&self) -> Vec<(CameraId, Memory)> {
        std::future::pending().await
    }

    /// The process lives at this instant: whatever is stored was true up to it. One small write for all cameras. Idempotent. Deadline: 5 s.
    ///
    /// # Errors
    /// [`PortError`]; the caller goes on, and the next one counts.
    async fn alive(&self, at: Timestamp) -> Result<(), PortError>;
}
