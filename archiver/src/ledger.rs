//! The account of one camera's time: what is recorded, and why the rest is missing (P4, docs/design/lifecycle.md). Pure: instants are arguments.
//!
//! The archiver alone writes gaps; their causes are the monitor's (rule S27) but for those that only the recorder can see. The cursor is
//! the instant up to which everything is media or a written gap.
//!
//! ```text
//! ── media ──┤ cursor                         ├── media ──
//!            │ tunnel_down │ rtsp_error       │            each piece of at least 1 s, cut at full hours
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use moorline_core::coverage::SHORTEST_GAP;
use moorline_core::status::OpenGap;
use moorline_core::{Cause, TimeRange, Timestamp};

/// Changes of cause that are remembered, at most: the oldest goes first. The monitor's own account has as many.
const MOST_CAUSES: usize = 2_000;
/// After a full hour it is waited so long before that hour's gap is written: media of it may still be on its way.
const HOUR_MARGIN: Duration = Duration::from_secs(10);

/// Media or a clock that lies so far before the cursor: the wall clock was set back. A cursor may be ahead of the clock by as much as RTP
/// time may be ahead of real time (S31), and an hour may have been closed by [`HOUR_MARGIN`] too soon.
const SET_BACK: Duration = Duration::from_secs(10);

/// While an archiver runs no gap gets longer than an hour before it is written: one that is so long is a clock that leapt.
const LEAP: Duration = Duration::from_secs(25 * 3600);

/// A gap to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) range: TimeRange,
    pub(crate) cause: Cause,
}

/// What the recorder itself knows of the stretch without media that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// Whatever the monitor has said: it cannot know (clock step, spool full). Until it says something else: what begins then is not ours.
    Certain(Cause),
    /// Where the monitor says nothing.
    Likely(Cause),
}

/// The account.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    cursor: Timestamp,
    /// From when on which cause holds, in order.
    causes: VecDeque<(Timestamp, Option<Cause>)>,
    /// With the beginning of the stretch, or of the monitor's cause that was known then, if that is later.
    own: Option<(Own, Option<Timestamp>)>,
    /// Where the cursor was before the clock was set back, until time is there again.
    ahead: Option<Timestamp>,
}

impl Ledger {
    /// Everything before `origin` is accounted for. `stretches` are the monitor's, in order.
    pub(crate) fn new(origin: Timestamp, stretches: &[(OpenGap, Option<Timestamp>)]) -> Self {
        let mut ledger = Self {
            cursor: origin,
            causes: VecDeque::new(),
            own: Some((Own::Likely(Cause::Restart), None)),
            ahead: None,
        };
        for (gap, end) in stretches {
            ledger.cause(gap.since, Some(gap.cause));
            if let Some(end) = end {
                ledger.cause(*end, None);
            }
        }
        ledger
    }

    /// Up to here everything is media or a written gap.
    pub(crate) fn cursor(&self) -> Timestamp {
        self.cursor
    }

    /// Where the cursor was before the clock was set back.
    pub(crate) fn ahead(&self) -> Option<Timestamp> {
        self.ahead
    }

    /// What [`Ledger::ahead`] was at the end of the account before this one.
    pub(crate) fn was_ahead(&mut self, ahead: Option<Timestamp>) {
        self.ahead = ahead.filter(|ahead| *ahead > self.cursor);
    }

    /// From `since` on the monitor's cause is this. Whatever was said about later instants is replaced.
    pub(crate) fn cause(&mut self, since: Timestamp, cause: Option<Cause>) {
        while self.causes.back().is_some_and(|(at, _)| *at >= since) {
            self.causes.pop_back();
        }
        if self.causes.back().map(|(_, last)| *last) != Some(cause) {
            self.causes.push_back((since, cause));
        }
        if self.causes.len() > MOST_CAUSES {
            self.causes.pop_front();
        }
    }

