//! Reading one fragment: for seeking, for recovery, and to rewrite its times.

use std::ops::Range;

use crate::boxes::{BoxRef, need, walk};
use crate::error::ReadError;
use crate::fragment::{CRC_TAG, FragmentEntry, MAX_SAMPLES, RunTime};
use crate::init::{Init, MAX_TRACKS};
use crate::reader::Reader;
use crate::wall::NtpTime;

/// The largest `moof` we read: [`MAX_SAMPLES`] of 16 bytes, with room for the rest.
pub(crate) const MAX_MOOF_LEN: u64 = 2 * 1024 * 1024;

/// A sample as `trun` tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleInfo {
    /// From the start of the `moof`.
    pub offset: usize,
    /// In bytes.
    pub size: usize,
    /// In the track's timescale.
    pub duration: u32,
    /// Presentation minus decoding time.
    pub composition_offset: i32,
    /// Whether decoding can begin here.
    pub sync: bool,
}

/// The samples of one track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// The track.
    pub track_id: u32,
    /// `tfdt`: of the first sample, in the track's timescale.
    pub decode_time: u64,
    /// In decoding order.
    pub samples: Vec<SampleInfo>,
    /// Where the 64-bit time lies in the `moof` box; `None` if the file has 32 bits.
    pub(crate) time_at: Option<usize>,
}

impl RunInfo {
    /// `None` if a time leaves 64 bits or there is no sample.
    pub(crate) fn time(&self) -> Option<RunTime> {
        let samples = self
            .samples
            .iter()
            .map(|sample| (sample.duration, sample.composition_offset, sample.sync));
        RunTime::of(self.track_id, self.decode_time, samples)
    }
}

/// A `moof`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moof {
    pub(crate) sequence: u32,
    /// Where the 32-bit sequence number lies in the box.
    pub(crate) sequence_at: usize,
    pub(crate) runs: Vec<RunInfo>,
}

impl Moof {
    /// Reads a whole `moof` box.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let moof = walk(bytes)
            .next()
            .ok_or(ReadError::Truncated { what: "moof" })??;
        if &moof.kind != b"moof" || moof.end() != bytes.len() {
            return Err(ReadError::Malformed {
                what: "moof",
                why: "it is not one whole box",
            });
        }
        let at = moof.body_offset();
        let mfhd = need(moof.body, b"mfhd", "mfhd")?;
        let mut r = Reader::new(mfhd.body, "mfhd");
        r.full()?;
        let sequence = r.u32()?;
        let (mut runs, mut samples) = (Vec::new(), 0);
        for child in walk(moof.body) {
            let child = child?;
            if &child.kind == b"traf" {
                let run = traf(&child, at + child.body_offset(), MAX_SAMPLES - samples)?;
                samples += run.samples.len();
                if runs.len() == MAX_TRACKS {
                    return Err(ReadError::TooLarge {
                        what: "moof",
                        limit: MAX_TRACKS as u64,
                    });
                }
                runs.push(run);
            }
        }
        Ok(Self {
            sequence,
            sequence_at: at + mfhd.body_offset() + 4,
            runs,
        })
    }

    /// Whether every sample lies in this range, counted from the start of the `moof`.
    pub(crate) fn lies_within(&self, data: &Range<usize>) -> bool {
        self.runs.iter().flat_map(|run| &run.samples).all(|sample| {
            sample.offset >= data.start
                && sample
                    .offset
                    .checked_add(sample.size)
                    .is_some_and(|end| end <= data.end)
        })
    }

    /// What the index says of the fragment.
    pub(crate) fn entry(
        &self,
        init: &Init,
        offset: u64,
        len: u32,
        wall: NtpTime,
    ) -> Result<FragmentEntry, ReadError> {
        const WHAT: &str = "moof";
        let mut times = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            if init.track(run.track_id).is_none() {
                return Err(ReadError::Malformed {
                    what: WHAT,
                    why: "a track is not in the init",
                });
            }
            times.push(run.time().ok_or(ReadError::Malformed {
                what: WHAT,
                why: "a run is empty or its time overflows",
            })?);
        }
        let (media_time, duration, starts_with_sync) =
            init.reference_time(&times).ok_or(ReadError::Malformed {
                what: WHAT,
                why: "it has no samples",
            })?;
        Ok(FragmentEntry {
            offset,
            len,
            media_time,
            duration,
            starts_with_sync,
            wall,
        })
    }
}

fn traf(traf: &BoxRef<'_>, at: usize, room: usize) -> Result<RunInfo, ReadError> {
    let tfhd = need(traf.body, b"tfhd", "tfhd")?;
    let mut r = Reader::new(tfhd.body, "tfhd");
    let (_, flags) = r.full()?;
    let track_id = r.u32()?;
    if flags & 1 != 0 || flags & 0x02_0000 == 0 {
        return Err(r.malformed("its offsets do not count from the moof"));
    }
    if flags & 2 != 0 {
        r.u32()?;
    }
    let mut default = |flag| {
        if flags & flag == 0 {
            Ok(None)
        } else {
            r.u32().map(Some)
        }
    };
    let defaults = [default(8)?, default(16)?, default(32)?];

    let tfdt = need(traf.body, b"tfdt", "tfdt")?;
    let mut r = Reader::new(tfdt.body, "tfdt");
    let (decode_time, time_at) = match r.full()?.0 {
        0 => (u64::from(r.u32()?), None),
        _ => (r.u64()?, Some(at + tfdt.body_offset() + 4)),
    };

    let mut truns =
        walk(traf.body).filter(|child| child.as_ref().is_ok_and(|child| &child.kind == b"trun"));
    let trun = truns.next().ok_or(ReadError::Missing { what: "trun" })??;
    if truns.next().is_some() {
        return Err(ReadError::Malformed {
            what: "traf",
            why: "there is more than one trun",
        });
    }
    Ok(RunInfo {
        track_id,
        decode_time,
        samples: read_trun(trun.body, defaults, room)?,
        time_at,
    })
}

