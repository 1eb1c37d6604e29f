//! `segments verify`: what did the store lose, cut short or spoil?
//!
//! Owns: the comparison of a listing with itself. Inside a take sequence numbers follow each other, so a number that is missing between
//! two that are there was acknowledged once and is gone, unless a gap marker explains it or the spool still holds it. Objects are looked
//! at as deep as asked: size alone, the head, or every byte.
//!
//! Does not own: what the stretch of time ought to hold beyond its takes, such as the first and the last segment of one; that is
//! coverage's matter.

mod boxes;
mod look;
mod sum;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use moorline_core::coverage::{Coverage, Gap, SHORTEST_GAP};
use moorline_core::port::{OpenSegments, SegmentStore, StoreError};
use moorline_core::segment::{GapKey, ObjectKey, Place, Retention, SegmentKey, Tier, start_after};
use moorline_core::{CameraId, Cause, Generation, TakeId, TimeRange, Timestamp};
use serde::Serialize;

pub use boxes::Torn;

/// How far before the stretch takes are followed, so that what is missing at its beginning shows: two stretches that touch find what one
/// would, unless more than a day was lost there.
const BEFORE: Duration = Duration::from_secs(86_400);

/// How closely objects are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The listing alone: no request per object.
    Listing,
    /// The first 64 KiB of every n-th segment: that it is there and begins as a segment does.
    Heads {
        /// 1: all of them.
        every: usize,
    },
    /// Every byte: that its boxes are whole, that each fragment's checksum holds, and that its digest is the one it was stored with, where
    /// the store tells it.
    Whole,
}

/// What to look at.
#[derive(Clone)]
pub struct Request<'a> {
    /// Whose recordings.
    pub camera: &'a CameraId,
    /// The classes that the camera has used.
    pub classes: &'a [Retention],
    /// The tier.
    pub tier: Tier,
    /// The stretch of time.
    pub range: TimeRange,
    /// How closely.
    pub depth: Depth,
    /// The spool, if somebody runs it: what it still holds is not lost.
    pub spool: Option<&'a dyn OpenSegments>,
    /// Where the store tells digests.
    pub digests: Option<&'a dyn Digests>,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("camera", self.camera)
            .field("tier", &self.tier)
            .field("range", &self.range)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

/// A store that can tell the digest that it computed when an object was stored.
#[async_trait]
pub trait Digests: Send + Sync {
    /// The MD5; `None` if it is not known.
    ///
    /// # Errors
    /// [`StoreError::Missing`].
    async fn md5(&self, key: &str) -> Result<Option<[u8; 16]>, StoreError>;
}

/// Where gap markers that belong to no archiver are written.
#[async_trait]
pub trait Markers: Send + Sync {
    /// Stores a marker. Idempotent.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn mark(&self, gap: &GapKey) -> Result<(), StoreError>;
}

/// Something that is not as it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Finding {
    /// Segments between two of the same take are gone.
    Lost {
        /// The take.
        take: TakeId,
        /// The first missing number.
        first: u32,
        /// The last missing number.
        last: u32,
        /// What they covered.
        range: TimeRange,
        /// The generation of the take.
        #[serde(skip)]
        generation: Generation,
        /// Where they lay.
        #[serde(skip)]
        place: Place,
    },
    /// What an earlier verify found lost: its marker is told for as long as it is kept.
    StillLost {
        /// The marker's key.
        key: String,
        /// What is gone.
        range: TimeRange,
    },
    /// The object is listed and cannot be read.
    Unreadable {
        /// Its key.
        key: String,
    },
    /// The object ends too early, or is none of ours.
    Torn {
        /// Its key.
        key: String,
        /// What is wrong.
        why: Torn,
    },
    /// The bytes are not those that were stored.
    Spoiled {
        /// Its key.
        key: String,
    },
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Segments that are listed.
    pub segments: u64,
    /// Gap markers that are listed.
    pub gaps: u64,
    /// Bytes of the segments.
    pub bytes: u64,
    /// Segments whose bytes were read.
    pub read: u64,
    /// Objects among them that are none of ours.
    pub foreign: u64,
    /// What is wrong, in order of time.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The markers `store_lost` for what is gone, cut at full hours. A stretch below a second needs none; each side of a longer one
    /// that crosses a full hour does, however short.
    pub fn markers(&self) -> Vec<GapKey> {
        let lost = self.findings.iter().filter_map(|finding| match finding {
            Finding::Lost {
                range,
                generation,
                place,
                ..
            } => Some((*range, *generation, place)),
            _ => None,
        });
        let long = lost.filter(|(range, _, _)| range.duration() >= SHORTEST_GAP);
        let keys = long.flat_map(|(range, generation, place)| {
            range.cut_at_hours().map(move |piece| GapKey {
                place: place.clone(),
                start: piece.from,
                duration: piece.duration(),
                generation,
                cause: Cause::StoreLost,
            })
        });
        keys.collect()
    }

    /// Writes [`Report::markers`] and tells how many.
    ///
    /// # Errors
    /// [`StoreError`] of the first that failed.
    pub async fn mark(&self, markers: &dyn Markers) -> Result<usize, StoreError> {
        let keys = self.markers();
        for key in &keys {
            markers.mark(key).await?;
        }
        Ok(keys.len())
    }
}

