//! The init segment: `ftyp(iso6,cmfc) moov(mvhd, trak(…, elst)*, mvex)`, and the hash that names it.
//!
//! An [`Init`] is *take-wide*: its `elst` shifts nothing. A segment's own head is the same bytes with media_time set to the
//! segment's start, so that the single object plays from 0. The hash is taken over the take-wide form; so all segments of
//! a take that was not reconfigured share it, and equal hashes mean that their fragments may follow each other in one file.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::boxes::{BoxWriter, need, overwrite, walk};
use crate::codec::{Media, SampleEntry};
use crate::error::{ReadError, WriteError};
use crate::reader::Reader;
use crate::wall::rescale;

/// Tracks of one file, at most: S31 admits as many in a camera's SDP.
pub const MAX_TRACKS: usize = 8;

/// The largest init we read: eight sample entries of 64 KiB.
pub const MAX_INIT_LEN: usize = 1024 * 1024;

/// The first 3 bytes of the SHA-256 of the take-wide init: 6 hexadecimal digits in keys and the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InitHash(pub [u8; 3]);

impl fmt::Display for InitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.0;
        write!(f, "{a:02x}{b:02x}{c:02x}")
    }
}

impl FromStr for InitHash {
    type Err = ReadError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ERROR: ReadError = ReadError::Malformed {
            what: "init hash",
            why: "it is not 6 lower-case hex digits",
        };
        if text.len() != 6 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ERROR);
        }
        let value = u32::from_str_radix(text, 16).map_err(|_| ERROR)?;
        let [_, a, b, c] = value.to_be_bytes();
        Ok(Self([a, b, c]))
    }
}

/// One track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// From 1, in the order given to [`Init::new`].
    pub id: u32,
    /// Ticks per second of its media time, never 0. RTP's clock rate: 90,000 for video, the sampling rate for audio.
    pub timescale: u32,
    /// What it carries.
    pub entry: SampleEntry,
}

/// Where an `elst` says which media time is the segment's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edit {
    timescale: u32,
    /// Offset of the 64-bit media_time.
    offset: usize,
    /// As it was found; the kept bytes have 0.
    media_time: u64,
}

/// A take-wide init and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    tracks: Vec<Track>,
    edits: Vec<Edit>,
    bytes: Bytes,
    hash: InitHash,
}

impl Init {
    /// From timescale and sample entry of each track; the ids are 1, 2, …
    ///
    /// # Errors
    /// No or more than [`MAX_TRACKS`] tracks, or a timescale of 0.
    pub fn new(tracks: Vec<(u32, SampleEntry)>) -> Result<Self, WriteError> {
        if tracks.is_empty() || tracks.len() > MAX_TRACKS {
            return Err(WriteError::TrackCount(tracks.len()));
        }
        let tracks: Vec<Track> = (1u32..)
            .zip(tracks)
            .map(|(id, (timescale, entry))| Track {
                id,
                timescale,
                entry,
            })
            .collect();
        if let Some(track) = tracks.iter().find(|track| track.timescale == 0) {
            return Err(WriteError::Timescale(track.id));
        }
        let mut w = BoxWriter::with_capacity(2048);
        let mut edits = Vec::with_capacity(tracks.len());
        w.boxed(b"ftyp", |w| w.bytes(b"iso6\0\0\0\0iso6cmfc"));
        w.boxed(b"moov", |w| moov(w, &tracks, &mut edits));
        let bytes = Bytes::from(w.into_inner());
        Ok(Self {
            hash: hash(&bytes),
            tracks,
            edits,
            bytes,
        })
    }

