//! Instants as people type them: an age, a time of today or a date and time in the camera's zone, or RFC 3339.

use anyhow::bail;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use moorline_base::config::HumanDuration;
use moorline_base::error::Hinted;
use moorline_core::Timestamp;

/// Reads `2h` (ago), `now`, `21:10[:05]` (today) or `2026-11-20 21:10[:05]` in `zone`, or `2026-11-20T21:10:05Z`.
///
/// # Errors
/// It is none of these, or does not exist in that zone.
pub fn parse(text: &str, zone: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    if text == "now" {
        return Ok(now);
    }
    if let Ok(age) = text.parse::<HumanDuration>() {
        return Ok(now - age.get());
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_millis(instant.as_millisecond()));
    }
    let Ok(zone) = TimeZone::get(zone) else {
        bail!("the camera's time zone {zone:?} is unknown here")
    };
    let civil = match (text.contains(':'), text.parse::<Time>()) {
        (true, Ok(time)) if text.len() <= "21:10:05".len() => {
            today(&zone, now).map(|date| date.to_datetime(time))
        }
        _ => text.parse::<DateTime>().ok(),
    };
    match civil.map(|civil| civil.to_zoned(zone)) {
        Some(Ok(zoned)) => Ok(Timestamp::from_millis(zoned.timestamp().as_millisecond())),
        _ => bail!(Hinted::new(
            format!("{text:?} is not an instant"),
            "write an age (2h), a local time (21:10 or \"2026-11-20 21:10\") or 2026-11-20T21:10:05Z",
        )),
    }
}

fn today(zone: &TimeZone, now: Timestamp) -> Option<jiff::civil::Date> {
    let now = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?;
    Some(now.to_zoned(zone.clone()).date())
}

/// An instant as people read it, in a zone.
pub fn local(instant: Timestamp, zone: &str) -> String {
    let Ok(stamp) = jiff::Timestamp::from_millisecond(instant.as_millis()) else {
        return instant.to_string();
    };
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    stamp
        .to_zoned(zone)
        .strftime("%Y-%m-%d %H:%M:%S %Z")
        .to_string()
}

/// This machine's zone by name.
pub fn machine_zone() -> String {
    TimeZone::system().iana_name().unwrap_or("UTC").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_instants_in_many_ways() {
        let now: Timestamp = "2026-11-20T22:00:00Z".parse().unwrap();
        let told = |text: &str, zone: &str| parse(text, zone, now).map(|at| at.to_string());
        assert_eq!(told("2h", "UTC").unwrap(), "2026-11-20T20:00:00.000Z");
        assert_eq!(
            told("2026-11-20 21:10", "Europe/Berlin").unwrap(),
            "2026-11-20T20:10:00.000Z"
        );
        assert_eq!(
            told("2026-11-20T21:10:05Z", "Europe/Berlin").unwrap(),
            "2026-11-20T21:10:05.000Z"
        );
        assert_eq!(
            told("2026-11-20T21:10:05+01:00", "UTC").unwrap(),
            "2026-11-20T20:10:05.000Z"
        );
        assert_eq!(
            told("21:10", "Europe/Berlin").unwrap(),
            "2026-11-20T20:10:00.000Z"
        );
        assert!(told("yesterday", "UTC").is_err());
        assert_eq!(local(now, "Europe/Berlin"), "2026-11-20 23:00:00 CET");
    }
}
