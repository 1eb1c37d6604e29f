//! What tests run against: real peers, a network that fails on order, and small servers that remember what they were told.
//!
//! **Owns**: finding peers and saying which version was met ([`peer`]), processes that cannot outlive their test ([`child`]), the fault
//! proxies ([`fault`], [`s3fault`]), an S3 server and the authority of its certificate (`s3`, `authority`, with the feature `s3`), a webhook
//! receiver ([`http`]), a mail sink ([`smtp`]), a camera-like GStreamer server ([`gst`]), live555's tools ([`live555`]), dropbears of other
//! Debian releases ([`dropbear`]), Garage ([`garage`]), PostgreSQL ([`postgres`]), a browser ([`chromium`]), network namespaces
//! ([`netns`]), names that a test makes up ([`dns`]), an old kernel ([`old_kernel`]), a Kubernetes cluster ([`cluster`]), the emulated
//! camera ([`emu`]), an address that refuses ([`refusing`]), and how long the machine itself kept a test waiting ([`Starved`]).
//!
//! **Does not own**: anything of the product. It imports no other package of the workspace, so that every package may use it in its
//! tests. Simulated cameras live in `moorline-simcam`, simulated time in `moorline-base`.
//!
//! **Rules**: everything listens on port 0 of 127.0.0.1; every wait has a deadline, which `MOORLINE_TEST_PATIENCE` (a factor, default 1)
//! stretches on a slow machine; whatever is started ends when its value is dropped. A peer that every Debian 12 machine can install is
//! *required*: its absence fails the test. Any other is *optional*: [`or_skip`] skips with the reason, which `cargo xtask test` counts.
#![allow(
    clippy::disallowed_methods,
    reason = "the bans keep the product's time and sockets injectable; this package is what tests inject"
)]

#[cfg(feature = "s3")]
pub mod authority;
pub mod child;
pub mod chromium;
pub mod cluster;
mod debian;
pub mod dns;
pub mod dropbear;
pub mod emu;
mod error;
pub mod eventually;
pub mod fault;
pub mod garage;
pub mod gst;
pub mod http;
mod http_call;
pub mod live555;
pub mod netns;
pub mod old_kernel;
pub mod peer;
pub mod postgres;
pub mod refusing;
#[cfg(feature = "s3")]
pub mod s3;
pub mod s3fault;
mod serving;
mod skip;
pub mod smtp;
mod starved;
mod webdriver;

pub use error::Error;
pub use eventually::{eventually, patience};
pub use skip::{or_skip, skip};
pub use starved::Starved;
pub use tempfile;

/// A directory that is removed with everything in it when the value is dropped.
///
/// # Errors
/// When the system's temporary directory cannot be written.
pub fn temp_dir() -> Result<tempfile::TempDir, Error> {
    tempfile::Builder::new()
        .prefix("moorline-test-")
        .tempdir()
        .map_err(|source| Error::io("make a temporary directory", source))
}
