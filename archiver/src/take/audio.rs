//! The sound of a take: AAC as it came, G.711 as FLAC; placed beside the pictures, cut with their fragments. No I/O.

use std::collections::VecDeque;

use bytes::Bytes;
use moorline_fmp4::{ReadError, Run, Sample, SampleEntry, flac};

/// A FLAC block: 128 ms at 8 kHz.
const FLAC_BLOCK: usize = 1_024;
/// Sound that waits for its pictures, at most: beyond that the oldest goes.
const MOST_PENDING: usize = 4_096;

/// How the sound is coded in RTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AudioCodec {
    /// AAC with its AudioSpecificConfig.
    Aac(Vec<u8>),
    /// G.711 A-law.
    Alaw,
    /// G.711 µ-law.
    Mulaw,
}

#[derive(Debug)]
enum Coder {
    Pass,
    Flac { encoder: flac::Encoder, alaw: bool },
}

#[derive(Debug)]
struct Frame {
    start: u64,
    samples: u32,
    data: Bytes,
}

/// The lane of sound.
#[derive(Debug)]
pub(crate) struct Sound {
    track: u32,
    rate: u32,
    coder: Coder,
    pending: VecDeque<Frame>,
    /// Where the last frame that was taken in ends.
    taken: u64,
    /// Where the last run that was given out ends.
    given: u64,
}

impl Sound {
    /// A lane of this codec and sampling rate, as track `track`; and its sample entry.
    ///
    /// # Errors
    /// If the AAC configuration cannot be read.
    pub(crate) fn new(
        codec: &AudioCodec,
        rate: u32,
        track: u32,
    ) -> Result<(Self, SampleEntry), ReadError> {
        let (coder, entry) = match codec {
            AudioCodec::Aac(config) => (Coder::Pass, SampleEntry::aac(config)?),
            AudioCodec::Alaw | AudioCodec::Mulaw => {
                let encoder = flac::Encoder::new(rate, FLAC_BLOCK);
                let entry = SampleEntry::flac(&encoder.stream_info())?;
                let alaw = *codec == AudioCodec::Alaw;
                (Coder::Flac { encoder, alaw }, entry)
            }
        };
        let sound = Self {
            track,
            rate,
            coder,
            pending: VecDeque::new(),
            taken: 0,
            given: 0,
        };
        Ok((sound, entry))
    }

    /// A frame of `samples` whose first lies `start` after the take's first picture (in samples). What lies before it is not recorded.
    pub(crate) fn push(&mut self, start: i64, samples: u32, data: &[u8]) {
        let Ok(start) = u64::try_from(start) else {
            return;
        };
        // repeated, or far behind what there is: a frame may begin a little early, as clocks jitter
        let early = self.taken.saturating_sub(start);
        if early > u64::from(samples) / 2 {
            return;
        }
        let start = start.max(self.taken);
        self.taken = start + u64::from(samples);
        match &mut self.coder {
            Coder::Pass => self.pending.push_back(Frame {
                start,
                samples,
                data: Bytes::copy_from_slice(data),
            }),
            Coder::Flac { encoder, alaw } => {
                let pcm = if *alaw {
                    flac::g711::alaw(data)
                } else {
                    flac::g711::mulaw(data)
                };
                let frames = encoder.push(start, &pcm);
                self.pending.extend(frames.into_iter().map(coded));
            }
        }
        while self.pending.len() > MOST_PENDING {
            self.pending.pop_front();
        }
    }

    /// The sound that begins before `end` (ticks of `timescale`), for the fragment that ends there.
    pub(crate) fn until(&mut self, end: u64, timescale: u32) -> Run {
        if let Coder::Flac { encoder, .. } = &mut self.coder {
            self.pending.extend(encoder.flush().map(coded));
        }
        let end = u128::from(end) * u128::from(self.rate);
        let before = |frame: &Frame| u128::from(frame.start) * u128::from(timescale) < end;
        let mut frames: Vec<Frame> = Vec::new();
        while self.pending.front().is_some_and(before) {
            frames.extend(self.pending.pop_front());
        }
        let decode_time = frames.first().map_or(self.given, |first| first.start);
        let mut samples = Vec::with_capacity(frames.len());
        let mut following = frames.iter().skip(1).map(|frame| frame.start);
        for frame in &frames {
            // a run has no holes: a sample lasts until the next begins
            let next = following
                .next()
                .unwrap_or(frame.start + u64::from(frame.samples));
            samples.push(Sample {
                data: frame.data.clone(),
                duration: u32::try_from(next.saturating_sub(frame.start)).unwrap_or(u32::MAX),
                composition_offset: 0,
                sync: true,
            });
            self.given = next;
        }
        Run {
            track_id: self.track,
            decode_time,
            samples,
        }
    }
}

fn coded(frame: flac::Frame) -> Frame {
    Frame {
        start: frame.start,
        samples: frame.samples,
        data: frame.data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aac() -> Sound {
        Sound::new(&AudioCodec::Aac(vec![0x14, 0x08]), 16_000, 2)
            .unwrap()
            .0
    }

    #[test]
    fn sound_goes_with_the_pictures_that_it_belongs_to() {
        let mut sound = aac();
        for n in 0..4 {
            sound.push(n * 1_024, 1_024, &[n as u8]);
        }
        let run = sound.until(9_000, 90_000);
        assert_eq!(
            (run.decode_time, run.samples.len()),
            (0, 2),
            "100 ms hold the beginnings of two frames of 64 ms"
        );
        let run = sound.until(90_000, 90_000);
        assert_eq!((run.decode_time, run.samples.len()), (2_048, 2));
    }

    #[test]
    fn a_loss_stretches_the_frame_before_it_and_a_repetition_is_dropped() {
        let mut sound = aac();
        sound.push(-500, 1_024, &[9]);
        sound.push(0, 1_024, &[0]);
        sound.push(0, 1_024, &[0]);
        sound.push(3_072, 1_024, &[3]);
        sound.push(4_090, 1_024, &[4]);
        let run = sound.until(900_000, 90_000);
        let durations: Vec<u32> = run.samples.iter().map(|sample| sample.duration).collect();
        assert_eq!(durations, [3_072, 1_024, 1_024]);
    }

    #[test]
    fn g711_becomes_flac_of_the_same_length() {
        let (mut sound, entry) = Sound::new(&AudioCodec::Alaw, 8_000, 2).unwrap();
        assert_eq!(entry.codec(), "flac");
        for n in 0..100 {
            sound.push(n * 160, 160, &[0xd5; 160]);
        }
        let run = sound.until(90_000 * 2, 90_000);
        assert_eq!(
            run.samples
                .iter()
                .map(|sample| u64::from(sample.duration))
                .sum::<u64>(),
            16_000
        );
    }
}