    /// Reads `ftyp moov` at the start of a segment or of an init of ours; what follows is not looked at.
    ///
    /// # Errors
    /// If it is cut off, larger than [`MAX_INIT_LEN`], or not of our making: every track needs an `elst` of version 1
    /// with one entry, a `mdhd` and one known sample entry.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut boxes = walk(bytes);
        let ftyp = boxes
            .next()
            .ok_or(ReadError::Truncated { what: "ftyp" })??;
        if &ftyp.kind != b"ftyp" {
            return Err(ReadError::Missing { what: "ftyp" });
        }
        let moov = boxes
            .next()
            .ok_or(ReadError::Truncated { what: "moov" })??;
        if &moov.kind != b"moov" {
            return Err(ReadError::Missing { what: "moov" });
        }
        let len = moov.end();
        if len > MAX_INIT_LEN {
            return Err(ReadError::TooLarge {
                what: "moov",
                limit: MAX_INIT_LEN as u64,
            });
        }
        let (mut tracks, mut edits) = (Vec::new(), Vec::new());
        for child in walk(moov.body) {
            let child = child?;
            if &child.kind != b"trak" {
                continue;
            }
            if tracks.len() == MAX_TRACKS {
                return Err(ReadError::TooLarge {
                    what: "track list",
                    limit: MAX_TRACKS as u64,
                });
            }
            let (track, edit) = trak(child.body, moov.body_offset() + child.body_offset())?;
            if tracks.iter().any(|other: &Track| other.id == track.id) {
                return Err(ReadError::Malformed {
                    what: "moov",
                    why: "two tracks have one id",
                });
            }
            tracks.push(track);
            edits.push(edit);
        }
        if tracks.is_empty() {
            return Err(ReadError::Missing { what: "trak" });
        }
        let mut bytes = bytes.get(..len).unwrap_or_default().to_vec();
        for edit in &edits {
            overwrite(&mut bytes, edit.offset, &[0; 8]);
        }
        Ok(Self {
            hash: hash(&bytes),
            tracks,
            edits,
            bytes: Bytes::from(bytes),
        })
    }

    /// The take-wide bytes: what goes before fragments of several segments, to MSE and to `EXT-X-MAP`.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What names this init.
    pub fn hash(&self) -> InitHash {
        self.hash
    }

    /// All tracks, in the order of their ids.
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// The track with this id.
    pub fn track(&self, id: u32) -> Option<&Track> {
        self.tracks.iter().find(|track| track.id == id)
    }

    /// The track in whose media time fragments are indexed and dated: the first video track, else the first track.
    pub fn reference(&self) -> &Track {
        let video = self
            .tracks
            .iter()
            .find(|track| track.entry.media() == Media::Video);
        #[expect(
            clippy::indexing_slicing,
            reason = "both constructors refuse an empty list"
        )]
        video.unwrap_or(&self.tracks[0])
    }

    /// `video/mp4; codecs="avc1.64001f,flac"`: what `MediaSource.isTypeSupported` and `addSourceBuffer` take.
    pub fn mime(&self) -> String {
        let kind = match self.reference().entry.media() {
            Media::Video => "video",
            Media::Audio => "audio",
        };
        let codecs: Vec<&str> = self
            .tracks
            .iter()
            .map(|track| track.entry.codec())
            .collect();
        format!("{kind}/mp4; codecs=\"{}\"", codecs.join(","))
    }

    /// The media time at which the parsed segment starts, in the reference track's timescale; 0 for a take-wide init.
    pub fn start(&self) -> u64 {
        let reference = self.reference();
        let found = self
            .tracks
            .iter()
            .zip(&self.edits)
            .find(|(track, _)| track.id == reference.id);
        found.map_or(0, |(_, edit)| edit.media_time)
    }

    /// The same init as the head of a segment that starts at `start` has it: only [`Init::start`] differs.
    pub(crate) fn starting_at(&self, start: u64) -> Self {
        let from = self.reference().timescale;
        let mut init = self.clone();
        for edit in &mut init.edits {
            edit.media_time = rescale(start, from, edit.timescale).min(i64::MAX as u64);
        }
        init
    }

    /// For each `elst`: where its media_time lies, and its value for a segment that starts at `start` (reference timescale).
    pub(crate) fn edits_for(&self, start: u64) -> impl Iterator<Item = (usize, [u8; 8])> {
        self.starting_at(start)
            .edits
            .into_iter()
            .map(|edit| (edit.offset, edit.media_time.to_be_bytes()))
    }
}

fn hash(take_wide: &[u8]) -> InitHash {
    let digest: [u8; 32] = Sha256::digest(take_wide).into();
    let [a, b, c, ..] = digest;
    InitHash([a, b, c])
}

const MATRIX: [u32; 9] = [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000];

fn matrix(w: &mut BoxWriter) {
    MATRIX.iter().for_each(|&cell| w.u32(cell));
}

fn moov(w: &mut BoxWriter, tracks: &[Track], edits: &mut Vec<Edit>) {
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
fn trak(body: &[u8], at: usize) -> Result<(Track, Edit), ReadError> {
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
