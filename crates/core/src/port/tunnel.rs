use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::camera::Camera;
use crate::id::{CameraId, ForwardName, Generation, SessionId};
use crate::key::PublicKey;
use crate::lifecycle::EndReason;
use crate::time::Timestamp;

/// Both directions of a byte stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A byte stream whose making is nobody's business.
pub type ByteStream = Box<dyn Duplex>;

/// A session whose first forward was granted. It serves nothing until [`Sessions::serve`].
#[derive(Debug, Clone)]
pub struct TunnelUp {
    /// The session.
    pub session: SessionId,
    /// The camera that the key proved, as its record stood then.
    pub camera: Arc<Camera>,
    /// The key that proved it; `None` for a LAN camera. The session lives no longer than this key belongs to the camera.
    pub key: Option<PublicKey>,
    /// Where it comes from; `None` for a LAN camera.
    pub peer: Option<SocketAddr>,
    /// The SSH client's version line, untrusted, at most 255 bytes.
    pub client: String,
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TunnelEnd {
    /// The connection ended or fell silent, whatever the reason.
    Lost,
    /// SSH signal HUP, or the peer closed the monitor's channel.
    HungUp,
}

/// What the tunnel tells the monitor. No call blocks or awaits (P7).
///
/// A revoked key ends the sessions that it proved, and no other: the tunnel ends every such session, also one without a forward, as soon as its
/// directory says so; the monitor ends those that it knows, so that none of them serves when its claim comes back.
pub trait TunnelEvents: Send + Sync {
    /// A tunnel is there and wants a claim. `false`: the monitor's mailbox is full, and the session is to be ended.
    #[must_use]
    fn up(&self, up: TunnelUp) -> bool;

    /// The key of a camera that was reported stolen was offered and refused (rule S4). `client`: the SSH client's version line, untrusted, at
    /// most 255 bytes. May be told as often as it happens: whoever listens damps it.
    fn stolen(&self, camera: &CameraId, peer: SocketAddr, client: &str);

    /// The enrolment token that made the camera was used by a second key, and refused (rule S3). As [`TunnelEvents::stolen`]; whoever has
    /// nobody to tell ignores it.
    fn token_spent(&self, camera: &CameraId, peer: SocketAddr, client: &str) {
        let _ = (camera, peer, client);
    }

    /// A tunnel that was `up` ended; told exactly once, at the end of the session future at the latest. Never refused: the mailbox keeps
    /// room for the end of every session that it took.
    fn ended(&self, session: SessionId, end: TunnelEnd);
}

/// The monitor's way back to sessions. Idempotent; an unknown session is ignored. No call blocks.
pub trait Sessions: Send + Sync {
    /// From now on the camera's landing is this session. The older one serves until then.
    fn serve(&self, session: SessionId, generation: Generation);

    /// Ends a session by its kill switch, however dead it looks.
    fn end(&self, session: SessionId, reason: EndReason);
}

/// The lines of the forced command, seen from the monitor: those of *every* session, also without a forward. No call blocks.
pub trait ControlLines: Send + Sync {
    /// A session of this camera opened its monitor's channel.
    fn opened(&self, session: SessionId, camera: &CameraId);

    /// A whole line without its LF, at most 1,024 bytes with it. `false`: the mailbox is full; the line is dropped and counted.
    #[must_use]
    fn line(&self, session: SessionId, line: &[u8]) -> bool;

    /// The channel is gone. Told once for each `opened`.
    fn closed(&self, session: SessionId);
}

/// Lines to a session's monitor channel.
pub trait ControlWriter: Send + Sync {
    /// Sends a line; the LF is added. `false`: no such channel, or its queue (16 lines) is full because the peer does not read. Never blocks.
    fn send(&self, session: SessionId, line: &str) -> bool;
}

/// Byte streams to a camera.
#[async_trait]
pub trait Landings: Send + Sync {
    /// Opens a stream to the camera's server behind `forward`, on a tunnel of at least generation `least`. While the camera is away it
    /// waits for it, up to 30 s. Returns the generation of the tunnel. Dropping the stream closes the channel. Cancel-safe.
    ///
    /// # Errors
    /// [`LandingError`].
    async fn connect(
        &self,
        camera: &CameraId,
        forward: &ForwardName,
        least: Generation,
    ) -> Result<(ByteStream, Generation), LandingError>;
}

/// Why there is no stream to a camera.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LandingError {
    /// The camera was away for the whole wait.
    #[error("the camera is away")]
    Away,
    /// The camera's side refused the connection, or did not answer within 10 s.
    #[error("the camera refused the connection")]
    RefusedByCamera,
    /// A newer tunnel took over meanwhile: ask again.
    #[error("a newer tunnel took over")]
    Superseded,
    /// No such camera, or no such forward.
    #[error("there is no such camera or forward")]
    Unknown,
}

/// Somebody whose key was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// The key that was offered; unproven.
    pub key: PublicKey,
    /// The last user name, untrusted.
    pub name: String,
    /// The user names that it tried, the last one first, untrusted: at most [`Stranger::NAMES`].
    pub names: Vec<String>,
    /// The last address.
    pub peer: SocketAddr,
    /// The SSH client's version line, untrusted.
    pub client: String,
    /// When it was seen first.
    pub first: Timestamp,
    /// When it was seen last.
    pub last: Timestamp,
    /// How often.
    pub tries: u64,
    /// Why it was refused, from [`crate::camera::Refusal::reason`].
    pub reason: &'static str,
    /// How long connections from its network are still refused, after too many tries.
    pub held_off: Option<Duration>,
}

impl Stranger {
    /// How many names of a key are remembered; the one that was tried longest ago leaves first.
    pub const NAMES: usize = 8;
}

/// The bounded list of refused strangers (`camera pending`): at most 256, the least recently seen leaves first.
pub trait Strangers: Send + Sync {
    /// All of them, last seen first.
    fn pending(&self) -> Vec<Stranger>;

    /// Forgets a key, since it was added.
    fn forget(&self, key: &PublicKey);

    /// Whether `camera pending` shows them where this is asked: in a cluster each replica knows its own, and another process has to ask them.
    fn are_shown(&self) -> bool {
        true
    }
}
