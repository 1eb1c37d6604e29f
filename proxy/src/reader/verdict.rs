//! Which frames of the ring one reader gets, and how: the gates of its tracks and the replay of a group.

use moorline_rtsp::nal::ViewerGate;
use moorline_rtsp::server::SetUpTrack;

use super::start::{Beginning, Replay};
use crate::ring::{FrameKind, FrameMark, Position};
use crate::source::Layout;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not for this reader.
    Skip,
    /// On this channel, as it is.
    Send { channel: u8 },
    /// On this channel, with another timestamp.
    Restamp { channel: u8, timestamp: u32 },
}

/// One reader's view of the ring.
#[derive(Debug)]
pub(super) struct Sieve {
    /// By track.
    channels: Vec<Option<SetUpTrack>>,
    /// By track; `None` for what is no video, and for the archiver.
    gates: Vec<Option<ViewerGate>>,
    replay: Option<Replay>,
    key_track: usize,
    archiver: bool,
}

impl Sieve {
    pub(super) fn new(
        layout: &Layout,
        tracks: &[SetUpTrack],
        beginning: &Beginning,
        archiver: bool,
    ) -> Self {
        let channels = (0..layout.media.len())
            .map(|track| tracks.iter().find(|set_up| set_up.track == track).copied())
            .collect();
        let gate = |track: usize| {
            let is_video = layout
                .media
                .get(track)
                .is_some_and(|media| media.kind == "video");
            if archiver || !layout.has_video || !is_video {
                return None;
            }
            let mut gate = ViewerGate::default();
            if beginning.waiting || track != layout.key_track {
                gate.wait_for_idr();
            }
            Some(gate)
        };
        Self {
            channels,
            gates: (0..layout.media.len()).map(gate).collect(),
            replay: beginning.replay,
            key_track: layout.key_track,
            archiver,
        }
    }

    pub(super) fn tracks(&self) -> impl Iterator<Item = SetUpTrack> {
        self.channels.iter().flatten().copied()
    }

    /// Pictures before the present one are over or lost: from now on nothing is replayed, and only a key frame goes on.
    pub(super) fn wait_for_key(&mut self) {
        self.replay = None;
        for gate in self.gates.iter_mut().flatten() {
            gate.wait_for_idr();
        }
    }

    pub(super) fn judge(&mut self, at: Position, mark: &FrameMark) -> Verdict {
        if self.replay.is_some_and(|replay| at >= replay.until) {
            self.replay = None;
        }
        let Some(set_up) = self.channels.get(mark.track).copied().flatten() else {
            return Verdict::Skip;
        };
        let gate = self.gates.get_mut(mark.track).and_then(Option::as_mut);
        match &mark.kind {
            FrameKind::SenderReport if self.archiver => Verdict::Send {
                channel: set_up.rtcp,
            },
            FrameKind::SenderReport => Verdict::Skip,
            FrameKind::Lost {
                timestamp,
                disposable,
            } => {
                if let Some(gate) = gate {
                    match timestamp {
                        Some(timestamp) => gate.lost(*timestamp, *disposable),
                        None => gate.wait_for_idr(),
                    }
                }
                Verdict::Skip
            }
            FrameKind::Packet(marks) => {
                let admitted = match gate {
                    // A picture to begin with, whatever its first packet is: an access unit delimiter tells nothing to the gate.
                    Some(gate) if mark.key && !marks.damaged => {
                        *gate = ViewerGate::default();
                        true
                    }
                    Some(gate) => gate.admit(marks),
                    None => true,
                };
                let channel = set_up.rtp;
                match &mut self.replay {
                    Some(_) if mark.track != self.key_track => Verdict::Skip,
                    Some(replay) => {
                        if marks.au_start {
                            replay.next();
                        }
                        let timestamp = replay.stamp;
                        if admitted {
                            Verdict::Restamp { channel, timestamp }
                        } else {
                            Verdict::Skip
                        }
                    }
                    None if admitted => Verdict::Send { channel },
                    None => Verdict::Skip,
                }
            }
        }
    }
}