    /// What the recorder knows of the stretch that goes on. The next media ends it. A certain cause is not replaced by a likely one.
    pub(crate) fn own(&mut self, own: Own) {
        if !matches!(
            (self.own, own),
            (Some((Own::Certain(_), _)), Own::Likely(_))
        ) {
            let last = self.causes.back().map(|(since, _)| *since);
            self.own = Some((own, last.max(Some(self.cursor))));
        }
    }

    /// Media begins at `start`, for all that is known yet: the gap before it, to be written first.
    pub(crate) fn begins(&mut self, start: Timestamp) -> Vec<Piece> {
        self.media(TimeRange::new(start, start))
    }

    /// What is likely where neither the recorder knows anything of the stretch nor the monitor says something.
    pub(crate) fn own_unless_known(&mut self, cause: Cause) {
        self.own.get_or_insert((Own::Likely(cause), None));
    }

    /// Media of that range is about to be sealed: the gap before it, to be written first.
    pub(crate) fn media(&mut self, range: TimeRange) -> Vec<Piece> {
        self.set_back(range.from);
        let pieces = self.gap_until(range.from);
        self.cursor = self.cursor.max(range.to);
        self.own = None;
        self.forget();
        pieces
    }

    /// Something that was written before (found in the spool): the gap before it.
    pub(crate) fn known(&mut self, range: TimeRange) -> Vec<Piece> {
        let pieces = self.gap_until(range.from);
        self.cursor = self.cursor.max(range.to);
        pieces
    }

    /// A crash cut the tail `range` of what was being recorded.
    pub(crate) fn cut_by_crash(&mut self, until: Timestamp) -> Vec<Piece> {
        let range = TimeRange::new(self.cursor, until);
        if range.duration() < SHORTEST_GAP {
            return Vec::new();
        }
        self.cursor = until;
        at_hours(range, Cause::CrashRecovered)
    }

    /// No media is being recorded now: the full hours that have passed without any.
    pub(crate) fn hours(&mut self, now: Timestamp) -> Vec<Piece> {
        self.set_back(now);
        let hour = (now - HOUR_MARGIN).floor_hour();
        if hour <= self.cursor {
            return Vec::new();
        }
        let pieces = self.gap_until(hour);
        self.cursor = self.cursor.max(hour);
        self.forget();
        pieces
    }

    /// It is `now`. Where that is long before the cursor the wall clock was set back, and what is missing from now on has to be explained
    /// although media of that span, as the clock was wrong, may be there.
    fn set_back(&mut self, now: Timestamp) {
        if now + SET_BACK >= self.cursor {
            // It was the clock that was set back to that was wrong: nothing is missing of the years between.
            if let Some(ahead) = self.ahead
                && now >= ahead
            {
                self.ahead = None;
                if now.since(self.cursor) > LEAP {
                    self.cursor = self.cursor.max(ahead);
                }
            }
            return;
        }
        self.ahead = self.ahead.max(Some(self.cursor));
        self.cursor = now;
        let last = self.causes.back().map(|(_, cause)| *cause);
        let later = self.causes.back().is_some_and(|(since, _)| *since > now);
        if let (Some(last), true) = (last, later) {
            self.cause(now, last);
        }
    }

    fn gap_until(&self, end: Timestamp) -> Vec<Piece> {
        let gap = TimeRange::new(self.cursor, end);
        if gap.duration() < SHORTEST_GAP {
            return Vec::new();
        }
        let split = match self.own {
            Some((Own::Certain(cause), known)) => self.certain(gap, cause, known),
            _ => self.split(gap),
        };
        split
            .into_iter()
            .flat_map(|piece| at_hours(piece.range, piece.cause))
            .collect()
    }

    /// The recorder's own cause, up to the first one that the monitor has named since, of a later beginning than the stretch has.
    fn certain(&self, gap: TimeRange, cause: Cause, known: Option<Timestamp>) -> Vec<Piece> {
        let is_new = |(since, cause): &&(Timestamp, Option<Cause>)| {
            cause.is_some() && known.is_none_or(|known| *since > known)
        };
        let change = self.causes.iter().find(is_new).map(|(since, _)| *since);
        let until = change.map_or(gap.to, |since| since.clamp(gap.from, gap.to));
        let mut pieces = Vec::new();
        push(&mut pieces, TimeRange::new(gap.from, until), cause);
        if until < gap.to {
            for piece in self.split(TimeRange::new(until, gap.to)) {
                push(&mut pieces, piece.range, piece.cause);
            }
        }
        pieces
    }

