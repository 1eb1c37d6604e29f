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

use crate::config::RelayConfig;
use crate::door::Visitor;
use crate::hub::Hub;
use crate::metrics::ProxyMetrics;
use crate::source::Source;

pub(crate) use connection::serve;

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

/// Why a reader's connection ended: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As the RTSP session says.
    Session(&'static str),
    /// The socket failed.
    Broken,
    /// No progress for 10 s (P5).
    Stalled,
    /// The relay ended.
    RelayEnded,
    /// The archiver's take is over.
    Boundary,
    /// The same: the camera's clock jumped.
    ClockStep,
    /// The camera's stream has changed in a way that the reader cannot follow.
    LayoutChanged,
    /// The user is gone or has another stream password (S15), the place was needed, or the door closes.
    Dismissed,
}

impl End {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Session(reason) => reason,
            Self::Broken => "broken",
            Self::Stalled => "stalled",
            Self::RelayEnded => "relay_ended",
            Self::Boundary => "boundary",
            Self::ClockStep => "clock_step",
            Self::LayoutChanged => "layout_changed",
            Self::Dismissed => "dismissed",
        }
    }
}
