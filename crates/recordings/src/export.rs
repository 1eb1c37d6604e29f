//! An export: one MP4 of a stretch, in constant memory.
//!
//! What of a segment cannot be read, since it is damaged, gone, or on a bad sector, is passed over and told: one bad minute must not cost the
//! whole day. A store that is away is something else: it ends the export, after a few tries.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use moorline_core::coverage::Coverage;
use moorline_core::coverage::Held;
use moorline_core::port::{Export, RecordingsError, StoreError, Unread};
use moorline_core::segment::SegmentKey;
use moorline_core::{TakeId, TimeRange, Timestamp};
use moorline_fmp4::{Follows, Gaps, JoinError, Joiner};

use crate::listing::{View, Window, place};
use crate::losses::Losses;
use crate::pieces::{Piece, pieces};
use crate::reader::{Reader, damaged};
use crate::source::Source;

/// The greatest piece that is handed out.
const MOST: usize = 8 * 1024 * 1024;
/// What the store does not give is asked for so often, with growing pauses.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// A running export.
#[derive(Debug)]
pub(crate) struct Exporter {
    view: View,
    coverage: Coverage,
    estimated: u64,
    pieces: VecDeque<Piece>,
    current: Option<Current>,
    take: Option<TakeId>,
    joiner: Joiner,
    out: Bytes,
    losses: Losses,
    /// Answers of the store in a row that were errors.
    failures: u32,
    /// The last segment of which something was read.
    good: Option<(SegmentKey, Held)>,
}

/// The segment that is read.
#[derive(Debug)]
struct Current {
    reader: Reader,
    held: Held,
    until: Option<Timestamp>,
    /// The stretch that it fills, and the end of what was read of it.
    range: TimeRange,
    read_to: Timestamp,
    /// What is wrong behind that.
    damage: Option<String>,
}

impl Exporter {
    /// Plans the whole stretch: nothing is refused after the first byte that could be known before it.
    pub(crate) async fn start(view: View, range: TimeRange) -> Result<Self, RecordingsError> {
        let window = view.range(range).await?;
        let mut planned = VecDeque::from(pieces(window.coverage.clone()));
        planned.retain(|piece| matches!(piece, Piece::Media { .. }));
        let at = format_changes(&planned);
        if !at.is_empty() {
            return Err(RecordingsError::FormatChange { at });
        }
        if planned.is_empty() {
            return Err(RecordingsError::Nothing);
        }
        Ok(Self {
            estimated: estimate(&window, &planned),
            coverage: window.coverage,
            view,
            pieces: planned,
            current: None,
            take: None,
            joiner: Joiner::new(Gaps::Collapse),
            out: Bytes::new(),
            losses: Losses::default(),
            failures: 0,
            good: None,
        })
    }

