//! Sealing: the patches that turn an appended file into a finished segment.
//!
//! A pure function of head and index, so that a recorder at close and recovery after a crash do the same. Applying the
//! patches twice, or again after half of them, gives the same file. The reserved area is one patch.

use bytes::Bytes;

use crate::boxes::BoxWriter;
use crate::fragment::{FragmentEntry, PRFT_NTP};
use crate::head::Head;
use crate::recover::MAX_FRAGMENTS;
use crate::wall::{Anchor, NtpTime};

pub(crate) const HOLES: [u8; 16] = *b"moorline.holes\0\x01";
pub(crate) const PREVIOUS: [u8; 16] = *b"moorline.chain\0\x01";

/// The longest text of a cause; longer ones are cut.
pub const MAX_CAUSE_LEN: usize = 32;

/// A loss of less than 1 s, or inside a segment: noted in the segment, not a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// Where something is missing.
    pub track_id: u32,
    /// Take-relative start, in the track's timescale.
    pub media_time: u64,
    /// Length in the track's timescale; 0 if only packets inside a frame were lost.
    pub duration: u64,
    /// RTP packets that did not arrive.
    pub packets: u32,
    /// Who lost them, from the caller's closed list; at most [`MAX_CAUSE_LEN`] bytes.
    pub cause: String,
}

/// What is known when a segment is closed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seal<'a> {
    /// All fragments with their offsets, in order.
    pub fragments: &'a [FragmentEntry],
    /// Rewrites every `prft` to this anchor: for the first segment of a take, whose anchor is fixed when it is sealed.
    pub anchor: Option<Anchor>,
    /// What is missing inside. As many as fit are written, the rest is counted.
    pub holes: &'a [Hole],
    /// SHA-256 of the object before, which makes the archive tamper-evident.
    pub previous: Option<[u8; 32]>,
}

/// Bytes to be written over the file at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// From the start of the file.
    pub offset: u64,
    /// What to write there.
    pub bytes: Bytes,
}

impl Head {
    /// The patches that seal a segment: `elst` set to the first fragment's time, `sidx`, holes and digest in the reserved
    /// area, and with an anchor every `prft`. None of them changes the file's length or the init hash.
    pub fn seal(&self, seal: &Seal<'_>) -> Vec<Patch> {
        let start = seal
            .fragments
            .first()
            .map_or(self.init().start(), |first| first.media_time);
        let mut patches: Vec<Patch> = self
            .init()
            .edits_for(start)
            .map(|(offset, time)| Patch {
                offset: offset as u64,
                bytes: Bytes::copy_from_slice(&time),
            })
            .collect();
        patches.push(Patch {
            offset: self.reserved_at() as u64,
            bytes: self.reserved(seal),
        });
        if let Some(anchor) = seal.anchor {
            let timescale = self.init().reference().timescale;
            patches.extend(seal.fragments.iter().map(|fragment| {
                let wall = NtpTime::from_unix_micros(anchor.at(fragment.media_time, timescale));
                let bytes = Bytes::copy_from_slice(&wall.0.to_be_bytes());
                Patch {
                    offset: fragment.offset.saturating_add(PRFT_NTP as u64),
                    bytes,
                }
            }));
        }
        patches
    }

    /// `sidx [uuid holes] [uuid previous] [free]`, exactly as long as the reserved area.
    fn reserved(&self, seal: &Seal<'_>) -> Bytes {
        const FREE: usize = 8;
        const PREVIOUS_LEN: usize = 8 + 16 + 32;
        const SIDX_LEN: usize = 40;
        let reserved = self.len() - self.reserved_at();
        let previous_len = if seal.previous.is_some() {
            PREVIOUS_LEN
        } else {
            0
        };
        let room = reserved.saturating_sub(FREE + SIDX_LEN + previous_len);
        // holes get what the whole index leaves, but half of the room in any case: the index can be made coarser
        let index_len = seal.fragments.len().saturating_mul(REFERENCE_LEN);
        let holes = holes_box(seal.holes, room.saturating_sub(index_len).max(room / 2));
        let references = references(
            seal.fragments,
            (room - holes.len().min(room)) / REFERENCE_LEN,
        );

        let mut w = BoxWriter::with_capacity(reserved);
        if !references.is_empty() {
            let sidx_len = SIDX_LEN + references.len() * REFERENCE_LEN;
            let first_offset = reserved.saturating_sub(sidx_len);
            self.write_sidx(&mut w, &references, first_offset as u64);
        }
        w.bytes(&holes);
        if let Some(digest) = seal.previous {
            w.boxed(b"uuid", |w| {
                w.bytes(&PREVIOUS);
                w.bytes(&digest);
            });
        }
        let rest = reserved.saturating_sub(w.len() + FREE);
        w.boxed(b"free", |w| w.zeros(rest));
        Bytes::from(w.into_inner())
    }

