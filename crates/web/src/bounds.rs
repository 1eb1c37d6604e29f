//! How much one request may ask for. Each bound is what one answer can hold, or one connection can carry; whoever wants more asks piece by
//! piece, as the command line does where it can.

use std::time::Duration;

use moorline_core::{TimeRange, Timestamp};

use crate::problem::Problem;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Longest stretch of one coverage answer: a month of the calendar, 46,080 rows of a minute.
pub const COVERAGE: Duration = DAY.saturating_mul(32);

/// Longest export: a day, also the one on which clocks are set back. Its plan, some 1,500 keys, is held in memory; at 2 Mbit/s it is a file
/// of 22 GB, which has no second half to be fetched again when the connection breaks.
pub const EXPORT: Duration = HOUR.saturating_mul(25);

/// Longest verify that looks at every tenth segment: a month, some 4,600 reads in one request.
pub const VERIFY: Duration = DAY.saturating_mul(32);

/// Longest verify that reads every byte: a day, as for an export, since it reads as much.
pub const VERIFY_WHOLE: Duration = EXPORT;

/// Refuses a stretch that is longer than `most`, and says where to cut it.
///
/// # Errors
/// 422 on the field `to`.
pub(crate) fn check(range: TimeRange, most: Duration, what: &str) -> Result<(), Problem> {
    if range.duration() <= most {
        return Ok(());
    }
    let first = range.from + most;
    let hint = format!(
        "{what} takes at most {} at once: ask up to {first}, and then from there on",
        words(most)
    );
    Err(Problem::invalid("to", &range.to.to_string(), hint))
}

fn words(length: Duration) -> String {
    match length.as_secs() / HOUR.as_secs() {
        hours if hours >= 48 => format!("{} days", hours / 24),
        hours => format!("{hours} hours"),
    }
}

/// `range` in pieces that are no longer than `most`, in order.
pub fn pieces(range: TimeRange, most: Duration) -> impl Iterator<Item = TimeRange> {
    let mut at: Timestamp = range.from;
    std::iter::from_fn(move || {
        (at < range.to).then(|| {
            let piece = TimeRange::new(at, (at + most).min(range.to));
            at = piece.to;
            piece
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: i64, to: i64) -> TimeRange {
        TimeRange::new(Timestamp::from_millis(from), Timestamp::from_millis(to))
    }

    #[test]
    fn pieces_touch_and_none_is_longer() {
        let whole = span(1, 10_001);
        let cut: Vec<_> = pieces(whole, Duration::from_secs(4)).collect();
        assert_eq!(
            cut,
            [span(1, 4_001), span(4_001, 8_001), span(8_001, 10_001)]
        );
        assert_eq!(pieces(span(5, 5), Duration::from_secs(4)).count(), 0);
    }
}
