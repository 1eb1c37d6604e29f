//! Digest (RFC 2617, RFC 7616) and Basic, on both sides.
//!
//! Towards a camera: [`ClientAuth`] answers a challenge (MD5 or SHA-256; Basic where the owner opted in, S23). Towards a reader:
//! [`ServerAuth`] offers MD5 alone (any SHA-256 offer breaks ffmpeg or retina: docs/design/relay.md) and Basic in addition under TLS, and checks
//! against the HA1 of the stream password (S12) in constant time. No secret of this module is printed by `Debug` (P10).

mod client;
mod parameters;
mod response;
mod server;

pub use client::{AuthError, ClientAuth, Credentials};
pub use parameters::{Challenge, Scheme};
pub use response::{Algorithm, Ha1};
pub use server::{AuthAttempt, ServerAuth};