    /// The gap where the cause changes. What the monitor does not explain belongs to the cause before it, or to the recorder's own.
    fn split(&self, gap: TimeRange) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut at = gap.from;
        let mut held = None;
        let mut changes = self.causes.iter().peekable();
        while let Some((_, cause)) = changes.next_if(|(since, _)| *since <= gap.from) {
            held = *cause;
        }
        let fallback = self
            .own
            .map(|(Own::Certain(cause) | Own::Likely(cause), _)| cause);
        loop {
            let end = changes
                .peek()
                .map_or(gap.to, |(since, _)| *since)
                .min(gap.to);
            let explained = held.or(fallback);
            let before = pieces.last().map(|piece| piece.cause);
            let after = || changes.clone().find_map(|(_, cause)| *cause);
            // a silence that nobody explains was a stream that played and gave nothing
            let cause = explained
                .or(before)
                .or_else(after)
                .unwrap_or(Cause::CameraSilent);
            push(&mut pieces, TimeRange::new(at, end), cause);
            at = end;
            match changes.next() {
                Some((_, cause)) if at < gap.to => held = *cause,
                _ => break,
            }
        }
        pieces
    }

    fn forget(&mut self) {
        // the one that holds at the cursor stays
        while self
            .causes
            .get(1)
            .is_some_and(|(since, _)| *since <= self.cursor)
        {
            self.causes.pop_front();
        }
    }
}

/// Appends a piece; one too short for a gap, and one of the same cause, is added to its neighbour.
fn push(pieces: &mut Vec<Piece>, range: TimeRange, cause: Cause) {
    if range.is_empty() {
        return;
    }
    match pieces.last_mut() {
        Some(last) if last.cause == cause || range.duration() < SHORTEST_GAP => {
            last.range.to = range.to;
        }
        Some(last) if last.range.duration() < SHORTEST_GAP => {
            last.range.to = range.to;
            last.cause = cause;
        }
        _ => pieces.push(Piece { range, cause }),
    }
}

