//! Reading a camera: DESCRIBE, SETUP per track over TCP, PLAY, and then never stop reading (promise P6).
//!
//! ```text
//! Describe ──200──▶ Setup(0) … Setup(n) ──200──▶ PlaySent ──200 or first packet──▶ Playing ──stop──▶ Teardown ─▶ Closed
//!    │ 404: next path   │ audio refused: without it                                  │
//!    └──────────────────┴───────── error, end of stream, time over ─────────────────┴──────────────────────────▶ Closed
//! ```
//! [`ClientSession`] is driven by a task that reads into [`ClientSession::buffer`], takes events with [`ClientSession::poll`] until there
//! are none, writes [`ClientSession::take_output`], and calls [`ClientSession::on_time`] at [`ClientSession::next_deadline`]. It ends with exactly one
//! [`ClientEvent::Closed`].
//!
//! A 401 is answered at any time, once per nonce. A request of the camera is answered at once and reading goes on. Unanswered keepalives are no
//! error: a camera's life is judged by media and tunnel.

mod config;
mod error;
mod media;
mod replies;
mod session;

pub use config::{ClientConfig, KeepalivePolicy};
pub use error::ClientError;
pub use session::{ClientEvent, ClientSession, PlayingTrack};
