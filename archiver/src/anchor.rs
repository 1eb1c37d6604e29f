//! Which wall-clock instant a media time is: pure, in microseconds.
//!
//! Tunnel and TCP only ever delay: the lower envelope of `wall − media` is the truth. A fresh take has no history, so its anchor is the
//! minimum over its first segment and is fixed when that is sealed. From then on it follows the minimum of the last 30–60 s, by at most
//! 500 ppm of the media time that passes: it never steps inside a take.
//!
//! [`Divergence`] and [`StepDetector`] tell when a take has to end (rule S31).

const MICROS: i64 = 1_000_000;
/// Half of the history that the envelope looks back on.
const HALF_WINDOW: i64 = 30 * MICROS;
/// The fastest that the anchor moves: 500 µs a second.
const SLEW_PPM: i64 = 500;
/// RTP and monotonic time part by more than this: the take ends (S31).
const DIVERGED: i64 = 5 * MICROS;
/// The longest step back of one picture that may be a picture out of order, and the earliest that media may be.
const JUMP: i64 = MICROS;
/// The monotonic time in which queueing may hold a whole stream back before it counts as divergence.
const QUEUEING: i64 = 120 * MICROS;
/// The wall clock stepped by more than this, in milliseconds: the take ends.
const STEPPED_MS: i64 = 1_000;

/// The smallest value of two half windows: cheap, and never older than both together.
#[derive(Debug, Clone, Copy)]
struct Lowest {
    span: i64,
    began: i64,
    current: i64,
    previous: Option<i64>,
}

impl Lowest {
    fn new(span: i64, at: i64, value: i64) -> Self {
        Self {
            span,
            began: at,
            current: value,
            previous: None,
        }
    }

    /// Takes a value; returns whether a half window ended with it, and its minimum.
    fn push(&mut self, at: i64, value: i64) -> Option<i64> {
        if at.saturating_sub(self.began) < self.span {
            self.current = self.current.min(value);
            return None;
        }
        let ended = self.current;
        self.previous = Some(ended);
        self.current = value;
        self.began = at;
        Some(ended)
    }

    fn get(&self) -> i64 {
        self.previous
            .map_or(self.current, |before| before.min(self.current))
    }
}

/// The anchor of one take.
#[derive(Debug, Clone, Default)]
pub(crate) struct WallAnchor {
    offset: Option<i64>,
    following: Option<Following>,
}

#[derive(Debug, Clone)]
struct Following {
    envelope: Lowest,
    media: i64,
    /// What the slew owes in millionths of a microsecond, so that short steps do not round it away.
    rest: i64,
}

impl WallAnchor {
    /// A picture of media time `media` arrived at `wall`.
    pub(crate) fn observe(&mut self, media: i64, wall: i64) {
        let difference = wall.saturating_sub(media);
        let Some(offset) = &mut self.offset else {
            self.offset = Some(difference);
            return;
        };
        let Some(following) = &mut self.following else {
            *offset = (*offset).min(difference);
            return;
        };
        following.envelope.push(media, difference);
        let passed = media.saturating_sub(following.media).clamp(0, HALF_WINDOW);
        following.media = following.media.max(media);
        let allowed = passed * SLEW_PPM + following.rest;
        following.rest = allowed % MICROS;
        let step = allowed / MICROS;
        *offset += following
            .envelope
            .get()
            .saturating_sub(*offset)
            .clamp(-step, step);
    }

    /// The take's first segment is sealed at media time `media`: from here on the anchor only slews.
    pub(crate) fn fix(&mut self, media: i64) {
        if let (Some(offset), None) = (self.offset, &self.following) {
            self.following = Some(Following {
                envelope: Lowest::new(HALF_WINDOW, media, offset),
                media,
                rest: 0,
            });
        }
    }

    /// Whether the first segment is sealed.
    pub(crate) fn is_fixed(&self) -> bool {
        self.following.is_some()
    }

    /// The wall clock at a media time, in microseconds since the Unix epoch; `None` before the first picture.
    pub(crate) fn wall(&self, media: i64) -> Option<i64> {
        self.offset.map(|offset| media.saturating_add(offset))
    }
}

/// Whether RTP time and monotonic time still go together (rule S31).
#[derive(Debug, Clone, Default)]
pub(crate) struct Divergence {
    envelope: Option<Lowest>,
    reference: Option<i64>,
    /// The latest media time.
    highest: i64,
    /// The least difference so far, which rises as fast as the slew, and when that was.
    floor: (i64, i64),
}

impl Divergence {
    /// A picture of media time `media` arrived at monotonic time `monotonic`, both in microseconds from anywhere. `true`: the take ends.
    ///
    /// A stream that runs ahead cannot be queueing, nor can one that goes back. One that lags may be, until it has lagged for two minutes on
    /// end.
    pub(crate) fn observe(&mut self, media: i64, monotonic: i64) -> bool {
        let difference = monotonic.saturating_sub(media);
        let Some(envelope) = &mut self.envelope else {
            self.envelope = Some(Lowest::new(QUEUEING, monotonic, difference));
            self.reference = Some(difference);
            self.highest = media;
            self.floor = (difference, monotonic);
            return false;
        };
        let back = media < self.highest.saturating_sub(JUMP);
        let (floor, at) = self.floor;
        let rise = monotonic.saturating_sub(at).max(0) / MICROS * SLEW_PPM;
        let ahead = difference < floor.saturating_add(rise).saturating_sub(JUMP);
        if back || ahead || difference < envelope.get().saturating_sub(DIVERGED) {
            return true;
        }
        self.highest = self.highest.max(media);
        if difference <= floor.saturating_add(rise) {
            self.floor = (difference, monotonic);
        }
        match envelope.push(monotonic, difference) {
            Some(lowest) => {
                let before = self.reference.replace(lowest);
                before.is_some_and(|before| lowest.saturating_sub(before) > DIVERGED)
            }
            None => false,
        }
    }
}

