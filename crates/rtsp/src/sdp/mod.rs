//! SDP (RFC 4566) of cameras: read by line, tolerantly; rewritten by line for readers.
//!
//! Owns reading ([`Sdp::parse`]), the resolution of control URLs ([`control`]) and the rewriting ([`Rewrite`]). It is not a general
//! SDP library: what cameras send does not survive one (docs/design/relay.md, decision 9). Bounds: 16 KiB, 8 tracks (S31).

mod codec;
pub mod control;
mod parse;
mod rewrite;

pub use codec::Codec;
pub use parse::{Direction, MAX_SDP, MAX_TRACKS, Media, RtpMap, Sdp, SdpError};
pub use rewrite::Rewrite;
