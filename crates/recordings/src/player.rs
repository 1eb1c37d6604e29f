//! A playback: from a key frame on, across segments, takes and gaps, to the live edge and beyond it as more is recorded.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use moorline_core::coverage::{Held, SHORTEST_GAP};
use moorline_core::port::{PlayItem, Playback, RecordingsError};
use moorline_core::segment::SegmentKey;
use moorline_core::{TakeId, TimeRange, Timestamp};
use moorline_fmp4::InitHash;

use crate::listing::{View, place};
use crate::pieces::{Begin, Piece, drop_open_end, pieces};
use crate::reader::{Media, Reader};
use crate::source::in_spool;

/// A running playback. Between two items it holds at most one reader and the keys of one window.
#[derive(Debug)]
pub(crate) struct Player {
    view: View,
    /// The wall clock behind the last item.
    cursor: Timestamp,
    pieces: VecDeque<Piece>,
    current: Option<Current>,
    /// Which init the caller has.
    init: Option<(TakeId, InitHash)>,
    ready: VecDeque<PlayItem>,
    /// What went wrong before the first item, told with the first call.
    failed: Option<RecordingsError>,
}

#[derive(Debug)]
struct Current {
    reader: Reader,
    until: Option<Timestamp>,
    /// Whether all of it that belongs here was played.
    left: bool,
}

/// Whether there was something to do next.
#[derive(PartialEq)]
enum Step {
    Went,
    AtTheEdge,
}

impl Player {
    /// Begins at the key frame at or before `from`, or at the next one.
    ///
    /// # Errors
    /// [`RecordingsError::Nothing`] if nothing follows.
    pub(crate) async fn start(view: View, from: Timestamp) -> Result<Self, RecordingsError> {
        let mut player = Self {
            view,
            cursor: from,
            pieces: VecDeque::new(),
            current: None,
            init: None,
            ready: VecDeque::new(),
            failed: None,
        };
        match player.next().await {
            Ok(PlayItem::End) => return Err(RecordingsError::Nothing),
            Ok(item) => player.ready.push_front(item),
            Err(damaged @ RecordingsError::Damaged { .. }) => player.failed = Some(damaged),
            Err(cause) => return Err(cause),
        }
        Ok(player)
    }

    /// Plays on in the current segment.
    async fn read(&mut self) -> Result<Step, RecordingsError> {
        let Some(current) = self.current.as_mut().filter(|current| !current.left) else {
            return Ok(Step::AtTheEdge);
        };
        let media = match current.reader.next().await {
            Ok(Some(media)) => media,
            Ok(None) if current.reader.is_sealed() => {
                current.left = true;
                return Ok(Step::Went);
            }
            Ok(None) => {
                let before = (current.reader.limit(), current.reader.is_sealed());
                let is_there = current.reader.refresh().await?;
                current.left = !is_there;
                let grew = before != (current.reader.limit(), current.reader.is_sealed());
                return Ok(if grew || !is_there {
                    Step::Went
                } else {
                    Step::AtTheEdge
                });
            }
            Err(damaged @ RecordingsError::Damaged { .. }) => {
                // The next call goes on behind it: in an open segment it would come here again.
                if !current.reader.is_sealed() {
                    current.left = true;
                    self.cursor = self.cursor.max(current.reader.key().range().to);
                }
                return Err(damaged);
            }
            Err(cause) => return Err(cause),
        };
        if current.until.is_some_and(|until| media.wall() >= until) {
            current.left = true;
        } else {
            self.show(media);
        }
        Ok(Step::Went)
    }

    fn show(&mut self, media: Media) {
        let Some(Current { reader, .. }) = &self.current else {
            return;
        };
        let init = reader.init();
        let identity = (reader.key().take, init.hash());
        if self.init != Some(identity) {
            self.init = Some(identity);
            self.ready.push_back(PlayItem::Init {
                mime: init.mime(),
                bytes: init.bytes().clone(),
            });
        }
        let timescale = u128::from(init.reference().timescale.max(1));
        let millis =
            |ticks: u64| u64::try_from(u128::from(ticks) * 1000 / timescale).unwrap_or(u64::MAX);
        let (wall, media_ms) = (media.wall(), millis(media.entry.media_time));
        // The difference of two roundings, so that fragments neither overlap nor part.
        let duration = millis(media.entry.end()).saturating_sub(media_ms);
        self.cursor = self.cursor.max(wall + Duration::from_millis(duration));
        self.ready.push_back(PlayItem::Fragment {
            wall,
            media_ms,
            duration_ms: u32::try_from(duration).unwrap_or(u32::MAX),
            bytes: media.bytes,
        });
    }

    /// Goes to whatever comes next.
    async fn advance(&mut self) -> Result<Step, RecordingsError> {
        let mut more = true;
        loop {
            while let Some(piece) = self.pieces.front().cloned() {
                if self.enter(piece).await? == Step::Went {
                    return Ok(Step::Went);
                }
            }
            if !more {
                return Ok(Step::AtTheEdge);
            }
            if let Some(step) = self.successor().await? {
                return Ok(step);
            }
            more = self.look_on().await?;
        }
    }

