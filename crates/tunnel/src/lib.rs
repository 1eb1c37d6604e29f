//! The SSH server that cameras call.
//!
//! Owns: host keys and key files ([`keyfile`]; russh appears in this package alone), who is admitted before it has proved itself
//! (rule S9), authentication by key and name (S1), forwards that are names and never OS ports (promise P2), byte streams to cameras
//! ([`moorline_core::port::Landings`]), the monitor's lines of every session, and the end of each session. Does not own: which tunnel
//! may serve (the monitor claims and says so by [`moorline_core::port::Sessions`]), what the lines mean, what is read through a landing.
//!
//! ```text
//! accept ─▶ admitted ── key and name agree ──▶ session ── first forward ──▶ tunnel ── serve(g) ──▶ landing of its camera
//!    │          │ 20 s, crowded out              │ a 5th without a forward     │ lost, hung up       │ superseded, ended
//!    └ penalty  └──────────▶ closed ◀────────────┴─────────────────────────────┴─────────────────────┘
//! ```
//!
//! How its tasks end: [`Tunnel::accept`] ends with its token. Each session is one task of ours (and one of russh's) that ends with its
//! socket or by its kill switch, which fails every read and write of the socket; [`Tunnel::shutdown`] does that to all of them within a
//! budget. A channel that is being opened is a task of its own that ends with its session.
//!
//! Promises and rules kept here: P1 (an older tunnel dies when a newer one serves), P2, P7 (no callback of a session awaits), P8, P9 and
//! S9 (strangers are few, brief and cheap), S10 (bytes that nobody reads are bounded), S1, S4, S33, S36.
//!
//! Reading order: [`Tunnel`], `handler`, `session`, `seats`, `landing`, `queue`, then `admission` and `wire`.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests may bind, write and look at the real clock"
    )
)]

mod admission;
mod closed;
mod config;
mod control;
mod forward;
mod handler;
mod lan;
mod landing;
mod metrics;
mod penalty;
mod queue;
mod registry;
mod seats;
mod server;
mod session;
mod stranger;
mod stream;
mod wire;

pub mod keyfile;

pub use config::{InvalidConfig, TunnelConfig};
pub use lan::{AnyLandings, LanLandings};
pub use metrics::TunnelMetrics;
pub use server::{Monitor, Shutdown, Tunnel};
