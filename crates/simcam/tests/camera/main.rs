//! The simulated camera, seen by real players, by retina, by a strict reader and by the real SSH server.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod dbclient;
mod faults;
mod players;
mod reader;
mod tunnel;
mod tunnel_server;
