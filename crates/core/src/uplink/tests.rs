use proptest::prelude::*;

use super::*;
use crate::Timestamp;
use crate::camera::Source;
use crate::segment::Retention;

const RULE: Rule = Rule {
    percent: 5,
    after: Duration::from_secs(120),
    back: Duration::from_secs(1_800),
};
const REPORT: u64 = 15;
const DAY: u64 = 24 * 60 * 60;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A camera of 20 pictures a second behind an uplink that drops so many of a thousand pictures on each stream.
struct World {
    uplink: Uplink,
    counted: Pictures,
    now: u64,
    moves: Vec<(u64, Move)>,
}

impl World {
    fn new() -> Self {
        Self {
            uplink: Uplink::new(RULE, false, Duration::ZERO),
            counted: Pictures::default(),
            now: 0,
            moves: Vec::new(),
        }
    }

    fn pass(&mut self, seconds: u64, main: u64, sub: u64) {
        for _ in 0..seconds / REPORT {
            self.now += REPORT;
            let lost = if self.uplink.on_sub() { sub } else { main };
            self.counted.all += REPORT * 20;
            self.counted.dropped += REPORT * 20 * lost / 1_000;
            if let Some(went) = self.uplink.seen(s(self.now), self.counted) {
                self.moves.push((self.now, went));
            }
        }
    }
}

#[test]
fn more_than_five_percent_for_two_minutes_leads_to_the_sub_stream() {
    let mut world = World::new();
    world.pass(600, 40, 0);
    assert_eq!(world.moves, [], "four percent are not too many");
    world.pass(600, 80, 0);
    let (at, went) = world.moves[0];
    assert_eq!(went, Move::ToSub);
    assert!((600..=720).contains(&at), "at {at} s");
}

#[test]
fn nothing_is_decided_before_two_minutes_were_seen() {
    let mut world = World::new();
    world.pass(120, 500, 0);
    assert_eq!(world.moves, []);
    world.pass(15, 500, 0);
    assert_eq!(world.moves, [(135, Move::ToSub)]);
}

#[test]
fn a_burst_is_no_reason() {
    let mut world = World::new();
    world.pass(600, 0, 0);
    world.pass(15, 300, 0);
    world.pass(600, 0, 0);
    assert_eq!(
        world.moves,
        [],
        "a key frame's worth of pictures in two minutes"
    );
}

#[test]
fn it_goes_back_after_half_an_hour_in_which_nearly_nothing_was_dropped() {
    let mut world = World::new();
    world.pass(135, 500, 0);
    world.pass(3_600, 0, 0);
    assert_eq!(
        world.moves,
        [(135, Move::ToSub), (135 + 1_815, Move::ToMain)]
    );
    world.pass(DAY, 0, 0);
    assert_eq!(world.moves.len(), 2, "the main stream holds");
}

#[test]
fn an_uplink_that_is_too_small_is_tried_ever_more_seldom() {
    let mut world = World::new();
    world.pass(DAY, 500, 0);
    let tries = |moves: &[(u64, Move)]| {
        let tries = moves.iter().filter(|(_, went)| *went == Move::ToMain);
        tries.count()
    };
    assert!(tries(&world.moves) <= 7, "{:?}", world.moves);
    let first_day = tries(&world.moves);
    world.pass(10 * DAY, 500, 0);
    assert!(tries(&world.moves) <= first_day + 10, "{:?}", world.moves);
    // A main stream that held has won its patience back.
    world.pass(2 * DAY, 0, 0);
    assert_eq!(world.moves.last().unwrap().1, Move::ToMain);
    let before = world.moves.len();
    world.pass(135, 500, 0);
    world.pass(1_830, 0, 0);
    assert_eq!(world.moves.len(), before + 2);
}

#[test]
fn a_sub_stream_that_drops_is_stayed_with() {
    let mut world = World::new();
    world.pass(DAY, 500, 20);
    assert_eq!(world.moves.len(), 1, "{:?}", world.moves);
}

#[test]
fn counters_that_begin_anew_and_silence_count_for_nothing() {
    let mut uplink = Uplink::new(RULE, false, Duration::ZERO);
    let read = |all, dropped| Pictures { all, dropped };
    assert_eq!(uplink.seen(s(0), read(1_000, 900)), None);
    assert_eq!(uplink.seen(s(100), read(10, 5)), None, "another agent");
    assert_eq!(uplink.seen(s(200), read(2_000, 900)), None);
    assert_eq!(uplink.seen(s(900), read(9_000, 5_000)), None, "who knows");
    let mut uplink = Uplink::new(RULE, true, Duration::ZERO);
    for hour in 0..100 {
        let pictures = read(hour * 1_000, 0);
        assert_eq!(uplink.seen(s(hour * 3_600), pictures), None, "hour {hour}");
    }
}

