//! Keys of stored objects: fixed width, sortable, complete. A LIST of them answers coverage with causes; no database holds archive truth.
//!
//! ```text
//! v1/r030/acme/camera-1/2026/11/20/211005.250Z_00060033_g0000000007_7f3a9c21_000042_b41d0e_full.mp4
//! v1/r030/acme/camera-1/2026/11/20/211105.283Z_00012000_g0000000007_gap_tunnel_down_full.json
//! ```
//! The grammar is `docs/design/archive.md`. Strangers' keys (a bucket may hold anything) never panic and are ignored.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::cause::Cause;
use crate::id::{CameraId, Generation, SourceName, TakeId, text_serde};
use crate::time::{Date, TimeOfDay, TimeRange, Timestamp};

/// How long media is kept: the first folder of its key, so that lifecycle rules of a bucket can go by prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Retention {
    /// This many days, 1 to 999.
    Days(u16),
    /// Until somebody deletes it.
    Keep,
}

/// A text that is no retention class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no retention: use r001 to r999 (days) or keep")]
pub struct InvalidRetention(String);

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Days(days) => write!(f, "r{days:03}"),
            Self::Keep => f.write_str("keep"),
        }
    }
}

impl FromStr for Retention {
    type Err = InvalidRetention;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let days = |digits: &str| {
            digits_of(digits, 3)
                .filter(|days| *days > 0)
                .map(|days| Self::Days(days as u16))
        };
        let parsed = match text.strip_prefix('r') {
            Some(digits) => days(digits),
            None => (text == "keep").then_some(Self::Keep),
        };
        parsed.ok_or_else(|| InvalidRetention(text.chars().take(40).collect()))
    }
}

text_serde!(Retention);

crate::words! {
    /// Which quality a recording has; ordered from the best on.
    #[derive(
        Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
    )]
    #[serde(rename_all = "lowercase")]
    pub enum Tier {
        /// As the camera sent it.
        Full = "full",
        /// The camera's sub-stream, or downsampled.
        Low = "low",
        /// Key frames only.
        Idr = "idr",
    }
}

impl Tier {
    /// The tier into which a camera's stream is recorded.
    pub fn of_source(source: SourceName) -> Self {
        match source {
            SourceName::Main => Self::Full,
            SourceName::Sub => Self::Low,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == text)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The first three bytes of the SHA-256 of an init (with its edit list zeroed): segments that share it and the take join by byte copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InitHash(pub [u8; 3]);

impl fmt::Display for InitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.0;
        write!(f, "{a:02x}{b:02x}{c:02x}")
    }
}

/// What segment and gap keys share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The camera. Its tenant stands for the tenant's storage id (rule S26).
    pub camera: CameraId,
    /// Its retention class.
    pub retention: Retention,
    /// Its tier.
    pub tier: Tier,
}

/// The key of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentKey {
    /// Camera, class, tier.
    pub place: Place,
    /// Wall-clock start.
    pub start: Timestamp,
    /// Media duration, at most 99,999,999 ms.
    pub duration: Duration,
    /// The generation of the session that the media came through.
    pub generation: Generation,
    /// The take it belongs to.
    pub take: TakeId,
    /// Its number in the take, from 0, at most 999,999.
    pub sequence: u32,
    /// Its init.
    pub init: InitHash,
}

/// The key of a gap marker. Never across a full hour UTC.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GapKey {
    /// Camera, class, tier.
    pub place: Place,
    /// The first missing instant.
    pub start: Timestamp,
    /// How long, at most one hour.
    pub duration: Duration,
    /// The writer's generation.
    pub generation: Generation,
    /// Why.
    pub cause: Cause,
}

/// Any object of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKey {
    /// Recorded media.
    Segment(SegmentKey),
    /// An explained absence.
    Gap(GapKey),
}

impl SegmentKey {
    /// What it covers.
    pub fn range(&self) -> TimeRange {
        TimeRange::new(self.start, self.start + self.duration)
    }

    /// Whether `next` is the segment after it in one take of one tier: then no media lies between, whatever the milliseconds say.
    pub fn precedes(&self, next: &Self) -> bool {
        (self.take, self.place.tier) == (next.take, next.place.tier)
            && self.sequence.checked_add(1) == Some(next.sequence)
    }
}

impl GapKey {
    /// What it explains.
    pub fn range(&self) -> TimeRange {
        TimeRange::new(self.start, self.start + self.duration)
    }
}

impl ObjectKey {
    /// Camera, class, tier.
    pub fn place(&self) -> &Place {
        match self {
            Self::Segment(key) => &key.place,
            Self::Gap(key) => &key.place,
        }
    }

