//! What is recorded around an instant: the spool's view first, then the store's listing, as coverage.

use std::collections::BTreeMap;
use std::time::Duration;

use moorline_core::coverage::{Coverage, Gap, Held, Recorded};
use moorline_core::port::StoreError;
use moorline_core::segment::{
    GapKey, ObjectKey, Retention, SegmentKey, Tier, camera_prefix, start_after,
};
use moorline_core::{CameraId, Cause, Generation, TakeId, TimeRange, Timestamp};

use crate::archive::Archive;

/// No segment and no marker is longer, so what reaches into a stretch begins at most this long before it.
const LONGEST: Duration = Duration::from_secs(3600);

/// What never changes of a segment while it moves from being open to the store: its tier, its take and its number in it.
pub(crate) type Place = (Tier, TakeId, u32);

pub(crate) fn place(key: &SegmentKey) -> Place {
    (key.place.tier, key.take, key.sequence)
}

/// One camera's recordings, of one tier or of all.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) archive: Archive,
    pub(crate) camera: CameraId,
    pub(crate) tier: Option<Tier>,
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

impl Found {
    /// A segment; the later word of one counts. Where one tier is wanted, what another has is why it is missing there: it was not to be
    /// recorded.
    fn segment(&mut self, view: &View, recorded: Recorded, bytes: u64) {
        if view.wants(recorded.key.place.tier) {
            self.segments
                .insert(place(&recorded.key), (recorded, bytes));
        } else {
            self.gaps.push(Gap {
                range: recorded.key.range(),
                cause: Cause::Disabled,
                generation: BESIDE,
                open: false,
            });
        }
    }

    /// A marker. Another tier's speaks of the camera too, where the wanted one has no word.
    fn gap(&mut self, view: &View, key: &GapKey) {
        let mut gap = Gap::from(key);
        if !view.wants(key.place.tier) {
            gap.generation = BESIDE;
        }
        self.gaps.push(gap);
    }
}

/// Older than any: what another tier tells gives way to what the wanted one does.
const BESIDE: Generation = Generation(0);

impl View {
    fn wants(&self, tier: Tier) -> bool {
        self.tier.is_none_or(|wanted| wanted == tier)
    }

    /// The tiers to look at.
    pub(crate) fn tiers(&self) -> impl Iterator<Item = Tier> + '_ {
        Tier::ALL.into_iter().filter(move |tier| self.wants(*tier))
    }

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
        for tier in Tier::ALL {
            let (open, gaps) = self.archive.spool.of(&self.camera, tier);
            for segment in open {
                let recorded = Recorded {
                    key: segment.key,
                    held: segment.held,
                };
                found.segment(self, recorded, segment.bytes);
            }
            gaps.iter().for_each(|gap| found.gap(self, gap));
        }
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
                match key {
                    ObjectKey::Gap(gap) => found.gap(self, &gap),
                    ObjectKey::Segment(key) => {
                        let held = Held::Store;
                        found.segment(self, Recorded { key, held }, object.bytes);
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
