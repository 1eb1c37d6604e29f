//! What the resyncing demultiplexer yields, counts and gives up with.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::message::Message;

/// When the search is given up.
#[derive(Clone, Copy, Debug)]
pub struct ResyncLimits {
    /// Bytes searched for one lock.
    pub max_bytes: usize,
    /// Time without lock.
    pub max_time: Duration,
    /// Searches in 60 s. The fault loses about one frame per IDR, so this allows two a second.
    pub max_per_minute: u32,
}

impl Default for ResyncLimits {
    fn default() -> Self {
        Self {
            max_bytes: 256 * 1024,
            max_time: Duration::from_secs(2),
            max_per_minute: 120,
        }
    }
}

/// A frame whose length is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its channel.
    pub channel: u8,
    /// The track that the channel belongs to.
    pub track: usize,
    /// RTP, else RTCP.
    pub rtp: bool,
    /// RTP or RTCP packet: a slice of the read buffer.
    pub packet: Bytes,
}

/// A frame that came short. What else of its access unit comes is whole, but of no use to a viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The track.
    pub track: usize,
    /// The short packet's sequence number, if that much came.
    pub sequence: Option<u16>,
    /// Its timestamp: the access unit.
    pub timestamp: Option<u32>,
    /// The first bytes of the packet, at most 64: enough to see what picture it was.
    pub head: Bytes,
    /// It had been published already: a read ended exactly at its false end.
    pub published: bool,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request or response.
    Message(Message),
    /// A frame.
    Frame(Frame),
    /// A frame came short; sent before the frame that follows it.
    Damaged(Damage),
    /// The track's SSRC changed (twice seen): a restart of the camera's streamer. The packets follow.
    SourceChanged {
        /// The track.
        track: usize,
        /// Its new SSRC.
        ssrc: u32,
    },
}

/// Counters since the start (step 8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResyncStatistics {
    /// Times that framing was found again.
    pub resync_total: u64,
    /// Bytes that became no frame.
    pub bytes_skipped: u64,
    /// Frames on unassigned channels, of unknown payload types or of a source seen once.
    pub stray_frames: u64,
    /// Frames that came twice.
    pub repeated_frames: u64,
}

/// Framing could not be found again: reconnect, with a larger receive window.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("interleaved framing lost: {reason} ({skipped} bytes searched)")]
pub struct FramingLost {
    /// Which limit.
    pub reason: &'static str,
    /// Bytes of the last search.
    pub skipped: usize,
}
