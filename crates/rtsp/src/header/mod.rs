//! The headers that carry a session: `Transport`, `Session`, `RTP-Info`.
//!
//! Owns their tolerant reading and exact writing. Tolerance is named after what sends it; unknown parameters are skipped.

mod rtp_info;
mod session;
mod transport;

pub use rtp_info::RtpInfo;
pub use session::SessionHeader;
pub use transport::{LowerTransport, TransportSpec};
