//! The pictures of a take, gathered into fragments: one per GOP, or per 2 s of a longer one. No I/O.
//!
//! A picture's length is known when the next one comes; the last one of a take gets the median of those before it.

use std::collections::VecDeque;

use bytes::Bytes;
use moorline_fmp4::{Run, Sample};

/// Lengths of which the median is taken.
const HISTORY: usize = 31;
/// Bytes after which a fragment ends, whatever it is: half of what the format allows.
const MOST_BYTES: usize = 32 << 20;
/// Pictures after which one ends: each costs some hundred bytes beside its own, so 32 MiB of pictures of 5 bytes, whose time stands still, would be 700.
/// A GOP of 10 s has 1,200 at 120 a second; the format allows 65,536.
const MOST_PICTURES: usize = 8_192;
/// GOPs whose pictures come out of order are cut inside only when they are so many times longer than a fragment may be.
const REORDERED_FACTOR: u64 = 5;

/// A fragment's pictures.
#[derive(Debug)]
pub(crate) struct Pictures {
    /// The first presentation time.
    pub(crate) start: u64,
    /// Behind the last picture.
    pub(crate) end: u64,
    /// Whether it begins with a key frame.
    pub(crate) key: bool,
    pub(crate) run: Run,
}

#[derive(Debug)]
struct Pending {
    time: u64,
    data: Bytes,
    key: bool,
}

/// Gathers pictures.
#[derive(Debug)]
pub(crate) struct Gatherer {
    track: u32,
    timescale: u32,
    longest: u64,
    pending: Vec<Pending>,
    bytes: usize,
    reordered: bool,
    last: Option<u64>,
    /// Where the last fragment ends.
    given: u64,
    closed_groups: bool,
    intervals: VecDeque<u64>,
}

impl Gatherer {
    /// For track `track`; fragments last at most `longest` ticks. In closed groups nothing is shown before a key frame that comes after it.
    pub(crate) fn new(track: u32, timescale: u32, longest: u64, closed_groups: bool) -> Self {
        Self {
            track,
            timescale,
            longest: longest.max(1),
            pending: Vec::new(),
            bytes: 0,
            reordered: false,
            last: None,
            given: 0,
            closed_groups,
            intervals: VecDeque::new(),
        }
    }

    /// Whether a picture at `time` cannot belong here: it lies where a fragment is written already, or is a key frame that would be shown
    /// before what came before it. Media time has jumped then, however little: a file in which it goes back is longer than its key says.
    pub(crate) fn is_behind(&self, time: u64, key: bool) -> bool {
        // the end of a fragment may be a guess, and cameras' stamps tremble: by less than a picture
        let behind = |limit: u64| time.saturating_add(self.interval()) <= limit;
        (key && self.last.is_some_and(behind)) || (self.closed_groups && behind(self.given))
    }

    /// The usual time from one picture to the next.
    pub(crate) fn interval(&self) -> u64 {
        let mut sorted: Vec<u64> = self.intervals.iter().copied().collect();
        sorted.sort_unstable();
        let fallback = u64::from(self.timescale) / 15;
        sorted.get(sorted.len() / 2).copied().unwrap_or(fallback)
    }

    /// How long nothing is shown if the next picture lies at `time`: the time beyond what the last picture usually lasts. 0 without history.
    pub(crate) fn absence(&self, time: u64) -> u64 {
        match self.last {
            Some(last) if !self.intervals.is_empty() => {
                time.saturating_sub(last).saturating_sub(self.interval())
            }
            _ => 0,
        }
    }

    /// Whether there is a picture that no fragment holds yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether the fragment ends before a picture at `time`.
    pub(crate) fn is_complete(&self, time: u64, key: bool) -> bool {
        let Some(first) = self.pending.first() else {
            return false;
        };
        let long = time.saturating_sub(first.time);
        let allowed = if self.reordered {
            self.longest.saturating_mul(REORDERED_FACTOR)
        } else {
            self.longest
        };
        let full = self.bytes >= MOST_BYTES || self.pending.len() >= MOST_PICTURES;
        key || long >= allowed || full
    }

