//! The init segment: `ftyp(iso6,cmfc) moov(mvhd, trak(…, elst)*, mvex)`, and the hash that names it.
//!
//! An [`Init`] is *take-wide*: its `elst` shifts nothing. A segment's own head is the same bytes with media_time set to the
//! segment's start, so that the single object plays from 0. The hash is taken over the take-wide form; so all segments of
//! a take that was not reconfigured share it, and equal hashes mean that their fragments may follow each other in one file.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::boxes::{BoxWriter, overwrite, walk};
use crate::codec::{Media, SampleEntry};
use crate::error::{ReadError, WriteError};
use crate::moov::{Edit, read_trak, write_moov};
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
        w.boxed(b"moov", |w| write_moov(w, &tracks, &mut edits));
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
            let (track, edit) = read_trak(child.body, moov.body_offset() + child.body_offset())?;
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
