//! What the spool holds, as values: pure accounting. Which object goes up next, which is given up, and up to when everything is durable.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Instant;

use moorline_core::coverage::Held;
use moorline_core::port::OpenSegment;
use moorline_core::segment::{GapKey, ObjectKey, SegmentKey, Tier};
use moorline_core::{CameraId, Timestamp};

/// One recording of a camera.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lane {
    pub(crate) camera: CameraId,
    pub(crate) tier: Tier,
}

impl Lane {
    pub(crate) fn of(key: &ObjectKey) -> Self {
        let place = key.place();
        Self {
            camera: place.camera.clone(),
            tier: place.tier,
        }
    }
}

/// Names an item while it lies in the spool.
pub(crate) type ItemId = u64;
type Order = (Timestamp, ItemId);

/// A sealed object.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) key: ObjectKey,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) md5: Option<[u8; 16]>,
    pub(crate) uploading: bool,
    /// How many uploads had succeeded when this one's last failed.
    failed_at: Option<u64>,
    /// How often it has failed although the store took others since it had failed before.
    alone: u32,
}

/// What is being written.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) key: SegmentKey,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

#[derive(Debug, Default)]
struct Shelf {
    items: BTreeSet<Order>,
    /// By a number of its writer: a recorder that is draining and the next one may overlap.
    open: BTreeMap<u64, Open>,
    bytes: u64,
    cursor: Option<Timestamp>,
    ahead: Option<Timestamp>,
    urgent: u32,
}

/// The account of the whole spool.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    shelves: BTreeMap<Lane, Shelf>,
    items: HashMap<ItemId, Item>,
    /// What may be uploaded: neither under way nor put off.
    waiting: BTreeSet<Order>,
    /// What was put off, by the instant from which it may go again.
    put_off: BTreeSet<(Instant, ItemId)>,
    bytes: u64,
    next: ItemId,
    hurried: bool,
}

impl Stock {
    /// A number that names nothing else.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A sealed object has arrived. The same key again replaces nothing: it has the same bytes.
    pub(crate) fn add(&mut self, key: ObjectKey, path: PathBuf, bytes: u64) {
        let lane = Lane::of(&key);
        let range = key.range();
        let known = self.shelves.get(&lane).is_some_and(|shelf| {
            let from = shelf.items.range((range.from, 0)..=(range.from, u64::MAX));
            from.filter_map(|(_, id)| self.items.get(id))
                .any(|item| item.key == key)
        });
        if known {
            return;
        }
        let id = self.number();
        let shelf = self.shelves.entry(lane).or_default();
        shelf.items.insert((range.from, id));
        shelf.bytes += bytes;
        self.bytes += bytes;
        self.waiting.insert((range.from, id));
        let item = Item {
            key,
            path,
            bytes,
            md5: None,
            uploading: false,
            failed_at: None,
            alone: 0,
        };
        self.items.insert(id, item);
    }

    /// An item has left: acknowledged, or given up.
    pub(crate) fn remove(&mut self, id: ItemId) -> Option<Item> {
        let item = self.items.remove(&id)?;
        let order = (item.key.range().from, id);
        self.waiting.remove(&order);
        self.bytes = self.bytes.saturating_sub(item.bytes);
        if let Some(shelf) = self.shelves.get_mut(&Lane::of(&item.key)) {
            shelf.items.remove(&order);
            shelf.bytes = shelf.bytes.saturating_sub(item.bytes);
        }
        Some(item)
    }

    /// The same for an item that nobody uploads or holds: what is under way is not ours to take.
    pub(crate) fn remove_idle(&mut self, id: ItemId) -> Option<Item> {
        let idle = self.items.get(&id).is_some_and(|item| !item.uploading);
        if idle { self.remove(id) } else { None }
    }

    pub(crate) fn item(&self, id: ItemId) -> Option<&Item> {
        self.items.get(&id)
    }