    /// Opens the next segment; `false` at the end.
    async fn open(&mut self) -> Result<bool, RecordingsError> {
        let Some(Piece::Media {
            key,
            held,
            begin,
            until,
            range,
        }) = self.pieces.front().cloned()
        else {
            return Ok(false);
        };
        let opened = match Reader::open(&self.view, &key, held, begin).await {
            Ok(Some(reader)) => Ok(reader),
            Ok(None) => Err("it is gone".to_owned()),
            Err(RecordingsError::Damaged { why, .. }) => Err(why),
            Err(cause) => return Err(cause),
        };
        self.pieces.pop_front();
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(why) => {
                self.losses.add(&key, range, why);
                return Ok(true);
            }
        };
        if self.losses.is_broken() {
            reader.skip_to_key_frame();
        }
        let follows = match self.take.replace(key.take) {
            Some(before) if before == key.take => Follows::SameTake,
            _ => Follows::NewTake,
        };
        let init = self.joiner.begin_segment(reader.head(), follows);
        self.out = init
            .map_err(|why| refused(&key, why, range.from))?
            .unwrap_or_default();
        self.current = Some(Current {
            reader,
            held,
            until,
            range,
            read_to: range.from,
            damage: None,
        });
        Ok(true)
    }

    /// Reads the next fragment of the current segment, or leaves it behind the last one that belongs here.
    async fn read(&mut self) -> Result<(), RecordingsError> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let next = match current.reader.next().await {
            Ok(next) => next,
            Err(RecordingsError::Damaged { why, .. }) => {
                current.damage.get_or_insert(why);
                return Ok(());
            }
            Err(cause) => return Err(cause),
        };
        let belongs = |wall| current.until.is_none_or(|until| wall < until);
        let Some(media) = next.filter(|media| belongs(media.wall())) else {
            let why = match current.damage.take() {
                None if self.losses.is_broken() => Some("no key frame follows".to_owned()),
                damage => damage,
            };
            self.leave(why);
            return Ok(());
        };
        let (key, wall) = (current.reader.key(), media.wall());
        if let Some(why) = current.damage.take() {
            let missing = TimeRange::new(current.read_to, wall.max(current.read_to));
            self.losses.add(key, missing, why);
        }
        self.losses.goes_on(current.range.from, wall);
        self.good = Some((key.clone(), current.held));
        let mut out = Vec::with_capacity(media.bytes.len());
        let joined = self.joiner.push(&media.bytes, &mut out);
        joined.map_err(|why| refused(key, why, wall))?;
        current.read_to = media.end(current.reader.init().reference().timescale);
        self.out = out.into();
        Ok(())
    }

    /// Leaves the current segment; `why` its rest cannot be read, if so.
    fn leave(&mut self, why: Option<String>) {
        if let (Some(current), Some(why)) = (self.current.take(), why) {
            let end = current.range.to.max(current.read_to);
            let missing = TimeRange::new(current.read_to, end);
            self.losses.add(current.reader.key(), missing, why);
        }
    }

    /// The store gave nothing. What it does not give although it gives others is passed over.
    async fn failed(&mut self, cause: StoreError) -> Result<(), RecordingsError> {
        self.failures += 1;
        if self.failures < TRIES {
            self.view.archive.pause(PAUSE * self.failures).await;
            return Ok(());
        }
        if !self.gives_another().await {
            return Err(cause.into());
        }
        self.failures = 0;
        if self.current.is_some() {
            self.leave(Some(cause.to_string()));
        } else if let Some(Piece::Media { key, range, .. }) = self.pieces.pop_front() {
            self.losses.add(&key, range, cause);
        }
        Ok(())
    }

    /// Whether another segment than the one that is wanted now can be read.
    async fn gives_another(&self) -> bool {
        let behind = usize::from(self.current.is_none());
        let next = self.pieces.get(behind).and_then(|piece| match piece {
            Piece::Media { key, held, .. } => Some((key, *held)),
            Piece::Gap { .. } => None,
        });
        let wanted = self.current.as_ref().map(|current| current.reader.key());
        let before = self.good.as_ref().map(|(key, held)| (key, *held));
        let before = before.filter(|(key, _)| Some(*key) != wanted);
        for (key, held) in next.into_iter().chain(before) {
            if let Ok(Some(mut source)) = Source::find(&self.view, key, held).await
                && let Ok(Some(_)) = source.read(0..1).await
            {
                return true;
            }
        }
        false
    }
}

/// Where another init, or another tier, begins: one file holds one of each.
fn format_changes(planned: &VecDeque<Piece>) -> Vec<Timestamp> {
    let mut before = None;
    let mut changes = Vec::new();
    for piece in planned {
        if let Piece::Media { key, range, .. } = piece {
            let format = (key.init, key.place.tier);
            if before
                .replace(format)
                .is_some_and(|before| before != format)
            {
                changes.push(range.from);
            }
        }
    }
    changes
}

fn refused(key: &SegmentKey, why: JoinError, at: Timestamp) -> RecordingsError {
    match why {
        JoinError::InitChanged { .. } => RecordingsError::FormatChange { at: vec![at] },
        why => damaged(key, why),
    }
}

/// The sizes of the segments, by the share of each that is wanted.
fn estimate(window: &Window, planned: &VecDeque<Piece>) -> u64 {
    let shares = planned.iter().map(|piece| match piece {
        Piece::Media { key, range, .. } => {
            let bytes = u128::from(window.bytes.get(&place(key)).copied().unwrap_or(0));
            let whole = key.duration.as_millis().max(1);
            let wanted = range
                .intersection(&key.range())
                .duration()
                .as_millis()
                .min(whole);
            u64::try_from(bytes * wanted / whole).unwrap_or(u64::MAX)
        }
        Piece::Gap { .. } => 0,
    });
    shares.fold(0, u64::saturating_add)
}

#[async_trait]
impl Export for Exporter {
    async fn next(&mut self) -> Result<Option<Bytes>, RecordingsError> {
        loop {
            if !self.out.is_empty() {
                return Ok(Some(self.out.split_to(MOST.min(self.out.len()))));
            }
            let step = match self.current {
                Some(_) => self.read().await.map(|()| true),
                None => self.open().await,
            };
            match step {
                Ok(true) => self.failures = 0,
                Ok(false) if self.good.is_none() => {
                    return self.losses.first().map_or(Ok(None), Err);
                }
                Ok(false) => return Ok(None),
                Err(RecordingsError::Store(cause)) => self.failed(cause).await?,
                Err(cause) => return Err(cause),
            }
        }
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn unread(&self) -> &[Unread] {
        self.losses.found()
    }

    fn estimated_bytes(&self) -> u64 {
        self.estimated
    }
}
