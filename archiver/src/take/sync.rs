//! Where the sound of a take lies beside its pictures, in microseconds. Pure.
//!
//! RTP clocks of two tracks begin anywhere. The camera's sender reports tie both to one clock of its own, whatever that shows; until both
//! tracks have one, arrival must do: the lower envelope of `arrival − RTP time` of each.

/// The camera's own clock is believed where it differs from arrival by less than this: some reports are nonsense.
const BELIEVED: i64 = 2_000_000;

/// What is known of one track.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TrackClock {
    arrival: Option<i64>,
    reported: Option<i64>,
}

impl TrackClock {
    /// A packet of RTP time `media` arrived at `wall`.
    pub(crate) fn arrived(&mut self, media: i64, wall: i64) {
        let offset = wall.saturating_sub(media);
        self.arrival = Some(self.arrival.map_or(offset, |known| known.min(offset)));
    }

    /// The camera reports that RTP time `media` was `clock`.
    pub(crate) fn reported(&mut self, media: i64, clock: i64) {
        self.reported = Some(clock.saturating_sub(media));
    }
}

/// What is added to the sound's RTP time to get the pictures'.
pub(crate) fn shift(video: TrackClock, sound: TrackClock) -> i64 {
    let between = |sound: Option<i64>, video: Option<i64>| Some(sound? - video?);
    let arrival = between(sound.arrival, video.arrival).unwrap_or(0);
    match between(sound.reported, video.reported) {
        Some(reported) if (reported - arrival).abs() < BELIEVED => reported,
        _ => arrival,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_beat_arrival_unless_they_are_nonsense() {
        let (mut video, mut sound) = (TrackClock::default(), TrackClock::default());
        video.arrived(1_000_000, 50_000_000);
        video.arrived(2_000_000, 50_900_000);
        sound.arrived(0, 49_000_000);
        assert_eq!(shift(video, sound), 100_000);
        video.reported(1_000_000, 7_000_000);
        assert_eq!(shift(video, sound), 100_000, "one report is none");
        sound.reported(0, 6_040_000);
        assert_eq!(shift(video, sound), 40_000);
        sound.reported(0, 99_000_000);
        assert_eq!(shift(video, sound), 100_000);
    }
}