    /// Takes a picture.
    pub(crate) fn push(&mut self, time: u64, data: Bytes, key: bool) {
        let time = if self.closed_groups {
            time.max(self.given)
        } else {
            time
        };
        match self.last {
            Some(last) if time < last => self.reordered = true,
            Some(last) => {
                self.intervals.push_back(time - last);
                if self.intervals.len() > HISTORY {
                    self.intervals.pop_front();
                }
            }
            None => {}
        }
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
        self.bytes += data.len();
        self.pending.push(Pending { time, data, key });
    }

    /// The fragment, whose last picture lasts until `next`, or as long as usual.
    pub(crate) fn take(&mut self, next: Option<u64>) -> Option<Pictures> {
        let pending = std::mem::take(&mut self.pending);
        self.bytes = 0;
        let key = pending.first()?.key;
        // decoding happens in the order of arrival, at the times at which something is shown
        let mut times: Vec<u64> = pending.iter().map(|picture| picture.time).collect();
        let in_order = times.is_sorted();
        if in_order {
            self.reordered = false;
        }
        times.sort_unstable();
        let (start, last) = (*times.first()?, *times.last()?);
        let end = next
            .filter(|next| *next >= last)
            .unwrap_or(last + self.interval());
        self.given = self.given.max(end);
        let ends = times.iter().skip(1).chain([&end]).copied();
        let samples = pending
            .into_iter()
            .zip(times.iter().copied().zip(ends))
            .map(|(picture, (at, end))| Sample {
                data: picture.data,
                duration: u32::try_from(end - at).unwrap_or(u32::MAX),
                composition_offset: offset(picture.time, at),
                sync: picture.key,
            })
            .collect();
        Some(Pictures {
            start,
            end,
            key,
            run: Run {
                track_id: self.track,
                decode_time: start,
                samples,
            },
        })
    }
}