    /// The stretch it speaks of.
    pub fn range(&self) -> TimeRange {
        match self {
            Self::Segment(key) => key.range(),
            Self::Gap(key) => key.range(),
        }
    }

    /// The writer's generation.
    pub fn generation(&self) -> Generation {
        match self {
            Self::Segment(key) => key.generation,
            Self::Gap(key) => key.generation,
        }
    }
}

/// The prefix of everything of a camera in one class: `v1/r030/acme/camera-1/`.
pub fn camera_prefix(camera: &CameraId, retention: Retention) -> String {
    format!("v1/{retention}/{}/{}/", camera.tenant(), camera.name())
}

/// A text that sorts just before every key of that camera and class that starts at or after `from`: what a LIST takes as *start after*.
pub fn start_after(camera: &CameraId, retention: Retention, from: Timestamp) -> String {
    let mut text = camera_prefix(camera, retention);
    push_instant(&mut text, from);
    text
}

fn push_instant(text: &mut String, at: Timestamp) {
    use fmt::Write as _;
    let (date, time) = (at.date(), at.time_of_day());
    let _ = write!(text, "{:04}/{:02}/{:02}/", date.year, date.month, date.day);
    let _ = write!(
        text,
        "{:02}{:02}{:02}.{:03}Z",
        time.hour, time.minute, time.second, time.millisecond
    );
}

fn head(place: &Place, start: Timestamp, duration: Duration, generation: Generation) -> String {
    let mut text = start_after(&place.camera, place.retention, start);
    text.push_str(&format!(
        "_{:08}_g{:010}",
        duration.as_millis(),
        generation.0
    ));
    text
}

impl fmt::Display for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&head(
            &self.place,
            self.start,
            self.duration,
            self.generation,
        ))?;
        write!(
            f,
            "_{}_{:06}_{}_{}.mp4",
            self.take, self.sequence, self.init, self.place.tier
        )
    }
}

impl fmt::Display for GapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&head(
            &self.place,
            self.start,
            self.duration,
            self.generation,
        ))?;
        write!(f, "_gap_{}_{}.json", self.cause, self.place.tier)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(key) => key.fmt(f),
            Self::Gap(key) => key.fmt(f),
        }
    }
}

/// A text that is not the key of a segment or a gap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the key of a segment or gap")]
pub struct InvalidObjectKey;

impl FromStr for ObjectKey {
    type Err = InvalidObjectKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or(InvalidObjectKey)
    }
}

text_serde!(ObjectKey);

fn digits_of(text: &str, width: usize) -> Option<u64> {
    (text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

fn hex_of(text: &str, width: usize) -> Option<u32> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == width && text.bytes().all(lower)).then(|| u32::from_str_radix(text, 16).ok())?
}

