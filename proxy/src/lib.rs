//! Relay and front door: one camera is read once, and many watch.
//!
//! **Owns** the reading of cameras over their landings (`upstream`), what is kept of a stream for its readers (`source`, `ring`), the readers
//! themselves (`reader`), the public side for RTSP and RTSPS ([`FrontDoor`]), pictures for browsers (`live`), and the embedded adapter of the port
//! `Relays` ([`Hub`]). **Does not own** tunnels, recordings, users, or the protocol's bytes (`moorline-rtsp`).
//!
//! ```text
//! landing ─▶ upstream ─▶ ring of shared bytes ─┬─▶ reader (archiver: as the camera sent it)
//!            (one per source, while wanted)    ├─▶ reader (viewer: begins with the last key frame)
//!                                              └─▶ live feed (fragments for a browser)
//! ```
//! Tasks end with their relay: [`relay_workload`] drains within 3 s; [`FrontDoor::run`] when its token is cancelled.
//!
//! Promises and rules kept here: P2 (a reader finds its camera by id, and a newer tunnel ends the old connection), P5 (a stalled reader costs others nothing), P6
//! (the camera is always drained), P8, P9 (strangers cost 20 s and 128 KiB), S12 (stream passwords alone), S15 (a removed user's streams end
//! within 1 s), S31 (clocks that part end the take), S33.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests may bind, write and look at the real clock"
    )
)]

mod alarm;
mod config;
mod door;
mod fault;
mod hub;
mod live;
mod metrics;
mod reader;
mod ring;
mod source;
mod upstream;
mod workload;

pub use config::{Candidate, Candidates, DoorConfig, RelayConfig, RingLimits};
pub use door::FrontDoor;
pub use hub::Hub;
pub use metrics::ProxyMetrics;
pub use workload::relay_workload;
