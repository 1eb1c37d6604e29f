//! What a relay keeps of one stream: shared chunks of whole frames with their marks.
//!
//! **Owns** the chunks (contiguous `Bytes` of `$ channel length packet` frames, numbered, patched in the one copy into it), the marks per
//! frame, where the key frames begin, and what may be forgotten. **Does not own** readers: a reader is a [`Position`] of its own, and
//! nobody here waits for it (P5, P6). No clock: instants are arguments. No tasks.
//!
//! ```text
//!            first                 key (pinned with what follows)            next
//!   forgotten │ history (lag) ... │ IDR … pictures … audio … pictures │ open │
//!             └─ chunk ─┴─ chunk ─┴─ chunk ─┴─ chunk ─┴─ … ───────────┴ ─ ─ ─┘
//! ```
//! A chunk is closed at the end of a picture or at 16 KiB, whichever is first (cut-through). Frames of the RTP channel are `2·track`,
//! of sender reports `2·track + 1`.

mod builder;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moorline_rtsp::nal::Marks;

use crate::config::RingLimits;
use builder::Builder;

/// A chunk is closed when it has so many bytes.
pub(crate) const CUT: usize = 16 * 1024;

/// Chunks and frames that are kept at most, whatever their bytes: each costs some hundred bytes beside them, so a camera of packets of 13 bytes would
/// hold 25 times as much as it sends. 10 s of 6 Mbit/s, with sound, are 1,500 chunks and 7,000 frames.
const MOST_CHUNKS: usize = 8_192;
const MOST_FRAMES: usize = 65_536;

/// What a frame of a chunk is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum FrameKind {
    /// An RTP packet; the marks carry our numbers.
    Packet(Marks),
    /// A sender report of the camera with our SSRC and timestamp: for the archiver alone.
    SenderReport,
    /// No bytes: packets of the access unit were lost here.
    Lost {
        /// Our timestamp of the access unit, if it is known.
        timestamp: Option<u32>,
        /// Nothing refers to the picture.
        disposable: bool,
    },
}

/// One frame of a chunk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FrameMark {
    /// Where its `$` stands.
    pub(crate) start: usize,
    /// Where the next begins.
    pub(crate) end: usize,
    /// Index of the track in the layout.
    pub(crate) track: usize,
    /// What it is.
    pub(crate) kind: FrameKind,
    /// A picture begins here with which a reader can begin.
    pub(crate) key: bool,
}

/// Frames that are written and read as one.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Counts chunks of the ring.
    pub(crate) index: u64,
    /// When it was closed, on the relay's clock.
    pub(crate) arrival: Duration,
    /// Counts uninterrupted reads of the camera.
    pub(crate) epoch: u64,
    /// Whole frames.
    pub(crate) data: Bytes,
    /// Their marks, in order.
    pub(crate) frames: Vec<FrameMark>,
}

/// A frame of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// Index of the chunk.
    pub(crate) chunk: u64,
    /// Index of the frame in it.
    pub(crate) frame: usize,
}

/// What a reader finds at its position.
#[derive(Debug, Clone)]
pub(crate) enum Fetch {
    /// This.
    Chunk(Arc<Chunk>),
    /// Nothing yet.
    NotYet,
    /// It is forgotten: the reader fell behind.
    Overrun,
}

/// The ring of one source.
#[derive(Debug)]
pub(crate) struct Ring {
    limits: RingLimits,
    chunks: VecDeque<Arc<Chunk>>,
    bytes: usize,
    /// In the chunks.
    frames: usize,
    next: u64,
    keys: VecDeque<Position>,
    builder: Builder,
    epoch: u64,
    /// Where the access unit of the key track that is arriving began.
    unit: Option<Position>,
}

impl Ring {
    pub(crate) fn new(limits: RingLimits) -> Self {
        Self {
            limits,
            chunks: VecDeque::new(),
            bytes: 0,
            frames: 0,
            next: 0,
            keys: VecDeque::new(),
            builder: Builder::default(),
            epoch: 0,
            unit: None,
        }
    }

