//! `moorline camera` and `moorline tenant` against a cluster: the binary itself, over TCP, on an API server in memory with the real reconciler; and
//! `moorline user` by a front door, `moorline camera pending` by replicas.
#![allow(
    clippy::disallowed_methods,
    reason = "tests look at the real clock and write plain files"
)]

#[path = "../../../kube/tests/support/api/mod.rs"]
#[allow(dead_code, reason = "each test program uses what it needs")]
mod api;
#[cfg(feature = "bench")]
mod bench;
mod cluster;
mod enroll;
mod erase;
mod people;
mod releases;
mod same;
mod serve_alone;
mod tenants;
mod verbs;
