//! Serving a reader: the requests of one connection, in order.
//!
//! ```text
//!        DESCRIBE (again, too)          SETUP (more, again)             PAUSE, keepalives, `$` RTCP
//!        ┌──┐                           ┌──┐                            ┌──┐
//!        ▼  │         SETUP 200         ▼  │          PLAY              ▼  │
//!        Init ────────────────────────▶ Ready ───────────────────────▶ Playing
//!         ▲ ◀──────── TEARDOWN ────────── │ ◀───────── PAUSE ─────────── │
//!         └────────────────────────────── TEARDOWN ─────────────────────┘
//! ```
//! [`ServerSession`] is driven by a task that reads into [`ServerSession::buffer`] while [`ServerSession::wants_read`], takes events with
//! [`ServerSession::poll`] until there are none, and writes [`ServerSession::take_output`] before any media that it sends. Three events wait for an answer
//! of the caller ([`ServerEvent::Authenticate`], [`ServerEvent::Describe`], [`ServerEvent::Play`]); until it comes nothing further is read off the
//! buffer, so that requests are answered in their order and memory is bounded (P9). It ends with exactly one [`ServerEvent::Closed`], after which
//! what is in the output is written and the connection closed.
//!
//! UDP is 461: every client tested then comes back over TCP on the same connection. `Range`, `Scale` and `Speed` are ignored.

mod config;
mod methods;
mod session;

pub use config::{
    DescribeRequest, Description, PlayInfo, ServerConfig, ServerEnd, ServerEvent, SetUpTrack,
};
pub use session::ServerSession;
