//! A simulated camera: what it films, how it serves it, how it calls home, and all that can go wrong with it. For `demo`, `bench` and the tests.
//!
//! **Owns** the film with its [`video::Stamp`]s, the RTSP server of the camera ([`Source`]), its SSH client ([`Tunnel`], or the real
//! `dbclient`: [`DbclientTunnel`]), both together ([`Camera`]), and the faults, switched while it runs ([`Faults`]). **Does not own** anything of
//! the server: no package of it is imported, so that a mistake there is not repeated here.
//!
//! ```text
//! Film ─▶ player ─▶ RTP ─▶ damage ─▶ connection ◀── forwarded channel ◀── Tunnel ══SSH══▶ server
//!                                        ▲
//!                                        └── or any other stream, or a TcpListener
//! ```
//!
//! How its tasks end: each handle ([`Source`], [`Tunnel`], [`Camera`]) has a `stop` that returns when the last task and the last child
//! process are gone. Dropping a handle ends them too, without waiting.
//!
//! It stays cheap: a camera without readers has one task (its SSH client) and no timer but the keepalive, so that 1,000 fit into a process.
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests may bind, write and look at the real clock"
    )
)]

mod camera;
mod dbclient;
mod fault;
mod source;
mod tunnel;
pub mod video;

pub use camera::{Camera, CameraConfig, CameraError, Client};
pub use dbclient::DbclientTunnel;
pub use fault::{Event, Fault, Faults, UnknownFault};
pub use source::{Audio, Counters, Login, Source, SourceConfig, Stream};
pub use tunnel::{
    HangUp, Key, KeyError, KnownHosts, Tunnel, TunnelConfig, TunnelError, TunnelState,
};
