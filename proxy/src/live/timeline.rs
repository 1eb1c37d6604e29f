//! Where pictures lie on the browser's clock.
//!
//! A fragment is sent before its last picture's duration is known, so durations are foretold. Decoding times then follow one another
//! without a hole, since Media Source Extensions drop everything up to the next key frame where two of them lie further apart than two
//! pictures; the composition offset carries the rest, and the next durations take it back.

/// Where one picture lies, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) decode_time: u64,
    pub(super) duration: u32,
    pub(super) composition_offset: i32,
}

/// The clock of the pictures of one feed.
#[derive(Debug)]
pub(super) struct Timeline {
    clock_rate: i64,
    last: Option<(u32, i64)>,
    next: i64,
    /// From one picture to the next.
    step: i64,
    known: bool,
}

/// Media time of the first picture, in seconds: room for what is dated a little before it.
const BEGIN: i64 = 10;

impl Timeline {
    /// `rate`: pictures per second, if the camera says it.
    pub(super) fn new(clock_rate: u32, rate: Option<f64>) -> Self {
        let clock_rate = i64::from(clock_rate.max(1));
        let rate = rate.filter(|rate| (1.0..=240.0).contains(rate));
        Self {
            clock_rate,
            last: None,
            next: BEGIN * clock_rate,
            step: (clock_rate as f64 / rate.unwrap_or(20.0)) as i64,
            known: rate.is_some(),
        }
    }

    /// Media time at which the first picture is shown, in µs.
    pub(super) fn begin_micros() -> i64 {
        BEGIN * 1_000_000
    }

    /// Learns the step from pictures that are about to be placed.
    pub(super) fn learn(&mut self, timestamps: &[u32]) {
        if let (false, [first, .., last]) = (self.known, timestamps) {
            let ticks = i64::from(last.wrapping_sub(*first).cast_signed());
            let step = ticks / (timestamps.len() as i64 - 1);
            if (1..=self.clock_rate).contains(&step) {
                self.step = step;
                self.known = true;
            }
        }
    }

    /// Places the next picture in decoding order. `key`: the clock may jump here.
    pub(super) fn place(&mut self, timestamp: u32, key: bool) -> Placed {
        let shown = match self.last {
            None => self.next,
            Some((last, shown)) => {
                let ticks = i64::from(timestamp.wrapping_sub(last).cast_signed());
                if (1..=self.clock_rate).contains(&ticks) {
                    self.step += (ticks - self.step) / 4;
                }
                (shown + ticks).max(0)
            }
        };
        self.last = Some((timestamp, shown));
        let ahead = shown - self.next;
        if key && ahead > self.clock_rate / 2 {
            self.next = shown;
        }
        let decode_time = self.next;
        let off = shown - decode_time;
        let duration = (self.step + off / 4)
            .clamp(self.step / 4, self.step * 4)
            .max(1);
        self.next = decode_time + duration;
        Placed {
            decode_time: u64::try_from(decode_time).unwrap_or(0),
            duration: u32::try_from(duration).unwrap_or(1),
            composition_offset: i32::try_from(off).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_times_have_no_holes_and_showing_times_are_the_cameras() {
        let mut timeline = Timeline::new(90_000, None);
        timeline.learn(&[0, 6000, 12_000]);
        let stamps = [0u32, 6000, 12_000, 21_000, 24_000, 30_000, 48_000, 54_000];
        let mut end = None;
        for (n, stamp) in stamps.into_iter().enumerate() {
            let placed = timeline.place(stamp, n == 0);
            assert!(
                end.is_none_or(|end| end == placed.decode_time),
                "picture {n}"
            );
            let shown = placed.decode_time as i64 + i64::from(placed.composition_offset);
            assert_eq!(shown - 900_000, i64::from(stamp), "picture {n}");
            end = Some(placed.decode_time + u64::from(placed.duration));
        }
    }

    #[test]
    fn an_even_stream_needs_no_offsets() {
        let mut timeline = Timeline::new(90_000, Some(15.0));
        for n in 0..50u32 {
            let placed = timeline.place(u32::MAX.wrapping_add(6000 * n), n == 0);
            assert_eq!((placed.duration, placed.composition_offset), (6000, 0));
        }
    }

    #[test]
    fn after_a_flap_the_key_frame_sets_the_clock() {
        let mut timeline = Timeline::new(90_000, Some(15.0));
        timeline.place(0, true);
        let later = timeline.place(30 * 90_000, true);
        assert_eq!(
            (later.decode_time, later.composition_offset),
            (40 * 90_000, 0)
        );
    }
}