/// The piece cut at full hours, however short what lies on one side: both sides of a gap of little more than a second may be.
fn at_hours(range: TimeRange, cause: Cause) -> Vec<Piece> {
    range
        .cut_at_hours()
        .map(|range| Piece { range, cause })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn range(from: i64, to: i64) -> TimeRange {
        TimeRange::new(at(from), at(to))
    }

    fn told(pieces: &[Piece]) -> Vec<(i64, i64, Cause)> {
        let seconds = |at: Timestamp| at.as_millis() / 1_000;
        pieces
            .iter()
            .map(|piece| {
                (
                    seconds(piece.range.from),
                    seconds(piece.range.to),
                    piece.cause,
                )
            })
            .collect()
    }

    fn stretch(since: i64, cause: Cause, to: i64) -> (OpenGap, Option<Timestamp>) {
        (
            OpenGap {
                since: at(since),
                cause,
            },
            Some(at(to)),
        )
    }

    #[test]
    fn what_the_recorder_knows_ends_where_the_monitor_names_another_cause() {
        let mut ledger = Ledger::new(at(0), &[]);
        ledger.media(range(0, 100));
        ledger.own(Own::Certain(Cause::SpoolFull));
        ledger.cause(at(101), Some(Cause::SpoolFull));
        ledger.cause(at(160), Some(Cause::CameraSilent));
        assert_eq!(
            told(&ledger.hours(at(7_300))),
            [
                (100, 160, Cause::SpoolFull),
                (160, 3_600, Cause::CameraSilent),
                (3_600, 7_200, Cause::CameraSilent)
            ]
        );
        assert_eq!(
            told(&ledger.media(range(7_500, 7_560))),
            [(7_200, 7_500, Cause::CameraSilent)]
        );
        // What the monitor said before does not count against it.
        ledger.cause(at(7_560), None);
        ledger.own(Own::Certain(Cause::ClockStep));
        assert_eq!(
            told(&ledger.media(range(7_600, 7_660))),
            [(7_560, 7_600, Cause::ClockStep)]
        );
    }

    #[test]
    fn a_clock_that_was_set_back_leaves_no_hours_that_nobody_explains() {
        let eight_hours = 8 * 3_600;
        // Twenty seconds were recorded eight hours ahead; then the clock is right, and there is media for a minute.
        let mut ledger = Ledger::new(at(eight_hours), &[]);
        ledger.media(range(eight_hours, eight_hours + 20));
        ledger.cause(at(eight_hours + 10), None);
        ledger.own(Own::Certain(Cause::ClockStep));
        ledger.media(range(100, 160));
        assert_eq!(ledger.cursor(), at(160));
        ledger.cause(at(160), Some(Cause::TunnelDown));
        assert_eq!(
            told(&ledger.media(range(400, 460))),
            [(160, 400, Cause::TunnelDown)]
        );
        // A machine that boots in 1970 until the network corrects it has not been silent for half a century.
        let years = 56 * 365 * 24 * 3_600;
        let mut ledger = Ledger::new(at(years), &[]);
        ledger.media(range(5, 65));
        ledger.own(Own::Certain(Cause::ClockStep));
        assert_eq!(ledger.ahead(), Some(at(years)));
        let pieces = ledger.media(range(years + 100, years + 160));
        let explained = (years, years + 100, Cause::ClockStep);
        assert_eq!(told(&pieces).last(), Some(&explained), "{pieces:?}");
        assert!(pieces.len() <= 2, "{pieces:?}");
        // The same without media: the hours are written.
        let mut ledger = Ledger::new(at(eight_hours), &[]);
        ledger.media(range(eight_hours, eight_hours + 20));
        ledger.cause(at(eight_hours + 20), Some(Cause::TunnelDown));
        assert_eq!(ledger.hours(at(100)), []);
        assert_eq!(
            told(&ledger.hours(at(3_700))),
            [(100, 3_600, Cause::TunnelDown)]
        );
    }

    #[test]
    fn the_stretch_before_the_first_media_is_split_where_the_cause_changes() {
        let mut ledger = Ledger::new(
            at(100),
            &[
                stretch(90, Cause::TunnelDown, 130),
                stretch(130, Cause::RtspError, 150),
            ],
        );
        let pieces = ledger.media(range(152, 212));
        assert_eq!(
            told(&pieces),
            [
                (100, 130, Cause::TunnelDown),
                (130, 150, Cause::RtspError),
                (150, 152, Cause::Restart)
            ]
        );
        assert_eq!(ledger.cursor(), at(212));
        assert_eq!(ledger.media(range(212, 272)), []);
    }

    #[test]
    fn causes_that_arrive_meanwhile_are_used() {
        let mut ledger = Ledger::new(at(0), &[]);
        ledger.media(range(0, 60));
        ledger.cause(at(59), Some(Cause::TunnelDown));
        ledger.cause(at(80), Some(Cause::CameraSilent));
        ledger.cause(at(95), None);
        assert_eq!(
            told(&ledger.media(range(96, 156))),
            [(60, 80, Cause::TunnelDown), (80, 96, Cause::CameraSilent)],
            "the last second, without a cause, belongs to the one before"
        );
    }

    #[test]
    fn less_than_a_second_is_no_gap() {
        let mut ledger = Ledger::new(at(0), &[]);
        ledger.media(range(0, 60));
        let next = TimeRange::new(Timestamp::from_millis(60_999), at(120));
        assert_eq!(ledger.media(next), []);
    }

    #[test]
    fn what_the_monitor_cannot_know_is_the_recorders() {
        let mut ledger = Ledger::new(at(0), &[]);
        ledger.media(range(0, 60));
        ledger.own(Own::Certain(Cause::ClockStep));
        ledger.own(Own::Likely(Cause::NoIdr));
        ledger.cause(at(60), Some(Cause::CameraSilent));
        assert_eq!(
            told(&ledger.media(range(70, 80))),
            [(60, 70, Cause::ClockStep)]
        );
        ledger.own(Own::Likely(Cause::NoIdr));
        ledger.cause(at(80), None);
        assert_eq!(
            told(&ledger.media(range(90, 100))),
            [(80, 90, Cause::NoIdr)]
        );
        assert_eq!(
            told(&ledger.media(range(110, 120))),
            [(100, 110, Cause::CameraSilent)]
        );
    }

    #[test]
    fn hours_without_media_are_written_one_by_one() {
        let mut ledger = Ledger::new(at(0), &[]);
        ledger.media(range(0, 1_800));
        ledger.cause(at(1_800), Some(Cause::TunnelDown));
        assert_eq!(ledger.hours(at(3_605)), [], "media may still be on its way");
        assert_eq!(
            told(&ledger.hours(at(3_611))),
            [(1_800, 3_600, Cause::TunnelDown)]
        );
        assert_eq!(ledger.hours(at(3_700)), []);
        assert_eq!(
            told(&ledger.hours(at(7_300))),
            [(3_600, 7_200, Cause::TunnelDown)]
        );
        assert_eq!(
            told(&ledger.media(range(8_000, 8_060))),
            [(7_200, 8_000, Cause::TunnelDown)]
        );
    }

    #[test]
    fn the_tail_that_a_crash_cut_has_its_own_cause() {
        let mut ledger = Ledger::new(at(0), &[stretch(0, Cause::Restart, 100)]);
        ledger.known(range(0, 50));
        assert_eq!(
            told(&ledger.cut_by_crash(at(52))),
            [(50, 52, Cause::CrashRecovered)]
        );
        assert_eq!(
            told(&ledger.media(range(100, 160))),
            [(52, 100, Cause::Restart)]
        );
        assert_eq!(ledger.cut_by_crash(Timestamp::from_millis(160_500)), []);
    }

    #[test]
    fn a_short_gap_around_a_full_hour_is_written_on_both_sides() {
        let ms = Timestamp::from_millis;
        let mut ledger = Ledger::new(at(3_500), &[]);
        ledger.media(TimeRange::new(at(3_500), ms(3_599_300)));
        let pieces = ledger.media(TimeRange::new(ms(3_600_600), at(3_700)));
        let ranges: Vec<_> = pieces.iter().map(|piece| piece.range).collect();
        let hour = at(3_600);
        assert_eq!(
            ranges,
            [
                TimeRange::new(ms(3_599_300), hour),
                TimeRange::new(hour, ms(3_600_600))
            ]
        );
    }

    proptest! {
        /// Hours of ups and downs: no second of a gap is left out or written twice, every piece lies within one hour.
        #[test]
        fn every_missing_second_is_written_once(steps in proptest::collection::vec((1_i64..9_000, 1_i64..4_000, 0_usize..4), 1..40)) {
            let causes = [None, Some(Cause::TunnelDown), Some(Cause::RtspError), Some(Cause::CameraSilent)];
            let (mut ledger, mut now, mut missing) = (Ledger::new(at(0), &[]), 0, 0);
            let mut pieces = Vec::new();
            for (silence, media, cause) in steps {
                ledger.cause(at(now), causes[cause]);
                let middle = now + silence / 2;
                ledger.cause(at(middle), causes[(cause + 1) % 4]);
                pieces.extend(ledger.hours(at(middle)));
                pieces.extend(ledger.hours(at(now + silence)));
                pieces.extend(ledger.media(range(now + silence, now + silence + media)));
                missing += silence;
                now += silence + media;
            }
            let written: u64 = pieces.iter().map(|piece| piece.range.duration().as_secs()).sum();
            prop_assert_eq!(written as i64, missing);
            for pair in pieces.windows(2) {
                prop_assert!(pair[0].range.to <= pair[1].range.from);
            }
            for piece in &pieces {
                prop_assert!(piece.range.cut_at_hours().count() == 1, "{:?}", piece);
            }
        }
    }
}
