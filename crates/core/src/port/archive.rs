use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;

use super::PortError;
use crate::coverage::{Coverage, Held};
use crate::id::CameraId;
use crate::segment::{GapKey, ObjectKey, Retention, SegmentKey, Tier};
use crate::time::{TimeRange, Timestamp};

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its whole key.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Ascending by key.
    pub objects: Vec<Listed>,
    /// Whether more follow: list again after the last key.
    pub more: bool,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("the store has no object {0}")]
    Missing(String),
    /// The store has no room left.
    #[error("the store is full: {0}")]
    Full(String),
    /// The store refused: credentials, bucket, policy. Trying again will not help until somebody acts.
    #[error("the store refused: {0}")]
    Refused(String),
    /// The store took other bytes than were sent.
    #[error("the store holds other bytes than were sent for {0}")]
    Digest(String),
    /// The store is away, slow or overloaded: try again.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

impl StoreError {
    /// Whether trying again may help without anybody acting.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full(_) | Self::Digest(_))
    }
}

/// The read side of the segment store, and deletion. Every call has a deadline of 30 s.
#[async_trait]
pub trait SegmentStore: Send + Sync {
    /// Up to 1,000 objects under `prefix` whose keys sort after `after`, ascending.
    ///
    /// # Errors
    /// [`StoreError`]; an empty prefix is no error.
    async fn list(&self, prefix: &str, after: &str) -> Result<Page, StoreError>;

    /// Bytes `range` of an object, at most 64 MiB; shorter at its end.
    ///
    /// # Errors
    /// [`StoreError::Missing`].
    async fn get(&self, key: &str, range: std::ops::Range<u64>) -> Result<Bytes, StoreError>;

    /// Its size.
    ///
    /// # Errors
    /// [`StoreError::Missing`].
    async fn head(&self, key: &str) -> Result<u64, StoreError>;

    /// Deletes an object. Idempotent: one that is missing is no error.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Copies an object inside the store; overwrites. Idempotent.
    ///
    /// # Errors
    /// [`StoreError::Missing`].
    async fn copy(&self, from: &str, to: &str) -> Result<(), StoreError>;
}

/// A sealed file of the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFile {
    /// Where it lies. Its bytes do not change any more.
    pub path: PathBuf,
    /// The object's key.
    pub key: ObjectKey,
    /// Its length.
    pub bytes: u64,
    /// MD5 of its bytes, computed by one read at the seal. `None` where the sink says that it wants none.
    pub md5: Option<[u8; 16]>,
}

/// All that the archiver sees of the store: it does not list.
#[async_trait]
pub trait SegmentSink: Send + Sync {
    /// Stores a sealed file or gap marker, and removes it from the spool after the acknowledgement, in every adapter. Idempotent: the same
    /// key has the same bytes. Deadline: 30 s and 1 s per 100 kB. Cancelling may leave the object stored and the file in place.
    ///
    /// # Errors
    /// [`StoreError`]; the file is still in the spool then. [`StoreError::Missing`]: neither the spool nor the store has it.
    async fn put(&self, file: &SealedFile) -> Result<(), StoreError>;

    /// Whether [`SealedFile::md5`] is wanted. A directory on the spool's file system wants none: a rename is the put.
    fn wants_md5(&self) -> bool;

    /// The end of the newest object of a camera, over all its retention classes; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn last_end(
        &self,
        camera: &CameraId,
        classes: &[Retention],
        tier: Tier,
    ) -> Result<Option<Timestamp>, StoreError>;
}

/// A stretch that is recorded and not yet acknowledged by the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSegment {
    /// The key that it has, or would get if it were sealed now.
    pub key: SegmentKey,
    /// Whether it is sealed or still written.
    pub held: Held,
    /// Bytes that may be read: whole, synced fragments.
    pub bytes: u64,
}

/// What the archiver holds and the store does not have yet.
#[async_trait]
pub trait OpenSegments: Send + Sync {
    /// The segments and gap markers in the spool, oldest first. Never blocks.
    fn of(&self, camera: &CameraId, tier: Tier) -> (Vec<OpenSegment>, Vec<GapKey>);

    /// Bytes of such a segment, wherever it is by now in the spool.
    ///
    /// # Errors
    /// [`StoreError::Missing`] once it has left the spool: then the store has it.
    async fn read(
        &self,
        segment: &OpenSegment,
        range: std::ops::Range<u64>,
    ) -> Result<Bytes, StoreError>;
}