/// Verifies a stretch of a camera's recordings.
///
/// # Errors
/// [`StoreError`] if the store cannot be listed or is away; one object that cannot be read is a finding.
pub async fn verify(store: &dyn SegmentStore, request: &Request<'_>) -> Result<Report, StoreError> {
    // The spool first: what leaves it from now on is in the listing.
    let spooled: BTreeSet<(TakeId, u32)> = match request.spool {
        Some(spool) => {
            let (segments, _) = spool.of(request.camera, request.tier);
            segments
                .iter()
                .map(|open| (open.key.take, open.key.sequence))
                .collect()
        }
        None => BTreeSet::new(),
    };
    let mut search = Search {
        spooled,
        ..Search::default()
    };
    for class in request.classes {
        search.class(store, request, *class).await?;
    }
    Ok(search.finish())
}

#[derive(Default)]
struct Search {
    report: Report,
    spooled: BTreeSet<(TakeId, u32)>,
    newest: HashMap<TakeId, SegmentKey>,
    gaps: Vec<Gap>,
    absent: Vec<Finding>,
}

impl Search {
    async fn class(
        &mut self,
        store: &dyn SegmentStore,
        request: &Request<'_>,
        class: Retention,
    ) -> Result<(), StoreError> {
        let prefix = moorline_core::segment::camera_prefix(request.camera, class);
        let mut after = start_after(request.camera, class, request.range.from - BEFORE);
        loop {
            let page = store.list(&prefix, &after).await?;
            for object in &page.objects {
                let Ok(key) = object.key.parse::<ObjectKey>() else {
                    self.report.foreign += 1;
                    continue;
                };
                if key.range().from >= request.range.to {
                    return Ok(());
                }
                if key.place().tier != request.tier {
                    continue;
                }
                let is_before = key.range().to <= request.range.from;
                match key {
                    ObjectKey::Gap(gap) => {
                        self.report.gaps += u64::from(!is_before);
                        self.gaps.push(Gap::from(&gap));
                        if gap.cause == Cause::StoreLost && !is_before {
                            self.report.findings.push(Finding::StillLost {
                                key: object.key.clone(),
                                range: gap.range(),
                            });
                        }
                    }
                    ObjectKey::Segment(key) if is_before => {
                        self.newest.insert(key.take, key);
                    }
                    ObjectKey::Segment(key) => {
                        self.segment(store, request, &object.key, object.bytes, key)
                            .await?;
                    }
                }
            }
            match page.objects.last() {
                Some(last) if page.more => after.clone_from(&last.key),
                _ => return Ok(()),
            }
        }
    }

    async fn segment(
        &mut self,
        store: &dyn SegmentStore,
        request: &Request<'_>,
        name: &str,
        bytes: u64,
        key: SegmentKey,
    ) -> Result<(), StoreError> {
        let every = match request.depth {
            Depth::Listing => 0,
            Depth::Heads { every } => every.max(1) as u64,
            Depth::Whole => 1,
        };
        let chosen = every > 0 && self.report.segments.is_multiple_of(every);
        self.report.segments += 1;
        self.report.bytes = self.report.bytes.saturating_add(bytes);
        let wrong = if bytes == 0 {
            Some(Finding::Torn {
                key: name.to_owned(),
                why: Torn::Empty,
            })
        } else if chosen {
            self.report.read += 1;
            look::at(store, request, name, bytes).await?
        } else {
            None
        };
        self.report.findings.extend(wrong);
        if let Some(before) = self.newest.insert(key.take, key.clone()) {
            self.between(&before, &key);
        }
        Ok(())
    }

    /// Notes the numbers between two segments of one take that are neither in the store nor in the spool.
    fn between(&mut self, before: &SegmentKey, after: &SegmentKey) {
        let missing = before.sequence.saturating_add(1)..after.sequence;
        let lost = |sequence: &u32| !self.spooled.contains(&(after.take, *sequence));
        let mut gone = missing.filter(lost);
        let Some(first) = gone.next() else {
            return;
        };
        self.absent.push(Finding::Lost {
            take: after.take,
            first,
            last: gone.next_back().unwrap_or(first),
            range: TimeRange::new(before.range().to, after.start),
            generation: after.generation,
            place: after.place.clone(),
        });
    }

    fn finish(mut self) -> Report {
        let never = Timestamp::from_millis(i64::MIN);
        let unexplained = |finding: &Finding| match finding {
            Finding::Lost { range, .. } => !Coverage::compute(*range, &[], &self.gaps, never)
                .unexplained()
                .is_empty(),
            _ => true,
        };
        let lost = self
            .absent
            .into_iter()
            .filter(|finding| unexplained(finding));
        self.report.findings.extend(lost);
        self.report
    }
}
