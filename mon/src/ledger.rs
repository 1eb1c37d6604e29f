//! What is missing of one camera since `durable until` (P4): the monitor's account, from which archiver, page and metrics read.
//!
//! Pure: instants are arguments. Bounded: at most 1,000 stretches; beyond that the two nearest neighbours become one.

use std::collections::VecDeque;
use std::time::Duration;

use moorline_core::coverage::SHORTEST_GAP;
use moorline_core::port::Memory;
use moorline_core::status::OpenGap;
use moorline_core::{Cause, Timestamp};

/// As [`Memory::gaps`] says.
const MOST: usize = 1_000;
/// `durable until` lies so far in the future only when the wall clock was set back: then the archiver's new word counts.
const CLOCK_SET_BACK: Duration = Duration::from_secs(60);

/// A stretch and its end; the last one may be open.
pub(crate) type Stretch = (OpenGap, Option<Timestamp>);

/// The account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    stretches: VecDeque<Stretch>,
    durable_until: Option<Timestamp>,
    recorded_until: Option<Timestamp>,
}

impl Ledger {
    /// After a restart at `now`: goes on from what was remembered. Also gives the stretch that held when the process ended, if it is one
    /// that a restart does not end.
    ///
    /// A stretch that the last stop left open as *restart* ends now. Any other one is true up to the process's last sign of life; from
    /// there on it was a *restart*, since nobody could come in (where no sign of life is known, the stretch is left as it is). A camera
    /// that is switched off stays so. Whatever was being recorded when the process died is missing from its last durable instant on, as
    /// *restart*: where the spool still holds media, media beats the gap.
    pub(crate) fn restore(memory: Memory, now: Timestamp) -> (Self, Option<OpenGap>) {
        let mut ledger = Self {
            stretches: memory.gaps.into(),
            durable_until: memory.durable_until,
            recorded_until: memory.recorded_until,
        };
        let mut stretches = ledger.stretches.iter().rev().copied();
        let (last, before) = (stretches.next(), stretches.next());
        let carried = match (last, before) {
            (Some((restart, None)), Some((gap, end))) if restart.cause == Cause::Restart => {
                (end == Some(restart.since)).then_some(gap)
            }
            (Some((gap, None)), _) => Some(gap),
            _ => None,
        };
        match (last, memory.alive_until) {
            (Some((gap, None)), _) if gap.cause == Cause::Disabled => {}
            (Some((gap, None)), Some(alive)) if gap.cause != Cause::Restart => {
                let died = alive.clamp(gap.since, now.max(gap.since));
                ledger.set(Some(Cause::Restart), died);
                ledger.close(now);
            }
            (Some((gap, None)), None) if goes_on(gap.cause) => {}
            (Some((_, None)), _) => ledger.close(now),
            (ended, _) => {
                let known = ended.and_then(|(_, end)| end).max(ledger.durable_until);
                if let Some(since) = known.filter(|known| *known < now) {
                    ledger.open(Cause::Restart, since);
                    ledger.close(now);
                }
            }
        }
        (ledger, carried.filter(|gap| goes_on(gap.cause)))
    }

    /// Another process has let the camera go: what it remembered stands in the place of what was known here. Gives the stretch that is open, if it is
    /// another one.
    pub(crate) fn take_over(&mut self, memory: Memory) -> Option<OpenGap> {
        let known = (self.open_gap(), self.durable_until);
        let (durable, recorded) = (self.durable_until, self.recorded_until);
        let taken = Self {
            stretches: memory.gaps.into(),
            durable_until: memory.durable_until.max(durable),
            recorded_until: memory.recorded_until.max(recorded),
        };
        let open = taken.open_gap()?;
        if known == (Some(open), taken.durable_until) {
            return None;
        }
        *self = taken;
        self.forget_durable();
        Some(open)
    }

