//! Coverage as people see it: what the archive holds, and the monitor's account of what is not stored yet. Pure.

use std::time::Duration;

use moorline_core::camera::Camera;
use moorline_core::coverage::{Coverage, Row, RowKind, SHORTEST_GAP};
use moorline_core::status::CameraStatus;
use moorline_core::{TimeRange, Timestamp};

/// So late the monitor may hear of what happened, and a fragment may be synced: silence is told after 5 s.
const SEEN_LATE: Duration = Duration::from_secs(10);

fn missing(from: Timestamp, to: Timestamp) -> Row {
    Row {
        range: TimeRange::new(from, to),
        kind: RowKind::Unexplained,
    }
}

/// Draws the stretches that are not yet stored: their causes are the monitor's (docs/design/lifecycle.md).
pub(super) fn open_gaps(status: &CameraStatus, coverage: &mut Coverage, now: Timestamp) {
    let mut drawn = Vec::with_capacity(coverage.rows.len());
    for row in std::mem::take(&mut coverage.rows) {
        if row.kind != RowKind::Unexplained {
            drawn.push(row);
            continue;
        }
        let mut at = row.range.from;
        for (gap, end) in &status.gaps {
            let known = TimeRange::new(gap.since, end.unwrap_or(now))
                .intersection(&TimeRange::new(at, row.range.to));
            if known.is_empty() {
                continue;
            }
            if known.from > at {
                drawn.push(missing(at, known.from));
            }
            drawn.push(Row {
                range: known,
                kind: RowKind::Gap {
                    cause: gap.cause,
                    open: end.is_none(),
                },
            });
            at = known.to;
        }
        if at < row.range.to {
            drawn.push(missing(at, row.range.to));
        }
    }
    coverage.rows = drawn;
}

