//! The file format of the archive and of live view: fragmented MP4 (CMAF), and FLAC for G.711.
//!
//! Owns the bytes: init, fragments, the head of a segment and its seal; reading, recovery (P3), concatenation. Owns neither
//! files nor clocks nor names: whoever appends, syncs, renames or dates is elsewhere, and all times come in as arguments.
//! Nothing here does I/O (recovery reads through [`Source`]), waits or spawns.
//!
//! ```text
//! segment:   ftyp moov(elst) uuid(layout) [free → sidx, holes, digest] { prft free(CRC) moof mdat }*
//! take-wide: ftyp moov                                                 {                moof mdat }*
//! ```
//!
//! - Writing: [`SampleEntry`] → [`Init::new`] → [`Init::head`], then [`Init::fragment`] per GOP or 2 s, then [`Head::seal`].
//! - Live view (MSE): [`Init::bytes`], [`Init::mime`], then [`Fragment::media`].
//! - After a crash: [`recover()`] or [`recover_from`], truncate, [`Head::seal`].
//! - Reading: [`SegmentInfo::parse`] of the first 64 KB, [`ParsedFragment::parse`] of a range of the index.
//! - Export: [`Joiner`].
//!
//! ```
//! use moorline_fmp4::{FragmentEntry, Init, Run, Sample, SampleEntry, Seal, SegmentInfo, RESERVED, flac, recover};
//!
//! let mut encoder = flac::Encoder::new(8000, 1024);
//! let init = Init::new(vec![(8000, SampleEntry::flac(&encoder.stream_info())?)])?;
//! let (head, start) = init.head(0, RESERVED);
//! let mut file = start.to_vec();
//!
//! let mut frames = encoder.push(0, &flac::g711::alaw(&[0xd5; 16_000]));
//! frames.extend(encoder.flush());
//! let samples = frames.into_iter().map(|frame| Sample {
//!     data: frame.data,
//!     duration: frame.samples,
//!     composition_offset: 0,
//!     sync: true,
//! });
//! let run = Run { track_id: 1, decode_time: 0, samples: samples.collect() };
//! let fragment = init.fragment(1, 1_763_673_005_250_000, &[run])?;
//! let entry = FragmentEntry { offset: file.len() as u64, ..fragment.entry };
//! file.extend_from_slice(&fragment.bytes); // one append, then fdatasync
//!
//! assert_eq!(recover(&file).fragments, [entry]); // what a crash here would leave
//!
//! for patch in head.seal(&Seal { fragments: &[entry], ..Seal::default() }) {
//!     let at = patch.offset as usize;
//!     file[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
//! }
//! assert_eq!(SegmentInfo::parse(&file)?.index.map(|index| index.len()), Some(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Boxes are written and read here rather than by a library: a seal patches fixed places, so `tfdt`, `prft`, `elst` and
//! `sidx` need the same width whatever their values, a sample entry must travel byte for byte, and what is allocated for a
//! stranger's bytes must be bounded by us (S32). The tests read everything that is written with mp4-atom and with ffmpeg.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod boxes;
mod codec;
mod error;
pub mod flac;
mod fragment;
mod head;
mod init;
mod join;
mod moov;
mod parse;
mod reader;
mod recover;
mod seal;
mod segment;
mod wall;

pub use codec::{Media, SampleEntry};
pub use error::{JoinError, ReadError, WriteError};
pub use fragment::{Fragment, FragmentEntry, MAX_FRAGMENT_LEN, MAX_SAMPLES, Run, Sample};
pub use head::{Head, MAX_HEAD_LEN, RESERVED};
pub use init::{Init, InitHash, MAX_INIT_LEN, MAX_TRACKS, Track};
pub use join::{Follows, Gaps, Joiner};
pub use parse::{ParsedFragment, RunInfo, SampleInfo};
pub use recover::{MAX_FRAGMENTS, Recovery, Seekable, Source, Stop, recover, recover_from};
pub use seal::{Hole, MAX_CAUSE_LEN, Patch, Seal};
pub use segment::{IndexEntry, SegmentInfo};
pub use wall::{Anchor, NtpTime};