/// ISO/IEC 14496-12 §8.8.8.
fn read_trun(
    body: &[u8],
    [duration, size, flags]: [Option<u32>; 3],
    room: usize,
) -> Result<Vec<SampleInfo>, ReadError> {
    let mut r = Reader::new(body, "trun");
    let (_, present) = r.full()?;
    let count = r.u32()? as usize;
    if present & 1 == 0 {
        return Err(r.malformed("there is no data offset"));
    }
    let mut offset =
        usize::try_from(r.i32()?).map_err(|_| r.malformed("the data lies before the moof"))?;
    let first_flags = if present & 4 == 0 {
        None
    } else {
        Some(r.u32()?)
    };
    let per_sample = (present & 0xf00).count_ones() as usize * 4;
    if count > room {
        return Err(ReadError::TooLarge {
            what: "trun",
            limit: MAX_SAMPLES as u64,
        });
    }
    if count.saturating_mul(per_sample) > r.remaining() {
        return Err(ReadError::Truncated { what: "trun" });
    }
    let mut samples = Vec::with_capacity(count);
    for index in 0..count {
        let mut field = |flag, default: Option<u32>| match (present & flag, default) {
            (0, Some(value)) => Ok(value),
            (0, None) => Err(ReadError::Missing {
                what: "a sample's default",
            }),
            _ => r.u32(),
        };
        let duration = field(0x100, duration)?;
        let size = field(0x200, size)? as usize;
        let own_flags = field(0x400, flags.or(Some(0)))?;
        let composition_offset = field(0x800, Some(0))? as i32;
        let flags = first_flags.filter(|_| index == 0).unwrap_or(own_flags);
        samples.push(SampleInfo {
            offset,
            size,
            duration,
            composition_offset,
            sync: flags & 0x0001_0000 == 0,
        });
        offset = offset
            .checked_add(size)
            .ok_or_else(|| r.malformed("the data is larger than memory"))?;
    }
    Ok(samples)
}

/// A `prft` of ours.
pub(crate) fn read_prft(body: &[u8]) -> Result<(u32, NtpTime, u64), ReadError> {
    let mut r = Reader::new(body, "prft");
    let (version, _) = r.full()?;
    let (track, wall) = (r.u32()?, NtpTime(r.u64()?));
    if version != 1 {
        return Err(r.malformed("it is not of version 1"));
    }
    Ok((track, wall, r.u64()?))
}

/// The checksum of our `free` box; `None` for any other.
pub(crate) fn read_crc(body: &[u8]) -> Option<u32> {
    let mut r = Reader::new(body, "free");
    let tag: [u8; 4] = r.array().ok()?;
    let crc = r.u32().ok()?;
    (tag == CRC_TAG && r.remaining() == 0).then_some(crc)
}

/// A fragment read from memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedFragment<'a> {
    /// As the index has it, with `offset` 0 = the start of the given bytes.
    pub entry: FragmentEntry,
    /// `mfhd`'s sequence number.
    pub sequence: u32,
    /// Per track; sample offsets count from the start of `media`.
    pub runs: Vec<RunInfo>,
    /// `moof mdat`.
    pub media: &'a [u8],
}

impl<'a> ParsedFragment<'a> {
    /// Reads the fragment at the start of `bytes`, checksum included; what follows it is not looked at.
    ///
    /// # Errors
    /// If it is cut off, damaged, or none of ours.
    pub fn parse(init: &Init, bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut boxes = walk(bytes);
        let mut next = |kind: &[u8; 4], what| match boxes.next() {
            Some(Ok(found)) if found.kind == *kind => Ok(found),
            Some(Ok(_)) => Err(ReadError::Missing { what }),
            Some(Err(error)) => Err(error),
            None => Err(ReadError::Truncated { what }),
        };
        let (_, wall, _) = read_prft(next(b"prft", "prft")?.body)?;
        let crc = read_crc(next(b"free", "checksum")?.body)
            .ok_or(ReadError::Missing { what: "checksum" })?;
        let moof = next(b"moof", "moof")?;
        let mdat = next(b"mdat", "mdat")?;
        if moof.body.len() as u64 > MAX_MOOF_LEN {
            return Err(ReadError::TooLarge {
                what: "moof",
                limit: MAX_MOOF_LEN,
            });
        }
        let media = bytes.get(moof.offset..mdat.end()).unwrap_or_default();
        if crc32fast::hash(media) != crc {
            return Err(ReadError::Malformed {
                what: "fragment",
                why: "the checksum does not match",
            });
        }
        let parsed = Moof::parse(bytes.get(moof.offset..moof.end()).unwrap_or_default())?;
        if !parsed.lies_within(&(mdat.body_offset() - moof.offset..media.len())) {
            return Err(ReadError::Malformed {
                what: "moof",
                why: "a sample lies outside the mdat",
            });
        }
        let len = u32::try_from(mdat.end()).map_err(|_| ReadError::TooLarge {
            what: "fragment",
            limit: u64::from(u32::MAX),
        })?;
        let entry = parsed.entry(init, 0, len, wall)?;
        Ok(Self {
            entry,
            sequence: parsed.sequence,
            runs: parsed.runs,
            media,
        })
    }

    /// The bytes of a sample.
    pub fn sample(&self, sample: &SampleInfo) -> &'a [u8] {
        sample
            .offset
            .checked_add(sample.size)
            .and_then(|end| self.media.get(sample.offset..end))
            .unwrap_or_default()
    }
}
