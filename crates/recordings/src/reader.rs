//! One segment, fragment by fragment, in bounded reads.

use std::time::Duration;

use bytes::Bytes;
use moorline_core::Timestamp;
use moorline_core::coverage::Held;
use moorline_core::port::{RecordingsError, StoreError};
use moorline_core::segment::SegmentKey;
use moorline_fmp4::boxes::BoxHeader;
use moorline_fmp4::{
    Anchor, FragmentEntry, Init, MAX_FRAGMENT_LEN, MAX_HEAD_LEN, ParsedFragment, ReadError,
    SegmentInfo,
};

use crate::listing::View;
use crate::pieces::Begin;
use crate::source::Source;

/// Enough for the head of every segment of ours.
const HEAD: u64 = 64 * 1024;
/// How much is read ahead.
const AHEAD: u64 = 2 * 1024 * 1024;
/// The greatest single read. A fragment that is larger comes in several: it has to be in memory whole anyway.
const MOST: u64 = 8 * 1024 * 1024;

/// A fragment and what its index entry would say.
#[derive(Debug, Clone)]
pub(crate) struct Media {
    pub(crate) bytes: Bytes,
    pub(crate) entry: FragmentEntry,
}

impl Media {
    /// The wall clock of its first picture.
    pub(crate) fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.entry.wall.unix_millis())
    }

    /// The wall clock behind its last picture.
    pub(crate) fn end(&self, timescale: u32) -> Timestamp {
        let millis = self.entry.duration.saturating_mul(1000) / u64::from(timescale.max(1));
        self.wall() + Duration::from_millis(millis)
    }
}

/// A segment that is read. Every call may be cancelled: what was not returned comes again.
#[derive(Debug)]
pub(crate) struct Reader {
    source: Source,
    info: SegmentInfo,
    head: Bytes,
    /// Where the next fragment begins, and what was read from there on.
    offset: u64,
    buffer: Bytes,
    /// How much the next read takes at least, if somebody knows better than [`AHEAD`].
    first: Option<u64>,
    /// Where the object ended.
    end: Option<u64>,
    /// What comes before the next key frame cannot be shown: something before it is missing.
    skipping: bool,
}

impl Reader {
    /// Opens a segment and goes to its beginning. `None`: it is nowhere any more, or nothing of it can be read yet.
    pub(crate) async fn open(
        view: &View,
        key: &SegmentKey,
        held: Held,
        begin: Begin,
    ) -> Result<Option<Self>, RecordingsError> {
        let Some(mut source) = Source::find(view, key, held).await? else {
            return Ok(None);
        };
        let mut wanted = HEAD;
        loop {
            let up_to = source.limit().map_or(wanted, |limit| limit.min(wanted));
            let Some(bytes) = source.read(0..up_to).await? else {
                return Ok(None);
            };
            match SegmentInfo::parse(&bytes) {
                Ok(info) => {
                    let mut reader = Self::over(source, info, bytes)?;
                    reader.seek(begin).await?;
                    return Ok(Some(reader));
                }
                Err(ReadError::Truncated { .. })
                    if bytes.len() as u64 == wanted && wanted == HEAD =>
                {
                    wanted = MAX_HEAD_LEN as u64;
                }
                Err(ReadError::Truncated { .. }) if !source.is_sealed() => return Ok(None),
                Err(why) => return Err(damaged(source.key(), why)),
            }
        }
    }

    fn over(source: Source, info: SegmentInfo, bytes: Bytes) -> Result<Self, RecordingsError> {
        if info.head.init().hash().0 != source.key().init.0 {
            return Err(damaged(
                source.key(),
                "its init is not the one that its key names",
            ));
        }
        let at = info.head.len().min(bytes.len());
        Ok(Self {
            offset: at as u64,
            head: bytes.slice(..at),
            buffer: bytes.slice(at..),
            source,
            info,
            first: None,
            end: None,
            skipping: false,
        })
    }

    pub(crate) fn key(&self) -> &SegmentKey {
        self.source.key()
    }

    pub(crate) fn init(&self) -> &Init {
        self.info.head.init()
    }

