//! Instants as people type them: an age, a time of the last day or a date and time in the camera's zone, or RFC 3339.

use anyhow::bail;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use moorline_base::config::HumanDuration;
use moorline_base::error::Hinted;
use moorline_core::{TimeRange, Timestamp};

/// A stretch that somebody typed. Without a `to` it ends now; without a `from` it begins at `earliest`. A time without a date is the last
/// one that was: `--from 23:50 --to 00:10` is last night, also when it is typed at night. As an end it is the first one after the beginning.
///
/// # Errors
/// One of them is no instant (see [`parse`]), or the stretch ends before it begins.
pub fn stretch(
    from: Option<&str>,
    to: Option<&str>,
    zone: &str,
    now: Timestamp,
    earliest: Timestamp,
) -> anyhow::Result<TimeRange> {
    let from = match from {
        Some(text) => parse(text, zone, Near::Before(now), now)?,
        None => earliest,
    };
    let to = match to {
        Some(text) => parse(text, zone, Near::After(from), now)?,
        None => now,
    };
    if from >= to {
        let title = format!(
            "the stretch ends before it begins: {} to {}",
            local(from, zone),
            local(to, zone)
        );
        bail!(Hinted::new(
            title,
            "a time without a date is of today or yesterday: write \"2026-11-20 21:10\" for another day",
        ));
    }
    Ok(TimeRange::new(from, to))
}

/// Which of its days a time without a date is meant for.
#[derive(Debug, Clone, Copy)]
enum Near {
    /// The last one that was by then.
    Before(Timestamp),
    /// The first one after it.
    After(Timestamp),
}

/// Reads `2h` (ago), `now`, `21:10[:05]` or `2026-11-20 21:10[:05]` in `zone`, or `2026-11-20T21:10:05Z`.
///
/// # Errors
/// It is none of these, or does not exist in that zone, or twice.
fn parse(text: &str, zone: &str, near: Near, now: Timestamp) -> anyhow::Result<Timestamp> {
    if text == "now" {
        return Ok(now);
    }
    if let Ok(age) = text.parse::<HumanDuration>() {
        return Ok(now - age.get());
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_millis(instant.as_millisecond()));
    }
    let Ok(known) = TimeZone::get(zone) else {
        bail!("the camera's time zone {zone:?} is unknown here")
    };
    let no_instant = || {
        Hinted::new(
            format!("{text:?} is not an instant"),
            "write an age (2h), a local time (21:10 or \"2026-11-20 21:10\") or 2026-11-20T21:10:05Z",
        )
    };
    let time = text.parse::<Time>().ok();
    let Some(time) = time.filter(|_| text.contains(':') && text.len() <= "21:10:05".len()) else {
        let civil = text.parse::<DateTime>().map_err(|_| no_instant())?;
        return instant(civil, &known, zone);
    };
    let beside = match near {
        Near::Before(at) | Near::After(at) => at,
    };
    let day = date(beside, &known).ok_or_else(no_instant)?;
    let at = instant(day.to_datetime(time), &known, zone)?;
    let other = match near {
        Near::Before(latest) if at > latest => day.yesterday(),
        Near::After(earliest) if at <= earliest => day.tomorrow(),
        _ => return Ok(at),
    };
    let other = other.map_err(|_| no_instant())?;
    instant(other.to_datetime(time), &known, zone)
}

fn date(at: Timestamp, zone: &TimeZone) -> Option<Date> {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
    Some(at.to_zoned(zone.clone()).date())
}

/// The instant of a local time. Where clocks are set forward it does not exist, where they are set back there are two.
fn instant(civil: DateTime, zone: &TimeZone, name: &str) -> anyhow::Result<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    let shown = civil.strftime("%Y-%m-%d %H:%M:%S");
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => {
            let at = ambiguous.compatible()?;
            Ok(Timestamp::from_millis(at.as_millisecond()))
        }
        AmbiguousOffset::Gap { .. } => bail!(Hinted::new(
            format!("{shown} does not exist in {name}: clocks are set forward over it"),
            "write a time before or after that",
        )),
        AmbiguousOffset::Fold { .. } => bail!(Hinted::new(
            format!("{shown} is twice in {name}: clocks are set back to it"),
            format!("write {} or {}", ambiguous.earlier()?, ambiguous.later()?),
        )),
    }
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
        let told = |text: &str, zone: &str| {
            parse(text, zone, Near::Before(now), now).map(|at| at.to_string())
        };
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
        assert_eq!(
            told("23:10", "Europe/Berlin").unwrap(),
            "2026-11-19T22:10:00.000Z",
            "it has not been yet today"
        );
        assert!(told("yesterday", "UTC").is_err());
        assert_eq!(local(now, "Europe/Berlin"), "2026-11-20 23:00:00 CET");
    }

    #[test]
    fn last_night_can_be_asked_for_at_night() {
        let told = |from: &str, to: Option<&str>, now: &str| {
            let earliest = Timestamp::default();
            let now = now.parse().unwrap();
            let range = stretch(Some(from), to, "Europe/Berlin", now, earliest)?;
            anyhow::Ok((range.from.to_string(), range.to.to_string()))
        };
        let night = ("2026-11-19T22:50:00.000Z", "2026-11-19T23:10:00.000Z");
        let night = (night.0.to_owned(), night.1.to_owned());
        for now in ["2026-11-20T00:30:00Z", "2026-11-20T20:00:00Z"] {
            assert_eq!(told("23:50", Some("00:10"), now).unwrap(), night, "{now}");
        }
        let now = "2026-11-21T12:00:00Z";
        let asked = told("2026-11-19 23:50", Some("00:10"), now);
        assert_eq!(asked.unwrap(), night, "the first one after the beginning");
        let later = told("5m", Some("23:59"), now).unwrap();
        assert_eq!(later.1, "2026-11-21T22:59:00.000Z", "tonight");
        let wrong = told("1h", Some("2h"), now).unwrap_err().to_string();
        assert!(wrong.contains("2026-11-21 12:00:00 CET to"), "{wrong}");
    }

    #[test]
    fn an_hour_that_clocks_leave_out_or_repeat_is_not_taken_for_another() {
        let told = |text: &str| {
            let now = "2026-11-20T22:00:00Z".parse().unwrap();
            let asked = parse(text, "Europe/Berlin", Near::Before(now), now);
            let error = asked.unwrap_err();
            format!(
                "{error} {:?}",
                error.downcast_ref::<Hinted>().map(Hinted::hints)
            )
        };
        assert!(told("2026-03-29 02:30").contains("does not exist in Europe/Berlin"));
        let twice = told("2026-10-25 02:30");
        assert!(
            twice.contains("2026-10-25T00:30:00Z or 2026-10-25T01:30:00Z"),
            "{twice}"
        );
    }
}
