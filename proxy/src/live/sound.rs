//! Sound for a browser: AAC as it is, G.711 as FLAC, since no browser plays it in MP4.

use moorline_fmp4::{Sample, SampleEntry, flac};
use moorline_rtsp::depacketize::g711::{Law, decode};
use moorline_rtsp::depacketize::{Parameters, Unit};

/// Samples of one FLAC frame: 64 ms of 8 kHz.
const BLOCK: usize = 512;
/// A jump of the sound's clock by more than this many seconds begins anew.
const JUMP: i64 = 10;

#[derive(Debug)]
enum Coder {
    Aac { frame: u32 },
    Flac { law: Law, encoder: flac::Encoder },
}

/// One sound track of a feed.
#[derive(Debug)]
pub(super) struct Sound {
    coder: Coder,
    pub(super) rate: u32,
    pub(super) entry: SampleEntry,
    last: Option<(u32, i64)>,
    /// Decoding time of the first waiting sample, and the samples.
    waiting: Option<(u64, Vec<Sample>)>,
    /// End of the last sample.
    end: i64,
}

impl Sound {
    /// `None` for what no browser plays.
    pub(super) fn new(parameters: &Parameters) -> Option<Self> {
        let (coder, rate, entry) = match parameters {
            Parameters::Aac(config) => {
                let entry = SampleEntry::aac(&config.raw).ok()?;
                let coder = Coder::Aac {
                    frame: config.frame_length,
                };
                (coder, config.sample_rate, entry)
            }
            Parameters::G711 {
                law,
                rate,
                channels: 1,
            } => {
                let encoder = flac::Encoder::new(*rate, BLOCK);
                let entry = SampleEntry::flac(&encoder.stream_info()).ok()?;
                let coder = Coder::Flac { law: *law, encoder };
                (coder, *rate, entry)
            }
            _ => return None,
        };
        Some(Self {
            coder,
            rate,
            entry,
            last: None,
            waiting: None,
            end: 0,
        })
    }

    /// Takes a unit. `media_micros`: where it lies on the feed's clock, by the wall clock; asked only at the beginning and after a jump.
    pub(super) fn push(&mut self, unit: &Unit, media_micros: impl FnOnce() -> Option<i64>) {
        let step = self
            .last
            .map(|(last, at)| at + i64::from(unit.timestamp.wrapping_sub(last).cast_signed()));
        let rate = i64::from(self.rate);
        let near = step.filter(|at| (at - self.end).abs() < JUMP * rate);
        let Some(at) = near.or_else(|| Some(media_micros()? * rate / 1_000_000)) else {
            return;
        };
        self.last = Some((unit.timestamp, at));
        let Ok(start) = u64::try_from(at) else {
            return;
        };
        match &mut self.coder {
            Coder::Aac { frame } => {
                let sample = sample(unit.data.clone(), *frame);
                self.add(start, sample);
            }
            Coder::Flac { law, encoder } => {
                for frame in encoder.push(start, &decode(*law, &unit.data)) {
                    let sample = sample(frame.data, frame.samples);
                    self.add(frame.start, sample);
                }
            }
        }
    }

    /// Samples of a run follow one another: a hole lengthens the sample before it, and what comes too early is left out.
    fn add(&mut self, start: u64, sample: Sample) {
        let at = i64::try_from(start).unwrap_or(i64::MAX);
        let duration = i64::from(sample.duration);
        match &mut self.waiting {
            _ if at < self.end && self.end - at < i64::from(self.rate) * JUMP => return,
            None => self.waiting = Some((start, vec![sample])),
            Some((_, samples)) => {
                let hole = u32::try_from(at - self.end).unwrap_or(0);
                if let Some(last) = samples.last_mut() {
                    last.duration = last.duration.saturating_add(hole);
                }
                samples.push(sample);
            }
        }
        self.end = at + duration;
    }

    /// What is there, with the decoding time of its first sample.
    pub(super) fn take(&mut self) -> Option<(u64, Vec<Sample>)> {
        self.waiting.take()
    }
}

fn sample(data: bytes::Bytes, duration: u32) -> Sample {
    Sample {
        data,
        duration,
        composition_offset: 0,
        sync: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn unit(timestamp: u32) -> Unit {
        Unit {
            timestamp,
            data: Bytes::from_static(&[0xd5; 160]),
            random_access: true,
            disposable: false,
            damaged: false,
            lost: 0,
            parameters_changed: false,
        }
    }

    #[test]
    fn g711_becomes_flac_that_follows_the_cameras_clock() {
        let parameters = Parameters::G711 {
            law: Law::A,
            rate: 8000,
            channels: 1,
        };
        let mut sound = Sound::new(&parameters).unwrap();
        for n in 0..50 {
            sound.push(&unit(u32::MAX.wrapping_add(160 * n)), || Some(10_500_000));
        }
        let (start, samples) = sound.take().unwrap();
        assert_eq!(start, 84_000, "10.5 s of 8 kHz");
        let total: u32 = samples.iter().map(|sample| sample.duration).sum();
        assert_eq!(total as usize, 50 * 160 / BLOCK * BLOCK);
        assert_eq!(sound.entry.codec(), "flac");
    }

    #[test]
    fn what_no_browser_plays_is_no_sound() {
        assert!(Sound::new(&Parameters::Opus { channels: 2 }).is_none());
    }
}
