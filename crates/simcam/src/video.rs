//! What the simulated camera films: a real clip, or generated H.264 of any bitrate and GOP.

mod bits;
mod clip;
mod generated;
mod stamp;

use std::time::Duration;

use bytes::Bytes;

pub(crate) use bits::Bits;
pub use clip::Clip;
pub use generated::{Generated, Shape};
pub use stamp::{STAMP_UUID, Stamp};

/// One picture: its NAL units without start codes, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The NAL units.
    pub nals: Vec<Bytes>,
    /// Whether it is an IDR, with SPS and PPS before it.
    pub idr: bool,
}

impl Picture {
    /// Bytes of all NAL units.
    pub fn len(&self) -> usize {
        self.nals.iter().map(Bytes::len).sum()
    }

    /// The same picture with a stamp before its first slice: an SEI after it would begin the next picture (ITU-T H.264, 7.4.1.2.3).
    #[must_use]
    pub fn stamped(mut self, stamp: Stamp) -> Self {
        let slice = |nal: &Bytes| {
            nal.first()
                .is_some_and(|header| matches!(header & 0x1f, 1 | 5))
        };
        let at = self.nals.iter().position(slice).unwrap_or(0);
        self.nals.insert(at, stamp.to_nal());
        self
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.nals.is_empty()
    }
}

/// An endless film.
pub trait Film: Send + Sync {
    /// The parameter sets, SPS and PPS, for the SDP.
    fn parameter_sets(&self) -> (Bytes, Bytes);

    /// Time from one picture to the next.
    fn interval(&self) -> Duration;

    /// Picture `number`, from 0 on; an IDR first.
    fn picture(&self, number: u64) -> Picture;
}
