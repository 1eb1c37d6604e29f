//! Coverage: every second of a stretch of time is recorded, in a gap with a cause, expired, or a bug (promise P4).

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::cause::Cause;
use crate::id::Generation;
use crate::segment::{GapKey, SegmentKey, Tier};
use crate::time::{TimeRange, Timestamp};

/// An absence shorter than this is a hole, noted inside a segment, and not a gap.
pub const SHORTEST_GAP: Duration = Duration::from_secs(1);

/// Where a recorded stretch lies now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Held {
    /// Acknowledged by the store.
    Store,
    /// Sealed, waiting in the spool.
    Spool,
    /// Being written: its fragments up to here are synced to disk.
    Open,
}

/// A recorded stretch that coverage is computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its key; for an open segment the key that it would get if it were sealed now.
    pub key: SegmentKey,
    /// Where it lies.
    pub held: Held,
}

/// A stretch without media and with a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The missing stretch.
    pub range: TimeRange,
    /// Why.
    pub cause: Cause,
    /// The writer's generation: where two gaps overlap, the newer writer is right.
    pub generation: Generation,
    /// Whether it goes on. An open gap is not stored: it comes from the monitor's state.
    pub open: bool,
}

impl From<&GapKey> for Gap {
    fn from(key: &GapKey) -> Self {
        Self {
            range: key.range(),
            cause: key.cause,
            generation: key.generation,
            open: false,
        }
    }
}

/// One row of coverage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The stretch, inside what was asked for.
    #[serde(flatten)]
    pub range: TimeRange,
    /// What is there.
    #[serde(flatten)]
    pub kind: RowKind,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum RowKind {
    /// Media.
    Recorded {
        /// The segment. Its own range may reach beyond the row. Of it the tier is shown.
        #[serde(rename = "tier", serialize_with = "tier_of")]
        key: Box<SegmentKey>,
        /// Where it lies.
        held: Held,
    },
    /// No media, and this is why.
    Gap {
        /// Why.
        cause: Cause,
        /// Whether it goes on.
        open: bool,
    },
    /// It was kept as long as it was to be kept.
    Expired,
    /// Neither media nor a cause: a bug, or an archive that somebody else changed.
    Unexplained,
}

fn tier_of<S: Serializer>(key: &SegmentKey, serializer: S) -> Result<S::Ok, S::Error> {
    key.place.tier.serialize(serializer)
}

/// The ordered rows of a stretch: they touch each other and leave no second out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Coverage {
    /// The rows, ordered, without overlap, without anything between them.
    pub rows: Vec<Row>,
}

impl Coverage {
    /// Computes the rows of `range`. What lies before `expired` was removed by retention (or is about to be), unless media is still there.
    ///
    /// Where segments overlap, the best tier is shown, then the highest generation; a segment beats a marker, and a newer marker an older
    /// one. Less than [`SHORTEST_GAP`] between two rows belongs to the first, and so does whatever lies between segment *n* and *n+1* of
    /// one take, because media time is continuous inside a take and only the wall anchor moves. A lesser tier shows where a better one is
    /// missing for at least as long.
    pub fn compute(
        range: TimeRange,
        recorded: &[Recorded],
        gaps: &[Gap],
        expired: Timestamp,
    ) -> Self {
        let ranges = bridged(recorded, gaps);
        let sources: Vec<Source<'_>> = recorded
            .iter()
            .zip(ranges)
            .map(|(recorded, range)| Source::Media(recorded, range))
            .chain(gaps.iter().map(Source::Gap))
            .filter(|source| !source.range().intersection(&range).is_empty())
            .collect();
        let mut rows: Vec<Row> = Vec::new();
        for (piece, source) in sweep(range, &sources) {
            match source {
                Some(source) => append(
                    &mut rows,
                    Row {
                        range: piece,
                        kind: source.row(),
                    },
                ),
                None => append_absence(&mut rows, piece, expired),
            }
        }
        let mut coverage = Self { rows };
        coverage.absorb_jitter();
        coverage
    }

    /// The stretches that nothing explains.
    pub fn unexplained(&self) -> Vec<TimeRange> {
        let unexplained = self
            .rows
            .iter()
            .filter(|row| row.kind == RowKind::Unexplained);
        unexplained.map(|row| row.range).collect()
    }

    /// How much of it is media.
    pub fn recorded(&self) -> Duration {
        let media = self
            .rows
            .iter()
            .filter(|row| matches!(row.kind, RowKind::Recorded { .. }));
        media.map(|row| row.range.duration()).sum()
    }

