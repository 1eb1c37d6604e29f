//! Wall-clock time as `prft` carries it, and conversion between timescales.

/// An instant as a 64-bit NTP timestamp (RFC 5905 §6): seconds since 1900 in the upper half, their fraction in the
/// lower. The era is chosen as RFC 4330 §3 does: values with the top bit set lie in 1968–2036, others in 2036–2104.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NtpTime(pub u64);

/// Seconds from 1900-01-01 to 1970-01-01.
const UNIX_EPOCH: i64 = 2_208_988_800;
const MICROS: i64 = 1_000_000;

impl NtpTime {
    /// From microseconds since the Unix epoch. Years outside 1968–2104 wrap into that range.
    pub fn from_unix_micros(micros: i64) -> Self {
        let seconds = (micros.div_euclid(MICROS).wrapping_add(UNIX_EPOCH)) as u32;
        let fraction = (micros.rem_euclid(MICROS) as u64) << 32;
        // rounded up, so that the way back, which rounds down, gives the same microsecond
        Self(u64::from(seconds) << 32 | fraction.div_ceil(MICROS as u64))
    }

    /// Microseconds since the Unix epoch, rounded down.
    pub fn unix_micros(self) -> i64 {
        let seconds = (self.0 >> 32) as i64;
        let era = if seconds & 0x8000_0000 == 0 {
            1i64 << 32
        } else {
            0
        };
        let fraction = ((self.0 & 0xffff_ffff) * MICROS as u64) >> 32;
        (seconds + era - UNIX_EPOCH) * MICROS + fraction as i64
    }

    /// Milliseconds since the Unix epoch, rounded down.
    pub fn unix_millis(self) -> i64 {
        self.unix_micros().div_euclid(1000)
    }
}

/// A pair of wall-clock and media time that belong together: all that is needed to date a take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The wall clock, in microseconds since the Unix epoch.
    pub unix_micros: i64,
    /// The take-relative media time at that instant, in the reference track's timescale.
    pub media_time: u64,
}

impl Anchor {
    /// The wall clock at another media time of the same take, in microseconds since the Unix epoch.
    pub fn at(&self, media_time: u64, timescale: u32) -> i64 {
        let ticks = i128::from(media_time) - i128::from(self.media_time);
        let micros = (ticks * i128::from(MICROS)).div_euclid(i128::from(timescale.max(1)));
        self.unix_micros.saturating_add(saturate(micros))
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// `value` ticks of `from` as ticks of `to`, rounded to the nearest, saturating.
pub(crate) fn rescale(value: u64, from: u32, to: u32) -> u64 {
    let from = u128::from(from.max(1));
    let scaled = (u128::from(value) * u128::from(to) + from / 2) / from;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Like [`rescale`] for differences.
pub(crate) fn rescale_signed(value: i128, from: u32, to: u32) -> i128 {
    let from = i128::from(from.max(1));
    value
        .saturating_mul(i128::from(to))
        .saturating_add(from / 2)
        .div_euclid(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_time_survives_ntp_on_both_sides_of_2036() {
        for micros in [
            0,
            1,
            999_999,
            1_763_673_005_250_123,
            2_085_978_495_999_999,
            2_085_978_496_000_000,
            4_000_000_000_000_001,
        ] {
            assert_eq!(NtpTime::from_unix_micros(micros).unix_micros(), micros);
        }
        assert_eq!(NtpTime::from_unix_micros(0).0 >> 32, 2_208_988_800);
    }

    #[test]
    fn an_anchor_dates_times_before_and_after_it() {
        let anchor = Anchor {
            unix_micros: 1_000_000_000,
            media_time: 90_000,
        };
        assert_eq!(anchor.at(180_000, 90_000), 1_001_000_000);
        assert_eq!(anchor.at(0, 90_000), 999_000_000);
    }
}