fn offset(shown: u64, decoded: u64) -> i32 {
    let offset = i128::from(shown) - i128::from(decoded);
    i32::try_from(offset).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PICTURE: u64 = 6_000;

    fn gatherer() -> Gatherer {
        Gatherer::new(1, 90_000, 180_000, true)
    }

    /// Pushes pictures and returns the fragments as (start, end, key, pictures).
    fn run(
        gatherer: &mut Gatherer,
        pictures: impl IntoIterator<Item = (u64, bool)>,
    ) -> Vec<(u64, u64, bool, usize)> {
        let mut fragments = Vec::new();
        let told = |pictures: Pictures| {
            (
                pictures.start,
                pictures.end,
                pictures.key,
                pictures.run.samples.len(),
            )
        };
        for (time, key) in pictures {
            if gatherer.is_complete(time, key) {
                fragments.extend(gatherer.take(Some(time)).map(told));
            }
            gatherer.push(time, Bytes::from_static(b"x"), key);
        }
        fragments.extend(gatherer.take(None).map(told));
        fragments
    }

    #[test]
    fn a_gop_is_a_fragment() {
        let pictures = (0..45).map(|n| (n * PICTURE, n % 15 == 0));
        let fragments = run(&mut gatherer(), pictures);
        assert_eq!(
            fragments,
            [
                (0, 90_000, true, 15),
                (90_000, 180_000, true, 15),
                (180_000, 270_000, true, 15)
            ]
        );
    }

    /// P9.
    #[test]
    fn pictures_whose_time_stands_still_fill_no_memory() {
        let many = 3 * MOST_PICTURES;
        let pictures = (0..many as u64).map(|n| (n % 2, n == 0));
        let fragments = run(&mut gatherer(), pictures);
        let counts: Vec<usize> = fragments.iter().map(|fragment| fragment.3).collect();
        assert_eq!(counts, [MOST_PICTURES; 3]);
    }

    #[test]
    fn a_long_gop_is_cut_every_two_seconds() {
        let pictures = (0..75).map(|n| (n * PICTURE, n == 0));
        let fragments = run(&mut gatherer(), pictures);
        assert_eq!(
            fragments,
            [
                (0, 180_000, true, 30),
                (180_000, 360_000, false, 30),
                (360_000, 450_000, false, 15)
            ]
        );
    }

    #[test]
    fn pictures_out_of_order_keep_their_times() {
        let mut gatherer = gatherer();
        for (time, key) in [(0, true), (18_000, false), (6_000, false), (12_000, false)] {
            gatherer.push(time, Bytes::from_static(b"x"), key);
        }
        let pictures = gatherer.take(Some(24_000)).unwrap();
        let mut at = pictures.run.decode_time as i64;
        let shown: Vec<i64> = pictures
            .run
            .samples
            .iter()
            .map(|sample| {
                let shown = at + i64::from(sample.composition_offset);
                at += i64::from(sample.duration);
                shown
            })
            .collect();
        assert_eq!((shown, at), (vec![0, 18_000, 6_000, 12_000], 24_000));
    }

    proptest! {
        /// Media time jumps by anything, anywhere: of what is kept every fragment begins where the last one ended or later, and lasts as long
        /// as its pictures. So a file's key, which counts from the first to the last, agrees with what is in it.
        #[test]
        fn fragments_never_overlap_however_media_time_jumps(
            steps in proptest::collection::vec((prop_oneof![
                8 => Just(6_000_i64), 2 => 5_000_i64..7_000, 1 => -90_000_i64..90_000,
            ], prop_oneof![9 => Just(false), 1 => Just(true)]), 1..300),
            cut in 1_usize..40,
        ) {
            let mut gatherer = gatherer();
            let (mut time, mut end) = (900_000_i64, 0);
            let mut check = |pictures: Option<Pictures>| {
                let Some(pictures) = pictures else { return Ok(()) };
                let lasts: u64 = pictures.run.samples.iter().map(|sample| u64::from(sample.duration)).sum();
                prop_assert_eq!(pictures.start + lasts, pictures.end);
                prop_assert!(pictures.start >= end, "{} after {}", pictures.start, end);
                end = pictures.end;
                Ok(())
            };
            for (n, (step, key)) in steps.into_iter().enumerate() {
                time += step;
                let Ok(at) = u64::try_from(time) else { break };
                if gatherer.is_behind(at, key) {
                    break;
                }
                if gatherer.is_complete(at, key) {
                    check(gatherer.take(Some(at)))?;
                } else if n % cut == 0 {
                    // nothing came for a while
                    check(gatherer.take(None))?;
                }
                gatherer.push(at, Bytes::from_static(b"x"), key);
            }
            check(gatherer.take(None))?;
        }
    }

    #[test]
    fn a_key_frame_that_goes_back_by_a_tenth_of_a_second_is_behind_and_a_trembling_one_is_not() {
        let mut gatherer = gatherer();
        for n in 0..15 {
            gatherer.push(n * PICTURE, Bytes::new(), n == 0);
        }
        assert!(gatherer.is_behind(13 * PICTURE, true));
        assert!(!gatherer.is_behind(13 * PICTURE + 1, true));
        assert!(!gatherer.is_behind(13 * PICTURE, false), "out of order");
        gatherer.take(Some(15 * PICTURE));
        assert!(gatherer.is_behind(14 * PICTURE, false), "written already");
    }

    #[test]
    fn a_slow_camera_is_not_absent_between_its_pictures() {
        let mut gatherer = gatherer();
        for n in 0..5 {
            gatherer.push(n * 180_000, Bytes::new(), true);
        }
        assert_eq!(gatherer.absence(5 * 180_000), 0);
        assert_eq!(gatherer.absence(6 * 180_000), 180_000);
    }
}