/// Whether the wall clock stepped against the monotonic one. Slow correction (NTP's slew) is no step.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StepDetector {
    last: Option<i64>,
}

impl StepDetector {
    /// Both clocks now, in milliseconds. `true`: it stepped by more than a second since the last look.
    pub(crate) fn observe(&mut self, wall_ms: i64, monotonic_ms: i64) -> bool {
        let difference = wall_ms.saturating_sub(monotonic_ms);
        let last = self.last.replace(difference);
        last.is_some_and(|last| difference.abs_diff(last) > STEPPED_MS.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_790_000_000 * MICROS;

    /// Runs an hour of a camera whose clock is `ppm` off through a tunnel with that jitter, and returns the worst error in milliseconds.
    fn worst_error(ppm: i64, jitter: &[u32], most: u32) -> i64 {
        let mut anchor = WallAnchor::default();
        let mut worst = 0;
        let mut first: Vec<(i64, i64)> = Vec::new();
        for picture in 0..15 * 3_600_i64 {
            let truth = START + picture * MICROS / 15;
            let media = (picture * MICROS / 15) * (MICROS + ppm) / MICROS;
            let late = i64::from(jitter[picture as usize % jitter.len()] % (most + 1)) * 1_000;
            anchor.observe(media, truth + late);
            if media >= 60 * MICROS && !anchor.is_fixed() {
                anchor.fix(media);
                for (media, truth) in first.drain(..) {
                    worst = worst.max((anchor.wall(media).unwrap() - truth).abs());
                }
            }
            if anchor.is_fixed() {
                worst = worst.max((anchor.wall(media).unwrap() - truth).abs());
            } else {
                first.push((media, truth));
            }
        }
        worst / 1_000
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn the_wall_clock_is_right_within_250_ms_through_a_tunnel(
            ppm in -500_i64..=500, jitter in proptest::collection::vec(0_u32..2_001, 400..1_000),
        ) {
            let worst = worst_error(ppm, &jitter, 2_000);
            prop_assert!(worst <= 250, "{worst} ms");
        }

        #[test]
        fn the_wall_clock_is_right_within_50_ms_on_a_lan(
            ppm in -100_i64..=100, jitter in proptest::collection::vec(0_u32..21, 100..400),
        ) {
            let worst = worst_error(ppm, &jitter, 20);
            prop_assert!(worst <= 50, "{worst} ms");
        }
    }

    #[test]
    fn a_fixed_anchor_slews_and_never_steps() {
        let mut anchor = WallAnchor::default();
        anchor.observe(0, START + 2 * MICROS);
        anchor.fix(0);
        let mut before = anchor.wall(0).unwrap();
        for second in 1..=4_100 {
            let media = second * MICROS;
            anchor.observe(media, START + media);
            let wall = anchor.wall(media).unwrap();
            let moved = wall - before - MICROS;
            assert!((-500..=0).contains(&moved), "{moved} µs in a second");
            before = wall;
        }
        assert_eq!(
            before,
            START + 4_100 * MICROS,
            "two seconds are gone after 4,000"
        );
    }

    #[test]
    fn rtp_that_runs_ahead_ends_the_take_and_queueing_does_not() {
        let mut divergence = Divergence::default();
        for second in 0..10 {
            assert!(!divergence.observe(second * MICROS, second * MICROS));
        }
        let stalled = 70;
        for second in 10..100 {
            let arrival = second.max(stalled + second / 10);
            assert!(
                !divergence.observe(second * MICROS, arrival * MICROS),
                "{second}"
            );
        }
        assert!(divergence.observe(110 * MICROS, 101 * MICROS));
    }

    proptest! {
        /// Whatever the tunnel held back before: a jump of more than a second ends the take at its first picture, and a stall never does.
        #[test]
        fn rtp_that_jumps_ends_the_take_at_once_and_a_stall_does_not(
            delays in proptest::collection::vec(0_i64..4_000, 1..200), jump in 1_001_i64..3_600_000,
        ) {
            let mut divergence = Divergence::default();
            let (mut arrival, mut media) = (i64::MIN, 0);
            for (picture, delay) in (0_i64..).zip(&delays) {
                media = picture * 40_000;
                // a stream arrives in order
                arrival = (media + delay * 1_000).max(arrival);
                // some are shown before the one that came first
                let shown = media + if picture % 3 == 1 { 400_000 } else { 0 };
                prop_assert!(!divergence.observe(shown, arrival));
            }
            let mut other = divergence.clone();
            prop_assert!(divergence.observe(media + 40_000 - jump * 1_000 - 40_000, arrival + 40_000));
            // ahead of the most punctual picture so far, which the first may have been late for
            prop_assert!(other.observe(media + 40_000 + (jump + 4_400) * 1_000, arrival + 40_000));
        }
    }

    #[test]
    fn rtp_that_lags_for_minutes_ends_the_take() {
        let mut divergence = Divergence::default();
        let ended = (0..600).find(|second| {
            // the camera's clock stands still for six seconds
            let media = (*second).min(100).max(*second - 6);
            divergence.observe(media * MICROS, second * MICROS)
        });
        assert!(
            ended.is_some_and(|second| (220..=360).contains(&second)),
            "{ended:?}"
        );
    }

    #[test]
    fn a_clock_that_is_corrected_slowly_did_not_step() {
        let mut clock = StepDetector::default();
        for second in 0..1_000 {
            assert!(!clock.observe(second * 1_000 + second / 2, second * 1_000));
        }
        assert!(clock.observe(1_002_501, 1_000_000));
        assert!(!clock.observe(1_003_501, 1_001_000));
    }
}