    /// Whether this stretch is known here, be it that its cause has changed since.
    pub(crate) fn has(&self, gap: &OpenGap) -> bool {
        self.stretches
            .iter()
            .any(|(known, _)| known.since == gap.since)
    }

    /// What must be known again after a restart.
    pub(crate) fn memory(&self, alarmed_since: Option<Timestamp>) -> Memory {
        Memory {
            durable_until: self.durable_until,
            recorded_until: self.recorded_until,
            gaps: self.stretches(),
            alarmed_since,
            ..Memory::default()
        }
    }

    /// All stretches, in order.
    pub(crate) fn stretches(&self) -> Vec<Stretch> {
        self.stretches.iter().copied().collect()
    }

    /// The stretch that goes on.
    pub(crate) fn open_gap(&self) -> Option<OpenGap> {
        let open = self.stretches.back().filter(|(_, end)| end.is_none());
        open.map(|(gap, _)| *gap)
    }

    /// Up to where everything is durable or explained.
    pub(crate) fn durable_until(&self) -> Option<Timestamp> {
        self.durable_until
    }

    /// The end of the newest recording that is durable.
    pub(crate) fn recorded_until(&self) -> Option<Timestamp> {
        self.recorded_until
    }

    /// From `at` on the cause is this. Returns whether that is a change.
    pub(crate) fn set(&mut self, cause: Option<Cause>, at: Timestamp) -> bool {
        let present = self.open_gap();
        if present.map(|gap| gap.cause) == cause {
            return false;
        }
        match (present, cause) {
            // Less than a gap under the old cause: the new one takes it over, so that no second is lost between two causes.
            (Some(gap), Some(cause)) if at.since(gap.since) < SHORTEST_GAP => {
                self.stretches.pop_back();
                self.open(cause, gap.since);
            }
            (_, Some(cause)) => {
                self.close(at);
                self.open(cause, at);
            }
            (_, None) => self.close(at),
        }
        self.forget_durable();
        true
    }

    /// The archiver's word on what is durable. Returns whether it moved.
    pub(crate) fn durable(&mut self, at: Timestamp, now: Timestamp) -> bool {
        let set_back = |known: Timestamp| known.since(now) > CLOCK_SET_BACK && at < known;
        let moved = self
            .durable_until
            .is_none_or(|known| at > known || set_back(known));
        if moved {
            let before = self.durable_until.filter(|known| *known < at);
            self.recorded_until = self.recorded(before, at).or(self.recorded_until);
            self.durable_until = Some(at);
            self.forget_durable();
        }
        moved
    }

    /// The end of what was recorded between two instants of `durable until`: of the last part, at least as long as a gap, that lies in no
    /// stretch. Shorter ones are where the archiver's instants and ours differ.
    fn recorded(&self, from: Option<Timestamp>, to: Timestamp) -> Option<Timestamp> {
        let mut end = to;
        for (gap, closed) in self.stretches.iter().rev() {
            if gap.since >= end {
                continue;
            }
            if closed.is_some_and(|closed| end.since(closed) >= SHORTEST_GAP) {
                return Some(end);
            }
            end = gap.since;
        }
        // Before the first stretch of a camera there was nothing; of one that has none, the archiver's first word is where it begins.
        let from = from.or_else(|| self.stretches.front().map(|(gap, _)| gap.since))?;
        (end.since(from) >= SHORTEST_GAP).then_some(end)
    }

    /// What ended before `durable until` is stored by the archiver.
    fn forget_durable(&mut self) {
        let durable = |(_, end): &Stretch| end.is_some_and(|end| Some(end) <= self.durable_until);
        while self.stretches.front().is_some_and(durable) {
            self.stretches.pop_front();
        }
    }

    /// Opens a stretch, or the one before it again if that has the same cause and ends where this begins.
    fn open(&mut self, cause: Cause, since: Timestamp) {
        match self.stretches.back_mut() {
            Some((gap, end)) if gap.cause == cause && *end == Some(since) => *end = None,
            last => {
                let after = last.and_then(|(_, end)| *end);
                let since = after.map_or(since, |after| since.max(after));
                self.stretches.push_back((OpenGap { since, cause }, None));
            }
        }
        if self.stretches.len() > MOST {
            self.merge();
        }
    }

