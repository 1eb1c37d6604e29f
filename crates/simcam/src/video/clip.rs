//! The committed clip, played in a loop: a running clock that people recognise (`clip/make.sh` made it).

use std::time::Duration;

use bytes::Bytes;

use super::{Film, Picture};

const FPS: u32 = 15;

/// The clip.
#[derive(Debug, Clone)]
pub struct Clip {
    pictures: Vec<Picture>,
    sps: Bytes,
    pps: Bytes,
}

impl Clip {
    /// The committed clip: 20 s of 640x360 at 15 pictures per second, an IDR each second.
    pub fn clock() -> Self {
        Self::of_annex_b(Bytes::from_static(include_bytes!("../../clip/clock.h264")))
    }

    fn of_annex_b(stream: Bytes) -> Self {
        let (mut pictures, mut pending): (Vec<Picture>, Vec<Bytes>) = (Vec::new(), Vec::new());
        let (mut sps, mut pps) = (Bytes::new(), Bytes::new());
        for nal in nals(&stream) {
            let kind = nal.first().map_or(0, |header| header & 0x1f);
            match kind {
                7 => sps = nal.clone(),
                8 => pps = nal.clone(),
                _ => {}
            }
            // The encoder's own SEI is of no use to anybody, and would be read as ours by nobody.
            if kind != 6 {
                pending.push(nal);
            }
            if matches!(kind, 1 | 5) {
                pictures.push(Picture {
                    nals: std::mem::take(&mut pending),
                    idr: kind == 5,
                });
            }
        }
        Self { pictures, sps, pps }
    }
}

/// The NAL units between start codes.
fn nals(stream: &Bytes) -> impl Iterator<Item = Bytes> {
    let mut at = start_code(stream, 0).map(|(_, after)| after);
    std::iter::from_fn(move || {
        let from = at?;
        let next = start_code(stream, from);
        let to = next.map_or(stream.len(), |(before, _)| before);
        at = next.map(|(_, after)| after);
        Some(stream.slice(from..to))
    })
}

/// Where the next start code begins (its zero byte included) and ends.
fn start_code(stream: &[u8], from: usize) -> Option<(usize, usize)> {
    let found = stream
        .get(from..)?
        .windows(3)
        .position(|window| window == [0, 0, 1])?
        + from;
    let long = found > from && stream.get(found - 1) == Some(&0);
    Some((found - usize::from(long), found + 3))
}

impl Film for Clip {
    fn parameter_sets(&self) -> (Bytes, Bytes) {
        (self.sps.clone(), self.pps.clone())
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1) / FPS
    }

    fn picture(&self, number: u64) -> Picture {
        let index = usize::try_from(number % self.pictures.len().max(1) as u64).unwrap_or(0);
        self.pictures.get(index).cloned().unwrap_or(Picture {
            nals: Vec::new(),
            idr: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clip_has_a_key_frame_each_second() {
        let clip = Clip::clock();
        assert_eq!(clip.pictures.len(), 300);
        for number in 0..600 {
            assert_eq!(
                clip.picture(number).idr,
                number % 15 == 0,
                "picture {number}"
            );
        }
        let (sps, pps) = clip.parameter_sets();
        assert_eq!((sps[0] & 0x1f, pps[0] & 0x1f), (7, 8));
        assert_eq!(clip.picture(0).nals.len(), 3, "SPS, PPS, IDR");
    }
}