    /// Gives what is too short for a gap, or lies inside a take, to the row before it (or after it, at the beginning). So is a scrap of a
    /// lesser tier beside a better one.
    fn absorb_jitter(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        let mut rows = rows.into_iter().peekable();
        let mut carried: Option<Timestamp> = None;
        while let Some(mut row) = rows.next() {
            if let Some(from) = carried.take() {
                row.range.from = from;
            }
            let is_lesser = |beside: Option<&RowKind>| match (beside, &row.kind) {
                (Some(RowKind::Recorded { key: beside, .. }), RowKind::Recorded { key, .. }) => {
                    key.place.tier > beside.place.tier
                }
                _ => false,
            };
            let is_scrap = row.range.duration() < SHORTEST_GAP
                && (is_lesser(self.rows.last().map(|row| &row.kind))
                    || is_lesser(rows.peek().map(|row| &row.kind)));
            let inside_take = match (
                self.rows.last().map(|row| &row.kind),
                rows.peek().map(|row| &row.kind),
            ) {
                (
                    Some(RowKind::Recorded { key: before, .. }),
                    Some(RowKind::Recorded { key: after, .. }),
                ) => before.precedes(after),
                _ => false,
            };
            let jitter = is_scrap
                || row.kind == RowKind::Unexplained
                    && (inside_take || row.range.duration() < SHORTEST_GAP);
            match self.rows.last_mut() {
                Some(last) if jitter => last.range.to = row.range.to,
                None if jitter && rows.peek().is_some() => carried = Some(row.range.from),
                _ => self.rows.push(row),
            }
        }
    }
}

/// The range of each segment, drawn out to the next one of its tier over what is no gap, so that a lesser tier does not shine through.
fn bridged(recorded: &[Recorded], gaps: &[Gap]) -> Vec<TimeRange> {
    let mut ranges: Vec<TimeRange> = recorded.iter().map(|one| one.key.range()).collect();
    let tiers: BTreeSet<Tier> = recorded.iter().map(|one| one.key.place.tier).collect();
    if tiers.len() < 2 {
        return ranges;
    }
    let mut order: Vec<(usize, &SegmentKey)> =
        recorded.iter().map(|one| &one.key).enumerate().collect();
    order.sort_by_key(|(_, key)| (key.place.tier, key.start));
    let mut furthest: Option<(usize, &SegmentKey, Timestamp)> = None;
    for (index, key) in order {
        if let Some((before, earlier, end)) = furthest
            && earlier.place.tier == key.place.tier
        {
            let hole = TimeRange::new(end, key.start.max(end));
            let explained = || {
                gaps.iter()
                    .any(|gap| !gap.range.intersection(&hole).is_empty())
            };
            let is_jitter = hole.duration() < SHORTEST_GAP || earlier.precedes(key) && !explained();
            if let (true, Some(range)) = (is_jitter, ranges.get_mut(before)) {
                range.to = range.to.max(hole.to);
            }
            if key.range().to < end {
                continue;
            }
        }
        furthest = Some((index, key, key.range().to));
    }
    ranges
}

enum Source<'a> {
    /// With the stretch that it stands for.
    Media(&'a Recorded, TimeRange),
    Gap(&'a Gap),
}

impl Source<'_> {
    fn range(&self) -> TimeRange {
        match self {
            Self::Media(_, range) => *range,
            Self::Gap(gap) => gap.range,
        }
    }

    /// Which of two that overlap is shown: media before markers, a better tier before a lesser, newer before older; then the later start,
    /// so that a take's next segment is not hidden by the jitter of the one before it.
    fn rank(&self) -> Rank {
        match self {
            Self::Media(recorded, _) => {
                let key = &recorded.key;
                (Some(Reverse(key.place.tier)), key.generation, key.start)
            }
            Self::Gap(gap) => (None, gap.generation, gap.range.from),
        }
    }

    fn row(&self) -> RowKind {
        match self {
            Self::Media(recorded, _) => RowKind::Recorded {
                key: Box::new(recorded.key.clone()),
                held: recorded.held,
            },
            Self::Gap(gap) => RowKind::Gap {
                cause: gap.cause,
                open: gap.open,
            },
        }
    }
}

/// The elementary stretches of `range`, each with the source of the highest rank.
fn sweep<'a>(
    range: TimeRange,
    sources: &'a [Source<'a>],
) -> Vec<(TimeRange, Option<&'a Source<'a>>)> {
    let mut edges: Vec<(Timestamp, bool, usize)> = Vec::with_capacity(sources.len() * 2);
    for (index, source) in sources.iter().enumerate() {
        let inside = source.range().intersection(&range);
        edges.push((inside.from, true, index));
        edges.push((inside.to, false, index));
    }
    edges.sort_unstable();
    let mut pieces = Vec::new();
    let mut active = BTreeSet::new();
    let mut at = range.from;
    for (edge, begins, index) in edges {
        if edge > at {
            pieces.push((TimeRange::new(at, edge), best(&active, sources)));
            at = edge;
        }
        let Some(source) = sources.get(index) else {
            continue;
        };
        if begins {
            active.insert((source.rank(), index));
        } else {
            active.remove(&(source.rank(), index));
        }
    }
    if range.to > at {
        pieces.push((TimeRange::new(at, range.to), best(&active, sources)));
    }
    pieces
}

