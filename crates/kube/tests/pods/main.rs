//! From tunnel to pods on an API server in memory: each write is counted, and no spool is lost.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may look at the real clock"
)]

mod held;
mod lifecycle;
mod replacing;
mod replicas;
#[path = "../support/mod.rs"]
mod support;
