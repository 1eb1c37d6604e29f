//! The monitor: one supervisor per camera.
//!
//! ```text
//!  tunnel ── TunnelEvents, ControlLines ─▶ Mailbox ─▶ ┌────────────────────┐ ── Sessions, ControlWriter ─▶ tunnel
//!  workloads ────────── WorkloadEvents ─▶    of a     │ one task per camera │ ── Workloads ──────────────▶ relay, archiver
//!  directory ─────────────── Roster ────▶   camera    │ (pure table inside) │ ── Claims, Memories ───────▶ registry
//!                                                     └─────────┬──────────┘
//!                                                             Board ─▶ page, metrics, AlarmTask ─▶ Notifier
//! ```
//!
//! Owns: who serves a camera and which workloads run ([`Monitor`], driving the table of `core::lifecycle`), the lines of MOORLINE/1 that
//! the server says, why a second is missing, what must be known again after a restart, alarms, and workloads as tasks ([`TaskWorkloads`]).
//! Does not own: SSH, RTSP, files, or which adapter stands behind a port.
//!
//! How its tasks end: [`Watch::run`] orders every camera to stop when its token is cancelled, and returns when all are at rest or the
//! budget is over (P8).
//!
//! Promises kept here: P1 (the newest tunnel serves; nothing is served before its claim), P4 (each missing second has a cause), P7 (no
//! call of the tunnel blocks: all of them put something into a bounded mailbox), P8. Rules: S4 (notices), S5 (claims are damped per camera, tenant and process), S33 (what a
//! camera says is escaped before it is logged).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests may look at the real clock"
    )
)]

mod alarm_task;
mod alarms;
mod board;
mod cause;
mod conversation;
mod damper;
mod driver;
mod gates;
mod ledger;
mod mailbox;
mod metrics;
mod monitor;
mod outbox;
mod roster;
mod settings;
mod tasks;
mod transfer;

pub use monitor::{Monitor, Ports, monitor};
pub use roster::{StopReport, Watch};
pub use settings::Settings;
pub use tasks::{Start, TaskWorkloads};

/// Synthetic session ids of LAN cameras begin here; the tunnel counts its own from 1.
pub const FIRST_LAN_SESSION: u64 = 1 << 63;

#[cfg(test)]
mod tests;