/// The greatest is shown. [`Tier`] is ordered from the best on.
type Rank = (Option<Reverse<Tier>>, Generation, Timestamp);

fn best<'a>(active: &BTreeSet<(Rank, usize)>, sources: &'a [Source<'a>]) -> Option<&'a Source<'a>> {
    active.last().and_then(|(_, index)| sources.get(*index))
}

fn append(rows: &mut Vec<Row>, row: Row) {
    match rows.last_mut() {
        Some(last) if last.kind == row.kind && last.range.to == row.range.from => {
            last.range.to = row.range.to
        }
        _ => rows.push(row),
    }
}

fn append_absence(rows: &mut Vec<Row>, piece: TimeRange, expired: Timestamp) {
    let gone = TimeRange::new(piece.from, piece.to.min(expired.max(piece.from)));
    let unexplained = TimeRange::new(gone.to, piece.to);
    for (range, kind) in [
        (gone, RowKind::Expired),
        (unexplained, RowKind::Unexplained),
    ] {
        if !range.is_empty() {
            append(rows, Row { range, kind });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::TakeId;
    use crate::segment::{InitHash, Place, Retention, Tier};

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn span(from: i64, to: i64) -> TimeRange {
        TimeRange::new(at(from), at(to))
    }

    fn segment(from: i64, to: i64, generation: u64, take: u32, sequence: u32) -> Recorded {
        let place = Place {
            camera: "yard".parse().unwrap(),
            retention: Retention::Days(14),
            tier: Tier::Full,
        };
        Recorded {
            key: SegmentKey {
                place,
                start: at(from),
                duration: span(from, to).duration(),
                generation: Generation(generation),
                take: TakeId(take),
                sequence,
                init: InitHash([0; 3]),
            },
            held: Held::Store,
        }
    }

    fn gap(from: i64, to: i64, cause: Cause) -> Gap {
        Gap {
            range: span(from, to),
            cause,
            generation: Generation(1),
            open: false,
        }
    }

    fn told(coverage: &Coverage) -> Vec<(i64, i64, String)> {
        let name = |row: &Row| match &row.kind {
            RowKind::Recorded { key, .. } => format!("g{}#{}", key.generation, key.sequence),
            RowKind::Gap { cause, .. } => cause.to_string(),
            RowKind::Expired => "expired".to_owned(),
            RowKind::Unexplained => "unexplained".to_owned(),
        };
        coverage
            .rows
            .iter()
            .map(|row| {
                (
                    row.range.from.as_millis(),
                    row.range.to.as_millis(),
                    name(row),
                )
            })
            .collect()
    }

    #[test]
    fn media_gaps_and_bugs_are_told_apart() {
        let coverage = Coverage::compute(
            span(0, 200_000),
            &[
                segment(10_000, 70_000, 1, 1, 0),
                segment(70_030, 130_000, 1, 1, 1),
            ],
            &[gap(130_000, 180_000, Cause::TunnelDown)],
            at(5_000),
        );
        assert_eq!(
            told(&coverage),
            [
                (0, 5_000, "expired".to_owned()),
                (5_000, 10_000, "unexplained".to_owned()),
                (10_000, 70_030, "g1#0".to_owned()),
                (70_030, 130_000, "g1#1".to_owned()),
                (130_000, 180_000, "tunnel_down".to_owned()),
                (180_000, 200_000, "unexplained".to_owned()),
            ]
        );
        assert_eq!(
            coverage.unexplained(),
            [span(5_000, 10_000), span(180_000, 200_000)]
        );
    }

    #[test]
    fn the_highest_generation_is_shown_and_media_beats_a_marker() {
        let coverage = Coverage::compute(
            span(0, 100),
            &[segment(0, 60, 1, 1, 0), segment(40, 80, 2, 2, 0)],
            &[gap(0, 100, Cause::Restart)],
            at(0),
        );
        assert_eq!(
            told(&coverage),
            [
                (0, 40, "g1#0".to_owned()),
                (40, 80, "g2#0".to_owned()),
                (80, 100, "restart".to_owned())
            ]
        );
    }

    #[test]
    fn a_moved_anchor_inside_a_take_is_no_gap() {
        let two = [
            segment(0, 60_000, 1, 1, 0),
            segment(62_000, 120_000, 1, 1, 1),
        ];
        assert!(
            Coverage::compute(span(0, 120_000), &two, &[], at(0))
                .unexplained()
                .is_empty()
        );
        let other_take = [
            segment(0, 60_000, 1, 1, 0),
            segment(62_000, 120_000, 1, 2, 0),
        ];
        assert_eq!(
            Coverage::compute(span(0, 120_000), &other_take, &[], at(0)).unexplained(),
            [span(60_000, 62_000)]
        );
    }

    fn of_tier(tier: Tier, mut recorded: Recorded) -> Recorded {
        recorded.key.place.tier = tier;
        recorded
    }

    fn tiers(coverage: &Coverage) -> Vec<(i64, i64, Option<Tier>)> {
        let tier = |row: &Row| match &row.kind {
            RowKind::Recorded { key, .. } => Some(key.place.tier),
            _ => None,
        };
        let rows = coverage.rows.iter();
        rows.map(|row| {
            (
                row.range.from.as_millis(),
                row.range.to.as_millis(),
                tier(row),
            )
        })
        .collect()
    }

    #[test]
    fn the_better_tier_is_shown_and_the_lesser_where_it_is_missing() {
        let low = |from, to| of_tier(Tier::Low, segment(from, to, 9, 9, 0));
        let media = [
            segment(0, 60_000, 1, 1, 0),
            segment(60_030, 120_000, 1, 1, 1),
            segment(122_000, 180_000, 1, 1, 2),
            segment(180_700, 200_000, 1, 2, 0),
            low(0, 250_000),
        ];
        let full = Some(Tier::Full);
        let shown = |gaps: &[Gap]| tiers(&Coverage::compute(span(0, 260_000), &media, gaps, at(0)));
        assert_eq!(
            shown(&[]),
            [
                (0, 60_030, full),
                (60_030, 122_000, full),
                (122_000, 180_700, full),
                (180_700, 200_000, full),
                (200_000, 250_000, Some(Tier::Low)),
                (250_000, 260_000, None),
            ],
            "jitter of a take, and less than a second, is no reason to show the lesser"
        );
        let missing = shown(&[gap(120_000, 122_000, Cause::Overrun)]);
        assert!(
            missing.contains(&(120_000, 122_000, Some(Tier::Low))),
            "what a marker calls missing is shown from the other: {missing:?}"
        );
    }

    #[test]
    fn a_scrap_of_a_lesser_tier_beside_a_better_one_is_not_shown() {
        let media = [
            segment(0, 60_000, 1, 1, 0),
            of_tier(Tier::Low, segment(50_000, 60_400, 2, 2, 0)),
        ];
        assert_eq!(
            tiers(&Coverage::compute(span(0, 70_000), &media, &[], at(0))),
            [(0, 60_400, Some(Tier::Full)), (60_400, 70_000, None)]
        );
    }

    #[test]
    fn a_row_tells_its_tier() {
        let media = [of_tier(Tier::Low, segment(0, 1_000, 1, 1, 0))];
        let coverage = Coverage::compute(span(0, 1_000), &media, &[], at(0));
        let told = serde_json::to_value(&coverage.rows).unwrap();
        assert_eq!(
            (&told[0]["kind"], &told[0]["tier"], &told[0]["held"]),
            (&"recorded".into(), &"low".into(), &"store".into())
        );
    }

    proptest! {
        #[test]
        fn rows_touch_and_leave_no_second_out(
            media in proptest::collection::vec((0_i64..10_000, 1_i64..3_000, 1_u64..4, 0_u32..3, 0_u32..4, 0_usize..3), 0..12),
            gaps in proptest::collection::vec((0_i64..10_000, 1_i64..3_000), 0..6),
            from in 0_i64..5_000, length in 1_i64..9_000, expired in 0_i64..9_000,
        ) {
            let media: Vec<_> = media.into_iter().map(|(from, length, generation, take, sequence, tier)| of_tier(Tier::ALL[tier], segment(from, from + length, generation, take, sequence))).collect();
            let gaps: Vec<_> = gaps.into_iter().map(|(from, length)| gap(from, from + length, Cause::Restart)).collect();
            let range = span(from, from + length);
            let coverage = Coverage::compute(range, &media, &gaps, at(expired));
            let mut expected = range.from;
            for row in &coverage.rows {
                prop_assert_eq!(row.range.from, expected);
                prop_assert!(!row.range.is_empty());
                expected = row.range.to;
            }
            prop_assert_eq!(expected, range.to);
        }
    }
}
