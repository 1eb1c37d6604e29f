//! Where a reader begins, and what it is told of it at PLAY.
//!
//! A viewer begins with the last key frame: its pictures up to now get stamps 1 ms apart, the last its own, so that a pacing player
//! shows the present at once; sound before the present is left out. Where no key frame is kept, it waits for the next. The archiver
//! gets unmodified stamps, and begins with the oldest key frame that is kept and that no archiver has read: what it missed while it was
//! away or slow, and nothing twice.

use moorline_rtsp::server::{PlayInfo, SetUpTrack};
use std::time::Duration;

use crate::ring::{FrameKind, Position};
use crate::source::{Inner, Layout};

/// What a viewer asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// `?start=gop`, the default.
    Group,
    /// `?start=idr`: the next key frame.
    NextKey,
    /// The archiver's way.
    Unread,
}

/// Pictures that are replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replay {
    /// Behind them.
    pub(super) until: Position,
    /// Pictures from the next one to the present.
    pub(super) left: u32,
    /// The present picture's timestamp.
    pub(super) live: u32,
    /// 1 ms in ticks.
    pub(super) step: u32,
    /// Of the picture that is being replayed.
    pub(super) stamp: u32,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beginning {
    pub(super) cursor: Position,
    pub(super) replay: Option<Replay>,
    /// The next key frame is waited for.
    pub(super) waiting: bool,
}

/// Decides.
pub(super) fn begin(
    inner: &Inner,
    layout: &Layout,
    wanted: Wanted,
    has_key_track: bool,
) -> Beginning {
    let present = Position {
        chunk: inner.ring.next_index(),
        frame: 0,
    };
    let key = match wanted {
        Wanted::Unread => inner.ring.first_key_from(inner.archived),
        Wanted::Group | Wanted::NextKey => inner.ring.last_key(),
    };
    let key = key.filter(|_| layout.has_video && has_key_track);
    match (wanted, key) {
        (Wanted::Unread, Some(key)) => Beginning {
            cursor: key,
            replay: None,
            waiting: false,
        },
        (Wanted::Unread, None) => Beginning {
            cursor: present,
            replay: None,
            waiting: false,
        },
        (Wanted::Group, Some(key)) => Beginning {
            cursor: key,
            replay: replay(inner, layout, key, present),
            waiting: false,
        },
        (Wanted::Group | Wanted::NextKey, _) => Beginning {
            cursor: present,
            replay: None,
            waiting: layout.has_video && has_key_track,
        },
    }
}

fn replay(inner: &Inner, layout: &Layout, key: Position, until: Position) -> Option<Replay> {
    let mut pictures = 0u32;
    let mut live = 0;
    for (_, mark) in inner.ring.marks_from(key) {
        if let FrameKind::Packet(marks) = &mark.kind
            && mark.track == layout.key_track
            && marks.au_start
        {
            pictures += 1;
            live = marks.timestamp;
        }
    }
    let clock_rate = inner.numbering.get(layout.key_track)?.clock_rate();
    Some(Replay {
        until,
        left: pictures,
        live,
        step: (clock_rate / 1000).max(1),
        stamp: live,
    })
}

impl Replay {
    /// The stamp of the picture that begins now.
    pub(super) fn next(&mut self) {
        self.left = self.left.saturating_sub(1);
        self.stamp = self.live.wrapping_sub(self.left.wrapping_mul(self.step));
    }
}

/// Sequence and timestamp of the first packet of each track that this reader will get, where that is known.
pub(super) fn infos(
    inner: &Inner,
    layout: &Layout,
    beginning: &Beginning,
    tracks: &[SetUpTrack],
    now: Duration,
) -> Vec<PlayInfo> {
    let info = |track: &SetUpTrack| {
        let is_key_track = layout.has_video && track.track == layout.key_track;
        if beginning.waiting && is_key_track {
            return None;
        }
        let from = match beginning.replay {
            Some(replay) if !is_key_track => replay.until,
            _ => beginning.cursor,
        };
        let first = inner
            .ring
            .marks_from(from)
            .find_map(|(_, mark)| match &mark.kind {
                FrameKind::Packet(marks) if mark.track == track.track => {
                    Some((marks.sequence, marks.timestamp))
                }
                _ => None,
            });
        let (sequence, timestamp) = match first {
            Some(first) => first,
            None => inner.numbering.get(track.track)?.next(now),
        };
        let rtptime = match beginning.replay {
            Some(mut replay) if is_key_track => {
                replay.next();
                replay.stamp
            }
            _ => timestamp,
        };
        Some(PlayInfo {
            track: track.track,
            sequence,
            rtptime,
        })
    };
    tracks.iter().filter_map(info).collect()
}