    /// Ends the open stretch. One too short for a gap is added to the stretch before it, if they touch, or forgotten: a hole.
    fn close(&mut self, at: Timestamp) {
        let Some(gap) = self.open_gap() else { return };
        let at = at.max(gap.since);
        self.stretches.pop_back();
        if at.since(gap.since) >= SHORTEST_GAP {
            self.stretches.push_back((gap, Some(at)));
        } else if let Some((_, end)) = self.stretches.back_mut()
            && *end == Some(gap.since)
        {
            *end = Some(at);
        }
    }

    /// Makes one stretch of the two neighbours that lie nearest to each other, under the cause of the longer one.
    fn merge(&mut self) {
        let closed = self.stretches.iter().zip(self.stretches.iter().skip(1));
        let distance = |(first, second): (&Stretch, &Stretch)| {
            second.1.and(first.1).map(|end| second.0.since.since(end))
        };
        let nearest = closed
            .enumerate()
            .filter_map(|(index, pair)| Some((distance(pair)?, index)))
            .min();
        let Some((_, index)) = nearest else { return };
        let second = self.stretches.remove(index + 1);
        if let (Some(first), Some((gap, end))) = (self.stretches.get_mut(index), second) {
            let length =
                |gap: &OpenGap, end: Option<Timestamp>| end.map(|end| end.since(gap.since));
            if length(&gap, end) > length(&first.0, first.1) {
                first.0.cause = gap.cause;
            }
            first.1 = end;
        }
    }
}