    /// The segment's head, as a joiner wants it.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Whether nothing will follow the last fragment.
    pub(crate) fn is_sealed(&self) -> bool {
        self.source.is_sealed()
    }

    /// How many bytes may be read; `None`: to the end of the object.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.source.limit()
    }

    /// Looks whether more was appended, or it was sealed; `false` if it is nowhere any more.
    pub(crate) async fn refresh(&mut self) -> Result<bool, StoreError> {
        let is_there = self.source.refresh().await?;
        self.end = None;
        Ok(is_there)
    }

    /// Begins at the next key frame.
    pub(crate) fn skip_to_key_frame(&mut self) {
        self.skipping = true;
    }

    /// The next fragment; `None` at the end of what may be read. Damage is told once: the next call goes on behind it, at the next key
    /// frame that can be read.
    pub(crate) async fn next(&mut self) -> Result<Option<Media>, RecordingsError> {
        loop {
            match self.step().await {
                Ok(Some(media)) if self.skipping && !media.entry.starts_with_sync => {}
                Ok(media) => {
                    self.skipping &= media.is_none();
                    return Ok(media);
                }
                Err(damaged @ RecordingsError::Damaged { .. }) => {
                    self.pass();
                    if !std::mem::replace(&mut self.skipping, true) {
                        return Err(damaged);
                    }
                }
                Err(cause) => return Err(cause),
            }
        }
    }

    /// Goes behind a damaged fragment: to the next one that the index knows, or behind its boxes; if neither tells where that is, to the end.
    fn pass(&mut self) {
        let mut index = self.info.index.iter().flatten();
        let indexed = index.find(|entry| entry.offset > self.offset);
        let behind = match extent(&self.buffer) {
            Ok(Extent::Whole(length)) => Some(self.offset + length),
            _ => None,
        };
        match indexed.map(|entry| entry.offset).or(behind) {
            Some(offset) => self.go_to(offset),
            None => (self.end, self.buffer) = (Some(self.offset), Bytes::new()),
        }
    }

    async fn step(&mut self) -> Result<Option<Media>, RecordingsError> {
        loop {
            let known = extent(&self.buffer).map_err(|why| damaged(self.source.key(), why))?;
            let held = self.buffer.len() as u64;
            if let Extent::Whole(length) = known
                && length <= held
            {
                return self.take(length as usize).map(Some);
            }
            let from = self.offset + held;
            let limit = self.end.or(self.source.limit());
            if limit.is_some_and(|limit| from >= limit) {
                if held > 0 && self.is_sealed() {
                    return Err(damaged(self.source.key(), "its last fragment is cut off"));
                }
                return Ok(None);
            }
            let (Extent::Whole(length) | Extent::AtLeast(length)) = known;
            let least = length.saturating_sub(held);
            let wanted = least.max(self.first.unwrap_or(AHEAD)).min(MOST);
            let to = from.saturating_add(wanted).min(limit.unwrap_or(u64::MAX));
            let Some(bytes) = self.source.read(from..to).await? else {
                // Nor is any other part of it there.
                (self.info.index, self.buffer) = (None, Bytes::new());
                return Err(damaged(self.source.key(), "it is gone"));
            };
            self.first = None;
            if (bytes.len() as u64) < to - from {
                self.end = Some(from + bytes.len() as u64);
            }
            self.buffer = joined(&self.buffer, bytes);
        }
    }

    fn take(&mut self, length: usize) -> Result<Media, RecordingsError> {
        let bytes = self.buffer.slice(..length);
        let parsed = ParsedFragment::parse(self.info.head.init(), &bytes);
        let entry = parsed.map_err(|why| damaged(self.source.key(), why))?.entry;
        self.go_to(self.offset + length as u64);
        Ok(Media { bytes, entry })
    }

    /// Keeps of the buffer what follows `offset`.
    fn go_to(&mut self, offset: u64) {
        let skipped = offset
            .checked_sub(self.offset)
            .and_then(|skipped| usize::try_from(skipped).ok());
        self.buffer = match skipped.filter(|skipped| *skipped <= self.buffer.len()) {
            Some(skipped) => self.buffer.slice(skipped..),
            None => Bytes::new(),
        };
        self.offset = offset;
    }

    async fn seek(&mut self, begin: Begin) -> Result<(), RecordingsError> {
        if begin == Begin::Start {
            return Ok(());
        }
        let mut choice = Choice {
            begin,
            found: None,
            passed: false,
        };
        match (&self.info.index, self.info.anchor) {
            (Some(index), Some(anchor)) => {
                let timescale = self.init().reference().timescale;
                for entry in index {
                    let wall = wall_at(&anchor, entry.media_time, timescale);
                    choice.offer(wall, entry.starts_with_sync, entry.offset, entry.len);
                }
                // Without a key frame to begin at nothing of it can be shown.
                let nowhere = (self.offset, 0);
                let (offset, length) = choice.found.unwrap_or(nowhere);
                self.go_to(offset);
                match choice.found {
                    Some(_) => self.first = Some(u64::from(length)),
                    None => (self.end, self.buffer) = (Some(self.offset), Bytes::new()),
                }
            }
            // An open segment has no index: its fragments tell themselves.
            _ => {
                while !choice.passed {
                    let at = self.offset;
                    let media = match self.step().await {
                        Ok(Some(media)) => media,
                        Ok(None) => break,
                        // Told when it is read.
                        Err(RecordingsError::Damaged { .. }) => {
                            self.pass();
                            continue;
                        }
                        Err(cause) => return Err(cause),
                    };
                    choice.offer(
                        media.wall(),
                        media.entry.starts_with_sync,
                        at,
                        media.entry.len,
                    );
                }
                if let Some((offset, _)) = choice.found {
                    self.go_to(offset);
                    self.end = None;
                }
            }
        }
        Ok(())
    }
}

