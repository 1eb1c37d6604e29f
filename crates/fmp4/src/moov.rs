//! `moov` (ISO/IEC 14496-12 §8.2.1): how it is printed, and what is read of a track.
//!
//! Nothing in it depends on when it is printed: its hash names it. Only the `elst` differs between segments.

use crate::boxes::{BoxWriter, need};
use crate::codec::{Media, SampleEntry};
use crate::error::ReadError;
use crate::init::Track;
use crate::reader::Reader;

/// Where an `elst` says which media time is the segment's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) timescale: u32,
    /// Offset of the 64-bit media_time.
    pub(crate) offset: usize,
    /// As it was found; the kept bytes have 0.
    pub(crate) media_time: u64,
}

const MATRIX: [u32; 9] = [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000];

fn matrix(w: &mut BoxWriter) {
    MATRIX.iter().for_each(|&cell| w.u32(cell));
}

pub(crate) fn write_moov(w: &mut BoxWriter, tracks: &[Track], edits: &mut Vec<Edit>) {
    w.full(b"mvhd", 0, 0, |w| {
        w.zeros(8); // never a date: it would change the hash
        w.u32(1000);
        w.u32(0); // duration: in the fragments
        w.u32(0x0001_0000);
        w.u16(0x0100);
        w.zeros(10);
        matrix(w);
        w.zeros(24);
        w.u32(tracks.len() as u32 + 1);
    });
    for track in tracks {
        w.boxed(b"trak", |w| write_trak(w, track, edits));
    }
    w.boxed(b"mvex", |w| {
        for track in tracks {
            w.full(b"trex", 0, 0, |w| {
                w.u32(track.id);
                w.u32(1);
                w.zeros(12);
            });
        }
    });
}

fn write_trak(w: &mut BoxWriter, track: &Track, edits: &mut Vec<Edit>) {
    let video = track.entry.media() == Media::Video;
    w.full(b"tkhd", 0, 3, |w| {
        w.zeros(8);
        w.u32(track.id);
        w.zeros(8 + 8);
        w.u16(0);
        w.u16(if video { 0 } else { 1 }); // alternate group
        w.u16(if video { 0 } else { 0x0100 }); // volume
        w.u16(0);
        matrix(w);
        let (width, height) = track.entry.dimensions().unwrap_or((0, 0));
        w.u32(u32::from(width) << 16);
        w.u32(u32::from(height) << 16);
    });
    w.boxed(b"edts", |w| {
        w.full(b"elst", 1, 0, |w| {
            w.u32(1);
            w.u64(0); // to the end, which fragments do not know
            edits.push(Edit {
                timescale: track.timescale,
                offset: w.len(),
                media_time: 0,
            });
            w.u64(0);
            w.u32(0x0001_0000);
        });
    });
    w.boxed(b"mdia", |w| {
        w.full(b"mdhd", 0, 0, |w| {
            w.zeros(8);
            w.u32(track.timescale);
            w.u32(0);
            w.u16(0x55c4); // und
            w.u16(0);
        });
        w.full(b"hdlr", 0, 0, |w| {
            w.u32(0);
            w.bytes(if video { b"vide" } else { b"soun" });
            w.zeros(12);
            w.bytes(if video { b"video\0" } else { b"audio\0" });
        });
        w.boxed(b"minf", |w| {
            if video {
                w.full(b"vmhd", 0, 1, |w| w.zeros(8));
            } else {
                w.full(b"smhd", 0, 0, |w| w.zeros(4));
            }
            w.boxed(b"dinf", |w| {
                w.full(b"dref", 0, 0, |w| {
                    w.u32(1);
                    w.full(b"url ", 0, 1, |_| {});
                });
            });
            w.boxed(b"stbl", |w| {
                w.full(b"stsd", 0, 0, |w| {
                    w.u32(1);
                    w.bytes(track.entry.as_box());
                });
                w.full(b"stts", 0, 0, |w| w.u32(0));
                w.full(b"stsc", 0, 0, |w| w.u32(0));
                w.full(b"stsz", 0, 0, |w| w.zeros(8));
                w.full(b"stco", 0, 0, |w| w.u32(0));
            });
        });
    });
}

/// Reads a `trak` whose body begins at `at` in the file.
pub(crate) fn read_trak(body: &[u8], at: usize) -> Result<(Track, Edit), ReadError> {
    let tkhd = need(body, b"tkhd", "tkhd")?;
    let mut r = Reader::new(tkhd.body, "tkhd");
    let (version, _) = r.full()?;
    r.take(if version == 1 { 16 } else { 8 })?;
    let id = r.u32()?;

    let edts = need(body, b"edts", "edts")?;
    let elst = need(edts.body, b"elst", "elst")?;
    let mut r = Reader::new(elst.body, "elst");
    if r.full()?.0 != 1 || r.u32()? != 1 {
        return Err(r.malformed("it is not of version 1 with one entry"));
    }
    r.u64()?;
    let offset = at + edts.body_offset() + elst.body_offset() + elst.body.len() - r.remaining();
    let media_time = r.u64()?;
    if media_time > i64::MAX as u64 {
        return Err(r.malformed("the edit is empty"));
    }
    r.u32()?;

    let mdia = need(body, b"mdia", "mdia")?;
    let mdhd = need(mdia.body, b"mdhd", "mdhd")?;
    let mut r = Reader::new(mdhd.body, "mdhd");
    let (version, _) = r.full()?;
    r.take(if version == 1 { 16 } else { 8 })?;
    let timescale = r.u32()?;
    if timescale == 0 {
        return Err(r.malformed("the timescale is 0"));
    }

    let minf = need(mdia.body, b"minf", "minf")?;
    let stbl = need(minf.body, b"stbl", "stbl")?;
    let stsd = need(stbl.body, b"stsd", "stsd")?;
    let mut r = Reader::new(stsd.body, "stsd");
    r.full()?;
    if r.u32()? != 1 {
        return Err(r.malformed("there is not exactly one sample entry"));
    }
    let entry = SampleEntry::from_box(r.take(r.remaining())?)?;
    Ok((
        Track {
            id,
            timescale,
            entry,
        },
        Edit {
            timescale,
            offset,
            media_time,
        },
    ))
}