    /// Lists what follows the cursor; `false` if nothing lies behind that.
    async fn look_on(&mut self) -> Result<bool, RecordingsError> {
        let mut window = self.view.window(self.cursor).await?;
        let seen_to = window.coverage.rows.last().map(|row| row.range.to);
        if !window.more {
            drop_open_end(&mut window.coverage.rows);
        }
        let mut found = VecDeque::from(pieces(window.coverage));
        if let (false, Some(Piece::Media { until, .. })) = (window.more, found.back_mut()) {
            // It is not cut off there: it goes on.
            *until = None;
        }
        let before = self
            .current
            .as_ref()
            .map(|current| current.reader.key().clone());
        let is_new = |key: &SegmentKey| before.as_ref().is_none_or(|before| !is_past(before, key));
        found.retain(|piece| !matches!(piece, Piece::Media { key, .. } if !is_new(key)));
        if let Some(Piece::Media { key, begin, .. }) = found.front_mut() {
            *begin = self.begin(before.as_ref(), key, *begin);
        }
        self.pieces = found;
        if let (true, Some(to)) = (self.pieces.is_empty(), seen_to) {
            // Nothing to show up to there, whether or not the camera was recorded: the next look begins behind it.
            if window.more {
                self.cursor = self.cursor.max(to);
            }
        }
        Ok(window.more)
    }

    /// Where to begin in the first segment of a further window, which lists from the cursor on: it is joined in its middle only if it
    /// did not begin there.
    fn begin(&self, before: Option<&SegmentKey>, key: &SegmentKey, begin: Begin) -> Begin {
        match (before, begin) {
            (Some(before), _) if is_same_take(before, key) => Begin::Start,
            (Some(_), Begin::AtOrBefore(at)) if key.start + SHORTEST_GAP >= at => Begin::Start,
            (Some(_), Begin::AtOrBefore(at)) => Begin::AtOrAfter(at),
            _ => begin,
        }
    }

    /// Tries the first piece and takes it from the list; [`Step::AtTheEdge`] if there was nothing in it.
    async fn enter(&mut self, piece: Piece) -> Result<Step, RecordingsError> {
        match piece {
            Piece::Gap { range, cause } => {
                self.pieces.pop_front();
                let range = TimeRange::new(range.from.max(self.cursor), range.to);
                self.cursor = range.to;
                // Playback begins with a picture: what is missing before it is of no interest.
                if range.is_empty() || self.init.is_none() {
                    return Ok(Step::AtTheEdge);
                }
                self.ready.push_back(PlayItem::Gap { range, cause });
            }
            Piece::Media {
                key,
                held,
                begin,
                until,
                range,
            } => {
                let opened = Reader::open(&self.view, &key, held, begin).await;
                if let Ok(_) | Err(RecordingsError::Damaged { .. }) = &opened {
                    self.pieces.pop_front();
                }
                match opened {
                    Ok(Some(reader)) => {
                        self.current = Some(Current {
                            reader,
                            until,
                            left: false,
                        })
                    }
                    // Nothing can be read of an open segment yet; any other is gone.
                    Ok(None) if held == Held::Open => return Ok(Step::AtTheEdge),
                    Ok(None) => {
                        self.cursor = self.cursor.max(range.to);
                        return Ok(Step::AtTheEdge);
                    }
                    Err(cause) => {
                        if matches!(cause, RecordingsError::Damaged { .. }) {
                            self.cursor = self.cursor.max(range.to);
                        }
                        return Err(cause);
                    }
                }
            }
        }
        Ok(Step::Went)
    }

    /// At the live edge the next segment is in the spool, and no request to the store is needed to know it.
    async fn successor(&mut self) -> Result<Option<Step>, RecordingsError> {
        let Some(before) = self
            .current
            .as_ref()
            .map(|current| current.reader.key().clone())
        else {
            return Ok(None);
        };
        // Where time is missing between the two, the listing knows why.
        let soon = |key: &SegmentKey| key.start < self.cursor + SHORTEST_GAP;
        let Some(open) = in_spool(&self.view, |key| before.precedes(key) && soon(key)) else {
            return Ok(None);
        };
        let reader = Reader::open(&self.view, &open.key, open.held, Begin::Start).await?;
        Ok(Some(match reader {
            Some(reader) => {
                self.current = Some(Current {
                    reader,
                    until: None,
                    left: false,
                });
                Step::Went
            }
            None => Step::AtTheEdge,
        }))
    }
}

fn is_same_take(one: &SegmentKey, other: &SegmentKey) -> bool {
    (one.take, one.place.tier) == (other.take, other.place.tier)
}

/// Whether it was played already.
fn is_past(before: &SegmentKey, key: &SegmentKey) -> bool {
    is_same_take(before, key) && place(key) <= place(before)
}

#[async_trait]
impl Playback for Player {
    async fn next(&mut self) -> Result<PlayItem, RecordingsError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(item);
            }
            let waits = self.current.as_ref().is_some_and(|current| !current.left);
            let step = if waits {
                self.read().await?
            } else {
                self.advance().await?
            };
            if step == Step::AtTheEdge {
                return Ok(PlayItem::End);
            }
        }
    }
}
