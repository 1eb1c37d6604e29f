//! An archive in memory, a spool whose segments grow, are sealed and uploaded on order, and pictures with numbers.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use moorline_base::SimulatedClock;
use moorline_core::coverage::Held;
use moorline_core::port::{Listed, OpenSegment, OpenSegments, Page, SegmentStore, StoreError};
use moorline_core::segment::{GapKey, InitHash, Place, Retention, SegmentKey, Tier};
use moorline_core::{CameraId, Cause, Generation, TakeId, Timestamp};
use moorline_fmp4::boxes::walk;
use moorline_fmp4::{
    Anchor, Fragment, FragmentEntry, Head, Init, RESERVED, Run, Sample, SampleEntry, Seal,
    SegmentInfo,
};
use moorline_recordings::{Archive, Kept};

pub(crate) const FRAMES: u32 = 5;
const TICKS: u32 = 90_000 / FRAMES;

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

pub(crate) fn camera() -> CameraId {
    "home/yard".parse().unwrap()
}

pub(crate) fn init(level: u8) -> Init {
    let sps = [
        0x67, 0x64, 0x00, level, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x6a, 0x02, 0x02, 0x02,
        0x80, 0x00, 0x00, 0x03, 0x00, 0x80, 0x00, 0x00, 0x1e, 0x07, 0x8c, 0x18, 0xcb,
    ];
    let entry = SampleEntry::h264(&sps, &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0]).unwrap();
    Init::new(vec![(90_000, entry)]).unwrap()
}

/// A store in memory that counts requests.
#[derive(Default)]
pub(crate) struct MemoryStore {
    pub(crate) objects: Mutex<BTreeMap<String, Bytes>>,
    pub(crate) requests: Mutex<Vec<String>>,
    pub(crate) page: AtomicUsize,
    /// Of these nothing can be read, though they are there.
    pub(crate) failing: Mutex<Vec<String>>,
    /// Whose oldest sealed segment arrives right after a listing was made.
    pub(crate) race: Mutex<Option<Arc<MemorySpool>>>,
}

impl MemoryStore {
    pub(crate) fn put(&self, key: &impl ToString, bytes: impl Into<Bytes>) {
        self.objects
            .lock()
            .unwrap()
            .insert(key.to_string(), bytes.into());
    }

    /// The keys of all segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<String> {
        let objects = self.objects.lock().unwrap();
        let keys = objects.keys().filter(|key| key.ends_with(".mp4"));
        keys.cloned().collect()
    }

    /// Changes an object; where its fragments begin is told.
    pub(crate) fn spoil(&self, key: &str, spoil: impl FnOnce(&mut Vec<u8>, &[usize])) {
        let mut objects = self.objects.lock().unwrap();
        let object = objects.get_mut(key).unwrap();
        let mut bytes = object.to_vec();
        let index = SegmentInfo::parse(&bytes).unwrap().index.unwrap();
        let offsets: Vec<usize> = index.iter().map(|entry| entry.offset as usize).collect();
        spoil(&mut bytes, &offsets);
        *object = bytes.into();
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    fn count(&self, request: String) {
        self.requests.lock().unwrap().push(request);
    }
}

#[async_trait]
impl SegmentStore for MemoryStore {
    async fn list(&self, prefix: &str, after: &str) -> Result<Page, StoreError> {
        self.count(format!("LIST {prefix}"));
        tokio::task::yield_now().await;
        let size = self.page.load(Ordering::SeqCst).max(1);
        let objects = self.objects.lock().unwrap();
        let fits = objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
        let mut found: Vec<Listed> = fits
            .take(size + 1)
            .map(|(key, bytes)| Listed {
                key: key.clone(),
                bytes: bytes.len() as u64,
            })
            .collect();
        let more = found.len() > size;
        found.truncate(size);
        drop(objects);
        if let Some(spool) = self.race.lock().unwrap().as_ref() {
            upload(spool, self);
        }
        Ok(Page {
            objects: found,
            more,
        })
    }

    async fn get(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.count(format!("GET {}..{}", range.start, range.end));
        tokio::task::yield_now().await;
        assert!(
            range.end - range.start <= 8 * 1024 * 1024,
            "an unbounded read: {range:?}"
        );
        if self.failing.lock().unwrap().iter().any(|bad| bad == key) {
            return Err(StoreError::Unavailable("Input/output error".to_owned()));
        }
        let objects = self.objects.lock().unwrap();
        let object = objects
            .get(key)
            .ok_or_else(|| StoreError::Missing(key.to_owned()))?;
        let end = (range.end as usize).min(object.len());
        Ok(object.slice((range.start as usize).min(end)..end))
    }

