//! The simulated camera's clip as fragmented MP4: what a relay and an archive would hand out.

use bytes::{BufMut as _, Bytes, BytesMut};
use moorline_core::Timestamp;
use moorline_fmp4::{Init, Run, Sample, SampleEntry};
use moorline_simcam::video::{Clip, Film as _};

/// Pictures per second of the clip, one of them a key frame.
pub(crate) const RATE: u64 = 15;
const TIMESCALE: u64 = 90_000;

/// The clip, ready to be cut into fragments.
pub(crate) struct Film {
    clip: Clip,
    init: Init,
}

impl Film {
    pub(crate) fn new() -> Self {
        let clip = Clip::clock();
        let (sps, pps) = clip.parameter_sets();
        let entry = SampleEntry::h264(&sps, &pps).unwrap();
        Self {
            clip,
            init: Init::new(vec![(TIMESCALE as u32, entry)]).unwrap(),
        }
    }

    pub(crate) fn init(&self) -> (String, Bytes) {
        (self.init.mime(), self.init.bytes().clone())
    }

    /// `count` pictures from picture `first` on, the first of them shown at `media` pictures of media time.
    pub(crate) fn fragment(&self, first: u64, count: u64, media: u64, wall: Timestamp) -> Bytes {
        let samples = (first..first + count).map(|number| self.sample(number));
        let run = Run {
            track_id: 1,
            decode_time: media * TIMESCALE / RATE,
            samples: samples.collect(),
        };
        let sequence = (media + 1) as u32;
        self.init
            .fragment(sequence, wall.as_millis() * 1000, &[run])
            .unwrap()
            .bytes
    }

    fn sample(&self, number: u64) -> Sample {
        let picture = self.clip.picture(number);
        let mut data = BytesMut::new();
        // Parameter sets are in the init.
        let units = picture
            .nals
            .iter()
            .filter(|unit| !matches!(unit[0] & 0x1f, 7 | 8));
        for unit in units {
            data.put_u32(unit.len() as u32);
            data.extend_from_slice(unit);
        }
        Sample {
            data: data.freeze(),
            duration: (TIMESCALE / RATE) as u32,
            composition_offset: 0,
            sync: picture.idr,
        }
    }
}