proptest! {
    #[test]
    fn random_reports_never_make_it_flap(
        reports in prop::collection::vec((0u64..400, 0u64..600, 0u64..600, prop::bool::weighted(0.02)), 1..2_000),
    ) {
        let mut uplink = Uplink::new(RULE, false, Duration::ZERO);
        let (mut now, mut counted) = (0, Pictures::default());
        let mut moves: Vec<(u64, Move)> = Vec::new();
        for (seconds, all, dropped, anew) in reports {
            now += seconds;
            if anew {
                counted = Pictures::default();
            }
            counted.all += all;
            counted.dropped += dropped.min(all);
            if let Some(went) = uplink.seen(s(now), counted) {
                moves.push((now, went));
            }
            prop_assert!(uplink.samples.len() <= SAMPLES as usize + 3, "{} samples", uplink.samples.len());
            prop_assert_eq!(uplink.on_sub(), moves.last().is_some_and(|(_, went)| *went == Move::ToSub));
        }
        let mut before = (0, Move::ToMain);
        for next in moves {
            prop_assert_ne!(next.1, before.1, "they take turns");
            let least = match next.1 { Move::ToSub => RULE.after, Move::ToMain => RULE.back };
            prop_assert!(s(next.0 - before.0) >= least, "{:?} after {:?}", next, before);
            before = next;
        }
    }

    #[test]
    fn an_uplink_that_carries_the_main_stream_is_left_alone(
        reports in prop::collection::vec((1u64..60, 1u64..1_000, 0u64..5), 1..500),
    ) {
        let mut uplink = Uplink::new(RULE, false, Duration::ZERO);
        let (mut now, mut counted) = (0, Pictures::default());
        for (seconds, all, percent) in reports {
            now += seconds;
            counted.all += all;
            counted.dropped += all * percent / 100;
            prop_assert_eq!(uplink.seen(s(now), counted), None);
        }
    }

    #[test]
    fn frequent_reports_hide_nothing(every in 1u64..15) {
        let mut uplink = Uplink::new(RULE, false, Duration::ZERO);
        let (mut counted, mut moved) = (Pictures::default(), None);
        for now in (every..=300).step_by(usize::try_from(every).unwrap()) {
            counted.all += every * 20;
            counted.dropped += every * 10;
            moved = moved.or(uplink.seen(s(now), counted).map(|_| now));
        }
        prop_assert!(moved.is_some_and(|at| at <= 120 + 2 * every), "{:?}", moved);
    }
}

fn camera(record: Record, record_by: RecordBy, sub: bool) -> Camera {
    Camera {
        sub: sub.then(Source::default),
        record,
        record_by,
        ..Camera::new(
            "yard".parse().unwrap(),
            Timestamp::default(),
            Retention::Days(1),
        )
    }
}

#[test]
fn only_who_has_two_streams_and_no_word_of_its_owner_may_move() {
    use Record::{Main, Off, Sub};
    use RecordBy::{Auto, Owner, Uplink};
    for (record, by, sub, may) in [
        (Main, Auto, true, true),
        (Sub, Uplink, true, true),
        (Main, Auto, false, false),
        (Main, Owner, true, false),
        (Sub, Owner, true, false),
        (Off, Owner, true, false),
    ] {
        let camera = camera(record, by, sub);
        assert_eq!(may_move(&camera), may, "{record:?} {by:?} {sub}");
    }
    let lan = Camera {
        access: Access::Lan {
            host: "192.0.2.1".into(),
            port: 554,
        },
        ..camera(Main, Auto, true)
    };
    assert!(!may_move(&lan));
}

#[test]
fn a_report_counts_once_however_often_it_is_looked_at() {
    let mut watched = Watched::new(RULE, false, Duration::ZERO);
    let said = |all, dropped| Some(Pictures { all, dropped });
    assert_eq!(watched.look(RULE, false, s(0), said(100, 0)), None);
    assert_eq!(watched.look(RULE, false, s(90), said(200, 50)), None);
    assert_eq!(
        watched.look(RULE, false, s(130), said(200, 50)),
        None,
        "nothing new was said"
    );
    assert_eq!(watched.look(RULE, false, s(131), None), None);
    let moved = watched.look(RULE, false, s(140), said(300, 90));
    assert_eq!(moved, Some(Move::ToSub));
    // Its owner has moved it back meanwhile: nothing is known of what comes.
    assert_eq!(watched.look(RULE, false, s(150), said(400, 130)), None);
}
