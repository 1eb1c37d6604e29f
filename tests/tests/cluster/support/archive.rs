//! What lies in a bucket of one camera, down to its pictures.

use std::time::Duration;

use moorline_core::{
    TimeRange, Timestamp,
    segment::{GapKey, ObjectKey, SegmentKey},
};
use moorline_simcam::video::Stamp;

use super::{Bucket, stamps::exported};

/// The objects of one camera at one moment.
#[derive(Default)]
pub(crate) struct Archive {
    pub(crate) segments: Vec<SegmentKey>,
    pub(crate) gaps: Vec<GapKey>,
}

impl std::fmt::Debug for Archive {
    /// The names of its objects, in the order of time.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let segments = self.segments.iter().map(|key| (key.start, key.to_string()));
        let gaps = self.gaps.iter().map(|key| (key.start, key.to_string()));
        let mut all: Vec<_> = segments.chain(gaps).collect();
        all.sort();
        f.debug_list()
            .entries(all.iter().map(|(_, key)| key))
            .finish()
    }
}

/// The longest time between two pictures that follow each other, of those that end after `instant`, in microseconds since the epoch.
pub(crate) fn longest_silence(pictures: &[Stamp], instant: u64) -> Duration {
    let pairs = pictures.windows(2).filter(|pair| pair[1].sent_us > instant);
    let longest = pairs.map(|pair| pair[1].sent_us - pair[0].sent_us).max();
    Duration::from_micros(longest.unwrap_or_default())
}

impl Archive {
    /// What of `storage/camera` is there.
    pub(crate) fn of(bucket: &Bucket, storage: &str, camera: &str) -> Self {
        let mut archive = Self::default();
        for key in bucket.keys() {
            let Ok(key) = key.parse::<ObjectKey>() else {
                continue;
            };
            let id = &key.place().camera;
            if (id.tenant().as_str(), id.name()) != (storage, camera) {
                continue;
            }
            match key {
                ObjectKey::Segment(key) => archive.segments.push(key),
                ObjectKey::Gap(key) => archive.gaps.push(key),
            }
        }
        archive.segments.sort_by_key(|key| key.start);
        archive.gaps.sort_by_key(|key| key.start);
        archive
    }

    /// The causes of the gaps since the first recording, in order. What comes before it is the time from the camera's making to its call.
    pub(crate) fn causes(&self) -> Vec<String> {
        let begun = self.segments.first().map(|segment| segment.start);
        let later = self.gaps.iter().filter(|gap| Some(gap.start) > begun);
        later.map(|gap| gap.cause.to_string()).collect()
    }

    /// Whether a segment begins after `instant`, in microseconds since the epoch.
    pub(crate) fn goes_on_after(&self, instant: u64) -> bool {
        let last = self.segments.last().map(|segment| segment.start);
        last > i64::try_from(instant / 1000)
            .ok()
            .map(Timestamp::from_millis)
    }

    /// Asserts that no second between the first and the last object is neither recorded nor explained (P4).
    #[track_caller]
    pub(crate) fn assert_covered(&self) {
        assert!(!self.segments.is_empty(), "nothing was recorded: {self:#?}");
        if let Some((from, open)) = self.uncovered() {
            panic!("{open} ms from {from} are neither recorded nor explained: {self:#?}");
        }
    }

    /// The first stretch of a second or more that is neither recorded nor explained: from when, and how many milliseconds.
    pub(crate) fn uncovered(&self) -> Option<(Timestamp, i64)> {
        let segments = self.segments.iter().map(SegmentKey::range);
        let mut ranges: Vec<TimeRange> = segments
            .chain(self.gaps.iter().map(GapKey::range))
            .collect();
        ranges.sort_by_key(|range| range.from);
        let mut until = ranges.first()?.from;
        for range in &ranges {
            let open = range.from.as_millis() - until.as_millis();
            if open >= 1000 {
                return Some((until, open));
            }
            until = until.max(range.to);
        }
        None
    }

    /// The pictures of all segments in order; whose stamps are not of camera `number` fail the test.
    pub(crate) async fn pictures(&self, bucket: &Bucket, number: u32) -> Vec<Stamp> {
        let stamps = self.stamps(bucket, number).await;
        for pair in stamps.windows(2) {
            assert!(
                pair[1].frame > pair[0].frame,
                "picture {} after {}: {self:#?}",
                pair[1].frame,
                pair[0].frame
            );
        }
        stamps
    }

    /// The same, each once, where two archivers have recorded at a time.
    pub(crate) async fn pictures_once(&self, bucket: &Bucket, number: u32) -> Vec<Stamp> {
        let mut stamps = self.stamps(bucket, number).await;
        stamps.sort_unstable();
        stamps.dedup_by_key(|stamp| stamp.frame);
        stamps
    }

    /// As they stand in the segments, one after the other.
    async fn stamps(&self, bucket: &Bucket, number: u32) -> Vec<Stamp> {
        let mut stamps = Vec::new();
        for segment in &self.segments {
            stamps.extend(exported(&bucket.file(&segment.to_string())).await);
        }
        let crossed: Vec<_> = stamps
            .iter()
            .filter(|stamp| stamp.camera != number)
            .collect();
        assert!(
            crossed.is_empty(),
            "pictures of another camera: {crossed:?}"
        );
        stamps
    }
}
