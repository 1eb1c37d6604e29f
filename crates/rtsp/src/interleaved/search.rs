//! The search for the next frame after lost bytes (docs/design/relay.md, Resync, steps 4 and 5).
//!
//! Each byte is looked at once as a possible start; candidates that cannot be decided yet are remembered by place.

use std::time::Duration;

use bytes::{Buf, BytesMut};

use super::check::ChannelMap;
use super::resync::{Landing, Short};
use crate::octets::{from, u8_at, u16_at, u32_at};

/// A sequence number this far after the last whole one is believed.
const SEQUENCE_WINDOW: u16 = 512;
/// Undecided candidates; four bytes of SSRC must match, so more than one is rare.
const MAX_CANDIDATES: usize = 64;
/// Bytes that a candidate needs: `$` header and RTP header.
const CANDIDATE: usize = 16;

#[derive(Debug)]
pub(super) struct Search {
    /// When it began.
    pub(super) since: Duration,
    /// The frame whose end is not where its header says.
    pub(super) short: Option<Short>,
    /// Bytes that were dropped from the front of the buffer since.
    pub(super) trimmed: usize,
    next: usize,
    candidates: Vec<usize>,
}

/// Where framing goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Place in the buffer.
    pub(super) at: usize,
    /// Channel and sequence number, if it is a frame.
    pub(super) channel: Option<u8>,
    pub(super) sequence: Option<u16>,
}

impl Search {
    pub(super) fn new(short: Option<Short>, from: usize, since: Duration) -> Self {
        Self {
            since,
            short,
            trimmed: 0,
            next: from,
            candidates: Vec::new(),
        }
    }

    /// Looks at what is new. `lands` says what stands at a place.
    pub(super) fn step(
        &mut self,
        map: &ChannelMap,
        buf: &mut BytesMut,
        lands: impl Fn(&[u8], usize) -> Landing,
    ) -> Option<Found> {
        while self.next + CANDIDATE <= buf.len() {
            let bytes = from(buf, self.next);
            if is_response(bytes)
                || (is_candidate(map, bytes) && self.candidates.len() < MAX_CANDIDATES)
            {
                self.candidates.push(self.next);
            }
            self.next += 1;
        }
        let mut found = None;
        self.candidates.retain(|at| {
            if found.is_some() {
                return true;
            }
            let bytes = from(buf, *at);
            if bytes.first() != Some(&b'$') {
                found = Some(Found {
                    at: *at,
                    channel: None,
                    sequence: None,
                });
                return true;
            }
            let end = at + 4 + usize::from(u16_at(bytes, 2).unwrap_or_default());
            if buf.len() < end {
                return true;
            }
            match lands(buf, end) {
                Landing::Wait => true,
                Landing::Bad => false,
                Landing::Good | Landing::BufferEnd => {
                    found = Some(Found {
                        at: *at,
                        channel: u8_at(bytes, 1),
                        sequence: u16_at(bytes, 6),
                    });
                    true
                }
            }
        });
        if found.is_none() {
            self.trim(buf);
        }
        found
    }

    /// Drops what is neither a candidate nor still to be looked at, but for the 15 bytes that may be a stump.
    fn trim(&mut self, buf: &mut BytesMut) {
        let needed = self
            .candidates
            .first()
            .copied()
            .unwrap_or(self.next)
            .min(self.next);
        let dispensable = needed.saturating_sub(CANDIDATE).min(buf.len());
        buf.advance(dispensable);
        self.trimmed += dispensable;
        self.next -= dispensable;
        for candidate in &mut self.candidates {
            *candidate -= dispensable;
        }
    }
}

/// `$ ch hi lo 80 (m)pt`, a known SSRC, a believable sequence number.
fn is_candidate(map: &ChannelMap, bytes: &[u8]) -> bool {
    if bytes.first() != Some(&b'$') {
        return false;
    }
    let (Some(channel), Some(length), Some(first), Some(second)) = (
        u8_at(bytes, 1),
        u16_at(bytes, 2),
        u8_at(bytes, 4),
        u8_at(bytes, 5),
    ) else {
        return false;
    };
    let Some(track) = map.tracks.iter().find(|track| track.rtp == channel) else {
        return false;
    };
    let version = first == 0x80 || (first == 0x90 && track.extensions);
    let payload_type = track.payload_types.contains(&(second & 0x7f));
    let source = track.ssrc.is_none() || track.ssrc == u32_at(bytes, 12);
    let sequence = match (track.last_whole, u16_at(bytes, 6)) {
        (Some(last), Some(sequence)) => {
            (1..=SEQUENCE_WINDOW).contains(&sequence.wrapping_sub(last))
        }
        _ => true,
    };
    length >= 12 && version && payload_type && source && sequence
}

/// `RTSP/1.0 ddd`: long enough to be no accident wherever it stands.
fn is_response(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RTSP/1.0 ")
        && bytes
            .get(9..12)
            .is_some_and(|code| code.iter().all(u8::is_ascii_digit))
}