/// What is not recorded yet is no bug: before the camera was added there was nothing, and the last seconds are still on their way. What is
/// too short for a gap belongs to the row after it. Up to [`SEEN_LATE`] between what is not yet durable and a gap belong to that gap:
/// the monitor hears of a loss a little later than the last picture came, and the archiver will write it so.
pub(super) fn settle(
    coverage: &mut Coverage,
    camera: &Camera,
    status: &CameraStatus,
    now: Timestamp,
) {
    let fresh = now - SEEN_LATE;
    let mut carried = None;
    let mut rows = std::mem::take(&mut coverage.rows).into_iter().peekable();
    while let Some(mut row) = rows.next() {
        if row.kind != RowKind::Unexplained {
            row.range.from = carried.take().unwrap_or(row.range.from);
            coverage.rows.push(row);
            continue;
        }
        row.range.from = row.range.from.max(camera.created).min(row.range.to);
        let long = row.range.duration();
        let open = status
            .durable_until
            .is_none_or(|until| row.range.to > until);
        let is_gap = |row: &Row| matches!(row.kind, RowKind::Gap { .. });
        if long < SHORTEST_GAP || (open && long <= SEEN_LATE && rows.peek().is_some_and(is_gap)) {
            carried = Some(row.range.from);
        } else if row.range.to >= now && row.range.from >= fresh {
            // on its way
        } else if let Some(gap) = coverage.rows.last_mut().filter(|row| is_gap(row))
            && open
            && long <= SEEN_LATE
        {
            gap.range.to = row.range.to;
        } else {
            coverage.rows.push(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_core::coverage::{Gap, Held, Recorded};
    use moorline_core::segment::{InitHash, Place, Retention, SegmentKey, Tier};
    use moorline_core::status::{LinkStatus, OpenGap};
    use moorline_core::{Cause, Generation, TakeId};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn media(from: i64, to: i64, tier: Tier) -> Recorded {
        let place = Place {
            camera: "yard".parse().unwrap(),
            retention: Retention::Days(14),
            tier,
        };
        Recorded {
            key: SegmentKey {
                place,
                start: at(from),
                duration: at(to).since(at(from)),
                generation: Generation(1),
                take: TakeId(1),
                sequence: 0,
                init: InitHash([0; 3]),
            },
            held: Held::Store,
        }
    }

    fn yard() -> Camera {
        Camera::new("yard".parse().unwrap(), at(0), Retention::Days(14))
    }

    /// With these stretches without media: since, to (none: open), why.
    fn status(durable: i64, gaps: &[(i64, Option<i64>, Cause)]) -> CameraStatus {
        let gaps = gaps.iter().map(|(since, to, cause)| {
            let gap = OpenGap {
                since: at(*since),
                cause: *cause,
            };
            (gap, to.map(at))
        });
        CameraStatus {
            durable_until: Some(at(durable)),
            gaps: gaps.collect(),
            ..CameraStatus::new("yard".parse().unwrap(), LinkStatus::Absent, at(0))
        }
    }

    fn told(coverage: &Coverage) -> Vec<(i64, i64, String)> {
        let rows = coverage.rows.iter().map(|row| {
            let kind = match &row.kind {
                RowKind::Recorded { .. } => "recorded".to_owned(),
                RowKind::Gap { cause, open } => format!("{cause}{}", if *open { "…" } else { "" }),
                RowKind::Expired => "expired".to_owned(),
                RowKind::Unexplained => "unexplained".to_owned(),
            };
            let seconds = |at: Timestamp| at.as_millis() / 1_000;
            (seconds(row.range.from), seconds(row.range.to), kind)
        });
        rows.collect()
    }

    fn shown(media: &[Recorded], gaps: &[Gap], status: &CameraStatus, now: i64) -> Coverage {
        let range = TimeRange::new(at(0), at(now));
        let mut coverage = Coverage::compute(range, media, gaps, at(0));
        open_gaps(status, &mut coverage, at(now));
        settle(&mut coverage, &yard(), status, at(now));
        coverage
    }

    fn row(from: i64, to: i64, kind: &str) -> (i64, i64, String) {
        (from, to, kind.to_owned())
    }

    #[test]
    fn the_seconds_before_a_gap_that_is_noticed_late_belong_to_it() {
        let silent = status(60, &[(105, None, Cause::CameraSilent)]);
        let coverage = shown(&[media(0, 100, Tier::Full)], &[], &silent, 130);
        assert_eq!(
            told(&coverage),
            [row(0, 100, "recorded"), row(100, 130, "camera_silent…")]
        );
        let ended = status(60, &[(102, Some(120), Cause::TunnelDown)]);
        let later = [media(0, 100, Tier::Full), media(122, 140, Tier::Full)];
        let coverage = shown(&later, &[], &ended, 140);
        assert_eq!(
            told(&coverage),
            [
                row(0, 100, "recorded"),
                row(100, 122, "tunnel_down"),
                row(122, 140, "recorded")
            ],
            "and those after it, until the first picture"
        );
    }

    #[test]
    fn the_last_seconds_are_on_their_way() {
        let coverage = shown(&[media(0, 100, Tier::Full)], &[], &status(60, &[]), 104);
        assert_eq!(told(&coverage), [row(0, 100, "recorded")]);
    }

    #[test]
    fn what_is_missing_of_the_stored_archive_stays_a_bug() {
        let stored = [media(0, 100, Tier::Full), media(105, 300, Tier::Full)];
        let gap = Gap {
            range: TimeRange::new(at(300), at(400)),
            cause: Cause::Restart,
            generation: Generation(1),
            open: false,
        };
        let more = [&stored[..], &[media(403, 500, Tier::Full)]].concat();
        let coverage = shown(&more, &[gap], &status(500, &[]), 500);
        assert_eq!(coverage.unexplained().len(), 2, "{:?}", told(&coverage));
        let long = status(60, &[(130, None, Cause::TunnelDown)]);
        let coverage = shown(&[media(0, 100, Tier::Full)], &[], &long, 200);
        assert_eq!(told(&coverage)[1], row(100, 130, "unexplained"));
    }
}
