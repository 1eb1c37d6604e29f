//! The chunk that is being filled.

use bytes::{Bytes, BytesMut};
use moorline_rtsp::nal::Marks;
use moorline_rtsp::rtp::{RtpPatch, append_frame};

use super::{CUT, FrameKind, FrameMark};

/// Losses that one chunk remembers: a camera that only loses must not grow it.
const MAX_MARKS: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Builder {
    data: BytesMut,
    frames: Vec<FrameMark>,
}

impl Builder {
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.data.len()
    }

    /// `false`: the packet is too long for a frame and is not taken.
    pub(super) fn packet(&mut self, track: usize, packet: &[u8], marks: Marks) -> bool {
        let patch = RtpPatch {
            ssrc: marks.ssrc,
            sequence: marks.sequence,
            timestamp: marks.timestamp,
        };
        self.frame(track, 0, packet, Some(patch), FrameKind::Packet(marks))
    }

    pub(super) fn sender_report(&mut self, track: usize, compound: &[u8]) {
        if self.frames.len() < MAX_MARKS {
            self.frame(track, 1, compound, None, FrameKind::SenderReport);
        }
    }

    pub(super) fn lost(&mut self, track: usize, timestamp: Option<u32>, disposable: bool) {
        if self.frames.len() < MAX_MARKS {
            let at = self.data.len();
            self.frames.push(FrameMark {
                start: at,
                end: at,
                track,
                kind: FrameKind::Lost {
                    timestamp,
                    disposable,
                },
                key: false,
            });
        }
    }

    fn frame(
        &mut self,
        track: usize,
        offset: usize,
        packet: &[u8],
        patch: Option<RtpPatch>,
        kind: FrameKind,
    ) -> bool {
        let Ok(channel) = u8::try_from(2 * track + offset) else {
            return false;
        };
        if self.data.capacity() - self.data.len() < packet.len() + 4 {
            self.data.reserve(2 * CUT + packet.len());
        }
        let start = self.data.len();
        if !append_frame(&mut self.data, channel, packet, patch) {
            return false;
        }
        self.frames.push(FrameMark {
            start,
            end: self.data.len(),
            track,
            kind,
            key: false,
        });
        true
    }

    /// A reader can begin at this frame.
    pub(super) fn key(&mut self, frame: usize) {
        if let Some(mark) = self.frames.get_mut(frame) {
            mark.key = true;
        }
    }

    /// What is there, if anything.
    pub(super) fn take(&mut self) -> Option<(Bytes, Vec<FrameMark>)> {
        if self.frames.is_empty() {
            return None;
        }
        Some((self.data.split().freeze(), std::mem::take(&mut self.frames)))
    }
}
