//! The agent as a process, with Debian's real `dbclient`, against our real SSH server, with the simulated camera as its streamer.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod agent;
mod clock;
mod endpoints;
mod ends;
mod harm;
mod kernel;
mod links;
mod malice;
mod names;
mod openssh;
mod page;
mod reader;
mod rekey;
mod releases;
#[allow(dead_code, reason = "the conformance run uses the rest")]
mod server;
mod session;
mod stall;
mod upgrade;
mod uplink;
