//! RTSP/1.0 without I/O: everything that the relay, the front door and the simulated camera say and hear.
//!
//! **Owns** the bytes: messages, interleaved framing with resync after lost bytes, SDP, RTP and RTCP, the marks that a
//! relay needs (picture start, IDR, parameter sets), depacketizers for live view, Digest and Basic, and the two session state
//! machines [`client::ClientSession`] and [`server::ServerSession`].
//!
//! **Does not own** sockets, tasks, clocks or randomness. Time comes in as a [`std::time::Duration`] since any fixed
//! start, nonces and ids come in as strings. Nothing here ends by itself: a session yields events and says by
//! `next_deadline` when it wants to be asked again.
//!
//! Everything here reads strangers' bytes (security rules S31, S32): no parser panics, each has a bound in bytes, and the
//! result is the same however the input is split. What a peer says about itself is handed out as plain text with
//! control characters removed; whoever prints it still treats it as untrusted (S33).
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod auth;
pub mod client;
pub mod depacketize;

pub mod header;
pub mod interleaved;
pub mod message;
pub mod nal;
mod octets;
pub mod rtp;
pub mod sdp;
pub mod server;
pub mod url;