    async fn head(&self, key: &str) -> Result<u64, StoreError> {
        self.count("HEAD".to_owned());
        let objects = self.objects.lock().unwrap();
        objects
            .get(key)
            .map(|object| object.len() as u64)
            .ok_or_else(|| StoreError::Missing(key.to_owned()))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.objects.lock().unwrap().remove(key);
        Ok(())
    }

    async fn copy(&self, _: &str, _: &str) -> Result<(), StoreError> {
        unreachable!("recordings are only read")
    }
}

/// A spool in memory.
#[derive(Default)]
pub(crate) struct MemorySpool {
    pub(crate) segments: Mutex<Vec<(OpenSegment, Vec<u8>)>>,
    /// Sealed files have left for the store, and are still listed.
    pub(crate) left: AtomicBool,
    pub(crate) gaps: Mutex<Vec<GapKey>>,
}

#[async_trait]
impl OpenSegments for MemorySpool {
    fn of(&self, _: &CameraId, tier: Tier) -> (Vec<OpenSegment>, Vec<GapKey>) {
        let segments = self.segments.lock().unwrap();
        let of_tier = segments
            .iter()
            .filter(|(open, _)| open.key.place.tier == tier);
        let gaps = self.gaps.lock().unwrap();
        let gaps = gaps.iter().filter(|gap| gap.place.tier == tier);
        (
            of_tier.map(|(open, _)| open.clone()).collect(),
            gaps.cloned().collect(),
        )
    }

    async fn read(&self, segment: &OpenSegment, range: Range<u64>) -> Result<Bytes, StoreError> {
        let segments = self.segments.lock().unwrap();
        let same = |open: &OpenSegment| {
            (open.key.take, open.key.sequence) == (segment.key.take, segment.key.sequence)
        };
        let left = self.left.load(Ordering::SeqCst);
        let (_, bytes) = segments
            .iter()
            .find(|(open, _)| same(open) && !(left && open.held == Held::Spool))
            .ok_or_else(|| StoreError::Missing(segment.key.to_string()))?;
        let end = (range.end as usize).min(bytes.len());
        Ok(Bytes::copy_from_slice(
            &bytes[(range.start as usize).min(end)..end],
        ))
    }
}

pub(crate) struct World {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) spool: Arc<MemorySpool>,
    pub(crate) clock: SimulatedClock,
    pub(crate) archive: Archive,
}

impl World {
    pub(crate) fn new(now: i64) -> Self {
        let store = Arc::new(MemoryStore::default());
        store.page.store(1000, Ordering::SeqCst);
        let spool = Arc::new(MemorySpool::default());
        let clock = SimulatedClock::new(now);
        let kept = |_: &CameraId, now: Timestamp| Kept {
            classes: vec![Retention::Days(14)],
            expired_before: now - Duration::from_secs(14 * 24 * 3600),
        };
        let archive = Archive::new(store.clone(), spool.clone(), kept, Arc::new(clock.clone()));
        Self {
            store,
            spool,
            clock,
            archive,
        }
    }

    pub(crate) fn gap(&self, from: i64, to: i64, cause: Cause) {
        let key = GapKey {
            place: place(),
            start: at(from),
            duration: Duration::from_millis((to - from) as u64),
            generation: Generation(1),
            cause,
        };
        self.store.put(&key, "{}");
    }
}

pub(crate) fn place() -> Place {
    Place {
        camera: camera(),
        retention: Retention::Days(14),
        tier: Tier::Full,
    }
}

/// A recorder of one take: one fragment is one GOP of one second with [`FRAMES`] numbered pictures.
pub(crate) struct Take {
    pub(crate) id: u32,
    pub(crate) generation: u64,
    pub(crate) init: Init,
    pub(crate) sequence: u32,
    /// Fragments so far, over all segments of the take.
    pub(crate) count: u32,
    /// How large a picture is.
    pub(crate) size: usize,
    open: Option<(Head, Vec<u8>, Vec<FragmentEntry>, i64)>,
}

impl Take {
    pub(crate) fn new(id: u32, generation: u64, init: Init) -> Self {
        Self {
            id,
            generation,
            init,
            sequence: 0,
            count: 0,
            size: 60,
            open: None,
        }
    }

