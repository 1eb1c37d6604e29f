//! What upstream and readers share of a source.

use std::sync::Arc;
use std::time::Duration;

use moorline_core::port::Poster;
use moorline_core::status::RelayState;
use moorline_core::{Generation, Timestamp};
use moorline_rtsp::rtp::rtcp::{SenderReport, ntp_from_unix};

use super::Layout;
use super::clock_map::ClockMap;
use super::drift::DriftWatch;
use super::numbering::Numbering;
use crate::config::RingLimits;
use crate::ring::{Position, Ring};

/// Where a source stands, for its readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing is received.
    Away,
    /// Media is received.
    Playing,
    /// The relay ends.
    Ended,
}

/// Counts since the relay started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) bytes: u64,
    pub(crate) pictures: u64,
    pub(crate) pictures_lost: u64,
    pub(crate) resyncs: u64,
}

/// Behind the source's lock.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) ring: Ring,
    pub(crate) layout: Option<Arc<Layout>>,
    pub(crate) stage: Stage,
    pub(crate) state: RelayState,
    pub(crate) since: Timestamp,
    pub(crate) generation: Generation,
    pub(crate) media: Vec<String>,
    /// The path at which the camera played last.
    pub(crate) path: Option<String>,
    pub(crate) counts: Counts,
    pub(crate) last_media: Duration,
    /// When media began to flow without a break of layout or reader's interest.
    pub(crate) played_since: Duration,
    pub(crate) numbering: Vec<Numbering>,
    pub(crate) clocks: ClockMap,
    pub(crate) drift: Option<DriftWatch>,
    /// The last epoch that began because the camera's clock jumped.
    pub(crate) jumped: Option<u64>,
    /// Per track, the camera's last sender report of this epoch with our timestamp.
    pub(crate) reports: Vec<Option<SenderReport>>,
    /// Sender reports that came before the first packet of their track.
    pub(crate) early_reports: Vec<Option<SenderReport>>,
    /// Up to where an archiver has read: what is before would be recorded twice.
    pub(crate) archived: Position,
    /// The last key frame, kept while nothing is received.
    pub(crate) poster: Option<Poster>,
}

impl Inner {
    pub(super) fn new(limits: RingLimits, wall: Timestamp) -> Self {
        Self {
            ring: Ring::new(limits),
            layout: None,
            stage: Stage::Away,
            state: RelayState::Idle,
            since: wall,
            generation: Generation::default(),
            media: Vec::new(),
            path: None,
            counts: Counts::default(),
            last_media: Duration::ZERO,
            played_since: Duration::ZERO,
            numbering: Vec::new(),
            clocks: ClockMap::default(),
            drift: None,
            jumped: None,
            reports: Vec::new(),
            early_reports: Vec::new(),
            archived: Position { chunk: 0, frame: 0 },
            poster: None,
        }
    }

    pub(super) fn set_state(&mut self, state: RelayState, wall: Timestamp) {
        if self.state != state {
            self.state = state;
            self.since = wall;
        }
    }

    /// Media is no longer continuous: numbering, clocks and reports begin anew.
    pub(super) fn boundary(&mut self, now: Duration) {
        self.ring.new_epoch(now);
        self.numbering.iter_mut().for_each(Numbering::restart);
        self.clocks.restart();
        if let Some(drift) = &mut self.drift {
            drift.restart();
        }
        self.reports.iter_mut().for_each(|report| *report = None);
        self.early_reports
            .iter_mut()
            .for_each(|report| *report = None);
    }

    /// The read of the camera is over.
    pub(crate) fn end_play(&mut self, now: Duration) {
        if self.stage == Stage::Playing {
            self.boundary(now);
            self.stage = Stage::Away;
        }
    }

    /// Nobody reads: what is kept is let go.
    pub(crate) fn let_go(&mut self, now: Duration, wall: Timestamp) {
        self.end_play(now);
        self.ring.clear(now);
        self.set_state(RelayState::Idle, wall);
    }

    /// What a viewer is told of a track's clock: our timestamp and the wall clock at it. `None` before the first packet.
    pub(crate) fn viewer_report(
        &self,
        track: usize,
        packets: u32,
        octets: u32,
    ) -> Option<SenderReport> {
        let (rtp_time, micros) = self.clocks.latest(track)?;
        let since = Duration::from_micros(u64::try_from(micros).ok()?);
        Some(SenderReport {
            ssrc: self.numbering.get(track)?.ssrc(),
            ntp: ntp_from_unix(since),
            rtp_time,
            packets,
            octets,
        })
    }
}
