//! The client's side: frames of a camera, published only when what follows them proves their length, and found again after lost bytes.
//!
//! ```text
//!            header invalid, or a frame's end lands on nothing
//! InSync ───────────────────────────────────────────────────────▶ Searching ── 256 KiB, 2 s or too often ──▶ FramingLost
//!   ▲  ◀── a candidate's end lands on a header or the buffer's end ──┘
//!   └─▶ InMessage (a request or response) ─▶ InSync
//! ```
//! The steps are those of docs/design/relay.md, *Resync*. Memory: the frame that is being read, at most 64 KiB, or the search's 256 KiB.
//!
//! Two departures: an odd frame (step 2) is in step only when a header follows it, not at the buffer's end, since its length may be garbage; and a
//! frame is not called short when what follows its claimed end begins as a frame does and no header is found inside it: then it is the next one
//! that is broken, and the picture before it need not be lost too.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::check::{Channel, ChannelMap, Check};
use super::event::{Damage, Event, Frame, FramingLost, ResyncLimits, ResyncStatistics};
use super::search::{Found, Search};
use crate::message::MessageParser;
use crate::octets::{u16_at, u32_at};

#[derive(Debug)]
enum State {
    InSync,
    InMessage,
    Searching(Search),
}

/// The resyncing demultiplexer.
#[derive(Debug)]
pub struct ResyncDemux {
    map: ChannelMap,
    limits: ResyncLimits,
    statistics: ResyncStatistics,
    parser: MessageParser,
    state: State,
    out: VecDeque<Event>,
    /// The last published frame, while nothing has proved its length but the end of the buffer.
    unproved: Option<Frame>,
    /// Per track: a frame of a new SSRC, held until a second one comes.
    newcomers: Vec<Option<(u32, Frame)>>,
    /// Per track: the last published sequence number.
    published: Vec<Option<u16>>,
    minute: (Duration, u32),
}

/// Does a frame's end land where it should?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Landing {
    Good,
    BufferEnd,
    Wait,
    Bad,
}

/// So many odd frames in a row, each landing on the next, are in step.
const ODD_CHAIN: u8 = 4;

impl Default for ResyncDemux {
    fn default() -> Self {
        Self::new(ResyncLimits::default())
    }
}

impl ResyncDemux {
    /// A demultiplexer without channels: until [`Self::set_channels`] every frame is a stray.
    #[must_use]
    pub fn new(limits: ResyncLimits) -> Self {
        Self {
            map: ChannelMap::default(),
            limits,
            statistics: ResyncStatistics::default(),
            parser: MessageParser::new(),
            state: State::InSync,
            out: VecDeque::new(),
            unproved: None,
            newcomers: Vec::new(),
            published: Vec::new(),
            minute: (Duration::ZERO, 0),
        }
    }

    /// Says which channels are which tracks; after each SETUP.
    pub fn set_channels(&mut self, map: ChannelMap) {
        self.newcomers = vec![None; map.tracks.len()];
        self.published = vec![None; map.tracks.len()];
        self.map = map;
    }

    /// The channels.
    #[must_use]
    pub fn channels(&self) -> &ChannelMap {
        &self.map
    }

    /// Counters.
    #[must_use]
    pub fn statistics(&self) -> ResyncStatistics {
        self.statistics
    }

