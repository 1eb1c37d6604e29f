//! The protocols of the cluster's inside over real TLS on loopback: certificates are made for each test, pods and holders are in memory, and time
//! stands still until a test moves it.

#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod connect;
mod control;
mod fakes;
mod signer;
mod tickets;
mod world;
