//! One fragment: `prft free(CRC) moof mdat`, the unit of local durability.
//!
//! The CRC-32 of `moof mdat` lies in a `free` box of 16 bytes between `prft` and `moof`, where MSE and CMAF accept any such
//! box. It is there for power cuts: a file system may keep the length of an append and lose its pages, and a hole of zeros
//! inside `mdat` has no structure by which recovery could see it. `prft` is outside the sum, because it is rewritten at seal.

use bytes::Bytes;

use crate::boxes::BoxWriter;
use crate::error::WriteError;
use crate::init::Init;
use crate::wall::{Anchor, NtpTime};

/// Bytes of one fragment, at most: 25 s of 20 Mbit/s.
pub const MAX_FRAGMENT_LEN: usize = 64 * 1024 * 1024;
/// Samples of one fragment over all tracks, at most.
pub const MAX_SAMPLES: usize = 65_536;

/// Length of the `prft` (version 1) with which each fragment starts, and where its NTP time lies.
pub(crate) const PRFT_LEN: usize = 32;
pub(crate) const PRFT_NTP: usize = 16;
/// Length of the `free` box with the checksum, and what it starts with.
pub(crate) const CRC_LEN: usize = 16;
pub(crate) const CRC_TAG: [u8; 4] = *b"mlCR";

/// One access unit: a video frame as NAL units with 4-byte lengths, or an audio frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The coded bytes.
    pub data: Bytes,
    /// Until the next sample, in the track's timescale.
    pub duration: u32,
    /// Presentation minus decoding time; 0 without B-frames.
    pub composition_offset: i32,
    /// Whether decoding can begin here: an IDR, and every audio sample.
    pub sync: bool,
}

/// The samples of one track in a fragment, one right after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// A track of the init.
    pub track_id: u32,
    /// `tfdt`: the take-relative decoding time of the first sample, in the track's timescale.
    pub decode_time: u64,
    /// In decoding order.
    pub samples: Vec<Sample>,
}

/// What the index of a segment knows about a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentEntry {
    /// Of its `prft`, from the start of the file. [`Init::fragment`] sets 0: whoever appends it knows.
    pub offset: u64,
    /// Of all its boxes.
    pub len: u32,
    /// The earliest presentation time, take-relative, in the reference track's timescale.
    pub media_time: u64,
    /// Sum of the sample durations of the reference track (or, without a sample of it, of the first run), in its timescale.
    pub duration: u64,
    /// Whether decoding can begin here: the first sample of the reference track is an IDR.
    pub starts_with_sync: bool,
    /// The wall clock at `media_time`, from `prft`.
    pub wall: NtpTime,
}

impl FragmentEntry {
    /// The media time behind the fragment.
    pub fn end(&self) -> u64 {
        self.media_time.saturating_add(self.duration)
    }

    /// Dates any other media time of the take as this fragment is dated.
    pub fn anchor(&self) -> Anchor {
        Anchor {
            unix_micros: self.wall.unix_micros(),
            media_time: self.media_time,
        }
    }
}

/// A written fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// All boxes: to be appended to the file with a single write.
    pub bytes: Bytes,
    /// For the index, with `offset` 0.
    pub entry: FragmentEntry,
}

impl Fragment {
    /// `moof mdat` alone: for MSE and HLS, and for the byte copy of a concatenation.
    pub fn media(&self) -> Bytes {
        self.bytes.slice(PRFT_LEN + CRC_LEN..)
    }
}

impl Init {
    /// Writes a fragment. `sequence` counts the fragments of a take from 1 (recovery
    /// takes one that does not grow for stale bytes); `unix_micros` is the wall clock at the earliest
    /// presentation time of the reference track (the first run where it has no sample here), for `prft`.
    ///
    /// # Errors
    /// If a run's track is unknown or comes twice, no run has a sample, or a bound ([`MAX_FRAGMENT_LEN`], [`MAX_SAMPLES`],
    /// 64 bits of media time) is exceeded. Runs without samples are left out.
    pub fn fragment(
        &self,
        sequence: u32,
        unix_micros: i64,
        runs: &[Run],
    ) -> Result<Fragment, WriteError> {
        let runs: Vec<&Run> = runs.iter().filter(|run| !run.samples.is_empty()).collect();
        let data_len = self.check(&runs)?;
        let times: Vec<RunTime> = runs
            .iter()
            .map(|run| run_time(run))
            .collect::<Result<_, _>>()?;
        let wall = NtpTime::from_unix_micros(unix_micros);
        let (media_time, duration, starts_with_sync) =
            self.reference_time(&times).ok_or(WriteError::Empty)?;

        let samples: usize = runs.iter().map(|run| run.samples.len()).sum();
        let mut w = BoxWriter::with_capacity(256 + runs.len() * 96 + samples * 16 + data_len);
        write_prft(&mut w, self.reference().id, wall, media_time);
        w.boxed(b"free", |w| {
            w.bytes(&CRC_TAG);
            w.u32(0);
        });
        let moof_at = w.len();
        let mut data_offset = moof_len(&runs) + 8;
        w.boxed(b"moof", |w| {
            w.full(b"mfhd", 0, 0, |w| w.u32(sequence));
            for run in &runs {
                w.boxed(b"traf", |w| write_traf(w, run, data_offset));
                data_offset += run
                    .samples
                    .iter()
                    .map(|sample| sample.data.len())
                    .sum::<usize>();
            }
        });
        w.boxed(b"mdat", |w| {
            runs.iter()
                .flat_map(|run| &run.samples)
                .for_each(|sample| w.bytes(&sample.data))
        });

        let mut bytes = w.into_inner();
        let crc = crc32fast::hash(bytes.get(moof_at..).unwrap_or_default());
        crate::boxes::overwrite(&mut bytes, PRFT_LEN + 12, &crc.to_be_bytes());
        let len = bytes.len() as u32; // bounded by `check`
        let entry = FragmentEntry {
            offset: 0,
            len,
            media_time,
            duration,
            starts_with_sync,
            wall,
        };
        Ok(Fragment {
            bytes: Bytes::from(bytes),
            entry,
        })
    }

