//! The page and its API as people and attackers meet them: over real TLS, in a real browser.
#![allow(
    clippy::disallowed_methods,
    reason = "tests may bind a loopback port and look at the real clock"
)]

mod access;
mod bodies;
mod import;
mod page;
mod pictures;
mod reach_in;
mod recordings;
mod requests;
mod support;