    pub(crate) fn set_md5(&mut self, id: ItemId, md5: [u8; 16]) {
        if let Some(item) = self.items.get_mut(&id) {
            item.md5 = Some(md5);
        }
    }

    /// What is being written has grown (or has begun).
    pub(crate) fn opened(&mut self, lane: &Lane, number: u64, open: Open) {
        let shelf = self.shelves.entry(lane.clone()).or_default();
        let bytes = open.bytes;
        let before = shelf.open.insert(number, open).map_or(0, |open| open.bytes);
        shelf.bytes = shelf.bytes.saturating_sub(before) + bytes;
        self.bytes = self.bytes.saturating_sub(before) + bytes;
    }

    /// It is written no more: sealed, or nothing of it was whole.
    pub(crate) fn closed(&mut self, lane: &Lane, number: u64) {
        if let Some(shelf) = self.shelves.get_mut(lane)
            && let Some(open) = shelf.open.remove(&number)
        {
            shelf.bytes = shelf.bytes.saturating_sub(open.bytes);
            self.bytes = self.bytes.saturating_sub(open.bytes);
        }
    }

    /// Bytes of everything.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of one recording.
    pub(crate) fn bytes_of(&self, lane: &Lane) -> u64 {
        self.shelves.get(lane).map_or(0, |shelf| shelf.bytes)
    }

    /// Sealed objects of one recording.
    pub(crate) fn waiting_of(&self, lane: &Lane) -> usize {
        self.shelves.get(lane).map_or(0, |shelf| shelf.items.len())
    }

    /// Sealed objects in all.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Segments that are being written, or could not be sealed.
    pub(crate) fn open(&self) -> usize {
        self.shelves.values().map(|shelf| shelf.open.len()).sum()
    }