    fn check(&self, runs: &[&Run]) -> Result<usize, WriteError> {
        let (mut samples, mut len) = (0usize, 0usize);
        for (index, run) in runs.iter().enumerate() {
            let twice = runs
                .iter()
                .take(index)
                .any(|earlier| earlier.track_id == run.track_id);
            if twice || self.track(run.track_id).is_none() {
                return Err(WriteError::Track(run.track_id));
            }
            samples = samples.saturating_add(run.samples.len());
            len = run
                .samples
                .iter()
                .fold(len, |len, sample| len.saturating_add(sample.data.len()));
        }
        if samples > MAX_SAMPLES || len.saturating_add(samples * 16 + 4096) > MAX_FRAGMENT_LEN {
            return Err(WriteError::TooLarge);
        }
        Ok(len)
    }

    /// Earliest presentation time, duration and sync of the reference track, in its timescale.
    pub(crate) fn reference_time(&self, times: &[RunTime]) -> Option<(u64, u64, bool)> {
        let reference = self.reference();
        if let Some(time) = times.iter().find(|time| time.track_id == reference.id) {
            return Some((time.earliest, time.duration, time.sync));
        }
        let time = times.first()?;
        let from = self.track(time.track_id)?.timescale;
        let to = |ticks: u64| crate::wall::rescale(ticks, from, reference.timescale);
        Some((to(time.earliest), to(time.duration), false))
    }
}

/// The times of one run, in its track's timescale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunTime {
    pub(crate) track_id: u32,
    pub(crate) earliest: u64,
    pub(crate) duration: u64,
    pub(crate) sync: bool,
}

impl RunTime {
    /// From duration, composition offset and sync flag of each sample; `None` if a time leaves 64 bits or there is none.
    pub(crate) fn of(
        track_id: u32,
        decode_time: u64,
        samples: impl Iterator<Item = (u32, i32, bool)>,
    ) -> Option<Self> {
        let (mut time, mut earliest, mut first) = (decode_time, None, None);
        for (duration, composition_offset, sync) in samples {
            // before the first instant of a take lies nothing: a player cuts it off as we do
            let shown = time.saturating_add_signed(i64::from(composition_offset));
            earliest = Some(earliest.map_or(shown, |earliest: u64| earliest.min(shown)));
            first = first.or(Some(sync));
            time = time.checked_add(u64::from(duration))?;
        }
        Some(Self {
            track_id,
            earliest: earliest?,
            duration: time - decode_time,
            sync: first?,
        })
    }
}

fn run_time(run: &Run) -> Result<RunTime, WriteError> {
    let samples = run
        .samples
        .iter()
        .map(|sample| (sample.duration, sample.composition_offset, sample.sync));
    RunTime::of(run.track_id, run.decode_time, samples).ok_or(WriteError::Time(run.track_id))
}

/// ISO/IEC 14496-12 §8.16.5; always version 1, so that a rewrite at seal never moves anything.
fn write_prft(w: &mut BoxWriter, track_id: u32, wall: NtpTime, media_time: u64) {
    w.full(b"prft", 1, 24, |w| {
        // flags 8 + 16: a consistent, small offset from the real time of the scene
        w.u32(track_id);
        w.u64(wall.0);
        w.u64(media_time);
    });
}

/// `trun` flags: data offset, and per sample duration, size and flags; composition offsets where there are any.
const TRUN: u32 = 0x701;
const TRUN_COMPOSITION: u32 = 0x800;
const SYNC: u32 = 0x0200_0000; // depends on no other
const NOT_SYNC: u32 = 0x0101_0000; // depends on others, is no sync sample

fn composed(run: &Run) -> bool {
    run.samples
        .iter()
        .any(|sample| sample.composition_offset != 0)
}

fn moof_len(runs: &[&Run]) -> usize {
    let traf = |run: &Run| {
        let per_sample = if composed(run) { 16 } else { 12 };
        8 + 16 + 20 + 20 + run.samples.len() * per_sample
    };
    8 + 16 + runs.iter().map(|run| traf(run)).sum::<usize>()
}

fn write_traf(w: &mut BoxWriter, run: &Run, data_offset: usize) {
    let composed = composed(run);
    w.full(b"tfhd", 0, 0x02_0000, |w| w.u32(run.track_id)); // default-base-is-moof
    w.full(b"tfdt", 1, 0, |w| w.u64(run.decode_time));
    w.full(
        b"trun",
        1,
        if composed {
            TRUN | TRUN_COMPOSITION
        } else {
            TRUN
        },
        |w| {
            w.u32(run.samples.len() as u32);
            w.u32(data_offset as u32); // bounded by MAX_FRAGMENT_LEN
            for sample in &run.samples {
                w.u32(sample.duration);
                w.u32(sample.data.len() as u32);
                w.u32(if sample.sync { SYNC } else { NOT_SYNC });
                if composed {
                    w.i32(sample.composition_offset);
                }
            }
        },
    );
}
