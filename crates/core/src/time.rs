//! Wall-clock instants as milliseconds since the Unix epoch, UTC, and ranges of them.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use crate::id::text_serde;

const MS_PER_SECOND: i64 = 1_000;
const MS_PER_HOUR: i64 = 3_600_000;
const MS_PER_DAY: i64 = 86_400_000;

/// An instant of the wall clock: milliseconds since 1970-01-01T00:00:00Z. Printed and parsed as `2026-11-20T21:10:05.250Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

/// A calendar date in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Date {
    /// 1 to 9999.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// A time of day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimeOfDay {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59; there are no leap seconds in Unix time.
    pub second: u8,
    /// 0 to 999.
    pub millisecond: u16,
}

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// From a date and a time of day; `None` if one is out of its range.
    pub fn from_civil(date: Date, time: TimeOfDay) -> Option<Self> {
        let in_range = (1..=9999).contains(&date.year)
            && (1..=12).contains(&date.month)
            && (1..=days_of_month(date.year, date.month)).contains(&date.day)
            && time.hour < 24
            && time.minute < 60
            && time.second < 60
            && time.millisecond < 1000;
        let seconds =
            i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second);
        in_range.then(|| {
            Self(
                days_from_civil(date) * MS_PER_DAY
                    + seconds * MS_PER_SECOND
                    + i64::from(time.millisecond),
            )
        })
    }

    /// The UTC date.
    pub fn date(self) -> Date {
        civil_from_days(self.0.div_euclid(MS_PER_DAY))
    }

    /// The UTC time of day.
    pub fn time_of_day(self) -> TimeOfDay {
        let in_day = self.0.rem_euclid(MS_PER_DAY);
        TimeOfDay {
            hour: (in_day / MS_PER_HOUR) as u8,
            minute: (in_day / 60_000 % 60) as u8,
            second: (in_day / MS_PER_SECOND % 60) as u8,
            millisecond: (in_day % MS_PER_SECOND) as u16,
        }
    }

    /// The full hour at or before this instant.
    #[must_use]
    pub fn floor_hour(self) -> Self {
        Self(self.0 - self.0.rem_euclid(MS_PER_HOUR))
    }

    /// The full UTC day at or before this instant.
    #[must_use]
    pub fn floor_day(self) -> Self {
        Self(self.0 - self.0.rem_euclid(MS_PER_DAY))
    }

    /// Time since `earlier`; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, time) = (self.date(), self.time_of_day());
        write!(f, "{:04}-{:02}-{:02}", date.year, date.month, date.day)?;
        write!(
            f,
            "T{:02}:{:02}:{:02}.{:03}Z",
            time.hour, time.minute, time.second, time.millisecond
        )
    }
}

/// Why a text is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an instant in UTC: write it like 2026-11-20T21:10:05Z")]
pub struct InvalidTimestamp {
    text: String,
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Takes RFC 3339 in UTC: `2026-11-20T21:10:05Z`, with up to three decimals of a second.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InvalidTimestamp {
            text: text.chars().take(80).collect(),
        })
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-');
    let mut time = time.split(':');
    let (seconds, fraction) = {
        let last = time.clone().nth(2)?;
        last.split_once('.').unwrap_or((last, "0"))
    };
    let digits = |text: &str, width: usize| -> Option<u32> {
        (text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse().ok())?
    };
    let parsed = Timestamp::from_civil(
        Date {
            year: digits(date.next()?, 4)? as i32,
            month: digits(date.next()?, 2)? as u8,
            day: digits(date.next()?, 2)? as u8,
        },
        TimeOfDay {
            hour: digits(time.next()?, 2)? as u8,
            minute: digits(time.next()?, 2)? as u8,
            second: digits(seconds, 2)? as u8,
            millisecond: match fraction.len() {
                1..=3 => {
                    (digits(fraction, fraction.len())? * 10_u32.pow(3 - fraction.len() as u32))
                        as u16
                }
                _ => return None,
            },
        },
    );
    parsed.filter(|_| date.next().is_none() && time.nth(1).is_none())
}

text_serde!(Timestamp);

/// `[from, to)` on the wall clock. Never backwards.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct TimeRange {
    /// The first instant inside.
    pub from: Timestamp,
    /// The first instant after.
    pub to: Timestamp,
}

impl TimeRange {
    /// `[from, to)`; empty at `from` if `to` lies before it.
    pub fn new(from: Timestamp, to: Timestamp) -> Self {
        Self {
            from,
            to: to.max(from),
        }
    }

    /// Its length.
    pub fn duration(&self) -> Duration {
        self.to.since(self.from)
    }

    /// Whether nothing lies inside.
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// What lies in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self::new(self.from.max(other.from), self.to.min(other.to))
    }

    /// The same stretch cut at full hours UTC, as gaps are stored.
    pub fn cut_at_hours(self) -> impl Iterator<Item = Self> {
        let mut at = self.from;
        std::iter::from_fn(move || {
            if at >= self.to {
                return None;
            }
            let end = (at.floor_hour() + Duration::from_secs(3600)).min(self.to);
            let piece = Self { from: at, to: end };
            at = end;
            Some(piece)
        })
    }
}

fn days_of_month(year: i32, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar. Years begin in March here, so that the leap day ends one.
fn days_from_civil(date: Date) -> i64 {
    let year = i64::from(date.year) - i64::from(date.month <= 2);
    let month = (i64::from(date.month) + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + i64::from(date.day) - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

fn civil_from_days(days: i64) -> Date {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month + 2) / 5 + 1) as u8;
    let month = if month < 10 { month + 3 } else { month - 9 } as u8;
    Date {
        year: (year_of_era + era * 400 + i64::from(month <= 2)) as i32,
        month,
        day,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instants_print_as_rfc_3339() {
        assert_eq!(
            Timestamp::from_millis(0).to_string(),
            "1970-01-01T00:00:00.000Z"
        );
        assert_eq!(
            Timestamp::from_millis(951_827_696_789).to_string(),
            "2000-02-29T12:34:56.789Z"
        );
        assert_eq!(
            "2026-11-20T21:10:05.25Z"
                .parse::<Timestamp>()
                .unwrap()
                .to_string(),
            "2026-11-20T21:10:05.250Z"
        );
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for bad in [
            "",
            "2026-11-20",
            "2026-13-20T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T21:10:05",
            "2026-11-20T21:10:05.1234Z",
            "2026-11-20T21:10:05:06Z",
            "2026-1-2T00:00:00Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_long_stretch_is_cut_at_full_hours() {
        let range = TimeRange::new(
            "2026-11-20T21:10:00Z".parse().unwrap(),
            "2026-11-20T23:00:01Z".parse().unwrap(),
        );
        let pieces: Vec<_> = range
            .cut_at_hours()
            .map(|piece| piece.duration().as_secs())
            .collect();
        assert_eq!(pieces, [3000, 3600, 1]);
    }

    proptest! {
        #[test]
        fn print_and_parse_agree(millis in -62_135_596_800_000_i64..253_402_300_800_000) {
            let instant = Timestamp::from_millis(millis);
            prop_assert_eq!(instant.to_string().parse::<Timestamp>().unwrap(), instant);
        }
    }
}
