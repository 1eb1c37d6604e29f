//! One reader: an RTSP session on a byte stream, and the media that it gets.
//!
//! **Owns** the reader's connection from its first byte to its last. **Does not own** the stream of the camera: it has a position in the ring
//! (`feed`), and nothing that it does or leaves undone is felt by another reader (P5).
//!
//! ```text
//! requests ─▶ session ──DESCRIBE──▶ describe (waits for the camera) ─▶ lease
//!                │  └──PLAY──▶ lane: feed ─▶ outbox ─▶ socket    no progress for 10 s: closed
//!                └─ replies ──────────────────▲
//! ```
//! The task ends when the peer closes, with its relay (viewers get BYE, an archiver APP `MOOR`), when it is stuck, and when its token is
//! cancelled; after the end what is queued gets 2 s.

mod connection;
mod describe;
mod feed;
mod lane;
mod outbox;
mod reports;
mod start;
mod verdict;

use std::sync::Arc;

use moorline_base::SharedClock;
use moorline_core::{CameraId, SourceName};
use moorline_rtsp::server::ServerEnd;

use crate::config::RelayConfig;
use crate::door::Visitor;
use crate::hub::Hub;
use crate::metrics::ProxyMetrics;
use crate::source::Source;

pub(crate) use connection::serve;
pub(crate) use describe::Refusal;

/// What every reader's task needs.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) clock: SharedClock,
    pub(crate) config: Arc<RelayConfig>,
    pub(crate) metrics: ProxyMetrics,
}

/// On whose behalf a reader reads, and what it may see.
pub(crate) enum Desk {
    /// The camera's archiver: this source, whatever path it asks for.
    Archiver(Arc<Source>),
    /// A viewer that somebody else has authenticated: this source, whatever path it asks for.
    Viewer {
        hub: Hub,
        camera: CameraId,
        source: SourceName,
        login: String,
    },
    /// A connection of the front door.
    Public(Box<Visitor>),
}

moorline_core::words! {
    /// Why a reader's connection ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum End {
        /// The peer closed.
        PeerClosed = "peer_closed",
        /// What came is no RTSP.
        Garbage = "garbage",
        /// Nobody authenticated in time.
        LoginTimeout = "login_timeout",
        /// Too many wrong passwords.
        TooManyFailures = "too_many_failures",
        /// The user has too many connections already.
        TooManyConnections = "too_many_connections",
        /// Media was sent, and no sign of life came.
        Idle = "idle",
        /// The socket failed.
        Broken = "broken",
        /// No progress for 10 s (P5).
        Stalled = "stalled",
        /// The relay ended.
        RelayEnded = "relay_ended",
        /// The archiver's take is over.
        Boundary = "boundary",
        /// The same: the camera's clock jumped.
        ClockStep = "clock_step",
        /// The camera's stream has changed in a way that the reader cannot follow.
        LayoutChanged = "layout_changed",
        /// The user is gone or has another stream password (S15), the place was needed, or the door closes.
        Dismissed = "dismissed",
    }
}

impl From<ServerEnd> for End {
    fn from(end: ServerEnd) -> Self {
        match end {
            ServerEnd::PeerClosed => Self::PeerClosed,
            ServerEnd::Garbage(_) => Self::Garbage,
            ServerEnd::LoginTimeout => Self::LoginTimeout,
            ServerEnd::TooManyFailures => Self::TooManyFailures,
            ServerEnd::TooManyConnections => Self::TooManyConnections,
            ServerEnd::Idle => Self::Idle,
        }
    }
}