    /// Whether framing is being searched, and until when that may take.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Searching(search) => Some(search.since + self.limits.max_time),
            _ => None,
        }
    }

    /// The next event; `None` when more bytes are needed. Takes bytes off the front of `buf`, to which the caller appends. `now` counts from
    /// any fixed start.
    ///
    /// # Errors
    /// When framing is lost for good.
    pub fn next(
        &mut self,
        buf: &mut BytesMut,
        now: Duration,
    ) -> Result<Option<Event>, FramingLost> {
        loop {
            if let Some(event) = self.out.pop_front() {
                return Ok(Some(event));
            }
            let more = match &mut self.state {
                State::InMessage => match self.parser.parse(buf) {
                    Ok(Some(message)) => {
                        self.state = State::InSync;
                        return Ok(Some(Event::Message(message)));
                    }
                    Ok(None) => false,
                    Err(_) => {
                        // The head was cut: what swallowed its rest is media. The first byte is not looked at again.
                        self.begin_search(None, 1, now)?;
                        true
                    }
                },
                State::InSync => self.in_sync(buf, now)?,
                State::Searching(_) => self.searching(buf, now)?,
            };
            if !more && self.out.is_empty() {
                return Ok(None);
            }
        }
    }

    /// One step; `false` when more bytes are needed.
    fn in_sync(&mut self, buf: &mut BytesMut, now: Duration) -> Result<bool, FramingLost> {
        let padding = buf
            .iter()
            .take_while(|b| matches!(b, b'\r' | b'\n'))
            .count();
        if padding < buf.len() && self.map.check(buf, padding) != Check::Nothing {
            buf.advance(padding);
        }
        match self.map.check(buf, 0) {
            Check::End | Check::NeedMore => Ok(false),
            Check::Text => {
                self.prove();
                self.state = State::InMessage;
                Ok(true)
            }
            Check::Nothing => self.previous_was_short(buf, now),
            Check::Odd { length, ssrc } => match self.lands(buf, 0, 0) {
                Landing::Wait => Ok(false),
                Landing::Bad => self.previous_was_short(buf, now),
                Landing::Good | Landing::BufferEnd => {
                    self.prove();
                    let channel = buf.get(1).copied().unwrap_or_default();
                    buf.advance(4);
                    let packet = buf.split_to(length.min(buf.len())).freeze();
                    self.odd(channel, ssrc, packet);
                    Ok(true)
                }
            },
            Check::Frame { length, channel } => {
                self.prove();
                let end = 4 + length;
                if buf.len() < end {
                    return Ok(false);
                }
                match self.lands(buf, end, 0) {
                    Landing::Wait => Ok(false),
                    Landing::Bad => {
                        let short = Short {
                            frame: frame_at(buf, 0, length, channel),
                            published: false,
                            follows: self.follows(buf.get(end..).unwrap_or_default()),
                        };
                        self.begin_search(Some(short), 4, now)?;
                        Ok(true)
                    }
                    landing => {
                        buf.advance(4);
                        let frame = Frame {
                            channel: self.number(channel),
                            track: index(channel),
                            rtp: matches!(channel, Channel::Rtp(_)),
                            packet: buf.split_to(length).freeze(),
                        };
                        self.publish(frame.clone());
                        self.unproved = Some(frame);
                        if landing == Landing::Good {
                            self.prove();
                        }
                        Ok(true)
                    }
                }
            }
        }
    }

    /// Whether the frame (or text) at `at` is one, and if it is odd, whether its own end lands well (step 2).
    fn lands(&self, buf: &[u8], at: usize, depth: u8) -> Landing {
        match self.map.check(buf, at) {
            Check::End => Landing::BufferEnd,
            Check::NeedMore => Landing::Wait,
            Check::Nothing => Landing::Bad,
            Check::Frame { .. } | Check::Text => Landing::Good,
            Check::Odd { length, ssrc } => {
                let end = at + 4 + length;
                if buf.len() < end {
                    return Landing::Wait;
                }
                match self.map.check(buf, end) {
                    // The same new source twice in a row: a restart.
                    Check::Odd { ssrc: next, .. } if ssrc.is_some() && next == ssrc => {
                        Landing::Good
                    }
                    Check::Odd { .. } if depth >= ODD_CHAIN => Landing::Good,
                    Check::Odd { .. } => self.lands(buf, end, depth + 1),
                    // Nothing is lost by waiting: an odd frame is not published, and its length may be garbage.
                    Check::End | Check::NeedMore => Landing::Wait,
                    Check::Nothing => Landing::Bad,
                    Check::Frame { .. } | Check::Text => Landing::Good,
                }
            }
        }
    }

    fn previous_was_short(
        &mut self,
        buf: &mut BytesMut,
        now: Duration,
    ) -> Result<bool, FramingLost> {
        match self.unproved.take() {
            Some(frame) => {
                // Rare, so the copy does not matter: the search goes back into the frame that is out already.
                let mut again = BytesMut::with_capacity(4 + frame.packet.len() + buf.len());
                let length = u16::try_from(frame.packet.len()).unwrap_or(u16::MAX);
                crate::rtp::append_frame_header(&mut again, frame.channel, length);
                again.put_slice(&frame.packet);
                again.put_slice(buf);
                let short = Short {
                    frame,
                    published: true,
                    follows: self.follows(buf),
                };
                *buf = again;
                self.begin_search(Some(short), 4, now)?;
            }
            None => self.begin_search(None, 0, now)?,
        }
        Ok(true)
    }

    fn begin_search(
        &mut self,
        short: Option<Short>,
        from: usize,
        now: Duration,
    ) -> Result<(), FramingLost> {
        if now.saturating_sub(self.minute.0) >= Duration::from_secs(60) {
            self.minute = (now, 0);
        }
        self.minute.1 += 1;
        if self.minute.1 > self.limits.max_per_minute {
            return Err(FramingLost {
                reason: "too many searches in a minute",
                skipped: 0,
            });
        }
        self.unproved = None;
        self.state = State::Searching(Search::new(short, from, now));
        Ok(())
    }

    fn searching(&mut self, buf: &mut BytesMut, now: Duration) -> Result<bool, FramingLost> {
        let State::Searching(mut search) = std::mem::replace(&mut self.state, State::InSync) else {
            return Ok(true);
        };
        let map = &self.map;
        if let Some(found) = search.step(map, buf, |buf, at| self.lands(buf, at, 0)) {
            self.locked(search, found, buf);
            return Ok(true);
        }
        let skipped = search.trimmed + buf.len();
        let reason = if skipped > self.limits.max_bytes {
            "no frame found in the bytes searched"
        } else if now.saturating_sub(search.since) >= self.limits.max_time {
            "no frame found in time"
        } else {
            self.state = State::Searching(search);
            return Ok(false);
        };
        self.statistics.bytes_skipped += skipped as u64;
        Err(FramingLost { reason, skipped })
    }

    fn locked(&mut self, search: Search, found: Found, buf: &mut BytesMut) {
        let Found {
            at,
            channel,
            sequence,
        } = found;
        self.statistics.resync_total += 1;
        let mut skipped = search.trimmed + at;
        if let Some(short) = search.short {
            let frame_end = 4 + short.frame.packet.len();
            let behind = (search.trimmed + at).checked_sub(frame_end);
            let was_whole = match short.follows {
                Follows::Header => behind.is_some_and(|behind| behind > 0),
                Follows::Dollar => behind == Some(1),
                Follows::Other => false,
            };
            let repeated =
                channel == Some(short.frame.channel) && sequence == u16_at(&short.frame.packet, 2);
            if was_whole {
                // What is broken is the frame behind it; the hole in the sequence tells.
                skipped -= frame_end;
                self.unproved = Some(short.frame.clone());
                if !short.published {
                    self.publish(short.frame);
                }
                self.prove();
            } else if repeated && !short.published {
                self.statistics.repeated_frames += 1;
            } else {
                self.damaged(short, at + search.trimmed);
            }
        }
        self.statistics.bytes_skipped += skipped as u64;
        buf.advance(at);
    }

    fn follows(&self, bytes: &[u8]) -> Follows {
        match bytes {
            [b'$', channel, ..] if self.map.channel(*channel).is_some() => Follows::Header,
            [b'$', ..] => Follows::Dollar,
            _ => Follows::Other,
        }
    }

    fn damaged(&mut self, short: Short, whole_bytes: usize) {
        if !short.frame.rtp {
            return;
        }
        // What stands behind the next frame's start is that frame's, not the packet's.
        let came = whole_bytes
            .saturating_sub(4)
            .min(short.frame.packet.len())
            .min(64);
        let head = Bytes::copy_from_slice(short.frame.packet.get(..came).unwrap_or_default());
        self.out.push_back(Event::Damaged(Damage {
            track: short.frame.track,
            sequence: u16_at(&head, 2),
            timestamp: u32_at(&head, 4),
            head,
            published: short.published,
        }));
    }

    /// What followed the last frame is sound, so it was whole.
    fn prove(&mut self) {
        if let Some(frame) = self.unproved.take().filter(|frame| frame.rtp)
            && let Some(track) = self.map.tracks.get_mut(frame.track)
        {
            track.last_whole = u16_at(&frame.packet, 2);
        }
    }

    fn publish(&mut self, frame: Frame) {
        if frame.rtp {
            let sequence = u16_at(&frame.packet, 2);
            if let Some(last) = self.published.get_mut(frame.track) {
                if *last == sequence {
                    self.statistics.repeated_frames += 1;
                    return;
                }
                *last = sequence;
            }
            if let Some(track) = self.map.tracks.get_mut(frame.track) {
                track.ssrc = u32_at(&frame.packet, 8);
                track.extensions |= frame.packet.first().is_some_and(|first| first & 0x10 != 0);
            }
            if self
                .newcomers
                .get_mut(frame.track)
                .and_then(Option::take)
                .is_some()
            {
                self.statistics.stray_frames += 1;
            }
        }
        self.out.push_back(Event::Frame(frame));
    }

    fn odd(&mut self, channel: u8, ssrc: Option<u32>, packet: Bytes) {
        let (Some(ssrc), Some((track, true))) = (ssrc, self.map.track(channel)) else {
            self.statistics.stray_frames += 1;
            return;
        };
        let frame = Frame {
            channel,
            track,
            rtp: true,
            packet,
        };
        let Some(newcomer) = self.newcomers.get_mut(track) else {
            return;
        };
        match newcomer.take() {
            Some((before, first)) if before == ssrc => {
                if let Some(state) = self.map.tracks.get_mut(track) {
                    state.ssrc = Some(ssrc);
                    state.last_whole = None;
                }
                if let Some(last) = self.published.get_mut(track) {
                    *last = None;
                }
                self.out.push_back(Event::SourceChanged { track, ssrc });
                self.publish(first);
                self.publish(frame);
            }
            other => {
                self.statistics.stray_frames += u64::from(other.is_some());
                *newcomer = Some((ssrc, frame));
            }
        }
    }

    fn number(&self, channel: Channel) -> u8 {
        let track = self.map.tracks.get(index(channel));
        track.map_or(0, |track| {
            if matches!(channel, Channel::Rtp(_)) {
                track.rtp
            } else {
                track.rtcp
            }
        })
    }
}

/// A frame that may be short.
#[derive(Debug)]
pub(super) struct Short {
    pub(super) frame: Frame,
    published: bool,
    follows: Follows,
}

/// What stands at the frame's claimed end. If it begins as a frame of ours does, then the frame was whole and the next one is broken, unless a header is
/// found inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    /// `$` and an assigned channel: four chances in 65,536 for random bytes.
    Header,
    /// `$` alone.
    Dollar,
    /// Neither.
    Other,
}

fn index(channel: Channel) -> usize {
    match channel {
        Channel::Rtp(track) | Channel::Rtcp(track) => track,
    }
}

/// A copy of a frame that stays in the buffer, since the search goes on inside it.
fn frame_at(buf: &[u8], at: usize, length: usize, channel: Channel) -> Frame {
    Frame {
        channel: buf.get(at + 1).copied().unwrap_or_default(),
        track: index(channel),
        rtp: matches!(channel, Channel::Rtp(_)),
        packet: Bytes::copy_from_slice(buf.get(at + 4..at + 4 + length).unwrap_or_default()),
    }
}