    /// The index that the next chunk will have.
    pub(crate) fn next_index(&self) -> u64 {
        self.next
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Media is no longer continuous: what came before is of no use to begin at.
    pub(crate) fn new_epoch(&mut self, now: Duration) {
        self.flush(now);
        self.epoch += 1;
        self.keys.clear();
        self.unit = None;
    }

    /// Takes a packet in, with our numbers in its marks; the only copy that the relay makes of it. `key_track`: its key frames are where readers begin.
    pub(crate) fn packet(
        &mut self,
        now: Duration,
        track: usize,
        packet: &[u8],
        marks: Marks,
        key_track: bool,
    ) {
        let at = Position {
            chunk: self.next,
            frame: self.builder.len(),
        };
        if !self.builder.packet(track, packet, marks) {
            return;
        }
        if key_track {
            if marks.au_start {
                self.unit = Some(at);
            }
            if marks.idr
                && !marks.damaged
                && let Some(unit) = self.unit
                && self.keys.back() != Some(&unit)
            {
                self.keys.push_back(unit);
                // The first packet of the picture, unless it was let out before the picture turned out to be a key frame.
                let first = if unit.chunk == at.chunk { unit } else { at };
                self.builder.key(first.frame);
            }
        }
        if marks.au_end || self.builder.bytes() >= CUT {
            self.flush(now);
        }
    }

    /// Takes a sender report in.
    pub(crate) fn sender_report(&mut self, track: usize, compound: &[u8]) {
        self.builder.sender_report(track, compound);
    }

    /// Marks a loss. A picture that begins the ring's last group and is hurt is no place to begin at.
    pub(crate) fn lost(
        &mut self,
        track: usize,
        timestamp: Option<u32>,
        disposable: bool,
        key_track: bool,
    ) {
        self.builder.lost(track, timestamp, disposable);
        if key_track && self.unit.is_some() && self.keys.back().copied() == self.unit {
            self.keys.pop_back();
        }
    }

    /// Closes the open chunk, so that readers see it, and forgets what need not be kept.
    pub(crate) fn flush(&mut self, now: Duration) {
        if let Some((data, frames)) = self.builder.take() {
            self.bytes += data.len();
            self.frames += frames.len();
            self.chunks.push_back(Arc::new(Chunk {
                index: self.next,
                arrival: now,
                epoch: self.epoch,
                data,
                frames,
            }));
            self.next += 1;
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Duration) {
        while let Some(front) = self.chunks.front() {
            let age = now.saturating_sub(front.arrival);
            let pinned = self.last_key().is_some_and(|key| key.chunk <= front.index);
            let over = if pinned {
                self.bytes > self.limits.pinned_bytes || age > self.limits.pinned_time
            } else {
                self.bytes > self.limits.history_bytes.max(self.pinned_bytes())
                    || age > self.limits.history_time
            };
            let crowded = self.chunks.len() > MOST_CHUNKS || self.frames > MOST_FRAMES;
            if !over && !crowded {
                return;
            }
            self.drop_front();
        }
    }

    /// The history goes before the pinned group: with a group of 8 MB nothing older is kept.
    fn pinned_bytes(&self) -> usize {
        if self.last_key().is_some() {
            self.limits.pinned_bytes
        } else {
            0
        }
    }

    fn drop_front(&mut self) {
        if let Some(front) = self.chunks.pop_front() {
            self.bytes = self.bytes.saturating_sub(front.data.len());
            self.frames = self.frames.saturating_sub(front.frames.len());
            while self
                .keys
                .front()
                .is_some_and(|key| key.chunk <= front.index)
            {
                self.keys.pop_front();
            }
        }
    }

    /// Forgets everything: nobody reads and nothing is pulled.
    pub(crate) fn clear(&mut self, now: Duration) {
        self.new_epoch(now);
        self.chunks.clear();
        (self.bytes, self.frames) = (0, 0);
    }

    /// Where the last key frame begins, among what readers see.
    pub(crate) fn last_key(&self) -> Option<Position> {
        self.keys
            .iter()
            .rev()
            .find(|key| key.chunk < self.next)
            .copied()
    }

    /// Where the first key frame from a position on begins, among what readers see.
    pub(crate) fn first_key_from(&self, from: Position) -> Option<Position> {
        self.keys
            .iter()
            .find(|key| **key >= from && key.chunk < self.next)
            .copied()
    }

    /// The chunk of that index.
    pub(crate) fn fetch(&self, index: u64) -> Fetch {
        let first = self.next - self.chunks.len() as u64;
        if index >= self.next {
            return Fetch::NotYet;
        }
        let chunk = index
            .checked_sub(first)
            .and_then(|at| usize::try_from(at).ok())
            .and_then(|at| self.chunks.get(at));
        chunk.map_or(Fetch::Overrun, |chunk| Fetch::Chunk(Arc::clone(chunk)))
    }

    /// The marks from a position on, as far as readers see them.
    pub(crate) fn marks_from(
        &self,
        from: Position,
    ) -> impl Iterator<Item = (Position, &FrameMark)> {
        self.chunks
            .iter()
            .filter(move |chunk| chunk.index >= from.chunk)
            .flat_map(move |chunk| {
                let skip = if chunk.index == from.chunk {
                    from.frame
                } else {
                    0
                };
                chunk
                    .frames
                    .iter()
                    .enumerate()
                    .skip(skip)
                    .map(move |(frame, mark)| {
                        (
                            Position {
                                chunk: chunk.index,
                                frame,
                            },
                            mark,
                        )
                    })
            })
    }
}
