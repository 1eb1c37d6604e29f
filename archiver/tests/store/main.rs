//! A store that is away, hangs, refuses or lies: nothing leaves the spool, recording goes on, every stop is bounded.
#![allow(clippy::disallowed_methods, reason = "tests look at the real clock")]

mod away;
#[path = "../common/mod.rs"]
mod common;
mod full;
mod spool;

use std::time::Duration;

const BUDGET: Duration = Duration::from_secs(30);
