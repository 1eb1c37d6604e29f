//! What every part of Moorline needs and what knows no camera.
//!
//! Owns: time ([`clock`]), back-off ([`backoff`]), supervised tasks ([`supervise`]), signals and the ordered stop ([`shutdown`]),
//! configuration ([`config`]), secrets that do not print ([`secret`]), foreign text that does not harm a terminal ([`untrusted`]),
//! logging ([`logging`]), the registry of metrics ([`metrics`]), the admin HTTP server ([`admin`]), sockets ([`net`]), connections whose peer has to read in time
//! ([`impatient`]), files ([`files`]), token buckets ([`rate`]), counts by key ([`counted`]) and the way an error is told to a person
//! ([`error`]).
//!
//! Does not own: anything that knows what a camera is. It reads neither the environment nor the command line: the binary hands
//! both in.
//!
//! Promises and rules kept here: P8 (bounded, ordered stop: [`shutdown`]), P10 (no secret is printed: [`secret`]), P11 (an error names
//! the field, the value and the cure: [`config`], [`error`]), S25 (secrets from 0600 files: [`secret`], [`files`]), S33 (foreign text is
//! escaped: [`untrusted`]), S34 (the admin port only reads: [`admin`]).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests may bind, write and look at the real clock"
    )
)]

pub mod admin;
pub mod backoff;
pub mod clock;
pub mod config;
pub mod counted;
pub mod crowd;
pub mod error;
pub mod files;
pub mod impatient;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod rate;
pub mod secret;
pub mod shutdown;
pub mod supervise;
pub mod untrusted;

pub use backoff::Backoff;
pub use clock::{Clock, SharedClock, SimulatedClock, SystemClock};
pub use counted::Counted;
pub use error::{Hinted, WithHint};
pub use secret::Secret;
pub use shutdown::{Drain, Phase};
pub use tokio_util::sync::CancellationToken;
pub use untrusted::Untrusted;
