//! `moorline camera` and `moorline tenant` against a cluster: the binary itself, over TCP, on an API server in memory with the real reconciler.
#![allow(
    clippy::disallowed_methods,
    reason = "tests look at the real clock and write plain files"
)]

#[path = "../../../kube/tests/support/api.rs"]
#[allow(dead_code, reason = "each test program uses what it needs")]
mod api;
mod cluster;
mod erase;
mod same;
mod tenants;