/// Why recordings cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingsError {
    /// Nothing was recorded in that stretch.
    #[error("nothing was recorded in that stretch")]
    Nothing,
    /// The stretch joins recordings that one file cannot hold: another picture format, or another tier.
    #[error(
        "the picture format changes at {}: export up to there, and from there on",
        listed(at)
    )]
    FormatChange {
        /// The first instant of each further format, in order; never empty.
        at: Vec<Timestamp>,
    },
    /// A stored object is not what its key says.
    #[error("{key} is damaged: {why}")]
    Damaged {
        /// Its key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The first few of these instants, and how many follow.
fn listed(instants: &[Timestamp]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = instants
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    match instants.len().checked_sub(SHOWN) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} times more", shown.join(", ")),
    }
}

/// The read side of the archive. The caller has checked that the user may see the camera.
///
/// `tier` chooses one recording of the camera. Without it all its tiers are one archive: at each instant the best that was recorded is
/// shown, and a change of tier is a change of format.
#[async_trait]
pub trait Recordings: Send + Sync {
    /// The rows of a stretch, clipped to now. The open gap is not in it: the monitor knows it.
    ///
    /// # Errors
    /// [`RecordingsError`].
    async fn coverage(
        &self,
        camera: &CameraId,
        tier: Option<Tier>,
        range: TimeRange,
    ) -> Result<Coverage, RecordingsError>;

    /// Media from the key frame at or before `from` on; if nothing was recorded there, from the next key frame. `paced` reads on until the
    /// end of what is recorded; the caller takes items as fast as it wants.
    ///
    /// # Errors
    /// [`RecordingsError::Nothing`] if nothing follows.
    async fn play(
        &self,
        camera: &CameraId,
        tier: Option<Tier>,
        from: Timestamp,
    ) -> Result<Box<dyn Playback>, RecordingsError>;

    /// One MP4 of a stretch, without re-encoding, in constant memory; gaps collapse and are reported.
    ///
    /// # Errors
    /// [`RecordingsError::Nothing`], [`RecordingsError::FormatChange`] before the first byte.
    async fn export(
        &self,
        camera: &CameraId,
        tier: Option<Tier>,
        range: TimeRange,
    ) -> Result<Box<dyn Export>, RecordingsError>;
}

/// An item of a playback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlayItem {
    /// The first item, and again when take or init changes: media time starts anew.
    Init {
        /// MIME type with codecs.
        mime: String,
        /// ftyp and moov, without an edit list.
        bytes: Bytes,
    },
    /// Whole fragments.
    Fragment {
        /// prft, moof and mdat.
        bytes: Bytes,
        /// Wall clock of its first picture.
        wall: Timestamp,
        /// Media time of its first picture, in milliseconds since the start of the take.
        media_ms: u64,
        /// Its length in milliseconds.
        duration_ms: u32,
    },
    /// No media, and why.
    Gap {
        /// The stretch.
        range: TimeRange,
        /// Why; `None`: nobody knows.
        cause: Option<crate::cause::Cause>,
    },
    /// Nothing more is recorded (so far).
    End,
}

/// A running playback.
#[async_trait]
pub trait Playback: Send {
    /// The next item. After [`PlayItem::End`] it may be called again later. Cancel-safe.
    ///
    /// # Errors
    /// [`RecordingsError`].
    async fn next(&mut self) -> Result<PlayItem, RecordingsError>;
}

/// A stretch that is recorded and not in an export, since it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// What is missing.
    pub range: TimeRange,
    /// Of which object.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

/// A running export.
#[async_trait]
pub trait Export: Send {
    /// The next bytes, at most 8 MiB; `None` at the end. What of an object cannot be read is passed over and told by [`Export::unread`].
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`RecordingsError`]: the store is away, or nothing at all can be read; the file is then incomplete.
    async fn next(&mut self) -> Result<Option<Bytes>, RecordingsError>;

    /// What the export covers, known before the first byte: recorded stretches and gaps.
    fn coverage(&self) -> &Coverage;

    /// What was passed over so far, in order; all of it once [`Export::next`] has given `None`.
    fn unread(&self) -> &[Unread];

    /// An estimate of the whole length in bytes, for progress.
    fn estimated_bytes(&self) -> u64;
}