    /// Records one GOP that began at `wall`; the first picture's number is `first`.
    pub(crate) fn record(&mut self, wall: i64, first: u32) {
        let time = u64::from(self.count) * 90_000 + 450_000;
        let size = self.size;
        let sample = |n: u32| {
            let mut data = ((size - 4) as u32).to_be_bytes().to_vec();
            data.push(if n == 0 { 0x65 } else { 0x41 });
            data.extend((first + n).to_be_bytes());
            data.resize(size, 0xaa);
            Sample {
                data: data.into(),
                duration: TICKS,
                composition_offset: 0,
                sync: n == 0,
            }
        };
        let run = Run {
            track_id: 1,
            decode_time: time,
            samples: (0..FRAMES).map(sample).collect(),
        };
        let fragment: Fragment = self
            .init
            .fragment(self.count + 1, wall * 1000, &[run])
            .unwrap();
        self.count += 1;
        let (_, file, entries, _) = self.open.get_or_insert_with(|| {
            let (head, bytes) = self.init.head(time, RESERVED);
            (head, bytes.to_vec(), Vec::new(), wall)
        });
        entries.push(FragmentEntry {
            offset: file.len() as u64,
            ..fragment.entry
        });
        file.extend_from_slice(&fragment.bytes);
    }

    fn key(&self, start: i64, fragments: usize) -> SegmentKey {
        SegmentKey {
            place: place(),
            start: at(start),
            duration: Duration::from_secs(fragments as u64),
            generation: Generation(self.generation),
            take: TakeId(self.id),
            sequence: self.sequence,
            init: InitHash(self.init.hash().0),
        }
    }

    /// Shows in the spool what is synced of the open segment.
    pub(crate) fn sync(&self, spool: &MemorySpool) {
        let Some((_, file, entries, start)) = &self.open else {
            return;
        };
        let open = OpenSegment {
            key: self.key(*start, entries.len()),
            held: Held::Open,
            bytes: file.len() as u64,
        };
        self.replace(spool, (open, file.clone()));
    }

    fn replace(&self, spool: &MemorySpool, entry: (OpenSegment, Vec<u8>)) {
        let mut segments = spool.segments.lock().unwrap();
        let same = |open: &OpenSegment| {
            (open.key.take, open.key.sequence) == (TakeId(self.id), self.sequence)
        };
        match segments.iter_mut().find(|(open, _)| same(open)) {
            Some(known) => *known = entry,
            None => segments.push(entry),
        }
    }

    /// Seals the open segment, whose clock turns out to be `shift` ms off, and gives key and bytes.
    pub(crate) fn seal(&mut self, shift: i64) -> (SegmentKey, Vec<u8>) {
        let (head, mut file, entries, start) = self.open.take().expect("something was recorded");
        let anchor = Anchor {
            unix_micros: (start + shift) * 1000,
            media_time: entries[0].media_time,
        };
        let seal = Seal {
            fragments: &entries,
            anchor: (shift != 0).then_some(anchor),
            ..Seal::default()
        };
        for patch in head.seal(&seal) {
            let at = patch.offset as usize;
            file[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
        }
        let key = self.key(start + shift, entries.len());
        self.sequence += 1;
        (key, file)
    }

    /// Seals into the spool.
    pub(crate) fn seal_into(&mut self, spool: &MemorySpool, shift: i64) {
        let (key, file) = self.seal(shift);
        let sealed = OpenSegment {
            key,
            held: Held::Spool,
            bytes: file.len() as u64,
        };
        self.sequence -= 1;
        self.replace(spool, (sealed, file));
        self.sequence += 1;
    }
}

/// The oldest sealed segment goes from the spool to the store.
pub(crate) fn upload(spool: &MemorySpool, store: &MemoryStore) {
    let mut segments = spool.segments.lock().unwrap();
    if let Some(index) = segments
        .iter()
        .position(|(open, _)| open.held == Held::Spool)
    {
        let (open, bytes) = segments.remove(index);
        store.put(&open.key, bytes);
    }
}

/// The numbers of the pictures in fragments, in order.
pub(crate) fn numbers(bytes: &[u8]) -> Vec<u32> {
    let mut numbers = Vec::new();
    for found in walk(bytes) {
        let found = found.unwrap();
        if &found.kind != b"mdat" {
            continue;
        }
        let mut rest = found.body;
        while let Some((length, nal)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            numbers.push(u32::from_be_bytes(nal[1..5].try_into().unwrap()));
            rest = &nal[length..];
        }
    }
    numbers
}
