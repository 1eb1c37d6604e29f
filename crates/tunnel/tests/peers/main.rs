//! The server against real peers: Debian's `dbclient` and `ssh`, and a hostile client of our own (russh).
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind, write and look at the real clock"
)]

mod client;
mod dropbear;
mod enroll;
mod hostile;
mod lan;
mod openssh;
mod releases;
mod strangers;
mod support;
mod waiting;
