//! H.264 and H.265 NAL units: what a relay has to see of them without depacketizing, and what live view must know of parameter sets.

mod bits;
mod gate;
mod kind;
mod marks;
mod sps264;
mod sps265;

pub(crate) use bits::BitReader;
pub use gate::ViewerGate;
pub use kind::{NalKind, classify_h264, classify_h265};
pub use marks::{Marks, TrackMarker};
pub use sps264::Sps264;
pub use sps265::Sps265;
