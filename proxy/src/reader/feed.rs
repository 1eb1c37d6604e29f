//! One reader's way through the ring.

#[cfg(test)]
pub(super) mod tests;

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use moorline_rtsp::server::{PlayInfo, SetUpTrack};

use super::outbox::Outbox;
use super::reports;
use super::start::{self, Wanted};
use super::verdict::{Sieve, Verdict};
use crate::ring::{Chunk, Fetch, FrameKind, Position};
use crate::source::{Layout, Source, Stage};

/// A reader fetches no more while so much is queued: what it holds beyond the ring is this and one chunk.
const QUEUED: usize = 64 * 1024;
/// More is fetched while a picture is half sent, since only whole pictures may be dropped (P6); but no more than this.
const PICTURE: usize = 2 << 20;
/// And no more slices than the ring keeps chunks (and one chunk's), whatever their bytes: each costs some dozen bytes of its own, so a picture of
/// packets of 13 bytes would hold several times [`PICTURE`]. One of 2 MiB in packets of 1,400 bytes are 3,000.
const SLICES: usize = 8_192;

/// Why there is nothing more to fetch, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Media is no longer continuous: the archiver's take ends.
    Boundary,
    /// The same because the camera's clock jumped: nobody else knows of it.
    ClockStep,
    /// Other tracks.
    Layout,
    /// The relay ended.
    Ended,
}

/// What was sent of one track.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    packets: u32,
    octets: u32,
}

/// A position in the ring, with what the reader is to see of it.
#[derive(Debug)]
pub(super) struct Feed {
    source: Arc<Source>,
    layout: Arc<Layout>,
    cursor: Position,
    epoch: u64,
    sieve: Sieve,
    archiver: bool,
    /// The last picture that was fetched is not yet whole.
    open: bool,
    /// There is more than the outbox had room for.
    pub(super) behind: bool,
    sent: Vec<Sent>,
    /// Times that the reader fell behind.
    pub(super) jumps: u64,
    scratch: BytesMut,
}

impl Feed {
    /// Begins; also what PLAY tells. What a viewer's clock needs first is in the outbox then.
    pub(super) fn new(
        source: &Arc<Source>,
        layout: &Arc<Layout>,
        tracks: &[SetUpTrack],
        wanted: Wanted,
    ) -> (Self, Vec<PlayInfo>) {
        let now = source.now();
        let archiver = wanted == Wanted::Unread;
        let has_key_track = tracks.iter().any(|track| track.track == layout.key_track);
        let (beginning, infos, epoch) = source.look(|inner| {
            let beginning = start::begin(inner, layout, wanted, has_key_track);
            let infos = start::infos(inner, layout, &beginning, tracks, now);
            (beginning, infos, inner.ring.epoch())
        });
        let feed = Self {
            source: Arc::clone(source),
            cursor: beginning.cursor,
            epoch,
            sieve: Sieve::new(layout, tracks, &beginning, archiver),
            archiver,
            open: false,
            // What is there to begin with.
            behind: true,
            sent: vec![Sent::default(); layout.media.len()],
            jumps: 0,
            scratch: BytesMut::new(),
            layout: Arc::clone(layout),
        };
        (feed, infos)
    }

    pub(super) fn is_archiver(&self) -> bool {
        self.archiver
    }

    /// Sender reports: a viewer's say the wall clock, the archiver's what the camera said last (its next ones come with the media). `false`: there
    /// was nothing to say yet of a track.
    pub(super) fn report(&mut self, outbox: &mut Outbox) -> bool {
        let mut all = true;
        for track in self.sieve.tracks() {
            let sent = self.sent.get(track.track).copied().unwrap_or_default();
            let report = self.source.look(|inner| {
                if self.archiver {
                    inner.reports.get(track.track).copied().flatten()
                } else {
                    inner.viewer_report(track.track, sent.packets, sent.octets)
                }
            });
            match report {
                Some(report) => outbox.push(reports::sender_report(track, &report)),
                None => all = false,
            }
        }
        all
    }

    /// The last words: BYE to a viewer, the event to an archiver.
    pub(super) fn goodbye(&self, event: &str, outbox: &mut Outbox) {
        for track in self.sieve.tracks() {
            let Some(ssrc) = self.layout.ssrcs.get(track.track) else {
                continue;
            };
            outbox.push(if self.archiver {
                reports::event(track, *ssrc, event)
            } else {
                reports::bye(track, *ssrc)
            });
            if self.archiver {
                return;
            }
        }
    }

    /// Whether there is a use in fetching while so much is queued.
    pub(super) fn wants(&self, outbox: &Outbox) -> bool {
        outbox.bytes() == 0 || (self.open && self.has_room(outbox))
    }

    /// Whether the outbox takes another chunk.
    fn has_room(&self, outbox: &Outbox) -> bool {
        let bytes = if self.open { PICTURE } else { QUEUED };
        outbox.bytes() < bytes && outbox.slices() < SLICES
    }

