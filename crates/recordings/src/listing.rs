//! What is recorded around an instant: the spool's view first, then the store's listing, as coverage.

use std::collections::BTreeMap;
use std::time::Duration;

use moorline_core::coverage::{Coverage, Gap, Held, Recorded};
use moorline_core::port::StoreError;
use moorline_core::segment::{ObjectKey, Retention, SegmentKey, Tier, camera_prefix, start_after};
use moorline_core::{CameraId, TakeId, TimeRange, Timestamp};

use crate::archive::Archive;

/// No segment and no marker is longer, so what reaches into a stretch begins at most this long before it.
const LONGEST: Duration = Duration::from_secs(3600);

/// What never changes of a segment while it moves from being open to the store: its take and its number in it.
pub(crate) type Place = (TakeId, u32);

pub(crate) fn place(key: &SegmentKey) -> Place {
    (key.take, key.sequence)
}

/// One camera's recordings of one tier.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) archive: Archive,
    pub(crate) camera: CameraId,
    pub(crate) tier: Tier,
}

/// The keys of a stretch, as rows.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pub(crate) coverage: Coverage,
    /// Size of each segment.
    pub(crate) bytes: BTreeMap<Place, u64>,
    /// Whether more is recorded behind it.
    pub(crate) more: bool,
}

/// How far a listing goes.
#[derive(Clone, Copy, PartialEq)]
enum Extent {
    /// One page per class, but beyond the beginning.
    Page,
    /// To the end of the stretch.
    Whole,
}

#[derive(Default)]
struct Found {
    segments: BTreeMap<Place, (Recorded, u64)>,
    gaps: Vec<Gap>,
}

impl View {
    /// Everything in `range`.
    pub(crate) async fn range(&self, range: TimeRange) -> Result<Window, StoreError> {
        self.look(range, Extent::Whole).await
    }

    /// What follows `from`, as far as one request per class tells: at least one key beyond it, or everything up to now.
    pub(crate) async fn window(&self, from: Timestamp) -> Result<Window, StoreError> {
        self.look(TimeRange::new(from, self.archive.now()), Extent::Page)
            .await
    }

    /// The key under which the store has this segment, which began at about `near`.
    pub(crate) async fn stored(
        &self,
        wanted: Place,
        near: Timestamp,
    ) -> Result<Option<SegmentKey>, StoreError> {
        let mut found = Found::default();
        let range = TimeRange::new(near, near + LONGEST);
        for class in self.archive.kept(&self.camera).classes {
            self.list(class, range, Extent::Whole, &mut found).await?;
        }
        Ok(found
            .segments
            .remove(&wanted)
            .map(|(recorded, _)| recorded.key))
    }

    async fn look(&self, range: TimeRange, extent: Extent) -> Result<Window, StoreError> {
        let mut found = Found::default();
        // The spool first: what leaves it from now on is in the listing, and the listing wins.
        let (open, gaps) = self.archive.spool.of(&self.camera, self.tier);
        for segment in open {
            let recorded = Recorded {
                key: segment.key,
                held: segment.held,
            };
            found
                .segments
                .insert(place(&recorded.key), (recorded, segment.bytes));
        }
        found.gaps.extend(gaps.iter().map(Gap::from));
        let kept = self.archive.kept(&self.camera);
        let mut to = range.to;
        for class in kept.classes {
            to = to.min(self.list(class, range, extent, &mut found).await?);
        }
        let recorded: Vec<Recorded> = found
            .segments
            .values()
            .map(|(recorded, _)| recorded.clone())
            .collect();
        let listed = TimeRange::new(range.from, to);
        Ok(Window {
            coverage: Coverage::compute(listed, &recorded, &found.gaps, kept.expired_before),
            bytes: found
                .segments
                .iter()
                .map(|(place, (_, bytes))| (*place, *bytes))
                .collect(),
            more: to < range.to,
        })
    }

    /// Lists one class and tells up to where everything was seen.
    async fn list(
        &self,
        class: Retention,
        range: TimeRange,
        extent: Extent,
        found: &mut Found,
    ) -> Result<Timestamp, StoreError> {
        let prefix = camera_prefix(&self.camera, class);
        let mut after = start_after(&self.camera, class, range.from - LONGEST);
        loop {
            let page = self.archive.store.list(&prefix, &after).await?;
            let mut seen = range.from;
            for object in &page.objects {
                // A bucket may hold anything: what is no key of ours is not there.
                let Ok(key) = object.key.parse::<ObjectKey>() else {
                    continue;
                };
                seen = key.range().from;
                if seen >= range.to {
                    return Ok(range.to);
                }
                if key.place().tier != self.tier {
                    continue;
                }
                match key {
                    ObjectKey::Gap(gap) => found.gaps.push(Gap::from(&gap)),
                    ObjectKey::Segment(key) => {
                        let recorded = Recorded {
                            key,
                            held: Held::Store,
                        };
                        found
                            .segments
                            .insert(place(&recorded.key), (recorded, object.bytes));
                    }
                }
            }
            match page.objects.last() {
                Some(_) if page.more && extent == Extent::Page && seen > range.from => {
                    return Ok(seen);
                }
                Some(last) if page.more => after.clone_from(&last.key),
                _ => return Ok(range.to),
            }
        }
    }
}
