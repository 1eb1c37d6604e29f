//! What an export passes over, since it cannot be read.

use moorline_core::coverage::SHORTEST_GAP;
use moorline_core::port::{RecordingsError, Unread};
use moorline_core::segment::SegmentKey;
use moorline_core::{TimeRange, Timestamp};

/// The stretches that were passed over, in order.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    found: Vec<Unread>,
    /// No picture was read since the last one: what follows can be shown from a key frame on only.
    broken: bool,
}

impl Losses {
    pub(crate) fn found(&self) -> &[Unread] {
        &self.found
    }

    /// Whether the last stretch has not ended yet.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Nothing of this stretch can be read.
    pub(crate) fn add(&mut self, key: &SegmentKey, range: TimeRange, why: impl ToString) {
        self.broken = true;
        self.found.push(Unread {
            range,
            key: key.to_string(),
            why: why.to_string(),
        });
    }

    /// A picture of a segment that is read from `from` on. What comes before its first key frame belongs to the stretch before it.
    pub(crate) fn goes_on(&mut self, from: Timestamp, wall: Timestamp) {
        if std::mem::take(&mut self.broken)
            && let Some(last) = self.found.last_mut()
            && from < last.range.to + SHORTEST_GAP
        {
            last.range.to = last.range.to.max(wall);
        }
    }

    /// What an export ends with of which nothing could be read.
    pub(crate) fn first(&self) -> Option<RecordingsError> {
        let Unread { key, why, .. } = self.found.first()?.clone();
        Some(RecordingsError::Damaged { key, why })
    }
}
