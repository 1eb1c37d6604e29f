use async_trait::async_trait;
use bytes::Bytes;

use super::tunnel::ByteStream;
use crate::Generation;
use crate::id::{CameraId, SourceName};
use crate::time::Timestamp;

/// Who opens a relay.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReaderRole {
    /// The camera's archiver: unmodified time stamps, RTCP with the camera's clock, `a=x-moorline-*` in its SDP. Only workloads may take it.
    Archiver,
    /// A viewer, authenticated by the front door.
    Viewer {
        /// The login name, for limits and logs.
        login: String,
    },
}

/// Why a relay cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// No such camera or source.
    #[error("there is no such camera or stream")]
    Unknown,
    /// The camera is away, and no relay runs.
    #[error("the camera is away")]
    Away,
    /// Too many readers of this user or camera.
    #[error("too many readers")]
    TooMany,
    /// The stream's codec does not play in a browser.
    #[error("{0} does not play in a browser")]
    NotPlayable(String),
    /// The relay ended.
    #[error("the stream ended")]
    Ended,
    /// The reader was too slow and made no progress for 10 s (P5).
    #[error("the reader made no progress")]
    Stalled,
}

/// Finds the relay of a camera.
#[async_trait]
pub trait Relays: Send + Sync {
    /// A byte stream on which RTSP is spoken without authentication: the caller has authenticated. Waits up to 10 s for a relay that is
    /// starting.
    ///
    /// # Errors
    /// [`RelayError`].
    async fn open(
        &self,
        camera: &CameraId,
        source: SourceName,
        role: ReaderRole,
    ) -> Result<ByteStream, RelayError>;

    /// The newest tunnel of a camera when its relay was last opened for its archiver, where the way to the relay tells: an order to rebind may come
    /// later than the pictures. `None`: only the order tells.
    fn generation(&self, _camera: &CameraId) -> Option<Generation> {
        None
    }

    /// Pictures for a browser, from the last key frame on. Waits up to 10 s for the first.
    ///
    /// # Errors
    /// [`RelayError`].
    async fn live(
        &self,
        camera: &CameraId,
        source: SourceName,
        login: &str,
    ) -> Result<Box<dyn LiveFeed>, RelayError>;

    /// The last key frame as a playable init and fragment, if a relay runs and has one. Never waits.
    fn poster(&self, camera: &CameraId, source: SourceName) -> Option<Poster>;
}

/// A still picture: init and one fragment with one key frame, for the browser to decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poster {
    /// MIME type with codecs.
    pub mime: String,
    /// Init, then the fragment.
    pub bytes: Bytes,
    /// When the key frame arrived.
    pub wall: Timestamp,
}

/// A live stream as fragmented MP4.
#[async_trait]
pub trait LiveFeed: Send {
    /// The next item. A slow reader skips to the next key frame; nobody waits for it. Cancel-safe.
    ///
    /// # Errors
    /// [`RelayError::Ended`], [`RelayError::Stalled`].
    async fn next(&mut self) -> Result<LiveItem, RelayError>;
}

/// An item of a live stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveItem {
    /// The first item, and again when the camera changes its parameters.
    Init {
        /// MIME type with codecs, such as `video/mp4; codecs="avc1.64001f"`.
        mime: String,
        /// ftyp and moov.
        bytes: Bytes,
    },
    /// One or more pictures.
    Fragment {
        /// prft, moof and mdat.
        bytes: Bytes,
        /// Whether it begins with a key frame.
        key: bool,
        /// When its first picture arrived.
        wall: Timestamp,
    },
}
