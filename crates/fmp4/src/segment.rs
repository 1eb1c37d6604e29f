//! What the first 64 KB of a sealed segment tell: init, index, holes, its place in the chain, its start.

use crate::boxes::walk;
use crate::error::ReadError;
use crate::fragment::PRFT_LEN;
use crate::head::Head;
use crate::parse::read_prft;
use crate::reader::Reader;
use crate::seal::{HOLES, Hole, MAX_CAUSE_LEN, PREVIOUS};
use crate::wall::{Anchor, NtpTime};

/// A range of the segment that can be fetched for itself: one fragment, or several where the index was made coarser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// From the start of the object.
    pub offset: u64,
    /// In bytes.
    pub len: u32,
    /// Take-relative, in the reference track's timescale.
    pub media_time: u64,
    /// Up to the next entry.
    pub duration: u32,
    /// Whether decoding can begin here.
    pub starts_with_sync: bool,
}

/// A sealed segment's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its init and layout.
    pub head: Head,
    /// The `sidx`; `None` while the segment is open.
    pub index: Option<Vec<IndexEntry>>,
    /// The losses inside.
    pub holes: Vec<Hole>,
    /// Losses for which the head had no room.
    pub holes_left_out: u32,
    /// SHA-256 of the object before.
    pub previous: Option<[u8; 32]>,
    /// The first fragment's `prft`, if the given bytes reach so far.
    pub anchor: Option<Anchor>,
}

impl SegmentInfo {
    /// Reads the head of a segment from its first bytes; 64 KB are enough for what Moorline writes.
    ///
    /// # Errors
    /// `Truncated` if `bytes` end before the first fragment; others if a box of the head is not of our making.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let head = Head::parse(bytes)?;
        let reserved = bytes
            .get(head.reserved_at()..head.len())
            .unwrap_or_default();
        let (mut index, mut holes, mut holes_left_out, mut previous) = (None, Vec::new(), 0, None);
        for found in walk(reserved) {
            let found = found?;
            match &found.kind {
                b"sidx" => {
                    index = Some(read_sidx(
                        &head,
                        found.body,
                        (head.reserved_at() + found.end()) as u64,
                    )?)
                }
                b"uuid" => {
                    let mut r = Reader::new(found.body, "uuid box");
                    match r.array()? {
                        HOLES => (holes, holes_left_out) = read_holes(r.take(r.remaining())?)?,
                        PREVIOUS => previous = Some(r.array()?),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        let anchor = bytes
            .get(head.len()..head.len() + PRFT_LEN)
            .and_then(first_anchor);
        Ok(Self {
            head,
            index,
            holes,
            holes_left_out,
            previous,
            anchor,
        })
    }
}

fn first_anchor(prft: &[u8]) -> Option<Anchor> {
    let prft = walk(prft)
        .next()?
        .ok()
        .filter(|found| &found.kind == b"prft")?;
    let (_, wall, media_time): (u32, NtpTime, u64) = read_prft(prft.body).ok()?;
    Some(Anchor {
        unix_micros: wall.unix_micros(),
        media_time,
    })
}

/// `end` is the offset of the first byte behind the box, from which `first_offset` counts.
fn read_sidx(head: &Head, body: &[u8], end: u64) -> Result<Vec<IndexEntry>, ReadError> {
    let mut r = Reader::new(body, "sidx");
    let (version, _) = r.full()?;
    let (track, timescale) = (r.u32()?, r.u32()?);
    let reference = head.init().reference();
    if track != reference.id || timescale != reference.timescale {
        return Err(r.malformed("it indexes another track"));
    }
    let (mut media_time, first_offset) = match version {
        0 => (u64::from(r.u32()?), u64::from(r.u32()?)),
        _ => (r.u64()?, r.u64()?),
    };
    let outside = r.malformed("an entry lies outside any file");
    let mut offset = end.checked_add(first_offset).ok_or(outside)?;
    r.u16()?;
    let count = usize::from(r.u16()?);
    if count * 12 > r.remaining() {
        return Err(ReadError::Truncated { what: "sidx" });
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let (len, duration, access) = (r.u32()?, r.u32()?, r.u32()?);
        if len >> 31 != 0 {
            return Err(r.malformed("it refers to another index"));
        }
        entries.push(IndexEntry {
            offset,
            len,
            media_time,
            duration,
            starts_with_sync: access >> 31 != 0,
        });
        offset = offset.checked_add(u64::from(len)).ok_or(outside)?;
        media_time = media_time.checked_add(u64::from(duration)).ok_or(outside)?;
    }
    Ok(entries)
}

fn read_holes(body: &[u8]) -> Result<(Vec<Hole>, u32), ReadError> {
    let mut r = Reader::new(body, "holes box");
    let (count, left_out) = (r.u32()?, r.u32()?);
    let mut holes = Vec::new(); // grows with what is really there, whatever `count` says
    for _ in 0..count {
        let (track_id, media_time, duration, packets) = (r.u32()?, r.u64()?, r.u64()?, r.u32()?);
        let len = usize::from(r.u8()?);
        let cause = std::str::from_utf8(r.take(len)?)
            .ok()
            .filter(|_| len <= MAX_CAUSE_LEN);
        let cause = cause
            .ok_or_else(|| r.malformed("a cause is no short text"))?
            .to_owned();
        holes.push(Hole {
            track_id,
            media_time,
            duration,
            packets,
            cause,
        });
    }
    Ok((holes, left_out))
}
