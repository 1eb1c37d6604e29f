//! FLAC (RFC 9639) for G.711: lossless, free of patents, plays in browsers, needs no C.
//!
//! Mono, 16 bit, fixed predictors with Rice codes, or constant or verbatim where these are smaller. Every frame decodes by
//! itself. Frames are numbered by their first sample ("variable block size"), so that a frame may have any length and a loss
//! may skip numbers. The low zero bits of expanded G.711 are stored once per frame, not per sample ("wasted bits").

mod bit_writer;
#[cfg(test)]
mod decode;
mod encode;
pub mod g711;

use bytes::Bytes;

use encode::encode;

/// Samples of one frame, at most: what the streamable subset allows up to 48 kHz (RFC 9639 §7).
pub const MAX_BLOCK: usize = 4608;
/// Samples of one frame, at least (RFC 9639 §8.2 forbids fewer but at the end).
pub const MIN_BLOCK: usize = 16;

/// One frame: one sample of the MP4 track, whose timescale is the sampling rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The first sample's number: the decoding time.
    pub start: u64,
    /// Samples inside: the duration.
    pub samples: u32,
    /// The coded bytes.
    pub data: Bytes,
}

/// Cuts a stream of PCM into blocks and encodes them.
#[derive(Debug)]
pub struct Encoder {
    rate: u32,
    block: usize,
    start: u64,
    pending: Vec<i16>,
}

impl Encoder {
    /// For `rate` Hz (1 … 65,535, others are brought into this range) and blocks of `block` samples ([`MIN_BLOCK`] …
    /// [`MAX_BLOCK`]). 1,024 samples of 8 kHz are 128 ms.
    pub fn new(rate: u32, block: usize) -> Self {
        let block = block.clamp(MIN_BLOCK, MAX_BLOCK);
        Self {
            rate: rate.clamp(1, 65_535),
            block,
            start: 0,
            pending: Vec::with_capacity(block),
        }
    }

    /// STREAMINFO (RFC 9639 §8.2), for [`crate::SampleEntry::flac`]. It depends on the rate and the block length alone.
    pub fn stream_info(&self) -> [u8; 34] {
        let mut info = [0; 34];
        let packed = u64::from(self.rate) << 44 | 15 << 36; // one channel, 16 bits, total unknown
        // a maximum above the minimum says that block sizes vary, so it may not equal it
        let max = (self.block as u16).max(MIN_BLOCK as u16 + 1);
        let fields = (MIN_BLOCK as u16)
            .to_be_bytes()
            .into_iter()
            .chain(max.to_be_bytes())
            .chain([0; 6])
            .chain(packed.to_be_bytes());
        info.iter_mut()
            .zip(fields)
            .for_each(|(to, from)| *to = from);
        info
    }

    /// Adds samples whose first has the number `start`, and returns the frames that became whole. If they do not follow what
    /// came before (a loss, or a new beginning), what is pending is first encoded as a shorter frame.
    pub fn push(&mut self, start: u64, mut samples: &[i16]) -> Vec<Frame> {
        let mut frames = Vec::new();
        if start != self.start.wrapping_add(self.pending.len() as u64) {
            frames.extend(self.flush());
            self.start = start;
        }
        while let Some((now, later)) = samples.split_at_checked(self.block - self.pending.len()) {
            self.pending.extend_from_slice(now);
            frames.extend(self.flush());
            samples = later;
        }
        self.pending.extend_from_slice(samples);
        frames
    }

    /// Encodes what is pending, at the end of a fragment for example. The next block begins behind it.
    pub fn flush(&mut self) -> Option<Frame> {
        if self.pending.is_empty() {
            return None;
        }
        let data = Bytes::from(encode(self.rate, self.start, &self.pending));
        let frame = Frame {
            start: self.start,
            samples: self.pending.len() as u32,
            data,
        };
        self.start = self.start.wrapping_add(self.pending.len() as u64);
        self.pending.clear();
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::decode::decode;
    use super::*;

    fn all(frames: &[Frame]) -> Vec<i16> {
        frames
            .iter()
            .flat_map(|frame| {
                let (start, samples) = decode(&frame.data);
                assert_eq!(
                    (start, samples.len()),
                    (frame.start, frame.samples as usize)
                );
                samples
            })
            .collect()
    }

    #[test]
    fn speech_like_sound_becomes_smaller_and_comes_back() {
        let sound: Vec<i16> = (0..8000u32)
            .map(|n| {
                let t = f64::from(n) / 8000.0;
                let loud = (t * 7.0).sin().abs() * 9000.0;
                g711::expand_alaw(g711_of((loud * (t * 2900.0).sin()) as i16))
            })
            .collect();
        let mut encoder = Encoder::new(8000, 1024);
        let mut frames = encoder.push(0, &sound);
        frames.extend(encoder.flush());
        assert_eq!(all(&frames), sound);
        let bits = frames.iter().map(|frame| frame.data.len()).sum::<usize>() * 8 / sound.len();
        assert!(bits < 8, "{bits} bits per sample: A-law itself has 8");
    }

    /// The A-law code that expands to the nearest value.
    fn g711_of(sample: i16) -> u8 {
        (0..=255)
            .min_by_key(|&code| (i32::from(g711::expand_alaw(code)) - i32::from(sample)).abs())
            .unwrap()
    }

    #[test]
    fn silence_costs_next_to_nothing() {
        let mut encoder = Encoder::new(8000, 1024);
        let frames = encoder.push(0, &[8; 1024]);
        assert_eq!(all(&frames), [8; 1024]);
        assert!(frames[0].data.len() < 20);
    }

    #[test]
    fn a_loss_ends_the_block() {
        let mut encoder = Encoder::new(8000, 1024);
        assert!(encoder.push(160, &[1; 160]).is_empty());
        let frames = encoder.push(480, &[2; 160]);
        assert_eq!((frames[0].start, frames[0].samples), (160, 160));
        assert_eq!(
            encoder.flush().map(|frame| (frame.start, frame.samples)),
            Some((480, 160))
        );
    }

    proptest! {
        #[test]
        fn whatever_goes_in_comes_out(
            start in 0u64..1 << 36,
            shift in 0u32..15,
            small in any::<bool>(),
            block in MIN_BLOCK..MAX_BLOCK,
            samples in prop::collection::vec(any::<i16>(), 1..6000),
        ) {
            let samples: Vec<i16> = samples.iter().map(|s| if small { s % 256 } else { *s } >> shift << shift).collect();
            let mut encoder = Encoder::new(8000, block);
            let mut frames = encoder.push(start, &samples);
            frames.extend(encoder.flush());
            let mut at = start;
            for frame in &frames {
                let (number, _) = decode(&frame.data);
                prop_assert_eq!(number, at & 0xf_ffff_ffff);
                at += u64::from(frame.samples);
            }
            let out: Vec<i16> = frames.iter().flat_map(|frame| decode(&frame.data).1).collect();
            prop_assert_eq!(out, samples);
        }
    }
}
