//! The agent on the camera, of std and `moorline-control` alone.
//!
//! Owns: keeping one `dbclient` (after REFER: two) running, always pinned; draining the streamer ([`relay`]); speaking MOORLINE/1. Does not own:
//! SSH (dbclient does it), the streamer, Wi-Fi, anybody else's file.
//!
//! One thread decides: [`run`] waits for events, steps the pure table ([`machine`]) and does its actions; it alone feeds the watchdog. Whatever
//! may wait (a name to resolve, a key to make, a streamer to ask) has a thread of its own and answers with an event.
//!
//! On a box of its own it may stand for several cameras of the local network instead: [`gateway`], which [`discovery`] proposes them to.
//!
//! Nothing that a server says is run, or leads past the camera (S6, S7). Never reboots because the network is away, unless a server
//! set `reboot-after`.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests may bind, write and look at the real clock"
    )
)]

pub mod address;
pub mod backoff;
pub mod check;
mod checking;
mod client;
mod command;
#[cfg(feature = "gateway")]
pub mod discovery;
pub mod endpoint;
pub mod enroll;
pub mod files;
#[cfg(feature = "gateway")]
pub mod gateway;
pub mod head;
pub mod local;
mod log;
pub mod login;
pub mod machine;
mod mailbox;
pub mod md5;
pub mod moment;
mod names;
pub mod probe;
pub mod reason;
pub mod relay;
pub mod report;
pub mod run;
mod running;
pub mod sdp;
pub mod settings;
pub mod sps;
pub mod stamp;
pub mod streamer;
pub mod system;
pub mod upgrade;
pub mod uplink;
mod words;

pub use command::main;
pub use words::Wrong;
