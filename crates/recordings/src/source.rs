//! The bytes of one segment, wherever it is by now.

use std::ops::Range;

use bytes::Bytes;
use moorline_core::coverage::Held;
use moorline_core::port::{OpenSegment, StoreError};
use moorline_core::segment::SegmentKey;

use crate::listing::{View, place};

/// Where a segment was when it was last looked for.
#[derive(Debug, Clone)]
enum Location {
    Store(String),
    Spool(OpenSegment),
}

/// A segment to read from.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    view: View,
    key: SegmentKey,
    location: Location,
}

impl Source {
    /// Finds a segment that a listing told of; `None` if it is nowhere any more.
    pub(crate) async fn find(
        view: &View,
        key: &SegmentKey,
        held: Held,
    ) -> Result<Option<Self>, StoreError> {
        if held == Held::Store {
            let location = Location::Store(key.to_string());
            return Ok(Some(Self {
                view: view.clone(),
                key: key.clone(),
                location,
            }));
        }
        let found = locate(view, key).await?;
        Ok(found.map(|location| Self {
            view: view.clone(),
            key: key.clone(),
            location,
        }))
    }

    pub(crate) fn key(&self) -> &SegmentKey {
        &self.key
    }

    /// How many bytes may be read; `None`: to the end of the object.
    pub(crate) fn limit(&self) -> Option<u64> {
        match &self.location {
            Location::Store(_) => None,
            Location::Spool(open) => Some(open.bytes),
        }
    }

    /// Whether nothing will be appended.
    pub(crate) fn is_sealed(&self) -> bool {
        match &self.location {
            Location::Store(_) => true,
            Location::Spool(open) => open.held != Held::Open,
        }
    }

    /// Looks for it anew; `false` if it is nowhere any more.
    pub(crate) async fn refresh(&mut self) -> Result<bool, StoreError> {
        let found = locate(&self.view, &self.key).await?;
        let is_there = found.is_some();
        self.location = found.unwrap_or_else(|| self.location.clone());
        Ok(is_there)
    }

    /// Reads, following the segment from spool to store; `None` if it is nowhere any more.
    pub(crate) async fn read(&mut self, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        if let Some(bytes) = self.try_read(range.clone()).await? {
            return Ok(Some(bytes));
        }
        if self.refresh().await?
            && let Some(bytes) = self.try_read(range.clone()).await?
        {
            return Ok(Some(bytes));
        }
        // The spool forgets a segment a moment after its file has left for the store.
        let Some(key) = self.view.stored(place(&self.key), self.key.start).await? else {
            return Ok(None);
        };
        self.location = Location::Store(key.to_string());
        self.try_read(range).await
    }

    async fn try_read(&self, range: Range<u64>) -> Result<Option<Bytes>, StoreError> {
        let read = match &self.location {
            Location::Store(key) => self.view.archive.store.get(key, range).await,
            Location::Spool(open) => self.view.archive.spool.read(open, range).await,
        };
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::Missing(_)) => Ok(None),
            Err(cause) => Err(cause),
        }
    }
}

/// The spool first: what leaves it meanwhile is then found in the store.
async fn locate(view: &View, key: &SegmentKey) -> Result<Option<Location>, StoreError> {
    if let Some(open) = in_spool(view, |other| place(other) == place(key)) {
        return Ok(Some(Location::Spool(open)));
    }
    let stored = view.stored(place(key), key.start).await?;
    Ok(stored.map(|key| Location::Store(key.to_string())))
}

/// The first segment of the spool that fits.
pub(crate) fn in_spool(view: &View, fits: impl Fn(&SegmentKey) -> bool) -> Option<OpenSegment> {
    let mut open = view
        .tiers()
        .flat_map(|tier| view.archive.spool.of(&view.camera, tier).0);
    open.find(|segment| fits(&segment.key))
}