/// Causes that a restart of the process does not end.
pub(crate) fn goes_on(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::TunnelDown | Cause::HungUp | Cause::Operator | Cause::Disabled
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    /// Each stretch as (from, to, cause), in seconds; -1 for open.
    fn told(ledger: &Ledger) -> Vec<(i64, i64, Cause)> {
        let seconds = |at: Timestamp| at.as_millis() / 1_000;
        let stretches = ledger.stretches().into_iter();
        stretches
            .map(|(gap, end)| (seconds(gap.since), end.map_or(-1, seconds), gap.cause))
            .collect()
    }

    #[test]
    fn a_stretch_is_split_where_the_cause_changes() {
        let mut ledger = Ledger::default();
        assert!(ledger.set(Some(Cause::TunnelDown), at(10)));
        assert!(!ledger.set(Some(Cause::TunnelDown), at(20)));
        assert!(ledger.set(Some(Cause::RtspError), at(30)));
        assert!(ledger.set(None, at(45)));
        assert_eq!(
            told(&ledger),
            [(10, 30, Cause::TunnelDown), (30, 45, Cause::RtspError)]
        );
    }

    #[test]
    fn what_is_shorter_than_a_gap_leaves_no_second_unexplained() {
        let ms = Timestamp::from_millis;
        let mut ledger = Ledger::default();
        ledger.set(Some(Cause::RtspError), ms(10_000));
        ledger.set(Some(Cause::TunnelDown), ms(10_400));
        assert_eq!(told(&ledger), [(10, -1, Cause::TunnelDown)]);
        ledger.set(Some(Cause::RtspError), ms(20_000));
        ledger.set(None, ms(20_900));
        assert_eq!(
            ledger.stretches().last().unwrap().1,
            Some(ms(20_900)),
            "the rest belongs to the stretch before it"
        );
        ledger.set(Some(Cause::CameraSilent), ms(30_000));
        ledger.set(None, ms(30_999));
        assert_eq!(ledger.stretches().len(), 1, "a hole is no gap");
    }

    #[test]
    fn what_is_durable_is_forgotten() {
        let mut ledger = Ledger::default();
        ledger.set(Some(Cause::TunnelDown), at(10));
        ledger.set(None, at(20));
        ledger.set(Some(Cause::CameraSilent), at(40));
        assert!(ledger.durable(at(15), at(50)));
        assert_eq!(ledger.stretches().len(), 2);
        assert!(ledger.durable(at(45), at(50)));
        assert_eq!(
            told(&ledger),
            [(40, -1, Cause::CameraSilent)],
            "what goes on is kept from its beginning"
        );
        assert!(!ledger.durable(at(44), at(50)), "never backwards");
        assert!(
            ledger.durable(at(-500), at(-499)),
            "but for a clock that was set back"
        );
    }

    #[test]
    fn a_gap_that_is_stored_is_no_recording() {
        let mut ledger = Ledger::default();
        ledger.set(Some(Cause::RtspError), at(10));
        ledger.durable(at(100), at(100));
        ledger.set(Some(Cause::TunnelDown), at(150));
        ledger.durable(at(200), at(200));
        assert_eq!(ledger.recorded_until(), None, "there never was any");
        let mut new = Ledger::default();
        new.set(Some(Cause::TunnelDown), at(10));
        new.durable(at(10), at(11));
        new.set(None, at(20));
        assert_eq!(new.recorded_until(), None, "it has just been added");
        new.durable(at(60), at(61));
        assert_eq!(new.recorded_until(), Some(at(60)));
        ledger.set(None, at(210));
        ledger.durable(at(270), at(271));
        assert_eq!(ledger.recorded_until(), Some(at(270)));
        ledger.set(Some(Cause::TunnelDown), at(300));
        ledger.durable(at(400), at(400));
        assert_eq!(ledger.recorded_until(), Some(at(300)));
        ledger.durable(at(500), at(500));
        assert_eq!(
            ledger.recorded_until(),
            Some(at(300)),
            "it grows no younger"
        );
        let (ledger, _) = Ledger::restore(ledger.memory(None), at(600));
        assert_eq!(ledger.recorded_until(), Some(at(300)), "over a restart");
    }

    #[test]
    fn a_clean_stop_is_a_restart_until_the_process_is_back() {
        let mut ledger = Ledger::default();
        ledger.durable(at(100), at(100));
        ledger.set(Some(Cause::Restart), at(105));
        let (mut ledger, carried) = Ledger::restore(ledger.memory(None), at(120));
        assert_eq!(carried, None, "it was recording");
        ledger.set(Some(Cause::TunnelDown), at(120));
        assert_eq!(
            told(&ledger),
            [(105, 120, Cause::Restart), (120, -1, Cause::TunnelDown)]
        );
        assert_eq!(ledger.durable_until(), Some(at(100)));
    }

    #[test]
    fn a_crash_while_recording_is_a_restart_from_the_last_known_instant_on() {
        let mut ledger = Ledger::default();
        ledger.durable(at(100), at(100));
        let (ledger, _) = Ledger::restore(ledger.memory(None), at(130));
        assert_eq!(told(&ledger), [(100, 130, Cause::Restart)]);
    }

    #[test]
    fn what_held_at_a_crash_ends_with_the_last_sign_of_life() {
        for cause in [
            Cause::HungUp,
            Cause::TunnelDown,
            Cause::Operator,
            Cause::RtspError,
        ] {
            let mut ledger = Ledger::default();
            ledger.set(Some(cause), at(50));
            let memory = Memory {
                alive_until: Some(at(90)),
                ..ledger.memory(None)
            };
            let (mut ledger, carried) = Ledger::restore(memory, at(130));
            let goes_on = carried.map(|gap| (gap.since, gap.cause));
            let away = cause != Cause::RtspError;
            assert_eq!(goes_on, away.then_some((at(50), cause)));
            ledger.set(Some(Cause::TunnelDown), at(130));
            assert_eq!(
                told(&ledger),
                [
                    (50, 90, cause),
                    (90, 130, Cause::Restart),
                    (130, -1, Cause::TunnelDown)
                ]
            );
        }
    }

    #[test]
    fn a_sign_of_life_before_the_stretch_or_after_now_leaves_no_second_out() {
        for (alive, died) in [(10, 50), (500, 130)] {
            let mut ledger = Ledger::default();
            ledger.set(Some(Cause::TunnelDown), at(50));
            let memory = Memory {
                alive_until: Some(at(alive)),
                ..ledger.memory(None)
            };
            let (mut ledger, _) = Ledger::restore(memory, at(130));
            ledger.set(Some(Cause::TunnelDown), at(130));
            let stretches = told(&ledger);
            assert_eq!((stretches[0].0, stretches.last().unwrap().1), (50, -1));
            assert!(stretches.windows(2).all(|pair| pair[0].1 == pair[1].0));
            assert!(
                stretches
                    .iter()
                    .any(|(from, _, _)| *from == died || died == 130)
            );
        }
    }

    #[test]
    fn a_camera_that_is_switched_off_stays_so_over_a_crash_and_a_stop() {
        let mut ledger = Ledger::default();
        ledger.set(Some(Cause::Disabled), at(50));
        let memory = Memory {
            alive_until: Some(at(90)),
            ..ledger.memory(None)
        };
        let (ledger, _) = Ledger::restore(memory, at(130));
        assert_eq!(told(&ledger), [(50, -1, Cause::Disabled)]);
    }

    #[test]
    fn who_hung_up_is_known_after_a_clean_stop() {
        let mut ledger = Ledger::default();
        ledger.set(Some(Cause::HungUp), at(50));
        ledger.set(Some(Cause::Restart), at(70));
        let (mut ledger, carried) = Ledger::restore(ledger.memory(None), at(130));
        let gap = carried.unwrap();
        assert_eq!((gap.since, gap.cause), (at(50), Cause::HungUp));
        ledger.set(Some(Cause::HungUp), at(130));
        assert_eq!(
            told(&ledger),
            [
                (50, 70, Cause::HungUp),
                (70, 130, Cause::Restart),
                (130, -1, Cause::HungUp)
            ]
        );
    }

    #[test]
    fn a_camera_that_flaps_for_weeks_stays_within_the_bound() {
        let mut ledger = Ledger::default();
        for turn in 0..3_000 {
            ledger.set(Some(Cause::TunnelDown), at(turn * 100));
            ledger.set(None, at(turn * 100 + 10 + turn % 7));
        }
        let stretches = ledger.stretches();
        assert_eq!(stretches.len(), MOST);
        assert_eq!(stretches.first().unwrap().0.since, at(0));
        assert_eq!(stretches.last().unwrap().0.since, at(2_999 * 100));
    }

    proptest! {
        #[test]
        fn every_second_under_a_cause_lies_in_a_stretch(steps in proptest::collection::vec((0_u8..4, 1_i64..5_000), 1..60)) {
            let causes = [None, Some(Cause::TunnelDown), Some(Cause::RtspError), Some(Cause::CameraSilent)];
            let mut ledger = Ledger::default();
            let (mut now, mut missing_since) = (0, None);
            for (cause, wait) in steps {
                now += wait;
                let cause = causes[usize::from(cause)];
                ledger.set(cause, Timestamp::from_millis(now));
                let missing = *missing_since.get_or_insert(now);
                if cause.is_none() {
                    if now - missing >= 1_000 {
                        let end = ledger.stretches().last().and_then(|(_, end)| *end);
                        prop_assert_eq!(end, Some(Timestamp::from_millis(now)));
                    }
                    missing_since = None;
                }
            }
            let stretches = ledger.stretches();
            for pair in stretches.windows(2) {
                prop_assert!(pair[0].1.is_some_and(|end| end <= pair[1].0.since), "in order: {:?}", pair);
            }
        }
    }
}