    /// Every recording that has something here.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = (&Lane, u64)> {
        self.shelves.iter().map(|(lane, shelf)| (lane, shelf.bytes))
    }

    /// The recorder has accounted for everything up to here.
    pub(crate) fn set_cursor(&mut self, lane: &Lane, cursor: Timestamp, ahead: Option<Timestamp>) {
        let shelf = self.shelves.entry(lane.clone()).or_default();
        shelf.cursor = Some(cursor);
        shelf.ahead = ahead;
    }

    /// Where the cursor was before the clock was set back.
    pub(crate) fn ahead(&self, lane: &Lane) -> Option<Timestamp> {
        self.shelves.get(lane)?.ahead
    }

    /// All of a camera is erased: a camera of that name that is added later has nothing to account for before.
    pub(crate) fn forget(&mut self, camera: &CameraId) {
        let of_camera = self
            .shelves
            .iter_mut()
            .filter(|(lane, _)| lane.camera == *camera);
        for (_, shelf) in of_camera {
            shelf.cursor = None;
            shelf.ahead = None;
        }
    }

    /// Up to here a recorder of this process has accounted for everything.
    pub(crate) fn cursor(&self, lane: &Lane) -> Option<Timestamp> {
        self.shelves.get(lane)?.cursor
    }

    /// Up to where everything of a camera is acknowledged or is a gap that is: the start of the first thing that is not, whatever its tier
    /// (what was recorded before a change of tier may still wait), else the end of what this recording accounts for. `None` until a
    /// recorder accounts for it: before that an unwritten gap may lie anywhere.
    pub(crate) fn durable_until(&self, lane: &Lane) -> Option<Timestamp> {
        let known = self.shelves.get(lane)?.cursor?;
        let first = self.shelves_of(&lane.camera).flat_map(|shelf| {
            let open = shelf.open.values().map(|open| open.key.start).min();
            let sealed = shelf.items.first().map(|(start, _)| *start);
            [open, sealed].into_iter().flatten()
        });
        Some(first.min().map_or(known, |first| first.min(known)))
    }

    /// The end of the oldest sealed object of a camera, whatever its tier.
    pub(crate) fn oldest_sealed(&self, camera: &CameraId) -> Option<Timestamp> {
        let oldest = self
            .shelves_of(camera)
            .filter_map(|shelf| shelf.items.first());
        let (_, id) = oldest.min()?;
        self.items.get(id).map(|item| item.key.range().to)
    }

    /// What lies here of a camera, in each of its tiers. Asked for at every fragment of every camera: it looks at no other's.
    fn shelves_of(&self, camera: &CameraId) -> impl Iterator<Item = &Shelf> {
        Tier::ALL.into_iter().filter_map(|tier| {
            let camera = camera.clone();
            self.shelves.get(&Lane { camera, tier })
        })
    }

    /// A camera drains: its objects go first, until that many calls with `false`.
    pub(crate) fn hurry(&mut self, lane: &Lane, urgent: bool) {
        let shelf = self.shelves.entry(lane.clone()).or_default();
        self.hurried |= urgent;
        shelf.urgent = if urgent {
            shelf.urgent + 1
        } else {
            shelf.urgent.saturating_sub(1)
        };
    }

    /// Whether a drain has begun since the last question.
    pub(crate) fn take_hurried(&mut self) -> bool {
        std::mem::take(&mut self.hurried)
    }

    /// The next object to upload; it is under way from now on. `newest` asks for the share of fresh segments.
    pub(crate) fn pick(&mut self, newest: bool) -> Option<ItemId> {
        let urgent = self
            .shelves
            .values()
            .filter(|shelf| shelf.urgent > 0)
            .flat_map(|shelf| &shelf.items)
            .find(|order| self.waiting.contains(order));
        let order = match urgent {
            Some(order) => *order,
            None if newest => *self.waiting.last()?,
            None => *self.waiting.first()?,
        };
        Some(self.begin(order))
    }

    /// Another one than the first that [`Stock::pick`] would give, if there is one; each number gives another.
    pub(crate) fn pick_other(&mut self, number: usize) -> Option<ItemId> {
        let others = self.waiting.len().saturating_sub(1);
        if others == 0 {
            return self.pick(false);
        }
        let order = *self.waiting.iter().nth(1 + number % others)?;
        Some(self.begin(order))
    }

    fn begin(&mut self, order: Order) -> ItemId {
        self.waiting.remove(&order);
        if let Some(item) = self.items.get_mut(&order.1) {
            item.uploading = true;
        }
        order.1
    }

    /// An upload failed when so many had succeeded. How often it has failed alone so far: although the store took others since it had failed
    /// before. 0: this failure may be the store's.
    pub(crate) fn failed(&mut self, id: ItemId, successes: u64) -> u32 {
        let Some(item) = self.items.get_mut(&id) else {
            return 0;
        };
        let before = item.failed_at.replace(successes);
        if before.is_none_or(|before| before == successes) {
            return 0;
        }
        item.alone += 1;
        item.alone
    }

    /// Nobody uploads it from now on: its holder removes it.
    pub(crate) fn hold(&mut self, id: ItemId) {
        if let Some(item) = self.items.get_mut(&id) {
            item.uploading = true;
            self.waiting.remove(&(item.key.range().from, id));
        }
    }

    /// Objects that wait for a place among the uploads.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// An upload failed. `not_before` puts this object off, so that it does not hold others up.
    pub(crate) fn put_back(&mut self, id: ItemId, not_before: Option<Instant>) {
        let Some(item) = self.items.get_mut(&id) else {
            return;
        };
        item.uploading = false;
        match not_before {
            Some(at) => self.put_off.insert((at, id)),
            None => self.waiting.insert((item.key.range().from, id)),
        };
    }

    /// Objects that were put off until `now` may go again. The next instant at which that is so, if any.
    pub(crate) fn ripen(&mut self, now: Instant) -> Option<Instant> {
        while let Some((at, id)) = self.put_off.first().copied() {
            if at > now {
                return Some(at);
            }
            self.put_off.pop_first();
            self.wait(id);
        }
        None
    }

    /// Whatever was put off may go again: somebody waits for the end.
    pub(crate) fn ripen_all(&mut self) {
        for (_, id) in std::mem::take(&mut self.put_off) {
            self.wait(id);
        }
    }

    /// What was put off waits again, unless it was given up meanwhile, or is about to be.
    fn wait(&mut self, id: ItemId) {
        if let Some(item) = self.items.get(&id).filter(|item| !item.uploading) {
            self.waiting.insert((item.key.range().from, id));
        }
    }

    /// What is given up at the bound: the oldest sealed segment of the recording that holds most. Never a gap marker, nor what is being
    /// uploaded at this moment.
    pub(crate) fn evictable(&self) -> Option<(ItemId, SegmentKey)> {
        let oldest = |shelf: &Shelf| {
            let mut items = shelf.items.iter().map(|(_, id)| *id);
            items.find_map(|id| match self.items.get(&id) {
                Some(item) if !item.uploading => match &item.key {
                    ObjectKey::Segment(key) => Some((id, key.clone())),
                    ObjectKey::Gap(_) => None,
                },
                _ => None,
            })
        };
        self.shelves
            .values()
            .filter_map(|shelf| Some((shelf.bytes, oldest(shelf)?)))
            .max_by_key(|(bytes, _)| *bytes)
            .map(|(_, found)| found)
    }

    /// Everything of one recording: segments (sealed and open) and markers, oldest first.
    pub(crate) fn view(&self, lane: &Lane) -> (Vec<OpenSegment>, Vec<GapKey>) {
        let (mut segments, mut gaps) = (Vec::new(), Vec::new());
        let Some(shelf) = self.shelves.get(lane) else {
            return (segments, gaps);
        };
        for item in shelf.items.iter().filter_map(|(_, id)| self.items.get(id)) {
            match &item.key {
                ObjectKey::Segment(key) => segments.push(OpenSegment {
                    key: key.clone(),
                    held: Held::Spool,
                    bytes: item.bytes,
                }),
                ObjectKey::Gap(key) => gaps.push(key.clone()),
            }
        }
        segments.extend(shelf.open.values().map(|open| OpenSegment {
            key: open.key.clone(),
            held: Held::Open,
            bytes: open.bytes,
        }));
        segments.sort_by_key(|segment| (segment.key.start, segment.key.sequence));
        (segments, gaps)
    }

    /// Where a segment lies now, by take and sequence: its key may have changed since it was seen.
    pub(crate) fn find(&self, lane: &Lane, key: &SegmentKey) -> Option<(PathBuf, u64)> {
        let same = |other: &SegmentKey| other.take == key.take && other.sequence == key.sequence;
        let shelf = self.shelves.get(lane)?;
        let open = shelf.open.values().find(|open| same(&open.key));
        if let Some(open) = open {
            return Some((open.path.clone(), open.bytes));
        }
        let mut items = shelf.items.iter().filter_map(|(_, id)| self.items.get(id));
        let found =
            items.find(|item| matches!(&item.key, ObjectKey::Segment(other) if same(other)));
        found.map(|item| (item.path.clone(), item.bytes))
    }

    /// Whether a segment of the camera is being written.
    pub(crate) fn has_open(&self, camera: &CameraId) -> bool {
        let mut of_camera = self
            .shelves
            .iter()
            .filter(|(lane, _)| lane.camera == *camera);
        of_camera.any(|(_, shelf)| !shelf.open.is_empty())
    }

    /// The sealed objects of a camera that nobody is uploading, and how many are being uploaded.
    pub(crate) fn of_camera(&self, camera: &CameraId) -> (Vec<ItemId>, usize) {
        let of = |(_, item): &(&ItemId, &Item)| item.key.place().camera == *camera;
        let mine = self.items.iter().filter(of);
        let (uploading, idle): (Vec<_>, Vec<_>) = mine.partition(|(_, item)| item.uploading);
        let mut ids: Vec<ItemId> = idle.into_iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        (ids, uploading.len())
    }
}

#[cfg(test)]
mod tests;