/// Which fragment to begin at.
struct Choice {
    begin: Begin,
    found: Option<(u64, u32)>,
    /// Whether no later one can be better.
    passed: bool,
}

impl Choice {
    fn offer(&mut self, wall: Timestamp, sync: bool, offset: u64, length: u32) {
        if self.passed || !sync {
            return;
        }
        match self.begin {
            Begin::AtOrBefore(at) => {
                self.passed = wall > at;
                if !self.passed || self.found.is_none() {
                    self.found = Some((offset, length));
                }
            }
            Begin::AtOrAfter(at) if wall < at => {}
            Begin::Start | Begin::AtOrAfter(_) => {
                self.found = Some((offset, length));
                self.passed = true;
            }
        }
    }
}

fn wall_at(anchor: &Anchor, media_time: u64, timescale: u32) -> Timestamp {
    Timestamp::from_millis(anchor.at(media_time, timescale).div_euclid(1000))
}

/// How long the fragment at the front of a buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// So long, whether or not all of it is there.
    Whole(u64),
    /// At least so long: more has to be read to know.
    AtLeast(u64),
}

/// Adds up the boxes of a fragment up to and with its mdat.
fn extent(buffer: &[u8]) -> Result<Extent, ReadError> {
    let mut at = 0_u64;
    loop {
        let rest = usize::try_from(at)
            .ok()
            .and_then(|at| buffer.get(at..))
            .unwrap_or_default();
        let header = match BoxHeader::parse(rest) {
            Ok(header) => header,
            Err(ReadError::Truncated { .. }) => return Ok(Extent::AtLeast(at + 16)),
            Err(why) => return Err(why),
        };
        at = at.saturating_add(header.size);
        if at > MAX_FRAGMENT_LEN as u64 + 4096 {
            return Err(ReadError::TooLarge {
                what: "fragment",
                limit: MAX_FRAGMENT_LEN as u64,
            });
        }
        if &header.kind == b"mdat" {
            return Ok(Extent::Whole(at));
        }
    }
}

fn joined(held: &Bytes, more: Bytes) -> Bytes {
    if held.is_empty() {
        return more;
    }
    let mut both = Vec::with_capacity(held.len() + more.len());
    both.extend_from_slice(held);
    both.extend_from_slice(&more);
    both.into()
}

/// The error of a segment that is not what its key says.
pub(crate) fn damaged(key: &SegmentKey, why: impl std::fmt::Display) -> RecordingsError {
    RecordingsError::Damaged {
        key: key.to_string(),
        why: why.to_string(),
    }
}
