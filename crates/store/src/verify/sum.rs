//! The checksum of a fragment: `free(CRC) moof mdat`, as `fmp4` writes it (`docs/design/archive.md`, decision 2).
//!
//! `store` may not import the writer, so the few bytes that are needed of it are written down here; a test of this module holds
//! them against what the writer writes. Nothing of a fragment is kept: the sum grows while its bytes pass.

use super::boxes::Torn;

/// Length of the box with the checksum, and what its body begins with.
const LENGTH: u64 = 16;
const TAG: [u8; 4] = *b"mlCR";

/// Where the walk stands.
#[derive(Debug, Default)]
enum At {
    /// In a box that no sum covers.
    #[default]
    Elsewhere,
    /// In a `free` box as long as one with a checksum: its body so far.
    Stored(Vec<u8>),
    /// Behind a checksum, in or before the box that has to come now.
    Summing {
        stored: u32,
        sum: crc32fast::Hasher,
        next: &'static [u8; 4],
    },
}

/// Sums what passes, fragment by fragment.
#[derive(Debug, Default)]
pub(super) struct Sum(At);

impl Sum {
    /// A box begins: its kind, its length with the header, and the header.
    ///
    /// # Errors
    /// [`Torn::Spoiled`] where a fragment is not in its order: a name was spoiled, or the checksum's.
    pub(super) fn begins(&mut self, kind: [u8; 4], length: u64, header: &[u8]) -> Result<(), Torn> {
        match &mut self.0 {
            At::Summing { next, sum, .. } => match kind == **next {
                true => sum.update(header),
                false => return Err(Torn::Spoiled),
            },
            _ if &kind == b"moof" => return Err(Torn::Spoiled),
            _ if &kind == b"free" && length == LENGTH => self.0 = At::Stored(Vec::new()),
            _ => self.0 = At::Elsewhere,
        }
        Ok(())
    }

    /// Bytes of the present box.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            At::Elsewhere => {}
            At::Stored(body) => body.extend_from_slice(bytes),
            At::Summing { sum, .. } => sum.update(bytes),
        }
    }

    /// The present box is over.
    ///
    /// # Errors
    /// [`Torn::Spoiled`] if it was the last of a fragment whose sum is another.
    pub(super) fn ends(&mut self) -> Result<(), Torn> {
        self.0 = match std::mem::take(&mut self.0) {
            At::Stored(body) => match body.split_first_chunk::<4>() {
                Some((tag, stored)) if *tag == TAG => At::Summing {
                    stored: stored
                        .first_chunk::<4>()
                        .map_or(0, |stored| u32::from_be_bytes(*stored)),
                    sum: crc32fast::Hasher::new(),
                    next: b"moof",
                },
                _ => At::Elsewhere,
            },
            At::Summing {
                stored,
                sum,
                next: b"moof",
            } => At::Summing {
                stored,
                sum,
                next: b"mdat",
            },
            At::Summing { stored, sum, .. } => match sum.finalize() == stored {
                true => At::Elsewhere,
                false => return Err(Torn::Spoiled),
            },
            At::Elsewhere => At::Elsewhere,
        };
        Ok(())
    }

    /// Whether no fragment is open, at the end of the object.
    pub(super) fn is_complete(&self) -> bool {
        !matches!(self.0, At::Summing { .. })
    }
}

#[cfg(test)]
mod tests {
    use moorline_fmp4::{Init, RESERVED, Run, Sample, SampleEntry, flac};
    use proptest::prelude::*;

    use super::super::boxes::Outline;
    use super::*;

    /// A segment of three fragments by the real writer, and where each begins.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let mut encoder = flac::Encoder::new(8000, 1024);
        let entry = SampleEntry::flac(&encoder.stream_info()).unwrap();
        let init = Init::new(vec![(8000, entry)]).unwrap();
        let (_, start) = init.head(0, RESERVED);
        let (mut file, mut starts, mut time) = (start.to_vec(), Vec::new(), 0);
        for sequence in 1..=3 {
            let sound: Vec<u8> = (0..4096_u32)
                .map(|at| (at * sequence % 251) as u8)
                .collect();
            let frames = encoder.push(0, &flac::g711::alaw(&sound));
            let samples: Vec<Sample> = frames
                .into_iter()
                .map(|frame| Sample {
                    data: frame.data,
                    duration: frame.samples,
                    composition_offset: 0,
                    sync: true,
                })
                .collect();
            let length: u64 = samples.iter().map(|one| u64::from(one.duration)).sum();
            let run = Run {
                track_id: 1,
                decode_time: time,
                samples,
            };
            time += length;
            starts.push(file.len());
            let written = init.fragment(sequence, 1_763_673_005_250_000, &[run]);
            file.extend_from_slice(&written.unwrap().bytes);
        }
        (file, starts)
    }

    fn walk(bytes: &[u8], piece: usize) -> Result<(), Torn> {
        let mut outline = Outline::default();
        for piece in bytes.chunks(piece) {
            outline.push(piece)?;
        }
        outline.finish()
    }

    /// `prft` is written anew when a segment is sealed, so no sum covers it.
    const PRFT: usize = 32;

    proptest! {
        #[test]
        fn every_bit_that_turns_in_a_fragment_is_found_however_the_bytes_come(
            fragment in 0_usize..3, at in 0.0_f64..1.0, bit in 0_u8..8, piece in 1_usize..5_000,
        ) {
            let (mut bytes, starts) = segment();
            prop_assert_eq!(walk(&bytes, piece), Ok(()));
            let from = starts[fragment] + PRFT;
            let to = starts.get(fragment + 1).copied().unwrap_or(bytes.len());
            let place = from + ((to - from) as f64 * at) as usize;
            bytes[place] ^= 1 << bit;
            let found = walk(&bytes, piece);
            prop_assert!(found.is_err(), "byte {} of {}..{}", place, from, to);
        }
    }

    #[test]
    fn what_is_spoiled_inside_a_picture_is_not_taken_for_a_cut() {
        let (mut bytes, starts) = segment();
        let last = bytes.len() - 1;
        for place in [starts[1] - 1, last] {
            bytes[place] ^= 0x10;
            assert_eq!(walk(&bytes, 700), Err(Torn::Spoiled), "{place}");
            bytes[place] ^= 0x10;
        }
        // Zeros over a whole fragment with its checksum, as a file system may leave them; and one that ends between two of its boxes.
        let whole = bytes.clone();
        bytes[starts[1]..starts[2]].fill(0);
        assert!(walk(&bytes, 700).is_err());
        assert_eq!(walk(&whole[..starts[2]], 700), Ok(()));
        let mdat = whole.windows(4).rposition(|four| four == b"mdat").unwrap() - 4;
        assert_eq!(walk(&whole[..mdat], 700), Err(Torn::Cut));
    }
}
