//! An export: one MP4 of a stretch, in constant memory.

use std::collections::VecDeque;

use async_trait::async_trait;
use bytes::Bytes;
use moorline_core::coverage::Coverage;
use moorline_core::port::{Export, RecordingsError};
use moorline_core::segment::SegmentKey;
use moorline_core::{TakeId, TimeRange, Timestamp};
use moorline_fmp4::{Follows, Gaps, JoinError, Joiner};

use crate::listing::{View, Window, place};
use crate::pieces::{Piece, pieces};
use crate::reader::{Reader, damaged};

/// The greatest piece that is handed out.
const MOST: usize = 8 * 1024 * 1024;

/// A running export.
#[derive(Debug)]
pub(crate) struct Exporter {
    view: View,
    coverage: Coverage,
    estimated: u64,
    pieces: VecDeque<Piece>,
    current: Option<(Reader, Option<Timestamp>)>,
    take: Option<TakeId>,
    joiner: Joiner,
    out: Bytes,
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
        let opened = Reader::open(&self.view, &key, held, begin).await?;
        let reader = opened.ok_or_else(|| damaged(&key, "it is gone"))?;
        self.pieces.pop_front();
        let follows = match self.take.replace(key.take) {
            Some(before) if before == key.take => Follows::SameTake,
            _ => Follows::NewTake,
        };
        let init = self.joiner.begin_segment(reader.head(), follows);
        self.out = init
            .map_err(|why| refused(&key, why, range.from))?
            .unwrap_or_default();
        self.current = Some((reader, until));
        Ok(true)
    }

    /// Reads the next fragment of the current segment; `false` behind the last one that belongs here.
    async fn read(&mut self) -> Result<bool, RecordingsError> {
        let Some((reader, until)) = &mut self.current else {
            return Ok(false);
        };
        let next = reader.next().await?;
        let Some(media) = next.filter(|media| until.is_none_or(|until| media.wall() < until))
        else {
            return Ok(false);
        };
        let mut out = Vec::with_capacity(media.bytes.len());
        let joined = self.joiner.push(&media.bytes, &mut out);
        joined.map_err(|why| refused(reader.key(), why, media.wall()))?;
        self.out = out.into();
        Ok(true)
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
            if self.current.is_some() {
                if !self.read().await? {
                    self.current = None;
                }
            } else if !self.open().await? {
                return Ok(None);
            }
        }
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn estimated_bytes(&self) -> u64 {
        self.estimated
    }
}
