//! The roles of a cluster: `moorline mon`, `signer`, `tenants`, `frontdoor` and `sweeper`. They wire the parts of `serve` with the adapters of a cluster.
//!
//! ```text
//!  camera ─SSH─▶ mon (claims, pods, tunnel gateway) ◀─TLS─ proxy (relay pod) ◀─ticket─ archive (archiver pod) ─presigned PUT─▶ store
//!                                    ▲── control ── proxy, archive                             └─ presign, ticket ─▶ signer
//! ```
//! **Owns** composition only: which adapter stands behind a port in which role. Each role opens its listener, tells `/readyz`, and drains on
//! SIGTERM (P8). **Does not own** what runs in a camera's pods, which is a program of its own (`moorline-workload`).

pub mod api;
pub mod api_server;
pub mod check;
pub mod choice;
pub mod entered;
pub mod frontdoor;
pub mod keys;
pub mod mon;
mod own_alarms;
mod pins;
mod reach;
mod releases;
mod replica;
mod role;
mod rollout;
pub mod signer;
mod stores;
pub mod strangers;
pub mod sweeper;
pub mod tenant_args;
pub mod tenants;
#[cfg(test)]
mod testing;
mod unchanged;