    /// ISO/IEC 14496-12 §8.16.3, always version 1. Times are those of `tfdt`, before the edit list: ffmpeg reads them so.
    fn write_sidx(&self, w: &mut BoxWriter, references: &[FragmentEntry], first_offset: u64) {
        let reference = self.init().reference();
        w.full(b"sidx", 1, 0, |w| {
            w.u32(reference.id);
            w.u32(reference.timescale);
            w.u64(references.first().map_or(0, |first| first.media_time));
            w.u64(first_offset);
            w.u16(0);
            w.u16(references.len() as u16); // at most MAX_FRAGMENTS
            for (index, entry) in references.iter().enumerate() {
                // up to the next one, so that the sum of durations stays true to tfdt where time jumps
                let end = references
                    .get(index + 1)
                    .map_or(entry.end(), |next| next.media_time);
                w.u32(entry.len & 0x7fff_ffff);
                w.u32(u32::try_from(end.saturating_sub(entry.media_time)).unwrap_or(u32::MAX));
                w.u32(if entry.starts_with_sync {
                    0x9000_0000
                } else {
                    0
                }); // SAP type 1, or none
            }
        });
    }
}

const REFERENCE_LEN: usize = 12;

/// At most `room` references to all fragments: where there are more, fragments that cannot be sought to are joined to the
/// one before, and if that does not do, equal numbers of neighbours.
fn references(fragments: &[FragmentEntry], room: usize) -> Vec<FragmentEntry> {
    let room = room.min(MAX_FRAGMENTS);
    if fragments.len() <= room {
        return fragments.to_vec();
    }
    if room == 0 {
        return Vec::new();
    }
    let joined = join(fragments, |index, entry| {
        index > 0 && !entry.starts_with_sync
    });
    if joined.len() <= room {
        return joined;
    }
    let each = joined.len().div_ceil(room);
    join(&joined, |index, _| index % each != 0)
}

fn join(
    fragments: &[FragmentEntry],
    to_previous: impl Fn(usize, &FragmentEntry) -> bool,
) -> Vec<FragmentEntry> {
    let mut out: Vec<FragmentEntry> = Vec::with_capacity(fragments.len());
    for (index, entry) in fragments.iter().enumerate() {
        match out.last_mut() {
            Some(last) if to_previous(index, entry) => {
                last.len = last.len.saturating_add(entry.len);
                last.duration = entry.end().saturating_sub(last.media_time);
            }
            _ => out.push(*entry),
        }
    }
    out
}

/// Version 1 of our holes box: number written, number left out, then per hole
/// track u32, time u64, duration u64, packets u32, length of the cause u8, cause.
fn holes_box(holes: &[Hole], room: usize) -> Vec<u8> {
    const HEADER: usize = 8 + 16 + 4 + 4;
    if holes.is_empty() || room < HEADER {
        return Vec::new();
    }
    let mut entries = BoxWriter::default();
    let mut written = 0u32;
    for hole in holes {
        let cause = cause(&hole.cause);
        if HEADER + entries.len() + 25 + cause.len() > room {
            break;
        }
        entries.u32(hole.track_id);
        entries.u64(hole.media_time);
        entries.u64(hole.duration);
        entries.u32(hole.packets);
        entries.u8(cause.len() as u8); // at most MAX_CAUSE_LEN
        entries.bytes(cause.as_bytes());
        written += 1;
    }
    let entries = entries.into_inner();
    let mut w = BoxWriter::with_capacity(HEADER + entries.len());
    w.boxed(b"uuid", |w| {
        w.bytes(&HOLES);
        w.u32(written);
        w.u32(
            u32::try_from(holes.len())
                .unwrap_or(u32::MAX)
                .saturating_sub(written),
        );
        w.bytes(&entries);
    });
    w.into_inner()
}

fn cause(text: &str) -> &str {
    let end = (0..=MAX_CAUSE_LEN.min(text.len()))
        .rev()
        .find(|&end| text.is_char_boundary(end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}
