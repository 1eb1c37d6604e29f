//! The archiver: recorders (relay → fragments → spool) and the uploader (spool → store).
//!
//! Owns: the takes, the wall clock of media, the spool and its recovery, gap markers, `durable until`. Does not own: the store (it comes
//! in as [`SegmentSink`]), the relay ([`Relays`]), the causes of gaps ([`WorkloadOrder::Cause`]), retention.
//!
//! ```text
//! relay ─ bridge ─ retina ─ take ─ segment file ─ seal ─ .sealed/ ─ uploader ─ sink
//!                            │                      │
//!                          anchor                 account ─ gap markers ─▲
//! ```
//! - [`Archive::open`] once per process; [`Archive::recorder_workload`] per instance; [`Archive::shutdown`] at the end.
//! - Reading what the store does not have yet: [`Archive`] is an [`OpenSegments`].
//!
//! How tasks end: a recorder after an order to drain, in its budget; the uploader with the process. Promises: P3 (a synced fragment
//! survives; a segment leaves the spool only when it is acknowledged, or at the bound with its gap), P4 (every second is covered or in a
//! gap with a cause), P8. Rules: S27 (causes that only the monitor can know are taken from it), S31 (a take ends when its clocks part).
//!
//! [`SegmentSink`]: moorline_core::port::SegmentSink
//! [`Relays`]: moorline_core::port::Relays
//! [`WorkloadOrder::Cause`]: moorline_core::port::WorkloadOrder::Cause
//! [`OpenSegments`]: moorline_core::port::OpenSegments

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests may bind, write and look at the real clock"
    )
)]

mod account;
mod anchor;
mod archive;
mod breaker;
mod cut;
mod disk;
mod error;
mod ledger;
mod metrics;
mod recorder;
mod settings;
mod spool;
mod take;
mod uploader;

pub use archive::{Archive, Erased};
pub use metrics::ArchiveMetrics;
pub use settings::{Settings, WhenFull};
pub use spool::OpenError;