    /// Fetches what is there, as far as the outbox has room. `true` if media was queued.
    pub(super) fn fill(&mut self, outbox: &mut Outbox) -> Result<bool, Over> {
        let mut filled = false;
        self.behind = true;
        while self.has_room(outbox) {
            let (fetch, epoch, layout, stage, jumped) = self.source.look(|inner| {
                let layout = inner.layout.as_ref().map(|layout| layout.id);
                let fetch = inner.ring.fetch(self.cursor.chunk);
                let jumped = inner.jumped.is_some_and(|jumped| jumped > self.epoch);
                (fetch, inner.ring.epoch(), layout, inner.stage, jumped)
            });
            let boundary = if jumped {
                Over::ClockStep
            } else {
                Over::Boundary
            };
            let other_layout = layout != Some(self.layout.id);
            match fetch {
                Fetch::Chunk(chunk) => {
                    if chunk.epoch != self.epoch {
                        if self.archiver {
                            return Err(boundary);
                        }
                        if other_layout {
                            return Err(Over::Layout);
                        }
                        self.epoch = chunk.epoch;
                        self.sieve.wait_for_key();
                    }
                    let from = self.cursor.frame;
                    self.cursor = Position {
                        chunk: chunk.index + 1,
                        frame: 0,
                    };
                    filled |= self.chunk(&chunk, from, outbox);
                    if self.archiver {
                        let read = self.cursor;
                        self.source
                            .note(|inner| inner.archived = inner.archived.max(read));
                    }
                }
                Fetch::Overrun => self.jump(outbox),
                Fetch::NotYet if self.archiver && epoch != self.epoch => {
                    return Err(if stage == Stage::Ended {
                        Over::Ended
                    } else {
                        boundary
                    });
                }
                Fetch::NotYet if stage == Stage::Ended => return Err(Over::Ended),
                Fetch::NotYet if other_layout => return Err(Over::Layout),
                Fetch::NotYet => {
                    self.behind = false;
                    break;
                }
            }
        }
        Ok(filled)
    }

    /// The reader fell behind: a viewer goes on with the last key frame, the archiver with the oldest that is kept; without one they wait for
    /// the next. Sound follows it.
    fn jump(&mut self, outbox: &mut Outbox) {
        self.jumps += 1;
        self.open = false;
        let (archiver, from) = (self.archiver, self.cursor);
        self.cursor = self.source.look(|inner| {
            let key = if archiver {
                inner.ring.first_key_from(from)
            } else {
                inner.ring.last_key()
            };
            key.unwrap_or(Position {
                chunk: inner.ring.next_index(),
                frame: 0,
            })
        });
        self.sieve.wait_for_key();
        if self.archiver {
            self.goodbye("overrun", outbox);
        }
        tracing::debug!(jumps = self.jumps, "a slow reader goes on with a key frame");
    }

    fn chunk(&mut self, chunk: &Chunk, from: usize, outbox: &mut Outbox) -> bool {
        let before = outbox.bytes();
        let mut run: Option<Range<usize>> = None;
        for (frame, mark) in chunk.frames.iter().enumerate().skip(from) {
            let at = Position {
                chunk: chunk.index,
                frame,
            };
            let verdict = self.sieve.judge(at, mark);
            if let FrameKind::Packet(marks) = &mark.kind
                && mark.track == self.layout.key_track
            {
                self.open = self.layout.has_video && !marks.au_end && verdict != Verdict::Skip;
            }
            if verdict == Verdict::Skip {
                continue;
            }
            if let FrameKind::Packet(_) = mark.kind {
                self.count(mark.track, mark.end - mark.start);
            }
            let (channel, timestamp) = match verdict {
                Verdict::Skip => continue,
                Verdict::Send { channel } => (channel, None),
                Verdict::Restamp { channel, timestamp } => (channel, Some(timestamp)),
            };
            let same_channel = chunk.data.get(mark.start + 1) == Some(&channel);
            if same_channel && timestamp.is_none() {
                match &mut run {
                    Some(run) if run.end == mark.start => run.end = mark.end,
                    other => {
                        if let Some(run) = other.replace(mark.start..mark.end) {
                            outbox.push(chunk.data.slice(run));
                        }
                    }
                }
                continue;
            }
            if let Some(run) = run.take() {
                outbox.push(chunk.data.slice(run));
            }
            self.own_header(chunk, mark.start..mark.end, channel, timestamp, outbox);
        }
        if let Some(run) = run {
            outbox.push(chunk.data.slice(run));
        }
        outbox.bytes() > before
    }

    /// A frame whose first bytes are this reader's own; the rest stays shared.
    fn own_header(
        &mut self,
        chunk: &Chunk,
        frame: Range<usize>,
        channel: u8,
        timestamp: Option<u32>,
        outbox: &mut Outbox,
    ) {
        // `$`, channel, length (4); version, payload type, sequence (4); timestamp (4).
        let own = if timestamp.is_some() { 12 } else { 4 };
        let (Some(head), true) = (
            chunk.data.get(frame.start..frame.start + own),
            frame.len() >= own,
        ) else {
            return;
        };
        self.scratch.put_slice(head);
        if let Some(byte) = self.scratch.get_mut(1) {
            *byte = channel;
        }
        if let Some((timestamp, bytes)) = timestamp.zip(self.scratch.get_mut(8..12)) {
            bytes.copy_from_slice(&timestamp.to_be_bytes());
        }
        outbox.push(self.scratch.split().freeze());
        outbox.push(chunk.data.slice(frame.start + own..frame.end));
    }

    fn count(&mut self, track: usize, frame: usize) {
        if let Some(sent) = self.sent.get_mut(track) {
            sent.packets = sent.packets.wrapping_add(1);
            // Payload without `$` header and RTP header (RFC 3550 §6.4.1).
            let octets = u32::try_from(frame.saturating_sub(16)).unwrap_or(0);
            sent.octets = sent.octets.wrapping_add(octets);
        }
    }
}
