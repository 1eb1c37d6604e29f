//! A listing of anything as coverage (P4): rows touch each other, stay in the range, and leave no second out.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use moorline_core::coverage::{Coverage, Gap, Held, Recorded, RowKind};
use moorline_core::segment::{ObjectKey, SegmentKey};
use moorline_core::{TimeRange, Timestamp};

fn rows(range: TimeRange, recorded: &[Recorded], gaps: &[Gap], expired: Timestamp) {
    let coverage = Coverage::compute(range, recorded, gaps, expired);
    let mut end = range.from;
    for row in &coverage.rows {
        assert_eq!(row.range.from, end);
        assert!(!row.range.is_empty());
        end = row.range.to;
    }
    assert_eq!(end, range.to);
    assert!(coverage.recorded() <= range.duration());
    for missing in coverage.unexplained() {
        assert!(
            coverage
                .rows
                .iter()
                .any(|row| row.range == missing && row.kind == RowKind::Unexplained)
        );
    }
}

// Six bytes place the range; the rest are keys, and what is no key is not there. Each segment is also moved by what follows its key, so
// that stretches overlap, which the fuzzer would not find by digits alone.
fuzz_target!(|bytes: &[u8]| {
    let Some((numbers, rest)) = bytes.split_first_chunk::<6>() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    let (mut recorded, mut gaps) = (Vec::new(), Vec::new());
    let mut first: Option<Timestamp> = None;
    for (index, line) in text.lines().take(64).enumerate() {
        let (line, moved) = line.split_once(' ').unwrap_or((line, ""));
        let Ok(key) = line.parse::<ObjectKey>() else {
            continue;
        };
        let start = *first.get_or_insert(key.range().from);
        let by = moved
            .bytes()
            .fold(0_u64, |sum, byte| sum * 31 % 7_200_000 + u64::from(byte));
        match key {
            ObjectKey::Gap(gap) => gaps.push(Gap::from(&gap)),
            ObjectKey::Segment(key) => {
                let key = SegmentKey {
                    start: start + Duration::from_millis(by),
                    ..key
                };
                let held = [Held::Store, Held::Spool, Held::Open][index % 3];
                recorded.push(Recorded { key, held });
            }
        }
    }
    let base = first.unwrap_or_default();
    let [a, b, c, d, e, f] = numbers.map(u64::from);
    let from = base + Duration::from_secs(a * 60 + b);
    let range = TimeRange::new(from, from + Duration::from_millis(1 + c * 60_000 + d * 250));
    rows(
        range,
        &recorded,
        &gaps,
        base + Duration::from_secs(e * 60 + f),
    );
});