fn parse(text: &str) -> Option<ObjectKey> {
    let mut folders = text.strip_prefix("v1/")?.split('/');
    let retention = folders.next()?.parse().ok()?;
    let camera = CameraId::new(folders.next()?.parse().ok()?, folders.next()?.parse().ok()?);
    let date = Date {
        year: digits_of(folders.next()?, 4)? as i32,
        month: digits_of(folders.next()?, 2)? as u8,
        day: digits_of(folders.next()?, 2)? as u8,
    };
    let name = folders.next()?;
    if folders.next().is_some() {
        return None;
    }
    let (name, is_media) = match name.strip_suffix(".mp4") {
        Some(name) => (name, true),
        None => (name.strip_suffix(".json")?, false),
    };
    let mut fields = name.split('_');
    let clock = fields.next()?.strip_suffix('Z')?;
    let (seconds, millis) = clock.split_once('.')?;
    digits_of(seconds, 6)?;
    let time = TimeOfDay {
        hour: digits_of(seconds.get(0..2)?, 2)? as u8,
        minute: digits_of(seconds.get(2..4)?, 2)? as u8,
        second: digits_of(seconds.get(4..6)?, 2)? as u8,
        millisecond: digits_of(millis, 3)? as u16,
    };
    let start = Timestamp::from_civil(date, time)?;
    let duration = Duration::from_millis(digits_of(fields.next()?, 8)?);
    let generation = Generation(digits_of(fields.next()?.strip_prefix('g')?, 10)?);
    let place = |tier| {
        Some(Place {
            camera,
            retention,
            tier: Tier::parse(tier)?,
        })
    };
    if is_media {
        let take = TakeId(hex_of(fields.next()?, 8)?);
        let sequence = digits_of(fields.next()?, 6)? as u32;
        let [_, a, b, c] = hex_of(fields.next()?, 6)?.to_be_bytes();
        let place = place(fields.next()?)?;
        let key = SegmentKey {
            place,
            start,
            duration,
            generation,
            take,
            sequence,
            init: InitHash([a, b, c]),
        };
        fields.next().is_none().then_some(ObjectKey::Segment(key))
    } else {
        let rest = name.splitn(4, '_').nth(3)?.strip_prefix("gap_")?;
        let (cause, tier) = rest.rsplit_once('_')?;
        let key = GapKey {
            place: place(tier)?,
            start,
            duration,
            generation,
            cause: cause.parse().ok()?,
        };
        let whole = key.range().cut_at_hours().count() <= 1;
        whole.then_some(ObjectKey::Gap(key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEGMENT: &str = "v1/r030/acme-2/camera-1/2026/11/20/211005.250Z_00060033_g0000000007_7f3a9c21_000042_b41d0e_full.mp4";
    const GAP: &str = "v1/r030/acme-2/camera-1/2026/11/20/211105.283Z_00012000_g0000000007_gap_tunnel_down_full.json";

    #[test]
    fn the_example_of_the_design_reads_back() {
        let ObjectKey::Segment(key) = SEGMENT.parse().unwrap() else {
            panic!("a segment")
        };
        assert_eq!(key.start.to_string(), "2026-11-20T21:10:05.250Z");
        assert_eq!(key.range().to.to_string(), "2026-11-20T21:11:05.283Z");
        assert_eq!(
            (key.generation, key.sequence, key.take.to_string().as_str()),
            (Generation(7), 42, "7f3a9c21")
        );
        assert_eq!(key.to_string(), SEGMENT);
        let ObjectKey::Gap(gap) = GAP.parse().unwrap() else {
            panic!("a gap")
        };
        assert_eq!(gap.cause, Cause::TunnelDown);
        assert_eq!(gap.to_string(), GAP);
    }

    #[test]
    fn foreign_objects_are_not_ours() {
        for bad in [
            "",
            "v1/",
            "v2/r030/acme/c/2026/11/20/x.mp4",
            "v1/idx/acme/camera-1/2026-11-20.json.zst",
            &SEGMENT.replace("r030", "r000"),
            &SEGMENT.replace("b41d0e", "B41D0E"),
            &SEGMENT.replace("full", "best"),
            &SEGMENT.replace("211005", "241005"),
            &SEGMENT.replace("211005.250Z", "21é005.250Z"),
            &SEGMENT.replace("/2026", "/x/2026"),
            &format!("{SEGMENT}/x"),
            &GAP.replace("tunnel_down", "aliens"),
            &GAP.replace("00012000", "03600001"),
        ] {
            assert_eq!(bad.parse::<ObjectKey>(), Err(InvalidObjectKey), "{bad}");
        }
    }

    #[test]
    fn start_after_lies_just_before_the_key() {
        let ObjectKey::Segment(key) = SEGMENT.parse().unwrap() else {
            panic!("a segment")
        };
        let after = start_after(&key.place.camera, key.place.retention, key.start);
        assert!(after.as_str() < SEGMENT);
        assert!(
            start_after(
                &key.place.camera,
                key.place.retention,
                key.start + Duration::from_millis(1)
            )
            .as_str()
                > SEGMENT
        );
    }

    proptest! {
        #[test]
        fn print_and_parse_agree(
            start in 0_i64..4_102_444_800_000, duration in 0_u64..99_999_999, generation in 0_u64..9_999_999_999,
            take: u32, sequence in 0_u32..=999_999, init: [u8; 3], days in 1_u16..1000,
        ) {
            let place = Place { camera: "acme/yard".parse().unwrap(), retention: Retention::Days(days), tier: Tier::Low };
            let key = SegmentKey {
                place, start: Timestamp::from_millis(start), duration: Duration::from_millis(duration),
                generation: Generation(generation), take: TakeId(take), sequence, init: InitHash(init),
            };
            prop_assert_eq!(key.to_string().parse::<ObjectKey>().unwrap(), ObjectKey::Segment(key));
        }

        #[test]
        fn strangers_keys_never_panic(text in "\\PC{0,120}") {
            let _ = text.parse::<ObjectKey>();
        }

        #[test]
        fn keys_sort_by_time(a in 0_i64..4_102_444_800_000, b in 0_i64..4_102_444_800_000) {
            let camera: CameraId = "acme/yard".parse().unwrap();
            let at = |ms| start_after(&camera, Retention::Keep, Timestamp::from_millis(ms));
            prop_assert_eq!(at(a).cmp(&at(b)), a.cmp(&b));
        }
    }
}
