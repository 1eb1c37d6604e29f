//! RTP (RFC 3550 §5) and RTCP (§6): reading, patching in place, building.
//!
//! [`append_frame`] is the one copy that a relay makes of a packet: with its `$` header in front and its numbers replaced.

mod header;
mod receive;
pub mod rtcp;

pub use header::{RtpHeader, RtpPatch, append_frame, append_frame_header, patch};
pub use receive::ReceiverStatistics;
