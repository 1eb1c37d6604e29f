//! From rows to what is played: which segment, from which of its fragments on, up to which. Pure.

use moorline_core::coverage::{Coverage, Held, Row, RowKind};
use moorline_core::segment::SegmentKey;
use moorline_core::{Cause, TimeRange, Timestamp};

/// Where in a segment to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// At its first fragment.
    Start,
    /// At the last key frame at or before the instant; at the first one after it if there is none.
    AtOrBefore(Timestamp),
    /// At the first key frame at or after the instant.
    AtOrAfter(Timestamp),
}

/// Something to play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Media {
        key: SegmentKey,
        held: Held,
        begin: Begin,
        /// Fragments that begin at or after this instant belong to whatever comes next; `None`: all to the segment's end.
        until: Option<Timestamp>,
        /// The row that it fills.
        range: TimeRange,
    },
    Gap {
        range: TimeRange,
        cause: Option<Cause>,
    },
}

/// What the rows say, in order. The first one's segment, if it began before, is joined at a key frame at or before the row.
///
/// Segments follow each other without a cut inside a take, whatever the milliseconds of their keys say: only where another recording
/// is shown instead is a segment left, or entered, in its middle.
pub(crate) fn pieces(coverage: Coverage) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::with_capacity(coverage.rows.len());
    let mut rows = coverage.rows.into_iter().peekable();
    let mut before: Option<SegmentKey> = None;
    while let Some(row) = rows.next() {
        let range = row.range;
        match row.kind {
            RowKind::Recorded { key, held } => {
                let follows_on = before.as_ref().is_some_and(|before| before.precedes(&key));
                let begin = match () {
                    () if follows_on || range.from <= key.start => Begin::Start,
                    () if pieces.is_empty() => Begin::AtOrBefore(range.from),
                    () => Begin::AtOrAfter(range.from),
                };
                let goes_on = rows.peek().is_some_and(|next| match &next.kind {
                    RowKind::Recorded { key: after, .. } => key.precedes(after),
                    _ => false,
                });
                let whole = goes_on || range.to >= key.range().to;
                let until = (!whole).then_some(range.to);
                before = Some((*key).clone());
                pieces.push(Piece::Media {
                    key: *key,
                    held,
                    begin,
                    until,
                    range,
                });
            }
            RowKind::Gap { cause, .. } => pieces.push(Piece::Gap {
                range,
                cause: Some(cause),
            }),
            RowKind::Expired | RowKind::Unexplained => {
                pieces.push(Piece::Gap { range, cause: None })
            }
        }
    }
    pieces
}

/// Takes away what stands at the end and may still become something else: nothing is known of it yet.
pub(crate) fn drop_open_end(rows: &mut Vec<Row>) {
    while rows
        .last()
        .is_some_and(|row| matches!(row.kind, RowKind::Unexplained | RowKind::Expired))
    {
        rows.pop();
    }
}

#[cfg(test)]
mod tests {
    use moorline_core::coverage::{Gap, Recorded};
    use moorline_core::segment::{InitHash, Place, Retention, Tier};
    use moorline_core::{Generation, TakeId};

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn segment(from: i64, to: i64, generation: u64, take: u32, sequence: u32) -> Recorded {
        let place = Place {
            camera: "yard".parse().unwrap(),
            retention: Retention::Keep,
            tier: Tier::Full,
        };
        let key = SegmentKey {
            place,
            start: at(from),
            duration: at(to).since(at(from)),
            generation: Generation(generation),
            take: TakeId(take),
            sequence,
            init: InitHash([0; 3]),
        };
        Recorded {
            key,
            held: Held::Store,
        }
    }

    fn told(
        range: (i64, i64),
        recorded: &[Recorded],
        gaps: &[Gap],
    ) -> Vec<(u32, Begin, Option<i64>)> {
        let coverage = Coverage::compute(
            TimeRange::new(at(range.0), at(range.1)),
            recorded,
            gaps,
            at(0),
        );
        let told = pieces(coverage).into_iter().map(|piece| match piece {
            Piece::Media {
                key, begin, until, ..
            } => (key.sequence, begin, until.map(Timestamp::as_millis)),
            Piece::Gap { range, .. } => (99, Begin::Start, Some(range.to.as_millis())),
        });
        told.collect()
    }

    #[test]
    fn a_take_goes_on_whatever_the_milliseconds_say() {
        // The second begins 30 ms before the first ends, the third 40 ms after the second.
        let take = [
            segment(0, 60_030, 1, 1, 0),
            segment(60_000, 120_000, 1, 1, 1),
            segment(120_040, 180_000, 1, 1, 2),
        ];
        assert_eq!(
            told((30_000, 170_000), &take, &[]),
            [
                (0, Begin::AtOrBefore(at(30_000)), None),
                (1, Begin::Start, None),
                (2, Begin::Start, Some(170_000))
            ]
        );
    }

    #[test]
    fn another_recording_cuts_in_and_leaves() {
        let two = [
            segment(0, 60_000, 1, 1, 0),
            segment(20_000, 40_000, 2, 2, 7),
        ];
        assert_eq!(
            told((0, 60_000), &two, &[]),
            [
                (0, Begin::Start, Some(20_000)),
                (7, Begin::Start, None),
                (0, Begin::AtOrAfter(at(40_000)), None)
            ]
        );
    }

    #[test]
    fn what_nobody_explains_is_a_gap_too() {
        let two = [
            segment(5_000, 10_000, 1, 1, 0),
            segment(15_000, 20_000, 1, 2, 0),
        ];
        assert_eq!(
            told((0, 20_000), &two, &[]),
            [
                (99, Begin::Start, Some(5_000)),
                (0, Begin::Start, None),
                (99, Begin::Start, Some(15_000)),
                (0, Begin::Start, None)
            ]
        );
    }
}
