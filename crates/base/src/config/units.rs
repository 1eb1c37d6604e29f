//! Durations and sizes with their units, as people write them.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is wrong with a value, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Complaint {
    /// One sentence without a period, about the value.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl Complaint {
    /// A complaint with what would be right.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Complaint {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

/// A duration with a unit: `250ms`, `30s`, `1h30m`, `14d`. Units: `ms`, `s`, `m`, `h`, `d`, `w`; whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HumanDuration(Duration);

const DURATIONS: [(&str, u64); 6] = [
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl HumanDuration {
    /// Whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        HumanDuration(Duration::from_millis(millis))
    }

    /// Whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        HumanDuration(Duration::from_secs(secs))
    }

    /// Whole days of 24 h.
    #[must_use]
    pub const fn from_days(days: u64) -> Self {
        HumanDuration(Duration::from_secs(days * 24 * 3600))
    }

    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<HumanDuration> for Duration {
    fn from(value: HumanDuration) -> Self {
        value.0
    }
}

impl FromStr for HumanDuration {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let mut total: u64 = 0;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(Complaint::new(
                "a duration is missing",
                "write for example \"30s\"",
            ));
        }
        while !rest.is_empty() {
            let (number, after) = leading_number(rest, "a duration")?;
            let letters = after.find(|c: char| !c.is_ascii_alphabetic());
            let (unit, after) = after.split_at(letters.unwrap_or(after.len()));
            if unit.is_empty() {
                let hint = if after.is_empty() {
                    format!("write \"{number}s\"")
                } else {
                    "write it in one word, such as \"90s\" or \"2m\"".to_owned()
                };
                return Err(Complaint::new("a duration needs a unit", hint));
            }
            let Some((_, millis)) = DURATIONS.iter().find(|(name, _)| *name == unit) else {
                return Err(Complaint::new(
                    format!("a duration has no unit \"{}\"", unit.escape_default()),
                    "units are ms, s, m, h, d and w: for example \"90s\" or \"1h30m\"",
                ));
            };
            total = number
                .checked_mul(*millis)
                .and_then(|millis| total.checked_add(millis))
                .ok_or_else(|| {
                    Complaint::new("the duration is too long", "write for example \"14d\"")
                })?;
            rest = after;
        }
        Ok(HumanDuration(Duration::from_millis(total)))
    }
}

impl Display for HumanDuration {
    /// In the greatest unit up to days that leaves no rest: `1m`, `90s`, `14d`. What is finer than 1 ms is cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return f.write_str("0s");
        }
        // Days before weeks: "14d" is what people write for a retention.
        let mut units = DURATIONS.iter().filter(|(name, _)| *name != "w");
        let whole = units.find(|(_, unit)| millis.is_multiple_of(*unit));
        let (name, unit) = whole.unwrap_or(&("ms", 1));
        write!(f, "{}{name}", millis / unit)
    }
}

/// A size in bytes with a unit: `512B`, `64KiB`, `2GiB`, `500GB`. Whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// A number of bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        ByteSize(bytes)
    }

    /// Mebibytes.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        ByteSize(count << 20)
    }

    /// Gibibytes.
    #[must_use]
    pub const fn gib(count: u64) -> Self {
        ByteSize(count << 30)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let (number, unit) = leading_number(text.trim(), "a size")?;
        let unit = unit.trim_start();
        if unit.is_empty() {
            return Err(Complaint::new(
                "a size needs a unit",
                format!("write \"{number}GiB\", or \"{number}B\" for bytes"),
            ));
        }
        let known = SIZES.iter().find(|(name, _)| *name == unit);
        let Some((_, factor)) = known else {
            // "2gb" and "2K" are slips; whether a power of two or of ten was meant is not ours to guess.
            return Err(Complaint::new(
                format!("a size has no unit \"{}\"", unit.escape_default()),
                "units are B, KiB, MiB, GiB, TiB, kB, MB, GB and TB: for example \"2GiB\"",
            ));
        };
        let bytes = number.checked_mul(*factor);
        bytes
            .map(ByteSize)
            .ok_or_else(|| Complaint::new("the size is too great", "write for example \"2TiB\""))
    }
}

impl Display for ByteSize {
    /// In the greatest unit that leaves no rest: `2GiB`, `500GB`, `1B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = SIZES
            .iter()
            .find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit));
        let (name, unit) = whole.unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// The whole number at the start of `text`, and what follows.
fn leading_number<'a>(text: &'a str, what: &str) -> Result<(u64, &'a str), Complaint> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        let example = if what == "a size" { "2GiB" } else { "30s" };
        return Err(Complaint::new(
            format!("{what} starts with a whole number"),
            format!("write for example \"{example}\""),
        ));
    }
    if rest.starts_with('.') || rest.starts_with(',') {
        return Err(Complaint::new(
            format!("{what} is a whole number and a unit"),
            "take a smaller unit: \"90m\" for one hour and a half, \"1536MiB\" for 1.5 GiB",
        ));
    }
    let number = digits
        .parse()
        .map_err(|_| Complaint::new(format!("{what} is too great"), "take a greater unit"))?;
    Ok((number, rest))
}

macro_rules! serde_as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(HumanDuration, ByteSize);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn refused<T: FromStr<Err = Complaint> + fmt::Debug>(text: &str) -> (String, String) {
        let complaint = text.parse::<T>().unwrap_err();
        (complaint.message, complaint.hint.unwrap_or_default())
    }

    #[test]
    fn durations_are_read_with_every_unit_and_in_parts() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("14d", 1_209_600_000),
            ("1w", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(
                text.parse(),
                Ok(HumanDuration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_missing_unit_is_told_with_the_value_that_would_be_right() {
        assert_eq!(
            refused::<HumanDuration>("60"),
            ("a duration needs a unit".into(), "write \"60s\"".into())
        );
        assert!(refused::<HumanDuration>("1 minute").1.contains("one word"));
        assert_eq!(refused::<ByteSize>("2").0, "a size needs a unit");
    }

    #[test]
    fn slips_are_refused_with_a_reason() {
        assert_eq!(
            refused::<HumanDuration>("3sec").0,
            "a duration has no unit \"sec\""
        );
        assert_eq!(
            refused::<HumanDuration>("1.5h").0,
            "a duration is a whole number and a unit"
        );
        assert_eq!(
            refused::<HumanDuration>("-5s").0,
            "a duration starts with a whole number"
        );
        assert_eq!(refused::<HumanDuration>("").0, "a duration is missing");
        assert_eq!(
            refused::<HumanDuration>("99999999999999999w").0,
            "the duration is too long"
        );
        assert_eq!(refused::<ByteSize>("2gb").0, "a size has no unit \"gb\"");
        assert_eq!(
            refused::<ByteSize>("99999999TiB").0,
            "the size is too great"
        );
        assert_eq!(
            refused::<ByteSize>("99999999999999999999B").0,
            "a size is too great"
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same(value: u64) {
            let millis = value / 1000;
            let duration = HumanDuration::from_millis(millis);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
            let size = ByteSize::new(value);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = text.parse::<HumanDuration>();
            let _ = text.parse::<ByteSize>();
        }
    }
}
