//! Which instant of the wall clock a timestamp of ours means.
//!
//! The camera's sender reports put its tracks on one clock; that clock is wrong by a constant (cameras boot in 1970), which is the
//! smallest distance between arrival and the camera's time over the last half minute: what is later was only queued. One offset holds
//! for all tracks, so that lips and voice stay together. A track without reports is dated by its own arrivals.

use std::time::Duration;

use moorline_rtsp::rtp::rtcp::unix_from_ntp;

/// The smallest of the last 30 to 60 s.
#[derive(Debug, Clone, Default)]
pub(crate) struct MinFilter {
    started: Duration,
    current: Option<i64>,
    before: Option<i64>,
}

/// Half of the filter's memory.
const BUCKET: Duration = Duration::from_secs(30);

impl MinFilter {
    pub(crate) fn add(&mut self, value: i64, now: Duration) {
        if now.saturating_sub(self.started) >= BUCKET {
            self.before = self.current.take();
            self.started = now;
        }
        self.current = Some(self.current.map_or(value, |least| least.min(value)));
    }

    pub(crate) fn get(&self) -> Option<i64> {
        match (self.current, self.before) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

#[derive(Debug, Clone)]
struct TrackClock {
    clock_rate: u32,
    /// The camera's time in µs at one of our timestamps.
    report: Option<(i64, u32)>,
    /// Our last timestamp and how many ticks it is from the first.
    last: Option<(u32, i64)>,
    own: MinFilter,
}

impl TrackClock {
    fn micros(&self, ticks: i64) -> i64 {
        let micros = i128::from(ticks) * 1_000_000 / i128::from(self.clock_rate.max(1));
        i64::try_from(micros).unwrap_or(0)
    }

    /// The camera's time of a timestamp, in µs.
    fn camera_time(&self, timestamp: u32) -> Option<i64> {
        let (time, at) = self.report?;
        Some(time.saturating_add(self.micros(i64::from(timestamp.wrapping_sub(at).cast_signed()))))
    }

    /// Ticks from the first timestamp.
    fn unwrapped(&self, timestamp: u32) -> i64 {
        self.last.map_or(0, |(last, ticks)| {
            ticks + i64::from(timestamp.wrapping_sub(last).cast_signed())
        })
    }
}

/// The clocks of all tracks of a source.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClockMap {
    tracks: Vec<TrackClock>,
    offset: MinFilter,
}

impl ClockMap {
    pub(crate) fn new(clock_rates: impl IntoIterator<Item = u32>) -> Self {
        let tracks = clock_rates.into_iter().map(|clock_rate| TrackClock {
            clock_rate,
            report: None,
            last: None,
            own: MinFilter::default(),
        });
        Self {
            tracks: tracks.collect(),
            offset: MinFilter::default(),
        }
    }

    /// The camera begins anew: what was learned of its clock is void.
    pub(crate) fn restart(&mut self) {
        self.offset = MinFilter::default();
        for track in &mut self.tracks {
            track.report = None;
            track.own = MinFilter::default();
        }
    }

    /// A packet with our timestamp came at `wall` (µs since 1970).
    pub(crate) fn arrived(&mut self, track: usize, timestamp: u32, wall: i64, now: Duration) {
        let Some(clock) = self.tracks.get_mut(track) else {
            return;
        };
        let ticks = clock.unwrapped(timestamp);
        clock.last = Some((timestamp, ticks));
        let own = wall.saturating_sub(clock.micros(ticks));
        clock.own.add(own, now);
        if let Some(time) = clock.camera_time(timestamp) {
            self.offset.add(wall.saturating_sub(time), now);
        }
    }

    /// A sender report: the camera's NTP time at one of our timestamps.
    pub(crate) fn report(&mut self, track: usize, ntp: u64, timestamp: u32) {
        if let Some(clock) = self.tracks.get_mut(track) {
            // NTP zero is "no clock at all" (RFC 3550 §6.4.1); times before 1970 are as good as any.
            clock.report = unix_from_ntp(ntp)
                .and_then(|since| i64::try_from(since.as_micros()).ok())
                .map(|micros| (micros, timestamp));
        }
    }

    /// The wall clock at a timestamp, in µs since 1970; `None` before the first packet.
    pub(crate) fn wall(&self, track: usize, timestamp: u32) -> Option<i64> {
        let clock = self.tracks.get(track)?;
        let reported = clock.camera_time(timestamp).zip(self.offset.get());
        if let Some((time, offset)) = reported {
            return Some(time.saturating_add(offset));
        }
        clock.last?;
        let own = clock.own.get()?;
        Some(own.saturating_add(clock.micros(clock.unwrapped(timestamp))))
    }

    /// Our last timestamp of a track with its instant: what a sender report says.
    pub(crate) fn latest(&self, track: usize) -> Option<(u32, i64)> {
        let (timestamp, _) = self.tracks.get(track)?.last?;
        Some((timestamp, self.wall(track, timestamp)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_rtsp::rtp::rtcp::ntp_from_unix;

    #[test]
    fn a_camera_of_1970_keeps_its_tracks_together() {
        let mut map = ClockMap::new([90_000, 8000]);
        let wall = 1_700_000_000_000_000;
        // Video reports second 100 of its boot at 9000, audio the same second at 800.
        map.report(0, ntp_from_unix(Duration::from_secs(100)), 9000);
        map.report(1, ntp_from_unix(Duration::from_secs(100)), 800);
        map.arrived(0, 9000, wall + 300_000, Duration::from_secs(1));
        map.arrived(0, 18_000, wall + 100_000, Duration::from_secs(2));
        map.arrived(1, 800, wall + 50_000, Duration::from_secs(2));
        let (video, audio) = (map.wall(0, 9000).unwrap(), map.wall(1, 800).unwrap());
        assert_eq!(video, audio, "the same instant of the camera");
        assert_eq!(video, wall, "the least queued packet dates all");
    }

    #[test]
    fn without_reports_a_track_is_dated_by_its_arrivals() {
        let mut map = ClockMap::new([90_000]);
        assert_eq!(map.wall(0, 5), None);
        map.arrived(0, u32::MAX, 1_000_000, Duration::ZERO);
        map.arrived(0, 89_999, 2_500_000, Duration::from_secs(1));
        assert_eq!(map.wall(0, 89_999), Some(2_000_000));
        assert_eq!(map.latest(0), Some((89_999, 2_000_000)));
    }

    #[test]
    fn the_smallest_is_forgotten_after_a_minute() {
        let mut filter = MinFilter::default();
        filter.add(1, Duration::ZERO);
        filter.add(9, Duration::from_secs(31));
        assert_eq!(filter.get(), Some(1));
        filter.add(8, Duration::from_secs(62));
        assert_eq!(filter.get(), Some(8));
    }
}
